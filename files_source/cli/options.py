"""The options that several commands have, and how what is typed is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from files_source.durations import duration, seconds
from files_source.errors import ConfigError
from files_source.times import utc

_Read = TypeVar("_Read")


def _parsed(read: Callable[[str], _Read], text: str) -> _Read:
    """Read what was typed, and leave it to typer to name the option where it cannot be read."""
    try:
        return read(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


def moment(text: str) -> str:
    """Check that something is a time. How long ago it was is reckoned once for all of a command's."""
    _parsed(utc, text)
    return text


def age(text: str) -> timedelta:
    """Read an age, such as `90d`."""
    return _parsed(duration, text)


def lifetime(text: str) -> int:
    """Read for how many seconds a file is kept, such as `30d` or `3600`."""
    return _parsed(seconds, text)


FileId = Annotated[str, typer.Argument(metavar="ID", help="A file's id, such as file-abc123.", show_default=False)]
Purpose = Annotated[str | None, typer.Option(metavar="PURPOSE", help="Only files of this purpose, such as batch.")]
Place = Annotated[
    str, typer.Option(metavar="PLACE", help="PATH.duckdb, DIR/, parquet:URL, or the name of a dlt destination.")
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
