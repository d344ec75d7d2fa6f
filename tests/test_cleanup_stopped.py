"""A cleanup that does not come to its end, and the next."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from files_source import sweep
from files_source.emulator import Clock, Emulator, Fault
from files_source.emulator.delivery import Delivery
from tests import killed
from tests.cleanups import (
    DAY,
    DELETE,
    FOR_GOOD,
    OLD,
    Command,
    add_files,
    deleted_by,
    done_and_hanging,
    journal_of,
    recorded,
)
from tests.commands import Ended, finish, start
from tests.conftest import NOW, loaded

KILLS = int(os.environ.get("CRASH_KILLS", "0"))
"""How many cleanups are killed in each way, evenly spread over their file operations; `make crash` sets it."""

WAYS = [(place, later) for place in ("inventory.duckdb", "lake/") for later in (False, True)][:: 1 if KILLS else 3]

pytestmark = pytest.mark.timeout(120 + KILLS * 30)


@pytest.mark.parametrize(
    ("number", "place"),
    [(signal.SIGINT, "inventory.duckdb"), (signal.SIGTERM, "lake/")],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_by_a_signal(number: signal.Signals, place: str, emulator: Emulator, command: Command):
    """What was done is told, and recorded at once; what was under way, and the rest, by the next run."""
    old = add_files(emulator)
    asked = Event()
    emulator.fail(done_and_hanging(asked), at=12, **DELETE)

    process = start(*FOR_GOOD, "--to", place, "--workers", "2")
    assert asked.wait(60)
    process.send_signal(number)
    ended = finish(process)

    assert ended.status == 128 + number
    assert re.match(r"interrupted( by SIGTERM)?: no more files are deleted", ended.error)
    gone = set(old) - set(emulator.ids())
    assert set(recorded(place)) < gone
    assert len(recorded(place)) >= 11 - 1
    assert f"\n{len(recorded(place))} files deleted in " in ended.out
    resume(place, emulator, command, old)


@pytest.mark.parametrize("place", ["lake/"])
def test_by_a_kill(place: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch):
    """Between the server's deed and its answer; the answer no to the next question leaves nothing without a record."""
    old = add_files(emulator)
    asked = Event()
    emulator.fail(done_and_hanging(asked), at=12, **DELETE)

    process = start(*FOR_GOOD, "--to", place, "--workers", "1")
    assert asked.wait(60)
    process.kill()
    assert finish(process).status == -signal.SIGKILL

    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    answered = command(*OLD, "--delete", "--to", place)
    assert answered.status == 1
    assert answered.lines[0] == f"12 deletions of a cleanup that was stopped, now recorded in {place}"
    assert recorded(place) == sorted(deleted_by(emulator))
    assert len(recorded(place)) == 12
    resume(place, emulator, command, old)


def test_what_is_done_is_recorded_now_and_then(emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch):
    """Not only at the end: the machine may be lost, with its journal."""
    monkeypatch.setattr(sweep, "_SECONDS", 0)
    add_files(emulator, old=3)
    held: list[list[str]] = []
    emulator.fail(watched(lambda: held.append(recorded("lake/"))), at=2, times=None, **DELETE)

    command(*FOR_GOOD, "--to", "lake/", "--workers", "1")

    assert [len(ids) for ids in held] == [1, 2]
    assert len(recorded("lake/")) == 3


def test_no_deletion_is_asked_for_that_is_not_safe_on_disk(
    place: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """The power may fail at any time."""
    old = add_files(emulator)
    safe, lines = bytearray(), []
    synced = os.fsync

    def sync(descriptor: int) -> None:
        synced(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path == journal_of(place).resolve():
            safe[:] = path.read_bytes()

    monkeypatch.setattr(os, "fsync", sync)
    emulator.fail(watched(lambda: lines.append(bytes(safe))), times=None, **DELETE)

    command(*FOR_GOOD, "--to", place, "--workers", "1")

    assert len(lines) == 30
    assert [file_id.encode() in line for file_id, line in zip(deleted_by(emulator), lines, strict=True)] == [True] * 30
    assert recorded(place) == sorted(old)


@pytest.mark.parametrize(("place", "later"), WAYS)
def test_at_any_moment(later: bool, place: str, emulator: Emulator, command: Command):
    """Killed at file operations spread over all that it does, and between commits and notes; then run again."""
    for moment in moments(place, emulator, command, later=later):
        where = named(moment, place)
        earlier = prepare(where, emulator, command, later=later)
        old = add_files(emulator, old=12, young=2)
        assert killed.fork(moment, *FOR_GOOD, "--to", where) == -signal.SIGKILL

        resume(where, emulator, command, old, earlier)
        print(f"killed at {moment}: nothing lost, nothing doubled, nothing else deleted")


def test_by_a_full_disk(emulator: Emulator, command: Command):
    """No deletion is asked for that cannot be noted before."""
    place = "lake/"
    earlier = prepare(place, emulator, command, later=True)
    old = add_files(emulator, old=200)

    ended = killed.fork_and_listen("full-journal", *FOR_GOOD, "--to", place)

    assert (ended.status, ended.out.count("files deleted")) == (1, 0)
    assert "deletions.jsonl, which notes each deletion before it is asked for, cannot be written" in ended.err
    assert 0 < len(set(old) - set(emulator.ids())) < 200
    resume(place, emulator, command, old, earlier)


@pytest.mark.parametrize(
    ("step", "place"),
    [("extract", "inventory.duckdb"), ("load", "inventory.duckdb"), ("load", "lake/")],
    ids=["on the way", "duckdb", "parquet"],
)
def test_by_a_disk_that_is_full_when_it_comes_to_recording(
    step: str, place: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """The line says that the deletions are noted, and the next run records them."""
    monkeypatch.setenv("LOAD__RAISE_ON_MAX_RETRIES", "1")
    earlier = prepare(place, emulator, command, later=True)
    names = (os.urandom(40_000).hex() for _ in range(100))
    old = [str(emulator.add(created_at=NOW - 91 * DAY, filename=name)["id"]) for name in names]

    ended = killed.fork_and_listen(f"full-{step}", *FOR_GOOD, "--to", place)

    assert ended.status == 1
    assert "File too large" in ended.err
    assert recorded(place) == sorted(earlier)
    assert set(old).isdisjoint(emulator.ids())
    resume(place, emulator, command, old, earlier)


def test_a_load_that_never_became_complete_is_not_completed_by_a_cleanup(
    clock: Clock, emulator: Emulator, command: Command
):
    """A folder's state of a load that died says more than is there: a cleanup must not make it true."""
    add_files(emulator, old=5)
    clock.advance(DAY)
    command("sync", "--to", "lake/")
    emulator.add_many(10, created_at=int(clock()))
    clock.advance(DAY)
    everything = sorted(emulator.ids())
    assert killed.fork("state", "sync", "--to", "lake/") == -signal.SIGKILL

    command("cleanup", "--purpose", "none", "--delete", "--yes", "--to", "lake/")
    emulator.add(file_id="file-none", created_at=NOW, purpose="none")
    command("cleanup", "--purpose", "none", "--delete", "--yes", "--to", "lake/")
    command("sync", "--to", "lake/")

    assert recorded("lake/") == ["file-none"]
    assert loaded("lake/") == everything


def resume(place: str, emulator: Emulator, command: Command, old: list[str], earlier: list[str] | None = None) -> Ended:
    """Run again, and see to it that each deletion is recorded once, and nothing else was deleted."""
    others = set(emulator.ids()) - set(old)
    asked = [file_id for file_id in deleted_by(emulator) if file_id in others]
    emulator.recover()

    again = command(*FOR_GOOD, "--to", place)

    assert (again.status, asked) == (0, [])
    assert set(emulator.ids()) == others
    assert recorded(place) == sorted([*old, *(earlier or [])])
    assert not journal_of(place).exists()
    assert command(*FOR_GOOD, "--to", place).out == "0 files (0 B)\n"
    return again


def watched(look: Callable[[], object]) -> Fault:
    """Do what is asked, after a look."""

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        look()
        return Delivery(call.answer())

    return Fault("watched", spoil)


def named(name: str, place: str) -> str:
    """Return a place of the same kind with another name."""
    return f"{name}/" if place.endswith("/") else f"{name}.duckdb"


def prepare(place: str, emulator: Emulator, command: Command, *, later: bool) -> list[str]:
    """Make a cleanup into a place that comes to its end, if there is to be one, and return what it deleted."""
    if not later:
        return []
    old = add_files(emulator, old=1, young=0)
    assert command(*FOR_GOOD, "--to", place).status == 0
    return old


def moments(place: str, emulator: Emulator, command: Command, *, later: bool) -> Iterator[str]:
    """Yield moments to die at: spread evenly over the file operations of a cleanup, and between its steps."""
    where = named("counted", place)
    prepare(where, emulator, command, later=later)
    add_files(emulator, old=12, young=0)
    assert killed.fork("0", *FOR_GOOD, "--to", where) == 0
    operations = int(Path("operations.txt").read_text())
    kills = KILLS or 1
    for kill in range(kills):
        yield str(1 + operations * (2 * kill + 1) // (2 * kills))
    yield from ("commit-1", "end", "recorded")
    if place.endswith("/"):
        yield "state"
