"""The sections of a report: one question about storage each, as a chart with its figures, or as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import polars as pl

from files_source import charts, usage
from files_source.drawing import shortened
from files_source.measures import DAY
from files_source.page import Cell, Draw, Section, Table, picture
from files_source.printing import counted, known_share, known_size, size
from files_source.timeline import BEGUN
from files_source.usage_tables import Answers, full, held

NAME: Final = 80
"""Characters of a name that are shown."""

_SHOWN: Final = 10
_FOLDED: Final = 250
"""Rows of a table that opens below its chart."""
_SAID: Final = 6
"""Rows that a chart is described by."""
_MONTHS: Final = 60
_MEASURES: Final = ("files", "size", "size unknown")
_SPANS: Final = {"1d": 200 * DAY, "1w": 1_500 * DAY, "1mo": 6_000 * DAY}
"""From one point to the next, and the longest time that is shown so."""
_NO_HISTORY: Final = (
    "Only a history in a database knows what was stored when: make one by files-source sync --history, "
    "and a report from there shows it here."
)
_UNSEEN: Final = "Files of unknown size have no part in the chart; the table counts them."
_SURVIVORS: Final = (
    "The history begins on {begun}: before, only files that were still there then are counted, "
    "for what had been deleted by then is not known."
)
_CLEANUP: Final[Mapping[str, Mapping[str, Any]]] = {
    "older than 90 days": {"older_than": 90 * DAY},
    "older than 1 year": {"older_than": 365 * DAY},
    "results of batches, older than 30 days": {"purpose": "batch_output", "older_than": 30 * DAY},
    "larger than 100 MB, older than 30 days": {"larger_than": 100_000_000, "older_than": 30 * DAY},
    "maybe copies of a newer file": {"copies": True},
}
"""What may be a reason to delete, and how `usage.cleanup_candidates` is asked for it."""


def sections(told: Answers, files: pl.DataFrame, *, history: pl.DataFrame | None, now: datetime) -> Iterator[Section]:
    """Yield the sections that have something to show.

    Args:
        told: the answers of `usage_tables.answers`.
        files: what they are about.
        history: the versions of `files_history`, where there is one.
        now: when they were asked.
    """
    if not files.height:
        yield Section(title="No files", note="Nothing is stored, so there is nothing to show.")
        return
    yield _by("purpose", told["by_purpose"])
    if told["by_account"].height > 1:
        yield _by("account", told["by_account"])
    if "quota" in told:
        yield _quota(told["quota"], now)
    yield _months(told["by_month"], files)
    yield _over_time(history, now)
    yield _ages(told["ages"])
    yield _expiring(told)
    if told["largest"].height:
        yield _largest(told["largest"])
    yield _copies(told["duplicates"])
    yield _cleanup(files, now)


def _by(column: str, groups: pl.DataFrame) -> Section:
    rows = [(*_row(row[column], row), known_share(row)) for row in groups.to_dicts()]
    draw = partial(charts.by, groups, column)
    return _pictured(f"By {column}", column, rows, draw, of=groups, heads=(*_MEASURES, "share"))


def _quota(accounts: pl.DataFrame, now: datetime) -> Section:
    rows = [
        (
            shortened(row["account"], NAME),
            known_size(row),
            known_share(row),
            size(round(row["growth_per_day"])),
            full(row, now=now),
        )
        for row in accounts.to_dicts()
    ]
    return _pictured(
        f"Of the {size(usage.LIMIT)} that a project may hold",
        "account",
        rows,
        partial(charts.quota, accounts),
        of=accounts,
        heads=("size", "share", "per day", "limit reached"),
        note="The line across each bar is the limit. Per day: what was created in the last 30 days, is still there "
        "and never expires; what expires is taken to be replaced.",
    )


def _months(months: pl.DataFrame, files: pl.DataFrame) -> Section:
    shown = months.tail(_MONTHS)
    of = f", the last {_MONTHS} months of {months.height:,}" if months.height > _MONTHS else ""
    recent = files.filter(pl.col("created_at").dt.date() >= shown["month"].min())
    return _pictured(
        "By month of creation",
        "month",
        [_row(f"{row['month']:%Y-%m}", row) for row in reversed(shown.to_dicts())],
        partial(charts.by_month, usage.by_month(recent, "purpose"), "purpose"),
        of=shown,
        note=f"Of the files that are there{of}.",
    )


def _over_time(history: pl.DataFrame | None, now: datetime) -> Section:
    title = "Stored over time"
    first = None if history is None else history["created_at"].min()
    if history is None or not isinstance(first, datetime):
        return Section(title=title, note=_NO_HISTORY)
    every = next((every for every, longest in _SPANS.items() if now - first <= longest), "1y")
    points = usage.over_time(history, until=now, every=every)
    if not points.height:
        return Section(title=title, note="Nothing was stored yet.")
    begun = _instant(history.select(BEGUN).item())
    before = "" if points["recorded"].all() else f" {_SURVIVORS.format(begun=begun)}"
    return _pictured(
        title,
        "at",
        [_row(_instant(row["at"]), row) for row in reversed(points.to_dicts())],
        partial(charts.over_time, points),
        of=points,
        note=f"A file counts from its creation until it expires, or until a history run no longer finds it.{before}",
    )


def _instant(at: datetime) -> str:
    """Return a midnight as its date, and another instant with its time."""
    return f"{at:%Y-%m-%d}" if at == at.replace(hour=0, minute=0, second=0, microsecond=0) else f"{at:%Y-%m-%d %H:%M}"


def _ages(ages: pl.DataFrame) -> Section:
    rows = [_row(row["age"], row) for row in ages.to_dicts()]
    return _pictured("By age", "age", rows, partial(charts.ages, ages), of=ages)


def _expiring(told: Answers) -> Section:
    title = "Expiring soon"
    (never,) = told["never_expiring"].to_dicts()
    rows = [_row(f"within {counted(row['within_days'], 'day')}", row) for row in told["expiring_soon"].to_dicts()]
    stays = held(never)
    if not told["expiring_soon"]["files"].max():
        return Section(title=title, note=f"Nothing expires within 30 days. Never expiring: {stays}.")
    return _pictured(
        title,
        "expires",
        rows,
        partial(charts.expiring_soon, told["expiring_soon"]),
        of=told["expiring_soon"],
        note=f"Each bar holds those above it. Never expiring: {stays}.",
    )


def _largest(files: pl.DataFrame) -> Section:
    rows = [
        (
            (
                shortened(row["filename"], NAME),
                shortened(row["purpose"], NAME),
                f"{row['created_at']:%Y-%m-%d}",
                shortened(row["id"], NAME),
            ),
            size(row["bytes"]),
        )
        for row in files.head(_SHOWN).to_dicts()
    ]
    return Section(title="Largest files", table=Table(("file", "size"), rows))


def _copies(copies: pl.DataFrame) -> Section:
    title = "Maybe duplicates"
    if not copies.height:
        return Section(title=title, note="No two files of an account have the same name and size.")
    rows = [
        (
            (shortened(row["filename"], NAME), f"newest: {shortened(row['newest_id'], NAME)}"),
            f"{row['copies']:,}",
            size(row["bytes"]),
            size(row["freed"]),
        )
        for row in copies.head(_SHOWN).to_dicts()
    ]
    freed = size(sum(copies["freed"].to_list()))
    more = f" The first {_SHOWN} of {copies.height:,}." if copies.height > _SHOWN else ""
    note = (
        f"Candidates: the same account, name and size, for the API gives no hash. "
        f"To keep only the newest of each would free {freed}.{more}"
    )
    return Section(title=title, note=note, table=Table(("file", "copies", "of size", "to free"), rows))


def _cleanup(files: pl.DataFrame, now: datetime) -> Section:
    found = {
        reason: usage.totals(usage.cleanup_candidates(files, now=now, **asked)).row(0, named=True)
        for reason, asked in _CLEANUP.items()
    }
    return Section(
        title="What could go",
        note="Candidates to look at, which overlap; nothing was deleted.",
        table=Table(("files that are", *_MEASURES), [_row(reason, row) for reason, row in found.items()]),
    )


def _row(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    return shortened(name, NAME), f"{row['files']:,}", known_size(row), f"{row['unknown_size']:,}"


def _pictured(
    title: str,
    head: str,
    rows: Sequence[Sequence[Cell]],
    draw: Draw,
    *,
    of: pl.DataFrame,
    heads: Sequence[str] = _MEASURES,
    note: str = "",
) -> Section:
    """Return a section with a chart *of* an answer, named by its first rows, and its figures as a table."""
    unseen = f" {_UNSEEN}" if any(of["unknown_size"]) and any(of["bytes"]) else ""
    said = "; ".join(f"{name}: {', '.join(map(_said, heads, cells))}" for name, *cells in rows[:_SAID])
    more = f"; and {len(rows) - _SAID:,} more" if len(rows) > _SAID else ""
    return Section(
        title=title,
        note=f"{note}{unseen}".strip(),
        picture=picture(f"Chart. {title}. {said}{more}.", draw),
        table=Table((head, *heads), rows[:_FOLDED]),
    )


def _said(head: str, cell: Cell) -> str:
    if head == "files" and cell == "1":
        return "1 file"
    return f"{cell} {head}" if head in ("files", "size unknown") else f"{head} {cell}"
