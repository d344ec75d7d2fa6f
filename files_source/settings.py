"""What a run is set to: what is given, then dlt's configuration of this source, then the environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar, cast

import dlt
from dlt.common.configuration.exceptions import ConfigurationException

from files_source.account_files import accounts_from
from files_source.accounts import DEFAULT_NAME, Account, Authentication, distinct
from files_source.client import TIMEOUT, FilesClient
from files_source.errors import ConfigError
from files_source.retries import MAX_RETRIES
from files_source.times import utc

SECTION: Final = "sources.openai_files"
_SECRETS: Final = ("api_key", "headers", "query", "accounts")

_Value = TypeVar("_Value")


def setting(name: str, given: _Value | None, kind: type[_Value]) -> _Value | None:
    """Return what is given, or what `sources.openai_files.NAME` is configured to be; None where it is not.

    dlt's own injection would also take any variable of the same bare name, such as `API_KEY`, which
    may be another program's.

    Raises:
        ConfigError: what is configured is not of that kind.
    """
    if given is not None:
        return given
    field = f"{SECTION}.{name}"
    variable = f"SOURCES__OPENAI_FILES__{name.upper().replace('.', '__')}"
    try:
        found: Any = _found(name, field, kind)
    except (ConfigurationException, ValueError):
        wanted = _KINDS.get(kind, kind)
    else:
        if kind is datetime and found is not None:
            found = utc(found, name=variable)  # dlt's own reading of times would be another one
        return cast("_Value | None", found)
    raise ConfigError(f"{variable} cannot be read: give {wanted}")  # from no other error: one may quote a secret


def _found(name: str, field: str, kind: type[object]) -> object:
    if name in _SECRETS:
        return _secret(field, kind)
    return dlt.config.get(field) if kind is datetime else dlt.config.get(field, kind)


def _secret(field: str, kind: type[_Value]) -> _Value | None:
    """Return what a secret is configured to be, as dlt's own kind of secret: of any other its trace keeps the value."""
    found: object = dlt.secrets.get(field)
    if isinstance(found, str) and kind is dict:
        found = json.loads(found, object_pairs_hook=_each_once) if found.strip() else None
    if found is not None and not isinstance(found, kind):
        raise ValueError(field)
    return found


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make a JSON object; of two members with one name the first would be lost in silence."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError(len(pairs))
    return made


def accounts_for(client: FilesClient | None, accounts: Sequence[Account] | None, **only: Any) -> tuple[Account, ...]:
    """Return the accounts that are given, or configured, or the one that what is given and configured describes.

    Raises:
        ConfigError: as `Account` does; or there is none, or two bear one name.
    """
    if client is not None:
        return (client.account,)
    if accounts is None and all(value is None for value in only.values()):
        accounts = configured_accounts()
    if accounts is None:
        return (configured_account(**only),)
    return distinct(accounts)


def whole_number(name: str, given: int | None, default: int, *, least: int, most: int | None = None) -> int:
    """Return a setting that is a whole number.

    Raises:
        ConfigError: it is out of range.
    """
    found = setting(name, given, int)
    number = default if found is None else found
    if number < least or (most is not None and number > most):
        span = f"{least} or more" if most is None else f"{least} to {most}"
        raise ConfigError(f"{name} is {number}: give {span}")
    return number


def connection(*, timeout: float | None, max_retries: int | None, ca_bundle: str | None) -> dict[str, Any]:
    """Return the arguments of a FilesClient that say how patiently, and whom to trust.

    Raises:
        ConfigError: as `setting` does.
    """
    patience, tries = setting("timeout", timeout, float), setting("max_retries", max_retries, int)
    return {
        "timeout": TIMEOUT if patience is None else patience,
        "max_retries": MAX_RETRIES if tries is None else tries,
        "ca_bundle": setting("ca_bundle", ca_bundle, str),
    }


def configured_accounts(*, base_url: str | None = None) -> tuple[Account, ...] | None:
    """Return the accounts of `sources.openai_files.accounts`; None where none are configured.

    They are tables `[sources.openai_files.accounts.NAME]` in `.dlt/secrets.toml`, or a JSON object in
    `SOURCES__OPENAI_FILES__ACCOUNTS`. dlt finds a variable only by its whole name, so those of a
    single value, such as `SOURCES__OPENAI_FILES__ACCOUNTS__NAME__API_KEY`, make no account.

    Raises:
        ConfigError: as `accounts_from` does, or what is configured is no table.
    """
    tables = setting("accounts", None, dict)
    if tables is None:
        return None
    return accounts_from(tables, source=f"{SECTION}.accounts", base_url=setting("base_url", base_url, str))


def configured_account(
    *,
    account: str | None = None,
    api_key: str | None = None,
    base_url: str | None = None,
    organization: str | None = None,
    project: str | None = None,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    authentication: Authentication | None = None,
) -> Account:
    """Return the account that is given, configured and left to the `OPENAI_*` variables.

    Raises:
        ConfigError: as `Account` does.
    """
    settings: dict[str, Any] = {
        "name": setting("account", account, str) or DEFAULT_NAME,
        "api_key": setting("api_key", api_key, str),
        "base_url": setting("base_url", base_url, str),
        "organization": setting("organization", organization, str),
        "project": setting("project", project, str),
        "headers": setting("headers", dict(headers) if headers is not None else None, dict),
        "query": setting("query", dict(query) if query is not None else None, dict),
        "authentication": setting("authentication", authentication, str) or "bearer",
    }
    return Account.from_environment(**settings)


_KINDS: Final[dict[type, str]] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a JSON object, each name in it once",
}
