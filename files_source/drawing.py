"""What every chart is made of: colours, sizes in one unit, names that fit, bars, an axis of time, SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar

import altair as alt
import polars as pl
import vl_convert

from files_source.printing import printable, scale_of

Measure = Literal["bytes", "files"]
Along = TypeVar("Along", alt.Chart, alt.LayerChart)

WIDE: Final = 720
"""Pixels of a chart unless it is told otherwise."""
FONT: Final = "sans-serif"

_ROW: Final = 44
_BAR: Final = 16
_ABOVE: Final[Mapping[str, Any]] = {"baseline": "bottom", "dy": -_BAR // 2 - 3}
_HEIGHT: Final = 240
_NAME_SIZE: Final = 13
_CHARACTER: Final = 8.5
"""Pixels, on average, of a character in a name, in a wide font."""
_VALUE_ROOM: Final = 135
"""Pixels for a value, or more where one is longer."""
_DIGIT: Final = 6.2
"""Pixels, on average, of a character in a value."""
_GAP: Final = 10
_LABEL_ROOM: Final = 72
"""Pixels that a date on an axis needs, with the gap to the next."""
_STEPS: Final = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
    "1w": timedelta(days=7),
    "1mo": timedelta(days=30),
    "3mo": timedelta(days=91),
    "6mo": timedelta(days=182),
    "1y": timedelta(days=365),
    "2y": timedelta(days=730),
    "5y": timedelta(days=1826),
    "25y": timedelta(days=9131),
    "250y": timedelta(days=91310),
}
"""From one date on an axis to the next, and how long that is."""
_EASE: Final = 1.1
"""How much closer dates may come rather than be half as many."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The colours of a chart, each as CSS spells it.

    Attributes:
        card: what the chart stands on.
        ink: text that matters.
        muted: text of axes.
        grid: lines in the background.
        mark: bars of one kind, and lines.
        series: bars of several kinds, in this order.
        others: bars of what is not told apart.
    """

    card: str
    ink: str
    muted: str
    grid: str
    mark: str
    series: tuple[str, ...]
    others: str


LIGHT: Final = Look(
    card="#ffffff",
    ink="#1f2328",
    muted="#59636e",
    grid="#d9dee3",
    mark="#0072b2",
    series=("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7"),
    others="#8c959f",
)
"""Source of the series: Okabe and Ito, told apart by colour-blind readers too."""

DARK: Final = Look(
    card="#171b21",
    ink="#e8ebef",
    muted="#a2abb5",
    grid="#353c45",
    mark="#3d9fdb",
    series=("#2f8fd0", "#e69f00", "#1bb58a", "#e8762d", "#56b4e9", "#cc79a7"),
    others="#78828d",
)
"""The same, lighter where they would be too dark."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its name and value, written above it, and its length in bytes or files."""

    name: str
    value: str
    length: int


def shortened(text: str, most: int) -> str:
    """Return *text* in at most *most* characters, with what is invisible spelled out and the middle left out."""
    ends = text if len(text) <= 2 * most else text[:most] + text[-most:]
    shown = printable(ends)
    if ends is text and len(shown) <= most:
        return shown
    tail = (most - 1) // 2
    return f"{shown[: most - 1 - tail]}…{shown[len(shown) - tail :]}"


def measure_of(rows: pl.DataFrame) -> Measure:
    """Return what to draw: bytes, or files where there are no bytes to see."""
    return "bytes" if rows["bytes"].cast(pl.Int128).sum() else "files"


def unit_of(longest: int, measure: Measure) -> tuple[str, int]:
    """Return the unit of an axis that ends at *longest*, and how many bytes or files it stands for."""
    if measure == "files":
        return "files", 1
    return scale_of(longest)


def bars(
    rows: Sequence[Bar], *, measure: Measure, width: int, look: Look, end: int | None = None, title: str = ""
) -> alt.LayerChart:
    """Return horizontal bars from top to bottom, each with its name and value above it.

    Args:
        rows: the bars.
        measure: what their lengths count.
        width: in pixels.
        look: the colours.
        end: where the axis ends at least, with a line across each bar there.
        title: what the axis shows, beside its unit.
    """
    longest = max([1, end or 0, *(row.length for row in rows)])
    unit, factor = unit_of(longest, measure)
    rooms = [width - max(_VALUE_ROOM, _DIGIT * len(row.value) + _GAP) for row in rows]
    values = [
        {
            "row": number,
            "name": shortened(row.name, int(room / _CHARACTER)),
            "value": row.value,
            "length": row.length / factor,
        }
        for number, (row, room) in enumerate(zip(rows, rooms, strict=True))
    ]
    base = alt.Chart({"values": values or [{"row": 0, "name": "", "value": "", "length": 0}]}).encode(
        y=alt.Y("row:O", axis=None)
    )
    axis = alt.Axis(
        title=f"{title}{unit}", grid=False, tickCount=max(2, width // 110), tickMinStep=int(measure == "files")
    )
    length = alt.X("length:Q", axis=axis, scale=alt.Scale(domain=[0, longest / factor]))
    names: dict[str, Any] = {
        "align": "left",
        "fontSize": _NAME_SIZE,
        "color": look.ink,
        "limit": max(rooms, default=width),
        **_ABOVE,
    }
    sizes: dict[str, Any] = {"align": "right", "color": look.muted, **_ABOVE}
    layers = [
        base.mark_bar(height=_BAR, color=look.mark).encode(x=length),
        base.mark_text(**names).encode(x=alt.value(0), text="name:N"),
        base.mark_text(**sizes).encode(x=alt.value("width"), text="value:N"),
    ]
    if end is not None:
        limit = base.mark_tick(color=look.ink, opacity=1, size=_BAR + 4, thickness=2)  # below names and values
        layers.append(limit.encode(x=alt.XDatum(end / factor)))
    drawn: alt.LayerChart = alt.layer(*layers).properties(**_form(width, alt.Step(_ROW))).configure(**_config(look))
    return drawn


def columns(chart: Along, *, width: int, look: Look) -> Along:
    """Return a chart with time along its foot in its form."""
    drawn: Along = chart.properties(**_form(width, _HEIGHT)).configure(**_config(look))
    return drawn


def time_axis(first: datetime, last: datetime, *, width: int, title: str) -> dict[str, Any]:
    """Return the scale and axis of a time in UTC, with as many dates as there is room for."""
    wanted = (last - first) / max(2, (width - 60) // _LABEL_ROOM)
    every = next((name for name, step in _STEPS.items() if _EASE * step >= wanted), "250y")
    start = pl.Series([first]).dt.truncate(every).item()
    ticks = pl.datetime_range(start, last, every, time_zone="UTC", eager=True)
    form = {"h": "%H:%M", "d": "%-d %b", "w": "%-d %b", "o": "%b %Y", "y": "%Y"}[every[-1]]
    return {
        "scale": alt.Scale(type="utc", domain=[milliseconds(first), milliseconds(last)], nice=False),
        "axis": alt.Axis(
            title=title,
            format=form,
            values=[milliseconds(tick) for tick in ticks if tick >= first],
            grid=False,
            labelOverlap="greedy",
            labelSeparation=6,
        ),
    }


def milliseconds(moment: datetime) -> int:
    """Return an instant as Vega counts time, since 1970."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def svg(chart: alt.Chart | alt.LayerChart) -> str:
    """Return a chart as an SVG element that loads nothing."""
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return str(vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=version, allowed_base_urls=[]))


def _form(width: int, height: int | alt.Step) -> dict[str, Any]:
    return {
        "width": width,
        "height": height,
        "padding": 4,
        "autosize": alt.AutoSizeParams(type="fit-x", contains="padding"),
    }


def _config(look: Look) -> dict[str, Any]:
    return {
        "aria": False,  # the chart has one name, given where it stands
        "background": look.card,  # or nobody could read it where it is shown on a dark page
        "font": FONT,
        "view": alt.ViewConfig(stroke=None),
        "text": alt.MarkConfig(fontSize=12),
        "axis": alt.AxisConfig(
            labelColor=look.muted,
            labelFontSize=11,
            titleColor=look.muted,
            titleFontSize=11,
            titlePadding=8,
            titleFontWeight="normal",
            gridColor=look.grid,
            domainColor=look.grid,
            tickColor=look.grid,
        ),
        "legend": alt.LegendConfig(
            title=None,
            orient="top",
            labelColor=look.ink,
            labelFontSize=12,
            symbolType="square",
            symbolStrokeWidth=0,
            columnPadding=24,
        ),
    }
