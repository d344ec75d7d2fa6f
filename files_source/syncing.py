"""One run into one place: what an earlier run left behind, then what is new."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from tempfile import gettempdir
from typing import Any, Final

import dlt
import duckdb
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.exceptions import DltException
from dlt.pipeline.exceptions import PipelineStepFailed
from filelock import FileLock, Timeout

from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.destinations import Target, target
from files_source.errors import AccountsError, ConfigError, FilesSourceError, LoadError, excerpt
from files_source.holdings import (
    FILES_TABLE,
    discard_pending,
    forget_lost_tables,
    history_table,
    merges,
    remove_leftovers,
)
from files_source.ledger import ScanRecord
from files_source.places import DATASET, HELD
from files_source.progress import OnPage
from files_source.scan_rows import scan_log
from files_source.source import openai_files

PIPELINE: Final = "openai_files"
DATABASE: Final = "inventory.duckdb"

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_LISTED_AGAIN: Final = "the next run lists and loads them again"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
    missed: int | None
    query: str | None


class SyncedInPart(AccountsError):
    """Some of several accounts could not be listed; the others are loaded.

    Attributes:
        done: what was loaded.
    """

    def __init__(self, failures: Mapping[str, str], done: Synced) -> None:
        super().__init__(failures, of=done.accounts + len(failures), outcome="the others are loaded")
        self.done = done


def sync(
    to: str = DATABASE,
    *,
    purpose: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
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
        to: `PATH.duckdb`, `DIR/`, `parquet:URL` or the name of a dlt destination.
        purpose: only files of this purpose.
        since: only files created at or after this time.
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
    if since is not None or until is not None:
        given["created_at"] = dlt.sources.incremental(
            initial_value=since or (_BEGINNING if until else None), end_value=until
        )
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
    reason = "interrupted" if any(isinstance(cause, KeyboardInterrupt) for cause in _causes(failed)) else "not loaded"
    if isinstance(failed, PipelineStepFailed) and failed.step != "extract":
        discard_pending(pipeline)
    if records:
        ended = [
            replace(
                record, rows=0, watermark=None, complete=False, exact=False, missed=None, error=record.error or reason
            )
            for record in records
        ]
        pipeline.run(scan_log(ended, merging=merges(pipeline)))


@contextmanager
def opened(place: Target, *, after_failure: str = _LISTED_AGAIN) -> Iterator[tuple[dlt.Pipeline, bool]]:
    """Give the pipeline into a place, alone there and cleared of what a run that died has left, and whether it had.

    Args:
        after_failure: what becomes of rows that the destination did not take.

    Raises:
        ConfigError: the place is not configured, or needs a package.
        LoadError: another run into it is going on, it cannot be opened, or it did not take the rows.
    """
    with _one_clear_error(place, after_failure), _alone(place):
        pipeline = dlt.pipeline(
            PIPELINE,
            pipelines_dir=str(place.working_folder),
            destination=place.destination,
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
        LoadError: one is going on.
    """
    place.working_folder.mkdir(parents=True, exist_ok=True)
    locks = [place.working_folder / "lock", *filter(None, [place.lock])]
    try:
        with ExitStack() as held:
            for lock in locks:
                held.enter_context(FileLock(lock, timeout=0))
            yield
    except Timeout:
        raise LoadError(f"another run into {place.name} is going on: wait for its end, and run again") from None


@contextmanager
def _one_clear_error(place: Target, after_failure: str) -> Iterator[None]:
    """Turn what dlt wraps around a failure back into the failure."""
    try:
        yield
    except ImportError as failed:
        raise ConfigError(
            f"{place.name} needs the package {failed.name}, which is not installed: pip install 'dlt[{place.name}]'"
        ) from None
    except (DltException, OSError, duckdb.Error) as failed:
        causes = list(_causes(failed))
        for cause in causes:
            if isinstance(cause, FilesSourceError | KeyboardInterrupt):
                raise cause from None
        if held := HELD.search(str(causes[-1])):
            raise LoadError(
                f"{place.name} is open in another program (PID {held[1]}): close it there and run this again"
            ) from failed
        step = failed.step if isinstance(failed, PipelineStepFailed) else "sync"
        reason = excerpt(" ".join(str(causes[-1]).split()))
        if any(isinstance(cause, ConfigurationException) for cause in causes):
            raise ConfigError(f"{place.name} is not configured as dlt needs it: {reason}") from None
        if step != "load" and any(isinstance(cause, OSError) and cause.errno in _NO_ROOM for cause in causes):
            raise LoadError(
                f"the rows for {place.name} cannot be kept on their way: {reason}; make room in {gettempdir()} and "
                f"{place.working_folder} (TMPDIR and DLT_DATA_DIR name others), and run again"
            ) from failed
        if step == "sync":
            raise LoadError(f"{place.name} cannot be opened: {reason}; see to it, and run again") from failed
        raise LoadError(
            f"{place.name} did not take the rows ({step}): {reason}; what it held is still there, and {after_failure}"
        ) from failed


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was made of, the first cause last."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        inner = following.exception if isinstance(following, PipelineStepFailed) else None
        following = inner or following.__cause__ or following.__context__
