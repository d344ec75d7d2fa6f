"""What a destination holds by its own account, and what a run that died has left before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, cast

import dlt
from dlt.common.destination import AnyDestination
from dlt.common.destination.client import JobClientBase, WithStateSync
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.pipeline.state_sync import load_pipeline_state_from_destination

from files_source.coverage import Remembered

SOURCE: Final = "openai_files"
TABLE: Final = "files"

Accounts = Mapping[str, Remembered]


def merges(pipeline: dlt.Pipeline) -> bool:
    """Tell whether the destination keeps one row for each primary key, whatever dies in between."""
    destination = cast("AnyDestination | None", pipeline.destination)
    return destination is not None and "delete-insert" in (destination.capabilities().supported_merge_strategies or ())


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


def has_lost_its_table(pipeline: dlt.Pipeline) -> bool:
    """Tell whether the table was dropped, or its folder removed, while the state beside it is there."""
    accounts, has_table = _stored(pipeline) or ({}, True)
    return bool(accounts) and not has_table


def digest(accounts: Accounts) -> str:
    """Return a short text that is the same for the same accounts held."""
    return hashlib.sha256(json.dumps(accounts, sort_keys=True).encode()).hexdigest()[:16]


def finish_pending(pipeline: dlt.Pipeline) -> bool:
    """Load what a run that died has left, or drop it where the destination has moved on since.

    Returns:
        Whether anything was loaded.
    """
    if not pipeline.has_pending_data:
        return False
    left = _resource(pipeline.state)
    if _stored(pipeline) is None or digest(accounts_held(pipeline, left)) == left.get("base"):
        try:
            return pipeline.run() is not None
        except PipelineStepFailed as failed:
            if failed.step != "normalize":  # there, dlt trips for ever over a folder that it had half moved
                raise
    _remove_partial_files(pipeline)
    pipeline.drop()
    return False


def _stored(pipeline: dlt.Pipeline) -> tuple[Accounts, bool] | None:
    """Return what the destination remembers and whether it has the table; None where it keeps no state."""
    if pipeline.destination is None:
        return None
    with pipeline.destination_client() as destination:
        if not isinstance(destination, WithStateSync):
            return None
        try:
            state: Any = load_pipeline_state_from_destination(pipeline.pipeline_name, destination)
        except DestinationUndefinedEntity:
            return {}, True
        accounts = cast(Accounts, _resource(state or {}).get("accounts", {}))
        return accounts, not accounts or _has_table(destination)


def _resource(state: Mapping[str, Any]) -> dict[str, Any]:
    source = state.get("sources", {}).get(SOURCE, {})
    return cast(dict[str, Any], source.get("resources", {}).get(TABLE, {}))


def _has_table(destination: JobClientBase) -> bool:
    if isinstance(destination, FilesystemClient | SqlJobClientBase):
        _, columns = destination.get_storage_table(TABLE)
        return bool(columns)
    return True


def _remove_partial_files(pipeline: dlt.Pipeline) -> None:
    """Remove the files of packages that never became complete from a folder, which cannot take them back."""
    with pipeline.destination_client() as destination:
        if not isinstance(destination, FilesystemClient) or not destination.is_storage_initialized():
            return
        complete = " ".join(destination.list_table_files("_dlt_loads"))
        pending = [*pipeline.list_extracted_load_packages(), *pipeline.list_normalized_load_packages()]
        for path in destination.list_table_files(TABLE):
            name = destination.pathlib.basename(path)
            if any(name.startswith(load_id) and load_id not in complete for load_id in pending):
                destination.fs_client.rm_file(path)
