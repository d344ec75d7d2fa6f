"""What a destination holds by its own account, and what a run that died has left before it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import dlt
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

from files_source.coverage import Remembered
from files_source.strategies import merge_strategies

SOURCE: Final = "openai_files"
FILES_TABLE: Final = "files"
HISTORY_TABLE: Final = "files_history"
SNAPSHOTS_TABLE: Final = "files_snapshots"
SCANS_TABLE: Final = "scans"
DELETIONS_TABLE: Final = "deletions"

_TABLES: Final = (FILES_TABLE, HISTORY_TABLE, SNAPSHOTS_TABLE, SCANS_TABLE, DELETIONS_TABLE)
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


def holds_no_files(pipeline: dlt.Pipeline) -> bool:
    """Tell whether the destination is a database whose table of files has no row, or is not there."""
    with pipeline.destination_client() as destination:
        if not isinstance(destination, SqlJobClientBase):
            return False
        if not _has_table(destination, FILES_TABLE):
            return True
        client = destination.sql_client
        return not client.execute_sql(f"SELECT 1 FROM {client.make_qualified_table_name(FILES_TABLE)} LIMIT 1")


def loads_at_once() -> bool:
    """Tell whether all rows that a run appends go into one file, and so into a database in one transaction.

    Otherwise a run that dies can leave a part of them; a merge is one transaction in any case.
    """
    writer = resolve_configuration(BufferedDataWriter.BufferedDataWriterConfiguration())
    return writer.file_max_items is None and writer.file_max_bytes is None


def history_table(pipeline: dlt.Pipeline) -> str:
    """Return the table that history goes into: of versions, or of snapshots where those cannot be kept."""
    return HISTORY_TABLE if keeps_versions(pipeline) else SNAPSHOTS_TABLE


def accounts_held(pipeline: dlt.Pipeline, local: Mapping[str, Any]) -> Accounts:
    """Return what the destination remembers of each account, and nothing where its table is gone.

    The working folder's own state may be about another database, or a later state of this one. It
    counts only where the destination keeps none.
    """
    stored = _stored(pipeline)
    if stored is None:
        return cast(Accounts, local.get("accounts", {}))
    accounts, has_table = stored
    return accounts if has_table else {}


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


def _stored(pipeline: dlt.Pipeline) -> tuple[Accounts, bool] | None:
    """Return what the destination remembers and whether it has the table; None where it keeps no state."""
    if pipeline.destination is None:
        return None
    with pipeline.destination_client() as destination:
        if not isinstance(destination, WithStateSync):
            return None
        try:
            state = _state(destination, pipeline.pipeline_name)
        except DestinationUndefinedEntity:
            return {}, True
        accounts = cast(Accounts, _resource(state or {}).get("accounts", {}))
        return accounts, not accounts or _has_table(destination, FILES_TABLE)


def _state(destination: WithStateSync, name: str) -> Mapping[str, Any] | None:
    """Return the pipeline's state as the last complete load has left it.

    In a folder, dlt writes the state before it notes the load as complete, and reads it back even
    if it never came to that.
    """
    if not isinstance(destination, FilesystemClient):
        return load_pipeline_state_from_destination(name, destination)
    complete = _complete(destination)
    states = {
        load_id: path
        for path in _paths(destination, _STATE)
        if (load_id := _load_id(path)) and path.rpartition("/")[2].startswith(f"{name}__")
    }
    counted = [load_id for load_id in states if complete is None or load_id in complete]
    if not counted:
        return None
    newest = json.loads(destination.fs_client.read_text(states[max(counted)], encoding="utf-8"))
    return decompress_state(newest["state"])


def _resource(state: Mapping[str, Any]) -> dict[str, Any]:
    source = state.get("sources", {}).get(SOURCE, {})
    return cast(dict[str, Any], source.get("resources", {}).get(FILES_TABLE, {}))


def _has_table(destination: JobClientBase, name: str) -> bool:
    if isinstance(destination, FilesystemClient):
        complete = _complete(destination)
        return not all(_is_left(path, complete) for path in _paths(destination, name))
    if isinstance(destination, SqlJobClientBase):
        _, columns = destination.get_storage_table(name)
        return bool(columns)
    return True
