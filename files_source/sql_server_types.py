"""Text columns of SQL Server and Synapse that tell keys apart by each character."""

from __future__ import annotations

from typing import Final

from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TColumnSchema
from dlt.destinations.impl.mssql.factory import MsSqlTypeMapper
from dlt.destinations.impl.synapse.factory import SynapseTypeMapper

from files_source.holdings import DELETIONS_TABLE, FILES_TABLE, HISTORY_TABLE, SCANS_TABLE, SNAPSHOTS_TABLE
from files_source.storable import KEYS

_TABLES: Final = (FILES_TABLE, HISTORY_TABLE, SNAPSHOTS_TABLE, SCANS_TABLE, DELETIONS_TABLE)
BINARY: Final = "Latin1_General_100_BIN2"
"""The collation that compares code points."""


class MsSqlCaseSensitive(MsSqlTypeMapper):
    """As dlt maps types, with keys that differ in case."""

    def to_destination_type(self, column: TColumnSchema, table: PreparedTableSchema) -> str:
        found = super().to_destination_type(column, table)
        return f"{found} COLLATE {BINARY}" if is_key(column, table) else found


class SynapseCaseSensitive(SynapseTypeMapper):
    """As dlt maps types, with keys that differ in case."""

    def to_destination_type(self, column: TColumnSchema, table: PreparedTableSchema) -> str:
        found = super().to_destination_type(column, table)
        return f"{found} COLLATE {BINARY}" if is_key(column, table) else found


def is_key(column: TColumnSchema, table: PreparedTableSchema | None) -> bool:
    """Tell whether a column of text tells rows of a table of ours apart."""
    ours = table is not None and (table.get("resource") in _TABLES or table["name"] in _TABLES)
    return ours and column["data_type"] == "text" and column["name"] in KEYS
