"""What a listing costs, counted instead of timed: requests, bytes, pages that take the fast way, calls for each row."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from unittest import mock

import httpx
import pytest

from files_source import tolerant
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.decoding import Page, decode_page
from files_source.emulator import Clock, Emulator
from files_source.listing import walk
from files_source.syncing import sync
from tests.conftest import NOW

Connect = Callable[..., FilesClient]
DAY = 86_400
FILES = 40_000


def body_of(count: int) -> bytes:
    """Return a page of so many files."""
    emulator = Emulator(clock=Clock(NOW))
    emulator.populate(count, start=NOW - DAY, end=NOW - 3_600)
    with httpx.Client(transport=httpx.WSGITransport(app=emulator)) as client:
        return client.get(f"http://127.0.0.1/v1/files?limit={count}").content


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions are called, Python's own included."""
    calls = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("place", ["inventory.duckdb", "lake/"])
def test_a_first_load_asks_for_each_page_once_and_decodes_it_natively(place: str, emulator: Emulator, connect: Connect):
    """Two pages more than there are, at most, where the ends meet; of each file no more bytes than it has."""
    emulator.populate(FILES, start=NOW - 30 * DAY, end=NOW - 3_600)
    size = len(body_of(1_000)) / 1_000

    with mock.patch.object(tolerant, "read", side_effect=AssertionError("the slow way")):
        done = sync(place, client=connect())

    assert 4 <= done.requests <= 6
    assert done.received < 1.1 * size * done.requests * 10_000


def test_no_row_costs_a_call():
    """A hundred times the rows, the same calls: nothing is done row by row."""
    small, large = (body_of(count) for count in (100, 10_000))

    few, many = (calls_of(lambda body=body: decode_page(body, account="default")) for body in (small, large))

    assert many < few + 50
    assert few < 1_000


def test_no_row_becomes_a_python_object():
    """What Python allocates for a page does not grow with its rows: these are Arrow's alone."""
    small, large = (json.dumps(json.loads(body_of(count))).encode() for count in (100, 10_000))

    little, much = (peak_of(lambda body=body: decode_page(body, account="default")) for body in (small, large))

    assert much < little + 20_000


def peak_of(work: Callable[[], object]) -> int:
    """Return the most bytes that Python has allocated at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_row_of_a_walk_costs_a_call():
    """Pages are compared with one another as a whole."""
    counts = []
    for rows in (100, 5_000):
        pages = [decode_page(part, account="default") for part in two_pages(rows)]
        counts.append(calls_of(lambda pages=pages: list(walk(lambda **_: pages.pop(0), order="asc"))))

    assert counts[1] < counts[0] + 100


def two_pages(rows: int) -> list[bytes]:
    """Return the pages of a listing of two, which do not say that there are more but for the first."""
    emulator = Emulator(clock=Clock(NOW))
    emulator.populate(2 * rows, start=NOW - DAY, end=NOW - 3_600)
    with FilesClient(Account(base_url="http://127.0.0.1/v1"), transport=httpx.WSGITransport(app=emulator)) as client:
        pages: list[Page] = list(client.pages(limit=rows, order="asc"))
    return [page.body for page in pages]
