"""The journal of deletions stays with what it is for, whatever happens to either."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from files_source import Cleanup, JournalError
from files_source.emulator import Emulator
from tests.cleanups import (
    DAY,
    FOR_GOOD,
    Command,
    add_files,
    journal_of,
    leave_open,
    recorded,
)
from tests.conftest import NOW


def test_it_stays_beside_what_it_is_for(place: str, emulator: Emulator, command: Command, tmp_path: Path):
    """A container's home may be gone when the next one starts, with all of dlt's notes."""
    add_files(emulator)
    command(*FOR_GOOD, "--to", place)
    file_id = leave_open(emulator, place, is_done=True)
    shutil.rmtree(tmp_path / "dlt")

    command(*FOR_GOOD, "--to", place)

    assert file_id in recorded(place)
    assert len(recorded(place)) == 31


def test_a_database_that_was_renamed_is_not_forgotten(emulator: Emulator, command: Command):
    """What has no table any more is told before anything is deleted."""
    emulator.add(created_at=NOW - 91 * DAY)
    command(*FOR_GOOD)
    file_id = leave_open(emulator, "inventory.duckdb", is_done=True)
    Path("inventory.duckdb").rename("moved.duckdb")

    told = command(*FOR_GOOD, "--to", "moved.duckdb")

    assert told.status == 1
    assert "/.inventory.duckdb.deletions.jsonl notes deletions that inventory.duckdb should have recorded" in told.error
    assert "if that is now moved.duckdb, rename the journal to .moved.duckdb.deletions.jsonl" in told.error
    Path(".inventory.duckdb.deletions.jsonl").rename(".moved.duckdb.deletions.jsonl")
    assert command(*FOR_GOOD, "--to", "moved.duckdb").status == 0
    assert file_id in recorded("moved.duckdb")


def test_half_a_line_was_never_asked_for(emulator: Emulator, command: Command):
    """What a machine was still writing when it lost its power."""
    place = "inventory.duckdb"
    file_id = leave_open(emulator, place, is_done=True)
    whole = journal_of(place).read_bytes()
    journal_of(place).write_bytes(whole + whole[:50])

    assert command(*FOR_GOOD, "--to", place).status == 0

    assert recorded(place) == [file_id]


def test_a_journal_that_is_damaged_is_told(emulator: Emulator, command: Command):
    """Nothing is deleted, nothing forgotten."""
    place = "inventory.duckdb"
    leave_open(emulator, place, is_done=False)
    damaged = journal_of(place).read_text() + "{}\n"
    journal_of(place).write_text(damaged)

    failed = command(*FOR_GOOD)

    assert failed.status == 1
    assert "deletions.jsonl is damaged in line 2" in failed.error
    with pytest.raises(JournalError), Cleanup().into(place):
        pass
    assert len(emulator.ids()) == 1
    assert journal_of(place).read_text() == damaged
