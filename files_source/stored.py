"""Opening a place that holds tables: each of them as a lazy frame."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import duckdb
import polars as pl
import polars.selectors as cs
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from polars.io.plugins import register_io_source

from files_source.deletions import DELETIONS
from files_source.errors import ConfigError, FilesSourceError, LoadError, causes, excerpt
from files_source.ledger import SCANS
from files_source.pending import PENDING
from files_source.places import DATASET, HELD, AnyPlace, named, place_of
from files_source.redaction import redacted
from files_source.schema import FILES
from files_source.stopping import hearing_interrupted_queries
from files_source.storable import MARK, limits_of, original
from files_source.versions import SNAPSHOTS, VERSIONS

if TYPE_CHECKING:
    from dlt.common.destination.client import JobClientBase
    from dlt.common.normalizers.naming import NamingConvention
    from dlt.destinations.sql_client import SqlClientBase

Read = Callable[[str], pl.LazyFrame | None]
"""What gives a table by its name, looked for once, without dlt's own columns; None where there is no such table."""

LOAD: Final = r"(\d+\.\d+)\.[^/]*$"
"""Whose load a file is, by its name: `LOAD.FILE.parquet`, and `SCHEMA_LOAD.jsonl` of a load that was finished."""

_BOOKKEEPING: Final = ("_dlt_load_id", "_dlt_id")
_INSTANT: Final = pl.Datetime("us", "UTC")
_TYPES: Final = {
    name: kind
    for schema in (FILES, SCANS, DELETIONS, PENDING, SNAPSHOTS, VERSIONS)
    for name, kind in cast(pl.DataFrame, pl.from_arrow(schema.empty_table())).schema.items()
} | dict.fromkeys(("_dlt_valid_from", "_dlt_valid_to"), pl.Datetime("us", "UTC"))
_AT_ONCE: Final = 8
_ROWS: Final = 20_000
"""How many rows of a query are Python objects at once."""
_HELD_HERE: Final = "different configuration than existing connections"
"""How DuckDB says that another process, or this one, has a database open for writing."""


@contextmanager
def opened(place: AnyPlace) -> Iterator[Read]:
    """Give what reads tables of a place, as `read_table` takes it. They are collected while it is open.

    Raises:
        ConfigError: the place is not there.
        LoadError: it cannot be read.
    """
    with hearing_interrupted_queries(), _opened(named(place)) as read:
        yield read


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
        yield cache(partial(_table, database))


@contextmanager
def _folder(place: str, path: Path) -> Iterator[Read]:
    if not path.is_dir():
        raise ConfigError(f"{place} is not there: load something into it first, or correct the path")
    with _one_clear_error(place):
        yield cache(partial(_parquet, LocalFileSystem(), f"{path.resolve()}/{DATASET}"))


@contextmanager
def _elsewhere(place: str) -> Iterator[Read]:
    """Open a place that dlt knows how to reach, with the credentials that a run into it would find."""
    import dlt  # noqa: PLC0415 - takes a second, which a database or folder need not wait for
    from dlt.common.configuration.container import Container  # noqa: PLC0415
    from dlt.common.configuration.specs.config_section_context import ConfigSectionContext  # noqa: PLC0415

    from files_source.destinations import target  # noqa: PLC0415 - imports dlt
    from files_source.failures import configuration_error  # noqa: PLC0415
    from files_source.shield import PIPELINE, shielded  # noqa: PLC0415

    destination = target(place).destination
    try:
        with shielded(), Container().injectable_context(ConfigSectionContext(pipeline_name=PIPELINE)):
            dataset = dlt.dataset(destination, DATASET, schema=dlt.Schema(DATASET))
            client = dataset.destination_client
        with client:
            yield cache(reader(place, client))
    except FilesSourceError:
        raise
    except Exception as failed:  # each destination raises what its own library does
        chain = list(causes(failed))
        if unusable := configuration_error(place_of(place).name, destination, chain):
            raise unusable from None
        if any(redacted(str(cause)) != str(cause) for cause in chain):
            raise _unreadable(place, failed) from None  # whose text would show a password in the traceback
        raise _unreadable(place, failed) from failed


def reader(place: str, client: JobClientBase) -> Read:
    """Return what reads tables by a destination's client, which is open.

    Raises:
        ConfigError: dlt has no SQL for it.
    """
    from dlt.destinations.impl.filesystem.filesystem import FilesystemClient  # noqa: PLC0415 - imported by then
    from dlt.destinations.sql_client import WithSqlClient  # noqa: PLC0415

    if isinstance(client, FilesystemClient):
        return partial(_parquet, client.fs_client, client.dataset_path.rstrip("/"))
    if isinstance(client, WithSqlClient):
        return partial(_rows, client.sql_client, client.schema.naming)
    raise ConfigError(f"{place} cannot be read back: dlt has no SQL for it")


def _table(database: duckdb.DuckDBPyConnection, table: str) -> pl.LazyFrame | None:
    try:
        with _rows_of(database, table) as rows:
            schema = _frame(rows.limit(0)).schema
    except duckdb.CatalogException:
        return None

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, count: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        with _rows_of(database, table) as rows:
            wanted = rows if columns is None else rows.select(*map(duckdb.ColumnExpression, columns))
            found = _frame(wanted if count is None else wanted.limit(count))
        yield found if predicate is None else found.filter(predicate)

    return _without_bookkeeping(register_io_source(read, schema=schema))


@contextmanager
def _rows_of(database: duckdb.DuckDBPyConnection, table: str) -> Iterator[duckdb.DuckDBPyRelation]:
    """Give a table on a connection of its own, as polars reads several at once; before DuckDB 1.5 that must be held."""
    name = table.replace('"', '""')
    with closing(database.cursor()) as own:
        own.execute("SET TimeZone = 'UTC'")
        yield own.sql(f'FROM {DATASET}."{name}"')


def _frame(rows: duckdb.DuckDBPyRelation) -> pl.DataFrame:
    found = cast(pl.DataFrame, pl.from_arrow(rows.to_arrow_table()))
    return found.rename(str.lower)  # a naming convention of dlt may write them in capitals


def _parquet(files: AbstractFileSystem, root: str, table: str) -> pl.LazyFrame | None:
    """Read the files of finished loads."""
    finished = _by_load(files, f"{root}/_dlt_loads", ".jsonl")  # first: of a load that ends now, files may be missed
    found = _by_load(files, f"{root}/{table}", ".parquet")
    _refuse_files_beside(files, root, table)
    paths = [path for load in sorted(found.keys() & finished.keys()) for path in found[load]]
    if not paths:
        return None
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = pool.map(partial(_part, files), paths)
        return _without_bookkeeping(pl.concat(parts, how="diagonal_relaxed"))


def _part(files: AbstractFileSystem, path: str) -> pl.LazyFrame:
    if isinstance(files, LocalFileSystem):
        part = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    else:
        part = pl.read_parquet(BytesIO(files.cat_file(path))).lazy()
    kinds = part.collect_schema().dtypes()
    if all(kind == _INSTANT or not isinstance(kind, pl.Datetime) for kind in kinds):
        return part
    return part.with_columns(
        cs.datetime(time_zone=None).dt.replace_time_zone("UTC").cast(_INSTANT),
        cs.datetime(time_zone="*").dt.convert_time_zone("UTC").cast(_INSTANT),
    )


def _by_load(files: AbstractFileSystem, folder: str, suffix: str) -> dict[str, list[str]]:
    loads: dict[str, list[str]] = {}
    for path in files.find(folder):
        if path.endswith(suffix):
            load = re.search(LOAD, path)
            if load is None and suffix == ".parquet":
                raise _misplaced(path)
            if load is not None:
                loads.setdefault(load[1], []).append(path)
    return loads


def _refuse_files_beside(files: AbstractFileSystem, root: str, table: str) -> None:
    """Refuse to read a part of a table for all of it, where another layout has put files beside the table's folder."""
    of_table = re.compile(rf"{re.escape(table)}[^a-z0-9/]+[0-9][^/]*\.parquet")
    for path in files.ls(root, detail=False) if files.exists(root) else ():
        if of_table.fullmatch(path.rpartition("/")[2]):
            raise _misplaced(path)


def _misplaced(path: str) -> ConfigError:
    return ConfigError(
        f"{path} does not lie where it can be read back: load with a layout such as "
        "{table_name}/{load_id}.{file_id}.{ext} (DESTINATION__FILESYSTEM__LAYOUT), or move the file away"
    )


def _rows(client: SqlClientBase[Any], naming: NamingConvention, table: str) -> pl.LazyFrame | None:
    from dlt.destinations.exceptions import DatabaseUndefinedRelation  # noqa: PLC0415 - imported by then

    if naming.normalize_table_identifier(table) != table:  # dlt cannot have made it
        return None
    query = f"SELECT * FROM {client.make_qualified_table_name(table)}"
    try:
        with client.execute_query(query) as cursor:
            names = [name.lower() for name in cursor.columns_schema]
            parts = [_typed(names, rows) for rows in cursor.iter_fetch(_ROWS)]
    except DatabaseUndefinedRelation:
        return None
    rows = pl.concat([_typed(names, []), *parts], how="vertical_relaxed")
    if limits_of(client.capabilities.sqlglot_dialect) is not None:
        rows = _original(rows)
    return _without_bookkeeping(rows.lazy())


def _typed(names: Sequence[str], rows: Sequence[Sequence[object]]) -> pl.DataFrame:
    """Return rows with the types of our tables, whatever a client makes of them: SQLite gives text and numbers."""
    found = pl.DataFrame(list(map(tuple, rows)), schema=names, orient="row", infer_schema_length=None)
    return found.with_columns(_as(_TYPES[name], name, kind) for name, kind in found.schema.items() if name in _TYPES)


def _as(wanted: pl.DataType, name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if wanted == _INSTANT and kind == pl.String:
        return column.str.to_datetime(time_unit="us", time_zone="UTC")
    if isinstance(kind, pl.Datetime) and kind.time_zone is None:
        return column.dt.replace_time_zone("UTC").cast(wanted)
    return column.cast(wanted)


def _original(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the values as they were before `storable` has put them into another form."""
    marked = [name for name in rows.select(cs.string()).columns if rows[name].str.starts_with(MARK).any()]
    return rows.with_columns(
        pl.when(pl.col(name).str.starts_with(MARK))
        .then(pl.col(name).map_elements(original, return_dtype=pl.String))
        .otherwise(pl.col(name))
        for name in marked
    )


def _without_bookkeeping(rows: pl.LazyFrame) -> pl.LazyFrame:
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
    return LoadError(f"{place} cannot be read: {_line(failed)}; fix this and read again")


def _line(failed: Exception) -> str:
    return excerpt(" ".join(str(failed).split()))
