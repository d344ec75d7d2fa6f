"""Finding out how a server pages that ignores `after`: another cursor, or the number of a file or page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from files_source.asking import Asker
from files_source.decoding import Page
from files_source.errors import CursorError
from files_source.rows import ids_of

_CURSORS: Final = ("after_id", "starting_after")
_OFFSETS: Final = ("offset", "skip")
_PAGE: Final = "page"
_SIZES: Final = ("page_size", "per_page", "size")
_SMALL: Final = 64
"""A page so small that every smaller size is tried for a better fit."""
_LEAST: Final = 8
"""The smallest page that is asked for: of sizes up to it, one nearly always holds two neighbours."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a server is told where a page begins.

    Attributes:
        name: the parameter that says so.
        counts: what it counts: files, pages of a size that can be chosen, or pages of a fixed size. Of
            a cursor there is nothing to count.
        base: the number of the first page.
        sizes: the parameters that say how large a page is, beside `limit`.
    """

    name: str
    counts: Literal["nothing", "files", "pages", "fixed pages"]
    base: int = 0
    sizes: tuple[str, ...] = ()

    def window(self, at: int, size: int) -> tuple[int, int]:
        """Return where to begin and how many files to ask for, so that the one at a position and ones after it come.

        Of page numbers, that is the page size of at most *size* whose page reaches furthest.
        """
        size = max(size, _LEAST)
        if self.counts == "files":
            return at, size
        least = 2 if size <= _SMALL else size // 2
        best = max(range(least, size + 1), key=lambda pages: (at // pages + 1) * pages)
        while at % best == best - 1:
            best += 1
        return at // best * best, best

    def query(self, start: int, size: int) -> dict[str, str | int]:
        """Return the parameters that ask for *size* files from *start* on."""
        if self.counts == "files":
            return {self.name: start, **dict.fromkeys(self.sizes, size)}
        return {self.name: start // size + self.base, **dict.fromkeys(self.sizes, size)}


def find_way(asker: Asker, first: Page) -> Way | None:
    """Return how the server pages, proven by its answers; None where it takes none of the usual ways.

    All of them are tried in one request, and one by one only if that changes something. A way is
    believed that gives, from the last file of the *first* page on, that file first; a single file
    is a way's proof only in that it does not come again.

    Raises:
        CursorError: the server heeds something, and how it pages is not proven all the same.
    """
    trial = _Trial(asker, ids_of(first))
    if not trial.ids or trial.ignores_all():
        return None
    way = _found(trial, first)
    if way is None and trial.is_in_doubt:
        raise CursorError(
            "the server ignores 'after', and how it pages instead cannot be told, as its files come and go or it has a "
            "way of its own: try again"
        )
    return way


def _found(trial: _Trial, first: Page) -> Way | None:
    """Return the first way that is proven."""
    ids = trial.ids
    offsets, pages = _names(first)
    last = max(1, len(ids) - 1)
    for cursor in _CURSORS:
        if trial.goes_on({cursor: ids[-2:][0]}):
            return Way(cursor, "nothing")
    for offset in offsets:
        if trial.goes_on({offset: last}, limit=len(ids)):
            return Way(offset, "files")
    for page in pages:
        way = _by_size(trial, page) or _by_number(trial, page)
        if way is not None:
            return way
    return None


def _names(first: Page) -> tuple[list[str], list[str]]:
    """Return the names that an offset and a page number may have, what the server itself calls them first."""
    onward = first.rest.onward
    position = None if onward is None else onward.position()
    if position is None:
        return list(_OFFSETS), [_PAGE]
    name, number = position
    if number >= max(first.files.num_rows, _LEAST):
        return list(dict.fromkeys([name, *_OFFSETS])), [_PAGE]
    return list(_OFFSETS), list(dict.fromkeys([name, _PAGE]))


def _by_size(trial: _Trial, name: str) -> Way | None:
    """Return the way by page numbers whose pages have the size that is asked for."""
    size = max(1, len(trial.ids) - 1)
    for sizes in (_SIZES, *((single,) for single in _SIZES), ()):
        is_taken = False
        for base in (0, 1):
            way = Way(name, "pages", base, sizes)
            if trial.goes_on(way.query(size, size), limit=size):
                return way
            is_taken = is_taken or trial.is_taken
        if is_taken:  # the server minds no further parameters: others do no more
            return None
    return None


def _by_number(trial: _Trial, name: str) -> Way | None:
    """Return the way by page numbers whose pages have a size of the server's own."""
    is_first = [trial.ask({name: number})[:1] == trial.ids[:1] and trial.is_taken for number in range(3)]
    if is_first[1] and not is_first[2] and trial.is_taken:
        return Way(name, "fixed pages", 1)
    return Way(name, "fixed pages", 0) if is_first == [True, False, False] and trial.is_taken else None


@dataclass(slots=True)
class _Trial:
    """What a server makes of parameters that it may not know.

    Attributes:
        ids: the first page's.
        is_taken: whether it has not refused the last ones.
        is_in_doubt: whether it has given anything but the first page for any.
    """

    asker: Asker
    ids: list[str]
    is_taken: bool = False
    is_in_doubt: bool = False

    def ask(self, query: dict[str, str | int], *, limit: int | None = None) -> list[str]:
        """Return the ids on the page that parameters give."""
        page = self.asker.attempt(query, limit=limit)
        self.is_taken = page is not None
        found = [] if page is None else ids_of(page)
        is_again = bool(found) and (found == self.ids[: len(found)] or set(self.ids) <= set(found))
        is_again = is_again or (not found and len(self.ids) == 1)  # after a single file there is none in whichever way
        self.is_in_doubt = self.is_in_doubt or (self.is_taken and not is_again)
        return found

    def goes_on(self, query: dict[str, str | int], *, limit: int | None = None) -> bool:
        """Tell whether a page begins with the last of the first page's files, or goes on after the only one."""
        found = self.ask(query, limit=limit)
        return found[:1] == self.ids[-1:] if len(self.ids) > 1 else bool(found) and self.ids[0] not in found

    def ignores_all(self) -> bool:
        """Tell whether the first page comes again whatever it is asked by."""
        size = len(self.ids)
        onward: dict[str, str | int] = dict.fromkeys(_CURSORS, self.ids[-1])
        self.ask(onward | dict.fromkeys(_OFFSETS, size) | {_PAGE: 2} | dict.fromkeys(_SIZES, size))
        return self.is_taken and not self.is_in_doubt
