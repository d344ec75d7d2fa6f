"""What a destination already holds, and where to go on: spans of `created_at`, and a ladder of known files.

Times are whole microseconds since 1970, as they stand in dlt's state. A span is half open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final, NotRequired, TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from files_source.order import microseconds
from files_source.schema import FILES

_RUNGS: Final = 32
"""The most files that a ladder remembers."""
_NEAR: Final = 8
"""Newest files that a ladder keeps all of; further down it keeps ever fewer."""
_REACH: Final = 2**16


@dataclass(frozen=True, slots=True)
class Span:
    """Every file of *purpose* (None: of any) with `since <= created_at < until` (None: no bound)."""

    purpose: str | None
    since: int | None
    until: int | None

    def is_empty(self) -> bool:
        return self.since is not None and self.until is not None and self.until <= self.since

    def reaches(self, at: int) -> bool:
        """Tell whether an instant lies in the span."""
        return _at_least(self.since) <= at < _at_most(self.until)

    def holds(self, files: pa.Table) -> pa.ChunkedArray:
        """Return which of *files* lie in the span: one truth value a row."""
        times = microseconds(files)
        inside = pa.chunked_array([pa.repeat(pa.scalar(value=True), files.num_rows)])
        if self.since is not None:
            inside = pc.and_(inside, pc.greater_equal(times, self.since))
        if self.until is not None:
            inside = pc.and_(inside, pc.less(times, self.until))
        if self.purpose is not None:
            inside = pc.and_(inside, pc.equal(files.column("purpose"), self.purpose))
        return inside


@dataclass(frozen=True, slots=True)
class Rung:
    """A settled file of a ladder: a place in the listing to start after."""

    file_id: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Young:
    """The files that the last run loaded and the next one lists again, because they were not final yet.

    Attributes:
        digest: what tells these rows from others; see `incremental.digest_of`.
        file_id: the newest of them, to ask the destination for: it is gone if the latest rows were deleted.
    """

    digest: str
    file_id: str


class Remembered(TypedDict):
    """What the state keeps of one account, as JSON."""

    server: str
    spans: list[tuple[str | None, int | None, int | None]]
    ladders: dict[str, list[tuple[str, int]]]
    ascending: bool
    exact: NotRequired[list[str]]
    young: NotRequired[dict[str, tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a destination holds of one account of one server.

    Attributes:
        server: which listing this is about; another server's coverage says nothing.
        spans: disjoint for each purpose.
        ladders: for each purpose listed (empty: all), settled files in the listing's ascending
            order, newest first.
        ascending: whether the server was seen to list in ascending order when asked to.
        exact: for which ladders no file of its second followed the newest rung in ascending order,
            so that one that does so now is new.
        young: for each purpose listed (empty: all), what was loaded and is listed again.
    """

    server: str
    spans: tuple[Span, ...] = ()
    ladders: tuple[tuple[str, tuple[Rung, ...]], ...] = ()
    ascending: bool = False
    exact: frozenset[str] = frozenset()
    young: tuple[tuple[str, Young], ...] = ()

    @classmethod
    def recall(cls, remembered: Remembered | None, *, server: str) -> Coverage:
        """Return what the state remembers, where it is about *server*."""
        if not remembered or remembered["server"] != server:
            return cls(server)
        return cls(
            server,
            tuple(Span(*span) for span in remembered["spans"]),
            tuple((purpose, tuple(Rung(*rung) for rung in rungs)) for purpose, rungs in remembered["ladders"].items()),
            remembered["ascending"],
            frozenset(remembered.get("exact", ())),
            tuple((purpose, Young(*young)) for purpose, young in remembered.get("young", {}).items()),
        )

    def remember(self) -> Remembered:
        """Return what the state should remember."""
        return {
            "server": self.server,
            "spans": [(span.purpose, span.since, span.until) for span in self.spans],
            "ladders": {
                purpose: [(rung.file_id, rung.created_at) for rung in rungs] for purpose, rungs in self.ladders
            },
            "ascending": self.ascending,
            "exact": sorted(self.exact),
            "young": {purpose: (young.digest, young.file_id) for purpose, young in self.young},
        }

    def missing_from(self, asked: Span) -> Span:
        """Return *asked* from its first instant that is not held on, or an empty span if it is all held."""
        start = asked.since
        for span in sorted(self._about(asked.purpose), key=lambda span: _at_least(span.since)):
            if _at_least(span.since) > _at_least(start):
                break
            if span.until is None:
                return Span(asked.purpose, 0, 0)
            start = max(start, span.until, key=_at_least)
        return Span(asked.purpose, start, asked.until)

    def holds(self, files: pa.Table) -> pa.ChunkedArray:
        """Return which of *files* the destination has for certain: one truth value a row."""
        held = pa.chunked_array([pa.repeat(pa.scalar(value=False), files.num_rows)])
        for span in self.spans:
            held = pc.or_(held, span.holds(files))
        return held

    def without(self, purpose: str | None) -> Coverage:
        """Return what is held without the spans of one purpose; None for those of any."""
        return replace(self, spans=tuple(span for span in self.spans if span.purpose != purpose))

    def witnesses(self) -> tuple[str, ...]:
        """Return the ids of a few files that the destination must have if it has what this says."""
        rungs = (rung.file_id for purpose, ladder in self.ladders for rung in self._loaded(purpose, ladder))
        return tuple(dict.fromkeys((*rungs, *(young.file_id for _, young in self.young))))

    def believed(self, present: AbstractSet[str]) -> Coverage:
        """Return what is held as far as the destination has the witnesses: up to the newest one that is *present*."""
        spans = self.spans
        for purpose, ladder in self.ladders:
            loaded = self._loaded(purpose, ladder)
            newest = next((rung for rung in loaded if rung.file_id in present), None)
            if loaded and newest != loaded[0]:
                ends = None if newest is None else newest.created_at + 1
                spans = tuple(_cut(spans, purpose or None, ends))
        young = tuple((purpose, young) for purpose, young in self.young if young.file_id in present)
        if spans == self.spans:
            return replace(self, young=young)
        return Coverage(self.server, spans, self.ladders, self.ascending)

    def _loaded(self, purpose: str, ladder: tuple[Rung, ...]) -> tuple[Rung, ...]:
        """Return the rungs of a ladder that lie in a span of its listing: of others, the rows were not asked for."""
        spans = self._about(purpose or None)
        return tuple(rung for rung in ladder if any(span.reaches(rung.created_at) for span in spans))

    def ladder(self, purpose: str | None, *, before: int) -> tuple[Rung, ...]:
        """Return the files of the listing by *purpose* that were created before an instant, newest first."""
        rungs = dict(self.ladders).get(purpose or "", ())
        return tuple(rung for rung in rungs if rung.created_at < before)

    def plus(
        self,
        span: Span,
        ladder: Iterable[Rung],
        *,
        ascending: bool = False,
        exact: bool = False,
        young: Young | None = None,
    ) -> Coverage:
        """Return the coverage with *span* held too, and with what its listing has shown.

        Args:
            ladder: the newest settled files of the listing, newest first.
            ascending, exact: as the attributes say it of this listing.
            young: as the attribute says it.
        """
        listing, ladders, certain = span.purpose or "", dict(self.ladders), self.exact
        learned = tuple(ladder)
        others = [(purpose, rows) for purpose, rows in self.young if purpose and listing and purpose != listing]
        known = {rung.file_id: rung for rung in (*learned, *ladders.get(listing, ()))}
        if known:
            newest_first = sorted(known.values(), key=lambda rung: rung.created_at, reverse=True)
            ladders[listing] = _thinned(newest_first)
            if newest_first[0] in learned:
                certain = certain | {listing} if exact else certain - {listing}
        return Coverage(
            self.server,
            self.spans if span.is_empty() else _joined(self.spans, span),
            tuple(ladders.items()),
            self.ascending or ascending,
            certain,
            tuple((purpose, rows) for purpose, rows in (*others, (listing, young)) if rows is not None),
        )

    def _about(self, purpose: str | None) -> list[Span]:
        return [span for span in self.spans if span.purpose in (None, purpose)]


class Newest:
    """Keeps the part of a listing that a ladder can reach, whatever order its pages come in.

    Attributes:
        COLUMNS: what is kept of a page; it may have others.
    """

    COLUMNS: Final = ("id", "created_at")

    def __init__(self) -> None:
        self._parts = [FILES.empty_table().select(self.COLUMNS)]
        self._least = float("-inf")

    def add(self, files: pa.Table) -> None:
        """Look at the next page."""
        times = microseconds(files)
        if len(times) and pc.max(times).as_py() >= self._least:
            files = files.select(self.COLUMNS)
            is_ascending = times[0].as_py() <= times[-1].as_py()
            self._parts.append(files if is_ascending else files.take(pa.array(range(len(times))[::-1], pa.int64())))
        if sum(part.num_rows for part in self._parts) > 2 * _REACH:
            kept = self._ascending()
            self._parts, self._least = [kept], microseconds(kept)[0].as_py()

    def newest(self) -> int | None:
        """Return when the newest file was created, in microseconds since 1970; None of no files."""
        times = [microseconds(part) for part in self._parts]
        return max((pc.max(part).as_py() for part in times if len(part)), default=None)

    def rungs(self) -> tuple[Rung, ...]:
        """Pick the rungs of a ladder: the newest file, then 1, 3, 7, ... before it."""
        files = self._ascending()
        positions = [files.num_rows - 2**step for step in range(files.num_rows.bit_length())]
        picked = files.take(pa.array(positions, pa.int64()))
        return tuple(
            Rung(*rung) for rung in zip(picked.column("id").to_pylist(), microseconds(picked).to_pylist(), strict=True)
        )

    def _ascending(self) -> pa.Table:
        """Return the newest files, oldest first."""
        files = pa.concat_tables(self._parts)
        return files.take(pc.sort_indices(files, [("created_at", "ascending")])[-_REACH:])


def _thinned(newest_first: list[Rung]) -> tuple[Rung, ...]:
    """Keep the newest rungs and the oldest, and between them no more than one for each doubling of their age."""
    kept, rest = newest_first[:_NEAR], newest_first[_NEAR:]
    for rung, older in zip(rest, [*rest, None][1:], strict=True):
        if older is None or _age(older, kept) > 2 * _age(kept[-1], kept):
            kept.append(rung)
    return tuple(kept[:_RUNGS])


def _age(rung: Rung, kept: list[Rung]) -> int:
    return kept[0].created_at - rung.created_at


def _joined(spans: tuple[Span, ...], new: Span) -> tuple[Span, ...]:
    """Add a span, melted with those of its purpose that it touches."""
    apart = []
    for span in spans:
        touches = _at_least(span.since) <= _at_most(new.until) and _at_least(new.since) <= _at_most(span.until)
        if span.purpose == new.purpose and touches:
            new = Span(
                new.purpose,
                min(span.since, new.since, key=_at_least),
                max(span.until, new.until, key=_at_most),
            )
        elif not (new.purpose is None and _lies_in(span, new)):
            apart.append(span)
    return (*apart, new)


def _cut(spans: Iterable[Span], purpose: str | None, until: int | None) -> Iterator[Span]:
    """Yield *spans*, those that hold files of a purpose (None: of any) only up to an instant; None for not at all."""
    for span in spans:
        if span.purpose not in (None, purpose):
            yield span
        elif until is not None:
            cut = Span(span.purpose, span.since, until if span.until is None else min(span.until, until))
            if not cut.is_empty():
                yield cut


def _lies_in(inner: Span, outer: Span) -> bool:
    return _at_least(outer.since) <= _at_least(inner.since) and _at_most(inner.until) <= _at_most(outer.until)


def _at_least(since: int | None) -> float:
    return float("-inf") if since is None else since


def _at_most(until: int | None) -> float:
    return float("inf") if until is None else until
