"""An account of any size, whose files are made when they are asked for: an id says where its file stands."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from files_source.emulator import Emulator, Order
from tests.benchmarks.blocks import DIGITS, HOLE, NONE, SPAN, Listing, head_of, made_up

BLOCK: Final = 10_000
"""Files of which all the others are copies, so that few are held in memory: a full page."""

_MINUTE: Final = 60


class Account(Emulator):
    """The Files API of one account of any size, to be read only.

    Its clock is that of `Files`.

    Attributes:
        made: its files.
    """

    def __init__(self, made: Files) -> None:
        super().__init__(clock=made.clock)
        self.made = made

    def page(
        self,
        *,
        after: str | None,
        limit: int,
        order: Order,
        purpose: str | None,
        ties_by_id: bool = False,  # noqa: ARG002 - as `Store.page`; its ties stand in order of arrival
    ) -> tuple[list[bytes], bool]:
        return self.made.page(after=after, limit=limit, order=order, purpose=purpose)

    def row(self, file_id: str) -> bytes:
        return self.made.row(file_id)


class Files:
    """Files as a busy account has them, in order of creation, of which only one block is held in memory.

    Args:
        block: files in a block.
        before: the clock stays behind this time, in Unix seconds, if not more than a block is added.

    Attributes:
        count: how many there are.
        added: how many more there are since, a minute and more after the others. None expires.
    """

    def __init__(self, *, block: int = BLOCK, before: float) -> None:
        self.count = self.added = 0
        self._newest = int(before) // SPAN - 3
        self._block = block
        self._rows, purposes = made_up(block, expiry=int(before) + SPAN * 100)
        self._numbers = {head_of(row): number for number, row in enumerate(self._rows)}
        self._listings = {
            purpose: Listing(self._rows, [n for n in range(block) if purpose in (None, purposes[n])])
            for purpose in {None, *purposes}
        }

    def resize(self, count: int, added: int = 0) -> None:
        """Hold so many files.

        Raises:
            ValueError: some would be added to a block that is not full.
        """
        if added and count % self._block:
            raise ValueError(f"files can be added to a multiple of {self._block} files, not to {count}")
        self.count, self.added = count, added

    def clock(self) -> float:
        """Return the time of the server, in Unix seconds: all files have been there for a minute."""
        return int(self._digits(-(-(self.count + self.added) // self._block))) * SPAN + _MINUTE

    def page(self, *, after: str | None, limit: int, order: Order, purpose: str | None) -> tuple[list[bytes], bool]:
        """Return the JSON of at most *limit* files after one, and whether more follow.

        A page names its first file and its last, which therefore stand alone; those between are joined already.

        Raises:
            KeyError: there is no file *after*.
        """
        listing = self._listings.get(purpose, NONE)
        everything = listing.rank(*divmod(self.count + self.added, self._block))
        block, row = (0, 0) if after is None else self._place(after)
        if order == "asc":
            start = 0 if after is None else listing.rank(block, row + 1)
            end = min(start + limit, everything)
            return self._written(listing, start, end, order), end < everything
        end = everything if after is None else listing.rank(block, row)
        start = max(end - limit, 0)
        return self._written(listing, start, end, order), start > 0

    def row(self, file_id: str) -> bytes:
        """Return the JSON of one file.

        Raises:
            KeyError: there is no such file.
        """
        block, row = self._place(file_id)
        return self._rows[row].replace(HOLE, self._digits(block))

    def _digits(self, block: int) -> bytes:
        """Return the first digits of the times of a block's files."""
        return b"%05d" % (self._newest - (self.count - 1) // self._block + block)

    def _place(self, file_id: str) -> tuple[int, int]:
        """Return the number of a file's block, and of its row there."""
        head, digits = file_id[:-DIGITS], file_id[-DIGITS:]
        row = self._numbers[head]
        if not (digits.isascii() and digits.isdecimal()):
            raise KeyError(file_id)
        block = int(digits) - int(self._digits(0))
        if not 0 <= block * self._block + row < self.count + self.added:
            raise KeyError(file_id)
        return block, row

    def _written(self, listing: Listing, start: int, end: int, order: Order) -> list[bytes]:
        cuts = sorted({start, min(start + 1, end), max(end - 1, start), end})
        runs = [run for low, high in pairwise(cuts) for run in listing.runs(low, high)]
        if order == "desc":
            runs.reverse()
        return [self._digits(block).join(listing.pieces(low, high, order)) for block, low, high in runs]
