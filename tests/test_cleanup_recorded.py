"""What the table says."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier, Event, Lock

import duckdb
import pytest

from files_source import read_table
from files_source.emulator import Emulator, Fault, cut, status
from files_source.emulator.delivery import Delivery
from tests.cleanups import (
    DAY,
    DELETE,
    FOR_GOOD,
    Command,
    add_files,
    journal_of,
    recorded,
)
from tests.conftest import NOW, loaded
from tests.test_cli_sync import on_terminal


def test_a_deletion_has_the_file_as_it_was_listed_and_when(place: str, emulator: Emulator, command: Command):
    """Every column of the table of files, and what became of it."""
    emulator.add(file_id="file-1", created_at=NOW - 91 * DAY, purpose="vision", filename="../ü", vendor={"a": 1})
    command("sync", "--to", place)
    (file,) = read_table(place).to_dicts()
    began = datetime.now(UTC)

    done = command(*FOR_GOOD, "--to", place, "--json")

    told = {name: value for name, value in json.loads(done.out).items() if name not in ("seconds", "query")}
    (row,) = read_table(place, "deletions").to_dicts()
    assert {name: row[name] for name in file} == file
    assert (row["outcome"], row["error"]) == ("deleted", None)
    assert began <= row["attempted_at"] <= row["deleted_at"] <= datetime.now(UTC)
    assert told == {
        "to": place,
        "files": 1,
        "deleted": 1,
        "gone": 0,
        "failed": 0,
        "bytes": 1_000,
        "unknown_size": 0,
        "earlier": 0,
        "open": 0,
    }
    assert not journal_of(place).exists()


def test_the_end_says_what_is_freed_and_where_to_look(place: str, emulator: Emulator, command: Command):
    """In two lines after the table."""
    emulator.add(created_at=NOW - 91 * DAY)
    emulator.add(created_at=NOW - 92 * DAY, bytes=None)

    done = command(*FOR_GOOD, "--to", place)

    assert re.fullmatch(r"2 files deleted in \d+\.\d s; 1\.0 kB freed, 1 more of unknown size", done.lines[-2])
    shown = done.lines[-1].removeprefix("look at the record: ")
    looked = subprocess.run(shown, shell=True, capture_output=True, text=True, check=True)  # noqa: S602 - as a user would
    assert looked.stdout.count("default") == 2


def test_a_place_may_be_loaded_and_cleaned_up_in_turn(place: str, emulator: Emulator, command: Command):
    """Neither takes anything from the other."""
    old = add_files(emulator)
    everything = sorted(emulator.ids())

    for arguments in (["sync"], FOR_GOOD, ["sync"], ["sync", "--history"], FOR_GOOD):
        assert command(*arguments, "--to", place).status == 0
    emulator.add(file_id="file-new", created_at=NOW - 91 * DAY)
    for arguments in (["sync", "--full-refresh"], FOR_GOOD, ["sync"]):
        assert command(*arguments, "--to", place).status == 0

    assert recorded(place) == sorted([*old, "file-new"])
    assert loaded(place) == sorted({*everything, "file-new"} - set(old))


def test_a_destination_that_cannot_be_read_back_gets_what_is_known(
    emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """What it has already is not known then."""
    monkeypatch.setenv("DESTINATION__DUMMY__COMPLETED_PROB", "1")
    emulator.add(created_at=NOW - 91 * DAY)
    emulator.fail(cut(done=True), **DELETE)

    done = command(*FOR_GOOD, "--to", "dummy")

    assert (done.status, done.lines[-1].partition(" in ")[0]) == (0, "0 files deleted, 1 gone already")
    assert not journal_of("dummy").exists()


def test_a_table_that_was_dropped_is_made_again(emulator: Emulator, command: Command):
    """Though dlt has noted that there is one."""
    emulator.add(created_at=NOW - 91 * DAY)
    command(*FOR_GOOD)
    with duckdb.connect("inventory.duckdb") as database:
        database.execute("DROP TABLE openai_files.deletions")
    emulator.add(file_id="file-2", created_at=NOW - 91 * DAY)

    assert command(*FOR_GOOD).status == 0

    assert recorded("inventory.duckdb") == ["file-2"]


def test_no_key_is_shown_or_kept(tmp_path: Path, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch):
    """Not even where the server repeats it."""
    emulator.api_key = "sk-very-secret"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    add_files(emulator)
    emulator.fail(status(403, body='{"error": {"message": "no, sk-very-secret"}}'), at=3, times=3, **DELETE)

    done = command(*FOR_GOOD)

    assert (done.status, len(recorded("inventory.duckdb", "failed"))) == (1, 3)
    assert "no, ***" in done.err
    assert "sk-very-secret" not in done.out + done.err
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"sk-very-secret" not in path.read_bytes(), path


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_there_is_a_bound(workers: int | None, emulator: Emulator, command: Command):
    """As many as `--workers` says, 8 without it, and never more."""
    bound = workers or 8
    add_files(emulator, old=bound * 4)
    gate = Gate(bound)
    emulator.fail(gate.fault(), times=None, **DELETE)

    done = command(*FOR_GOOD, *([] if workers is None else ["--workers", str(workers)]))

    assert done.status == 0
    assert gate.most == bound


@pytest.mark.usefixtures("url")
def test_a_terminal_shows_how_far_it_is(emulator: Emulator):
    """On standard error, so that standard output still holds the data alone."""
    add_files(emulator)

    shown, ended = on_terminal(*FOR_GOOD, "--json")

    assert "deleting" in shown
    assert "30/30" in shown
    assert ended.status == 0
    assert json.loads(ended.out)["deleted"] == 30


class Gate:
    """Lets requests pass only in groups of a size, a moment later, and counts how many are under way at most."""

    def __init__(self, size: int) -> None:
        self.most = 0
        self._now = 0
        self._lock = Lock()
        self._barrier = Barrier(size, timeout=30)
        self._is_over = Event()
        self._size = size

    def fault(self) -> Fault:
        return Fault("gate", self._pass)

    def _pass(self, call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            if self._now > self._size:
                self._is_over.set()
        self._barrier.wait()
        self._is_over.wait(0.2)
        with self._lock:
            self._now -= 1
        return Delivery(call.answer())
