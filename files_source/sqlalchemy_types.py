"""Text columns of MySQL and SQL Server by SQLAlchemy that hold any text, and tell keys apart by each character."""

from __future__ import annotations

from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TColumnSchema
from dlt.destinations.impl.sqlalchemy.type_mapper import MssqlVariantTypeMapper, MysqlVariantTypeMapper
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.types import Text, TypeEngine, UnicodeText

from files_source.sql_server_types import BINARY, is_key


class MysqlLongText(MysqlVariantTypeMapper):
    """As dlt maps types, with 4 GB of text in any script instead of 64 kB, and keys that differ in case."""

    def db_type_from_text_type(self, column: TColumnSchema, table: PreparedTableSchema) -> TypeEngine[str]:
        found: TypeEngine[str] = super().db_type_from_text_type(column, table)
        if type(found) is not Text:  # somebody has asked for a length
            return found
        return LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin" if is_key(column, table) else None)


class MssqlCaseSensitive(MssqlVariantTypeMapper):
    """As dlt maps types, with keys that differ in case."""

    def db_type_from_text_type(self, column: TColumnSchema, table: PreparedTableSchema) -> TypeEngine[str]:
        found: TypeEngine[str] = super().db_type_from_text_type(column, table)
        return UnicodeText(collation=BINARY) if type(found) is Text and is_key(column, table) else found
