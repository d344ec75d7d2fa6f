"""The rows of a complete listing as history: each file once, with what tells its versions or snapshots apart."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from files_source.row_text import row_texts
from files_source.schema import FILES, TIMESTAMP, column
from files_source.spool import Spool

ROW_VERSION: Final = "_row_version"

VERSIONS: Final = FILES.append(
    column(ROW_VERSION, pa.string(), "Digest of all other columns, by which versions of a file are told apart")
)
"""Arrow schema of the rows that a history is made of."""

SNAPSHOTS: Final = FILES.append(column("snapshot_at", TIMESTAMP, "When the scan began; `started_at` in `scans`"))
"""Arrow schema of the rows of snapshots, where versions cannot be kept."""

IN_LITTLE_MEMORY: Final[dict[str, str | bool | int | float | list[str]]] = {
    "memory_limit": "192MB",
    "temp_directory": tempfile.gettempdir(),
}
_DIGITS: Final = 32
"""Hexadecimal digits of a version: 128 bits."""


def versions(spool: Spool) -> Iterator[pa.Table]:
    """Yield the rows of *spool* as VERSIONS, each file once.

    The version is part of what a warehouse holds: to compute it in another way would make a new
    version of every file.
    """
    with duckdb.connect(config=IN_LITTLE_MEMORY) as database:
        for files in distinct(spool):
            rows = pa.table({"text": row_texts(files)})
            digests = database.from_arrow(rows).project(f"left(sha256(text), {_DIGITS}) AS digest").to_arrow_table()
            yield files.append_column(ROW_VERSION, digests.column("digest")).cast(VERSIONS)


def snapshot(spool: Spool, *, at: datetime) -> Iterator[pa.Table]:
    """Yield the rows of *spool* as SNAPSHOTS, each file once, of a scan that began *at* a time."""
    for files in distinct(spool):
        yield files.append_column("snapshot_at", pa.repeat(pa.scalar(at, TIMESTAMP), files.num_rows)).cast(SNAPSHOTS)


def distinct(spool: Spool) -> Iterator[pa.Table]:
    """Yield the rows of *spool*; of a file that stands there twice, the first."""
    repeated = _repeated(spool)
    given = set[object]()
    for files in spool.tables():
        yield _without_repeats(files, repeated, given) if len(repeated) else files


def _repeated(spool: Spool) -> pa.Array:
    """Return the ids that stand in more than one row."""
    with duckdb.connect(config=IN_LITTLE_MEMORY) as database:
        counted = database.from_arrow(spool.reader()).aggregate("id, count(*) AS rows", "id")
        found = counted.filter("rows > 1").project("id").fetchall()
    return pa.array([file_id for (file_id,) in found], pa.string())


def _without_repeats(files: pa.Table, repeated: pa.Array, given: set[object]) -> pa.Table:
    positions = []
    for position in pc.indices_nonzero(pc.is_in(files.column("id"), repeated)).to_pylist():
        file_id = files.column("id")[position].as_py()
        if file_id in given:
            positions.append(position)
        given.add(file_id)
    repeats = pc.is_in(pa.array(range(files.num_rows), pa.int64()), pa.array(positions, pa.int64()))
    return files.filter(pc.invert(repeats))
