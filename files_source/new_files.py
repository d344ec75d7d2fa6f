"""Hand the files that a destination lacks to dlt, and keep its state right for exactly the rows handed over."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final, cast

import dlt
import pyarrow as pa
from dlt.common import logger

from files_source.attempts import STOPPED, Attempt
from files_source.borders import BorderNotes
from files_source.client import FilesClient
from files_source.coverage import Coverage, Remembered, Rung, Span
from files_source.dlt_run import Limit, Run
from files_source.errors import ConfigError
from files_source.extraction import Extraction
from files_source.holdings import (
    SCANS_TABLE,
    Accounts,
    accounts_held,
    accounts_without_rows,
    holds_no_files,
    load_state,
    loads_at_once,
    merges,
)
from files_source.incremental import Increment
from files_source.progress import MICROSECONDS, OnPage, moment
from files_source.scan_rows import ledger_beside
from files_source.schema import FILES
from files_source.times import Time, instant
from files_source.tolerant import EARLIEST

Cursor = dlt.sources.incremental[datetime]
Borders = Mapping[str, tuple[Rung, ...]]
"""Where complete listings may start, by account."""

OVERLAP: Final = 60
"""Seconds before a file counts as final where rows are only appended: until then another may show up before it."""
LAG: Final = 3600
"""The same where rows are merged, so that each run lists the files of the last hour again."""


def new_files(extraction: Extraction, created_at: Cursor) -> Generator[object, None, None]:
    """Yield what the destination lacks, and remember with each batch how far that reaches.

    Of several accounts, each is loaded whole or not at all. Where no pipeline runs, as in
    `list(source)`, everything is listed.

    Raises:
        ConfigError: the run has a setting that would lose rows or double them.
        FilesSourceError: as `Extraction.listed` does.
    """
    run = Run.current()
    if SCANS_TABLE in run.selected:
        extraction.let_the_ledger_begin()
    run.refuse_row_filters()
    extraction.full_refresh = extraction.full_refresh or run.replaces
    asked, limit = range_of(created_at, extraction.purpose), run.limit
    merging = run.pipeline is None or merges(run.pipeline)
    handover = Handover.begin(extraction, run)
    _check(extraction, handover.held, asked, merging=merging)
    notes = border_notes(extraction)
    begin = partial(
        _increment,
        extraction=extraction,
        held=handover.held,
        known=known_borders(extraction, notes),
        asked=asked,
        merging=merging,
        overlap=_overlap(extraction.overlap, created_at, merging=merging),
        is_limited=limit is not None,
    )
    disposition = _disposition(extraction, run, handover.held, merging=merging, is_limited=limit is not None)
    note = _note(asked, handover)

    def prepare(attempt: Attempt[Increment]) -> None:
        attempt.note = note
        attempt.is_exact = asked == Span(None, None, None) and attempt.account in handover.fresh

    hints, distinct = dlt.mark.make_hints(write_disposition=disposition), True
    with (
        extraction.listed(
            "full" if extraction.full_refresh else "incremental", begin, load=run.load_id, prepare=prepare
        ) as listed,
        handover.noting_what_is_left(limit),
    ):
        for attempt, tables in listed:
            attempt.is_kept = limit is not None
            for rows in handover.of(attempt, tables, limit):
                created_at.advance(_reached(created_at, attempt))
                yield handover.item(rows, hints)
            if limit is not None and limit.is_reached:
                return
            listing = cast(Increment, attempt.listing)
            if not handover.has_begun and (extraction.full_refresh or attempt.account not in handover.held):
                yield handover.item(FILES.empty_table(), hints)
            distinct = distinct and listing.is_distinct
            if listing.borders is not None:
                server = listing.client.account.server
                notes.note(attempt.account, listing.borders, server=server, purpose=extraction.purpose)
            handover.learn(attempt.account, listing.reached)
        if merging and disposition == "append" and handover.has_begun and not distinct:  # a file may have come twice
            yield dlt.mark.with_hints(FILES.empty_table(), dlt.mark.make_hints(write_disposition="merge"))
    yield from ledger_beside(extraction, run)


def range_of(created_at: Cursor, purpose: str | None) -> Span:
    """Return what dlt's cursor asks for.

    Raises:
        ConfigError: it is on another column, or goes by another function than max.
    """
    if created_at.cursor_path != "created_at" or created_at.last_value_func is not max:
        raise ConfigError(
            "files are loaded by created_at, from the oldest to the newest: leave cursor_path and last_value_func out"
        )
    since, until = _bound(created_at.initial_value), _bound(created_at.end_value)
    if since is not None and created_at.range_start == "open":
        since += 1
    if until is not None and created_at.range_end == "closed":
        until += 1
    return Span(purpose, since, until)


def border_notes(extraction: Extraction) -> BorderNotes:
    """Return the borders of complete listings that the state keeps."""
    return BorderNotes(dlt.current.source_state().setdefault("borders", {}), extraction.limit)


def known_borders(extraction: Extraction, notes: BorderNotes) -> Borders:
    """Return where the complete listing of each account may start."""
    return {
        account.name: notes.of(account.name, server=account.server, purpose=extraction.purpose)
        for account in extraction.accounts
    }


@dataclass(slots=True)
class Handover:
    """What a run has handed to dlt so far, and the state that goes with it.

    Attributes:
        held: what the destination remembers of each account.
        fresh: the accounts of which the table has no other rows than those handed over.
        has_begun: whether anything was handed over.
        is_anew: whether the table has none of the rows that earlier runs have loaded.
    """

    extraction: Extraction
    run: Run
    held: Accounts
    fresh: frozenset[str]
    has_begun: bool = False
    is_anew: bool = False
    _state: dict[str, Any] = field(default_factory=dict)
    _learned: dict[str, Remembered] = field(default_factory=dict)
    _rows: dict[str, int] = field(default_factory=dict)

    @classmethod
    def begin(cls, extraction: Extraction, run: Run) -> Handover:
        """Return the handover of a run that begins, with what the destination has by then."""
        state = dlt.current.resource_state()
        if run.pipeline is None:
            return cls(extraction, run, {}, frozenset())
        held: Accounts = {}
        if not run.refreshes:
            servers = {account.name: account.server for account in extraction.accounts}
            held = accounts_held(run.pipeline, run.table, servers, local=state)
        if state.get("accounts", {}) != held:
            state["accounts"] = dict(held)  # dlt has restored the state of a load that never became complete
        names = frozenset(account.name for account in extraction.accounts)
        is_replaced = extraction.full_refresh or run.refreshes
        fresh = names if is_replaced else accounts_without_rows(run.pipeline, run.table, names - held.keys())
        return cls(extraction, run, held, fresh, is_anew=is_replaced or not held, _state=state)

    def of(self, attempt: Attempt[Increment], tables: Iterator[pa.Table], limit: Limit | None) -> Iterator[pa.Table]:
        """Yield an account's tables until dlt would drop the next one."""
        self._rows[attempt.account] = number = 0
        while not (limit is not None and limit.is_reached) and (rows := next(tables, None)) is not None:
            if limit is not None:
                self.learn(attempt.account, cast(Increment, attempt.listing).steps[number])
                limit.count(rows)
            self._rows[attempt.account] += rows.num_rows
            number += 1
            yield rows

    def item(self, rows: pa.Table, hints: Any) -> object:
        """Return *rows* as dlt takes them: the first ones of a run say what is done with all."""
        self.has_begun, is_first = True, not self.has_begun
        return dlt.mark.with_hints(rows, hints) if is_first else rows

    def learn(self, account: str, reached: Coverage) -> None:
        """Let the state say how far an account is loaded with what was handed over."""
        is_new = self.extraction.full_refresh or account not in self.held
        if self.run.pipeline is None or not (is_new or reached != self._before(account, reached.server)):
            return
        self._learned[account] = reached.remember()
        self._state["accounts"] = {**self.held, **self._learned}
        self._state["table"], self._state["load_id"] = self.run.table, self.run.load_id
        if self.is_anew:
            self._state["begun"] = self.run.load_id
        load_state()

    @contextmanager
    def noting_what_is_left(self, limit: Limit | None) -> Iterator[None]:
        """Let the ledger say how many files of each account were handed over, where dlt stops the resource early."""
        try:
            yield
        finally:
            for record in list(self.extraction.records) if limit is not None else ():
                rows = self._rows.get(record.account, 0)
                if record.complete and rows < record.rows:
                    self.extraction.amend(
                        record.account, rows=rows, complete=False, exact=False, error=STOPPED, watermark=None
                    )

    def _before(self, account: str, server: str) -> Coverage:
        return Coverage.recall(self._learned.get(account, self.held.get(account)), server=server)


def _increment(
    client: FilesClient,
    *,
    extraction: Extraction,
    held: Accounts,
    known: Borders,
    asked: Span,
    merging: bool,
    overlap: int,
    is_limited: bool,
    on_page: OnPage | None,
) -> Increment:
    return Increment(
        client=client,
        coverage=Coverage.recall(
            None if extraction.full_refresh else held.get(client.account.name), server=client.account.server
        ),
        asked=asked,
        merges=merging,
        overlap=overlap,
        limit=extraction.limit,
        again=extraction.full_refresh or (merging and asked.until is not None and not is_limited),
        stepwise=is_limited,
        workers=extraction.workers_each,
        known=known[client.account.name],
        on_page=on_page,
    )


def _disposition(extraction: Extraction, run: Run, held: Accounts, *, merging: bool, is_limited: bool) -> Any:
    """Return what dlt does with the rows: those of a first load are appended where no run can load them twice."""
    if extraction.full_refresh:
        return "replace"
    if not merging:
        return "append"
    if run.pipeline is None or not extraction.loads_once or held or is_limited or not loads_at_once():
        return "merge"
    return "append" if holds_no_files(run.pipeline, run.table) else "merge"


def _overlap(given: int | None, created_at: Cursor, *, merging: bool) -> int:
    """Return the seconds before a file counts as final: what is given, dlt's `lag`, or what suits the destination.

    Raises:
        ConfigError: the lag is negative.
    """
    lag = created_at.lag if given is None else given
    if lag is None:
        return LAG if merging else OVERLAP
    if not lag >= 0:
        raise ConfigError(f"lag is {lag}: give seconds, 0 or more")
    return math.ceil(lag)


def _check(extraction: Extraction, held: Accounts, asked: Span, *, merging: bool) -> None:
    """Refuse what would lose rows or double them.

    Raises:
        ConfigError: a part of the table should be replaced, which dlt can only replace as a whole;
            or, where rows are only appended, an account's name stands for another server's files.
    """
    names = {account.name for account in extraction.accounts}
    if extraction.full_refresh and (set(held) - names or asked != Span(None, None, None)):
        raise ConfigError(
            "a full refresh replaces the whole table: leave out the purpose and the times, and load into another "
            "place if this one holds other accounts, too"
        )
    for account in extraction.accounts:
        server = account.server
        known = held[account.name]["server"] if account.name in held else server
        if not merging and not extraction.full_refresh and known != server:
            raise ConfigError(
                f"account {account.name!r} of this folder was loaded from {known}, not from {server}: give another "
                "account name (--account), or load all again with --full-refresh"
            )


def _note(asked: Span, handover: Handover) -> str | None:
    """Return what the ledger says of a range in which there can be no file, or of a refresh that drops none."""
    run, note = handover.run, None
    if asked.is_empty():
        since, until = (moment(cast(int, at)).isoformat() for at in (asked.since, asked.until))
        note = f"nothing was listed: the time range is empty, from {since} to {until}"
    elif run.pipeline is not None and run.refresh and not run.refreshes and not handover.fresh:
        note = (
            f"refresh={run.refresh!r} dropped nothing of {run.table!r}, of which dlt knows no load by the pipeline "
            f"{run.pipeline.pipeline_name!r}: only new files were loaded; write_disposition='replace' loads all again"
        )
    if note is not None:
        logger.warning(note)
    return note


def _reached(created_at: Cursor, attempt: Attempt[Increment]) -> datetime:
    """Return how far dlt's cursor has come; the coverage in the state is what counts."""
    listed = moment(cast(Increment, attempt.listing).watermark)
    return max(filter(None, (created_at.last_value, listed)))


def _bound(value: object) -> int | None:
    """Return a bound of the cursor in microseconds since 1970; None where it leaves nothing out."""
    if value is None:
        return None
    bound = instant(cast(Time, value), name="created_at")
    return bound if bound > EARLIEST * MICROSECONDS else None
