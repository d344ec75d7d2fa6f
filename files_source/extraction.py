"""One run's listings, of one account or many: which succeed, which fail, and what the ledger says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event, current_thread, get_ident, main_thread
from typing import Any, Final, cast

import pyarrow as pa
from dlt.common import logger

from files_source.accounts import Account
from files_source.attempts import STOPPED, Attempt, Listed, OnScan
from files_source.client import FilesClient
from files_source.errors import AccountsError, FilesSourceError
from files_source.fanout import Ended, fan_out
from files_source.ledger import Mode, ScanRecord
from files_source.progress import OnPage, Shared
from files_source.spool import Spool
from files_source.versions import distinct

_PATIENCE: Final = 1.0
"""Seconds after which dlt has most likely put off the resource `scans` until the others have ended."""


@dataclass(slots=True, kw_only=True)
class Extraction:
    """One run's listings.

    Args:
        accounts: whose files.
        client: a client of the only account to use instead of one made for it; it stays open.
        connection: further arguments of the clients that are made.
        purpose: only files of this purpose.
        limit: files a page.
        overlap: seconds until a file counts as settled; None for what suits the destination.
        full_refresh: whether everything is loaded again, in place of what is there.
        loads_once: whether rows that a run has handed over are never loaded again if it dies.
        workers: how many requests are sent at once.
        on_page: what is told of progress.
        on_scan: what is told of the end of each account's listing.

    Attributes:
        records: what the ledger says of the listings that have ended, until it is loaded.
        over: of which load the listings are over.
        is_awaited: whether the resource `scans` waits for the listings.
    """

    accounts: tuple[Account, ...]
    client: FilesClient | None
    connection: Mapping[str, Any]
    purpose: str | None
    limit: int
    overlap: int | None
    full_refresh: bool
    loads_once: bool
    workers: int
    on_page: OnPage | None
    on_scan: OnScan | None
    records: list[ScanRecord] = field(default_factory=list)
    over: str | None = None
    thread: int | None = None
    is_awaited: Event = field(default_factory=Event)

    @property
    def workers_each(self) -> int:
        """Return how many requests each account's listing may send at once."""
        return max(1, self.workers // len(self.accounts))

    @contextmanager
    def listed(
        self,
        mode: Mode,
        begin: Callable[..., Listed],
        *,
        load: str,
        prepare: Callable[[Attempt[Listed]], None] | None = None,
    ) -> Iterator[Iterator[tuple[Attempt[Listed], Iterator[pa.Table]]]]:
        """Give the accounts, with their rows: a single one's as they come in, as its failure ends everything.

        A table that is to be replaced gets each file once; where rows are merged, doubles do no harm.

        Args:
            mode: what the ledger calls it.
            begin: makes a listing of a client, and of `on_page`.
            load: the load that they are part of.
            prepare: is given each attempt before it begins.

        Raises (while it is iterated over):
            FilesSourceError: the only account's listing fails, that of every account, or one of
                those that together should replace the table.
        """
        if len(self.accounts) == 1 and not self.full_refresh:
            (attempt,) = attempts = self._attempts(mode, begin, prepare)
            with self._going_on(attempts, load), closing(attempt.tables()) as tables:
                yield iter([(attempt, tables)])
            return
        with self.spooled(mode, begin, load=load, prepare=prepare) as complete:
            if self.full_refresh:
                yield ((attempt, distinct(spool)) for attempt, spool in list(complete))
            else:
                yield ((attempt, spool.tables()) for attempt, spool in complete)

    @contextmanager
    def spooled(
        self,
        mode: Mode,
        begin: Callable[..., Listed],
        *,
        load: str,
        prepare: Callable[[Attempt[Listed]], None] | None = None,
    ) -> Iterator[Iterator[tuple[Attempt[Listed], Spool]]]:
        """Give the accounts whose listings are complete, as they end, with all of their rows.

        Raises: as `listed` does.
        """
        attempts = self._attempts(mode, begin, prepare)
        with self._going_on(attempts, load), fan_out(attempts, workers=self.workers) as ended:
            yield self._succeeded(ended, attempts)

    def let_the_ledger_begin(self) -> None:
        """Wait on a thread of dlt's until the resource `scans` has begun on the main one.

        dlt's configuration takes one resource at a time: to begin both at once breaks it.
        """
        if current_thread() is not main_thread():
            self.is_awaited.wait(_PATIENCE)

    def take_records(self) -> list[ScanRecord]:
        """Return what the ledger says of the listings that have ended, once, the earliest first."""
        records, self.records = self.records, []
        return sorted(records, key=lambda record: record.started_at)

    def amend(self, account: str, **values: Any) -> None:
        """Change what the ledger says of an account's listing, and tell of it."""
        for number, record in enumerate(self.records):
            if record.account == account:
                self.records[number] = amended = replace(record, **values)
                self._tell(amended)

    @contextmanager
    def _going_on(self, attempts: Sequence[Attempt[Listed]], load: str) -> Iterator[None]:
        """Note where the listings of a load go on, and that each has ended, even one that nobody waited for."""
        self.records.clear()
        self.over, self.thread = None, get_ident()
        try:
            yield
        finally:
            for attempt in attempts:
                attempt.end(STOPPED)
            self.over = load
            pa.default_memory_pool().release_unused()  # loading needs what the pages took

    def _attempts(
        self, mode: Mode, begin: Callable[..., Listed], prepare: Callable[[Attempt[Listed]], None] | None
    ) -> list[Attempt[Listed]]:
        shared = Shared(self.on_page) if self.on_page else None
        attempts = [
            Attempt(
                account=account.name,
                connect=partial(self._connect, account),
                begin=partial(begin, on_page=shared and shared.part()),
                mode=mode,
                purpose=self.purpose,
                on_end=self._record,
            )
            for account in self.accounts
        ]
        if prepare is not None:
            for attempt in attempts:
                prepare(attempt)
        return attempts

    def _connect(self, account: Account) -> AbstractContextManager[FilesClient]:
        return FilesClient(account, **self.connection) if self.client is None else nullcontext(self.client)

    def _record(self, record: ScanRecord) -> None:
        self.records.append(record)
        if not (record.mode == "history" and record.complete):  # `amend` tells of those, once all is known of them
            self._tell(record)

    def _tell(self, record: ScanRecord) -> None:
        if self.on_scan is not None:
            self.on_scan(record)

    def _succeeded(
        self, ended: Iterator[Ended[Listed]], attempts: Sequence[Attempt[Listed]]
    ) -> Iterator[tuple[Attempt[Listed], Spool]]:
        """Yield the attempts that succeed, and tell of those that fail.

        Raises:
            FilesSourceError: all of them fail, or one where all are needed.
        """
        for attempt, spool in ended:
            if spool is not None:
                yield attempt, spool
        failures = {attempt.account: str(attempt.error) for attempt in attempts if attempt.error}
        if not failures:
            return
        if len(attempts) == 1:
            raise cast(FilesSourceError, attempts[0].error)
        if self.full_refresh or len(failures) == len(attempts):
            raise AccountsError(failures, of=len(attempts), outcome="nothing was loaded")
        logger.error(str(AccountsError(failures, of=len(attempts), outcome="the others were loaded")))
