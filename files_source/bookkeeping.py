"""Fill dlt's own columns of a table, whichever settings made them and whichever hold now."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import dlt
import pyarrow as pa
from dlt.common.configuration import resolve_configuration
from dlt.common.normalizers.utils import generate_dlt_ids
from dlt.common.schema import utils
from dlt.common.storages.exceptions import CurrentLoadPackageStateNotAvailable
from dlt.extract.resource import DltResource
from dlt.normalize.configuration import ItemsNormalizerConfiguration

from files_source.errors import ConfigError

_LOAD: Final = "_dlt_load_id"
_ROW: Final = "_dlt_id"
_SETTING: Final = "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_ID"


def filled(resource: DltResource) -> DltResource:
    """Give the rows of *resource* those of dlt's own columns that their table has, or should get.

    dlt declares these columns NOT NULL when its settings ask for them, and stops filling them when the
    settings no longer do. Here a load's id may be null, so that an existing table can get the column.
    """
    return resource.add_map(partial(_filled, resource))


def _filled(resource: DltResource, rows: Any, meta: object = None) -> Any:
    if not isinstance(rows, pa.Table):
        return rows
    try:
        load = dlt.current.load_package_state()["load_id"]
    except CurrentLoadPackageStateNotAvailable:  # somebody looks at the rows, and loads them nowhere
        return rows
    hints: Mapping[str, Any] = getattr(meta, "hints", None) or {}
    name = str(hints.get("table_name") or resource.table_name)
    schema = dlt.current.source_schema()
    table = schema.tables.get(schema.naming.normalize_table_identifier(name), {})
    columns = {name for name, column in table.get("columns", {}).items() if utils.is_complete_column(column)}
    wanted = resolve_configuration(ItemsNormalizerConfiguration(), sections=("normalize", "parquet_normalizer"))
    has_load, has_row = (schema.naming.normalize_identifier(column) in columns for column in (_LOAD, _ROW))
    if wanted.add_dlt_id and columns and not has_row:
        _check_can_have_row_ids(name)
    if has_load or wanted.add_dlt_load_id:
        rows = rows.append_column(_LOAD, pa.repeat(pa.scalar(load), rows.num_rows))
    if has_row and not wanted.add_dlt_id:
        ids = pa.array(generate_dlt_ids(rows.num_rows), pa.string())
        rows = rows.append_column(pa.field(_ROW, pa.string(), nullable=False), ids)
    return rows


def _check_can_have_row_ids(table: str) -> None:
    """Refuse at once what the destination would refuse after the whole listing.

    Raises:
        ConfigError: dlt would add a NOT NULL column to a table that has rows.
    """
    pipeline = dlt.current.pipeline()
    if pipeline.destination.capabilities().enforces_nulls_on_alter:
        raise ConfigError(
            f"the table {table} was made without {_ROW}, which dlt cannot add to it: set "
            f"{pipeline.pipeline_name.upper()}__{_SETTING}=false for this pipeline"
        )
