"""What the resources yield: the files that are new, every file as history, and the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any, cast

import dlt
import pyarrow as pa

from files_source.attempts import Attempt
from files_source.borders import BorderNotes
from files_source.client import FilesClient
from files_source.coverage import Coverage, Rung, Span
from files_source.errors import ConfigError
from files_source.extraction import Extraction
from files_source.holdings import (
    SNAPSHOTS_TABLE,
    Accounts,
    accounts_held,
    holds_no_files,
    keeps_versions,
    load_state,
    loads_at_once,
    merges,
)
from files_source.incremental import Increment
from files_source.ledger import ledger
from files_source.progress import MICROSECONDS, OnPage, instant, moment
from files_source.scan import Scan
from files_source.schema import FILES, descriptions
from files_source.scope import marks, version_hints
from files_source.tolerant import EARLIEST
from files_source.versions import SNAPSHOTS, VERSIONS, snapshot, versions

Cursor = dlt.sources.incremental[datetime]
Borders = Mapping[str, tuple[Rung, ...]]
"""Where complete listings may start, by account."""


def new_files(extraction: Extraction, created_at: Cursor) -> Iterator[object]:
    """Yield what the destination lacks, then remember how far that reaches.

    Of several accounts, each is loaded whole or not at all.

    Raises:
        FilesSourceError: as `Extraction.listed` does.
    """
    pipeline, state = dlt.current.pipeline(), dlt.current.resource_state()
    held, merging = accounts_held(pipeline, state), merges(pipeline)
    if state.get("accounts", {}) != held:
        state["accounts"] = dict(held)  # dlt has restored the state of a load that never became complete
    asked = Span(extraction.purpose, _bound(created_at.initial_value), _bound(created_at.end_value))
    _check(extraction, held, asked, merging=merging)
    notes = _border_notes(extraction)
    known = _known_borders(extraction, notes)
    begin = partial(_increment, extraction=extraction, held=held, known=known, asked=asked, merging=merging)
    is_first = extraction.loads_once and not held
    appends = not merging or (is_first and loads_at_once() and holds_no_files(pipeline))
    disposition: Any = "replace" if extraction.full_refresh else "append" if appends else "merge"
    hints = dlt.mark.make_hints(write_disposition=disposition)
    yielded, learned, distinct = False, {}, True
    with extraction.listed("full" if extraction.full_refresh else "incremental", begin) as listed:
        for attempt, tables in listed:
            found: pa.Table | None = None
            for found in tables:
                created_at.advance(_reached(created_at, attempt))
                yield found if yielded else dlt.mark.with_hints(found, hints)
                yielded = True
            is_new = attempt.account not in held or extraction.full_refresh
            if is_new and not yielded:
                created_at.advance(_reached(created_at, attempt))
                yield dlt.mark.with_hints(FILES.empty_table(), hints)
                yielded = True
            run = cast(Increment, attempt.listing)
            distinct = distinct and run.is_distinct
            if run.borders is not None:
                notes.note(attempt.account, run.borders, server=run.client.account.server, purpose=extraction.purpose)
            if is_new or found is not None or run.has_learned:
                learned[attempt.account] = run.reached.remember()
        if merging and disposition == "append" and yielded and not distinct:  # a file may have come twice
            yield dlt.mark.with_hints(FILES.empty_table(), dlt.mark.make_hints(write_disposition="merge"))
        if learned:
            state["accounts"] = {**held, **learned}
            load_state()


def every_file(extraction: Extraction) -> Iterator[object]:
    """Yield every file of each account whose listing is complete.

    Raises:
        FilesSourceError: no account's is.
    """
    pipeline, notes = dlt.current.pipeline(), _border_notes(extraction)
    begin = partial(_scan, extraction=extraction, known=_known_borders(extraction, notes))
    with extraction.spooled("history", begin) as spooled:
        complete = list(spooled)  # whose versions may be retired must be known before the first row
        for attempt, _ in complete:
            scan = cast(Scan, attempt.listing)
            notes.note(attempt.account, scan.borders, server=scan.client.account.server, purpose=scan.purpose)
        if keeps_versions(pipeline):
            hints = version_hints(pipeline, of_purpose=extraction.purpose is not None)
            named = marks([attempt.account for attempt, _ in complete], extraction.purpose)
            tables = chain([named], *(versions(spool) for _, spool in complete))
            none = VERSIONS.empty_table()
        else:
            hints = dlt.mark.make_hints(
                table_name=SNAPSHOTS_TABLE, write_disposition="append", columns=described(SNAPSHOTS)
            )
            tables = chain.from_iterable(snapshot(spool, at=attempt.started_at) for attempt, spool in complete)
            none = SNAPSHOTS.empty_table()
        yield dlt.mark.with_hints(next(tables, none), hints)
        for table in tables:
            yield dlt.mark.with_hints(table, hints)


def what_was_done(extraction: Extraction) -> Iterator[object]:
    """Yield a row of the ledger for each account, once all of their listings have ended."""
    while extraction.running:
        yield None
    if extraction.records:
        disposition: Any = "merge" if merges(dlt.current.pipeline()) else "append"
        rows = ledger(sorted(extraction.records, key=lambda record: record.started_at))
        yield dlt.mark.with_hints(rows, dlt.mark.make_hints(write_disposition=disposition))


def described(schema: pa.Schema) -> Any:
    """Return what each column means, as dlt takes it."""
    return {name: {"description": text} for name, text in descriptions(schema).items()}


def _border_notes(extraction: Extraction) -> BorderNotes:
    return BorderNotes(dlt.current.source_state().setdefault("borders", {}), extraction.limit)


def _known_borders(extraction: Extraction, notes: BorderNotes) -> Borders:
    return {
        account.name: notes.of(account.name, server=account.server, purpose=extraction.purpose)
        for account in extraction.accounts
    }


def _increment(
    client: FilesClient,
    *,
    extraction: Extraction,
    held: Accounts,
    known: Borders,
    asked: Span,
    merging: bool,
    on_page: OnPage | None,
) -> Increment:
    return Increment(
        client=client,
        coverage=Coverage.recall(
            None if extraction.full_refresh else held.get(client.account.name), server=client.account.server
        ),
        asked=asked,
        merges=merging,
        overlap=extraction.overlap,
        limit=extraction.limit,
        again=extraction.full_refresh or (merging and asked.until is not None),
        workers=extraction.workers_each,
        known=known[client.account.name],
        on_page=on_page,
    )


def _scan(client: FilesClient, *, extraction: Extraction, known: Borders, on_page: OnPage | None) -> Scan:
    return Scan(
        client=client,
        purpose=extraction.purpose,
        overlap=extraction.overlap,
        limit=extraction.limit,
        workers=extraction.workers_each,
        known=known[client.account.name],
        on_page=on_page,
    )


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


def _reached(created_at: Cursor, attempt: Attempt[Increment]) -> datetime:
    """Return how far dlt's cursor has come; the coverage in the state is what counts."""
    settled = moment(cast(Increment, attempt.listing).until)
    return max(filter(None, (created_at.last_value, settled)))


def _bound(value: object) -> int | None:
    """Return a bound of the cursor in microseconds since 1970; None where it leaves nothing out."""
    if value is None:
        return None
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ConfigError(f"created_at is bounded by {value!r}: give a datetime, or ISO 8601 text")
    bound = instant(value)
    return bound if bound > EARLIEST * MICROSECONDS else None
