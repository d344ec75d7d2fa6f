r"""Values that a destination cannot hold, in a form that it can.

Such a value is stored as `json:` and the value as JSON text: `json:"a\u0000b"`. So is one that begins
with `json:"` itself, so that what is stored can always be turned back. All other values stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

MARK: Final = 'json:"'
"""How a value begins that is stored as JSON text."""

_NAME: Final = "json:"
_NUL: Final = b"\0"
KEYS: Final = frozenset({"account", "id", "purpose"})
"""Columns that destinations compare, so that values which they take for equal would replace each other."""

_HOLD_ALL: Final = frozenset({None, "duckdb", "sqlite"})
_HOLD_NUL: Final = frozenset({"mysql"})
_IGNORE_TRAILING_SPACES: Final = frozenset({"mysql", "tsql", "fabric"})

Empty = Literal["always", "not null", "never"]
"""In which columns a destination tells an empty text from none: in all, in those that are never null, or in none."""

_EMPTY: Final[Mapping[str, Empty]] = {"oracle": "never", "postgres": "not null"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What the text columns of a destination cannot hold.

    Attributes:
        nul: whether they hold the character U+0000.
        trailing_spaces: whether keys are told apart by spaces at their end.
        empty: where an empty text stays one. dlt loads PostgreSQL from CSV, where it is null.
    """

    nul: bool
    trailing_spaces: bool
    empty: Empty


def limits_of(dialect: str | None) -> Limits | None:
    """Return what a destination cannot hold, by sqlglot's name of its dialect; None where it holds everything.

    A dialect of which nothing is known counts as one that does not hold U+0000, as PostgreSQL does
    not: what dlt writes as SQL text would lose it.
    """
    if dialect is None or dialect in _HOLD_ALL:
        return None
    return Limits(
        nul=dialect in _HOLD_NUL,
        trailing_spaces=dialect not in _IGNORE_TRAILING_SPACES,
        empty=_EMPTY.get(dialect, "always"),
    )


def storable(table: pa.Table, limits: Limits) -> pa.Table:
    """Return rows as a destination of these limits can hold them."""
    for position, field in enumerate(table.schema):
        if pa.types.is_string(field.type) and _may_need(column := table.column(position), field, limits):
            table = table.set_column(position, field, _stored(column, field, limits))
    return table


def original(text: str) -> str:
    """Return a value that is stored as JSON text as it was; any other stays as it is."""
    try:
        value = json.loads(text.removeprefix(_NAME)) if text.startswith(MARK) else text
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def _may_need(column: pa.ChunkedArray, field: pa.Field, limits: Limits) -> bool:
    """Tell whether a value may have to be stored in another form, as fast as can be: U+0000 is sought in the bytes."""
    if not limits.nul and any(_NUL in data.to_pybytes() for chunk in column.chunks if (data := chunk.buffers()[2])):
        return True
    return any(pc.any(values).as_py() for values in _others(column, field, limits))


def _stored(column: pa.ChunkedArray, field: pa.Field, limits: Limits) -> pa.ChunkedArray:
    """Return a column with the values that need it as JSON text."""
    needs = reduce(pc.or_, _others(column, field, limits))
    if not limits.nul:
        needs = pc.or_(needs, pc.match_substring(column, "\0"))
    needs = pc.fill_null(needs, fill_value=False).combine_chunks()
    texts = [_NAME + json.dumps(text) for text in column.filter(needs).to_pylist()]
    return pa.chunked_array([pc.replace_with_mask(column.combine_chunks(), needs, pa.array(texts, pa.string()))])


def _others(column: pa.ChunkedArray, field: pa.Field, limits: Limits) -> Iterator[pa.ChunkedArray]:
    """Yield which values need another form, but for those with U+0000, which takes longest to tell."""
    yield pc.starts_with(column, MARK)
    if not limits.trailing_spaces and field.name in KEYS:
        yield pc.ends_with(column, " ")
    if limits.empty == "never" or (limits.empty == "not null" and field.nullable):
        yield pc.equal(pc.binary_length(column), 0)
