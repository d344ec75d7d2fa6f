"""Every fault of the emulator during a run: recovered exactly, or one clear error with nothing half-loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import combinations, product
from pathlib import Path

import pytest

from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.emulator import FAULTS, ODDITIES, Clock, Emulator
from files_source.syncing import SyncedInPart, sync
from files_source.tables import read_table
from tests.conftest import NOW, loaded
from tests.fault_matrix import (
    CASES,
    MODES,
    PAGE,
    PATIENCE,
    PLACES,
    POSITIONS,
    RECOVERED,
    TABLES,
    TOLD,
    Case,
    check_held,
    check_told,
    failure,
    held,
    held_of,
    loaded_tables,
    outcome,
    populated,
    sample,
    shown,
)
from tests.readme import README

Connect = Callable[..., FilesClient]
PLACE = "lake/"
FULL = os.environ.get("FAULT_MATRIX") == "full"
"""Whether every case is tried by itself, as by `make faults`; otherwise each only among others."""
TRIED = CASES if FULL else sample()
WAYS = list(product(MODES, PLACES))
SHOWN = shown(README.read_text())
"""What the README says of each fault."""
HOPELESS = {"null data", "no data", "after ignored", "last page repeats"}
"""Oddities that no client can see through: they end in an error."""


@pytest.mark.parametrize("workers", [1, 8] if FULL else [8], ids=lambda number: f"{number} workers")
@pytest.mark.parametrize("case", TRIED, ids=str)
def test_one_fault_is_survived_or_told(case: Case, workers: int, tmp_path: Path):
    """The place is right, or the error is clear and nothing loaded, as the README says; the next run has it right."""
    ended = outcome(case, tmp_path, workers=workers)

    assert ended == SHOWN.get(case.fault, ended) or (ended == RECOVERED and workers > 1)


def test_in_the_sample_every_two_values_meet():
    """Each fault with each page, kind of run and kind of place, and those with one another."""
    fields = Case.__slots__
    for one, other in combinations(fields, 2):
        met, could_meet = (
            {(getattr(case, one), getattr(case, other)) for case in cases} for cases in (sample(), CASES)
        )
        assert met == could_meet


Crowd = dict[str, tuple[Case, Emulator, Account]]


@pytest.mark.parametrize(("mode", "place"), WAYS)
class TestCrowd:
    """All faults at all pages in one run: each strikes an account of its own, and no other's."""

    @pytest.fixture
    def crowd(self, cases: list[Case], mode: str, place: str) -> Iterator[Crowd]:
        """Serve an account for each case."""
        with ExitStack() as opened:
            found = {}
            for seed, case in enumerate(case for case in cases if (case.mode, case.place) == (mode, place)):
                emulator = populated(seed)
                server = opened.enter_context(emulator.serve())
                found[str(case)] = case, emulator, Account(name=str(case), base_url=server.url)
            yield found

    @pytest.fixture
    def run(self, crowd: Crowd, mode: str, place: str) -> Callable[[], dict[str, str]]:
        """Load them all, and return what went wrong, by the account's name."""
        accounts = [account for _, _, account in crowd.values()]
        load = partial(sync, PLACES[place], accounts=accounts, history=MODES[mode], limit=PAGE, timeout=PATIENCE)

        def run() -> dict[str, str]:
            error = failure(load)
            assert error is None or isinstance(error, SyncedInPart)
            return error.failures if error else {}

        return run

    @pytest.mark.parametrize("cases", [TRIED], ids=["tried"])
    def test_in_a_first_run(self, mode: str, place: str, crowd: Crowd, run: Callable[[], dict[str, str]]):
        """Each account is there whole or not at all, as when it is loaded alone; the next run makes up for it."""
        to = PLACES[place]
        living = {name: emulator.ids() for name, (_, emulator, _) in crowd.items()}
        for case, emulator, _ in crowd.values():
            emulator.fail(FAULTS[case.fault], at=POSITIONS[case.position])

        failures = run()

        assert dict(read_table(to, "scans").select("account", "error").iter_rows()) == dict.fromkeys(crowd) | failures
        found, accounts = held_of(to, mode), set(read_table(to, TABLES[mode, place])["account"])
        for name, (case, emulator, _) in crowd.items():
            ended = TOLD if name in failures else RECOVERED
            assert ended == SHOWN.get(case.fault, ended)
            if name in failures:
                check_told(failures[name])
                assert name not in accounts
            else:
                check_held(found[name], must=emulator.ids(), may=living[name])
            emulator.recover()
        assert failures
        assert run() == {}
        found = held_of(to, mode)
        for name, (_, emulator, _) in crowd.items():
            check_held(found[name], must=emulator.ids(), may=emulator.ids() if MODES[mode] else living[name])

    @pytest.mark.parametrize("cases", [TRIED], ids=["tried"])
    def test_in_a_later_run(self, mode: str, place: str, crowd: Crowd, run: Callable[[], dict[str, str]]):
        """What an account had stays as it was, or becomes exactly right; no failure retires a file that is gone."""
        to = PLACES[place]
        assert run() == {}
        before, living = {}, {}
        for name, (case, emulator, _) in crowd.items():
            before[name] = emulator.ids()
            emulator.remove(emulator.ids()[7])
            emulator.populate(4 * PAGE, start=NOW, end=NOW + 3_600)
            emulator.clock = Clock(NOW + 7_200)
            living[name] = emulator.ids()
            emulator.fail(FAULTS[case.fault], at=POSITIONS[case.position])

        failures = run()

        found = held_of(to, mode)
        for name, (_, emulator, _) in crowd.items():
            kept = [] if MODES[mode] else before[name]
            if name in failures:
                assert sorted(found[name]) == sorted(before[name])
            else:
                check_held(found[name], must=[*kept, *emulator.ids()], may=[*kept, *living[name]])
            emulator.recover()
        assert failures
        assert run() == {}
        found = held_of(to, mode)
        for name, (_, emulator, _) in crowd.items():
            kept = [] if MODES[mode] else [*before[name], *living[name]]
            check_held(found[name], must=emulator.ids(), may=[*kept, *emulator.ids()])


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_never_ends_is_told_in_time(name: str, emulator: Emulator, connect: Connect):
    """Nothing loops for ever: each run ends with all rows or with one line, and asks a bounded number of times."""
    emulator.populate(300, start=NOW - 86_400, end=NOW - 3_600)
    living = emulator.ids()
    emulator.fail(FAULTS[name], at=2, times=None)
    client = connect(timeout=0.2, max_retries=2)

    error = failure(partial(sync, PLACE, client=client, limit=100))

    assert len(emulator.requests) < 60
    if error is None:
        check_held(held(PLACE, "incremental"), must=emulator.ids(), may=living)
    else:
        check_told(str(error))
        assert loaded_tables(PLACE) == {"scans"}


@pytest.mark.parametrize(("mode", "place"), WAYS if FULL else WAYS[::3])
@pytest.mark.parametrize("name", ODDITIES)
def test_an_odd_server_gives_the_right_rows_or_a_clear_error(
    name: str, mode: str, place: str, emulator: Emulator, clock: Clock, connect: Connect
):
    """Also over a second run with new files, which must never be missed in silence."""
    emulator.oddities = ODDITIES[name]
    emulator.populate(500, start=NOW - 86_400, end=NOW - 3_600)
    workers = 1 if name in HOPELESS else 8  # from both ends, a listing may come to its middle before it goes wrong
    run = partial(sync, PLACES[place], client=connect(), limit=100, history=MODES[mode], workers=workers)

    error = failure(run)

    assert (error is None) == (name not in HOPELESS)
    if error is not None:
        check_told(str(error))
        assert loaded_tables(PLACES[place]) == {"scans"}
        return
    before = emulator.ids()
    assert sorted(held(PLACES[place], mode)) == sorted(before)
    emulator.add_many(7, created_at=NOW)
    emulator.remove(emulator.ids()[3])
    clock.advance(61)
    assert failure(run) is None
    assert sorted(held(PLACES[place], mode)) == sorted({*emulator.ids()} if MODES[mode] else {*before, *emulator.ids()})


@pytest.mark.parametrize("most", [20, 100, 999])
def test_a_server_with_smaller_pages_is_asked_for_less(most: int, emulator: Emulator, connect: Connect):
    """A refused `limit` is halved until the server takes it."""
    emulator.max_limit = most
    emulator.populate(300, start=NOW - 86_400, end=NOW - 3_600)

    sync(PLACE, client=connect())

    assert loaded(PLACE) == sorted(emulator.ids())
