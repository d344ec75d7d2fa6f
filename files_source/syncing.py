"""One run into one place: what an earlier run left behind, then what is new."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import dlt
import duckdb
from dlt.common.exceptions import DltException
from dlt.pipeline.exceptions import PipelineStepFailed
from filelock import FileLock, Timeout

from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.destinations import Target, target
from files_source.errors import AccountsError, FilesSourceError, LoadError, causes
from files_source.failures import no_working_folder, one_clear_error
from files_source.handover import within_limits
from files_source.holdings import (
    FILES_TABLE,
    discard_pending,
    drop_unfinished,
    forget_lost_tables,
    history_table,
    merges,
    remove_leftovers,
)
from files_source.ledger import ScanRecord, ledger
from files_source.places import DATASET, AnyPlace
from files_source.progress import OnPage
from files_source.scan_rows import scan_log
from files_source.shield import PIPELINE, shielded
from files_source.source import openai_files
from files_source.stopping import hearing_interrupted_queries
from files_source.times import Time, window

DATABASE: Final = "inventory.duckdb"

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_LISTED_AGAIN: Final = "the next run lists and loads them again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What a run did.

    Attributes:
        to: where the rows went.
        rows: files loaded; those loaded before and merged again count too.
        pages: pages of the listing read.
        requests: requests sent, those sent again included.
        retries: how many were sent again.
        received: bytes of answers, as they travelled.
        seconds: how long the run took.
        accounts: how many accounts' listings were complete.
        discarded: whether a run that had died had left something, which was dropped first.
        missed: of a history run, how many files it found that incremental runs into this place should
            have loaded and did not; None if there were none, or of another run.
        query: a command that looks at the table; None where that depends on the destination.
    """

    to: str
    rows: int
    pages: int
    requests: int
    retries: int
    received: int
    seconds: float
    accounts: int
    discarded: bool
    missed: int | None = None
    query: str | None


class SyncedInPart(AccountsError):
    """Some of several accounts could not be listed; the others are loaded.

    Attributes:
        done: what was loaded.
    """

    def __init__(self, failures: Mapping[str, str], done: Synced) -> None:
        super().__init__(failures, of=done.accounts + len(failures), outcome="the others are loaded")
        self.done = done


@shielded()
def sync(
    to: AnyPlace = DATABASE,
    *,
    purpose: str | None = None,
    since: Time | None = None,
    until: Time | None = None,
    limit: int | None = None,
    overlap: int | None = None,
    full_refresh: bool = False,
    history: bool = False,
    accounts: Sequence[Account] | None = None,
    workers: int | None = None,
    client: FilesClient | None = None,
    on_page: OnPage | None = None,
    **settings: str | int | None,
) -> Synced:
    """Load the files that *to* lacks into it, and return what was done.

    Args:
        to: `PATH.duckdb`, `DIR/`, `parquet:URL`, a database's URL (`postgresql://...`, `sqlite:///PATH`) or
            the name of a dlt destination. A password that a URL leaves out comes from the environment,
            which is its place: a command line can be read by others, and is kept.
        purpose: only files of this purpose.
        since: only files created at or after this time: a datetime, a date or ISO 8601 text, in UTC
            where it names no zone, or how long ago, such as `7d`, by this machine's clock.
        until: only files created before this time.
        limit, overlap, full_refresh, history, accounts, workers, client, on_page: as `openai_files`
            takes them.
        settings: further arguments of `openai_files`, such as `base_url`; None leaves one to dlt's
            configuration and the environment.

    Raises:
        ConfigError: a setting is missing or cannot be used.
        ApiError, TransportError, DecodeError, CursorError: the only account's listing failed;
            nothing of it is loaded.
        SyncedInPart: some of several accounts' did; the others are loaded.
        AccountsError: all of several accounts' did, or one of those that should replace the table.
        LoadError: the destination did not take the rows; the next run lists them again.
    """
    began = time.monotonic()
    begin, end = window(since, until)
    place = target(to)
    records: list[ScanRecord] = []
    given: dict[str, Any] = {
        "purpose": purpose,
        "limit": limit,
        "overlap": overlap,
        "accounts": accounts,
        "workers": workers,
        "client": client,
        "on_page": on_page,
        "on_scan": records.append,
        **settings,
    }
    if begin is not None or end is not None:
        given["created_at"] = dlt.sources.incremental(initial_value=begin or _BEGINNING, end_value=end)
    source = openai_files(
        full_refresh=full_refresh,
        history=history,
        loads_once=place.lock is not None,
        **{name: value for name, value in given.items() if value is not None},
    )
    with opened(place) as (pipeline, discarded):
        try:
            pipeline.run(source)
        except (PipelineStepFailed, KeyboardInterrupt) as failed:
            if any(isinstance(cause, FilesSourceError | KeyboardInterrupt) for cause in causes(failed)):  # no full disk
                with suppress(DltException, OSError, duckdb.Error):  # the failure itself is the one to tell
                    _log_failure(pipeline, records, failed)
            raise
    failures = {record.account: record.error for record in records if record.error is not None}
    done = Synced(
        to=place.name,
        rows=sum(record.rows for record in records),
        pages=sum(record.pages for record in records),
        requests=sum(record.requests for record in records),
        retries=sum(record.retries for record in records),
        received=sum(record.received for record in records),
        seconds=time.monotonic() - began,
        accounts=len(records) - len(failures),
        discarded=discarded,
        missed=sum(found) if (found := [record.missed for record in records if record.missed is not None]) else None,
        query=place.query(history_table(pipeline) if history else FILES_TABLE),
    )
    if failures:
        raise SyncedInPart(failures, done)
    return done


def _log_failure(pipeline: dlt.Pipeline, records: Sequence[ScanRecord], failed: BaseException) -> None:
    """Load the rows of the ledger of a run that failed or was interrupted: nothing that it listed is loaded."""
    reason = "interrupted" if any(isinstance(cause, KeyboardInterrupt) for cause in causes(failed)) else "not loaded"
    if records and drop_unfinished(pipeline):
        ended = [
            replace(
                record, rows=0, watermark=None, complete=False, exact=False, missed=None, error=record.error or reason
            )
            for record in records
        ]
        pipeline.run(scan_log(within_limits(ledger(ended), pipeline), merging=merges(pipeline)))


@contextmanager
def opened(place: Target, *, after_failure: str = _LISTED_AGAIN) -> Iterator[tuple[dlt.Pipeline, bool]]:
    """Give the pipeline into a place, alone there and cleared of what a run that died has left, and whether it had.

    Args:
        after_failure: what becomes of rows that the destination did not take.

    Raises:
        ConfigError: the place is not configured, or needs a package.
        LoadError: another run into it is going on, it cannot be opened, or it did not take the rows.
    """
    with hearing_interrupted_queries(), one_clear_error(place, after_failure), _alone(place), shielded():
        pipeline = dlt.pipeline(
            PIPELINE,
            pipelines_dir=str(place.working_folder),
            destination=place.destination,
            staging=place.staging,
            dataset_name=DATASET,
        )
        discarded = discard_pending(pipeline)
        forget_lost_tables(pipeline)
        remove_leftovers(pipeline, alone=place.lock is not None)
        yield pipeline, discarded


@contextmanager
def _alone(place: Target) -> Iterator[None]:
    """Keep other runs of this machine out of a place.

    Raises:
        LoadError: one is going on, or that cannot be told.
    """
    try:
        place.working_folder.mkdir(parents=True, exist_ok=True)
        own = _locked(place.working_folder / "lock", place)
    except OSError as error:
        raise no_working_folder(place, error.strerror or str(error)) from error
    with own, nullcontext() if place.lock is None else _locked(place.lock, place):
        yield


def _locked(path: Path, place: Target) -> FileLock:
    """Return a lock that is held."""
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        if not path.exists():  # how a folder behaves that takes no files, such as /proc
            raise LoadError(
                f"{place.name} cannot be opened: {path.parent} takes no new file, such as the lock {path.name}; give "
                "another place"
            ) from None
        raise LoadError(f"another run into {place.name} is going on: wait for its end, and run again") from None
    return lock
