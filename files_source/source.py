"""openai_files: the dlt source of an account's files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import dlt
import pyarrow as pa
from dlt.common.destination import AnyDestination
from dlt.common.destination.client import WithStateSync
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.typing import TSecretStrValue
from dlt.extract.resource import DltResource
from dlt.pipeline.state_sync import load_pipeline_state_from_destination

from files_source.accounts import DEFAULT_NAME, Account, Authentication
from files_source.client import TIMEOUT, FilesClient
from files_source.coverage import Coverage, Remembered, Span
from files_source.errors import ConfigError
from files_source.incremental import MICROSECONDS, Increment, OnPage
from files_source.listing import MAX_LIMIT
from files_source.retries import MAX_RETRIES
from files_source.schema import FILES, description
from files_source.tolerant import EARLIEST

OVERLAP: Final = 60
"""Seconds for which a file may still get neighbours before it: created earlier, or in the same second."""

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_Cursor = dlt.sources.incremental[datetime]


@dlt.source(name="openai_files")
def openai_files(
    created_at: dlt.sources.incremental[datetime] = dlt.sources.incremental[datetime]("created_at", primary_key=()),  # noqa: B008 - dlt reads the default as a declaration
    *,
    purpose: str | None = None,
    limit: int = MAX_LIMIT,
    overlap: int = OVERLAP,
    full_refresh: bool = False,
    account: str = DEFAULT_NAME,
    api_key: TSecretStrValue | None = None,
    base_url: str | None = None,
    organization: str | None = None,
    project: str | None = None,
    headers: dict[str, str] | None = None,
    authentication: Authentication = "bearer",
    ca_bundle: str | None = None,
    timeout: float | None = None,
    max_retries: int = MAX_RETRIES,
    client: Any = None,
    on_page: Any = None,
) -> DltResource:
    """Return the files of one account as a dlt source with the resource `files`.

    Each run loads what the destination lacks, keyed on `created_at`; what it holds already is known
    from its own copy of dlt's state, so that another database, or one that was deleted or restored,
    never leaves a hole. Every argument can be set through dlt's configuration, as
    `SOURCES__OPENAI_FILES__...`; `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_ORG_ID` and
    `OPENAI_PROJECT_ID` fill what is left open. Making the source asks nothing.

    Args:
        created_at: dlt's cursor. `initial_value` leaves older files out; `end_value` with it loads
            that range (a backfill), as do dlt's external scheduler variables.
        purpose: only files of this purpose.
        limit: files a page, 1 to 10,000.
        overlap: seconds until a file counts as settled by the server's clock. Younger files are
            loaded at once where the destination merges, and again by the next run; where it only
            appends, they are left for a later run.
        full_refresh: load all that is asked for again, in place of what is there.
        account: the name in the column `account`. A name stands for one project's files.
        api_key: the key; see `accounts.Account` for this and the arguments that follow.
        client: a FilesClient to use instead of one made from these arguments. It stays open.
        on_page: called after each page with the pages and the rows read so far.

    Raises:
        ConfigError: a setting is missing or cannot be used.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise ConfigError(f"limit is {limit}: the API takes 1 to {MAX_LIMIT} files a page")
    if overlap < 0:
        raise ConfigError(f"overlap is {overlap}: give seconds, 0 or more")
    whose = (
        None
        if client is not None
        else Account.from_environment(
            name=account,
            api_key=api_key,
            base_url=base_url,
            organization=organization,
            project=project,
            headers=headers,
            authentication=authentication,
        )
    )

    @dlt.resource(
        name="files",
        primary_key=("account", "id"),
        write_disposition="merge",
        columns={name: {"description": description(name)} for name in FILES.names},
    )
    def files(created_at: dlt.sources.incremental[datetime] = created_at) -> Iterator[object]:
        own = client is None
        patience = TIMEOUT if timeout is None else timeout
        connected = (
            FilesClient(whose, timeout=patience, max_retries=max_retries, ca_bundle=ca_bundle) if own else client
        )
        with connected if own else nullcontext():
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
    merges = _merges()
    remembered = _remembered()
    held = None if full_refresh else remembered.get(client.account.name)
    asked = Span(purpose, _instant(created_at.initial_value), _instant(created_at.end_value))
    run = Increment(
        client=client,
        coverage=Coverage.recall(held, server=_server(client.account)),
        asked=asked,
        merges=merges,
        overlap=overlap,
        limit=limit,
        again=merges and asked.until is not None,
        on_page=on_page,
    )
    rows = 0
    before = (client.requests, client.retries, client.received)
    for table in run.batches():
        yield table if rows else _first(table, created_at, run, full_refresh=full_refresh)
        rows += table.num_rows
    if held is None and not rows:
        yield _first(FILES.empty_table(), created_at, run, full_refresh=full_refresh)
    if held is None or rows or run.has_learned:
        reached = {client.account.name: run.reached.remember()}
        dlt.current.resource_state()["accounts"] = reached if full_refresh else remembered | reached
    dlt.current.resource_metrics()["listing"] = {
        "rows": rows,
        "pages": run.pages,
        "requests": client.requests - before[0],
        "retries": client.retries - before[1],
        "received": client.received - before[2],
    }


def _first(table: pa.Table, created_at: _Cursor, run: Increment, *, full_refresh: bool) -> object:
    """Return the first table of a run, which tells dlt how to write all of them."""
    created_at.advance(max(filter(None, (created_at.last_value, _moment(run.until)))))
    if full_refresh:
        disposition: Any = {"disposition": "replace", "strategy": "insert-from-staging"}
    else:
        disposition = "merge" if run.merges else "append"
    return dlt.mark.with_hints(table, dlt.mark.make_hints(write_disposition=disposition))


def _merges() -> bool:
    """Tell whether the destination keeps one row for each primary key, whatever dies in between."""
    destination = cast("AnyDestination | None", dlt.current.pipeline().destination)
    return destination is not None and "delete-insert" in (destination.capabilities().supported_merge_strategies or ())


def _remembered() -> dict[str, Remembered]:
    """Return what the destination holds by its own account.

    The working folder's state may be about another database, or a later state of this one.
    """
    pipeline = dlt.current.pipeline()
    state = dlt.current.resource_state()
    if pipeline.destination is not None:
        with pipeline.destination_client() as destination:
            if isinstance(destination, WithStateSync):
                state = _stored_state(pipeline.pipeline_name, destination)
    return cast(dict[str, Remembered], state.get("accounts", {}))


def _stored_state(pipeline_name: str, destination: WithStateSync) -> dict[str, Any]:
    source = dlt.current.source()
    try:
        stored: Any = load_pipeline_state_from_destination(pipeline_name, destination)
    except DestinationUndefinedEntity:
        return {}
    sources = (stored or {}).get("sources", {})
    return cast(dict[str, Any], sources.get(source.name, {}).get("resources", {}).get("files", {}))


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
