"""Walking a cursor: where one page ends, the next begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from files_source.decoding import Page
from files_source.errors import ApiError, CursorError

Order = Literal["asc", "desc"]
MAX_LIMIT: Final = 10_000
"""The most files that the API puts on a page, and its default."""
GONE: Final = (400, 404)
"""How servers answer that the file named by `after` does not exist."""


class Fetch(Protocol):
    """One request for one page."""

    def __call__(self, *, after: str | None, limit: int, order: Order, purpose: str | None) -> Page: ...


def walk(
    fetch: Fetch,
    *,
    after: str | None = None,
    limit: int = MAX_LIMIT,
    order: Order = "desc",
    purpose: str | None = None,
) -> Iterator[Page]:
    """Yield the pages of a listing from *after* to its end, each file once.

    The next page starts after the last row, whatever the answer's `last_id` says, as the official
    clients do. A page shorter than *limit* is not the end, and a page that ends a listing which
    promised more is not believed before the cursor is proven to exist still: the walk steps back
    within the page before, until the server shows a file of it again. Where the answers do not say
    whether there is more, the end is a page without new files. A server that refuses *limit* is
    asked for half of it, and so on.

    Raises:
        CursorError: the listing cannot be followed to its end: a page promises more and none
            comes, the same page or cursor comes again, or all of a page's files are gone.
        ApiError, TransportError, DecodeError: as *fetch* raises them.
    """
    chain = _Chain(fetch, limit, order, purpose)
    page = chain.ask(after)
    yield _without_repeats(page, None)
    asked: set[str] = set()
    while (cursor := _next_cursor(page, after)) is not None:
        if cursor in asked:
            raise CursorError(f"the server promises more files after {cursor!r} for the second time: its listing loops")
        asked.add(cursor)
        following = chain.follow(page, cursor, start=after)
        fresh = _without_repeats(following, page)
        if following.files.num_rows and not fresh.files.num_rows:
            if following.has_more is True and not chain.stepped_back:
                raise CursorError(f"the server repeats the page after {cursor!r}: it ignores 'after', or loops")
            if following.has_more is None and following.files.num_rows >= chain.limit:
                raise CursorError(f"the server repeats the full page after {cursor!r}: it ignores 'after'")
            if following.has_more is not True:
                return
        yield fresh
        page, after = following, cursor


def is_ordered(files: pa.Table, order: Order) -> bool:
    """Tell whether *files* stand in *order* of `created_at`, ties in any order."""
    times = files.column("created_at").combine_chunks()
    earlier, later = times[:-1], times[1:]
    in_order = pc.less_equal(earlier, later) if order == "asc" else pc.greater_equal(earlier, later)
    return bool(pc.all(in_order, min_count=0).as_py())


@dataclass(slots=True)
class _Chain:
    """Requests for page after page, with a limit that the server takes."""

    fetch: Fetch
    limit: int
    order: Order
    purpose: str | None
    stepped_back: bool = field(default=False, init=False)

    def ask(self, after: str | None) -> Page:
        while True:
            try:
                return self.fetch(after=after, limit=self.limit, order=self.order, purpose=self.purpose)
            except ApiError as error:
                if not _is_about_limit(error) or self.limit == 1:
                    raise
                self.limit //= 2

    def follow(self, page: Page, cursor: str, *, start: str | None) -> Page:
        """Return the page after *cursor*, the last file of *page*, which itself was asked for after *start*."""
        self.stepped_back = False
        try:
            following = self.ask(cursor)
        except ApiError as error:
            if error.status not in GONE:
                raise
        else:
            if following.files.num_rows or following.has_more is True or not page.files.num_rows:
                return following
        return self._step_back(page, cursor, start)

    def _step_back(self, page: Page, cursor: str, start: str | None) -> Page:
        """Return a page that starts within *page*, or with it, and shows that by one of its files."""
        self.stepped_back = True
        ids = page.files.column("id").combine_chunks()
        steps = 1
        while True:
            try:
                following = self.ask(ids[-1 - steps].as_py() if steps < len(ids) else start)
            except ApiError as error:
                if error.status not in GONE:
                    raise
            else:
                if pc.any(pc.is_in(following.files.column("id"), ids[-steps:])).as_py():
                    return following
            if steps >= len(ids):
                break
            steps = 2 * steps + 1
        raise CursorError(
            f"the listing ends at {cursor!r} although more was promised, and the files before it are gone too: "
            "files are being deleted faster than they are listed; try again"
        )


def _is_about_limit(error: ApiError) -> bool:
    return error.status in (400, 422) and (error.param == "limit" or "limit" in error.reason.lower())


def _without_repeats(page: Page, previous: Page | None) -> Page:
    """Drop the rows that stood on the page before, and all but the first of each id."""
    files, ids = page.files, page.files.column("id")
    keep = None
    if pc.count_distinct(ids).as_py() < files.num_rows:
        keep = _is_first(ids)
    if previous is not None and previous.files.num_rows:
        unseen = pc.invert(pc.is_in(ids, previous.files.column("id").combine_chunks()))
        keep = unseen if keep is None else pc.and_(keep, unseen)
    return page if keep is None else replace(page, files=files.filter(keep).combine_chunks())


def _is_first(ids: pa.ChunkedArray) -> pa.Array:
    """Return for each id whether it stands here for the first time."""
    positions = pa.array(range(len(ids)), pa.int64())
    firsts = pa.table({"id": ids, "position": positions}).group_by("id").aggregate([("position", "min")])
    return pc.is_in(positions, firsts.column("position_min").combine_chunks())


def _next_cursor(page: Page, after: str | None) -> str | None:
    """Return where the next page starts; None at the end."""
    if page.has_more is False:
        return None
    if page.files.num_rows:
        return str(page.files.column("id")[-1].as_py())
    if page.has_more is None:
        return None
    if page.last_id is None or page.last_id == after:
        raise CursorError(f"the server promises more files after {after!r} but names none to go on from")
    return page.last_id
