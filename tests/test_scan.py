"""A complete listing on several chains gives what a listing page after page gives, whatever happens meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from threading import Barrier, BrokenBarrierError
from threading import enumerate as enumerate_threads
from typing import Literal

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from files_source.accounts import Account
from files_source.borders import MOST
from files_source.client import FilesClient
from files_source.coverage import Rung
from files_source.emulator import ODDITIES, Clock, Emulator, Fault, Oddities, status
from files_source.emulator.delivery import Delivery
from files_source.errors import ApiError, CursorError, FilesSourceError
from files_source.scan import Scan
from tests.conftest import NOW
from tests.test_faults import HOPELESS

Connect = Callable[..., FilesClient]
SERVERS = [Oddities(), *(ODDITIES[name] for name in sorted(ODDITIES.keys() - HOPELESS))]
START = NOW - 86_400


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to an account's files before a request is answered."""

    what: Literal["delete", "delete border", "add", "add in the past"]
    number: int


@dataclass(slots=True)
class World:
    """An account, what happens to it, and which of its files a listing must and may hold."""

    emulator: Emulator
    borders: tuple[Rung, ...]
    must: set[str]
    may: set[str]

    def change(self, change: Change) -> None:
        ids = self.emulator.ids()
        match change.what:
            case "add":
                self.may.add(self._add(NOW))
            case "add in the past":
                self.may.add(self._add(START + change.number))
            case "delete border" if self.borders:
                self._delete(self.borders[change.number % len(self.borders)].file_id)
            case "delete" if ids:
                self._delete(ids[change.number % len(ids)])

    def _add(self, created_at: int) -> str:
        return str(self.emulator.add(created_at=created_at)["id"])

    def _delete(self, file_id: str) -> None:
        with suppress(KeyError):
            self.emulator.remove(file_id)
        self.must.discard(file_id)


changes = st.builds(
    Change, st.sampled_from(["delete", "delete", "delete border", "add", "add in the past"]), st.integers(0, 60)
)
seconds = st.lists(st.integers(0, 12), max_size=60)
"""When files are created: few seconds, so that borders and ends meet among files of one."""


def scan_of(emulator: Emulator, *, workers: int, limit: int, known: tuple[Rung, ...] = ()) -> Scan:
    """Scan without a socket: the requests come on several threads all the same."""
    transport = httpx.WSGITransport(app=emulator)
    client = FilesClient(Account(base_url="http://127.0.0.1/v1"), max_retries=0, transport=transport)
    return Scan(client=client, overlap=60, limit=limit, workers=workers, known=known)


def ids_of(scan: Scan) -> list[str]:
    return [file_id for table in scan.batches() for file_id in table.column("id").to_pylist()]


@settings(max_examples=400)
@given(
    seconds=seconds,
    limit=st.integers(2, 7),
    workers=st.integers(2, 5),
    remembers=st.booleans(),
    server=st.sampled_from(SERVERS),
    between=st.lists(changes, max_size=12),
    meanwhile=st.lists(st.tuples(st.integers(1, 12), changes), max_size=6),
)
@example(  # the newest end meets the oldest amid the files of one second
    seconds=[0, 1, *[5] * 20, 8, 9],
    limit=3,
    workers=2,
    remembers=False,
    server=Oddities(ties_by_id=True),
    between=[],
    meanwhile=[],
)
@example(  # the order is seen to be ignored only when the newest end has its first page
    seconds=[0, 1, 2, 3],
    limit=1,
    workers=2,
    remembers=False,
    server=Oddities(order_ignored=True),
    between=[],
    meanwhile=[],
)
def test_it_gives_what_is_there_once(
    seconds: list[int],
    limit: int,
    workers: int,
    remembers: bool,
    server: Oddities,
    between: list[Change],
    meanwhile: list[tuple[int, Change]],
):
    """Files that are there all the time come once; those that come or go meanwhile come once or not at all."""
    emulator = Emulator(clock=Clock(NOW), oddities=server)
    for second in sorted(seconds):
        emulator.add(created_at=START + second)
    known: tuple[Rung, ...] = ()
    if remembers:
        earlier = scan_of(emulator, workers=workers, limit=limit)
        ids_of(earlier)
        known = earlier.borders
    world = World(emulator, known, set(emulator.ids()), set(emulator.ids()))
    for change in between:
        world.change(change)
    world.must |= set(emulator.ids())
    for request, change in meanwhile:
        emulator.fail(meets(world, change), at=request)

    try:
        found = Counter(ids_of(scan_of(emulator, workers=workers, limit=limit, known=known)))
    except CursorError as error:
        assert "deleted faster than they are listed" in str(error)  # noqa: PT017 - it need not come
        assert any(change.what.startswith("delete") for _, change in meanwhile)
        return

    assert [file_id for file_id, times in found.items() if times > 1] == []
    assert world.must <= found.keys() <= world.may


def meets(world: World, change: Change) -> Fault:
    """Let something happen before a request is answered."""

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        world.change(change)
        return Delivery(call.answer())

    return Fault("change", spoil)


@pytest.mark.parametrize("name", sorted(HOPELESS))
@pytest.mark.parametrize("files", [30, 110, 500])
def test_a_server_that_no_client_sees_through_ends_in_an_error_or_all_files(
    name: str, files: int, emulator: Emulator, connect: Connect
):
    """Whatever chain meets with its oddity, and whether the ends meet before: never in a part of them."""
    emulator.oddities = ODDITIES[name]
    emulator.populate(files, start=START, end=NOW - 3_600)

    try:
        found = ids_of(Scan(client=connect(), overlap=60, limit=100))
    except FilesSourceError:
        return

    assert sorted(found) == sorted(emulator.ids())


@pytest.mark.parametrize("workers", [1, 8])
def test_a_listing_of_one_page_costs_one_request(workers: int, emulator: Emulator, connect: Connect):
    """There is nothing to be done at once."""
    emulator.populate(100, start=START, end=NOW - 3_600)
    scan = Scan(client=connect(), overlap=60, limit=100, workers=workers)

    assert sorted(ids_of(scan)) == sorted(emulator.ids())
    assert len(emulator.requests) == 1


def test_the_ends_meet_after_hardly_more_pages_than_there_are(emulator: Emulator, connect: Connect):
    """Each end may read one page of what the other has given."""
    emulator.populate(2_000, start=START, end=NOW - 3_600)
    scan = Scan(client=connect(), overlap=60, limit=100)

    assert sorted(ids_of(scan)) == sorted(emulator.ids())
    assert 20 <= len(emulator.requests) <= 22
    assert {request.query["order"] for request in emulator.requests} == {"asc", "desc"}


def test_a_second_scan_starts_at_all_borders_and_asks_no_more(emulator: Emulator, connect: Connect):
    """As many requests are under way as there are workers, and no page is read twice."""
    emulator.populate(2_000, start=START, end=NOW - 3_600)
    client = connect()
    first = Scan(client=client, overlap=60, limit=100)
    ids_of(first)
    emulator.requests.clear()
    meeting = Barrier(8)

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        with suppress(BrokenBarrierError):  # then the last assertion fails
            meeting.wait(timeout=20)
        return Delivery(call.answer())

    emulator.fail(Fault("meet", spoil), at=2, times=16)
    scan = Scan(client=client, overlap=60, limit=100, known=first.borders)

    assert sorted(ids_of(scan)) == sorted(emulator.ids())
    assert len(emulator.requests) <= 22
    assert not meeting.broken


@pytest.mark.parametrize("gone", [400, 404, "end"])
def test_borders_that_are_gone_cost_a_request_each(gone: Literal[400, 404, "end"], clock: Clock):
    """Also where the answer looks like the end of the listing."""
    emulator = Emulator(clock=clock, oddities=Oddities(vanished_cursor=gone))
    emulator.populate(500, start=START, end=NOW - 3_600)
    first = scan_of(emulator, workers=4, limit=50)
    ids_of(first)
    for border in first.borders:
        emulator.remove(border.file_id)
    emulator.requests.clear()

    scan = scan_of(emulator, workers=4, limit=50, known=first.borders)

    assert sorted(ids_of(scan)) == sorted(emulator.ids())
    assert len([request for request in emulator.requests if request.path == "/v1/files"]) <= 12 + len(first.borders)
    assert scan.borders != first.borders


def test_as_many_borders_are_kept_as_a_state_has_room_for(emulator: Emulator, connect: Connect):
    """Of a long listing they lie evenly apart, at the ends of pages."""
    for second in range(1_000):
        emulator.add(created_at=START + second)
    scan = Scan(client=connect(), overlap=60, limit=2)
    ids_of(scan)

    kept = [border.file_id for border in scan.borders]

    positions = [emulator.ids().index(file_id) for file_id in kept]
    assert MOST / 2 < len(kept) <= MOST
    assert positions == sorted(positions)
    assert max(later - earlier for earlier, later in pairwise(positions)) <= 10


@pytest.mark.parametrize("remembers", [False, True], ids=["from both ends", "from borders"])
def test_an_order_that_is_lost_amid_the_listing_costs_a_listing_more(
    remembers: bool, emulator: Emulator, connect: Connect
):
    """The chains can no longer tell what each has given: one goes on alone, without what has been given."""
    for second in range(1_000):
        emulator.add(created_at=START + second)
    client = connect()
    known: tuple[Rung, ...] = ()
    if remembers:
        earlier = Scan(client=client, overlap=60, limit=50)
        ids_of(earlier)
        known = earlier.borders
    created_at = f'"created_at":{START + 320}'.encode()

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        delivery = Delivery(call.answer())
        body = delivery.response.get_data()
        delivery.response.set_data(body.replace(created_at, b'"created_at":%d' % (START + 5)))
        return delivery

    emulator.fail(Fault("displace", spoil), times=None)
    scan = Scan(client=client, overlap=60, limit=50, known=known)

    assert sorted(ids_of(scan)) == sorted(emulator.ids())
    assert (scan.is_ordered, scan.is_distinct, scan.borders) == (False, False, ())


def test_an_end_that_the_newest_first_listing_claims_too_early_is_not_believed(emulator: Emulator, connect: Connect):
    """What counts is the oldest end: it goes on to where the other has been."""
    emulator.populate(1_000, start=START, end=NOW - 3_600)

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        delivery = Delivery(call.answer())
        if call.request.args["order"] == "desc":
            body = delivery.response.get_data()
            delivery.response.set_data(body.replace(b'"has_more":true', b'"has_more":false'))
        return delivery

    emulator.fail(Fault("claim", spoil), times=None)

    assert sorted(ids_of(Scan(client=connect(), overlap=60, limit=50))) == sorted(emulator.ids())


def test_files_of_one_second_over_many_pages_may_have_come_twice(emulator: Emulator, connect: Connect):
    """Pages are compared with their neighbours only; who loads them must know."""
    emulator.add_many(300, created_at=START)
    emulator.populate(300, start=START + 1, end=NOW - 3_600)
    client = connect()
    first = Scan(client=client, overlap=60, limit=50)
    ids_of(first)
    again = Scan(client=client, overlap=60, limit=50, known=first.borders)
    ids_of(again)

    assert (first.is_distinct, again.is_distinct) == (False, False)


def test_an_error_of_any_chain_ends_the_scan(emulator: Emulator, connect: Connect):
    """A part of a listing is never taken for the whole."""
    emulator.populate(1_000, start=START, end=NOW - 3_600)
    emulator.fail(status(403), at=5)

    with pytest.raises(ApiError, match="403"):
        ids_of(Scan(client=connect(), overlap=60, limit=50))


def test_a_scan_that_is_left_sends_no_more_requests(emulator: Emulator, connect: Connect):
    """Who has seen enough closes it: what is under way ends, and nothing follows."""
    emulator.populate(5_000, start=START, end=NOW - 3_600)
    pages = Scan(client=connect(), overlap=60, limit=10).pages()

    next(pages)
    second = next(pages)
    pages.close()
    while any(thread.name.endswith("(work)") for thread in enumerate_threads()):
        pass

    assert second.files.num_rows
    assert len(emulator.requests) < 12


def test_a_key_that_is_refused_is_sent_once(emulator: Emulator, connect: Connect):
    """The first page comes alone."""
    emulator.fail(status(401), times=None)

    with pytest.raises(ApiError, match="401"):
        ids_of(Scan(client=connect(), overlap=60))

    assert len(emulator.requests) == 1
