"""Where the rows go: a path, a URL or a name as typed, as a dlt destination."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import dlt
from dlt.common.configuration import configspec, resolve_configuration
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.destination import Destination
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.common.pipeline import get_dlt_pipelines_dir
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from fsspec.registry import known_implementations

from files_source.errors import ConfigError
from files_source.places import DATASET, AnyPlace, Place, named, place_of
from files_source.redaction import without_secrets
from files_source.servers import server
from files_source.shield import PIPELINE
from files_source.strategies import AT_ONCE, replace_strategy

_FILE_BY_FILE: Final = "truncate-and-insert"
"""How dlt replaces a folder of Parquet: the only way that it has."""

_LOADING: Final = {"memory_limit": "192MB", "preserve_insertion_order": False}
"""How DuckDB loads: in no more memory for ten million files than for one million, and on all cores, in no order."""


@configspec
class _Staging(BaseConfiguration):
    """What dlt would look up for its argument `staging`."""

    staging_type: str | None = None
    staging_name: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A place to load into.

    Attributes:
        destination: as dlt takes it.
        name: as it is shown.
        look: Python that shows some rows of a table; None where that depends on the destination.
        lock: a file beside a database or in a local lake, which a run into it holds locked; None elsewhere.
        working_folder: where dlt keeps a run's packages; each place has its own, so that rows meant
            for one never end in another.
        staging: where files wait for a warehouse that reads them from there; None where none does.
    """

    destination: Destination[Any, Any]
    name: str
    look: Callable[[str], str] | None
    lock: Path | None
    working_folder: Path
    staging: Destination[Any, Any] | None = None

    def query(self, table: str) -> str | None:
        """Return a shell command that shows some rows of a table; None where that depends on the destination."""
        return None if self.look is None else _python(self.look(table))


def target(to: AnyPlace) -> Target:
    """Return the place that *to* names, as `places.place_of` says; a dlt destination is configured as dlt documents.

    Raises:
        ConfigError: there is no such place, a database that bears its schema's name, or a folder
            whose name dlt would take for a pattern.
    """
    to = named(to)
    place = place_of(to)
    if place.kind == "lake":
        return _lake(place.address, place.folder)
    if place.kind == "database":
        return _database(Path(place.address))
    if place.kind == "server":
        return _server(place)
    return _named(place.address)


def _named(name: str) -> Target:
    try:
        destination = cast(Destination[Any, Any], Destination.from_reference(name))
        if strategy := replace_strategy(destination):
            destination = cast(Destination[Any, Any], Destination.from_reference(name, replace_strategy=strategy))
    except UnknownDestinationModule as unknown:
        if kind := unknown.destination_type:
            raise ConfigError(
                f"{name} is configured to be a dlt destination of the type {kind!r}, which cannot be found: correct "
                f"DESTINATION__{name.upper()}__DESTINATION_TYPE"
            ) from None
        raise ConfigError(
            f"{name!r} is no place: give PATH.duckdb, DIR/ (with the slash), parquet:URL, a database's URL or the name "
            "of a dlt destination"
        ) from None
    return Target(destination, name, None, None, _working_folder(f"name {name}"), _staging(destination))


def _staging(destination: Destination[Any, Any]) -> Destination[Any, Any] | None:
    """Return the staging that is configured, where the destination can load from one: that may be another's."""
    configured = resolve_configuration(_Staging(), sections=("pipelines", PIPELINE))
    kind, name = configured.staging_type, configured.staging_name
    if not (kind or name) or not destination.capabilities().supported_staging_file_formats:
        return None
    return cast("Destination[Any, Any] | None", Destination.from_reference(kind, destination_name=name))


def _server(place: Place) -> Target:
    """Return a database behind a URL. Who logs in, and how, is no part of its name and identity."""
    found = server(place.address)
    plain = cast(Destination[Any, Any], Destination.from_reference(found.destination))
    credentials: Any = plain.spec.get_resolvable_fields()["credentials"]
    given = {"credentials": credentials(found.credentials)}  # of an object, no repr shows the password
    if strategy := replace_strategy(plain):
        given["replace_strategy"] = strategy
    destination = cast(Destination[Any, Any], Destination.from_reference(found.destination, **given))
    return Target(destination, place.name, None, None, _working_folder(f"server {found.identity}"))


def _database(path: Path) -> Target:
    if path.stem == DATASET:
        raise ConfigError(f"{path} bears the name of its schema, which makes DuckDB's names ambiguous: choose another")
    quoted = _quoted(str(path))

    def look(table: str) -> str:
        return f'import duckdb; it = duckdb.connect({quoted}); it.sql("FROM {DATASET}.{table} LIMIT 5").show()'

    real = path.resolve()
    lock = real.with_name(f".{real.name}.lock") if real.parent.is_dir() else None  # to lock it would make the folder
    destination = dlt.destinations.duckdb(
        DuckDbCredentials(str(path), global_config=_LOADING), replace_strategy=AT_ONCE
    )
    return Target(destination, str(path), look, lock, _working_folder(f"duckdb {real}"))


def _lake(url: str, folder: Path | None) -> Target:
    if not url:
        raise ConfigError("parquet: needs a folder or a URL behind it")
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme and scheme.split("::")[0] not in known_implementations:
        raise ConfigError(f"{url} is no place: neither fsspec nor dlt knows {scheme}://")
    if folder is not None and set(str(folder)) & set("*?["):
        raise ConfigError(f"{url} cannot be loaded into: dlt takes *, ? and [ in a folder's name for a pattern")
    where = url if scheme else str(Path(url).resolve())

    def look(table: str) -> str:
        return f'import files_source; print(files_source.read_table({_quoted(url)}, "{table}").head())'

    destination = dlt.destinations.filesystem(where, replace_strategy=_FILE_BY_FILE)
    name, identity = without_secrets(url), f"lake {without_secrets(where)}"
    if folder is None:
        return Target(destination, name, None, None, _working_folder(identity))
    return Target(destination, url, look, folder / f".{DATASET}.lock", _working_folder(identity))


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
