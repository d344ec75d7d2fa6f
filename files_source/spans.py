"""A listing walked in spans, from border to border, all at once: each file is given by one of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from enum import Enum, auto
from threading import Lock
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from files_source.coverage import Rung
from files_source.decoding import Page
from files_source.errors import ApiError, CursorError
from files_source.listing import GONE
from files_source.order import OutOfOrder, Seen, microseconds

List = Callable[[str | None], Generator[Page, None, None]]
"""Lists the files after one, oldest first; None for all."""

Exists = Callable[[str], bool]
"""Tells whether the server has a file."""


class _Border(Enum):
    """What has become of a border: of the two spans that it divides, who gives what is behind it."""

    UNTRIED = auto()
    STARTED = auto()
    GONE = auto()
    TAKEN_OVER = auto()
    """By the span before it."""
    PASSED = auto()
    """The span before it has ended there."""


class Spans:
    """Walks from border to border.

    A span holds the files after its first border, up to and with its last one. A border that has
    been deleted divides nothing any more: the span before it goes on to the next one. Files of the
    same second as a border belong to the span that gives them first.

    Args:
        listing: lists the files after one.
        exists: tells whether the server has a file.
        borders: oldest first, no two of one time.

    Attributes:
        tied: as `order.Seen` says it.
    """

    def __init__(self, listing: List, exists: Exists, borders: tuple[Rung, ...]) -> None:
        self.tied = False
        self._list = listing
        self._exists = exists
        self._borders = borders
        self._states = [_Border.UNTRIED] * len(borders)
        self._claims: Final = {border.created_at: set[str]() for border in borders}
        self._lock = Lock()

    def span(self, number: int, begun: Generator[Page, None, None] | None = None) -> Generator[Page, None, None]:
        """Yield the pages of a span: 0 lies before the first border, the last one behind the last.

        Args:
            number: which.
            begun: its pages, where the listing has been begun already.

        Raises:
            OutOfOrder: files do not stand in the order of `created_at`.
            CursorError: the listing ends before a border that is there.
        """
        pages = begun or self._begun(number)
        if pages is None:
            return
        start = self._borders[number - 1] if number else None
        order = Seen("asc")
        with closing(pages):
            for page in pages:
                order.add(page.files)
                self.tied = self.tied or order.tied
                if not order.ordered:
                    raise OutOfOrder
                files, number, is_over = self._to_border(_behind(page.files, start), number)
                yield replace(page, files=self._unclaimed(files))
                if is_over:
                    return
        if number < len(self._borders) and self._exists(self._borders[number].file_id):
            raise CursorError(
                f"the listing ends before {self._borders[number].file_id!r}, which is there: try again, one page after "
                "the other (workers=1)"
            )

    def _begun(self, number: int) -> Generator[Page, None, None] | None:
        """Return the listing after the border before a span; None where the span before goes on with it."""
        position = number - 1
        pages = self._list_if_there(self._borders[position].file_id)
        with self._lock:
            state = self._states[position]
            if state is not _Border.TAKEN_OVER:
                self._states[position] = _Border.STARTED if pages else _Border.GONE
        if state is _Border.TAKEN_OVER:
            return None
        if pages is None and state is _Border.PASSED:  # it has just been deleted: its files are found from further up
            earlier = (self._list_if_there(border.file_id) for border in reversed(self._borders[:position]))
            return next(filter(None, earlier), None) or self._list(None)
        return pages

    def _list_if_there(self, file_id: str) -> Generator[Page, None, None] | None:
        pages = self._list(file_id)
        try:
            first = next(pages)
        except ApiError as error:
            if error.status not in GONE:
                raise
            return None
        return resumed(first, pages)

    def _to_border(self, files: pa.Table, number: int) -> tuple[pa.Table, int, bool]:
        """Return the files up to the border at which a span ends, that border, and whether it has been reached."""
        while number < len(self._borders):
            kept, is_seen, is_reached = _up_to(files, self._borders[number])
            if not is_reached:
                break
            with self._lock:
                state = self._states[number]
                stops = state is _Border.STARTED or (is_seen and state is _Border.UNTRIED)
                if state is not _Border.STARTED:
                    self._states[number] = _Border.PASSED if stops else _Border.TAKEN_OVER
            if stops:
                return kept, number, True
            number += 1
        return files, number, False

    def _unclaimed(self, files: pa.Table) -> pa.Table:
        """Drop files of a border's second that another span has given."""
        times = microseconds(files)
        if not len(times):
            return files
        first, last = times[0].as_py(), times[-1].as_py()
        for time in {first, last} & self._claims.keys():
            ids = files.column("id").filter(pc.equal(microseconds(files), time)).to_pylist()
            with self._lock:
                taken = self._claims[time].intersection(ids)
                self._claims[time].update(ids)
            if taken:
                given = pc.is_in(files.column("id"), pa.array(list(taken), pa.string()))
                files = files.filter(pc.invert(given)).combine_chunks()
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


def _up_to(files: pa.Table, end: Rung) -> tuple[pa.Table, bool, bool]:
    """Return the files up to a border and with it, whether it is one of them, and whether it or a later file is."""
    here = pc.index(files.column("id"), end.file_id).as_py()
    if here >= 0:
        return files.slice(0, here + 1), True, True
    later = pc.sum(pc.greater(microseconds(files), end.created_at)).as_py() or 0
    return files.slice(0, files.num_rows - later), False, later > 0
