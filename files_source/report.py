"""The answers about storage as one HTML page that needs no network and runs no script."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import polars as pl

from files_source import page, usage
from files_source.drawing import shortened
from files_source.errors import ConfigError
from files_source.inventories import Basis, Inventory
from files_source.page import Figure
from files_source.places import AnyPlace
from files_source.printing import counted, is_unknown, known_share, known_size, size
from files_source.sections import NAME, sections
from files_source.tables import read_table
from files_source.times import Time, utc
from files_source.usage_tables import Answers, answers, full

_WHENCE: Final[dict[Basis, str]] = {
    "history": "as found in {place}, checked by a history run at {checked:%Y-%m-%d %H:%M} UTC",
    "files": "as loaded into {place}; what was deleted since may count: files-source sync --history tells",
    "live": "as listed by {place}",
}
_SECRET: Final = re.compile(r"(?<=://)(?:[^/?#]*|[^@]*:[^@]*)@|[?#].*", flags=re.DOTALL)
"""What may be a password or a token in a URL."""


def report(inventory: Inventory, *, now: Time, history: pl.DataFrame | None = None) -> str:
    """Return the page: self-contained HTML, for light and dark, desktop and phone.

    Args:
        inventory: the files; those that have expired by *now* are left out.
        now: when ages, expiry and growth are told for.
        history: the versions of `files_history`, for storage over time; None where there is none.
    """
    now = utc(now, name="now")
    told = answers(inventory, now=now)
    files = usage.unexpired(inventory.files, now=now)
    of = "" if inventory.purpose is None else f" of purpose {shortened(inventory.purpose, NAME)}"
    place = shortened(_without_secrets(inventory.place), 2 * NAME)
    whence = _WHENCE[inventory.basis].format(place=place, checked=inventory.checked_at)
    return page.html(
        title=f"Stored files{of}",
        whence=f"{now:%Y-%m-%d %H:%M} UTC, {whence}.",
        headline=list(_headline(told, now)),
        sections=list(sections(told, files, history=history, now=now)),
    )


def recorded(place: AnyPlace, *, purpose: str | None = None) -> pl.DataFrame | None:
    """Return the versions of `files_history` in a place, of one purpose or all; None where there is no such table.

    Raises:
        LoadError: it cannot be read.
    """
    try:
        history = read_table(place, "files_history")
    except ConfigError:
        return None
    return history if purpose is None else history.filter(pl.col("purpose") == purpose)


def _headline(told: Answers, now: datetime) -> Iterator[Figure]:
    (total,) = told["totals"].to_dicts()
    unknown = f"{counted(total['unknown_size'], 'file')} of unknown size" if total["unknown_size"] else ""
    beside = f"and {unknown}" if unknown and not is_unknown(total) else unknown
    yield Figure("Files", f"{total['files']:,}", _created(total))
    yield Figure("Stored", known_size(total), beside)
    if "quota" not in told or not told["quota"].height:
        return
    fullest, *others = told["quota"].to_dicts()
    whose = f" by {shortened(fullest['account'], NAME)}" if others else ""
    growth = f"at {size(round(fullest['growth_per_day']))} per day that never expire, as in the last 30 days"
    yield Figure(f"Of the {size(usage.LIMIT)} limit{whose}", known_share(fullest))
    yield Figure(f"Limit reached{whose}", full(fullest, now=now), growth)


def _created(total: Mapping[str, Any]) -> str:
    if not total["files"]:
        return ""
    first, last = (f"{total[end]:%Y-%m-%d}" for end in ("oldest", "newest"))
    return f"created {first}" if first == last else f"created {first} to {last}"


def _without_secrets(place: str) -> str:
    return _SECRET.sub("", place) if "://" in place else place
