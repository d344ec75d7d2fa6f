"""What is new since a known point: where the listing starts, which rows count, when it may stop."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from files_source.client import FilesClient
from files_source.coverage import Coverage, Newest, Rung, Span, Young
from files_source.decoding import Page
from files_source.errors import ApiError, ConfigError, CursorError
from files_source.listing import GONE, MAX_LIMIT
from files_source.order import Order, Seen, is_ordered, microseconds
from files_source.progress import BATCH, OnPage, Progress, gathered
from files_source.row_text import row_texts
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
        stepwise: whoever takes the batches may stop after any of them. The listing then comes in
            ascending order, one page after the other, and *steps* says how far each batch reaches.
        workers, known: as `scan.Scan` takes them, where everything is to be listed.
        on_page: what is told of progress.

    Attributes:
        progress: how far the listing has come.
        reached: what the destination holds once every batch is loaded; until then what it holds now.
        steps: what it holds once each of the batches given so far is loaded, if *stepwise*.
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
    stepwise: bool = False
    workers: int = WORKERS
    known: tuple[Rung, ...] = ()
    on_page: OnPage | None = None
    progress: Progress = field(init=False)
    reached: Coverage = field(init=False)
    steps: list[Coverage] = field(default_factory=list, init=False)
    borders: tuple[Rung, ...] | None = field(default=None, init=False)
    is_distinct: bool = field(default=True, init=False)
    _strangers: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.progress = Progress(self.overlap, self.on_page)
        self.reached = self.coverage

    def batches(self) -> Iterator[pa.Table]:
        """Yield what is new, BATCH rows or more at a time but for the last.

        Nothing is yielded where the only rows are those that the last run loaded and that were
        not final yet, and they have not changed.

        Raises:
            FilesSourceError: as `FilesClient.pages` does; what was yielded is then not all there is.
            CursorError: *stepwise*, and the server does not list in ascending order.
        """
        if self.asked.is_empty():
            return iter(())
        tables = gathered(self._wanted())
        if self.stepwise:
            return self._stepping(tables)
        return self._unless_unchanged(tables) if self.merges else tables

    def _held(self) -> Coverage:
        return Coverage(self.coverage.server) if self.again else self.coverage

    def _stepping(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            self.steps.append(self.reached)
            yield table

    def _unless_unchanged(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Yield *tables*, but not the only one where it holds what the last run loaded."""
        before = dict(self.coverage.young).get(self.asked.purpose or "")
        first, second = next(tables, None), next(tables, None)
        if first is None:
            return
        if second is None:
            self._remember_young(first)
            if not self.again and before is not None and digest_of(first) == before.digest:
                return
        yield first
        if second is not None:
            yield second
            yield from tables

    def _remember_young(self, files: pa.Table) -> None:
        """Note which of all *files* of this run the next one lists again."""
        young = files.filter(pc.invert(Span(None, None, self.until).holds(files)))
        if self.asked.until is None and 0 < young.num_rows <= BATCH:
            newest = pc.index(microseconds(young), pc.max(microseconds(young))).as_py()
            rows = Young(digest_of(young), young.column("id")[newest].as_py())
            self.reached = self.reached.plus(Span(self.asked.purpose, 0, 0), (), young=rows)

    def _wanted(self) -> Iterator[pa.Table]:
        """Yield the rows that the destination lacks, page by page, and remember how far they reach."""
        start = self._held().missing_from(self.asked)
        ladder = () if start.since is None else self.coverage.ladder(self.asked.purpose, before=start.since)
        resumed = self._resume(ladder)
        if resumed is not None:
            return self._walked(resumed, "asc", start, newest=ladder[0])
        if ladder and not any(self.client.exists(rung.file_id) for rung in ladder):
            start = self._among_strangers(start)
        if start.since is not None and not self.stepwise:
            return self._walked(self._ask(None, "desc"), "desc", start)
        if self.stepwise or self.asked.until is not None:
            return self._walked(self._ask(None, "asc"), "asc", start)
        return self._scanned()

    def _walked(
        self, pages: Iterator[Page], order: Order, start: Span, *, newest: Rung | None = None
    ) -> Iterator[pa.Table]:
        """Yield what is wanted of a listing, one page after the other, until it is past its end.

        Args:
            newest: the newest rung of the ladder, where the listing starts before it.
        """
        edge, tail, seen, follow = FILES.empty_table(), Newest(), Seen(order), self._follow(newest)
        for files in self._seconds(pages) if self.stepwise else (page.files for page in map(self._counted, pages)):
            self._check_strangers(files, start)
            seen.add(files)
            tail.add(self._final(files))
            if self.stepwise:
                self._step(seen, tail)
            yield from self._lacking(files, follow.which(files))
            edge = files.slice(files.num_rows - 1) if files.num_rows else edge
            if seen.proven and self._is_past_end(edge, start, order):
                break
        self.is_distinct = seen.ordered and not seen.tied
        is_ascending = order == "asc" and seen.ordered
        self._reach(tail, is_ordered=seen.ordered, ascending=is_ascending and seen.proven, exact=is_ascending)

    def _seconds(self, pages: Iterator[Page]) -> Iterator[pa.Table]:
        """Yield the files of *pages*, cut where a second ends, so that each table holds all files of its last one."""
        waiting = FILES.empty_table()
        for page in map(self._counted, pages):
            files = pa.concat_tables([waiting, page.files]).combine_chunks()
            if not files.num_rows:
                continue
            times = microseconds(files)
            whole = pc.index(times, times[-1]).as_py()
            waiting = files.slice(whole)
            if whole:
                yield files.slice(0, whole)
        if waiting.num_rows:
            yield waiting

    def _step(self, seen: Seen, tail: Newest) -> None:
        """Let `reached` include the files up to here.

        Raises:
            CursorError: they are not the oldest ones, and an append could not tell which are loaded.
        """
        if seen.ordered:
            self._reach(tail, is_ordered=True, ascending=seen.proven, exact=True, is_whole=False)
        elif not self.merges:
            raise CursorError(
                "a run can stop early (add_limit) only where the server lists files in ascending order, which this "
                "one does not: leave out the limit"
            )

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
        self._reach(tail, is_ordered=scan.is_ordered, ascending=scan.is_proven, exact=scan.is_serial)

    def _lacking(self, files: pa.Table, following: pa.ChunkedArray | None = None) -> Iterator[pa.Table]:
        """Yield those of *files* that the destination lacks, if there are any."""
        lacking = self._counts(files, following)
        lacks = files if pc.all(lacking, min_count=0).as_py() else files.filter(lacking)
        if lacks.num_rows:
            yield lacks

    def _reach(self, tail: Newest, *, is_ordered: bool, ascending: bool, exact: bool, is_whole: bool = True) -> None:
        """Remember that all is held up to the newest settled file: whatever shows up after it is new.

        A range that has settled is held up to its end.
        """
        end, newest = self.asked.until, tail.newest()
        until = end if is_whole and end is not None and end == self.until else newest and newest + 1
        purpose, since = self.asked.purpose, self.asked.since
        held = Span(purpose, 0, 0) if until is None else Span(purpose, since, until)
        ladder = tail.rungs() if is_ordered else ()
        self.reached = self.coverage.plus(held, ladder, ascending=ascending, exact=exact)

    def _counted(self, page: Page) -> Page:
        self.progress.take(page)
        return page

    def _follow(self, newest: Rung | None) -> _Following:
        is_known = newest is not None and (self.asked.purpose or "") in self.coverage.exact
        return _Following(newest if is_known else None)

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
        self.coverage = Coverage(self.coverage.server, () if self.stepwise else self.coverage.spans)
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

    @property
    def watermark(self) -> int:
        """Return the instant before which every file that was asked for has been listed."""
        listed = cast(int, self.progress.listed)
        return listed if self.asked.until is None else min(listed, self.asked.until)

    def _final(self, files: pa.Table) -> pa.Table:
        """Return what a ladder needs of the files that get no more neighbours before them."""
        known = files.select(Newest.COLUMNS)
        return known.filter(Span(None, None, self.until).holds(known))

    def _counts(self, files: pa.Table, following: pa.ChunkedArray | None) -> pa.ChunkedArray:
        held = self._held().holds(files)
        if following is not None:
            held = pc.and_(held, pc.or_(pc.invert(following), self._held().without(self.asked.purpose).holds(files)))
        counts = pc.and_(self.asked.holds(files), pc.invert(held))
        return counts if self.merges else pc.and_(counts, Span(None, None, self.until).holds(files))

    def _is_past_end(self, edge: pa.Table, start: Span, order: Order) -> bool:
        created_at = _first_time(edge)
        if order == "desc":
            return start.since is not None and created_at < start.since
        end = self.asked.until if self.merges else self.until
        return end is not None and created_at >= end


def _first_time(files: pa.Table) -> int:
    return cast(int, microseconds(files)[0].as_py())


@dataclass(slots=True)
class _Following:
    """Finds the files that follow a known one in its own second: they are new although they were created no later.

    Args:
        known: the newest file of a ladder; None where none can be told.
    """

    known: Rung | None
    _is_passed: bool = False

    def which(self, files: pa.Table) -> pa.ChunkedArray | None:
        """Return which of the next *files* of an ascending listing do; None for none of them."""
        if self.known is None or not files.num_rows:
            return None
        here = pc.index(files.column("id"), self.known.file_id).as_py()
        first = 0 if self._is_passed else files.num_rows if here < 0 else here + 1
        self._is_passed = self._is_passed or here >= 0
        behind = pc.greater_equal(pa.array(range(files.num_rows), pa.int64()), first)
        same = pc.equal(microseconds(files), self.known.created_at)
        return pa.chunked_array([pc.and_(behind, same)])


def digest_of(files: pa.Table) -> str:
    """Return a digest of rows of FILES that does not depend on their order: 32 hexadecimal digits."""
    texts = row_texts(files).combine_chunks()
    whole = pa.ListArray.from_arrays([0, len(texts)], texts.take(pc.sort_indices(texts)))
    return hashlib.blake2b(pc.binary_join(whole, "")[0].as_buffer(), digest_size=16).hexdigest()
