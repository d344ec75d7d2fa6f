"""Ask a table in a database what it holds: a few known files, any row, or the ids of an account's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.job_client_impl import SqlJobClientBase

from files_source.schema import FILES
from files_source.storable import Limits, limits_of, original, storable

_PARAMETERS: Final = 500
"""Values in one query: some databases take no more than a thousand."""
_ROWS: Final = 50_000
"""Rows that are fetched at once."""


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of a table of files; of a table that does not exist there are none. Values travel as parameters.

    Args:
        destination: an open database.
        table: the table's name, as dlt's schema spells it.
    """

    destination: SqlJobClientBase
    table: str

    def present(self, ids: Sequence[str]) -> set[tuple[str, str]]:
        """Return account and id of the files that have one of the *ids*."""
        account, file_id = self._column("account"), self._column("id")
        found: set[tuple[str, str]] = set()
        for start in range(0, len(ids), _PARAMETERS):
            some = self._stored("id", ids[start : start + _PARAMETERS])
            places = ", ".join(["%s"] * len(some))
            for rows in self._fetch(f"{account}, {file_id}", f"WHERE {file_id} IN ({places})", some):
                found.update((self._given(row[0]), self._given(row[1])) for row in rows)
        return found

    def has_any(self, account: str | None = None) -> bool:
        """Tell whether there is a row, of one account or of any."""
        before, after = self.destination.sql_client._limit_clause_sql(1)  # noqa: SLF001 - no public way knows TOP from LIMIT
        column = f"{before} {self._column('id')}"
        if account is None:
            return any(self._fetch(column, after))
        whose = self._stored("account", [account])
        return any(self._fetch(column, f"WHERE {self._column('account')} = %s {after}", whose))

    def ids(self, account: str) -> Iterator[pa.Array]:
        """Yield the ids of an account's files, some at a time."""
        whose = self._stored("account", [account])
        for rows in self._fetch(self._column("id"), f"WHERE {self._column('account')} = %s", whose):
            yield pa.array([self._given(row[0]) for row in rows], pa.string())

    def _column(self, name: str) -> str:
        naming = self.destination.schema.naming
        return self.destination.sql_client.escape_column_name(naming.normalize_identifier(name))

    @property
    def _limits(self) -> Limits | None:
        return limits_of(self.destination.capabilities.sqlglot_dialect)

    def _stored(self, column: str, values: Sequence[str]) -> Sequence[str]:
        """Return values in the form in which the destination holds them."""
        limits = self._limits
        if limits is None:
            return values
        rows = pa.table([pa.array(values, pa.string())], schema=pa.schema([FILES.field(column)]))
        return [str(value) for value in storable(rows, limits).column(column).to_pylist()]

    def _given(self, value: object) -> str:
        """Return a value as it was before the destination got it."""
        return str(value) if self._limits is None else original(str(value))

    def _fetch(self, columns: str, rest: str, given: Sequence[str] = ()) -> Iterator[Sequence[tuple[Any, ...]]]:
        client = self.destination.sql_client
        query = f"SELECT {columns} FROM {client.make_qualified_table_name(self.table)} {rest}"
        try:
            with client.execute_query(query, *given) as cursor:
                while rows := cursor.fetchmany(_ROWS):
                    yield rows
        except DatabaseUndefinedRelation:
            return
