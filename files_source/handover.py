"""What is handed to dlt: rows in a form that the destination can hold, and columns that hold as much as they can."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from importlib import import_module
from typing import Final

import dlt
import pyarrow as pa
from dlt.extract.items import DataItemWithMeta

from files_source.dlt_run import Run
from files_source.storable import Limits, limits_of, storable

_TYPES: Final = {
    "MysqlVariantTypeMapper": ("files_source.sqlalchemy_types", "MysqlLongText"),
    "MssqlVariantTypeMapper": ("files_source.sqlalchemy_types", "MssqlCaseSensitive"),
    "MsSqlTypeMapper": ("files_source.sql_server_types", "MsSqlCaseSensitive"),
    "SynapseTypeMapper": ("files_source.sql_server_types", "SynapseCaseSensitive"),
}
"""What maps types in place of dlt's own. Only the ones that are used are imported, as they need SQLAlchemy."""


def handed_over(items: Generator[object, None, None]) -> Iterator[object]:
    """Yield what a resource yields, with values as the destination of the running pipeline can hold them.

    The destination is asked once there is something to hand over: until then another resource may be
    listed on another thread, and dlt's configuration takes only one of them at a time.
    """
    pipeline = Run.current().pipeline
    is_asked, limits = pipeline is None or pipeline.destination is None, None
    with closing(items):
        for item in items:
            if item is not None and not is_asked and pipeline is not None:
                is_asked, limits = True, prepared(pipeline)
            yield item if limits is None else _within(item, limits)


def within_limits(rows: pa.Table, pipeline: dlt.Pipeline) -> pa.Table:
    """Return rows as the destination of a pipeline can hold them."""
    limits = prepared(pipeline)
    return rows if limits is None else storable(rows, limits)


def prepared(pipeline: dlt.Pipeline) -> Limits | None:
    """Let dlt make the tables so that they hold all that can come, and return what they still cannot hold.

    On MySQL and MariaDB a text then has 4 GB in any script, and there and on SQL Server keys that
    differ only in case are two. Tables that are there stay as they are, and so does a destination
    with a `type_mapper` of its own.
    """
    capabilities = pipeline.destination_client().capabilities
    replaced = _TYPES.get(capabilities.type_mapper.__name__) if capabilities.type_mapper else None
    if replaced is not None:
        module, name = replaced
        pipeline.destination.caps_params.setdefault("type_mapper", getattr(import_module(module), name))
    return limits_of(capabilities.sqlglot_dialect)


def _within(item: object, limits: Limits) -> object:
    if isinstance(item, pa.Table):
        return storable(item, limits)
    if isinstance(item, DataItemWithMeta) and isinstance(item.data, pa.Table):
        return DataItemWithMeta(item.meta, storable(item.data, limits))
    return item
