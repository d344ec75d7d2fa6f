"""Reading back what was loaded, as polars frames, wherever it was loaded to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, cast

import polars as pl
from polars.io.plugins import register_io_source

from files_source.errors import ConfigError
from files_source.history import as_of, as_of_snapshots, still_there, without_deleted
from files_source.places import DATASET, AnyPlace, named, place_of
from files_source.schema import FILES
from files_source.stored import LOAD, Read, opened
from files_source.times import Time, utc

_NO_FILES: Final = cast(pl.DataFrame, pl.from_arrow(FILES.empty_table()))
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


def read_table(place: AnyPlace, table: str = "files") -> pl.DataFrame:
    """Return a table as it was loaded, in no particular order, times in UTC.

    Args:
        place: as `sync` takes it: `PATH.duckdb`, `DIR/`, `parquet:URL`, a URL, the name of a dlt
            destination, or a path. Of Parquet only the loads that were finished are read; a column that an
            older file lacks is null in its rows.
        table: `files`, `files_history`, `files_snapshots`, `scans`, `deletions` or `deletions_pending`.

    Raises:
        ConfigError: the place, or the table, is not there.
        LoadError: the place cannot be read.
    """
    with opened(place) as read:
        rows = read(table)
        if rows is None:
            raise _no_table(place, table)
        return rows.collect()


def scan_stored(place: AnyPlace) -> pl.LazyFrame:
    """Return the files of a place that are still there as far as it knows: `known_files`, in no particular order.

    The place is not opened before the frame is collected: what was loaded meanwhile is there then.
    Of Parquet only what is needed is read.

    Raises (when it is collected): as `read_table` does.
    """

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, count: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        with opened(place) as read_lazily:
            rows = known_files(place, read_lazily)
            rows = rows if count is None else rows.head(count)
            rows = rows if predicate is None else rows.filter(predicate)
            yield (rows if columns is None else rows.select(columns)).collect()

    return register_io_source(read, schema=_NO_FILES.schema)


def known_files(place: AnyPlace, read: Read) -> pl.LazyFrame:
    """Return the files that are still there as far as a place knows, with the columns of FILES.

    They are what `history.still_there` says, without those that a cleanup has deleted. Where no
    history run was made, nothing is known of what others have deleted.

    Raises:
        ConfigError: the place holds neither files nor a history.
    """
    scans, deletions = read("scans"), read("deletions")
    listed = _not_deleted(read("files"), deletions, None)
    inventory = _not_deleted(_inventory(read, _END_OF_TIME), deletions, scans)
    if listed is None and inventory is None:
        raise _no_table(place, "files")
    if listed is None or inventory is None or scans is None:
        return cast(pl.LazyFrame, listed if inventory is None else inventory)
    return still_there(listed, inventory, scans)


def read_inventory(place: AnyPlace, *, at: Time | None = None) -> pl.DataFrame:
    """Return the files as they were at an instant, by the complete scans that a place has kept.

    Args:
        place: as `read_table` takes it.
        at: the instant: a datetime, a date (its beginning) or ISO 8601 text, in UTC where it names no
            zone, or how long ago, such as `7d`; None for what the last history run found.
            Before an account's first such run there are none of its files.

    Returns:
        One row a file, with the columns of FILES, in no particular order.

    Raises:
        ConfigError: the place is not there, or keeps no history.
        LoadError: the place cannot be read.
    """
    instant = _END_OF_TIME if at is None else utc(at, name="at")
    with opened(place) as read:
        rows = _inventory(read, instant)
        if rows is None:
            raise ConfigError(
                f"{named(place)} keeps no history: make a history run into it first; read_table reads the rest"
            )
        return _complete(rows).collect()


def parquet_query(folder: AnyPlace = "lake/", table: str = "files") -> str:
    """Return DuckDB statements that give the rows of a table's finished loads, below a folder or a URL.

    The files are chosen before any is opened: a run that died may have left half of one.
    """
    root = f"{place_of(folder).address.rstrip('/')}/{DATASET}".replace("'", "''")
    return f"""\
SET VARIABLE finished = (
    SELECT list(file) FROM glob('{root}/{table}/**/*.parquet')
    WHERE regexp_extract(file, '{LOAD}', 1) IN (
        SELECT regexp_extract(file, '{LOAD}', 1) FROM glob('{root}/_dlt_loads/*.jsonl')
    )
);
FROM read_parquet(getvariable('finished'), union_by_name = true);
"""


def _inventory(read: Read, at: datetime) -> pl.LazyFrame | None:
    """Return the files as they were at an instant; None where no history is kept."""
    history = read("files_history")
    if history is not None:
        return as_of(history, at)
    scans = read("scans")  # before the snapshots: a run in between is then left out, not taken for an empty one
    snapshots = read("files_snapshots")
    return None if snapshots is None or scans is None else as_of_snapshots(snapshots, scans, at=at)


def _not_deleted(
    rows: pl.LazyFrame | None, deletions: pl.LazyFrame | None, scans: pl.LazyFrame | None
) -> pl.LazyFrame | None:
    if rows is None or deletions is None:
        return None if rows is None else _complete(rows)
    return without_deleted(_complete(rows), deletions, scans)


def _complete(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return rows with the columns of FILES, null where an older table lacks one."""
    return pl.concat([_NO_FILES.lazy(), rows], how="diagonal").select(FILES.names)


def _no_table(place: AnyPlace, table: str) -> ConfigError:
    return ConfigError(f"{named(place)} has no table {table!r} of a finished load: load it first, or correct the name")
