"""The part of a listing that is wanted: in which order to ask for it, which rows count, when to stop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from math import ceil

import pyarrow as pa

from files_source.client import FilesClient
from files_source.coverage import Span
from files_source.errors import ApiError
from files_source.order import Order, Seen, is_ordered, microseconds
from files_source.scan import Scan

_Ask = Callable[[str | None], Iterator[pa.Table]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of one account's listing.

    Attributes:
        client: whose files.
        span: what every file in it is.
        order: how the files stand in it, as far as the server keeps to that; those of one second in
            any order.
        limit: files a page.
        at_most: how many files it has at the most; None for all.
        workers: with more than one, a whole listing comes on so many chains at once, and in no order.
        by_purpose: whether the span's purpose was asked for by name, so that a server that refuses
            it is right; otherwise it is asked for everything instead.
    """

    client: FilesClient
    span: Span
    order: Order
    limit: int
    at_most: int | None
    workers: int
    by_purpose: bool

    def tables(self) -> Iterator[pa.Table]:
        """Yield the files in as few pages as can be.

        Raises:
            FilesSourceError: as `FilesClient.pages` does; what was yielded is then not all there is.
        """
        if self.at_most is not None:
            return first(self._found(self.order), self.at_most)
        order = _shortest(self.span) or self.order
        return self._found(order) if order == self.order else _turned(self._found(order), self.order)

    def _found(self, order: Order) -> Iterator[pa.Table]:
        for files in self._listed(partial(self._until_end, order)):
            yield files.filter(self.span.holds(files))

    def _listed(self, ask: _Ask) -> Iterator[pa.Table]:
        """Yield a listing by purpose; of everything, where a server does not know the purpose that a filter names."""
        tables = ask(self.span.purpose)
        try:
            start = next(tables, None)
        except ApiError as error:
            if self.by_purpose or not _is_about_purpose(error):
                raise
            start, tables = None, ask(None)
        if start is not None:
            yield start
        yield from tables

    def _until_end(self, order: Order, purpose: str | None) -> Iterator[pa.Table]:
        """Yield a listing up to where it shows that none of the rest can be wanted."""
        end = self.span.since if order == "desc" else self.span.until
        if end is None and self.at_most is None:
            yield from whole(self.client, order=order, limit=self.limit, purpose=purpose, workers=self.workers)
            return
        seen = Seen(order)
        for page in self.client.pages(order=order, limit=self._page_size(order), purpose=purpose):
            yield page.files
            seen.add(page.files)
            if end is not None and seen.proven and _is_past(page.files, end, order):
                return

    def _page_size(self, order: Order) -> int:
        """Return the page size: of as many pages as it takes, those that hold the least beyond what is wanted."""
        begins = self.span.until is None if order == "desc" else self.span.since is None
        if not begins or not self.at_most:
            return self.limit
        return ceil(self.at_most / ceil(self.at_most / self.limit))


def whole(
    client: FilesClient, *, order: Order, limit: int, purpose: str | None, workers: int
) -> Generator[pa.Table, None, None]:
    """Yield every file of a listing: in *order* by one worker, in no order by more."""
    scan = Scan(client=client, purpose=purpose, overlap=0, limit=limit, workers=workers)
    pages = scan.pages() if workers > 1 else client.pages(order=order, limit=limit, purpose=purpose)
    with closing(pages):
        for page in pages:
            yield page.files


def first(tables: Iterator[pa.Table], count: int) -> Iterator[pa.Table]:
    """Yield the first *count* rows, and take no table after the one that holds the last of them."""
    while count > 0 and (files := next(tables, None)) is not None:
        yield files.slice(0, count)
        count -= files.num_rows


def _shortest(span: Span) -> Order | None:
    """Return the order in which a listing can stop before its end; None where it cannot."""
    if span.since is not None:
        return "desc"
    return None if span.until is None else "asc"


def _is_past(files: pa.Table, end: int, order: Order) -> bool:
    """Tell whether a listing that goes on after *files* is past its *end*; a page without any shows nothing."""
    if not files.num_rows:
        return False
    created_at = int(microseconds(files)[-1].as_py())
    return created_at < end if order == "desc" else created_at >= end


def _turned(tables: Iterator[pa.Table], order: Order) -> Iterator[pa.Table]:
    """Yield in *order* what was listed in the other one, unless the server gave it in *order* all the same."""
    given = list(tables)
    if not given or is_ordered(pa.concat_tables(given), order):
        yield from given
        return
    for files in reversed(given):
        yield files.take(pa.array(range(files.num_rows - 1, -1, -1), pa.int64()))


def _is_about_purpose(error: ApiError) -> bool:
    named = error.param == "purpose" if error.param else "purpose" in error.reason.lower()
    return error.status in (400, 422) and named
