"""A listing walked from both ends at once, until they meet: each file is given by one of them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from files_source.decoding import Page
from files_source.order import Order, OutOfOrder, Seen, microseconds


@dataclass(slots=True)
class _End:
    """How far one end has come.

    Attributes:
        frontier: `created_at` of the last file that it has given, in microseconds since 1970.
        ties: the ids of all files of that time that it has seen.
    """

    seen: Seen
    frontier: int | None = None
    ties: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))

    def reach(self, files: pa.Table) -> None:
        """Go on to the last of *files*."""
        times = microseconds(files)
        last = times[-1].as_py()
        ids = files.column("id").combine_chunks().filter(pc.equal(times, last))
        self.ties = pa.concat_arrays([self.ties, ids]) if last == self.frontier else ids
        self.frontier = last


class Ends:
    """Two walks towards each other, on a thread each, of a server that lists in ascending order when asked to.

    The oldest end is a complete listing by itself. What the newest end has given is all that was
    created after its last file; files of the same time as that are told apart by their ids. If its
    first page does not show that the server keeps the descending order, too, the oldest end goes on
    alone.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._oldest, self._newest = _End(Seen("asc")), _End(Seen("desc"))
        self._met = False

    def ascend(self, pages: Generator[Page, None, None]) -> Generator[Page, None, None]:
        """Yield the pages from the oldest file on, until the ends meet.

        Raises:
            OutOfOrder: the order is not kept although it was at the beginning.
        """
        with closing(pages):
            for page in pages:
                yield self._give(page, self._oldest, self._newest)
                if self._met:
                    return
        self._meet()

    def descend(self, pages: Generator[Page, None, None]) -> Generator[Page, None, None]:
        """Yield the pages from the newest file on, until the ends meet.

        Raises:
            OutOfOrder: as `ascend` does.
        """
        with closing(pages):
            for page in pages:
                if self._newest.frontier is None and not _is_proven(page):
                    return
                yield self._give(page, self._newest, self._oldest)
                if self._met:
                    return

    @property
    def tied(self) -> bool:
        """Tell what `order.Seen` says of either end."""
        return self._oldest.seen.tied or self._newest.seen.tied

    def _give(self, page: Page, mine: _End, other: _End) -> Page:
        """Return what the *other* end has not given of a page, and see whether they have met."""
        with self._lock:
            if self._met:
                return replace(page, files=page.files.slice(0, 0))
            mine.seen.add(page.files)
            if not mine.seen.ordered:
                raise OutOfOrder
            files = page.files
            if files.num_rows and other.frontier is not None:
                files, self._met = _not_given(files, other, mine.seen.order)
            if page.files.num_rows:
                mine.reach(page.files)
        return page if files is page.files else replace(page, files=files)

    def _meet(self) -> None:
        with self._lock:
            self._met = True


def _is_proven(page: Page) -> bool:
    seen = Seen("desc")
    seen.add(page.files)
    return seen.proven


def _not_given(files: pa.Table, other: _End, order: Order) -> tuple[pa.Table, bool]:
    """Return the files that the *other* end has not given, and whether there are some beyond its frontier."""
    times = microseconds(files)
    frontier = cast(int, other.frontier)
    beyond = pc.greater(times, frontier) if order == "asc" else pc.less(times, frontier)
    given = pc.and_(pc.equal(times, frontier), pc.is_in(files.column("id").combine_chunks(), other.ties))
    drop = pc.or_(beyond, given)
    if not pc.any(drop).as_py():
        return files, False
    return files.filter(pc.invert(drop)).combine_chunks(), bool(pc.any(beyond).as_py())
