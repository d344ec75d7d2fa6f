"""Where rows go and come from: a path, a URL or a name, as typed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from files_source.errors import ConfigError
from files_source.redaction import without_secrets
from files_source.servers import is_server

DATASET: Final = "openai_files"
"""The schema of a database, and the folder of a lake, that holds the tables."""

HELD: Final = re.compile(r"Conflicting lock is held .*\(PID (\d+)\)")
"""How DuckDB says that another process has a database open."""

_DATABASES: Final = (".duckdb", ".ddb", ".db")
_PARQUET: Final = "parquet:"
_LOCAL: Final = "file:///"
_URL_OF_A_PATH: Final = re.compile(r"(?:[A-Za-z][\w+.-]+:)+/")
_DUCKDB: Final = "duckdb:///"

AnyPlace = str | os.PathLike[str]
"""What is taken for a place: text, or a path."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place.

    Attributes:
        kind: a DuckDB database, a folder or URL of Parquet files, another database's URL, or a dlt
            destination's name.
        address: the path, URL or name; a URL may have a password in it.
    """

    kind: Literal["database", "lake", "server", "name"]
    address: str = field(repr=False)

    @property
    def name(self) -> str:
        """Return the place as it is shown: the address without user, password and tokens."""
        return without_secrets(self.address)

    @property
    def folder(self) -> Path | None:
        """Return the local folder of a lake; None of anything else."""
        scheme, _, path = self.address.rpartition("://")
        return Path(path) if self.kind == "lake" and scheme in ("", "file") else None


def place_of(to: AnyPlace) -> Place:
    """Return the place that *to* names.

    `PATH.duckdb` is a DuckDB database, `postgresql://...`, `sqlite:///PATH` and the like are the URL of
    another database, `DIR/`, `parquet:URL` and any other URL are Parquet below that folder, anything else
    is a dlt destination's name.

    Raises:
        ConfigError: as `named` does.
    """
    name = named(to)
    if name.startswith(_DUCKDB):
        return Place("database", name.removeprefix(_DUCKDB))
    if is_server(name):
        return Place("server", name)
    if name.startswith(_PARQUET) or "://" in name or name.endswith("/") or Path(name).is_dir():
        return Place("lake", name.removeprefix(_PARQUET))
    return Place("database" if Path(name).suffix in _DATABASES else "name", name)


def named(place: AnyPlace) -> str:
    """Return a place as it is typed, `~` as the home folder and a URL of a local file as its path.

    A path that has no database's suffix is a folder.

    Raises:
        ConfigError: it is no text and no path, or is empty.
    """
    try:
        text = os.fspath(place)
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        shown = ascii(place) if isinstance(place, str) else f"({type(place).__name__})"
        raise ConfigError(f"{shown} is no place: give a path, a URL or a name, as text or as a path")
    prefix = _PARQUET if text.startswith(_PARQUET) else ""
    address = text.removeprefix(prefix)
    is_local = address.startswith(_LOCAL)
    if is_local:
        from urllib.request import url2pathname  # noqa: PLC0415 - imports a client of HTTP, which few places need

        address = url2pathname(address.removeprefix("file://"))
    elif not isinstance(place, str) and _URL_OF_A_PATH.match(text):
        raise ConfigError(f"{text} is no place: give a URL as text, for a path loses one of its slashes")
    if address.startswith("~"):
        address = os.path.expanduser(address)  # noqa: PTH111 - a Path would lose the slash at the end
    is_folder = (is_local or not isinstance(place, str)) and (prefix or Path(address).suffix not in _DATABASES)
    return f"{prefix}{address.rstrip('/')}/" if is_folder else f"{prefix}{address}"
