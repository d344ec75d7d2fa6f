"""How far a listing has come: what was read, and up to which instant it is final."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Final

import pyarrow as pa

from files_source.decoding import Page

MICROSECONDS: Final = 1_000_000
BATCH: Final = 50_000
"""Rows that are gathered before they are handed on; dlt's cost is by the batch, not by the row."""

OnPage = Callable[[int, int], None]
"""What is told the pages and the rows read so far, after each page."""

_A_MINUTE: Final = 60

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


@dataclass(slots=True)
class Progress:
    """What is known of a listing while its pages come in.

    Args:
        overlap: seconds after which a file gets no more neighbours before it, by the server's clock.
        on_page: what is told of each page.

    Attributes:
        pages: pages read so far.
        seen: rows on them.
        settled: the instant before which the listing was final when it began, in microseconds since
            1970; None until the first page has come.
        listed: the instant before which every file was listed that was there by then, likewise: a
            minute before the listing began, or less where the overlap is shorter.
    """

    overlap: int
    on_page: OnPage | None = None
    pages: int = 0
    seen: int = 0
    settled: int | None = None
    listed: int | None = None

    def take(self, page: Page) -> None:
        """Count a page."""
        self.pages += 1
        self.seen += page.files.num_rows
        if self.on_page is not None:
            self.on_page(self.pages, self.seen)
        if self.settled is None:
            here = datetime.now(UTC)
            now = min(page.date or here, here)  # a clock that is ahead would settle what is still to come
            self.settled = (int(now.timestamp()) - self.overlap) * MICROSECONDS
            self.listed = (int(now.timestamp()) - min(self.overlap, _A_MINUTE)) * MICROSECONDS


class Shared:
    """Tells of the pages and rows of several listings together.

    Args:
        on_page: what is told of them.
    """

    def __init__(self, on_page: OnPage) -> None:
        self._on_page = on_page
        self._counts: dict[int, tuple[int, int]] = {}
        self._lock = Lock()

    def part(self) -> OnPage:
        """Return what one of the listings tells of its pages."""
        number = len(self._counts)
        self._counts[number] = (0, 0)

        def tell(pages: int, rows: int) -> None:
            with self._lock:
                self._counts[number] = (pages, rows)
                all_pages, all_rows = zip(*self._counts.values(), strict=True)
                self._on_page(sum(all_pages), sum(all_rows))

        return tell


def gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows in tables of BATCH rows or more but for the last."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(part.num_rows for part in waiting) >= BATCH:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting.clear()
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def moment(instant: int) -> datetime:
    """Return an instant given in microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=instant)
