"""The files of an account as polars frames: eager, or lazy with as few requests as a query needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Unpack, cast

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from files_source.bounds import ANYTHING
from files_source.errors import ConfigError
from files_source.places import AnyPlace
from files_source.progress import moment
from files_source.pushdown import bounds_of
from files_source.schema import FILES
from files_source.stream import FilesStream, Listing, wanted

_OF_A_PLACE: Final = ("purpose", "since", "until", "order", "max_items")
_NO_FILES: Final = cast(pl.DataFrame, pl.from_arrow(FILES.empty_table()))


def read_files(place: AnyPlace | None = None, **listing: Unpack[Listing]) -> pl.DataFrame:
    """List the files of one account or many, or read those of a place, as a frame with the columns of FILES.

    The files stand in *order* of `created_at`, whosever they are; those of one second in any order.

    Args:
        place: where `sync` loaded files to: `PATH.duckdb`, `DIR/`, `parquet:URL`, a URL, the name of
            a dlt destination, or a path. Then nothing is listed: the files are read that are still there as
            far as the place knows, without those that a history run found gone or a cleanup deleted.
            *purpose*, *since*, *until*, *order* and *max_items* may go with it.
        listing: which files, by keyword, each as `FilesStream` explains it. Whose: *api_key*,
            *base_url*, *organization*, *project*, *headers*, *query*, *authentication* and *account*, or
            *accounts*, or *client*; what is not given comes from the `OPENAI_*` variables. Which of
            them: *purpose*, *since*, *until*, *order* ('desc', newest first, or 'asc') and
            *max_items*. How: *limit* (files a page), *workers* (requests at once), *timeout*,
            *max_retries* and *ca_bundle*.

    Raises:
        ConfigError: a setting is missing or cannot be used, or the place is not there.
        ApiError, TransportError, DecodeError, CursorError: the listing failed.
        AccountsError: that of one of several accounts did.
        LoadError: the place cannot be read.
    """
    if place is not None:
        return _stored(place, **listing).collect()
    stream = FilesStream(**listing)
    frame = pl.concat([_NO_FILES, *map(_frame, stream.tables(in_order=False))])
    latest_first = stream.order == "desc"
    if frame["created_at"].is_sorted(descending=latest_first):
        return frame
    return frame.sort("created_at", descending=latest_first, maintain_order=True)


def scan_files(place: AnyPlace | None = None, **listing: Unpack[Listing]) -> pl.LazyFrame:
    """Return what `read_files` does as a lazy frame, which asks nothing until it is collected, and then what it must.

    A filter on `purpose` or `account` by `==` or `is_in` lists those alone; one on `created_at` lists
    up to where the server's order shows that the rest is out of its bounds; `head` without a filter
    before it asks for as many files; a column that is not needed is not handed over. Whatever else
    a filter says, polars does. Where a filter calls a Python function, cloudpickle must be able to
    take that.

    Only an upper bound of `created_at` lists from the oldest file on, and turns round what it has
    found; where no more than the newest of those are wanted, *until* and *max_items* ask for less.

    Each time it is collected, the files are listed anew, and twice where it is joined with itself:
    `read_files` lists them once, and on several chains of pages at once. They stand in *order* as
    far as the servers keep to it.

    Args: as `read_files` takes them.

    Raises:
        ConfigError: a setting is missing or cannot be used.

    Raises (when it is collected): as `read_files` does.
    """
    return _listed(FilesStream(**listing)) if place is None else _stored(place, **listing)


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


def _stored(place: AnyPlace, **listing: Unpack[Listing]) -> pl.LazyFrame:
    from files_source.tables import scan_stored  # noqa: PLC0415 - imports DuckDB, which a listing need not wait for

    if unknown := listing.keys() - Listing.__annotations__.keys():
        raise TypeError(f"read_files() got an unexpected keyword argument {min(unknown)!r}")
    ignored = [name for name, value in listing.items() if value is not None and name not in _OF_A_PLACE]
    if ignored:
        raise ConfigError(f"nothing is listed where files are read from a place: leave out {', '.join(ignored)}")
    purpose, order, most = listing.get("purpose"), listing.get("order", "desc"), listing.get("max_items")
    bounds = wanted(purpose, listing.get("since"), listing.get("until"), order, most)
    rows = scan_stored(place)
    if purpose is not None:
        rows = rows.filter(pl.col("purpose") == purpose)
    if bounds.since is not None:
        rows = rows.filter(pl.col("created_at") >= moment(bounds.since))
    if bounds.until is not None:
        rows = rows.filter(pl.col("created_at") < moment(bounds.until))
    rows = rows.sort("created_at", descending=order == "desc", maintain_order=True)
    return rows if most is None else rows.head(most)
