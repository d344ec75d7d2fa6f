"""Borders: files at which pages of a complete listing ended, so that the next one can start at all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, TypedDict

from files_source.coverage import Rung

MOST: Final = 128
"""The most borders that are remembered: about 8 kB of state, and work enough for as many requests at once."""


class Noted(TypedDict):
    """What the state keeps of one account, as JSON: by purpose (empty: all), ids and times of the borders."""

    server: str
    limit: int
    borders: dict[str, list[tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class BorderNotes:
    """The borders of accounts, as the state keeps them. They are hints: each is tried before it is believed.

    Args:
        notes: what the state keeps, by account.
        limit: files a page, which the borders go by.
    """

    notes: MutableMapping[str, Noted]
    limit: int

    def of(self, account: str, *, server: str, purpose: str | None) -> tuple[Rung, ...]:
        """Return the borders of a listing; none where they are another server's, or of pages of another size."""
        noted = self.notes.get(account)
        if noted is None or (noted["server"], noted["limit"]) != (server, self.limit):
            return ()
        return tuple(Rung(*rung) for rung in noted["borders"].get(purpose or "", ()))

    def note(self, account: str, found: tuple[Rung, ...], *, server: str, purpose: str | None) -> None:
        """Keep the borders of a listing for the next one."""
        noted = self.notes.get(account)
        is_same = noted is not None and (noted["server"], noted["limit"]) == (server, self.limit)
        others = noted["borders"] if noted is not None and is_same else {}
        listed = [(rung.file_id, rung.created_at) for rung in found]
        self.notes[account] = {"server": server, "limit": self.limit, "borders": {**others, purpose or "": listed}}


@dataclass(frozen=True, slots=True)
class PageEnd:
    """The last file of a page, and how many files the page held."""

    rung: Rung
    rows: int


def borders(ends: Iterable[PageEnd], *, until: int) -> tuple[Rung, ...]:
    """Pick borders out of the ends of a listing's pages, oldest first, with about as many files between any two.

    Only files created before *until* are picked, the instant before which the listing was final,
    and of one second no more than one, so that an instant tells on which side of a border a file is.
    """
    settled = sorted((end for end in ends if end.rung.created_at < until), key=lambda end: end.rung.created_at)
    page = max((end.rows for end in settled), default=0)
    return tuple(_spread(settled, max(page, -(-sum(end.rows for end in settled) // MOST))))


def _spread(ends: list[PageEnd], step: int) -> Iterator[Rung]:
    """Yield those of *ends* before which *step* files have gathered, or would with the next page; not the last one."""
    gathered, last = 0, None
    for end, following in zip_longest(ends, ends[1:]):
        gathered += end.rows
        is_full = following is not None and gathered + following.rows > step
        if is_full and end.rung.created_at != last:
            yield end.rung
            gathered, last = 0, end.rung.created_at
