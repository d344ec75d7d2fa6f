"""What an answer says of the rest of a listing: more, how many files, and how to go on, in any vendor's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

import msgspec

Raw = Mapping[str, msgspec.Raw]

_NESTED: Final = frozenset(
    {"cursor", "cursors", "links", "meta", "metadata", "page", "pageinfo", "pagination", "paging", "responsemetadata"}
)
"""Objects within an envelope that speak of paging."""
_PROMISES: Final = frozenset(
    {"hasmore", "hasmorepages", "hasmoreitems", "hasnext", "hasnextpage", "istruncated", "more"}
)
_ENDS: Final = frozenset({"end", "isend", "islast", "islastpage", "last", "lastpage", "isdone", "done"})
"""Flags that are true on the last page."""
_TOTALS: Final = frozenset({"total", "totalcount", "totalfiles", "totalitems", "totalresults", "totalelements"})
_PAGES: Final = frozenset({"pages", "pagecount", "totalpages", "numpages"})
_LEFT: Final = frozenset({"remaining", "remainingcount", "left"})
_TOKENS: Final = frozenset({"continuation", "continuationtoken", "paginationtoken"})
"""Names of a token that do not begin with `next`."""
_LAST: Final = "endcursor"
"""The name of a token that stands on the last page, too."""
_NEXT: Final = re.compile(r"(?:@\w+\.)?next_?-?")
_ADDRESS: Final = re.compile(r"https?://|[/?]", re.IGNORECASE)
_POSITIONS: Final = re.compile(
    r"page|page_?(?:no|num|number|index)|p|offset|skip|start|from|start_?index", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Onward:
    """What leads to the next page.

    Attributes:
        name: what the answer calls it.
        value: a token, or the address of the next page.
        is_address: whether it is that.
    """

    name: str
    value: str
    is_address: bool = False

    def parameters(self) -> dict[str, str]:
        """Return the parameters in the address of the next page."""
        if not self.is_address:
            return {}
        return dict(parse_qsl(self.value.partition("#")[0].partition("?")[2], keep_blank_values=True))

    def position(self) -> tuple[str, int] | None:
        """Return the name and number of a position, where this is no more than that: it goes stale as files go."""
        named = self.parameters() if self.is_address else {self.takes(): self.value}
        for name, value in named.items():
            if _NUMBER.fullmatch(value) and _POSITIONS.fullmatch(name):
                return name, int(value)
        return None

    def takes(self) -> str:
        """Return the parameter that most likely takes the token: `page_token` of `next_page_token`."""
        name = _NEXT.sub("", self.name)
        return f"{name[:1].lower()}{name[1:]}" or "page"


@dataclass(frozen=True, slots=True)
class Rest:
    """What an answer says of the files that are not on its page, beside `has_more`.

    Attributes:
        total: how many files the listing has, by the server's count; None where it does not count.
        at_least: no fewer than so many, by anything that the answer says.
        onward: what leads to the next page.
        is_over: whether the answer has a place for that, and nothing stands there.
    """

    total: int | None = None
    at_least: int = 0
    onward: Onward | None = None
    is_over: bool = False


NOTHING: Final = Rest()


def promise(envelope: Raw) -> bool | None:
    """Return what the answer says of more in other words than `has_more`; None where it says nothing.

    Of two that contradict each other the one that promises more counts.
    """
    said: list[bool] = []
    for name, json in _fields(envelope):
        flag = _FLAGS.get(json.lower())
        if flag is not None and (name in _PROMISES or name == "next"):
            said.append(flag)
        elif flag is not None and name in _ENDS:
            said.append(not flag)
        elif name in _LEFT and (left := _count(json)) is not None:
            said.append(left > 0)
    return any(said) if said else None


def rest(envelope: Raw, rows: int, *, has_more: bool | None) -> Rest:
    """Return what the answer says of the rest, beside a page of so many *rows*."""
    total, at_least, onward, is_over = None, 0, None, False
    for name, json in _fields(envelope):
        count = _count(json)
        if count is not None and name in _TOTALS:
            total = count
        if count is not None and name in (*_TOTALS, "count"):
            at_least = max(at_least, count)
        elif count is not None and name in _PAGES:
            at_least = max(at_least, (count - 1) * rows + 1 if count > 1 else 0)
    for spelled, json in _spelled(envelope):
        name = _plain(spelled)
        is_place = name.startswith("next") or name in _TOKENS or (name == _LAST and has_more is not False)
        if not is_place or json.lower() in _FLAGS:
            continue
        found = _onward(spelled, json)
        is_over = is_over or found is None
        onward = onward or found
    return Rest(total, at_least, onward, is_over and onward is None)


def _fields(envelope: Raw) -> Iterator[tuple[str, bytes]]:
    return ((_plain(name), json) for name, json in _spelled(envelope))


def _spelled(envelope: Raw) -> Iterator[tuple[str, bytes]]:
    """Yield the fields of an envelope, and of the objects in it that speak of paging; not the files."""
    for name, raw in envelope.items():
        if name in ("data", "object", "first_id", "last_id", "has_more"):
            continue
        json = bytes(raw)
        if json.startswith(b"{"):
            if _plain(name).lstrip("_") in _NESTED:
                for within, value in _object(json).items():
                    yield within, bytes(value)
            elif _plain(name).startswith("next"):
                yield name, json
        else:
            yield name, json


def _plain(name: str) -> str:
    """Return a name without what only spells it: `nextPageToken`, `next_page_token` and `@odata.nextPageToken`."""
    return name.rpartition(".")[2].replace("_", "").replace("-", "").lower()


def _count(json: bytes) -> int | None:
    text = json.strip(b'"').decode(errors="replace")
    return int(text) if _NUMBER.fullmatch(text) else None


def _onward(name: str, json: bytes) -> Onward | None:
    """Return what stands in a place for the next page; None where that is nothing."""
    if json.startswith(b"{"):
        inner = _object(json)
        places = [bytes(inner[place]) for place in ("href", "url", "uri", "token", "cursor") if place in inner]
        return _onward(name, places[0]) if places else None
    value = _text(json).strip()
    if value in ("", "null", "[]", "0") or value.startswith(("-", "[")):
        return None
    return Onward(name, value, is_address=_ADDRESS.match(value) is not None)


def _object(json: bytes) -> Raw:
    try:
        return msgspec.json.decode(json, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _text(json: bytes) -> str:
    try:
        return msgspec.json.decode(json, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.decode(errors="replace")


_FLAGS: Final = {b"true": True, b"false": False, b'"true"': True, b'"false"': False}
