"""Which rows of a history a run may retire, said by rows of its own: no name or value becomes SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import dlt
import pyarrow as pa
from dlt.common.destination.client import JobClientBase
from dlt.destinations.sql_client import WithSqlClient

from files_source.errors import ConfigError
from files_source.holdings import HISTORY_TABLE
from files_source.schema import FILES, descriptions
from files_source.versions import ROW_VERSION, VERSIONS

MARK: Final = "scope"
"""What stands in place of a version in rows that only name an account; a version is hexadecimal."""

_NOT_MARKED: Final = "{version} <> '" + MARK + "'"
_MARKED: Final = "{column} IN (SELECT {column} FROM {{staging_table}} WHERE {version} = '" + MARK + "')"
"""A condition as dlt takes it, which puts in the table that a run's rows wait in. Only columns are named."""


def marks(accounts: Sequence[str], purpose: str | None) -> pa.Table:
    """Return rows that name the accounts that were listed completely; they are loaded beside the files, never kept."""
    filled: dict[str, Any] = {
        field.name: [datetime.fromtimestamp(0, UTC) if pa.types.is_timestamp(field.type) else MARK] * len(accounts)
        for field in VERSIONS
        if not field.nullable
    }
    named = filled | {"account": list(accounts), "purpose": [MARK if purpose is None else purpose] * len(accounts)}
    columns = [pa.array(named.get(field.name, [None] * len(accounts)), field.type) for field in VERSIONS]
    return pa.Table.from_arrays(columns, schema=VERSIONS)


def version_hints(pipeline: dlt.Pipeline, *, of_purpose: bool) -> Any:
    """Return how dlt keeps the history of the accounts, and the purpose, that `marks` names: others are left alone.

    dlt puts conditions into SQL as text and takes that apart again at braces, line ends and
    semicolons, and SQLAlchemy at colons. So the conditions are the same whatever the names are.

    Raises:
        ConfigError: the destination has no SQL.
    """
    spelled = _spelling(pipeline.destination_client())
    scoped = ("account", "purpose") if of_purpose else ("account",)
    return dlt.mark.make_hints(
        table_name=HISTORY_TABLE,
        write_disposition={
            "disposition": "merge",
            "strategy": "scd2",
            "row_version_column_name": ROW_VERSION,
            "source_filter": _NOT_MARKED.format(version=spelled[ROW_VERSION]),
            "destination_scope": " AND ".join(
                _MARKED.format(column=spelled[name], version=spelled[ROW_VERSION]) for name in scoped
            ),
        },
        columns={name: {"description": text} for name, text in descriptions(VERSIONS).items()},
    )


def _spelling(destination: JobClientBase) -> dict[str, str]:
    """Return how the destination spells each column in SQL, quoted."""
    if not isinstance(destination, WithSqlClient):
        raise ConfigError(
            f"{type(destination).__name__} has no SQL to say which rows of a history are out of date: load without "
            "history, or into another destination"
        )
    naming, client = destination.schema.naming, destination.sql_client
    return {name: client.escape_column_name(naming.normalize_identifier(name)) for name in (*FILES.names, ROW_VERSION)}
