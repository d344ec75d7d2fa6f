"""A deletion that was noted, and of which nobody knows what came of it."""

from __future__ import annotations

import json
import os
from contextlib import closing
from datetime import timedelta

import pytest

from files_source import Cleanup, read_table
from files_source.emulator import Emulator, status
from files_source.journal import Journal
from tests.cleanups import (
    FOR_GOOD,
    Command,
    add_files,
    journal_of,
    leave_open,
    recorded,
)


def test_one_that_was_done_is_recorded_with_the_time_of_the_attempt(place: str, emulator: Emulator, command: Command):
    """Nobody knows a better one."""
    file_id = leave_open(emulator, place, is_done=True)

    command(*FOR_GOOD, "--to", place)

    (row,) = read_table(place, "deletions").to_dicts()
    assert (row["id"], row["outcome"]) == (file_id, "gone")
    assert row["deleted_at"] == row["attempted_at"]


def test_one_that_was_not_done_is_no_deletion(emulator: Emulator, command: Command):
    """The file is there, and listed again; the server may still be about to delete it, so it is remembered."""
    place = "inventory.duckdb"
    file_id = leave_open(emulator, place, is_done=False)

    asked = command("cleanup", "--purpose", "none", "--delete", "--yes", "--to", place)

    assert (asked.status, emulator.ids()) == (0, [file_id])
    assert journal_of(place).exists()
    emulator.remove(file_id)
    command("cleanup", "--purpose", "none", "--delete", "--yes", "--to", place)
    assert recorded(place) == [file_id]
    assert not journal_of(place).exists()


def test_one_that_the_server_says_nothing_about_stays_open(emulator: Emulator, command: Command):
    """Nothing is recorded that is not known, and nothing forgotten."""
    place = "inventory.duckdb"
    file_id = leave_open(emulator, place, is_done=True)
    emulator.fail(status(500), times=None, path="/v1/files/*")

    told = command("--max-retries", "0", *FOR_GOOD)

    assert told.status == 0
    assert told.lines[-1] == "1 deletion not confirmed: a later cleanup with the same key finds out what came of that"
    assert json.loads(command("--max-retries", "0", *FOR_GOOD, "--json").out)["open"] == 1
    emulator.recover()
    assert command(*FOR_GOOD).status == 0
    assert recorded(place) == [file_id]


def test_after_an_hour_it_is_forgotten(emulator: Emulator, command: Command):
    """No server takes that long."""
    place = "inventory.duckdb"
    file_id = leave_open(emulator, place, is_done=False)
    noted = json.loads(journal_of(place).read_text())
    journal_of(place).write_text(json.dumps(noted | {"attempted_at": noted["attempted_at"] - 3_601_000_000}) + "\n")

    command("cleanup", "--purpose", "none", "--delete", "--yes", "--to", place)

    assert emulator.ids() == [file_id]
    assert not journal_of(place).exists()


def test_another_server_is_not_asked_about_it(emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch):
    """There it would seem to be gone; the server that has it is asked when its turn comes."""
    place = "inventory.duckdb"
    file_id = leave_open(emulator, place, is_done=False)
    there = os.environ["OPENAI_BASE_URL"]
    with Emulator().serve() as other:
        monkeypatch.setenv("OPENAI_BASE_URL", other.url)
        told = json.loads(command(*FOR_GOOD, "--to", place, "--json").out)
    assert told["open"] == 1

    monkeypatch.setenv("OPENAI_BASE_URL", there)
    command(*FOR_GOOD, "--to", place)

    assert recorded(place, "deleted") == [file_id]


def test_another_key_is_not_asked_about_it(emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch):
    """Its project may be another, where the file seems to be gone; the key is kept nowhere."""
    place = "inventory.duckdb"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-first-secret")
    file_id = leave_open(emulator, place, is_done=False)
    assert b"sk-first-secret" not in journal_of(place).read_bytes()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-second-secret")
    emulator.fail(status(404), times=None, path="/v1/files/*")
    nothing = ["cleanup", "--purpose", "none", "--delete", "--yes", "--json"]

    assert json.loads(command(*nothing).out)["open"] == 1

    emulator.recover()
    emulator.remove(file_id)
    assert json.loads(command(*nothing).out)["open"] == 1
    monkeypatch.setenv("OPENAI_API_KEY", "sk-first-secret")
    assert json.loads(command(*nothing).out)["open"] == 0
    assert recorded(place) == [file_id]


@pytest.mark.usefixtures("url")
def test_what_another_cleanup_leaves_meanwhile_is_not_taken_for_ones_own(place: str, emulator: Emulator):
    """Recorded once all the same, before anything else is deleted."""
    old = add_files(emulator, old=2)
    cleanup = Cleanup()
    with (
        cleanup.into(place) as record,
        cleanup.candidates(older_than=timedelta(days=90)) as found,
    ):
        file_id = leave_open(emulator, place, is_done=True)
        with closing(Journal(journal_of(place))) as journal:
            journal.end(*journal.undecided(), "deleted")

        done = cleanup.delete(found, record)

    assert (done.deleted, done.earlier, done.open) == (2, 1, 0)
    assert recorded(place, "deleted") == sorted([*old, file_id])
