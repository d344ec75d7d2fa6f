"""openai_files: the dlt source of an account's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import dlt
import pyarrow as pa
from dlt.common.configuration import configspec
from dlt.common.configuration.specs import BaseConfiguration
from dlt.extract.resource import DltResource

from files_source.accounts import Account, Authentication
from files_source.client import TIMEOUT, FilesClient
from files_source.coverage import Coverage, Span
from files_source.errors import ConfigError
from files_source.holdings import SOURCE, TABLE, Accounts, accounts_held, digest, merges
from files_source.incremental import MICROSECONDS, Increment, OnPage
from files_source.listing import MAX_LIMIT
from files_source.retries import MAX_RETRIES
from files_source.schema import FILES, description
from files_source.settings import configured_account, setting
from files_source.tolerant import EARLIEST

OVERLAP: Final = 60
"""Seconds for which a file may still get neighbours before it: created earlier, or in the same second."""

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_Cursor = dlt.sources.incremental[datetime]


@configspec
class _Nothing(BaseConfiguration):
    """What dlt may inject by itself; `settings` says why."""


@dlt.source(name=SOURCE, spec=_Nothing)
def openai_files(
    created_at: dlt.sources.incremental[datetime] | None = None,
    *,
    purpose: str | None = None,
    limit: int | None = None,
    overlap: int | None = None,
    full_refresh: bool = False,
    account: str | None = None,
    api_key: str | None = None,
    base_url: str | None = None,
    organization: str | None = None,
    project: str | None = None,
    headers: Mapping[str, str] | None = None,
    authentication: Authentication | None = None,
    ca_bundle: str | None = None,
    timeout: float | None = None,
    max_retries: int | None = None,
    client: FilesClient | None = None,
    on_page: OnPage | None = None,
) -> DltResource:
    """Return the files of one account as a dlt source with the resource `files`.

    Each run loads what the destination lacks, keyed on `created_at`; what it holds already is known
    from its own copy of dlt's state, so that another database, or one that was deleted or restored,
    never leaves a hole. Every setting that is not given is looked up in dlt's configuration, as
    `SOURCES__OPENAI_FILES__...`; `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_ORG_ID` and
    `OPENAI_PROJECT_ID` fill what is left open. Making the source asks nothing.

    Args:
        created_at: dlt's cursor. `initial_value` leaves older files out; `end_value` with it loads
            that range (a backfill), as do dlt's external scheduler variables.
        purpose: only files of this purpose.
        limit: files a page, 1 to 10,000; 10,000 by default.
        overlap: seconds until a file counts as settled by the server's clock, 60 by default.
            Younger files are loaded at once where the destination merges, and again by the next
            run; where it only appends, they are left for a later run.
        full_refresh: load everything again, in place of what is there.
        account: the name in the column `account`. A name stands for one project's files.
        api_key: the key; see `accounts.Account` for this and the arguments that follow.
        client: a FilesClient to use instead of one made from these arguments. It stays open.
        on_page: called after each page with the pages and the rows read so far.

    Raises:
        ConfigError: a setting is missing or cannot be used.
    """
    purpose = setting("purpose", purpose, str)
    if purpose == "":
        raise ConfigError("the purpose is empty: name one, or leave it out for all")
    limit = setting("limit", limit, int)
    limit = MAX_LIMIT if limit is None else limit
    if not 1 <= limit <= MAX_LIMIT:
        raise ConfigError(f"limit is {limit}: the API takes 1 to {MAX_LIMIT} files a page")
    overlap = setting("overlap", overlap, int)
    overlap = OVERLAP if overlap is None else overlap
    if overlap < 0:
        raise ConfigError(f"overlap is {overlap}: give seconds, 0 or more")
    whose = None
    if client is None:
        whose = configured_account(
            account=account,
            api_key=api_key,
            base_url=base_url,
            organization=organization,
            project=project,
            headers=headers,
            authentication=authentication,
        )
    patience = setting("timeout", timeout, float)
    tries = setting("max_retries", max_retries, int)
    authorities = setting("ca_bundle", ca_bundle, str)

    @dlt.resource(
        name=TABLE,
        spec=_Nothing,
        primary_key=("account", "id"),
        write_disposition="merge",
        columns={name: {"description": description(name)} for name in FILES.names},
    )
    def files(created_at: dlt.sources.incremental[datetime] = _cursor(created_at)) -> Iterator[object]:  # noqa: B008 - dlt reads the default as a declaration
        with (
            nullcontext(client)
            if client is not None
            else FilesClient(
                whose,
                timeout=TIMEOUT if patience is None else patience,
                max_retries=MAX_RETRIES if tries is None else tries,
                ca_bundle=authorities,
            ) as connected
        ):
            yield from _load(
                connected,
                created_at,
                purpose=purpose,
                limit=limit,
                overlap=overlap,
                full_refresh=full_refresh,
                on_page=on_page,
            )

    return files


def _cursor(given: _Cursor | None) -> _Cursor:
    """Return dlt's cursor on `created_at`, bounded as given or as configured."""
    cursor: _Cursor = dlt.sources.incremental[datetime](
        "created_at",
        initial_value=setting("created_at.initial_value", None, datetime),
        end_value=setting("created_at.end_value", None, datetime),
        primary_key=(),
    )
    return cursor if given is None else cursor.merge(given)


def _load(
    client: FilesClient,
    created_at: _Cursor,
    *,
    purpose: str | None,
    limit: int,
    overlap: int,
    full_refresh: bool,
    on_page: OnPage | None,
) -> Iterator[object]:
    """Yield what the destination lacks of one account, then remember how far that reaches."""
    pipeline, state = dlt.current.pipeline(), dlt.current.resource_state()
    name, server = client.account.name, _server(client.account)
    others = accounts_held(pipeline, state)
    held = others.get(name)
    asked = Span(purpose, _instant(created_at.initial_value), _instant(created_at.end_value))
    run = Increment(
        client=client,
        coverage=Coverage.recall(held, server=server),
        asked=asked,
        merges=merges(pipeline),
        overlap=overlap,
        limit=limit,
        on_page=on_page,
    )
    run.again = full_refresh or (run.merges and asked.until is not None)
    _check(run, server, others, full_refresh=full_refresh)
    rows, before = 0, (client.requests, client.retries, client.received)
    for table in run.batches():
        yield table if rows else _first(table, created_at, run, full_refresh=full_refresh)
        rows += table.num_rows
    if not rows and (held is None or full_refresh):
        yield _first(FILES.empty_table(), created_at, run, full_refresh=full_refresh)
    if held is None or rows or full_refresh or run.has_learned:
        state["accounts"] = {**others, name: run.reached.remember()}
        state["base"] = digest(others)
    dlt.current.resource_metrics()["listing"] = {
        "rows": rows,
        "pages": run.pages,
        "requests": client.requests - before[0],
        "retries": client.retries - before[1],
        "received": client.received - before[2],
    }


def _check(run: Increment, server: str, held: Accounts, *, full_refresh: bool) -> None:
    """Refuse what would lose rows or double them.

    Raises:
        ConfigError: a part of the table should be replaced, which dlt can only replace as a whole;
            or, where rows are only appended, the account's name stands for another server's files.
    """
    name = run.client.account.name
    if full_refresh and (set(held) - {name} or run.asked != Span(None, None, None)):
        raise ConfigError(
            "a full refresh replaces the whole table: leave out the purpose and the times, and load into another "
            "place if this one holds other accounts, too"
        )
    if not run.merges and not full_refresh and name in held and held[name]["server"] != server:
        raise ConfigError(
            f"account {name!r} of this folder was loaded from {held[name]['server']}, not from {server}: give another "
            "account name (--account), or load all again with --full-refresh"
        )


def _first(table: pa.Table, created_at: _Cursor, run: Increment, *, full_refresh: bool) -> object:
    """Return the first table of a run, which tells dlt how to write all of them."""
    created_at.advance(max(filter(None, (created_at.last_value, _moment(run.until)))))
    disposition: Any = "merge" if run.merges else "append"
    if full_refresh:
        disposition = {"disposition": "replace", "strategy": "insert-from-staging"}
    return dlt.mark.with_hints(table, dlt.mark.make_hints(write_disposition=disposition))


def _server(account: Account) -> str:
    return " ".join(filter(None, (account.base_url, account.organization, account.project)))


def _instant(value: object) -> int | None:
    """Return a bound of the cursor in microseconds since 1970; None where it leaves nothing out."""
    if value is None:
        return None
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ConfigError(f"created_at is bounded by {value!r}: give a datetime, or ISO 8601 text")
    since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
    instant = (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds
    return instant if instant > EARLIEST * MICROSECONDS else None


def _moment(instant: int) -> datetime:
    return _EPOCH + timedelta(microseconds=instant)
