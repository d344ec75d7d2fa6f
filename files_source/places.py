"""Where rows go and come from: a path, a URL or a name, as typed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from files_source.redaction import without_secrets
from files_source.servers import is_server

DATASET: Final = "openai_files"
"""The schema of a database, and the folder of a lake, that holds the tables."""

HELD: Final = re.compile(r"Conflicting lock is held .*\(PID (\d+)\)")
"""How DuckDB says that another process has a database open."""

_DATABASES: Final = (".duckdb", ".ddb", ".db")
_PARQUET: Final = "parquet:"
_DUCKDB: Final = "duckdb:///"


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


def place_of(to: str) -> Place:
    """Return the place that *to* names.

    `PATH.duckdb` is a DuckDB database, `postgresql://...`, `sqlite:///PATH` and the like are the URL of
    another database, `DIR/`, `parquet:URL` and any other URL are Parquet below that folder, anything else
    is a dlt destination's name.
    """
    if to.startswith(_DUCKDB):
        return Place("database", to.removeprefix(_DUCKDB))
    if is_server(to):
        return Place("server", to)
    if to.startswith(_PARQUET) or "://" in to or to.endswith("/") or Path(to).is_dir():
        return Place("lake", to.removeprefix(_PARQUET))
    return Place("database" if Path(to).suffix in _DATABASES else "name", to)


def named(place: str | Path) -> str:
    """Return a place as it is typed; a path that bears no database's suffix is a folder."""
    if isinstance(place, str) or place.suffix in _DATABASES:
        return str(place)
    return f"{place}/"
