"""Where the rows go: a path, a URL or a name as typed, as a dlt destination."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import dlt
from dlt.common.destination import Destination
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.common.pipeline import get_dlt_pipelines_dir
from fsspec.registry import known_implementations

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
        query: a shell command that shows some rows; None where that depends on the destination.
        folder: the local folder of the tables; None elsewhere.
        working_folder: where dlt keeps a run's packages; each place has its own, so that rows meant
            for one never end in another.
    """

    destination: Destination[Any, Any]
    name: str
    query: str | None
    folder: Path | None
    working_folder: Path


def target(to: str) -> Target:
    """Return the place that *to* names.

    `PATH.duckdb` is a DuckDB database, `DIR/`, `parquet:URL` and any URL are Parquet below that
    folder, anything else is a dlt destination's name, configured as dlt documents.

    Raises:
        ConfigError: it is none of these, a database that bears its schema's name, or a folder
            whose name dlt would take for a pattern.
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
    return Target(destination, to, None, None, _working_folder(f"name {to}"))


def _database(path: Path) -> Target:
    if path.stem == DATASET:
        raise ConfigError(f"{path} bears the name of its schema, which makes DuckDB's names ambiguous: choose another")
    code = f'import duckdb; duckdb.connect({_quoted(str(path))}).sql("FROM {DATASET}.files LIMIT 5").show()'
    identity = f"duckdb {path.resolve()}"
    return Target(dlt.destinations.duckdb(str(path)), str(path), _python(code), None, _working_folder(identity))


def _lake(url: str) -> Target:
    if not url:
        raise ConfigError("parquet: needs a folder or a URL behind it")
    scheme, separator, path = url.rpartition("://")
    if scheme and scheme.split("::")[0] not in known_implementations:
        raise ConfigError(f"{url} is no place to load into: fsspec knows no {scheme}://")
    local = scheme in ("", "file")
    if local and set(path) & set("*?["):
        raise ConfigError(f"{url} cannot be loaded into: dlt takes *, ? and [ in a folder's name for a pattern")
    where = str(Path(url).resolve()) if not separator else url
    destination = dlt.destinations.filesystem(where)
    folder = Path(path) / DATASET if local else None
    files = _quoted(f"{path.rstrip('/')}/{DATASET}/files/*.parquet")
    query = _python(f"import duckdb; duckdb.read_parquet({files}).limit(5).show()") if local else None
    return Target(destination, url, query, folder, _working_folder(f"lake {where}"))


def _python(code: str) -> str:
    """Return a shell command that needs nothing but the Python that runs this."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return shlex.join([str(python), "-c", code])


def _quoted(path: str) -> str:
    return json.dumps(path, ensure_ascii=False)


def _working_folder(identity: str) -> Path:
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    return Path(get_dlt_pipelines_dir()).parent / "files-source" / digest
