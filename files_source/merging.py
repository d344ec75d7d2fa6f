"""Several listings as one, in order of creation; the next page of each is fetched while this one is read."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import ExitStack, suppress
from queue import SimpleQueue
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

import pyarrow as pa
import pyarrow.compute as pc

from files_source.order import Order
from files_source.schema import FILES

_Listing = Generator[pa.Table, None, None]
_Coming = Future[pa.Table | None]

_DIRECTIONS: Final = {"asc": "ascending", "desc": "descending"}


def interleaved(listings: Sequence[_Listing], *, order: Order, workers: int) -> Generator[pa.Table, None, None]:
    """Yield the rows of all *listings*, each of which is in *order* of `created_at`.

    A single one is passed on as it comes, and only as far as it is read. Of several, two tables
    each are in memory. Closed before their end, the listings are closed, too; nobody waits for one
    that is being read, as that may take minutes.

    Args:
        workers: how many listings are asked at once.

    Raises:
        FilesSourceError: as the listings do.
    """
    if len(listings) == 1:
        yield from listings[0]
        return
    with ExitStack() as opened:
        for listing in listings:
            opened.callback(_close, listing)
        readers = opened.enter_context(_Readers(min(workers, len(listings))))
        yield from _in_order([_Ahead(listing, readers) for listing in listings], order)


def _close(listing: _Listing) -> None:
    with suppress(ValueError):  # another thread is reading or closing it, and will have closed it then
        listing.close()


class _Readers:
    """Threads that take listings a table further; nobody waits for one that is still at it when they are closed."""

    def __init__(self, count: int) -> None:
        self._asked = SimpleQueue[tuple[_Coming, _Listing] | None]()
        self._closed = Event()
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(count)]

    def further(self, listing: _Listing) -> _Coming:
        """Return what will be the next table with rows of *listing*, or None at its end."""
        coming = _Coming()
        self._asked.put((coming, listing))
        return coming

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None and not self._closed.is_set():
            coming, listing = asked
            try:
                coming.set_result(next(filter(len, listing), None))
            except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that waits
                coming.set_exception(error)
            if self._closed.is_set():
                _close(listing)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        for _ in self._threads:
            self._asked.put(None)


class _Ahead:
    """A listing that is read one table ahead.

    Attributes:
        coming: what will be the next table with rows, or None at the end.
    """

    def __init__(self, listing: _Listing, readers: _Readers) -> None:
        self._listing = listing
        self._readers = readers
        self.coming = readers.further(listing)

    def take(self) -> pa.Table | None:
        """Return what was coming, and let the next one come."""
        table = self.coming.result()
        if table is not None:
            self.coming = self._readers.further(self._listing)
        return table


def _in_order(listings: list[_Ahead], order: Order) -> Iterator[pa.Table]:
    heads = _filled(dict.fromkeys(listings, FILES.empty_table()))
    while heads:
        sides = _sides(heads, order)
        ready = pa.concat_tables(head.filter(sides[listing]) for listing, head in heads.items())
        yield ready.sort_by([("created_at", _DIRECTIONS[order])])
        heads = _filled({listing: head.filter(pc.invert(sides[listing])) for listing, head in heads.items()})


def _filled(heads: Mapping[_Ahead, pa.Table]) -> dict[_Ahead, pa.Table]:
    """Return what is left of each listing's table, or its next one; nothing of a listing that has ended.

    Raises:
        FilesSourceError: a listing has failed; the others are not waited for.
    """
    coming = [listing.coming for listing, head in heads.items() if not head.num_rows]
    for ended in wait(coming, return_when=FIRST_EXCEPTION).done:
        ended.result()
    filled = {listing: head if head.num_rows else listing.take() for listing, head in heads.items()}
    return {listing: head for listing, head in filled.items() if head is not None}


def _sides(heads: Mapping[_Ahead, pa.Table], order: Order) -> dict[_Ahead, pa.ChunkedArray]:
    """Return which rows of each table stand before whatever the listings have still to give; all of one table do."""
    times = {listing: head.column("created_at") for listing, head in heads.items()}
    if order == "desc":
        border = max(map(pc.min, times.values()), key=_microseconds)
        return {listing: pc.greater_equal(column, border) for listing, column in times.items()}
    border = min(map(pc.max, times.values()), key=_microseconds)
    return {listing: pc.less_equal(column, border) for listing, column in times.items()}


def _microseconds(instant: pa.Scalar) -> int:
    return int(instant.value)
