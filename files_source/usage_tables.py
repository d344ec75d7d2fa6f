"""The answers about storage, as tables on the screen or as one JSON object."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import polars as pl
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from files_source import usage
from files_source.inventories import Basis, Inventory
from files_source.printing import counted, is_unknown, known_share, known_size, printable, size

Answers = dict[str, pl.DataFrame]
Row = Mapping[str, Any]

_SINGLE: Final = frozenset({"totals", "never_expiring"})
"""The answers of one row."""
_TOP: Final = 10
_MONTHS: Final = 12
_WIDE: Final = 100
"""Columns of a screen that has room for more than what matters most."""
_WITHOUT_BAR: Final = 60
"""Columns of a screen that names and numbers come first on."""
_FORESEEABLE: Final = 100
"""Years within which a date is worth telling."""
_NUMBERS: Final = frozenset({"files", "size", "share", "size unknown", "to free", "copies", "of size", "a day", "full"})
_WHENCE: Final[dict[Basis, str]] = {
    "history": "in {place}, as checked by a history run at {checked:%Y-%m-%d %H:%M}Z",
    "files": "loaded into {place}; what was deleted since may count: sync --history tells",
    "live": "at {place} now",
}


def answers(inventory: Inventory, *, now: datetime) -> Answers:
    """Return what `usage` says of the files that have not expired by *now*.

    `quota` is of all purposes, so it is missing where there is only one.
    """
    files = usage.unexpired(inventory.files, now=now)
    quota = {} if inventory.purpose else {"quota": usage.quota(files, now=now)}
    return {
        "totals": usage.totals(files),
        "by_purpose": usage.by(files, "purpose"),
        "by_account": usage.by(files, "account"),
        "by_month": usage.by_month(files),
        "ages": usage.ages(files, now=now),
        "expiring_soon": usage.expiring_soon(files, now=now),
        "never_expiring": usage.totals(usage.never_expiring(files)),
        "largest": usage.largest(files),
        "duplicates": usage.duplicates(files),
        **quota,
    }


def as_object(inventory: Inventory, answers: Answers, *, now: datetime) -> dict[str, object]:
    """Return all answers for a program: rows as objects, sizes in bytes, shares from 0 to 1, times in UTC."""
    rows = {name: frame.to_dicts() for name, frame in answers.items()}
    asked = {
        "from": inventory.place,
        "basis": inventory.basis,
        "checked_at": inventory.checked_at,
        "purpose": inventory.purpose,
        "at": now,
    }
    told: dict[str, object] = {name: found[0] if name in _SINGLE else found for name, found in rows.items()}
    return asked | told | {"quota": told.get("quota")}


def show(inventory: Inventory, answers: Answers, *, now: datetime) -> None:
    """Print the answers to standard output, the largest first, as wide as the screen is."""
    console = Console(markup=False, emoji=False, highlight=False)
    (total,) = answers["totals"].to_dicts()
    whence = _WHENCE[inventory.basis].format(place=printable(inventory.place), checked=inventory.checked_at)
    which = "" if inventory.purpose is None else f" of purpose {printable(inventory.purpose)}"
    console.print(f"{held(total, which)} {whence}", soft_wrap=True)
    if not total["files"]:
        return
    first, last = (f"{total[end]:%Y-%m-%d}" for end in ("oldest", "newest"))
    console.print(f"created {first}" if first == last else f"created {first} to {last}")
    for title, table in _tables(answers, console.width, now):
        console.print(f"\n{title}", style="bold", soft_wrap=True)
        console.print(table)


def held(row: Row, which: str = "") -> str:
    """Say how many files there are and what they take: `3 files, 1.2 GB and 1 of unknown size`."""
    if is_unknown(row):
        return f"{counted(row['files'], 'file')}{which} of unknown size"
    unknown = f" and {row['unknown_size']:,} of unknown size" if row["unknown_size"] else ""
    return f"{counted(row['files'], 'file')}{which}, {known_size(row)}{unknown}"


def _tables(answers: Answers, width: int, now: datetime) -> Iterator[tuple[str, Table]]:
    """Yield the tables that have something to say, each with its title."""
    purposes, accounts, months = (answers[name] for name in ("by_purpose", "by_account", "by_month"))
    yield f"By purpose{_of(purposes)}", _bars(purposes.head(_TOP), "purpose", width)
    if accounts.height > 1:
        yield f"By account{_of(accounts)}", _bars(accounts.head(_TOP), "account", width)
    yield f"By month of creation{_of(months, _MONTHS, 'last')}", _bars(months.tail(_MONTHS), "month", width)
    yield "By age", _bars(answers["ages"], "age", width)
    yield "By expiry", _bars(_terms(answers), "expires", width)
    if (largest := answers["largest"]).height:
        yield "Largest files", _largest(largest.head(_TOP), width)
    if (copies := answers["duplicates"]).height:
        freed = size(sum(copies["freed"].to_list()))
        title = f"Maybe copies, by account, name and size: {freed} to free{_of(copies)}"
        yield title, _copies(copies.head(_TOP))
    if "quota" in answers:
        growth = "at the growth of the last 30 days by what never expires"
        title = f"Of the {size(usage.LIMIT)} that a project may hold, {growth}{_of(accounts)}"
        yield title, _quota(answers["quota"].head(_TOP), now)


def _of(rows: pl.DataFrame, most: int = _TOP, which: str = "first") -> str:
    """Say that there are more rows than are shown."""
    return f" ({which} {most} of {rows.height:,})" if rows.height > most else ""


def _terms(answers: Answers) -> pl.DataFrame:
    """Return how much expires soon, and how much never does."""
    soon, never = answers["expiring_soon"], answers["never_expiring"]
    terms = [f"within {counted(days, 'day')}" for days in soon["within_days"]]
    measures = pl.concat(
        [soon.select("files", "bytes", "unknown_size"), never.select("files", "bytes", "unknown_size")]
    )
    return measures.with_columns(pl.Series("expires", [*terms, "never"]))


def _bars(groups: pl.DataFrame, label: str, width: int) -> Table:
    """Return groups of files with a bar each, the longest for the most bytes."""
    has_share, has_unknown = "share" in groups.columns, any(groups["unknown_size"])
    most, longest = max([1, *groups["bytes"]]), max(1, min(width // 4, width - _WITHOUT_BAR))
    heads = [label, "files", "size", *["share"] * has_share, "", *["size unknown"] * has_unknown]
    rows: list[list[str | Bar]] = []
    for row in groups.iter_rows(named=True):
        name = f"{row[label]:%Y-%m}" if label == "month" else printable(row[label])
        share = [known_share(row)] if has_share else []
        bar = Bar(size=most, begin=0, end=row["bytes"], width=longest, color="cyan")
        unknown = [f"{row['unknown_size']:,}"] if has_unknown else []
        rows.append([name, f"{row['files']:,}", known_size(row), *share, bar, *unknown])
    return _table(heads, rows, gives_way=(label,))


def _largest(files: pl.DataFrame, width: int) -> Table:
    created = ["created"] if width >= _WIDE else []
    rows = [
        [
            size(row["bytes"]),
            *[f"{row['created_at']:%Y-%m-%d}" for _ in created],
            *map(printable, (row["purpose"], row["filename"], row["id"])),
        ]
        for row in files.iter_rows(named=True)
    ]
    return _table(["size", *created, "purpose", "filename", "id"], rows, gives_way=("purpose", "filename"))


def _copies(found: pl.DataFrame) -> Table:
    rows = [
        [
            size(row["freed"]),
            f"{row['copies']:,}",
            size(row["bytes"]),
            *map(printable, (row["filename"], row["newest_id"])),
        ]
        for row in found.iter_rows(named=True)
    ]
    return _table(["to free", "copies", "of size", "filename", "newest id"], rows, gives_way=("filename",))


def _quota(accounts: pl.DataFrame, now: datetime) -> Table:
    rows = [
        [
            printable(row["account"]),
            known_size(row),
            known_share(row),
            size(round(row["growth_per_day"])),
            full(row, now=now),
        ]
        for row in accounts.iter_rows(named=True)
    ]
    return _table(["account", "size", "share", "a day", "full"], rows, gives_way=("account",))


def full(account: Row, *, now: datetime) -> str:
    """Say when an account's limit is reached, by a row of `usage.quota`."""
    day, last = account["full_on"], now.year + _FORESEEABLE
    if day is None and not account["growth_per_day"]:
        return "never"
    return f"{day}" if day is not None and day.year <= last else f"after {last}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str | Bar]], *, gives_way: Container[str]) -> Table:
    """Return a table of which some columns give way where there is too little room, so that the others are whole."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        justify: Literal["left", "right"] = "right" if head in _NUMBERS else "left"
        table.add_column(head, justify=justify, no_wrap=head not in gives_way)
    for row in rows:
        table.add_row(
            *(Text(cell, no_wrap=True, overflow="ellipsis") if isinstance(cell, str) else cell for cell in row)
        )
    return table
