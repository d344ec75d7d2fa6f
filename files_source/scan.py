"""A complete listing of an account: every file that is there, so that what is not there is gone."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Final, cast

import pyarrow as pa

from files_source.borders import PageEnd, borders
from files_source.client import FilesClient
from files_source.coverage import Rung
from files_source.decoding import Page
from files_source.ends import Ends
from files_source.errors import ApiError
from files_source.listing import GONE, MAX_LIMIT
from files_source.order import Seen, microseconds
from files_source.parallel import merged
from files_source.progress import OnPage, Progress, gathered
from files_source.spans import Spans, resumed

WORKERS: Final = 8
"""Requests at once, by default."""
_AHEAD: Final = 2
"""Pages that may wait to be taken: enough that a listing never waits for who takes them, and no burden on memory."""


@dataclass(slots=True, kw_only=True)
class Scan:
    """One complete listing, on several chains of pages at once.

    The first page comes alone: a refusal comes once, and a small account costs one request. If it
    shows that the server lists in order, the listing goes on from all *known* borders at once or,
    where there are none, from both ends until they meet; otherwise one page after the other.

    Args:
        client: whose files.
        purpose: only files of this purpose.
        overlap: as `progress.Progress` takes it.
        limit: files a page.
        workers: requests at once; with 1 the files come in the server's order, oldest first, and
            those created meanwhile come too.
        known: the borders of an earlier scan of the same listing; some may have been deleted.
        on_page: what is told of progress.

    Attributes:
        progress: how far the listing has come.
        is_ordered: whether the server was seen to list in ascending order only.
        is_proven: whether it has shown that it does so when it is asked to.
    """

    client: FilesClient
    purpose: str | None = None
    overlap: int
    limit: int = MAX_LIMIT
    workers: int = WORKERS
    known: tuple[Rung, ...] = ()
    on_page: OnPage | None = None
    progress: Progress = field(init=False)
    is_ordered: bool = field(default=False, init=False)
    is_proven: bool = field(default=False, init=False)
    _page_ends: list[PageEnd] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.progress = Progress(self.overlap, self.on_page)

    def batches(self) -> Iterator[pa.Table]:
        """Yield the files, in tables of several pages where those are small.

        A file may come twice where a server gives it twice, pages apart.

        Raises: as `pages` does.
        """
        return gathered(page.files for page in self.pages() if page.files.num_rows)

    def pages(self) -> Generator[Page, None, None]:
        """Yield the pages, those of a chain in its order; some may have no rows left.

        Raises:
            FilesSourceError: as `FilesClient.pages` does; what was yielded is then not all there is.
            CursorError: the listing is not in the order that it was in at the beginning.
        """
        listing = self._list(None)
        first = next(listing)
        self.progress.take(first)
        seen = Seen("asc")
        seen.add(first.files)
        if first.has_more is False or self.workers == 1 or not seen.proven:
            yield from self._one_by_one(first, listing)
        elif self.known:
            yield from self._from_borders(first, listing)
        else:
            yield from self._from_both_ends(first, listing)

    @property
    def until(self) -> int:
        """Return the instant before which every file was seen, in microseconds since 1970."""
        return cast(int, self.progress.settled)

    @property
    def borders(self) -> tuple[Rung, ...]:
        """Return the borders that the next scan may start from; none of a server without an order."""
        return borders(self._page_ends, until=self.until, limit=self.limit) if self.is_proven else ()

    def _one_by_one(self, first: Page, listing: Generator[Page, None, None]) -> Generator[Page, None, None]:
        seen = Seen("asc")
        for page in self._counted(first, [resumed(first, listing)]):
            seen.add(page.files)
            yield page
        self.is_ordered, self.is_proven = seen.ordered, seen.proven

    def _from_both_ends(self, first: Page, listing: Generator[Page, None, None]) -> Generator[Page, None, None]:
        ends = Ends()
        newest = self.client.pages(order="desc", limit=self.limit, purpose=self.purpose)
        yield from self._counted(first, [ends.ascend(resumed(first, listing)), ends.descend(newest)])
        self.is_ordered = self.is_proven = True

    def _from_borders(self, first: Page, listing: Generator[Page, None, None]) -> Generator[Page, None, None]:
        spans = Spans(self._list, self._exists, self.known)
        later = [spans.span(number) for number in range(1, len(self.known) + 1)]
        yield from self._counted(first, [spans.span(0, begun=resumed(first, listing)), *later])
        self.is_ordered = self.is_proven = True

    def _counted(self, first: Page, chains: list[Generator[Page, None, None]]) -> Generator[Page, None, None]:
        for page in merged(chains, workers=self.workers, ahead=_AHEAD):
            if page.body is not first.body:
                self.progress.take(page)
            if page.files.num_rows:
                self._page_ends.append(_page_end(page.files))
            yield page

    def _list(self, after: str | None) -> Generator[Page, None, None]:
        return self.client.pages(after=after, order="asc", limit=self.limit, purpose=self.purpose)

    def _exists(self, file_id: str) -> bool:
        try:
            self.client.get(file_id)
        except ApiError as error:
            if error.status not in GONE:
                raise
            return False
        return True


def _page_end(files: pa.Table) -> PageEnd:
    """Return the youngest file of a page, whichever way it is ordered."""
    times = microseconds(files)
    position = 0 if times[0].as_py() > times[-1].as_py() else files.num_rows - 1
    return PageEnd(Rung(files.column("id")[position].as_py(), times[position].as_py()), files.num_rows)
