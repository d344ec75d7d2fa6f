"""Reading back what was loaded, as polars frames, wherever it was loaded to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import duckdb
import polars as pl
import polars.selectors as cs
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from files_source.errors import ConfigError, FilesSourceError, LoadError, excerpt
from files_source.history import as_of, as_of_snapshots
from files_source.places import DATASET, HELD, place_of
from files_source.schema import FILES

if TYPE_CHECKING:
    from dlt.common.destination.client import JobClientBase
    from dlt.destinations.sql_client import SqlClientBase

Read = Callable[[str], pl.DataFrame | None]
"""What reads a table by its name; None where there is no such table."""

_BOOKKEEPING: Final = ("_dlt_load_id", "_dlt_id")
_INSTANT: Final = pl.Datetime("us", "UTC")
_NO_FILES: Final = cast(pl.DataFrame, pl.from_arrow(FILES.empty_table()))
_TYPES: Final = dict(_NO_FILES.schema)
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)

_LOAD: Final = r"(\d+\.\d+)\.[^/]*$"
"""Whose load a file is, by its name: `LOAD.FILE.parquet`, and `SCHEMA__LOAD.jsonl` of a load that was finished."""

_AT_ONCE: Final = 8
_HELD_HERE: Final = "different configuration than existing connections"
"""How DuckDB says that another process, or this one, has a database open for writing."""


def read_table(place: str, table: str = "files") -> pl.DataFrame:
    """Return a table as it was loaded, in no particular order, times in UTC.

    Args:
        place: as `sync` takes it: `PATH.duckdb`, `DIR/`, `parquet:URL`, a URL, or the name of a dlt
            destination. Of Parquet only the loads that were finished are read; a column that an
            older file lacks is null in its rows.
        table: `files`, `files_history`, `files_snapshots` or `scans`.

    Raises:
        ConfigError: the place, or the table, is not there.
        LoadError: the place cannot be read.
    """
    with _opened(place) as read:
        rows = read(table)
    if rows is None:
        raise ConfigError(f"{place} has no table {table!r} of a finished load: load it first, or correct the name")
    return rows


def read_inventory(place: str, *, at: datetime | None = None) -> pl.DataFrame:
    """Return the files as they were at an instant, by the complete scans that a place has kept.

    Args:
        place: as `read_table` takes it.
        at: the instant, in UTC where it names no zone; None for what the last history run found.
            Before an account's first such run there are none of its files.

    Returns:
        One row a file, with the columns of FILES, in no particular order.

    Raises:
        ConfigError: the place is not there, or keeps no history.
        LoadError: the place cannot be read.
    """
    at = at or _END_OF_TIME
    with _opened(place) as read:
        history = read("files_history")
        if history is None:
            scans = read("scans")  # before the snapshots: a run in between is then left out, not taken for an empty one
            snapshots = read("files_snapshots")
    if history is not None:
        rows = as_of(history, at)
    elif snapshots is not None and scans is not None:
        rows = as_of_snapshots(snapshots, scans, at=at)
    else:
        raise ConfigError(f"{place} keeps no history: make a history run into it first; read_table reads the rest")
    return pl.concat([_NO_FILES, rows], how="diagonal").select(FILES.names)


def parquet_query(folder: str = "lake/", table: str = "files") -> str:
    """Return DuckDB statements that give the rows of a table's finished loads, below a folder or a URL.

    The files are chosen before any is opened: a run that died may have left half of one.
    """
    root = f"{place_of(folder).address.rstrip('/')}/{DATASET}".replace("'", "''")
    return f"""\
SET VARIABLE finished = (
    SELECT list(file) FROM glob('{root}/{table}/*.parquet')
    WHERE regexp_extract(file, '{_LOAD}', 1) IN (
        SELECT regexp_extract(file, '{_LOAD}', 1) FROM glob('{root}/_dlt_loads/*.jsonl')
    )
);
FROM read_parquet(getvariable('finished'), union_by_name = true);
"""


def _opened(place: str) -> AbstractContextManager[Read]:
    found = place_of(place)
    if found.kind == "database":
        return _database(Path(found.address))
    return _folder(place, found.folder) if found.folder and found.address else _elsewhere(place)


@contextmanager
def _database(path: Path) -> Iterator[Read]:
    if not path.exists():
        raise ConfigError(f"{path} is not there: load something into it first, or correct the path")
    with _one_clear_error(str(path)), duckdb.connect(str(path), read_only=True) as database:
        database.execute("SET TimeZone = 'UTC'")
        yield partial(_table, database)


@contextmanager
def _folder(place: str, path: Path) -> Iterator[Read]:
    if not path.is_dir():
        raise ConfigError(f"{place} is not there: load something into it first, or correct the path")
    with _one_clear_error(place):
        yield partial(_parquet, LocalFileSystem(), f"{path.resolve()}/{DATASET}")


@contextmanager
def _elsewhere(place: str) -> Iterator[Read]:
    """Open a place that dlt knows how to reach, with the credentials that a run into it would find."""
    import dlt  # noqa: PLC0415 - takes a second, which a database or folder need not wait for
    from dlt.common.configuration.container import Container  # noqa: PLC0415
    from dlt.common.configuration.exceptions import ConfigurationException  # noqa: PLC0415
    from dlt.common.configuration.specs.config_section_context import ConfigSectionContext  # noqa: PLC0415

    from files_source.destinations import target  # noqa: PLC0415 - imports dlt

    destination = target(place).destination
    try:
        with Container().injectable_context(ConfigSectionContext(pipeline_name=DATASET)):
            dataset = dlt.dataset(destination, DATASET, schema=dlt.Schema(DATASET))
            client = dataset.destination_client
        with client:
            yield _reader(place, client)
    except FilesSourceError:
        raise
    except ConfigurationException as failed:
        raise ConfigError(f"{place} is not configured as dlt needs it: {_line(failed)}") from None
    except Exception as failed:  # each destination raises what its own library does
        raise _unreadable(place, failed) from failed


def _reader(place: str, client: JobClientBase) -> Read:
    from dlt.destinations.impl.filesystem.filesystem import FilesystemClient  # noqa: PLC0415 - imported by then
    from dlt.destinations.sql_client import WithSqlClient  # noqa: PLC0415

    if isinstance(client, FilesystemClient):
        return partial(_parquet, client.fs_client, client.dataset_path.rstrip("/"))
    if isinstance(client, WithSqlClient):
        return partial(_rows, client.sql_client)
    raise ConfigError(f"{place} cannot be read back: dlt has no SQL for it")


def _table(database: duckdb.DuckDBPyConnection, table: str) -> pl.DataFrame | None:
    name = table.replace('"', '""')
    try:
        rows = database.sql(f'FROM {DATASET}."{name}"')
    except duckdb.CatalogException:
        return None
    return _without_bookkeeping(cast(pl.DataFrame, pl.from_arrow(rows.to_arrow_table())))


def _parquet(files: AbstractFileSystem, root: str, table: str) -> pl.DataFrame | None:
    """Read the files of finished loads."""
    finished = _by_load(files, f"{root}/_dlt_loads", ".jsonl")  # first: of a load that ends now, files may be missed
    found = _by_load(files, f"{root}/{table}", ".parquet")
    paths = [path for load in sorted(found.keys() & finished.keys()) for path in found[load]]
    if not paths:
        return None
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = pool.map(lambda path: _without_bookkeeping(pl.read_parquet(BytesIO(files.cat_file(path)))), paths)
        return pl.concat(parts, how="diagonal_relaxed")


def _by_load(files: AbstractFileSystem, folder: str, suffix: str) -> dict[str, list[str]]:
    loads: dict[str, list[str]] = {}
    for path in files.find(folder):
        if path.endswith(suffix) and (load := re.search(_LOAD, path)):
            loads.setdefault(load[1], []).append(path)
    return loads


def _rows(client: SqlClientBase[Any], table: str) -> pl.DataFrame | None:
    from dlt.destinations.exceptions import DatabaseUndefinedRelation  # noqa: PLC0415 - imported by then

    query = f"SELECT * FROM {client.make_qualified_table_name(table)}"
    try:
        with client.execute_query(query) as cursor:
            names = [str(column[0]).lower() for column in cursor.description]
            rows = pl.DataFrame(cursor.fetchall(), schema=names, orient="row", infer_schema_length=None)
    except DatabaseUndefinedRelation:
        return None
    in_utc = rows.with_columns(
        cs.datetime(time_zone=None).dt.replace_time_zone("UTC").cast(_INSTANT),
        cs.datetime(time_zone="*").dt.convert_time_zone("UTC").cast(_INSTANT),
    )
    return _without_bookkeeping(
        in_utc.with_columns(pl.col(name).cast(_TYPES[name]) for name in names if name in _TYPES)
    )


def _without_bookkeeping(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.drop(_BOOKKEEPING, strict=False)


@contextmanager
def _one_clear_error(place: str) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, OSError, pl.exceptions.PolarsError) as failed:
        raise _unreadable(place, failed) from failed


def _unreadable(place: str, failed: Exception) -> LoadError:
    if held := HELD.search(str(failed)):
        return LoadError(f"{place} is open in another program (PID {held[1]}): close it there and read again")
    if _HELD_HERE in str(failed):
        return LoadError(f"{place} is open for writing in this program: close it and read again")
    return LoadError(f"{place} cannot be read: {_line(failed)}; see to it, and read again")


def _line(failed: Exception) -> str:
    return excerpt(" ".join(str(failed).split()))
