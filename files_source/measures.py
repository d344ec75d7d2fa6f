"""What every answer about storage is made of: counts, sums, instants and orders, as polars expressions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from files_source.errors import ConfigError
from files_source.history import Frame

DAY: Final = timedelta(days=1)
TICK: Final = timedelta(microseconds=1)
FILE: Final = ("account", "id")
MEASURES: Final = ("files", "bytes", "unknown_size")
WIDE: Final = pl.Int128
"""What sums are made in, so that they are right or refused, never wrapped."""
_SOONEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


def refuse_repeated(columns: Iterable[str], *, beside: Iterable[str]) -> None:
    """Refuse columns to group by if one is given twice, or is among those that an answer has *beside* them."""
    taken = set(beside)
    for name in columns:
        if name in taken:
            raise ConfigError(f"{name!r} is a column of the answer already: group by others, each once")
        taken.add(name)


def measures(where: pl.Expr | None = None) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return `files`, `bytes` and `unknown_size`, of all files or of those *where* something holds."""
    sizes = pl.col("bytes") if where is None else pl.col("bytes").filter(where)
    return (
        sizes.len().cast(pl.Int64).alias("files"),
        sizes.cast(WIDE).sum().cast(pl.Int64).alias("bytes"),
        sizes.null_count().cast(pl.Int64).alias("unknown_size"),
    )


def counted(files: Frame, name: str, groups: Mapping[str, pl.Expr] | Mapping[int, pl.Expr]) -> Frame:
    """Return a row of measures for each of some groups, which may overlap and be empty; *files* are read once."""
    rows = (pl.concat_list(column).explode() for column in zip(*map(measures, groups.values()), strict=True))
    return files.select(pl.Series(name, list(groups)), *rows)


def shifted(now: datetime, by: timedelta) -> datetime:
    """Return an instant some time before or after another, or the first or last that there is."""
    try:
        return now + by
    except OverflowError:
        return _LATEST if by > timedelta() else _SOONEST


def largest_first(files: Frame) -> Frame:
    """Sort files by size, unknown ones last."""
    return files.sort("bytes", *FILE, descending=[True, False, False], nulls_last=True)
