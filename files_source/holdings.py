"""What a destination holds by its own account, and what a run that died has left before it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from dlt.common.configuration import resolve_configuration
from dlt.common.configuration.container import Container
from dlt.common.data_writers import BufferedDataWriter
from dlt.common.destination import AnyDestination
from dlt.common.destination.client import JobClientBase, WithStateSync
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.pipeline import pipeline_state
from dlt.common.versioned_state import decompress_state
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.pipeline.helpers import pipeline_drop
from dlt.pipeline.state_sync import force_state_extract, load_pipeline_state_from_destination

from files_source.coverage import Coverage, Remembered
from files_source.strategies import merge_strategies
from files_source.table_rows import TableRows

SOURCE: Final = "openai_files"
FILES_TABLE: Final = "files"
HISTORY_TABLE: Final = "files_history"
SNAPSHOTS_TABLE: Final = "files_snapshots"
SCANS_TABLE: Final = "scans"
DELETIONS_TABLE: Final = "deletions"
PENDING_TABLE: Final = "deletions_pending"

_TABLES: Final = (FILES_TABLE, HISTORY_TABLE, SNAPSHOTS_TABLE, SCANS_TABLE, DELETIONS_TABLE, PENDING_TABLE)
_LOADS: Final = "_dlt_loads"
_STATE: Final = "_dlt_pipeline_state"
_DAY: Final = 86_400
_LOAD_ID: Final = re.compile(r"(?<!\d)\d{10}\.\d+")
"""How a load is named, as dlt writes it into the names of its files: seconds since 1970."""

Accounts = Mapping[str, Remembered]


def merges(pipeline: dlt.Pipeline) -> bool:
    """Tell whether the destination keeps one row for each primary key, whatever dies in between."""
    return "delete-insert" in _merge_strategies(pipeline)


def keeps_versions(pipeline: dlt.Pipeline) -> bool:
    """Tell whether the destination can keep a slowly changing dimension."""
    return "scd2" in _merge_strategies(pipeline)


def holds_no_files(pipeline: dlt.Pipeline, table: str) -> bool:
    """Tell whether the destination is a database whose table of files has no row, or does not exist."""
    with pipeline.destination_client() as destination:
        return isinstance(destination, SqlJobClientBase) and not TableRows(destination, table).has_any()


def loads_at_once() -> bool:
    """Tell whether all rows that a run appends go into one file, and so into a database in one transaction.

    Otherwise a run that dies can leave a part of them; a merge is one transaction in any case.
    """
    writer = resolve_configuration(BufferedDataWriter.BufferedDataWriterConfiguration())
    return writer.file_max_items is None and writer.file_max_bytes is None


def history_table(pipeline: dlt.Pipeline) -> str:
    """Return the table that history goes into: of versions, or of snapshots where those cannot be kept."""
    return HISTORY_TABLE if keeps_versions(pipeline) else SNAPSHOTS_TABLE


def accounts_held(
    pipeline: dlt.Pipeline, table: str, servers: Mapping[str, str], *, local: Mapping[str, Any] | None = None
) -> Accounts:
    """Return what the destination remembers of each account's files in a table, as far as the rows are there.

    What dlt keeps of earlier loads is looked for under whatever names the pipeline, its source and its
    resource had then: it is about the table. The state in the working folder may be about another
    database, or a later state of this one; it counts only where the destination keeps none.

    A database is asked for a few files that it must have: one query for every 500 of them, of which an
    account has about forty, however many rows the table has. What is remembered counts up to the newest
    that is there. So an emptied, truncated or dropped table has nothing, and neither has one whose
    latest rows were deleted. A folder of Parquet must have a file of a finished load.

    Args:
        servers: of the accounts to ask for, by name, the `Account.server`.
        local: the resource's state in the working folder.
    """
    if pipeline.destination is None:
        return _remembered([local or {}], table)
    with pipeline.destination_client() as destination:
        if not isinstance(destination, WithStateSync):
            return _remembered([local or {}], table)
        try:
            states = list(_states(destination, pipeline.pipeline_name))
        except DestinationUndefinedEntity:
            return {}
        accounts = _remembered((resource for state in states for resource in _resources(state)), table)
        if not accounts or isinstance(destination, FilesystemClient):
            return accounts if _has_table(destination, table) else {}
        if not isinstance(destination, SqlJobClientBase):
            return accounts
        return _believed(accounts, servers, TableRows(destination, table))


def accounts_without_rows(pipeline: dlt.Pipeline, table: str, accounts: Collection[str]) -> frozenset[str]:
    """Return those of *accounts* that have no row in a table; a destination that cannot be asked is taken to have some.

    A database is asked once if the table is empty, and otherwise once for each account.
    """
    if not accounts:
        return frozenset()
    with pipeline.destination_client() as destination:
        if isinstance(destination, SqlJobClientBase):
            rows = TableRows(destination, table)
            has_any = rows.has_any()
            return frozenset(name for name in accounts if not (has_any and rows.has_any(name)))
        is_empty = isinstance(destination, FilesystemClient) and not _has_table(destination, table)
        return frozenset(accounts if is_empty else ())


def file_ids(pipeline: dlt.Pipeline, table: str, account: str) -> Iterator[pa.Array]:
    """Yield the ids of an account's files in a table, some at a time; none where the destination cannot be asked."""
    with pipeline.destination_client() as destination:
        if isinstance(destination, SqlJobClientBase):
            yield from TableRows(destination, table).ids(account)
        elif isinstance(destination, FilesystemClient):
            complete = _complete(destination)
            for path in _paths(destination, table):
                if path.endswith(".parquet") and not _is_left(path, complete):
                    with destination.fs_client.open(path, "rb") as file:
                        rows = pyarrow.parquet.read_table(file, columns=["account", "id"])
                    yield rows.filter(pc.equal(rows.column("account"), account)).column("id").combine_chunks()


def _believed(accounts: Mapping[str, Remembered], servers: Mapping[str, str], rows: TableRows) -> Accounts:
    """Return what is remembered of accounts, cut to what the rows of a table bear out; of others, all of it."""
    asked = {
        name: Coverage.recall(accounts[name], server=accounts[name]["server"]) for name in servers if name in accounts
    }
    witnesses = {name: coverage.witnesses() for name, coverage in asked.items()}
    present = rows.present(sorted({file_id for ids in witnesses.values() for file_id in ids}))
    believed = dict(accounts)
    for name, coverage in asked.items():
        here = {file_id for account, file_id in present if account == name}
        if not here and coverage.spans and not rows.has_any(name):
            believed[name] = Coverage(coverage.server).remember()
        elif witnesses[name]:
            believed[name] = coverage.believed(here).remember()
    return believed


def load_state() -> None:
    """Let this run load its state with its rows, even one that dlt has loaded before.

    That may have been into another state of the place, such as one before it was restored.
    """
    state, _ = pipeline_state(Container())
    force_state_extract(state)


def forget_lost_tables(pipeline: dlt.Pipeline) -> None:
    """Let dlt make tables again that were dropped while its notes of them are there."""
    pipeline.sync_destination()
    if pipeline.default_schema_name is None:
        return
    known = pipeline.default_schema.data_table_names()
    with pipeline.destination_client() as destination:
        if not isinstance(destination, SqlJobClientBase):
            return
        found = destination.get_storage_tables([name for name in _TABLES if name in known])
        lost = [name for name, columns in found if not columns]
    if lost:
        pipeline_drop(pipeline, resources=lost)()


def discard_pending(pipeline: dlt.Pipeline) -> bool:
    """Drop what dlt keeps on this machine, and return whether a run that died had left something.

    What that had listed is listed again: to load it could double what it had loaded already, and
    the destination may have moved on since, or back to a backup. All that counts stands there. Only
    where the destination keeps no state, what is left is loaded.
    """
    is_left = _has_pending(pipeline)
    if issubclass(_client_class(pipeline), WithStateSync):
        pipeline.drop()
    elif is_left:
        pipeline.run()
    return is_left


def drop_unfinished(pipeline: dlt.Pipeline) -> bool:
    """Drop what a run has left that failed just now, and tell whether nothing is left."""
    if _has_pending(pipeline) and issubclass(_client_class(pipeline), WithStateSync):
        pipeline.drop()
    return not _has_pending(pipeline)


def _has_pending(pipeline: dlt.Pipeline) -> bool:
    try:
        return pipeline.has_pending_data
    except OSError:  # a run has died while it dropped what another had left
        return True


def remove_leftovers(pipeline: dlt.Pipeline, *, alone: bool) -> None:
    """Remove the Parquet files of loads that never became complete.

    Readers leave them out in any case. Unless this run is *alone*, those of the last day may belong
    to a run that is going on elsewhere, and stay.
    """
    if not issubclass(_client_class(pipeline), FilesystemClient):
        return
    with pipeline.destination_client() as destination:
        if not isinstance(destination, FilesystemClient):
            return
        if not destination.is_storage_initialized():
            _remove_bare_folder(destination)
            return
        complete = _complete(destination)
        before = time.time() - (0 if alone else _DAY)
        for table in _TABLES:
            for path in _paths(destination, table):
                if _is_left(path, complete) and float(_load_id(path) or 0) < before:
                    destination.fs_client.rm_file(path)


def _remove_bare_folder(destination: FilesystemClient) -> None:
    """Remove the folder that a first run made before it died: dlt refuses one that it has not made itself."""
    files, folder = destination.fs_client, destination.dataset_path
    if files.isdir(folder) and not files.ls(folder):
        files.rmdir(folder)


def _complete(destination: FilesystemClient) -> frozenset[str] | None:
    """Return the loads that dlt has noted as complete; None where somebody has removed its notes."""
    noted = frozenset(filter(None, map(_load_id, _paths(destination, _LOADS))))
    if noted or destination.fs_client.isdir(destination.get_table_dir(_LOADS)):
        return noted
    return None if len(_paths(destination, _STATE)) > 1 else noted  # one may be of a first run that died


def _is_left(path: str, complete: frozenset[str] | None) -> bool:
    """Tell whether a file is of a load that never became complete."""
    load_id = _load_id(path)
    return load_id is not None and complete is not None and load_id not in complete


def _paths(destination: FilesystemClient, table: str) -> list[str]:
    if not destination.fs_client.isdir(destination.get_table_dir(table)):
        return []
    return destination.list_table_files(table)


def _load_id(path: str) -> str | None:
    """Return the load that a file of dlt's belongs to, by its name."""
    found = _LOAD_ID.search(path.rpartition("/")[2])
    return found and found[0]


def _client_class(pipeline: dlt.Pipeline) -> type[JobClientBase]:
    return pipeline.destination.client_class


def _merge_strategies(pipeline: dlt.Pipeline) -> Sequence[str]:
    destination = cast("AnyDestination | None", pipeline.destination)
    return () if destination is None else merge_strategies(destination)


def _states(destination: WithStateSync, name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the states of dlt that may be about a table.

    A database merges, so that a pipeline's own state will do. A folder is appended to: it must be known
    what other pipelines have put there.
    """
    if not isinstance(destination, FilesystemClient):
        state = load_pipeline_state_from_destination(name, destination)
        if state is not None:
            yield state
        return
    newest: dict[str, tuple[str, str]] = {}
    complete = _complete(destination)
    for path in _paths(destination, _STATE):
        load_id = _load_id(path)
        if load_id is not None and (complete is None or load_id in complete):
            pipeline = path.rpartition("/")[2].partition(f"__{load_id}")[0]
            newest[pipeline] = max(newest.get(pipeline, ("", "")), (load_id, path))
    for _, path in newest.values():
        stored = json.loads(destination.fs_client.read_text(path, encoding="utf-8"))
        yield decompress_state(stored["state"])


def _remembered(resources: Iterable[Mapping[str, Any]], table: str) -> dict[str, Remembered]:
    """Return what the states of resources remember of each account's files in a table: what was loaded last.

    States of loads before the one with which the table was begun anew are about rows that are gone.
    """
    about = [known for known in resources if "accounts" in known and known.get("table", FILES_TABLE) == table]
    begun = max((str(known.get("begun", "")) for known in about), default="")
    found: dict[str, Remembered] = {}
    for resource in sorted(about, key=lambda resource: str(resource.get("load_id", ""))):
        if str(resource.get("load_id", "")) >= begun:
            found |= resource["accounts"]
    return found


def _resources(state: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the states of all resources of all sources, whatever they are called."""
    for source in state.get("sources", {}).values():
        yield from source.get("resources", {}).values()


def _has_table(destination: JobClientBase, name: str) -> bool:
    if isinstance(destination, FilesystemClient):
        complete = _complete(destination)
        return not all(_is_left(path, complete) for path in _paths(destination, name))
    return True
