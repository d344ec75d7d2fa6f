from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from files_source.coverage import Coverage, Newest, Rung, Span
from files_source.order import Order
from files_source.schema import FILES

SERVER = "https://api.openai.com/v1"
REACH = 2**16
PURPOSES = ("batch", "vision", "evals")
TIMELINE = range(-2, 14)
"""Instants to count on: those that spans can end at, and two on either side that stand for all before and after."""

bounds = st.none() | st.integers(0, 11)
purposes = st.sampled_from([None, *PURPOSES[:2]])
spans = st.builds(Span, purposes, bounds, bounds)
ladders = st.lists(st.builds(Rung, st.text(max_size=4), st.integers(0, 30)), max_size=12, unique=True)
coverages = st.lists(st.tuples(spans, ladders), max_size=6)
orders: st.SearchStrategy[Order] = st.sampled_from(["asc", "desc"])

Instants = set[tuple[str, int]]


def instants(span: Span) -> Instants:
    """List what a span holds, purpose by purpose, the slow way."""
    return {
        (purpose, at)
        for purpose in PURPOSES
        for at in TIMELINE
        if span.purpose in (None, purpose)
        and (span.since is None or at >= span.since)
        and (span.until is None or at < span.until)
    }


def covering(parts: Iterable[tuple[Span, Iterable[Rung]]]) -> Coverage:
    coverage = Coverage(SERVER)
    for span, ladder in parts:
        coverage = coverage.plus(span, ladder)
    return coverage


def listing(files: Iterable[tuple[str, str, int]]) -> pa.Table:
    """Make a listing of files with an id, a purpose and an instant."""
    epoch = datetime.fromtimestamp(0, UTC)
    columns = dict.fromkeys(("account", "filename"), "a") | {"object": "file"}
    rows = [
        columns | {"id": file_id, "purpose": purpose, "created_at": epoch + timedelta(microseconds=at)}
        for file_id, purpose, at in files
    ]
    return pa.Table.from_pylist(rows, schema=FILES)


def numbered(count: int, order: Order) -> pa.Table:
    """List *count* files, of which number 0 is the newest."""
    numbers = range(count) if order == "desc" else range(count)[::-1]
    times = pa.array([count - number for number in numbers], pa.int64())
    fields = [FILES.field(name) for name in Newest.COLUMNS]
    return pa.table([pa.array(map(str, numbers), pa.string()), times.cast(fields[1].type)], schema=pa.schema(fields))


EVERY_INSTANT = listing((f"{purpose}{at}", purpose, at) for purpose in PURPOSES for at in TIMELINE)


def held_instants(coverage: Coverage | Span) -> Instants:
    held = EVERY_INSTANT.filter(coverage.holds(EVERY_INSTANT))
    times = held.column("created_at").cast(pa.int64()).to_pylist()
    return set(zip(held.column("purpose").to_pylist(), times, strict=True))


@given(spans)
def test_a_span_holds_the_files_between_its_bounds(span: Span):
    """The first instant counts, the last does not, no bound is no bound, and a purpose is exact."""
    assert held_instants(span) == instants(span)


@given(spans)
def test_a_span_is_empty_when_nothing_can_lie_in_it(span: Span):
    """An empty span is one that ends where it starts, or before."""
    assert span.is_empty() == (not instants(span))


@given(coverages)
def test_coverage_holds_what_any_of_its_spans_does(parts: list[tuple[Span, list[Rung]]]):
    """However the spans lie to each other, nothing is forgotten and nothing is invented."""
    coverage = covering(parts)

    assert held_instants(coverage) == set().union(*(instants(span) for span, _ in parts))


@given(coverages)
def test_spans_of_a_purpose_never_touch(parts: list[tuple[Span, list[Rung]]]):
    """What touches is melted into one and what is empty is left out, so that the state stays small."""
    coverage = covering(parts)

    assert not any(span.is_empty() for span in coverage.spans)
    for purpose in (None, *PURPOSES):
        about = [span for span in coverage.spans if span.purpose == purpose]
        about.sort(key=lambda span: -1 if span.since is None else span.since)
        for earlier, later in pairwise(about):
            assert earlier.until is not None
            assert later.since is not None
            assert earlier.until < later.since


@settings(max_examples=200)
@given(coverages, spans)
@example([(Span("batch", 0, 5), []), (Span(None, 5, 9), []), (Span("batch", 9, 10), [])], Span("batch", 1, None))
@example([(Span(None, 5, 9), []), (Span("batch", 0, 5), [])], Span("batch", 1, None))
def test_what_is_missing_starts_at_the_first_instant_that_is_not_held(
    parts: list[tuple[Span, list[Rung]]], asked: Span
):
    """All that is asked for and not held is listed again, from its first instant on; nothing before it is."""
    coverage = covering(parts)

    missing = coverage.missing_from(asked)

    about = coverage.spans if asked.purpose else [span for span in coverage.spans if span.purpose is None]
    wanted = instants(asked)
    lacking = wanted - set().union(*(instants(span) for span in about))
    first = min((at for _, at in lacking), default=TIMELINE.stop)
    assert missing.purpose == asked.purpose
    assert instants(missing) == {(purpose, at) for purpose, at in wanted if at >= first}


def test_one_purpose_says_nothing_about_all_files():
    """After a run for one purpose, a run for every purpose starts at the beginning."""
    coverage = covering([(Span("batch", None, 9), [])])

    assert coverage.missing_from(Span(None, None, None)) == Span(None, None, None)
    assert coverage.missing_from(Span("batch", None, None)) == Span("batch", 9, None)


def test_all_files_say_something_about_each_purpose():
    """After a run for every purpose, a run for one goes on from there."""
    coverage = covering([(Span(None, None, 9), [])])

    assert coverage.missing_from(Span("vision", None, None)) == Span("vision", 9, None)


@pytest.mark.parametrize(
    ("span", "asked"),
    [
        pytest.param(Span(None, 2, None), Span("batch", 5, None), id="no bound above"),
        pytest.param(Span("batch", None, 9), Span("batch", 3, 9), id="up to the end"),
        pytest.param(Span("batch", None, 9), Span("batch", None, 4), id="beyond the end"),
    ],
)
def test_nothing_is_missing_of_what_is_held(span: Span, asked: Span):
    """What is held already leaves an empty span, never everything."""
    coverage = covering([(span, [])])

    assert coverage.missing_from(asked).is_empty()


def test_a_run_for_every_purpose_takes_the_place_of_runs_for_one():
    """What it holds of a purpose need not be remembered beside it; what reaches further must."""
    coverage = covering([(Span("batch", 2, 9), []), (Span("vision", 2, 10), []), (Span(None, None, 9), [])])

    assert coverage.spans == (Span("vision", 2, 10), Span(None, None, 9))


@given(coverages)
def test_what_is_remembered_is_recalled(parts: list[tuple[Span, list[Rung]]]):
    """State is JSON, where tuples become lists: nothing is lost on the way."""
    coverage = covering(parts)

    stored = json.loads(json.dumps(coverage.remember()))

    assert Coverage.recall(stored, server=SERVER) == coverage


@given(coverages)
def test_the_memory_of_another_server_is_ignored(parts: list[tuple[Span, list[Rung]]]):
    """A new base URL or project is another listing: nothing of it is held."""
    remembered = covering(parts).remember()

    assert Coverage.recall(remembered, server="https://eu.api.openai.com/v1") == Coverage(
        "https://eu.api.openai.com/v1"
    )


def test_without_a_memory_nothing_is_held():
    """The first run knows its server and no more."""
    assert Coverage.recall(None, server=SERVER) == Coverage(SERVER)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize(
    ("count", "positions"),
    [
        pytest.param(0, [], id="no files"),
        pytest.param(1, [0], id="one"),
        pytest.param(2, [0, 1], id="two"),
        pytest.param(3, [0, 1], id="three"),
        pytest.param(4, [0, 1, 3], id="four"),
        pytest.param(600, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511], id="600"),
        pytest.param(5000, [2**step - 1 for step in range(13)], id="5000"),
    ],
)
def test_rungs_lie_ever_further_apart(order: Order, count: int, positions: list[int]):
    """A ladder is the newest file, then the 1st, 3rd, 7th before it, newest first in either order."""
    kept = Newest()

    kept.add(numbered(count, order))

    assert kept.rungs() == tuple(Rung(str(position), count - position) for position in positions)


@given(
    count=st.sampled_from([0, 1, 900, REACH - 1, REACH, REACH + 9_000, 3 * REACH]),
    size=st.integers(4_000, 70_000),
    order=orders,
    data=st.data(),
)
def test_a_ladder_is_the_same_however_its_pages_come_in(count: int, size: int, order: Order, data: st.DataObject):
    """The pages of a listing, in any order, give the rungs that its order says, as far down as a ladder reaches."""
    files, kept = numbered(count, order), Newest()

    for start in data.draw(st.permutations(range(0, count, size))):
        kept.add(files.slice(start, size))

    reached = [2**step - 1 for step in range(min(count, REACH).bit_length())]
    assert kept.rungs() == tuple(Rung(str(position), count - position) for position in reached)


@given(st.lists(ladders, max_size=5))
def test_a_ladder_keeps_the_newest_rungs_of_all_runs(climbed: list[list[Rung]]):
    """Whatever runs brought, and in whatever order, the ladder has each file once, and the newest for sure."""
    coverage = covering((Span("batch", None, 9), ladder) for ladder in climbed)

    ladder = coverage.ladder("batch", before=99)

    times = [rung.created_at for rung in ladder]
    every_id = {rung.file_id for ladder in climbed for rung in ladder}
    assert len({rung.file_id for rung in ladder}) == len(ladder) >= min(8, len(every_id))
    assert set(ladder) <= {rung for ladder in climbed for rung in ladder}
    assert times == sorted(times, reverse=True)


def test_a_ladder_reaches_far_down_after_many_runs():
    """Below the newest rungs each lies at least twice as far down in time, so that a mass deletion leaves some."""
    coverage = Coverage(SERVER)
    for run in range(1_000):
        coverage = coverage.plus(Span(None, None, run), [Rung(f"file-{run}", run)])

    times = [rung.created_at for rung in coverage.ladder(None, before=10_000)]

    assert times[:8] == [999, 998, 997, 996, 995, 994, 993, 992]
    assert times[-1] < 500
    assert len(times) <= 32


def test_a_later_run_goes_on_from_its_own_rungs_first():
    """New rungs come before old ones of the same second: they are the later part of the listing."""
    coverage = covering([(Span(None, None, 9), [Rung("b", 5), Rung("a", 5)]), (Span(None, None, 9), [Rung("c", 5)])])

    assert [rung.file_id for rung in coverage.ladder(None, before=6)] == ["c", "b", "a"]


def test_a_ladder_shows_only_rungs_before_an_instant():
    """To start at an instant, only files before it are of use: the instant itself is not before it."""
    coverage = covering([(Span(None, None, 9), [Rung("new", 8), Rung("edge", 7), Rung("old", 6)])])

    assert coverage.ladder(None, before=7) == (Rung("old", 6),)


def test_each_purpose_has_a_ladder_of_its_own():
    """A file of one purpose does not stand in the listing of another."""
    coverage = covering([(Span(None, None, 9), [Rung("any", 8)]), (Span("batch", None, 9), [Rung("batch", 7)])])

    assert coverage.ladder(None, before=9) == (Rung("any", 8),)
    assert coverage.ladder("batch", before=9) == (Rung("batch", 7),)
    assert coverage.ladder("vision", before=9) == ()


def test_a_hundred_runs_leave_a_small_state():
    """Runs by the hour, of all files and of one purpose in turn, are remembered in less than 3 kB."""
    coverage = Coverage(SERVER)

    for run in range(100):
        until = 1_790_000_000_000_000 + run * 3_600_000_000
        ladder = [Rung(f"file-{until - 2**step:022d}", until - 2**step) for step in range(10)]
        coverage = coverage.plus(Span("batch" if run % 2 else None, None, until), ladder)

    assert len(json.dumps(coverage.remember())) < 3_000
    assert len(coverage.spans) == 2
