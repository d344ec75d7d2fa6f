"""The files of an account as polars frames: eager, or lazy with as few requests as a query needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from files_source.accounts import Account, Authentication
from files_source.bounds import ANYTHING
from files_source.client import FilesClient
from files_source.errors import ConfigError
from files_source.order import Order
from files_source.progress import moment
from files_source.pushdown import bounds_of
from files_source.schema import FILES
from files_source.stream import FilesStream, wanted

_NO_FILES: Final = cast(pl.DataFrame, pl.from_arrow(FILES.empty_table()))


def read_files(
    place: str | None = None,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    organization: str | None = None,
    project: str | None = None,
    headers: Mapping[str, str] | None = None,
    authentication: Authentication | None = None,
    account: str | None = None,
    accounts: Sequence[Account] | None = None,
    client: FilesClient | None = None,
    purpose: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    order: Order = "desc",
    limit: int | None = None,
    max_items: int | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    max_retries: int | None = None,
    ca_bundle: str | Path | None = None,
) -> pl.DataFrame:
    """List the files of one account or many, or read those of a place, as a frame with the columns of FILES.

    The files stand in *order* of `created_at`, whosever they are; those of one second in any order.

    Args:
        place: where `sync` loaded files to: `PATH.duckdb`, `DIR/`, `parquet:URL`, a URL, or the name
            of a dlt destination. Then nothing is listed: the files are read that are still there as
            far as the place knows, without those that a history run found gone or a cleanup deleted.
            *purpose*, *since*, *until*, *order* and *max_items* may go with it.
        api_key, base_url, organization, project, headers, authentication: whose files; see
            `accounts.Account`. What is not given comes from the `OPENAI_*` variables.
        account: the name in the column `account`.
        accounts: several accounts instead, which are listed at once.
        client: a client to use instead. It stays open.
        purpose: only files of this purpose.
        since: only files created at or after this time; in UTC where it names no zone.
        until: only files created before this time.
        order: `desc`, newest first, or `asc`.
        limit: files a page, 1 to 10,000; 10,000 by default.
        max_items: no more files than so many, the first ones in *order*.
        workers: requests at once, 8 by default.
        timeout, max_retries, ca_bundle: as `FilesClient` takes them.

    Raises:
        ConfigError: a setting is missing or cannot be used, or the place is not there.
        ApiError, TransportError, DecodeError, CursorError: the listing failed.
        AccountsError: that of one of several accounts did.
        LoadError: the place cannot be read.
    """
    settings: dict[str, Any] = {
        "api_key": api_key,
        "base_url": base_url,
        "organization": organization,
        "project": project,
        "headers": headers,
        "authentication": authentication,
        "account": account,
        "accounts": accounts,
        "client": client,
        "purpose": purpose,
        "since": since,
        "until": until,
        "order": order,
        "limit": limit,
        "max_items": max_items,
        "workers": workers,
        "timeout": timeout,
        "max_retries": max_retries,
        "ca_bundle": ca_bundle,
    }
    if place is not None:
        return _stored(place, **settings).collect()
    tables = FilesStream(**settings).tables(in_order=False)
    frame = pl.concat([_NO_FILES, *map(_frame, tables)])
    latest_first = order == "desc"
    if frame["created_at"].is_sorted(descending=latest_first):
        return frame
    return frame.sort("created_at", descending=latest_first, maintain_order=True)


def scan_files(
    place: str | None = None,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    organization: str | None = None,
    project: str | None = None,
    headers: Mapping[str, str] | None = None,
    authentication: Authentication | None = None,
    account: str | None = None,
    accounts: Sequence[Account] | None = None,
    client: FilesClient | None = None,
    purpose: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    order: Order = "desc",
    limit: int | None = None,
    max_items: int | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    max_retries: int | None = None,
    ca_bundle: str | Path | None = None,
) -> pl.LazyFrame:
    """Return what `read_files` does as a lazy frame, which asks nothing until it is collected, and then what it must.

    A filter on `purpose` or `account` by `==` or `is_in` lists those alone; one on `created_at` lists
    up to where the server's order shows that the rest is out of its bounds; `head` without a filter
    before it asks for as many files; a column that is not needed is not handed over. Whatever else
    a filter says, polars does. Where a filter calls a Python function, cloudpickle must be able to
    take that.

    Each time it is collected, the files are listed anew, and twice where it is joined with itself:
    `read_files` lists them once, and on several chains of pages at once. They stand in *order* as
    far as the servers keep to it.

    Args: as `read_files` takes them.

    Raises:
        ConfigError: a setting is missing or cannot be used.

    Raises (when it is collected): as `read_files` does.
    """
    settings: dict[str, Any] = {
        "api_key": api_key,
        "base_url": base_url,
        "organization": organization,
        "project": project,
        "headers": headers,
        "authentication": authentication,
        "account": account,
        "accounts": accounts,
        "client": client,
        "purpose": purpose,
        "since": since,
        "until": until,
        "order": order,
        "limit": limit,
        "max_items": max_items,
        "workers": workers,
        "timeout": timeout,
        "max_retries": max_retries,
        "ca_bundle": ca_bundle,
    }
    return _listed(FilesStream(**settings)) if place is None else _stored(place, **settings)


def _listed(stream: FilesStream) -> pl.LazyFrame:
    def read(
        columns: list[str] | None, predicate: pl.Expr | None, count: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        """Do what polars asks for: it takes the first *count* rows before the predicate, and checks neither."""
        bounds = ANYTHING if predicate is None else bounds_of(predicate)
        for table in stream.tables(bounds, at_most=count):
            rows = _frame(table if columns is None else table.select(columns))
            yield rows if predicate is None else rows.filter(predicate)

    return register_io_source(read, schema=_NO_FILES.schema)


def _frame(table: pa.Table) -> pl.DataFrame:
    return cast(pl.DataFrame, pl.from_arrow(table))


def _stored(
    place: str,
    *,
    purpose: str | None,
    since: datetime | None,
    until: datetime | None,
    order: Order,
    max_items: int | None,
    **listing: object,
) -> pl.LazyFrame:
    from files_source.tables import scan_stored  # noqa: PLC0415 - imports DuckDB, which a listing need not wait for

    ignored = [name for name, value in listing.items() if value is not None]
    if ignored:
        raise ConfigError(f"nothing is listed where files are read from a place: leave out {', '.join(ignored)}")
    bounds = wanted(purpose, since, until, order, max_items)
    rows = scan_stored(place)
    if purpose is not None:
        rows = rows.filter(pl.col("purpose") == purpose)
    if bounds.since is not None:
        rows = rows.filter(pl.col("created_at") >= moment(bounds.since))
    if bounds.until is not None:
        rows = rows.filter(pl.col("created_at") < moment(bounds.until))
    rows = rows.sort("created_at", descending=order == "desc", maintain_order=True)
    return rows if max_items is None else rows.head(max_items)
