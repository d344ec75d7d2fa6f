"""The options that several commands have, and how what is typed is read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

_AGE: Final = re.compile(r"([0-9]{1,6})([mhdw])", re.ASCII)
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str) -> datetime:
    """Read a time in ISO 8601; in UTC where it names no zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!a} is no time: give ISO 8601, such as 2026-01-31 or 2026-01-31T12:00Z"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def age(text: str) -> timedelta:
    """Read an age, such as `90d`."""
    found = _AGE.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise typer.BadParameter(f"{text!a} is no age: give minutes, hours, days or weeks, such as 30m, 12h, 90d or 2w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


FileId = Annotated[str, typer.Argument(metavar="ID", help="A file's id, such as file-abc123.", show_default=False)]
Purpose = Annotated[str | None, typer.Option(metavar="PURPOSE", help="Only files of this purpose, such as batch.")]
Place = Annotated[
    str, typer.Option(metavar="PLACE", help="PATH.duckdb, DIR/, parquet:URL, a database's URL or a dlt destination.")
]
From = Annotated[
    str | None, typer.Option("--from", metavar="PLACE", help="Where they were loaded; otherwise inventory.duckdb.")
]
Live = Annotated[bool, typer.Option("--live", help="List the account now, in place of what was loaded.")]
AccountName = Annotated[
    str | None, typer.Option(metavar="NAME", help="The name of these files' account; otherwise default.")
]
Accounts = Annotated[
    Path | None, typer.Option(metavar="FILE.toml", help="Many accounts: a table [accounts.NAME] for each.")
]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, max=10_000, help="Files a page; otherwise 10000.")]
