"""A complete listing of an account: every file that is there, so that what is not there is gone."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Final, cast

import pyarrow as pa

from files_source.borders import PageEnd, borders
from files_source.client import FilesClient
from files_source.coverage import Rung
from files_source.decoding import Page
from files_source.ends import Ends
from files_source.listing import MAX_LIMIT
from files_source.order import OutOfOrder, Seen, microseconds
from files_source.parallel import merged
from files_source.progress import OnPage, Progress, gathered
from files_source.schema import FILES
from files_source.spans import Spans, resumed
from files_source.spool import Spool

WORKERS: Final = 8
"""Requests at once, by default."""
_IDS: Final = pa.schema([FILES.field("id")])
_AHEAD: Final = 2
"""Pages that may wait to be taken: enough that a listing never waits for who takes them, and no burden on memory."""


@dataclass(slots=True, kw_only=True)
class Scan:
    """One complete listing, on several chains of pages at once.

    The first page comes alone: a refusal comes once, and a small account costs one request. If it
    shows that the server lists in order, the listing goes on from all *known* borders at once or,
    where there are none, from both ends until they meet; otherwise one page after the other. If the
    order is lost later, it begins again, one page after the other, and what has been given is left
    out.

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
        is_distinct: whether no file can have come twice, even of a server that gives it so.
        is_serial: whether the files came in the server's own ascending order, one page after the other.
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
    is_distinct: bool = field(default=False, init=False)
    is_serial: bool = field(default=False, init=False)
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
        """
        listing = self._list(None)
        first = next(listing)
        seen = Seen("asc")
        seen.add(first.files)
        listing = resumed(first, listing)
        heeds_after = bool(first.has_more) and first.rest.onward is None
        if not heeds_after or self.workers == 1 or not seen.ordered or not (self.known or seen.proven):
            yield from self._one_by_one(listing)
            return
        with closing(Spool(_IDS)) as given:
            try:
                for page in self._at_once(listing):
                    given.write(page.files.select(_IDS.names))
                    yield page
            except OutOfOrder:
                yield from self._again(given)

    @property
    def until(self) -> int:
        """Return the instant before which every file was seen, in microseconds since 1970."""
        return cast(int, self.progress.settled)

    @property
    def watermark(self) -> int:
        """Return the instant before which every file has been listed."""
        return cast(int, self.progress.listed)

    @property
    def borders(self) -> tuple[Rung, ...]:
        """Return the borders that the next scan may start from; none of a server without an order."""
        return borders(self._page_ends, until=self.until) if self.is_proven else ()

    def _one_by_one(self, listing: Generator[Page, None, None]) -> Generator[Page, None, None]:
        seen, heeds_after = Seen("asc"), True
        for page in self._counted(merged([listing], workers=1, ahead=_AHEAD)):
            seen.add(page.files)
            heeds_after = heeds_after and not page.is_own
            yield page
        self.is_ordered, self.is_proven = seen.ordered, seen.proven and heeds_after
        self.is_distinct = seen.ordered and not seen.tied
        self.is_serial = seen.ordered

    def _at_once(self, listing: Generator[Page, None, None]) -> Generator[Page, None, None]:
        chains, walked = self._from_borders(listing) if self.known else self._from_both_ends(listing)
        yield from self._counted(merged(chains, workers=self.workers, ahead=_AHEAD))
        self.is_ordered = self.is_proven = True
        self.is_distinct = not walked.tied

    def _from_both_ends(self, listing: Generator[Page, None, None]) -> tuple[list[Generator[Page, None, None]], Ends]:
        ends = Ends()
        newest = self.client.pages(order="desc", limit=self.limit, purpose=self.purpose)
        return [ends.ascend(listing), ends.descend(newest)], ends

    def _from_borders(self, listing: Generator[Page, None, None]) -> tuple[list[Generator[Page, None, None]], Spans]:
        spans = Spans(self._list, self.client.exists, self.known)
        later = [spans.span(number) for number in range(1, len(self.known) + 1)]
        return [spans.span(0, begun=listing), *later], spans

    def _again(self, given: Spool) -> Generator[Page, None, None]:
        """Yield the pages from the beginning, without the files that have been *given*."""
        ids = {file_id for table in given.tables() for file_id in table.column("id").to_pylist()}
        for page in self._one_by_one(self._list(None)):
            new = [file_id not in ids for file_id in page.files.column("id").to_pylist()]
            yield replace(page, files=page.files.filter(pa.array(new, pa.bool_())).combine_chunks())
        self.is_ordered = self.is_proven = self.is_distinct = self.is_serial = False

    def _counted(self, pages: Generator[Page, None, None]) -> Generator[Page, None, None]:
        with closing(pages):
            for page in pages:
                self.progress.take(page)
                if page.files.num_rows:
                    self._page_ends.append(_page_end(page.files))
                yield page

    def _list(self, after: str | None) -> Generator[Page, None, None]:
        return self.client.pages(after=after, order="asc", limit=self.limit, purpose=self.purpose)


def _page_end(files: pa.Table) -> PageEnd:
    """Return the youngest file of a page, whichever way it is ordered."""
    times = microseconds(files)
    position = 0 if times[0].as_py() > times[-1].as_py() else files.num_rows - 1
    return PageEnd(Rung(files.column("id")[position].as_py(), times[position].as_py()), files.num_rows)
