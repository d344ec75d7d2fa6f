"""Any query of a lazy frame gives what it gives on the whole frame.

`QUERY_EXAMPLES` says how many queries each test makes up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, TypeVar

import httpx
import polars as pl
import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from files_source import FILES, read_files, scan_files
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator, Oddities
from tests.conftest import NOW
from tests.predicates import predicates

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)
Operation = tuple[Any, ...]

queries = settings(
    max_examples=int(os.environ.get("QUERY_EXAMPLES", "60")), phases=set(Phase) - {Phase.explain}, print_blob=True
)

PURPOSES = ("batch", "batch_output", "vision")
TEAM = ("red", "green")
SPAN = 40
"""Seconds from the first file to the last."""

ENGINES: st.SearchStrategy[Literal["in-memory", "streaming"]] = st.sampled_from(["in-memory", "streaming"])
ORDERS: st.SearchStrategy[Literal["asc", "desc"]] = st.sampled_from(["asc", "desc"])
COLUMNS = st.lists(st.sampled_from(FILES.names), min_size=1, max_size=4, unique=True)
COUNTS = st.integers(0, 12)

SIZE = pl.col("bytes")
CONDITIONS = predicates(
    SIZE > 3,
    SIZE.is_null(),
    SIZE.max() == SIZE,
    pl.col("purpose").is_first_distinct(),
    pl.col("purpose").str.ends_with("output"),
    pl.col("filename").map_elements(lambda name: len(name) % 2 == 0, return_dtype=pl.Boolean),
    accounts=(*TEAM, "default", "blue"),
    purposes=(*PURPOSES, "evals", ""),
    seconds=st.integers(NOW - 2, NOW + SPAN + 2),
)

SETS = st.one_of(
    st.tuples(st.just("filter"), CONDITIONS),
    st.tuples(st.just("select"), COLUMNS),
    st.tuples(st.just("with_columns"), st.sampled_from(["bytes", "purpose", "day"])),
    st.tuples(st.just("group_by"), st.sampled_from(["purpose", "account", "created_at"])),
    st.tuples(st.just("join"), st.sampled_from(["inner", "left", "semi", "anti"]), CONDITIONS),
    st.tuples(st.just("count")),
)
"""Operations whose rows do not depend on the order of those before."""

SEQUENCES = st.one_of(
    SETS,
    st.tuples(st.just("head"), COUNTS),
    st.tuples(st.just("tail"), COUNTS),
    st.tuples(st.just("slice"), st.integers(-6, 6), COUNTS),
    st.tuples(st.just("sort"), st.sampled_from(["bytes", "purpose", "created_at"]), st.booleans()),
    st.tuples(st.just("unique"), st.sampled_from(["purpose", "account", "bytes"])),
    st.tuples(st.just("reverse")),
    st.tuples(st.just("number")),
)
"""Operations whose rows may."""


@dataclass(frozen=True)
class Listed:
    """What an account holds, and how it is asked for."""

    seconds: list[int]
    limit: int
    order: Literal["asc", "desc"]

    def fill(self, emulator: Emulator, *, turn: int = 0, turns: int = 1) -> None:
        """Add every file whose turn it is."""
        for number, second in enumerate(self.seconds):
            if number % turns == turn:
                emulator.add(
                    created_at=NOW + second,
                    purpose=PURPOSES[number % 3],
                    filename="f" * (number % 5),
                    bytes=None if number % 7 == 0 else number % 6,
                    file_id=f"file-{number}",
                )


def listings(*, ties: bool) -> st.SearchStrategy[Listed]:
    seconds = st.lists(st.integers(0, SPAN), min_size=10, max_size=30, unique=not ties)
    return st.builds(Listed, st.just([]) | seconds, st.integers(1, 6), ORDERS)


def queries_of(operations: st.SearchStrategy[Operation]) -> st.SearchStrategy[list[Operation]]:
    """Return queries, most of which begin with what may be pushed to the server."""
    first = st.tuples(st.just("filter"), CONDITIONS) | operations
    return st.builds(lambda start, rest: [start, *rest], first, st.lists(operations, max_size=5))


def done(frame: Frame, operations: list[Operation]) -> Frame:
    """Return what a query makes of a frame; an operation on a column that is no longer there is left out."""
    everything = frame
    return reduce(lambda rows, operation: step(rows, everything, *operation), operations, frame)


def step(frame: Frame, everything: Frame, name: str, *how: Any) -> Frame:  # noqa: C901, PLR0911 - one case each
    columns = frame.collect_schema().names()
    match name, how:
        case "filter", [condition] if set(condition.meta.root_names()) <= set(columns):
            return frame.filter(condition)
        case "select", [wanted] if set(wanted) <= set(columns):
            return frame.select(wanted)
        case "with_columns", ["day"] if "created_at" in columns:
            return frame.with_columns(pl.col("created_at").dt.offset_by("-1d").alias("day"))
        case "with_columns", ["bytes"] if "bytes" in columns:
            return frame.with_columns(SIZE * 2)
        case "with_columns", ["purpose"] if "purpose" in columns:
            return frame.with_columns(pl.col("purpose").str.replace("_output", ""))
        case "group_by", [key] if {key, "bytes"} <= set(columns):
            return frame.group_by(key, maintain_order=True).agg(SIZE.sum(), pl.len())
        case "join", [kind, condition] if "id" in columns and not any(name.endswith("_right") for name in columns):
            return frame.join(everything.filter(condition), on="id", how=kind, maintain_order="left")
        case "count", []:
            return frame.select(pl.len())
        case "head" | "tail" | "slice" | "reverse", _:
            return getattr(frame, name)(*how)
        case "sort", [key, descending] if key in columns:
            return frame.sort(key, descending=descending, maintain_order=True)
        case "unique", [key] if key in columns:
            return frame.unique(key, keep="first", maintain_order=True)
        case "number", [] if "index" not in columns:
            return frame.with_row_index()
    return frame


@contextmanager
def connected(emulator: Emulator) -> Iterator[FilesClient]:
    transport = httpx.WSGITransport(app=emulator)
    with FilesClient(Account(base_url="http://localhost/v1"), transport=transport) as client:
        yield client


@queries
@given(listed=listings(ties=False), operations=queries_of(SEQUENCES), engine=ENGINES)
def test_a_query_gives_what_it_gives_on_the_whole_frame(
    listed: Listed, operations: list[Operation], engine: Literal["in-memory", "streaming"]
):
    """The same rows in the same order, whatever of it is pushed to the server."""
    emulator = Emulator(clock=Clock(NOW + SPAN))
    listed.fill(emulator)

    with connected(emulator) as client:
        whole = read_files(client=client, limit=listed.limit, order=listed.order)
        requests = len(emulator.requests)
        found = done(scan_files(client=client, limit=listed.limit, order=listed.order), operations).collect(
            engine=engine
        )

    asked = len(emulator.requests) - requests
    event("less was asked for" if asked < requests else "all was asked for" if asked == requests else "more was")
    assert_frame_equal(found, done(whole, operations))


@queries
@given(
    listed=listings(ties=True),
    operations=queries_of(SETS),
    engine=ENGINES,
    oddities=st.sampled_from(
        [
            Oddities(),
            Oddities(order_ignored=True),
            Oddities(first_two_transposed=True),
            Oddities(ties_by_id=True),
            Oddities(has_more_omitted=True),
        ]
    ),
    page_cap=st.sampled_from([None, 3]),
)
def test_where_no_order_can_be_relied_on_the_rows_are_the_same(
    listed: Listed,
    operations: list[Operation],
    engine: Literal["in-memory", "streaming"],
    oddities: Oddities,
    page_cap: int | None,
):
    """Files of one second, and servers that stray from the contract: no file is lost or doubled."""
    emulator = Emulator(clock=Clock(NOW + SPAN), oddities=oddities, page_cap=page_cap)
    listed.fill(emulator)

    with connected(emulator) as client:
        whole = read_files(client=client, limit=listed.limit, order=listed.order)
        found = done(scan_files(client=client, limit=listed.limit, order=listed.order), operations).collect(
            engine=engine
        )

    assert_frame_equal(found, done(whole, operations), check_row_order=False)


@pytest.fixture(scope="module")
def team() -> Iterator[dict[str, tuple[Emulator, Account]]]:
    """Serve two accounts."""
    with ExitStack() as opened:
        emulators = {name: Emulator(clock=Clock(NOW + SPAN)) for name in TEAM}
        urls = {name: opened.enter_context(emulator.serve()).url for name, emulator in emulators.items()}
        yield {name: (emulators[name], Account(name=name, base_url=urls[name])) for name in TEAM}


@queries
@given(listed=listings(ties=False), operations=queries_of(SEQUENCES), engine=ENGINES)
def test_a_query_of_several_accounts_gives_what_it_gives_on_the_whole_frame(
    listed: Listed,
    operations: list[Operation],
    engine: Literal["in-memory", "streaming"],
    team: dict[str, tuple[Emulator, Account]],
):
    """Merged in order of creation, however little of each is asked for."""
    for turn, (emulator, _) in enumerate(team.values()):
        for file_id in emulator.ids():
            emulator.remove(file_id)
        listed.fill(emulator, turn=turn, turns=len(team))
    accounts = [account for _, account in team.values()]

    whole = read_files(accounts=accounts, limit=listed.limit, order=listed.order)
    lazy = scan_files(accounts=accounts, limit=listed.limit, order=listed.order)

    assert whole.height == len(listed.seconds)
    assert_frame_equal(done(lazy, operations).collect(engine=engine), done(whole, operations))
