"""Questions about storage as pictures: each function draws the answer of the `usage` function of its name.

A chart is Altair's, *width* pixels wide. Where no file has bytes to see, the chart counts files instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import altair as alt
import polars as pl

from files_source import usage
from files_source.drawing import (
    LIGHT,
    WIDE,
    Bar,
    Look,
    Measure,
    bars,
    columns,
    measure_of,
    milliseconds,
    shortened,
    time_axis,
    unit_of,
)
from files_source.measures import DAY, shifted
from files_source.printing import counted, size

_MOST: Final = 12
"""Bars of one chart, the one of all others not counted."""
_NAME: Final = 17
_LEGEND_ENTRY: Final = 165
_LEAST: Final = 0.001

_YEAR: Final = timedelta(days=365)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def by(groups: pl.DataFrame, column: str, *, width: int = WIDE, look: Look = LIGHT) -> alt.LayerChart:
    """Draw `usage.by` of one column, most bytes first; what comes after the first 12 is one bar."""
    measure, rows = measure_of(groups), _with_others(groups, column)
    drawn = [
        Bar(row[column], _value(row, measure, percent(row["share"])), row[measure])
        for row in rows.iter_rows(named=True)
    ]
    return bars(drawn, measure=measure, width=width, look=look)


def by_month(months: pl.DataFrame, column: str | None = None, *, width: int = WIDE, look: Look = LIGHT) -> alt.Chart:
    """Draw `usage.by_month`, stacked by the values of a column, of which the smaller ones are 'others'."""
    measure = measure_of(months)
    named, names = _series(months, column, measure, len(look.series))
    unit, factor = unit_of(max([0, *named.group_by("month").agg(pl.col(measure).sum())[measure]]), measure)
    values = [
        {"month": milliseconds(_midnight(row["month"])), "name": row["name"], "length": row[measure] / factor}
        for row in named.iter_rows(named=True)
    ]
    colours = [look.others if name == "others" else look.series[place] for place, name in enumerate(names)]
    scale = alt.Scale(domain=names, range=colours)
    legend = alt.Legend(columns=max(1, width // _LEGEND_ENTRY), labelLimit=_LEGEND_ENTRY) if column else None
    begun = [_midnight(month) for month in months["month"]] or [_EPOCH]
    end = _next_month(max(begun))
    axis = time_axis(min(*begun, shifted(end, -_YEAR)), end, width=width, title="month of creation (UTC)")
    chart = (
        alt.Chart({"values": values})
        .mark_bar()
        .encode(
            x=alt.X("month:T", timeUnit="utcyearmonth", **axis),
            y=alt.Y("length:Q", axis=alt.Axis(title=unit, tickCount=5, tickMinStep=int(measure == "files"))),
            color=alt.Color("name:N", scale=scale, legend=legend),
            order=alt.Order("place:Q"),
        )
        .transform_calculate(place="indexof(domain('color'), datum.name)")
    )
    return columns(chart, width=width, look=look)


def over_time(points: pl.DataFrame, *, width: int = WIDE, look: Look = LIGHT) -> alt.Chart:
    """Draw `usage.over_time`: what was stored at each instant."""
    measure = measure_of(points)
    unit, factor = unit_of(max([0, *points[measure]]), measure)
    values = [{"at": milliseconds(row["at"]), "length": row[measure] / factor} for row in points.iter_rows(named=True)]
    times: list[datetime] = points["at"].to_list() or [_EPOCH]
    last = max(times)
    axis = time_axis(min(*times, shifted(last, -DAY)), last, width=width, title="day (UTC)")
    chart = (
        alt.Chart({"values": values})
        .mark_area(
            interpolate="step-after",
            color=look.mark,
            fillOpacity=0.25,
            line={"color": look.mark},
            point={"color": look.mark} if len(values) == 1 else False,
        )
        .encode(
            x=alt.X("at:T", **axis),
            y=alt.Y("length:Q", axis=alt.Axis(title=unit, tickCount=5, tickMinStep=int(measure == "files"))),
        )
    )
    return columns(chart, width=width, look=look)


def ages(ages: pl.DataFrame, *, width: int = WIDE, look: Look = LIGHT) -> alt.LayerChart:
    """Draw `usage.ages`, youngest first."""
    return _counted(ages, ages["age"].to_list(), width, look)


def expiring_soon(soon: pl.DataFrame, *, width: int = WIDE, look: Look = LIGHT) -> alt.LayerChart:
    """Draw `usage.expiring_soon`; each bar holds those before it."""
    return _counted(soon, [f"within {counted(days, 'day')}" for days in soon["within_days"]], width, look)


def quota(accounts: pl.DataFrame, *, width: int = WIDE, look: Look = LIGHT) -> alt.LayerChart:
    """Draw `usage.quota` against the limit, a dashed line."""
    rows = [
        Bar(row["account"], f"{size(row['bytes'])}, {percent(row['share'])}", row["bytes"])
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


def percent(share: float | None) -> str:
    """Return a share of 0 to 1 for a person."""
    if share is None:
        return "?"
    return "<0.1%" if 0 < share < _LEAST else f"{share:.1%}"


def _counted(rows: pl.DataFrame, names: Sequence[str], width: int, look: Look) -> alt.LayerChart:
    measure = measure_of(rows)
    drawn = [
        Bar(name, _value(row, measure, counted(row["files"], "file")), row[measure])
        for name, row in zip(names, rows.iter_rows(named=True), strict=True)
    ]
    return bars(drawn, measure=measure, width=width, look=look)


def _value(row: dict[str, Any], measure: Measure, beside: str) -> str:
    return counted(row["files"], "file") if measure == "files" else f"{size(row['bytes'])}, {beside}"


def _with_others(groups: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return the first groups, and the others as one."""
    named = groups.select(pl.col(column).cast(pl.String), "files", "bytes", "share")
    first, rest = named.head(_MOST), named.slice(_MOST)
    if not rest.height:
        return first
    others = rest.select(pl.lit(f"{rest.height:,} others").alias(column), pl.col("files", "bytes", "share").sum())
    return pl.concat([first, others])


def _series(months: pl.DataFrame, column: str | None, measure: Measure, most: int) -> tuple[pl.DataFrame, list[str]]:
    """Return the months with `name`, what each part of a column is called, and the names, most first, 'others' last."""
    if column is None:
        return months.with_columns(name=pl.lit("files")), ["files"]
    shown = pl.col(column).map_elements(lambda name: shortened(name, _NAME), return_dtype=pl.String)
    named = months.with_columns(name=shown)
    ranked = named.group_by("name").agg(pl.col(measure).sum()).sort(measure, "name", descending=[True, False])
    names = ranked["name"].to_list()
    if len(names) <= most:
        return named, names
    kept = [name for name in names if name != "others"][:most]
    others = pl.when(pl.col("name").is_in(kept)).then("name").otherwise(pl.lit("others"))
    return named.with_columns(name=others), [*kept, "others"]


def _next_month(month: datetime) -> datetime:
    return shifted(month, 31 * DAY).replace(day=1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
