"""Every fault of the emulator during a sync: recovered exactly, or one clear error with nothing half-loaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from files_source import retries
from files_source.client import FilesClient
from files_source.emulator import FAULTS, ODDITIES, Clock, Emulator
from files_source.errors import FilesSourceError
from files_source.syncing import sync
from tests.conftest import NOW, loaded

Connect = Callable[..., FilesClient]
PLACE = "inventory.duckdb"
HOPELESS = {"null data", "no data", "after ignored", "last page repeats"}
"""Oddities that no client can see through: they end in an error."""
BOUND = 30.0
"""Seconds of CPU and waiting, but for the waits between retries, that a run may take."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the retries follow one another at once."""
    monkeypatch.setattr(retries.time, "sleep", lambda _: None)


@pytest.mark.parametrize("at", [1, 3], ids=["first page", "middle page"])
@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_is_survived_or_told(name: str, at: int, emulator: Emulator, clock: Clock, connect: Connect):
    """The run has the right rows, or fails with one line; the next one has the right rows in any case."""
    emulator.populate(500, start=NOW - 86_400, end=NOW - 3_600)
    living = emulator.ids()
    emulator.fail(FAULTS[name], at=at)

    told = attempt(connect(timeout=0.3), limit=100)

    survivors = set(emulator.ids())
    if told is None:
        assert survivors <= set(loaded(PLACE)) <= set(living)
        assert len(loaded(PLACE)) == len(set(loaded(PLACE)))
    else:
        assert "\n" not in told
        assert not has_table(PLACE)
        emulator.recover()
        assert attempt(connect(), limit=100) is None
        assert survivors <= set(loaded(PLACE)) <= set(living)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_never_ends_is_told_in_time(name: str, emulator: Emulator, connect: Connect):
    """Nothing loops for ever: each run ends with all rows or with one line, and asks a bounded number of times."""
    emulator.populate(300, start=NOW - 86_400, end=NOW - 3_600)
    living = emulator.ids()
    emulator.fail(FAULTS[name], at=2, times=None)
    began = time.monotonic()

    told = attempt(connect(timeout=0.2, max_retries=2), limit=100)

    assert time.monotonic() - began < BOUND
    assert len(emulator.requests) < 60
    if told is None:
        assert set(emulator.ids()) <= set(loaded(PLACE)) <= set(living)
    else:
        assert not has_table(PLACE)


@pytest.mark.parametrize("name", ODDITIES)
def test_an_odd_server_gives_the_right_rows_or_a_clear_error(
    name: str, emulator: Emulator, clock: Clock, connect: Connect
):
    """Also over a second run with new files, which must never be missed in silence."""
    emulator.oddities = ODDITIES[name]
    emulator.populate(500, start=NOW - 86_400, end=NOW - 3_600)

    told = attempt(connect(), limit=100)
    assert (told is None) == (name not in HOPELESS)
    if told is not None:
        assert "\n" not in told
        assert not has_table(PLACE)
        return
    assert loaded(PLACE) == sorted(emulator.ids())
    emulator.add_many(7, created_at=NOW)
    emulator.remove(emulator.ids()[3])
    before = set(loaded(PLACE))
    clock.advance(61)
    assert attempt(connect(), limit=100) is None
    assert loaded(PLACE) == sorted(before | set(emulator.ids()))


@pytest.mark.parametrize("most", [20, 100, 999])
def test_a_server_with_smaller_pages_is_asked_for_less(most: int, emulator: Emulator, connect: Connect):
    """A refused `limit` is halved until the server takes it."""
    emulator.max_limit = most
    emulator.populate(300, start=NOW - 86_400, end=NOW - 3_600)

    sync(PLACE, client=connect())

    assert loaded(PLACE) == sorted(emulator.ids())


def has_table(place: str) -> bool:
    if not Path(place).exists():
        return False
    with duckdb.connect(place, read_only=True) as database:
        return bool(database.execute("FROM duckdb_tables() WHERE table_name = 'files'").fetchall())


def attempt(client: FilesClient, **options: int) -> str | None:
    """Sync, and return the error's message if it fails."""
    try:
        sync(PLACE, client=client, **options)
    except FilesSourceError as error:
        return str(error)
    return None
