"""openai_files: the dlt source of the files of one account or many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import dlt
from dlt.common.configuration import configspec
from dlt.common.configuration.specs import BaseConfiguration
from dlt.extract.resource import DltResource

from files_source.accounts import Account, Authentication
from files_source.attempts import OnScan
from files_source.bookkeeping import filled
from files_source.client import FilesClient
from files_source.errors import ConfigError
from files_source.extraction import Extraction
from files_source.handover import handed_over
from files_source.holdings import FILES_TABLE, HISTORY_TABLE, SCANS_TABLE, SOURCE
from files_source.ledger import SCANS
from files_source.listing import MAX_LIMIT, check_purpose
from files_source.new_files import Cursor, new_files
from files_source.progress import OnPage
from files_source.resources import every_file, what_was_done
from files_source.scan import WORKERS
from files_source.scan_rows import SCAN_KEY, described
from files_source.schema import FILES
from files_source.settings import accounts_for, connection, setting, whole_number
from files_source.times import utc

_INTERVAL: Final = ("DLT_INTERVAL_START", "DLT_INTERVAL_END")


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
    history: bool = False,
    loads_once: bool = False,
    accounts: Sequence[Account] | None = None,
    workers: int | None = None,
    account: str | None = None,
    api_key: str | None = None,
    base_url: str | None = None,
    organization: str | None = None,
    project: str | None = None,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    authentication: Authentication | None = None,
    ca_bundle: str | None = None,
    timeout: float | None = None,
    max_retries: int | None = None,
    client: FilesClient | None = None,
    on_page: OnPage | None = None,
    on_scan: OnScan | None = None,
) -> tuple[DltResource, DltResource]:
    """Return the files of one account or many as a dlt source with the resources `files` and `scans`.

    Each run loads what the destination lacks, keyed on `created_at`. What it holds already is known
    from its own copy of dlt's state, which is believed only as far as the rows are there: a database is
    asked for some forty files of each account by their ids, 500 in one query. So another database, or
    one that was emptied, deleted or restored, never leaves a hole, and a run with `refresh=` begins
    anew. `write_disposition="replace"` is a full refresh; with "append", too, a destination that merges
    does so. A run that `add_limit` stops goes on there the next time. `add_filter` is refused, as what
    is yielded are Arrow tables, and so is `add_limit` of a history.

    Every setting that is not given is looked up in dlt's configuration, as `SOURCES__OPENAI_FILES__...`;
    `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID` fill what is left open.
    Making the source asks nothing.

    Args:
        created_at: dlt's cursor. `initial_value` leaves older files out; `end_value` with it loads
            that range (a backfill), as do dlt's external scheduler variables and, without a switch,
            `DLT_INTERVAL_START` with `DLT_INTERVAL_END`. `range_start`, `range_end` and `lag` (as
            *overlap*) count, too. `row_order`, `primary_key` and `on_cursor_value_missing` change
            nothing: no file has no time, and each is loaded once. Another cursor path or
            `last_value_func` is refused.
        purpose: only files of this purpose.
        limit: files a page, 1 to 10,000; 10,000 by default.
        overlap: seconds before a file counts as final by the server's clock. Where the destination
            merges, younger files are loaded at once and again by the next run: 3600 by default. Where
            it only appends, they are left for a later run: 60 by default. A file that shows up later
            is loaded as long as no newer one is final.
        full_refresh: load everything again, in place of what is there. Unless the destination's
            `replace_strategy` is `insert-from-staging`, as `sync` sets it, dlt empties the table first.
        history: the resources are `files_history` and `scans`. Every file is listed; a version of it
            that is no longer so is retired with its last-known values, and so is one that is gone.
            Only a complete scan retires, and only what it could have seen: its account's files, of
            its purpose. Where the destination cannot merge, each run appends a dated snapshot to
            `files_snapshots` instead.
        loads_once: whoever runs the pipeline drops what a run that died has left, as `sync` does, instead
            of loading it. Into a table without rows files are then appended, which takes half the time
            of a merge; what dlt loaded twice would be doubled.
        accounts: several accounts; by default those configured in dlt under
            `sources.openai_files.accounts`. They are listed at once; one that fails leaves the
            others alone, is logged and stands in `scans` with its error.
        workers: how many requests are sent at once, 8 by default: to several accounts, and for a
            listing of all of one account's files, which is then made of several chains of pages.
        account: the name in the column `account`. A name stands for one project's files.
        api_key: the key; see `accounts.Account` for this and the arguments that follow.
        client: a FilesClient to use instead of one made from these arguments. It stays open.
        on_page: called after each page with the pages and the rows read so far, maybe by several threads.
        on_scan: called when an account's listing has ended, with its row of `scans`, maybe by several threads.

    Raises:
        ConfigError: a setting is missing or cannot be used.
    """
    purpose = setting("purpose", purpose, str)
    check_purpose(purpose)
    if history and full_refresh:
        raise ConfigError("a history needs no full refresh: each run of it lists everything")
    if history and created_at is not None:
        raise ConfigError("a history is of all files: leave out the times")
    whose = accounts_for(
        client,
        accounts,
        account=account,
        api_key=api_key,
        base_url=base_url,
        organization=organization,
        project=project,
        headers=headers,
        query=query,
        authentication=authentication,
    )
    extraction = Extraction(
        accounts=whose,
        client=client,
        connection=connection(timeout=timeout, max_retries=max_retries, ca_bundle=ca_bundle),
        purpose=purpose,
        limit=whole_number("limit", limit, MAX_LIMIT, least=1, most=MAX_LIMIT),
        overlap=None
        if overlap is None and setting("overlap", None, int) is None
        else whole_number("overlap", overlap, 0, least=0),
        full_refresh=full_refresh,
        loads_once=loads_once,
        workers=whole_number("workers", workers, WORKERS, least=1),
        on_page=on_page,
        on_scan=on_scan,
    )

    @dlt.resource(
        name=FILES_TABLE,
        spec=_Nothing,
        primary_key=("account", "id"),
        write_disposition="merge",
        columns=described(FILES),
    )
    def files(created_at: Cursor = _cursor(created_at)) -> Iterator[object]:  # noqa: B008 - dlt reads the default as a declaration
        yield from handed_over(new_files(extraction, created_at))

    @dlt.resource(name=HISTORY_TABLE, spec=_Nothing)
    def files_history() -> Iterator[object]:
        yield from handed_over(every_file(extraction))

    @dlt.resource(name=SCANS_TABLE, spec=_Nothing, primary_key=SCAN_KEY, columns=described(SCANS))
    def scans() -> Iterator[object]:
        yield from handed_over(what_was_done(extraction))

    return filled(files_history if history else files), filled(scans)


def _cursor(given: Cursor | None) -> Cursor:
    """Return dlt's cursor on `created_at`, bounded as given, as configured, or by `DLT_INTERVAL_START` and `_END`.

    Raises:
        ConfigError: only one of those variables is set.
    """
    cursor: Cursor = dlt.sources.incremental[datetime](
        "created_at",
        initial_value=setting("created_at.initial_value", None, datetime),
        end_value=setting("created_at.end_value", None, datetime),
        primary_key=(),
        allow_external_schedulers=_joins_interval(),
    )
    if given is None:
        return cursor
    bounded = given.copy()
    for name in ("initial_value", "end_value"):
        if (at := getattr(bounded, name)) is not None:
            setattr(bounded, name, utc(at, name=name))  # dlt compares it with our times, which text and dates are not
    return cursor.merge(bounded)


def _joins_interval() -> bool | None:
    """Tell whether dlt takes the bounds from the environment, even without the switch that it has for that."""
    found = [name for name in _INTERVAL if os.environ.get(name)]
    if os.environ.get("DLT_ALLOW_EXTERNAL_SCHEDULERS") or not found:
        return None
    if len(found) < len(_INTERVAL):
        raise ConfigError(f"{found[0]} is set alone: set both {' and '.join(_INTERVAL)}, or neither")
    return True
