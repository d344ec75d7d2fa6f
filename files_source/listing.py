"""Walking a cursor: where one page ends, the next begins."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from files_source.decoding import Page
from files_source.errors import ApiError, ConfigError, CursorError
from files_source.order import Order

MAX_LIMIT: Final = 10_000
"""The most files that the API puts on a page, and its default."""
GONE: Final = (400, 404)
"""How servers answer that the file named by `after` does not exist."""


class Fetch(Protocol):
    """One request for one page."""

    def __call__(self, *, after: str | None, limit: int, order: Order, purpose: str | None) -> Page: ...


def check_purpose(purpose: str | None) -> None:
    """Refuse a purpose that says nothing.

    Raises:
        ConfigError: it is empty.
    """
    if purpose == "":
        raise ConfigError("the purpose is empty: name one, or leave it out for all")


def walk(
    fetch: Fetch,
    *,
    after: str | None = None,
    limit: int = MAX_LIMIT,
    order: Order = "desc",
    purpose: str | None = None,
) -> Generator[Page, None, None]:
    """Yield the pages of a listing from *after* to its end, each file once.

    The next page starts after the last row, whatever the answer's `last_id` says, as the official
    clients do. A page shorter than *limit* is not the end; where the answers do not say whether
    there is more, a page without files is. A refusal, an end that comes unannounced, or the first
    files again may mean that the file to start after has been deleted: it is believed only once the
    server has shown that file again; if it does not, the walk goes on from a file before it. A
    server that refuses *limit* is asked for half of it, and so on.

    A file is dropped where it comes twice on a page or again on the next. Of the pages after the
    first, those without a new file are not yielded.

    Raises:
        CursorError: the listing cannot be followed to its end: more is promised and does not come,
            the listing loops, or files vanish faster than they are listed.
        ApiError, TransportError, DecodeError: as *fetch* raises them.
    """
    chain = _Chain(fetch, limit, order, purpose)
    first = here = chain.ask(after)
    nothing = first.known().slice(0, 0)
    yield _fresh(first.page, nothing)
    left_behind, asked = nothing, set[str]()
    while (cursor := _next_cursor(here)) is not None:
        if cursor in asked:
            raise CursorError(
                f"the server promises more files after {cursor!r} for the second time: it ignores 'after', "
                "or its listing loops"
            )
        asked.add(cursor)
        before, here = here, chain.follow(here, cursor, known=nothing if here is first else first.known())
        given = pa.concat_tables([left_behind, before.known()])
        if here.after != cursor:
            left_behind = given
        fresh = _fresh(here.page, given)
        if fresh.files.num_rows:
            yield fresh
        elif here.page.has_more is None and here.shows(cursor):
            if here.page.files.num_rows == chain.limit:
                raise CursorError(
                    f"the server answers with the same full page after {cursor!r}: it ignores 'after', and there may "
                    "be more files; try another limit"
                )
            return


@dataclass(frozen=True, slots=True)
class _Answer:
    """A page, and the file after which it was asked for."""

    page: Page
    after: str | None

    def ids(self) -> pa.Array:
        return self.page.files.column("id").combine_chunks()

    def known(self) -> pa.Table:
        return self.page.files.select(["id", "created_at"])

    def shows(self, file_id: str) -> bool:
        """Tell whether the file is in the listing: as a row, or as the end of a page that shows none."""
        if not self.page.files.num_rows:
            return self.page.has_more is True and self.page.last_id == file_id
        return bool(pc.any(pc.equal(self.ids(), file_id)).as_py())

    def goes_on(self, known: pa.Table) -> bool:
        """Tell whether the listing goes on here, with anything but the files *known* from its beginning."""
        if not self.page.files.num_rows:
            return self.page.has_more is True
        return not (_may_share(self.page.files, known) and pc.any(_are_in(self.page.files, known)).as_py())


@dataclass(slots=True)
class _Chain:
    """Requests for page after page, with a limit that the server takes."""

    fetch: Fetch
    limit: int
    order: Order
    purpose: str | None

    def ask(self, after: str | None) -> _Answer:
        limit = self.limit
        while True:
            try:
                page = self.fetch(after=after, limit=limit, order=self.order, purpose=self.purpose)
            except ApiError as error:
                if not _is_about_limit(error) or limit == 1:
                    raise
                limit //= 2
            else:
                self.limit = limit
                return _Answer(page, after)

    def follow(self, here: _Answer, cursor: str, *, known: pa.Table) -> _Answer:
        """Return the answer after *cursor*, where *here* ends, or after the nearest file before it that is left."""
        following = self._ask_if_there(cursor)
        if isinstance(following, _Answer) and following.goes_on(known):
            return following
        for place in _places_before(here):
            earlier = self._ask_if_there(place)
            if isinstance(earlier, ApiError):
                continue
            if earlier.shows(cursor):
                if isinstance(following, ApiError):
                    raise following
                return following
            if earlier.goes_on(known):
                return earlier
        raise CursorError(
            f"the listing breaks off after {cursor!r} although more was promised, and the files before it are gone "
            "too: files are being deleted faster than they are listed; try again"
        )

    def _ask_if_there(self, after: str | None) -> _Answer | ApiError:
        """Return the answer, or the error that says that *after* is gone."""
        try:
            return self.ask(after)
        except ApiError as error:
            if error.status not in GONE:
                raise
            return error


def _places_before(here: _Answer) -> Iterator[str | None]:
    """Yield where to go on from instead of the last file of a page: ever further up, at last where it began."""
    ids = here.ids()
    step = 2
    while step <= len(ids):
        yield ids[-step].as_py()
        step *= 2
    yield here.after


def _next_cursor(here: _Answer) -> str | None:
    """Return where the next page starts; None at the end."""
    page = here.page
    if page.has_more is False:
        return None
    if page.files.num_rows:
        return str(page.files.column("id")[-1].as_py())
    if page.has_more is None:
        return None
    if page.last_id is None or page.last_id == here.after:
        raise CursorError(f"the server promises more files after {here.after!r} but names none to go on from")
    return page.last_id


def _fresh(page: Page, given: pa.Table) -> Page:
    """Drop the rows that were *given* before, and all but the first of each id."""
    ids = page.files.column("id")
    keep = None
    if _may_share(page.files, given):
        keep = pc.invert(_are_in(page.files, given))
    if len(pc.unique(ids)) < len(ids):
        keep = _is_first(ids) if keep is None else pc.and_(keep, _is_first(ids))
    if keep is None or pc.all(keep, min_count=0).as_py():
        return page
    return replace(page, files=page.files.filter(keep).combine_chunks())


def _may_share(files: pa.Table, others: pa.Table) -> bool:
    """Tell whether a file may stand in both: there are some that were created in the same span of time."""
    if not files.num_rows or not others.num_rows:
        return False
    (first, last), (others_first, others_last) = (
        pc.min_max(rows.column("created_at")).values() for rows in (files, others)
    )
    return bool(pc.less_equal(first, others_last).as_py() and pc.less_equal(others_first, last).as_py())


def _are_in(files: pa.Table, others: pa.Table) -> pa.ChunkedArray:
    """Return for each of *files* whether it is one of the *others*, too."""
    return pc.is_in(files.column("id"), others.column("id").combine_chunks())


def _is_first(ids: pa.ChunkedArray) -> pa.Array:
    """Return for each id whether it stands here for the first time."""
    positions = pa.array(range(len(ids)), pa.int64())
    firsts = pa.table({"id": ids, "position": positions}).group_by("id").aggregate([("position", "min")])
    return pc.is_in(positions, firsts.column("position_min").combine_chunks())


def _is_about_limit(error: ApiError) -> bool:
    named = error.param == "limit" if error.param else "limit" in error.reason.lower()
    return error.status in (400, 422) and named
