"""The options that several commands have, and how what is typed is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from files_source.durations import duration, seconds
from files_source.errors import ConfigError
from files_source.times import utc

_Read = TypeVar("_Read")
_SECRET: Final = re.compile(r"key|token|secret|sig|pass|auth|code|credential", re.IGNORECASE)


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


def parameters(given: list[str]) -> dict[str, str]:
    """Read query parameters, such as `api-version=2024-10-21`.

    Raises:
        ConfigError: one is no NAME=VALUE, or may be a secret, which every user of the machine could read.
    """
    found: dict[str, str] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name or name in found:  # what stands here may be a key: it is not shown
            raise ConfigError("--query takes NAME=VALUE, each name once, such as api-version=2024-10-21")
        if _SECRET.search(name) or value.startswith("sk-"):
            raise ConfigError(
                "--query is no place for a secret, as others can read a command line: give it as JSON in "
                "SOURCES__OPENAI_FILES__QUERY, or as query in the file of --accounts"
            )
        found[name] = value
    return found


FileId = Annotated[str, typer.Argument(metavar="ID", help="A file's id, such as file-abc123.", show_default=False)]
Purpose = Annotated[str | None, typer.Option(metavar="PURPOSE", help="Only files of this purpose, such as batch.")]
Place = Annotated[
    str, typer.Option(metavar="PLACE", help="PATH.duckdb, DIR/, parquet:URL, a database's URL or a dlt destination.")
]
From = Annotated[
    str | None, typer.Option("--from", metavar="PLACE", help="Where they were loaded (default inventory.duckdb).")
]
Live = Annotated[bool, typer.Option("--live", help="List the account now, in place of what was loaded.")]
AccountName = Annotated[
    str | None, typer.Option(metavar="NAME", help="The name of these files' account (default default).")
]
Accounts = Annotated[
    Path | None, typer.Option(metavar="FILE.toml", help="Many accounts: a table [accounts.NAME] for each.")
]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, max=10_000, help="Files a page (default 10000).")]
