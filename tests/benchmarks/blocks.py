"""One block of made-up files, which comes again and again: each time later, and under other ids."""

from __future__ import annotations

import json
import random
import string
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from files_source.emulator import Order
from files_source.emulator.population import population

SPAN: Final = 100_000
"""Seconds that a block takes. So all its files share the first digits of their times, with which their ids end, too."""

DIGITS: Final = 5
"""How many those are."""

HOLE: Final = b"?????"
"""What stands for them in a row."""

_YEARS: Final = 3 * 365 * 86_400
_ALPHANUMERICS: Final = string.ascii_letters + string.digits
_CUTS_KEPT: Final = 32


class Listing:
    """The files of one purpose, or of any: every block has the same ones."""

    def __init__(self, rows: list[bytes], places: list[int]) -> None:
        self._rows, self._places = rows, places
        self.pieces: Callable[[int, int, Order], list[bytes]] = lru_cache(_CUTS_KEPT)(self._pieces)

    def rank(self, block: int, row: int) -> int:
        """Return how many of the files stand before a row of a block."""
        return block * len(self._places) + bisect_left(self._places, row)

    def runs(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield the files from one rank to another, block by block: its number, and from where to where in it."""
        while start < end:
            block, low = divmod(start, len(self._places))
            high = min(len(self._places), low + end - start)
            yield block, low, high
            start += high - low

    def _pieces(self, low: int, high: int, order: Order) -> list[bytes]:
        """Return some of a block's files, cut wherever the block's own digits go."""
        rows = [self._rows[place] for place in self._places[low:high]]
        return b",".join(rows if order == "asc" else rows[::-1]).split(HOLE)


NONE: Final = Listing([], [])
"""What there is of a purpose that no file has."""


def made_up(count: int, *, expiry: int) -> tuple[list[bytes], list[str]]:
    """Return files as JSON, with holes for the digits that are their block's, and their purposes."""
    drawn = random.Random(0)  # noqa: S311 - must be repeatable, not secret
    rows, purposes = [], []
    for created_at, purpose, filename, size, status, details, expires_at in population(
        count, start=-_YEARS, end=0, now=0, random=drawn
    ):
        second = SPAN + created_at * SPAN // _YEARS
        head, hole = "".join(drawn.choices(_ALPHANUMERICS, k=24 - DIGITS)), HOLE.decode()
        rows.append(
            f'{{"object":"file","id":"file-{head}{hole}","purpose":"{purpose}","filename":"{filename}",'
            f'"bytes":{size},"created_at":{hole}{second:05},"expires_at":{expiry + second if expires_at else "null"},'
            f'"status":"{status}","status_details":{json.dumps(details)}}}'.encode()
        )
        purposes.append(purpose)
    return rows, purposes


def head_of(row: bytes) -> str:
    """Return what an id begins with, up to the digits that are its block's."""
    return row.partition(b'"id":"')[2].partition(HOLE)[0].decode()
