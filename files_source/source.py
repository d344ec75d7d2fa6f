"""openai_files: the dlt source of the files of one account or many."""

from __future__ import annotations

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
from files_source.holdings import FILES_TABLE, HISTORY_TABLE, SCANS_TABLE, SOURCE
from files_source.ledger import SCANS
from files_source.listing import MAX_LIMIT, check_purpose
from files_source.progress import OnPage
from files_source.resources import Cursor, described, every_file, new_files, what_was_done
from files_source.scan import WORKERS
from files_source.schema import FILES
from files_source.settings import accounts_for, connection, setting, whole_number

OVERLAP: Final = 60
"""Seconds for which a file may still get neighbours before it: created earlier, or in the same second."""


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
    authentication: Authentication | None = None,
    ca_bundle: str | None = None,
    timeout: float | None = None,
    max_retries: int | None = None,
    client: FilesClient | None = None,
    on_page: OnPage | None = None,
    on_scan: OnScan | None = None,
) -> tuple[DltResource, DltResource]:
    """Return the files of one account or many as a dlt source with the resources `files` and `scans`.

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
        authentication=authentication,
    )
    extraction = Extraction(
        accounts=whose,
        client=client,
        connection=connection(timeout=timeout, max_retries=max_retries, ca_bundle=ca_bundle),
        purpose=purpose,
        limit=whole_number("limit", limit, MAX_LIMIT, least=1, most=MAX_LIMIT),
        overlap=whole_number("overlap", overlap, OVERLAP, least=0),
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
        yield from new_files(extraction, created_at)

    @dlt.resource(name=HISTORY_TABLE, spec=_Nothing)
    def files_history() -> Iterator[object]:
        yield from every_file(extraction)

    @dlt.resource(name=SCANS_TABLE, spec=_Nothing, primary_key=("account", "started_at"), columns=described(SCANS))
    def scans() -> Iterator[object]:
        yield from what_was_done(extraction)

    return filled(files_history if history else files), filled(scans)


def _cursor(given: Cursor | None) -> Cursor:
    """Return dlt's cursor on `created_at`, bounded as given or as configured."""
    cursor: Cursor = dlt.sources.incremental[datetime](
        "created_at",
        initial_value=setting("created_at.initial_value", None, datetime),
        end_value=setting("created_at.end_value", None, datetime),
        primary_key=(),
    )
    return cursor if given is None else cursor.merge(given)
