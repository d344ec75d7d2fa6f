"""Storage through time as pictures: what each month added, and what was stored at each instant."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

import altair as alt
import polars as pl

from files_source.drawing import (
    LIGHT,
    WIDE,
    Look,
    Measure,
    columns,
    measure_of,
    milliseconds,
    shortened,
    time_axis,
    unit_of,
)
from files_source.measures import DAY, shifted

_NAME: Final = 17
_LEGEND_ENTRY: Final = 165
_UNSEEN: Final = "only what was still there"
_SEEN: Final = "all that was stored"

_YEAR: Final = timedelta(days=365)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
    chart: alt.Chart = (
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


def over_time(points: pl.DataFrame, *, width: int = WIDE, look: Look = LIGHT) -> alt.LayerChart:
    """Draw `usage.over_time`: what was stored at each instant, with a dot at the last.

    The time before the history began is of another colour, up to a dashed line.
    """
    measure = measure_of(points)
    unit, factor = unit_of(max([0, *points[measure]]), measure)
    unseen, seen = (points.filter(recorded=recorded).to_dicts() for recorded in (False, True))
    begun = [row["at"] for row in seen[:1] if unseen]
    unseen += [unseen[-1] | {"at": at} for at in begun]
    values = [
        {"at": milliseconds(row["at"]), "length": row[measure] / factor, "part": part}
        for part, rows in ((_UNSEEN, unseen), (_SEEN, seen))
        for row in rows
    ]
    times: list[datetime] = points["at"].to_list() or [_EPOCH]
    last = max(times)
    axis = time_axis(min(*times, shifted(last, -DAY)), last, width=width, title="date (UTC)")
    colours = alt.Scale(domain=[_UNSEEN, _SEEN], range=[look.others, look.mark])
    legend = alt.Legend(columns=max(1, width // _LEGEND_ENTRY), labelLimit=_LEGEND_ENTRY) if unseen else None
    x = alt.X("at:T", **axis)
    y = alt.Y("length:Q", axis=alt.Axis(title=unit, tickCount=5, tickMinStep=int(measure == "files")), stack=None)
    color = alt.Color("part:N", scale=colours, legend=legend)
    area = alt.Chart({"values": values}).mark_area(interpolate="step-after", fillOpacity=0.25, line=True)
    border = alt.Chart({"values": [{"at": milliseconds(at)} for at in begun]})
    end = alt.Chart({"values": values[-1:]}).mark_point(filled=True, size=40, opacity=1)
    chart = alt.LayerChart(
        layer=[
            area.encode(x=x, y=y, color=color),
            border.mark_rule(color=look.ink, strokeDash=[4, 3]).encode(x=x),
            end.encode(x=x, y=y, color=color),
        ]
    )
    return columns(chart, width=width, look=look)


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
