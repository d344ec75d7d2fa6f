"""Databases that a URL names, and which of dlt's destinations takes each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from files_source.errors import ConfigError
from files_source.redaction import without_secrets

_SQLALCHEMY: Final = "sqlalchemy"
_MOTHERDUCK: Final = "motherduck"
_DESTINATIONS: Final[Mapping[str, str]] = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "redshift": "redshift",
    "snowflake": "snowflake",
    "clickhouse": "clickhouse",
    "mssql": "mssql",
    "synapse": "synapse",
    "md": _MOTHERDUCK,
    "motherduck": _MOTHERDUCK,
} | dict.fromkeys(("sqlite", "mysql", "mariadb", "oracle", "trino", "cockroachdb", "db2", "ibm_db_sa"), _SQLALCHEMY)
_PORTS: Final = {"postgres": 5432, "redshift": 5439, "mssql": 1433, "synapse": 1433, "mysql": 3306, "mariadb": 3306}
"""The ports that need not be written."""
_PASSWORDS: Final = {"postgres": "PGPASSWORD"}
"""The variable of a database's own tools that holds a password."""
_ENCODE: Final = "write @ / : # ? % in a user or a password as %40 %2F %3A %23 %3F %25"


@dataclass(frozen=True, slots=True)
class Server:
    """A database behind a URL.

    Attributes:
        destination: the dlt destination that takes it.
        credentials: the URL, as that takes it.
        identity: which database it is, whoever logs in and with whatever settings.
    """

    destination: str
    credentials: str = field(repr=False)
    identity: str


def is_server(to: str) -> bool:
    """Tell whether a place is a database's URL; `md:NAME` of MotherDuck is one, too."""
    return ("://" in to and _scheme(to) in _DESTINATIONS) or to.startswith(("md:", "motherduck:"))


def server(url: str) -> Server:
    """Read the URL of a database.

    A password that it leaves out comes from where dlt looks for one, such as
    `DESTINATION__POSTGRES__CREDENTIALS__PASSWORD`, or from `PGPASSWORD`.

    Raises:
        ConfigError: it names no database, or a part of it must be percent-encoded.
    """
    destination = _DESTINATIONS[_scheme(url)]
    if destination == _MOTHERDUCK:
        name, _, query = url.partition(":")[2].lstrip("/").partition("?")
        return Server(destination, f"md:{name}{query and '?'}{query}", f"{destination} {name}")
    if _scheme(url) == "sqlite":
        return _sqlite(url)
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ConfigError(f"the port in the URL of {_scheme(url)}:// is no number: {_ENCODE}") from None
    if parts.netloc.count("@") > 1 or ("@" in f"{parts.path}{parts.fragment}" and "@" not in parts.netloc):
        raise ConfigError(f"the URL of {_scheme(url)}:// has an @ too many: {_ENCODE}")
    netloc = parts.netloc
    variable = _PASSWORDS.get(destination, "")
    if parts.username and parts.password is None and (password := os.environ.get(variable)):
        user, _, where = netloc.rpartition("@")
        netloc = f"{user}:{quote(password, safe='')}@{where}"
    scheme = "postgresql" if destination == "postgres" else parts.scheme
    port = port or _PORTS.get(destination) or _PORTS.get(_scheme(url))
    where = f"{parts.hostname or ''}:{port or ''}{unquote(parts.path).rstrip('/')}"
    return Server(destination, parts._replace(scheme=scheme, netloc=netloc).geturl(), f"{destination} {where}")


def password_elsewhere(url: str) -> str:
    """Say how a place can be given without the password in it."""
    destination = _DESTINATIONS.get(_scheme(url.partition("=")[2] if url.startswith("-") else url))
    if destination is None:
        return "leave it out, and set the variable that dlt names for it"
    return f"leave it out, and set DESTINATION__{destination.upper()}__CREDENTIALS__PASSWORD"


def _sqlite(url: str) -> Server:
    """Read the URL of a SQLite database: one in memory would be gone with the run."""
    head, _, rest = url.partition(":///")
    path, _, query = rest.partition("?")
    if not path or ":memory:" in path or "mode=memory" in query:
        raise ConfigError(f"{without_secrets(url)} names no file: give sqlite:///PATH")
    real = Path(path).resolve()
    return Server(_SQLALCHEMY, f"{head}:///{real}{query and '?'}{query}", f"sqlite {real}")


def _scheme(url: str) -> str:
    """Return how a URL begins, without the driver of `mysql+pymysql://`."""
    return url.partition(":")[0].partition("+")[0].lower()
