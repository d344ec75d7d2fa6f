"""What is new since a known point: where the listing starts, which rows count, when it may stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from files_source.client import FilesClient
from files_source.coverage import Coverage, Newest, Rung, Span
from files_source.decoding import Page
from files_source.errors import ApiError, ConfigError
from files_source.listing import GONE, MAX_LIMIT
from files_source.order import Order, Seen, is_ordered, microseconds
from files_source.progress import OnPage, Progress, gathered
from files_source.scan import WORKERS, Scan
from files_source.schema import FILES


@dataclass(slots=True, kw_only=True)
class Increment:
    """One run's listing of what a destination lacks.

    Args:
        client: whose files.
        coverage: what the destination holds.
        asked: what it should hold afterwards.
        merges: whether it keeps one row for each file however often that is loaded. If so, files
            that may still get neighbours before them are loaded at once and again by the next
            run; if not, they are left for a later run.
        overlap: seconds after which a file gets no more neighbours before it, by the server's clock.
        limit: files a page.
        again: load what the destination holds already, too.
        workers, known: as `scan.Scan` takes them, where everything is to be listed.
        on_page: what is told of progress.

    Attributes:
        progress: how far the listing has come.
        reached: what the destination holds once every batch is loaded; until then what it holds now.
        borders: where the next complete scan may start; None where this was none.
        is_distinct: as `scan.Scan` says it.
    """

    client: FilesClient
    coverage: Coverage
    asked: Span
    merges: bool
    overlap: int
    limit: int = MAX_LIMIT
    again: bool = False
    workers: int = WORKERS
    known: tuple[Rung, ...] = ()
    on_page: OnPage | None = None
    progress: Progress = field(init=False)
    reached: Coverage = field(init=False)
    borders: tuple[Rung, ...] | None = field(default=None, init=False)
    is_distinct: bool = field(default=True, init=False)
    _strangers: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.progress = Progress(self.overlap, self.on_page)
        self.reached = self.coverage

    def batches(self) -> Iterator[pa.Table]:
        """Yield what is new, BATCH rows or more at a time but for the last.

        Raises:
            FilesSourceError: as `FilesClient.pages` does; what was yielded is then not all there is.
        """
        return gathered(self._wanted())

    @property
    def has_learned(self) -> bool:
        """Tell whether the run found out more than how late it is: it filled a hole, or has a first ladder."""
        return _outline(self.reached) != _outline(self.coverage)

    def _held(self) -> Coverage:
        return Coverage(self.coverage.server) if self.again else self.coverage

    def _wanted(self) -> Iterator[pa.Table]:
        """Yield the rows that the destination lacks, page by page, and remember how far they reach."""
        start = self._held().missing_from(self.asked)
        ladder = () if start.since is None else self.coverage.ladder(self.asked.purpose, before=start.since)
        resumed = self._resume(ladder)
        if resumed is not None:
            return self._walked(resumed, "asc", start)
        if ladder and not any(self.client.exists(rung.file_id) for rung in ladder):
            start = self._among_strangers(start)
        if start.since is not None:
            return self._walked(self._ask(None, "desc"), "desc", start)
        return self._scanned() if self.asked.until is None else self._walked(self._ask(None, "asc"), "asc", start)

    def _walked(self, pages: Iterator[Page], order: Order, start: Span) -> Iterator[pa.Table]:
        """Yield what is wanted of a listing, one page after the other, until it is past its end."""
        edge, tail, seen = FILES.empty_table(), Newest(), Seen(order)
        for page in pages:
            self.progress.take(page)
            self._check_strangers(page.files, start)
            seen.add(page.files)
            tail.add(self._final(page.files))
            yield from self._lacking(page.files)
            edge = page.files.slice(page.files.num_rows - 1) if page.files.num_rows else edge
            if seen.proven and self._is_past_end(edge, start, order):
                break
        self.is_distinct = seen.ordered and not seen.tied
        self._reach(tail.rungs() if seen.ordered else (), ascending=order == "asc" and seen.proven)

    def _scanned(self) -> Iterator[pa.Table]:
        """Yield what is wanted of a complete listing."""
        scan = Scan(
            client=self.client,
            purpose=self.asked.purpose,
            overlap=self.overlap,
            limit=self.limit,
            workers=self.workers,
            known=self.known,
            on_page=self.on_page,
        )
        self.progress, tail = scan.progress, Newest()
        for page in scan.pages():
            tail.add(self._final(page.files))
            yield from self._lacking(page.files)
        self.borders, self.is_distinct = scan.borders, scan.is_distinct
        self._reach(tail.rungs() if scan.is_ordered else (), ascending=scan.is_proven)

    def _lacking(self, files: pa.Table) -> Iterator[pa.Table]:
        """Yield those of *files* that the destination lacks, if there are any."""
        lacking = self._counts(files)
        lacks = files if pc.all(lacking, min_count=0).as_py() else files.filter(lacking)
        if lacks.num_rows:
            yield lacks

    def _reach(self, ladder: tuple[Rung, ...], *, ascending: bool) -> None:
        held = Span(self.asked.purpose, self.asked.since, self.until)
        self.reached = self.coverage.plus(held, ladder, ascending=ascending)

    def _ask(self, after: str | None, order: Order) -> Iterator[Page]:
        return self.client.pages(after=after, order=order, limit=self.limit, purpose=self.asked.purpose)

    def _resume(self, ladder: tuple[Rung, ...]) -> Iterator[Page] | None:
        """Return the listing after a known file, proven to be that.

        A cursor that has vanished may be answered by an empty page that looks like the end, and a
        server may ignore `after` or `order`. So a listing is believed only when it starts after one
        known file and shows a later one; if neither is left, the next pair down the ladder is tried.
        """
        for step, rung in enumerate(ladder[1:], start=1):
            pages = self._ask(rung.file_id, "asc")
            try:
                first = next(pages, None)
            except ApiError as error:
                if error.status not in GONE:
                    raise
                continue
            if first is not None and self._shows(first.files, ladder[:step], rung):
                return chain([first], pages)
        return None

    def _shows(self, files: pa.Table, later: tuple[Rung, ...], rung: Rung) -> bool:
        """Tell whether a page starts after *rung* in ascending order and shows one of the *later* files.

        Files of one second prove no order, so among them the server's order must have been seen before.
        """
        if not files.num_rows or not is_ordered(files, "asc") or _first_time(files) < rung.created_at:
            return False
        proving = [file.file_id for file in later if self.coverage.ascending or file.created_at > rung.created_at]
        return bool(pc.any(pc.is_in(files.column("id"), pa.array(proving, pa.string()))).as_py())

    def _among_strangers(self, start: Span) -> Span:
        """Return what is lacking where every file known from earlier runs is gone.

        All of them may have been deleted; or the key now sees another project, of which the
        destination holds nothing. Where rows are merged, loading everything is right for both.
        """
        self._strangers = True
        if not self.merges:
            return start
        self.again, self.known = True, ()
        self.coverage = Coverage(self.coverage.server, self.coverage.spans)
        return self.asked

    def _check_strangers(self, files: pa.Table, start: Span) -> None:
        """Refuse to guess whether a folder already has the older files of a listing without known ones."""
        if self._strangers and not self.merges and pc.any(Span(None, None, start.since).holds(files)).as_py():
            raise ConfigError(
                f"none of the files by which account {self.client.account.name!r} was known is there any more, but "
                "others of their age are: does the key see another project? Give that another account name "
                "(--account), or load all again with --full-refresh"
            )

    @property
    def until(self) -> int:
        """Return the instant up to which this run makes the destination complete."""
        settled = cast(int, self.progress.settled)
        return settled if self.asked.until is None else min(settled, self.asked.until)

    def _final(self, files: pa.Table) -> pa.Table:
        """Return what a ladder needs of the files that get no more neighbours before them."""
        known = files.select(Newest.COLUMNS)
        return known.filter(Span(None, None, self.until).holds(known))

    def _counts(self, files: pa.Table) -> pa.ChunkedArray:
        counts = pc.and_(self.asked.holds(files), pc.invert(self._held().holds(files)))
        return counts if self.merges else pc.and_(counts, Span(None, None, self.until).holds(files))

    def _is_past_end(self, edge: pa.Table, start: Span, order: Order) -> bool:
        created_at = _first_time(edge)
        if order == "desc":
            return start.since is not None and created_at < start.since
        end = self.asked.until if self.merges else self.until
        return end is not None and created_at >= end


def _first_time(files: pa.Table) -> int:
    return cast(int, microseconds(files)[0].as_py())


def _outline(coverage: Coverage) -> tuple[frozenset[object], frozenset[str]]:
    starts = frozenset((span.purpose, span.since) for span in coverage.spans)
    return starts, frozenset(purpose for purpose, _ in coverage.ladders)
