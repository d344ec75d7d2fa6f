"""Deleting old files for good: what would go, and then its deletion, each recorded in a table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.deleting import Way, find_out
from files_source.deletions import Deletion
from files_source.durations import Duration, duration
from files_source.errors import DeletionError
from files_source.listing import MAX_LIMIT, check_purpose
from files_source.places import AnyPlace
from files_source.progress import OnPage
from files_source.recording import Record
from files_source.scan import WORKERS
from files_source.settings import accounts_for, connection, whole_number
from files_source.shortlist import Shortlist, find
from files_source.sweep import OnFile, Sweep
from files_source.syncing import DATABASE


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What a cleanup did.

    Attributes:
        to: where it is recorded.
        files: how many files it was to delete.
        deleted: how many the server has deleted.
        gone: how many were not there any more when it was asked.
        failed: how many are still there, or it is not known whether they are.
        bytes: the sizes of those deleted, where they are known, together.
        unknown_size: how many of those are of unknown size.
        earlier: deletions of a cleanup that was stopped, which this one recorded.
        open: deletions, of this cleanup or one that was stopped, of which it is not known what came of them.
        seconds: how long it took.
        query: a command that looks at the record; None where that depends on the destination.
    """

    to: str
    files: int
    deleted: int
    gone: int
    failed: int
    bytes: int
    unknown_size: int
    earlier: int
    open: int
    seconds: float
    query: str | None


class CleanedInPart(DeletionError):
    """Some files could not be deleted, or some accounts not be listed; the other files are deleted.

    Attributes:
        done: what was done.
    """

    def __init__(self, message: str, done: Cleaned) -> None:
        super().__init__(message)
        self.done = done


class Stopped(KeyboardInterrupt):
    """A cleanup was interrupted; what it had asked for is recorded, or noted for the next one.

    Attributes:
        done: what was done.
    """

    def __init__(self, done: Cleaned) -> None:
        super().__init__()
        self.done = done


class Cleanup:
    """A cleanup of one account or many; making one asks nothing.

        with cleanup.into("inventory.duckdb") as record, cleanup.candidates(older_than="90d") as found:
            cleanup.delete(found, record)

    Args:
        accounts, client, limit, timeout, max_retries, ca_bundle: as `openai_files` takes them.
        workers: how many accounts are listed at once, and then how many files deleted; 8 by default.
        whose: further arguments of `openai_files` that say whose files, such as `base_url`.

    Raises:
        ConfigError: a setting is missing or cannot be used.
    """

    def __init__(
        self,
        *,
        accounts: Sequence[Account] | None = None,
        client: FilesClient | None = None,
        workers: int | None = None,
        limit: int | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        ca_bundle: str | None = None,
        **whose: Any,
    ) -> None:
        self._accounts = accounts_for(client, accounts, **whose)
        self._client = client
        self._connection = connection(timeout=timeout, max_retries=max_retries, ca_bundle=ca_bundle)
        self._workers = whole_number("workers", workers, WORKERS, least=1)
        self._limit = whole_number("limit", limit, MAX_LIMIT, least=1, most=MAX_LIMIT)

    def candidates(
        self, *, older_than: Duration | None = None, purpose: str | None = None, on_page: OnPage | None = None
    ) -> Shortlist:
        """List the files that are older than an age and of a purpose, by what the server says now.

        Args:
            older_than: by the server's clock: a timedelta, or text such as `90d` or `3mo`, of which a month
                is 31 days and a year 366; None for files of any age.
            purpose: None for files of any.
            on_page: called after each page with the pages and the rows read so far, maybe by several threads.

        Raises:
            ConfigError: the purpose is empty, or the age is no duration.
            FilesSourceError: the listing of the only account failed.
            AccountsError: that of every account did.
        """
        check_purpose(purpose)
        age = None if older_than is None else duration(older_than, name="older_than")
        return find(
            self._accounts,
            self._connect,
            older_than=age,
            purpose=purpose,
            limit=self._limit,
            workers=self._workers,
            on_page=on_page,
        )

    @contextmanager
    def into(self, to: AnyPlace = DATABASE) -> Iterator[Record]:
        """Give the record of deletions in a place, with those of an earlier cleanup that was stopped.

        A place that cannot be read back is warned of in the log.

        Args:
            to: as `sync` takes it.

        Raises:
            ConfigError: there is no such place, or it is not configured.
            LoadError: another run into it is going on, or it did not take the rows.
            JournalError: what an earlier cleanup has noted cannot be read, or its database is not there.
        """
        record = Record(to)
        if record.may_be_open:
            with record.opened(), ExitStack() as ways:
                record.forget(find_out(self._left(record, ways), record.journal, workers=self._workers))
                record.load(again=True)
        yield record

    def delete(self, candidates: Shortlist, record: Record, *, on_file: OnFile | None = None) -> Cleaned:
        """Delete the *candidates* for good, no others, and record each deletion.

        Each is noted before it is asked for: on disk, and in the place itself where the disk may be lost.
        Stopped at any moment, the next cleanup into the same place, on this machine or another, finds
        out what became of those that were under way, and records what is not yet.
        A file that the server refuses to delete leaves the others alone. An account is given up where
        its key is wrong or the server deletes nothing, and after 8 files in a row that got no answer or
        the same refusal, which must be 64 once one was deleted.

        Args:
            candidates: as `candidates` gave them.
            record: as `into` gave it.
            on_file: called with the number of files tried so far.

        Raises:
            CleanedInPart: some files are still there, or some accounts could not be listed.
            ConfigError, LoadError: the place cannot be opened, and nothing is deleted; or it did not
                take the rows, which the next cleanup into it records.
            JournalError: a deletion could not be noted, and no more are asked for.
            Stopped: by Ctrl-C.
        """
        began = time.monotonic()
        sweep = Sweep(connect=self._connect, workers=self._workers, on_file=on_file)
        try:
            if candidates.total.files:
                with record.opened():
                    sweep.delete(candidates, record)
        except KeyboardInterrupt:
            raise Stopped(_cleaned(candidates, record, sweep, began)) from None
        done = _cleaned(candidates, record, sweep, began)
        failure = candidates.error(outcome="the others were cleaned up")
        if problems := [str(problem) for problem in (failure, _not_deleted(done, sweep)) if problem]:
            raise CleanedInPart("; and ".join(problems), done)
        return done

    def _left(self, record: Record, ways: ExitStack) -> Iterator[tuple[Way, Deletion]]:
        """Yield the deletions that were under way when an earlier cleanup of these accounts was stopped."""
        for account in self._accounts:
            if left := [deletion for deletion in record.undecided() if deletion.is_of(account)]:
                way = Way(ways.enter_context(self._connect(account)))
                yield from ((way, deletion) for deletion in left)

    def _connect(self, account: Account) -> AbstractContextManager[FilesClient]:
        return FilesClient(account, **self._connection) if self._client is None else nullcontext(self._client)


def _cleaned(candidates: Shortlist, record: Record, sweep: Sweep, began: float) -> Cleaned:
    total, outcomes = candidates.total.files, sweep.outcomes
    return Cleaned(
        to=record.place.name,
        files=total,
        deleted=outcomes["deleted"],
        gone=outcomes["gone"],
        failed=total - outcomes["deleted"] - outcomes["gone"],
        bytes=sweep.bytes,
        unknown_size=sweep.unknown_size,
        earlier=record.earlier,
        open=record.open,
        seconds=time.monotonic() - began,
        query=record.query,
    )


def _not_deleted(done: Cleaned, sweep: Sweep) -> str | None:
    """Say how many files are still there, or may be, and why; None where there are none."""
    told = []
    if left := done.failed - sweep.unconfirmed:
        told.append(f"{left:,} of {done.files:,} files were not deleted")
    if sweep.unconfirmed:
        told.append(f"{sweep.unconfirmed:,} of {done.files:,} deletions could not be confirmed")
    return f"{', '.join(told)}: {sweep.reason}" if told else None
