"""Whose files: the server, the key and the headers that go with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

from files_source.errors import ConfigError

OPENAI_BASE_URL: Final = "https://api.openai.com/v1"
DEFAULT_NAME: Final = "default"

Authentication = Literal["bearer", "api-key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account of one server: what a key can see.

    `api_key` never shows in a repr. `authentication` says how the key travels: `bearer` is
    `Authorization: Bearer KEY` (OpenAI and most others), `api-key` is the header of that name
    (Azure). `headers` are sent as they are with every request (gateways).

    Raises:
        ConfigError: no key for OpenAI's own server, a key that is no header value, a base URL
            that is none, or a key that would travel over plain http to another machine.
    """

    name: str = DEFAULT_NAME
    api_key: str | None = field(default=None, repr=False)
    base_url: str = OPENAI_BASE_URL
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    authentication: Authentication = "bearer"

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("an account needs a name")
        object.__setattr__(self, "base_url", _checked_base_url(self.base_url))
        object.__setattr__(self, "headers", MappingProxyType(dict(self.headers)))
        object.__setattr__(self, "api_key", (self.api_key or "").strip() or None)
        if self.authentication not in ("bearer", "api-key"):
            raise ConfigError(f"authentication is {self.authentication!r}: use 'bearer' or 'api-key'")
        if self.api_key is None and self.base_url == OPENAI_BASE_URL:
            raise ConfigError(
                f"no API key for account {self.name!r}: set OPENAI_API_KEY, or SOURCES__OPENAI_FILES__API_KEY for dlt"
            )
        for name, value in self.request_headers().items():
            if not name.isascii() or not value.isascii() or not value.isprintable():
                raise ConfigError(
                    f"header {name!r} of account {self.name!r} holds characters that HTTP cannot "
                    "carry: was the key or header pasted whole?"
                )
        if self._holds_secrets() and not _is_private_channel(self.base_url):
            raise ConfigError(
                f"refused to send a key over plain http to {self.base_url}: use https, or a loopback address"
            )

    @classmethod
    def from_environment(
        cls,
        *,
        name: str = DEFAULT_NAME,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
        authentication: Authentication = "bearer",
    ) -> Account:
        """Make an account from what is given, and `OPENAI_*` variables for what is not.

        The variables are the official clients': `OPENAI_API_KEY`, `OPENAI_BASE_URL`,
        `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID`.

        Raises:
            ConfigError: as `Account` does.
        """
        variables = os.environ
        return cls(
            name=name,
            api_key=api_key or variables.get("OPENAI_API_KEY"),
            base_url=base_url or variables.get("OPENAI_BASE_URL") or OPENAI_BASE_URL,
            organization=organization or variables.get("OPENAI_ORG_ID") or None,
            project=project or variables.get("OPENAI_PROJECT_ID") or None,
            headers=headers or {},
            authentication=authentication,
        )

    def request_headers(self) -> dict[str, str]:
        """Return the headers that carry the key and say whose files are meant."""
        named = {"OpenAI-Organization": self.organization, "OpenAI-Project": self.project}
        if self.api_key and self.authentication == "bearer":
            named["Authorization"] = f"Bearer {self.api_key}"
        elif self.api_key:
            named["api-key"] = self.api_key
        return {name: value for name, value in named.items() if value} | dict(self.headers)

    def _holds_secrets(self) -> bool:
        return self.api_key is not None or bool(self.headers)


def _checked_base_url(text: str) -> str:
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"base URL {_without_secrets(text)!r} is no http(s) address, such as {OPENAI_BASE_URL}")
    if parts.username or parts.password:
        raise ConfigError(f"base URL {_without_secrets(text)!r} holds a user or password: give the key as api_key")
    if parts.query or parts.fragment:
        raise ConfigError(
            f"base URL {_without_secrets(text)!r} must end before '?' and '#': give extra headers instead"
        )
    return urlunsplit(parts._replace(path=parts.path.rstrip("/")))


def _without_secrets(text: str) -> str:
    """Return an address without user, password, query and fragment: any of them may be a key."""
    address = text.strip().split("?")[0].split("#")[0]
    scheme, separator, rest = address.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _is_private_channel(base_url: str) -> bool:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
