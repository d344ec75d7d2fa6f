"""Whose files: the server, the key and the headers that go with it."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final, Literal, cast
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from files_source.errors import ConfigError

OPENAI_BASE_URL: Final = "https://api.openai.com/v1"
DEFAULT_NAME: Final = "default"

Authentication = Literal["bearer", "api-key"]

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VERSIONS: Final = frozenset({"api-version", "api_version"})
"""Query parameters that say which API is meant, not whose files."""
_OURS: Final = frozenset(
    {
        *("after", "after_id", "before", "before_id", "limit", "order", "purpose", "starting_after"),
        *("cursor", "offset", "page", "page_size", "per_page", "size", "skip"),
        *("continuation_token", "pagetoken", "page_token", "pagination_token"),
    }
)
"""Query parameters that say which page of a listing is meant."""
_HIDDEN: Final = "***"
_SHORTEST_SECRET: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account of one server: what a key can see.

    `api_key` never shows in a repr. `authentication` says how the key travels: `bearer` is
    `Authorization: Bearer KEY` (OpenAI and most others), `api-key` is the header of that name
    (Azure). `headers` are sent with every request (gateways), in place of ours of the same name, and
    so are the parameters in `query` (`api-version` at Azure). Messages and logs show no value of either.
    White space around a value, such as the line's end of a pasted key, is dropped.

    Raises:
        ConfigError: no key for OpenAI's own server, a key that is no header value, a query parameter
            that is the listing's own, a base URL that is none, or a key that would travel over plain
            http to another machine.
    """

    name: str = DEFAULT_NAME
    api_key: str | None = field(default=None, repr=False)
    base_url: str = OPENAI_BASE_URL
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    authentication: Authentication = "bearer"

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("an account needs a name")
        object.__setattr__(self, "base_url", _checked_base_url(self.base_url))
        headers = {name: value.strip() for name, value in self.headers.items()}
        object.__setattr__(self, "headers", MappingProxyType(headers))
        object.__setattr__(self, "query", MappingProxyType(_checked_query(self.query, self.name)))
        for name in ("api_key", "organization", "project"):
            object.__setattr__(self, name, (getattr(self, name) or "").strip() or None)
        if self.authentication not in ("bearer", "api-key"):
            raise ConfigError(f"authentication is {self.authentication!r}: use 'bearer' or 'api-key'")
        if self.api_key is None and _host(self.base_url) == _host(OPENAI_BASE_URL):
            raise ConfigError(
                f"no API key for account {self.name!r}: set OPENAI_API_KEY, or where dlt lists (sync, cleanup, "
                "openai_files) SOURCES__OPENAI_FILES__API_KEY"
            )
        for name, value in self.request_headers().items():
            _check_header(name, value, self.name)
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
        query: Mapping[str, str] | None = None,
        authentication: Authentication = "bearer",
    ) -> Account:
        """Make an account from what is given, and `OPENAI_*` variables for what is not.

        The variables are the official clients': `OPENAI_API_KEY`, `OPENAI_BASE_URL`,
        `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID`. One that is empty counts as not set.

        Raises:
            ConfigError: as `Account` does.
        """
        return cls(
            name=name,
            api_key=api_key or _variable("OPENAI_API_KEY"),
            base_url=base_url or _variable("OPENAI_BASE_URL") or OPENAI_BASE_URL,
            organization=organization or _variable("OPENAI_ORG_ID"),
            project=project or _variable("OPENAI_PROJECT_ID"),
            headers=headers or {},
            query=query or {},
            authentication=authentication,
        )

    @property
    def server(self) -> str:
        """Whose files the key sees, without the key: the base URL, the organization, the project and the query.

        The query's values stand here as a digest, as they may be secret; the version of an API does
        not say whose files are meant, and does not stand here.
        """
        said = sorted((name, value) for name, value in self.query.items() if name not in _VERSIONS)
        query = f"?{blake2b(repr(said).encode(), digest_size=4).hexdigest()}" if said else None
        return " ".join(filter(None, (self.base_url, self.organization, self.project, query)))

    def request_headers(self) -> dict[str, str]:
        """Return the headers that carry the key and say whose files are meant."""
        named = {"OpenAI-Organization": self.organization, "OpenAI-Project": self.project}
        if self.api_key and self.authentication == "bearer":
            named["Authorization"] = f"Bearer {self.api_key}"
        elif self.api_key:
            named["api-key"] = self.api_key
        replaced = {name.lower() for name in self.headers}
        ours = {name: value for name, value in named.items() if value and name.lower() not in replaced}
        return ours | dict(self.headers)

    def redact(self, text: str) -> str:
        """Return *text* with `***` for the key and the values of headers and query, however a server spells them.

        An excerpt that ends within one of them hides the part, too. Values shorter than four
        characters stay: they are no secrets, and part of any text.
        """
        values = (self.api_key or "", *self.headers.values(), *self.query.values())
        secrets = {secret for value in values for secret in (value, value.rpartition(" ")[2])}
        spellings = {
            spelling for secret in secrets if len(secret) >= _SHORTEST_SECRET for spelling in _spellings(secret)
        }
        for spelling in sorted(spellings, key=len, reverse=True):
            text = text.replace(spelling, _HIDDEN)
            for length in range(min(len(spelling), len(text)), _SHORTEST_SECRET - 1, -1):
                text = text.replace(f"{spelling[:length]}...", f"{_HIDDEN}...")
        return text

    def _holds_secrets(self) -> bool:
        return self.api_key is not None or bool(self.headers) or bool(self.query.keys() - _VERSIONS)


def distinct(accounts: Iterable[Account]) -> tuple[Account, ...]:
    """Return *accounts*, each of which must have a name of its own.

    Raises:
        ConfigError: there is none, or two bear one name.
    """
    found = tuple(accounts)
    names = [account.name for account in found]
    if not names:
        raise ConfigError("there is no account to list: give one or more")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two accounts bear the name {twice[0]!r}: a name stands for one project's files")
    return found


def proxy_to(base_url: str) -> str | None:
    """Return the proxy that the environment names for *base_url*; None on the way to a loopback address."""
    parts = urlsplit(base_url)
    if _is_loopback(_host(base_url)) or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _variable(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def _checked_base_url(text: str) -> str:
    if "://" not in text:  # what stands here may be a key: it is not shown
        raise ConfigError(f"the base URL begins with neither http:// nor https://: give one such as {OPENAI_BASE_URL}")
    if "@" in text:  # wherever it stands: a password may hold any of the other separators
        raise ConfigError(f"base URL {_without_secrets(text)!r} holds a user or password: give the key as api_key")
    parts = _address(text)
    if parts is None:
        raise ConfigError(f"base URL {_without_secrets(text)!r} is no http(s) address, such as {OPENAI_BASE_URL}")
    if parts.query or parts.fragment:
        raise ConfigError(
            f"base URL {_without_secrets(text)!r} must end before '?' and '#': give what follows '?' as query, such as "
            '{"api-version": "2024-10-21"}'
        )
    return urlunsplit(parts._replace(netloc=parts.netloc.lower(), path=parts.path.rstrip("/"), query="", fragment=""))


def _address(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of a port or an IPv6 address
        return None
    return parts if usable else None


def _without_secrets(text: str) -> str:
    """Return an address without user, password, query and fragment: any of them may be a key."""
    scheme, separator, rest = text.strip().partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].split('?')[0].split('#')[0]}"


def _check_header(name: str, value: str, account: str) -> None:
    if not _HEADER_NAME.fullmatch(name):  # what stands here may be a whole header: it is not shown
        raise ConfigError(f"a header of account {account!r} has a name that HTTP cannot carry: give {{name: value}}")
    if not value.isascii() or not value.isprintable():
        raise ConfigError(
            f"header {name!r} of account {account!r} holds characters that HTTP cannot "
            "carry: was the key or header pasted whole?"
        )


def _checked_query(query: Mapping[str, str], account: str) -> dict[str, str]:
    """Return query parameters that can be sent with every request; no message shows a value."""
    for name, value in cast("Mapping[object, object]", query).items():
        if not isinstance(name, str) or not isinstance(value, str) or not name.isprintable() or not name.strip():
            raise ConfigError(f"query of account {account!r} is no mapping of texts: give {{name: value}}")
        if not value.isprintable():
            raise ConfigError(f"a value in query of account {account!r} holds characters that are no text")
        if name.lower() in _OURS:
            raise ConfigError(
                f"query of account {account!r} has {name.lower()!r}, which says what is listed: give limit, order or "
                "purpose by itself, and leave the paging to the connector"
            )
    return dict(query)


def _spellings(secret: str) -> set[str]:
    """Return the ways in which a server may write a secret: as it is, in JSON, HTML or an address."""
    escaped = json.dumps(secret)[1:-1]
    quoted = quote(secret, safe="")
    return {secret, escaped, escaped.replace("/", r"\/"), repr(secret)[1:-1], html.escape(secret), quoted}


def _is_private_channel(base_url: str) -> bool:
    return urlsplit(base_url).scheme == "https" or _is_loopback(_host(base_url))


def _host(base_url: str) -> str:
    return urlsplit(base_url).hostname or ""


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
