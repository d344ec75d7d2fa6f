"""A listing walked in spans, from border to border, all at once: each file is given by one of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from threading import Lock
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from files_source.coverage import Rung
from files_source.decoding import Page
from files_source.ends import OUT_OF_ORDER
from files_source.errors import ApiError, CursorError
from files_source.listing import GONE
from files_source.order import Seen, microseconds

List = Callable[[str | None], Generator[Page, None, None]]
"""Lists the files after one, oldest first; None for all."""

Exists = Callable[[str], bool]
"""Tells whether the server has a file."""


class Spans:
    """Walks from border to border.

    A span holds the files after its first border, up to and with its last one. Where a border has
    been deleted, the span after it starts at the one before that, and by their times the files are
    kept that lie behind it. Files of the same second as a border belong to the span that gives them
    first.

    Args:
        listing: lists the files after one.
        exists: tells whether the server has a file.
        borders: oldest first, no two of one time.
    """

    def __init__(self, listing: List, exists: Exists, borders: tuple[Rung, ...]) -> None:
        self._list = listing
        self._exists = exists
        self._borders = borders
        self._claims: Final = {border.created_at: set[str]() for border in borders}
        self._lock = Lock()

    def span(self, number: int, begun: Generator[Page, None, None] | None = None) -> Generator[Page, None, None]:
        """Yield the pages of a span: 0 lies before the first border, the last one behind the last.

        Args:
            number: which.
            begun: its pages, where the listing has been begun already.

        Raises:
            CursorError: files do not stand in the order of `created_at`; or the listing ends before
                a border that is there.
        """
        start = self._borders[number - 1] if number else None
        end = self._borders[number] if number < len(self._borders) else None
        order = Seen("asc")
        with closing(begun or self._begun(number)) as pages:
            for page in pages:
                order.add(page.files)
                if not order.ordered:
                    raise CursorError(OUT_OF_ORDER)
                files, is_over = _up_to(page.files, end)
                yield replace(page, files=self._unclaimed(_behind(files, start)))
                if is_over:
                    return
        if end is not None and self._exists(end.file_id):
            raise CursorError(f"the listing ends before {end.file_id!r}, which is there: try again")

    def _begun(self, number: int) -> Generator[Page, None, None]:
        """Return the listing from the nearest border before a span that is still there."""
        for border in reversed(self._borders[:number]):
            pages = self._list(border.file_id)
            try:
                first = next(pages)
            except ApiError as error:
                if error.status not in GONE:
                    raise
                continue
            return resumed(first, pages)
        return self._list(None)

    def _unclaimed(self, files: pa.Table) -> pa.Table:
        """Drop files of a border's second that another span has given."""
        times = microseconds(files)
        if not len(times):
            return files
        first, last = times[0].as_py(), times[-1].as_py()
        for time in {first, last} & self._claims.keys():
            at_border = pc.equal(times, time)
            ids = files.column("id").combine_chunks().filter(at_border).to_pylist()
            with self._lock:
                taken = self._claims[time].intersection(ids)
                self._claims[time].update(ids)
            if taken:
                given = pc.is_in(files.column("id"), pa.array(list(taken), pa.string()))
                files = files.filter(pc.invert(given)).combine_chunks()
                times = microseconds(files)
        return files


def resumed(first: Page, following: Generator[Page, None, None]) -> Generator[Page, None, None]:
    """Yield a listing of which the first page has been taken, from its beginning."""
    with closing(following):
        yield first
        yield from following


def _behind(files: pa.Table, start: Rung | None) -> pa.Table:
    """Drop what was created before a border."""
    if start is None or not files.num_rows:
        return files
    times = microseconds(files)
    if times[0].as_py() >= start.created_at:
        return files
    return files.filter(pc.greater_equal(times, start.created_at)).combine_chunks()


def _up_to(files: pa.Table, end: Rung | None) -> tuple[pa.Table, bool]:
    """Return the files up to a border and with it, and whether it, or what was created later, has come."""
    if end is None or not files.num_rows:
        return files, False
    here = pc.index(files.column("id"), end.file_id).as_py()
    if here >= 0:
        return files.slice(0, here + 1), True
    later = pc.greater(microseconds(files), end.created_at)
    count = pc.sum(later).as_py()
    return files.slice(0, files.num_rows - count), count > 0
