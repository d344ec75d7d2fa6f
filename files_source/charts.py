"""Questions about storage as pictures: each function draws the answer of the `usage` function of its name.

A chart is Altair's, *width* pixels wide. Where no file has bytes to see, the chart counts files instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import altair as alt
import polars as pl

from files_source import usage
from files_source.drawing import LIGHT, WIDE, Bar, Look, Measure, bars, measure_of
from files_source.printing import counted, is_unknown, known_share, known_size, size
from files_source.time_charts import by_month, over_time

__all__ = ["ages", "by", "by_month", "duplicates", "expiring_soon", "largest", "over_time", "quota"]

_MOST: Final = 12
"""Bars of one chart, the one of all others not counted."""


def by(groups: pl.DataFrame, column: str, *, width: int = WIDE, look: Look = LIGHT) -> alt.LayerChart:
    """Draw `usage.by` of one column, most bytes first; what comes after the first 12 is one bar."""
    measure, rows = measure_of(groups), _with_others(groups, column)
    drawn = [
        Bar(row[column], _value(row, measure, known_share(row)), row[measure]) for row in rows.iter_rows(named=True)
    ]
    return bars(drawn, measure=measure, width=width, look=look)


def ages(ages: pl.DataFrame, *, width: int = WIDE, look: Look = LIGHT) -> alt.LayerChart:
    """Draw `usage.ages`, youngest first."""
    return _counted(ages, ages["age"].to_list(), width, look)


def expiring_soon(soon: pl.DataFrame, *, width: int = WIDE, look: Look = LIGHT) -> alt.LayerChart:
    """Draw `usage.expiring_soon`; each bar holds those before it."""
    return _counted(soon, [f"within {counted(days, 'day')}" for days in soon["within_days"]], width, look)


def quota(accounts: pl.DataFrame, *, width: int = WIDE, look: Look = LIGHT) -> alt.LayerChart:
    """Draw `usage.quota` against the limit, a line across each bar."""
    rows = [
        Bar(row["account"], _value(row, "bytes", known_share(row)), row["bytes"])
        for row in accounts.head(_MOST).iter_rows(named=True)
    ]
    return bars(rows, measure="bytes", width=width, look=look, end=usage.LIMIT)


def largest(files: pl.DataFrame, *, width: int = WIDE, look: Look = LIGHT) -> alt.LayerChart:
    """Draw the first 12 files of `usage.largest`."""
    rows = [Bar(row["filename"], size(row["bytes"]), row["bytes"]) for row in files.head(_MOST).iter_rows(named=True)]
    return bars(rows, measure="bytes", width=width, look=look)


def duplicates(copies: pl.DataFrame, *, width: int = WIDE, look: Look = LIGHT) -> alt.LayerChart:
    """Draw what the first 12 candidates of `usage.duplicates` would free."""
    rows = [
        Bar(row["filename"], f"{size(row['freed'])} of {row['copies']:,} copies", row["freed"])
        for row in copies.head(_MOST).iter_rows(named=True)
    ]
    return bars(rows, measure="bytes", width=width, look=look, title="to free, ")


def _counted(rows: pl.DataFrame, names: Sequence[str], width: int, look: Look) -> alt.LayerChart:
    measure = measure_of(rows)
    drawn = [
        Bar(name, _value(row, measure, counted(row["files"], "file")), row[measure])
        for name, row in zip(names, rows.iter_rows(named=True), strict=True)
    ]
    return bars(drawn, measure=measure, width=width, look=look)


def _value(row: dict[str, Any], measure: Measure, beside: str) -> str:
    """Return what stands at a bar; what is unknown is no part of its length, and so is said."""
    if measure == "files":
        return counted(row["files"], "file")
    if is_unknown(row):
        return f"{row['files']:,} of unknown size"
    unknown = f", {row['unknown_size']:,} unknown" if row["unknown_size"] else ""
    return f"{known_size(row)}, {beside}{unknown}"


def _with_others(groups: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return the first groups, and the others as one."""
    named = groups.select(pl.col(column).cast(pl.String), "files", "bytes", "unknown_size", "share")
    first, rest = named.head(_MOST), named.slice(_MOST)
    if not rest.height:
        return first
    others = rest.select(pl.lit(f"{rest.height:,} others").alias(column), pl.exclude(column).sum())
    return pl.concat([first, others])
