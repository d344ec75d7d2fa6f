"""Several accounts, each with its own key: from a TOML file, or from tables that stand elsewhere."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final, cast, get_args
from urllib.parse import urlsplit

from files_source.accounts import OPENAI_BASE_URL, Account, Authentication
from files_source.errors import ConfigError

_KNOWN: Final = ("api_key", "api_key_env", "base_url", "organization", "project", "headers", "query", "authentication")
_PASTED_KEY: Final = re.compile(r"\s*sk-.{20,}", re.DOTALL)
_VARIABLE: Final = re.compile(r"[A-Z]{1,15}[0-9]{0,3}(?:_(?:[A-Z]{1,15}[0-9]{0,3}|[0-9]{1,3})){0,8}")
"""What is surely a variable's name: words in capitals. A key has letters and digits that alternate, or more of them."""
_HINT: Final = "is each text in quotation marks, and each name there once?"
_PLACE: Final = re.compile(r"\(at ([a-z0-9, ]+)\)$")


def read_accounts(path: str | Path, *, base_url: str | None = None) -> tuple[Account, ...]:
    """Read the accounts of a TOML file, in its order: one table `[accounts.NAME]` each.

    Raises:
        ConfigError: the file cannot be read or is no TOML, or as `accounts_from` does.
    """
    document = _document(Path(path))
    tables = document.pop("accounts", {})
    if document:
        raise ConfigError(f"{path} holds something beside the tables [accounts.NAME]: is a name misspelled there?")
    if not isinstance(tables, dict):
        raise ConfigError(f"accounts in {path} is no table: give each account one of its own, [accounts.NAME]")
    return accounts_from(tables, source=str(path), base_url=base_url)


def accounts_from(tables: Mapping[str, object], *, source: str, base_url: str | None = None) -> tuple[Account, ...]:
    """Return the accounts that *tables* describe, by name and in their order.

    A table's keys are those of `Account`, and `api_key_env`, the name of a variable that holds the
    key. The server is *base_url* where a table names none, then `OPENAI_BASE_URL`, then OpenAI's own.
    No other `OPENAI_*` variable counts: one key under several names would list the same files twice.

    Messages call the origin of the tables *source*, and show no value, nor a name that may be a
    pasted key.

    Raises:
        ConfigError: there are no accounts, two are the same, or one cannot be used.
    """
    if not tables:
        raise ConfigError(f"no accounts in {source}: give each one a table of its own, [accounts.NAME]")
    server = base_url or os.environ.get("OPENAI_BASE_URL", "").strip() or OPENAI_BASE_URL
    accounts = tuple(_account(name, table, source=source, base_url=server) for name, table in tables.items())
    _refuse_doubles(accounts, source=source)
    return accounts


def _document(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = "is not in UTF-8: save it so"
    except (ValueError, RecursionError) as error:  # which may quote what stands there: only its place is shown
        place = _PLACE.search(str(error))
        problem = f"is no TOML{f' at {place[1]}' if place else ''}: {_HINT}"
    raise ConfigError(f"{path} {problem}")  # from no other error, "from None" included: dlt's trace would keep that one


def _account(name: str, table: object, *, source: str, base_url: str) -> Account:
    if not name.strip():
        raise ConfigError(f"an account in {source} has an empty name: call its table [accounts.NAME]")
    if _PASTED_KEY.match(name):
        raise ConfigError(f"the name of an account in {source} looks like a key: names are shown, so choose another")
    where = f"account {name!r} in {source}"
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} is no table: give [accounts.NAME] with api_key or api_key_env")
    _refuse_unknown(table, where)
    key, address = _key(table, where), _text(table, "base_url", where) or base_url
    if key is None and _is_openai(address):
        raise ConfigError(
            f"no key for {where}: set api_key to it, or api_key_env to the name of the variable that holds it"
        )
    organization, project = _text(table, "organization", where), _text(table, "project", where)
    headers, query = _texts(table, "headers", where), _texts(table, "query", where)
    authentication = _authentication(table, where)
    try:
        return Account(
            name=name,
            api_key=key,
            base_url=address,
            organization=organization,
            project=project,
            headers=headers,
            query=query,
            authentication=authentication,
        )
    except ConfigError as error:
        refusal = _without_names(str(error), headers)
    raise ConfigError(f"{where}: {refusal}")


def _refuse_unknown(table: Mapping[str, object], where: str) -> None:
    """Refuse a key that has no meaning, unseen: it may be a secret that was pasted without its key."""
    unknown = [key for key in table if key not in _KNOWN]
    if unknown:
        meant = get_close_matches(unknown[0].lower(), _KNOWN, n=1)
        raise ConfigError(
            f"{where} has an unknown key{f' (is {meant[0]} meant?)' if meant else ''}: known are {', '.join(_KNOWN)}"
        )


def _key(table: Mapping[str, object], where: str) -> str | None:
    if "api_key_env" not in table:
        return _text(table, "api_key", where)
    if "api_key" in table:
        raise ConfigError(f"{where} has both api_key and api_key_env: leave one of them out")
    variable = _text(table, "api_key_env", where) or ""
    key = os.environ.get(variable, "").strip() if variable.isascii() else ""
    if not key:  # what stands there may be the key itself: it is shown only where it cannot be one
        if _VARIABLE.fullmatch(variable):
            raise ConfigError(f"api_key_env of {where} names {variable}, which is not set or empty: set it to the key")
        raise ConfigError(
            f"api_key_env of {where} names no variable that is set: it takes a variable's name, api_key the key itself"
        )
    return key


def _text(table: Mapping[str, object], key: str, where: str) -> str | None:
    """Return the text under a key without white space around it; None for an empty one."""
    value = table.get(key, "")
    if not isinstance(value, str):
        raise ConfigError(f"{key} of {where} is no text: put it in quotation marks")
    return value.strip() or None


def _texts(table: Mapping[str, object], key: str, where: str) -> dict[str, str]:
    texts = table.get(key, {})
    if not isinstance(texts, Mapping) or not all(isinstance(value, str) for value in texts.values()):
        raise ConfigError(f'{key} of {where} is no table of texts: give {{ NAME = "value" }}')
    return dict(texts)


def _authentication(table: Mapping[str, object], where: str) -> Authentication:
    authentication = _text(table, "authentication", where) or "bearer"
    if authentication not in get_args(Authentication):
        raise ConfigError(f"authentication of {where} is neither 'bearer' nor 'api-key'")
    return cast("Authentication", authentication)


def _is_openai(base_url: str) -> bool:
    try:
        return urlsplit(base_url).hostname == urlsplit(OPENAI_BASE_URL).hostname
    except ValueError:  # Account says what is wrong with it
        return False


def _without_names(message: str, headers: Iterable[str]) -> str:
    """Return a message of Account's without the names of extra headers: one may be a pasted key."""
    for header in headers:
        message = message.replace(f"header {header!r}", "a header")
    return message


def _refuse_doubles(accounts: Iterable[Account], *, source: str) -> None:
    """Refuse two names for one account. Where extra headers or the query differ, they may say whose files are meant."""
    names: dict[object, str] = {}
    for account in accounts:
        headers = frozenset((name.lower(), value) for name, value in account.headers.items())
        query = frozenset(account.query.items())
        whose = (account.base_url, account.api_key, account.organization, account.project, headers, query)
        if whose in names:
            raise ConfigError(
                f"accounts {names[whose]!r} and {account.name!r} in {source} have the same server, key, organization "
                "and project: the same files would be loaded twice"
            )
        names[whose] = account.name
