"""Where the rows go: a path, a URL or a name as typed, as a dlt destination."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import dlt
from dlt.common.destination import Destination
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.common.pipeline import get_dlt_pipelines_dir

from files_source.errors import ConfigError

DATASET: Final = "openai_files"
"""The schema of a database, and the folder of a lake, that holds the tables."""

_DATABASES: Final = (".duckdb", ".ddb", ".db")
_PARQUET: Final = "parquet:"


@dataclass(frozen=True, slots=True)
class Target:
    """A place to load into.

    Attributes:
        destination: as dlt takes it.
        name: as it is shown.
        query: how to look at the table, as a shell command or Python; None where that depends.
        working_folder: where dlt keeps a run's packages; each place has its own, so that rows meant
            for one never end in another.
    """

    destination: Destination[Any, Any]
    name: str
    query: str | None
    working_folder: Path


def target(to: str) -> Target:
    """Return the place that *to* names.

    `PATH.duckdb` is a DuckDB database, `DIR/`, `parquet:URL` and any URL are Parquet below that
    folder, anything else is a dlt destination's name, configured as dlt documents.

    Raises:
        ConfigError: it is none of these, or a database that bears its schema's name.
    """
    if to.startswith(_PARQUET) or "://" in to or to.endswith("/") or Path(to).is_dir():
        return _lake(to.removeprefix(_PARQUET))
    if Path(to).suffix in _DATABASES:
        return _database(Path(to))
    try:
        destination = cast(Destination[Any, Any], Destination.from_reference(to))
    except UnknownDestinationModule:
        raise ConfigError(
            f"{to!r} is no place to load into: give PATH.duckdb, DIR/ (with the slash), parquet:URL "
            "or the name of a dlt destination"
        ) from None
    return Target(destination, to, None, _working_folder(f"name {to}"))


def _database(path: Path) -> Target:
    if path.stem == DATASET:
        raise ConfigError(f"{path} bears the name of its schema, which makes DuckDB's names ambiguous: choose another")
    query = f"SELECT purpose, count(*), sum(bytes) FROM {DATASET}.files GROUP BY 1"
    opened = f'duckdb {path} "{query}"'
    return Target(dlt.destinations.duckdb(str(path)), str(path), opened, _working_folder(f"duckdb {path.resolve()}"))


def _lake(url: str) -> Target:
    if not url:
        raise ConfigError("parquet: needs a folder or a URL behind it")
    local = "://" not in url
    where = str(Path(url).resolve()) if local else url
    files = f"{url.rstrip('/')}/{DATASET}/files/*.parquet"
    query = f"duckdb -c \"SELECT purpose, count(*), sum(bytes) FROM '{files}' GROUP BY 1\""
    return Target(dlt.destinations.filesystem(where), url, query, _working_folder(f"lake {where}"))


def _working_folder(identity: str) -> Path:
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    return Path(get_dlt_pipelines_dir()).parent / "files-source" / digest
