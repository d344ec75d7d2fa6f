"""Say why a place cannot be used, and what to do about it, in one line."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final

from dlt.common.configuration.exceptions import (
    ConfigFieldMissingException,
    ConfigurationException,
    LookupTrace,
    LookupTraces,
)
from dlt.common.configuration.specs import ConnectionStringCredentials
from dlt.common.configuration.specs.exceptions import NativeValueError
from dlt.common.destination import Destination
from dlt.common.exceptions import MissingDependencyException
from dlt.pipeline.exceptions import PipelineStepFailed

from files_source.destinations import Target
from files_source.errors import ConfigError, FilesSourceError, LoadError, causes, excerpt
from files_source.places import HELD
from files_source.redaction import redacted

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TOO_MANY_FILES: Final = (errno.EMFILE, errno.ENFILE)
_PAGE: Final = "https://dlthub.com/docs/dlt-ecosystem/destinations"
_PACKAGES: Final = {
    "MySQLdb": "mysqlclient, or pip install pymysql and write mysql+pymysql://",
    "psycopg2": "psycopg2-binary",
    "sqlalchemy": "sqlalchemy",
    "pymysql": "pymysql",
    "pyodbc": "pyodbc",
    "oracledb": "oracledb",
    "cx_Oracle": "oracledb, and write oracle+oracledb://",
}
"""What to install for the module that a driver is imported by."""
_EXAMPLES: Final = {
    "sqlalchemy": "mysql+pymysql://user:password@host:3306/database",
    "snowflake": "snowflake://user:password@account/database?warehouse=WAREHOUSE&role=ROLE",
    "filesystem": "s3://bucket/folder",
}


@contextmanager
def one_clear_error(place: Target, after_failure: str) -> Iterator[None]:
    """Turn what dlt, and the drivers below it, wrap around a failure back into the failure.

    Args:
        after_failure: what becomes of rows that the destination did not take.
    """
    try:
        yield
    except FilesSourceError:
        raise
    except Exception as failed:
        chain = list(causes(failed))
        for cause in chain:
            if isinstance(cause, FilesSourceError | KeyboardInterrupt):
                raise cause from None
        if _is_ours(failed):
            raise
        told = failure(place, failed, chain, after_failure)
        if isinstance(told, ConfigError) or any(redacted(str(cause)) != str(cause) for cause in chain):
            raise told from None  # whose text would show a password in the traceback
        raise told from failed


def failure(place: Target, failed: Exception, chain: Sequence[BaseException], after_failure: str) -> FilesSourceError:
    """Return the error that says why a place could not be used."""
    if unusable := configuration_error(place.name, place.destination, chain):
        return unusable
    if held := HELD.search(str(chain[-1])):
        return LoadError(f"{place.name} is open in another program (PID {held[1]}): close it there and run this again")
    step = failed.step if isinstance(failed, PipelineStepFailed) else "sync"
    reason = excerpt(" ".join(str(chain[-1]).split()))
    if exhausted := _exhausted(place, step, reason, chain):
        return exhausted
    if step == "sync":
        return LoadError(f"{place.name} cannot be opened: {reason}; fix this and run again")
    return LoadError(
        f"{place.name} did not take the rows ({step}): {reason}; what it held is still there, and {after_failure}"
    )


def _exhausted(place: Target, step: str, reason: str, chain: Sequence[BaseException]) -> LoadError | None:
    """Return the error that says what this machine has no more of; None where that is not the reason."""
    system = [cause for cause in chain if isinstance(cause, OSError)]
    if step != "load" and any(cause.errno in _NO_ROOM for cause in system):
        return LoadError(
            f"the rows for {place.name} cannot be kept on their way: {reason}; make room in {gettempdir()} and "
            f"{place.working_folder} (TMPDIR and DLT_DATA_DIR name others), and run again"
        )
    if any(cause.errno in _TOO_MANY_FILES for cause in system):
        return LoadError(f"this process may not open more files: {reason}; raise its limit (ulimit -n), and run again")
    if any(_is_below(cause.filename, place.working_folder) for cause in system):
        return no_working_folder(place, reason)
    return None


def no_working_folder(place: Target, reason: str) -> LoadError:
    """Return the error that says that dlt's folder cannot be used, and which variable names another."""
    return LoadError(
        f"the folder {place.working_folder}, which a run into {place.name} needs, cannot be used: {reason}; set "
        "DLT_DATA_DIR to a folder that can be written, and run again"
    )


def configuration_error(
    name: str, destination: Destination[Any, Any], chain: Sequence[BaseException]
) -> ConfigError | None:
    """Return the error that says what to install or to set for a destination; None where another thing is wrong."""
    kind = destination.destination_type.rpartition(".")[2]
    if any(isinstance(cause, NativeValueError) for cause in chain):
        given = f"DESTINATION__{destination.destination_name.upper()}__CREDENTIALS"
        example = _example(destination, kind)
        return _not_configured(name, f"it cannot read {given}: set it{f' to {example}' if example else ''}", kind)
    for cause in chain:
        if isinstance(cause, ConfigFieldMissingException):
            return _not_configured(name, f"set {_to_set(cause.traces, destination, kind)}", kind)
        if isinstance(cause, ConfigurationException):
            return _not_configured(name, excerpt(" ".join(str(cause).split())), kind)
        if isinstance(cause, ImportError):
            return _not_installed(name, cause, kind)
        if type(cause).__name__ == "NoSuchModuleError":  # SQLAlchemy's, which need not be installed
            return ConfigError(f"{name} needs a dialect of SQLAlchemy that is not installed: {excerpt(str(cause))}")
    return None


def _not_configured(name: str, advice: str, kind: str) -> ConfigError:
    return ConfigError(f"{name} is not configured as dlt needs it: {advice}; see {_PAGE}/{kind}")


def _not_installed(name: str, missing: ImportError, kind: str) -> ConfigError:
    if isinstance(missing, MissingDependencyException):
        packages = " ".join(f"'{package}'" for package in missing.dependencies)
        return ConfigError(f"{name} needs a package that is not installed: pip install {packages}")
    package = _PACKAGES.get(missing.name or "", f"'dlt[{kind}]'")
    return ConfigError(f"{name} needs the package {missing.name}, which is not installed: pip install {package}")


def _to_set(traces: Mapping[str, Sequence[LookupTrace | LookupTraces]], destination: Any, kind: str) -> str:
    """Return the variables that dlt misses: the first way of several, and one for a whole URL."""
    variables = list(dict.fromkeys(_variables(traces)))
    head, credentials, _ = variables[0].rpartition("__CREDENTIALS__")
    names = {variable.rpartition("__")[2] for variable in variables}
    if credentials and names & {"HOST", "DRIVERNAME"} and (example := _example(destination, kind)):
        return f"{head}__CREDENTIALS={example}"
    if kind in _EXAMPLES and names == {"BUCKET_URL"}:
        return f"{variables[0]}={_EXAMPLES[kind]}"
    return " and ".join(variables)


def _variables(traces: Mapping[str, Sequence[LookupTrace | LookupTraces]]) -> Iterator[str]:
    """Yield the variable of each missing field under which dlt looks for it in this destination alone."""
    for tried in traces.values():
        for trace in tried:
            if isinstance(trace, LookupTraces):
                yield from _variables(trace.traces)
                break  # what is tried next is another way to log in
            if trace.key.startswith("DESTINATION__"):
                yield trace.key
                break


def _example(destination: Destination[Any, Any], kind: str) -> str | None:
    """Return a URL as the destination's credentials take it, of dlt's own description; None where they take none."""
    if kind in _EXAMPLES:
        return _EXAMPLES[kind]
    credentials = destination.spec.get_resolvable_fields().get("credentials")
    if not (isinstance(credentials, type) and issubclass(credentials, ConnectionStringCredentials)):
        return None
    port = getattr(credentials, "port", None)
    return f"{credentials.drivername}://user:password@host{f':{port}' if port else ''}/database"


def _is_below(path: object, folder: Path) -> bool:
    return isinstance(path, str | Path) and Path(path).is_relative_to(folder)


def _is_ours(failed: Exception) -> bool:
    """Tell a mistake in this program from what a library raises on purpose."""
    return type(failed).__module__ == "builtins" and not isinstance(failed, OSError | ImportError)
