"""Walking a listing by numbers, which files that come and go make stale: each page must share a file with the last."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Final

import pyarrow as pa

from files_source.asking import Asker
from files_source.decoding import Page
from files_source.errors import CursorError
from files_source.rows import fresh, ids_of, known
from files_source.ways import Way

_STALE: Final = (
    "files come and go faster than this server's pages can be listed one after the other, and some may have been "
    "passed over: try again"
)


def windows(asker: Asker, way: Way, first: Page) -> Generator[Page, None, None]:
    """Yield the pages after the *first*; each begins at a file of the page before, and so misses none.

    Files keep their order, so whatever stands after a file that two pages share, and lived all the
    while, is on one of them or still to come. Where no file is shared, as some have been deleted,
    the page is asked for from further up. The end is a page with room left and nothing new on it,
    or one at which the server's `total` is reached.

    Raises:
        CursorError: too many files were deleted between two requests, or the server promises more
            than it gives.
    """
    size, end, before = first.files.num_rows, first.files.num_rows, known(first)
    while True:
        page, start, asked = _overlapping(asker, way, size, end, before)
        ids = ids_of(page)
        given = set(before["id"].to_pylist())
        new = fresh(_from(page, next(place for place, file_id in enumerate(ids) if file_id in given)), before)
        if new.files.num_rows:
            yield new
        reached = start + len(ids)
        if _ends(page, reached, has_room=not new.files.num_rows and len(ids) < asked):
            return
        if not new.files.num_rows and reached <= end:
            if asker.counts_all_purposes(page.rest.at_least):
                return
            raise CursorError(f"the server promises more files, but {way.name!r} leads to none: try again")
        end = reached
        before = pa.concat_tables([before, known(new)])[-2 * max(size, len(ids)) :]


def numbered(asker: Asker, way: Way, first: Page) -> Generator[Page, None, None]:
    """Yield the pages after the *first*, of a size of the server's own.

    No two of them share a file, so after each one the page before is asked for again: as long as that
    is what it was, nothing was passed over.

    Raises:
        CursorError: it has changed.
    """
    seen, before, number = {tuple(ids_of(first))}, first, way.base + 1
    while True:
        page = asker.own({way.name: number})
        if ids_of(asker.own({way.name: number - 1})) != ids_of(before):
            raise CursorError(_STALE)
        new = fresh(page, known(before))
        if not new.files.num_rows or tuple(ids_of(page)) in seen:
            return
        yield new
        seen.add(tuple(ids_of(page)))
        before, number = page, number + 1


def _overlapping(asker: Asker, way: Way, size: int, end: int, before: pa.Table) -> tuple[Page, int, int]:
    """Return a page with a file of those *before*, where it begins, and how many files were asked for."""
    given = set(before["id"].to_pylist())
    back = 1
    while True:
        start, asked = way.window(max(0, end - back), size)
        page = asker.own(way.query(start, asked), limit=asked)
        if not given.isdisjoint(ids_of(page)):
            return page, start, asked
        if start == 0 or back >= before.num_rows:
            raise CursorError(_STALE)
        back = min(2 * back, before.num_rows)


def _from(page: Page, place: int) -> Page:
    """Return a page from a row on: what stands before a shared file was given, or came later than that."""
    return page if not place else replace(page, files=page.files.slice(place).combine_chunks())


def _ends(page: Page, reached: int, *, has_room: bool) -> bool:
    """Tell whether nothing comes after a page that reaches to a place in the listing.

    A `total` counts only where it is not just the number of files on this page.
    """
    total = page.rest.total
    if total is not None and total != page.files.num_rows:
        return total <= reached
    return has_room or (page.has_more is False and page.rest.at_least <= reached)
