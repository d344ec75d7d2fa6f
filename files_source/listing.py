"""Walking a cursor: where one page ends, the next begins."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from files_source.asking import AFTER, MAX_LIMIT, UNKNOWN_WAY, Asker, Fetch, Refused, Terms
from files_source.decoding import Page
from files_source.errors import ApiError, ConfigError, CursorError
from files_source.onward import following, leads
from files_source.order import Order
from files_source.rows import are_in, fresh, known, may_share
from files_source.ways import Way, find_way
from files_source.windows import numbered, windows

__all__ = ["GONE", "MAX_LIMIT", "check_purpose", "walk"]

GONE: Final = (400, 404)
"""How servers answer that the file named by `after` does not exist."""

_USUAL_SIZES: Final = frozenset({20, 25, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000})
"""How large the pages of servers are that page, by default or at the most."""


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
    refused: Refused | None = None,
    home: str | None = None,
) -> Generator[Page, None, None]:
    """Yield the pages of a listing from *after* to its end, each file once.

    The next page starts after the last row, whatever the answer's `last_id` says, as the official
    clients do. A page shorter than *limit* is not the end; where the answers do not say whether
    there is more, a page without files is. A refusal, an end that comes unannounced, or the first
    files again may mean that the file to start after has been deleted: it is believed only once the
    server has shown that file again; if it does not, the walk goes on from a file before it.

    A server that refuses a parameter is asked without it, or for less; see `asking.Asker`. One that
    gives a token or an address for the next page is asked for that; one that ignores `after` is
    asked in each of the usual ways until its answers prove one; see `onward` and `ways`.

    The end is believed where the server says so and nothing else in its answers contradicts that,
    where it gives nothing after a file that it shows, or where its own count is reached. A count that
    was higher throughout is an error; one that changed meanwhile is not, once a request after the last
    file has shown none. A server that takes no parameter and says nothing is believed to give
    everything at once, unless its page is as large as was asked for, or as pages usually are.

    A file is dropped where it comes twice on a page or again on the next. Of the pages after the
    first, those without a new file are not yielded.

    Args:
        fetch: asks for a page.
        after, limit, order, purpose: as the API takes them.
        refused: what the server has refused before; what it refuses now is added.
        home: the address of the listing, to which one for the next page must belong.

    Raises:
        CursorError: the listing cannot be followed to its end: more is promised and does not come,
            the listing loops, or files vanish faster than they are listed.
        ConfigError: a purpose is asked for, and the server does not say what its files are for.
        ApiError, TransportError, DecodeError: as *fetch* raises them.
    """
    asker = Asker(fetch, Terms(limit, order, purpose), Refused() if refused is None else refused)
    read = 0
    with closing(_pages(_Chain(asker, is_whole=after is None, home=home), after)) as pages:
        for number, page in enumerate(pages):
            read += page.files.num_rows
            kept = asker.kept(page)
            if not number or kept.files.num_rows:
                yield kept
    if after is None:
        _check_count(asker, read)


def _check_count(asker: Asker, read: int) -> None:
    """Refuse an end before which the server has counted more files than it gave, in all of its answers."""
    least = asker.least or 0
    if read < least == asker.most and not asker.counts_all_purposes(least):
        raise CursorError(
            f"the server counts {least:,} files and gives {read:,}: it does not show the others, or pages in a way "
            "that is not known here"
        )


def _pages(chain: _Chain, after: str | None) -> Generator[Page, None, None]:
    """Yield the pages of a listing by `after`, or in the server's own way where it shows that it has one."""
    first = here = chain.ask(after)
    nothing = first.known().slice(0, 0)
    yield fresh(first.page, nothing)
    read = first.page.files.num_rows
    left_behind, asked, is_followed, early = nothing, set[str](), False, first.known()
    while True:
        if leads(here.page):
            yield from _owned(following(chain.asker, here.page, chain.home), nothing)
            return
        cursor = _next_cursor(here, more=chain.more(here, read))
        if cursor is None:
            return
        if cursor in asked:
            raise CursorError(
                f"the server promises more files after {cursor!r} for the second time: it ignores 'after', "
                "or its listing loops"
            )
        asked.add(cursor)
        before = here
        here, refusal = chain.next_or_again(here, cursor, first)
        given = pa.concat_tables([left_behind, before.known()])
        if here.after != cursor:
            left_behind = given
        new = fresh(here.page, pa.concat_tables([given, early]))
        early = early if is_followed else pa.concat_tables([early, known(new)])  # a listing may begin again with them
        if new.files.num_rows:
            read += new.files.num_rows
            yield new
        if not here.comes_again(cursor):
            is_followed = is_followed or 0 < here.page.files.num_rows == new.files.num_rows
            continue
        way = None if is_followed else chain.own_way(here)
        if way is None:
            chain.check_all(here, cursor, read, refusal=refusal, is_followed=is_followed)
            return
        if way.counts != "nothing":
            walked = numbered if way.counts == "fixed pages" else windows
            yield from _owned(walked(chain.asker, way, here.page), early)
            return
        asked.discard(cursor)
        first = here


def _owned(pages: Generator[Page, None, None], given: pa.Table) -> Generator[Page, None, None]:
    """Yield pages that are asked for in the server's own way, without files that were *given* before."""
    with closing(pages):
        for page in pages:
            new = fresh(page, given)
            if new.files.num_rows:
                yield replace(new, is_own=True)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A page, and the file after which it was asked for."""

    page: Page
    after: str | None

    def ids(self) -> pa.Array:
        return self.page.files.column("id").combine_chunks()

    def known(self) -> pa.Table:
        return known(self.page)

    def comes_again(self, cursor: str) -> bool:
        """Tell whether the page that ends with *cursor* has come again in place of the one after it."""
        if not self.page.files.num_rows or not self.shows(cursor):
            return False
        return self.page.files.num_rows == 1 or bool(self.page.files.column("id")[0].as_py() != cursor)

    def shows(self, file_id: str) -> bool:
        """Tell whether the file is in the listing: as a row, or as the end of a page that shows none."""
        if not self.page.files.num_rows:
            return self.page.has_more is True and self.page.last_id == file_id
        return bool(pc.any(pc.equal(self.ids(), file_id)).as_py())

    def goes_on(self, known: pa.Table) -> bool:
        """Tell whether the listing goes on here, with anything but the files *known* from its beginning."""
        if not self.page.files.num_rows:
            return self.page.has_more is True
        return not (may_share(self.page.files, known) and pc.any(are_in(self.page.files, known)).as_py())


@dataclass(slots=True)
class _Chain:
    """Requests for page after page.

    Args:
        asker: asks for them.
        is_whole: whether they begin with the first file.
        home: as `walk` takes it.
    """

    asker: Asker
    is_whole: bool
    home: str | None

    def ask(self, after: str | None) -> _Answer:
        return _Answer(self.asker.ask(after), after)

    def more(self, here: _Answer, read: int) -> bool | None:
        """Return what an answer says of more; None where it says nothing, or contradicts itself."""
        rest, has_more = here.page.rest, here.page.has_more
        if has_more or rest.onward is not None:
            return True
        if has_more is None and not rest.is_over:
            return None
        return None if self.is_whole and rest.at_least > read else False

    def next_or_again(self, here: _Answer, cursor: str, first: _Answer) -> tuple[_Answer, ApiError | None]:
        """Return the answer after *cursor*; the *first* one again, and why, where a server refuses to go on from it."""
        try:
            return self.follow(here, cursor, known=first.known().slice(0, 0) if here is first else first.known()), None
        except ApiError as error:
            if here is not first or error.status not in UNKNOWN_WAY:
                raise
            return first, error

    def own_way(self, here: _Answer) -> Way | None:
        """Return how a server pages that ignores `after`, and go on by its own cursor where that is how."""
        if self.asker.cursor != AFTER:
            return None
        way = find_way(self.asker, here.page)
        if way is not None and way.counts == "nothing":
            self.asker.cursor = way.name
        return way

    def check_all(self, here: _Answer, cursor: str, read: int, *, refusal: ApiError | None, is_followed: bool) -> None:
        """Refuse to believe that a page that comes again is the last one, where anything speaks against it.

        Args:
            here: that page.
            cursor: the file after which it came.
            read: how many files have been given.
            refusal: why there is no page after that file.
            is_followed: whether the server has been seen to heed `after`.

        Raises:
            CursorError, ApiError: there may be more files, which cannot be asked for.
        """
        rows, doubt = here.page.files.num_rows, ""
        if self.more(here, read):
            doubt = (
                f"the server promises more files after {cursor!r} for the second time: it ignores 'after', "
                "or its listing loops"
            )
        elif is_followed and rows > 1:
            doubt = (
                f"the server answers with the page that ends with {cursor!r} again: it ignores 'after', or files come "
                "faster than it lists them; try again"
            )
        elif not is_followed and here.page.rest.total == rows:
            return
        elif (not is_followed and rows in _USUAL_SIZES) or (rows == self.asker.terms.limit and self._is_cut(rows)):
            doubt = (
                f"the server answers with the same full page of {rows:,} files after {cursor!r}: it ignores 'after', "
                "and there may be more files; try another limit"
            )
        if doubt:
            raise refusal or CursorError(doubt)

    def _is_cut(self, rows: int) -> bool:
        """Tell whether a page is as large as was asked for because of that: another limit gives another page."""
        page = self.asker.attempt({}, limit=rows + 1)
        return page is None or page.files.num_rows != rows

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


def _next_cursor(here: _Answer, *, more: bool | None) -> str | None:
    """Return where the next page starts; None at the end."""
    page = here.page
    if more is False:
        return None
    if page.files.num_rows:
        return str(page.files.column("id")[-1].as_py())
    if more is None:
        return None
    if page.last_id is None or page.last_id == here.after:
        raise CursorError(f"the server promises more files after {here.after!r} but names none to go on from")
    return page.last_id
