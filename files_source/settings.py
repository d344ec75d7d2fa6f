"""What a run is set to: what is given, then dlt's configuration of this source, then the environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar, cast

import dlt
from dlt.common.configuration.exceptions import ConfigurationException

from files_source.accounts import DEFAULT_NAME, Account, Authentication
from files_source.errors import ConfigError

SECTION: Final = "sources.openai_files"
_SECRETS: Final = ("api_key", "headers")

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
    try:
        if name in _SECRETS:
            return _secret(field, kind)
        return cast("_Value | None", dlt.config.get(field, kind))
    except (ConfigurationException, ValueError):
        raise ConfigError(
            f"SOURCES__OPENAI_FILES__{name.upper().replace('.', '__')} cannot be read: give {_KINDS.get(kind, kind)}"
        ) from None


def _secret(field: str, kind: type[_Value]) -> _Value | None:
    """Return what a secret is configured to be, as dlt's own kind of secret: of any other its trace keeps the value."""
    found: object = dlt.secrets.get(field)
    if isinstance(found, str) and kind is dict:
        found = json.loads(found)
    if found is not None and not isinstance(found, kind):
        raise ValueError(field)
    return found


def configured_account(
    *,
    account: str | None,
    api_key: str | None,
    base_url: str | None,
    organization: str | None,
    project: str | None,
    headers: Mapping[str, str] | None,
    authentication: Authentication | None,
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
        "authentication": setting("authentication", authentication, str) or "bearer",
    }
    return Account.from_environment(**settings)


_KINDS: Final[dict[type, str]] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a JSON object",
}
