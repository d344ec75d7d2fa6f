"""What the resources yield: the files that are new, every file as history, and the ledger."""

from __future__ import annotations

import time
from collections.abc import Generator
from functools import partial
from itertools import chain
from threading import get_ident
from typing import Any, Final, cast

import dlt

from files_source.client import FilesClient
from files_source.coverage import Coverage, Remembered
from files_source.dlt_run import Run
from files_source.errors import ConfigError
from files_source.extraction import Extraction
from files_source.holdings import (
    FILES_TABLE,
    HISTORY_TABLE,
    SCANS_TABLE,
    SNAPSHOTS_TABLE,
    Accounts,
    accounts_held,
    file_ids,
    keeps_versions,
)
from files_source.missed import missed
from files_source.new_files import OVERLAP, Borders, border_notes, known_borders
from files_source.progress import OnPage
from files_source.scan import Scan
from files_source.scan_rows import described, ledger_beside, ledger_item
from files_source.scope import marks, version_hints
from files_source.spool import Spool
from files_source.versions import SNAPSHOTS, VERSIONS, snapshot, versions

_POLL: Final = 0.01
"""Seconds between two looks at whether the listings are over."""


def every_file(extraction: Extraction) -> Generator[object, None, None]:
    """Yield every file of each account whose listing is complete.

    Raises:
        ConfigError: dlt would stop the resource early, so that files that exist would be retired.
        FilesSourceError: no account's listing is complete.
    """
    run, notes = Run.current(), border_notes(extraction)
    if SCANS_TABLE in run.selected:
        extraction.let_the_ledger_begin()
    run.refuse_row_filters()
    if run.limit is not None:
        raise ConfigError("a history needs every file, as it retires those that it does not see: leave out add_limit")
    begin = partial(_scan, extraction=extraction, known=known_borders(extraction, notes))
    with extraction.spooled("history", begin, load=run.load_id) as spooled:
        complete = list(spooled)  # whose versions may be retired must be known before the first row
        held = {} if run.pipeline is None or FILES_TABLE in run.dropped else _held(extraction, run.pipeline)
        for attempt, spool in complete:
            scan = cast(Scan, attempt.listing)
            notes.note(attempt.account, scan.borders, server=scan.client.account.server, purpose=scan.purpose)
            found = _missed(attempt.account, spool, held.get(attempt.account), run.pipeline)
            extraction.amend(attempt.account, missed=found)
        hints: Any = None
        if run.pipeline is None or keeps_versions(run.pipeline):
            tables = chain.from_iterable(versions(spool) for _, spool in complete)
            if run.pipeline is not None:
                hints = version_hints(run.pipeline, of_purpose=extraction.purpose is not None)
                tables = chain([marks([attempt.account for attempt, _ in complete], extraction.purpose)], tables)
            none = VERSIONS.empty_table()
        else:
            hints = dlt.mark.make_hints(
                table_name=SNAPSHOTS_TABLE, write_disposition="append", columns=described(SNAPSHOTS)
            )
            tables = chain.from_iterable(snapshot(spool, at=attempt.started_at) for attempt, spool in complete)
            none = SNAPSHOTS.empty_table()
        yield dlt.mark.with_hints(next(tables, none), hints) if hints else next(tables, none)
        for table in tables:
            yield dlt.mark.with_hints(table, hints) if hints else table
    yield from ledger_beside(extraction, run)


def what_was_done(extraction: Extraction) -> Generator[object, None, None]:
    """Yield a row of the ledger for each account, once all of their listings have ended."""
    run = Run.current()
    if run.selected & {FILES_TABLE, HISTORY_TABLE}:
        yield None
        extraction.is_awaited.set()
    while run.selected & {FILES_TABLE, HISTORY_TABLE} and extraction.over != run.load_id:
        if extraction.thread != get_ident():
            time.sleep(_POLL)  # dlt lists on another thread, which this one must not keep from its work
        yield None
    extraction.is_awaited.clear()
    if records := extraction.take_records():
        yield ledger_item(records, run)


def _scan(client: FilesClient, *, extraction: Extraction, known: Borders, on_page: OnPage | None) -> Scan:
    return Scan(
        client=client,
        purpose=extraction.purpose,
        overlap=OVERLAP if extraction.overlap is None else extraction.overlap,
        limit=extraction.limit,
        workers=extraction.workers_each,
        known=known[client.account.name],
        on_page=on_page,
    )


def _held(extraction: Extraction, pipeline: dlt.Pipeline) -> Accounts:
    servers = {account.name: account.server for account in extraction.accounts}
    return accounts_held(pipeline, FILES_TABLE, servers)


def _missed(account: str, spool: Spool, remembered: Remembered | None, pipeline: dlt.Pipeline | None) -> int | None:
    """Return how many of an account's files increments have missed; None where there were none."""
    if remembered is None or pipeline is None:
        return None
    coverage = Coverage.recall(remembered, server=remembered["server"])
    return missed(spool, file_ids(pipeline, FILES_TABLE, account), coverage)
