"""Following what a server says leads to the next page: a token, or the address of that page."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from files_source.asking import Asker
from files_source.decoding import Page
from files_source.envelope import Onward
from files_source.errors import CursorError, excerpt
from files_source.rows import fresh, ids_of, known

_USUAL: Final = ("cursor", "page_token", "pageToken", "pagination_token", "continuation_token", "token", "page", "next")
"""What servers call the parameter that takes a token."""


def leads(page: Page) -> bool:
    """Tell whether a page says how the next one is asked for in a way of the server's own.

    A number is no such way: it is the place of a page, which is another one once files are deleted.
    """
    onward = page.rest.onward
    return onward is not None and onward.position() is None and "after" not in onward.parameters()


def following(asker: Asker, page: Page, home: str | None) -> Generator[Page, None, None]:
    """Yield the pages after *page*, each by what the one before it gave, until one gives nothing.

    Args:
        asker: asks for them.
        page: the first page.
        home: the address of the listing. One elsewhere is not followed: a key must not travel there.

    Raises:
        CursorError: the server promises more, and its token or address does not lead there.
        ApiError: it refuses its own token.
    """
    seen, name = set[str](), None
    while (onward := page.rest.onward) is not None:
        if onward.value in seen:
            raise CursorError(f"the server gives the same {onward.name!r} for the second time: its listing loops")
        seen.add(onward.value)
        before = page
        if onward.is_address:
            page = asker.own(_parameters(onward, home))
        elif name is None:
            name, page = _first_by_token(asker, onward, before)
        else:
            page = asker.own({name: onward.value})
        new = fresh(page, known(before))
        if not new.files.num_rows and page.files.num_rows and page.rest.onward is not None:
            raise CursorError(
                f"the server gives the same page again for its {onward.name!r}: the files after it cannot be listed"
            )
        yield new
    if page.has_more:
        raise CursorError("the server promises more files and does not say how to go on: try again")


def _first_by_token(asker: Asker, onward: Onward, before: Page) -> tuple[str, Page]:
    """Return the parameter that takes the server's token, and the page that it leads to."""
    empty: tuple[str, Page] | None = None
    for name in _names(onward):
        page = asker.attempt({name: onward.value})
        if page is None or (page.files.num_rows and ids_of(page)[0] in ids_of(before)):
            continue
        if page.files.num_rows or page.rest.onward is not None:
            return name, page
        empty = empty or (name, page)
    if empty is None:
        raise CursorError(
            f"the server promises more files by {onward.name!r}, but gives the first page again or refuses it, "
            f"whatever the parameter is called ({', '.join(_names(onward))})"
        )
    return empty


def _names(onward: Onward) -> list[str]:
    return list(dict.fromkeys([onward.takes(), onward.name.rpartition(".")[2], *_USUAL]))


def _parameters(onward: Onward, home: str | None) -> dict[str, str]:
    """Return the parameters of an address that belongs to the listing.

    Raises:
        CursorError: it belongs to something else, or has none.
    """
    if not _is_home(onward.value, home) or not onward.parameters():
        raise CursorError(
            f"the server names {excerpt(onward.value.partition('?')[0])!r} as the next page: only pages of "
            "the same listing on the same server are followed, as the key must not travel elsewhere"
        )
    return onward.parameters()


def _is_home(address: str, home: str | None) -> bool:
    """Tell whether an address is that of the listing; a gateway may leave out the beginning of the path, or https."""
    try:
        here, there = urlsplit(home or ""), urlsplit(urljoin(home or "", address))
        is_same = (here.hostname, _port(here)) == (there.hostname, _port(there))
    except ValueError:
        return False
    paths = sorted((here.path.rstrip("/"), there.path.rstrip("/")), key=len)
    return is_same and "@" not in there.netloc and (paths[1].endswith(paths[0]) or not there.path)


def _port(address: SplitResult) -> int | None:
    return None if address.port in (80, 443) else address.port
