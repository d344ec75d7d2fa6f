"""One HTML page: headline figures and sections, each a picture, a table or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import altair as alt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from files_source.drawing import DARK, LIGHT, WIDE, Look, svg

Cell = str | tuple[str, ...]
"""What stands in a table: a text, or one with smaller ones below it."""

LOOK: Final = Look(
    card="var(--card)",
    ink="var(--ink)",
    muted="var(--muted)",
    grid="var(--grid)",
    mark="var(--mark)",
    series=tuple(f"var(--series-{number})" for number in range(len(LIGHT.series))),
    others="var(--others)",
)
"""The colours by name: what they are, light or dark, `palette` says."""

_NARROW: Final = 344
"""Pixels within a phone's 390."""
_NUMBERS: Final = frozenset({"copies", "files", "of size", "per day", "share", "size", "size unknown", "to free"})


class Draw(Protocol):
    """What draws a chart in any width and colours."""

    def __call__(self, *, width: int, look: Look) -> alt.Chart | alt.LayerChart: ...


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that matters, what it is, and what belongs beside it."""

    name: str
    value: str
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart as SVG for wide and narrow screens, and what it shows in words."""

    label: str
    wide: Markup
    narrow: Markup


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads; those in `numbers` stand to the right."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numbers: frozenset[str] = _NUMBERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One question's answer."""

    title: str
    note: str = ""
    picture: Picture | None = None
    table: Table | None = None


def picture(label: str, draw: Draw) -> Picture:
    """Draw a chart at both widths."""
    wide, narrow = (Markup(svg(draw(width=width, look=LOOK))) for width in (WIDE, _NARROW))  # noqa: S704 - Vega escapes its texts
    return Picture(label, wide, narrow)


def palette(where: str) -> str:
    """Return a style sheet of the colours of LOOK in elements that a CSS selector finds, light and dark."""
    return (
        f"{where} {{ {_variables(LIGHT)} }}\n@media (prefers-color-scheme: dark) {{ {where} {{ {_variables(DARK)} }} }}"
    )


def _variables(look: Look) -> str:
    colours = {name: getattr(look, name) for name in Look.__slots__ if name != "series"}
    series = {f"series-{number}": colour for number, colour in enumerate(look.series)}
    return " ".join(f"--{name}: {colour};" for name, colour in (colours | series).items())


def html(*, title: str, whence: str, headline: Sequence[Figure], sections: Sequence[Section]) -> str:
    """Return the page; every text is escaped, and nothing in it makes a browser ask for anything."""
    templates = Environment(
        loader=PackageLoader("files_source", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = templates.get_template("page.html.jinja")
    return template.render(palette=palette(":root"), title=title, whence=whence, headline=headline, sections=sections)
