"""What a cleanup shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from files_source import Cleanup
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator, Oddities
from files_source.errors import ConfigError
from tests.cleanups import (
    DAY,
    Connect,
    add_files,
    ids,
)
from tests.conftest import NOW

FILES = st.lists(st.tuples(st.integers(-5, 5), st.sampled_from(["batch", "batch_output", "vision"])), max_size=30)


@settings(max_examples=30)
@given(
    files=FILES,
    older_than=st.none() | st.just(timedelta(days=90)),
    purpose=st.none() | st.sampled_from(["batch_output", "none"]),
    limit=st.integers(1, 7),
    oddities=st.sampled_from(
        [Oddities(), Oddities(order_ignored=True), Oddities(first_two_transposed=True), Oddities(ties_by_id=True)]
    ),
)
@example([(0, "batch")] * 3 + [(-1, "batch")], timedelta(days=90), None, 2, Oddities(order_ignored=True))
def test_they_are_the_files_of_that_age_and_purpose(
    files: list[tuple[int, str]],
    older_than: timedelta | None,
    purpose: str | None,
    limit: int,
    oddities: Oddities,
):
    """Whatever the account holds, and in whichever order the server lists it: those and no others, each once."""
    emulator = Emulator(clock=Clock(NOW), oddities=oddities)
    edge = NOW - 90 * DAY
    for seconds, kind in files:
        emulator.add(created_at=edge + seconds, purpose=kind)
    expected = [
        file["id"] for file in emulator.files(purpose) if older_than is None or int(str(file["created_at"])) < edge
    ]

    with (
        in_process(emulator) as client,
        Cleanup(client=client, limit=limit).candidates(older_than=older_than, purpose=purpose) as found,
    ):
        listed, total = ids(found), found.total

    assert sorted(listed) == sorted(map(str, expected))
    assert (total.files, total.bytes, total.unknown_size) == (len(expected), 1_000 * len(expected), 0)


def test_a_file_is_judged_by_what_it_says_itself():
    """A server that ignores `purpose` puts no other file in danger."""
    emulator = Emulator(clock=Clock(NOW))
    wanted = emulator.add(created_at=NOW - DAY, purpose="batch_output")
    emulator.add(created_at=NOW - DAY, purpose="fine-tune")
    client = FilesClient(
        Account(base_url="http://made-up/v1"),
        transport=WithoutPurpose(httpx.WSGITransport(app=emulator)),
    )

    with client, Cleanup(client=client).candidates(purpose="batch_output") as found:
        assert ids(found) == [wanted["id"]]


def test_young_files_are_not_listed(emulator: Emulator, connect: Connect):
    """The listing ends at the first of them."""
    old = add_files(emulator, old=25, young=1_000)

    with Cleanup(client=connect(), limit=10).candidates(older_than=timedelta(days=90)) as found:
        assert sorted(ids(found)) == sorted(old)

    assert [request.query["order"] for request in emulator.requests] == ["asc"] * 3


def test_a_clock_that_is_ahead_makes_no_file_older():
    """Neither this machine's, against the server's, nor the other way round."""
    here = int(datetime.now(UTC).timestamp())
    ahead, behind = Emulator(clock=Clock(here + 400 * DAY)), Emulator(clock=Clock(here - 400 * DAY))
    ahead.add(created_at=here - DAY)
    behind.add(created_at=here - 401 * DAY)

    for emulator in (ahead, behind):
        with (
            in_process(emulator) as client,
            Cleanup(client=client).candidates(older_than=timedelta(days=90)) as found,
        ):
            assert ids(found) == []


def test_a_file_that_is_listed_twice_is_one():
    """On pages far apart, too."""
    emulator = Emulator(clock=Clock(NOW))
    emulator.add_many(6, created_at=NOW - DAY)
    twice = Twice(httpx.WSGITransport(app=emulator))
    client = FilesClient(Account(base_url="http://made-up/v1"), transport=twice)

    with client, Cleanup(client=client, limit=1).candidates(purpose="batch") as found:
        assert sorted(ids(found)) == sorted(emulator.ids())
        assert found.total.files == 6


def test_what_cannot_be_meant_is_refused(connect: Connect):
    """Before anything is asked."""
    cleanup = Cleanup(client=connect())

    with pytest.raises(ConfigError, match="purpose is empty"):
        cleanup.candidates(purpose="")
    with pytest.raises(ConfigError, match=r"older_than .* is negative"):
        cleanup.candidates(older_than=timedelta(days=-1))


class WithoutPurpose(httpx.BaseTransport):
    """A server that overlooks `purpose`."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_remove_param("purpose")
        return self._transport.handle_request(request)


class Twice(httpx.BaseTransport):
    """A server that lists the second file again on the fifth page."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport
        self._pages: list[dict[str, Any]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._transport.handle_request(request)
        page = json.loads(response.read())
        self._pages.append(page)
        if len(self._pages) == 5:
            page["data"].insert(0, self._pages[1]["data"][0])
        return httpx.Response(200, json=page)


def in_process(emulator: Emulator) -> FilesClient:
    """Connect to an emulator without a server."""
    return FilesClient(Account(base_url="http://made-up/v1"), transport=httpx.WSGITransport(app=emulator))
