"""Files that cannot be deleted."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from filelock import FileLock

from files_source import read_table
from files_source.destinations import target
from files_source.emulator import Emulator, cut, status
from tests.cleanups import (
    DAY,
    DELETE,
    FOR_GOOD,
    Command,
    add_files,
    deleted_by,
    doubled,
    journal_of,
    recorded,
)
from tests.conftest import NOW


@pytest.mark.parametrize("code", [403, 409])
def test_a_file_that_is_refused_leaves_the_others_alone(code: int, place: str, emulator: Emulator, command: Command):
    """It is named, recorded with the reason and tried again by the next run; the status is 1."""
    old = add_files(emulator)
    kept = old[7]
    emulator.fail(status(code), times=None, method="DELETE", path=f"/v1/files/{kept}")

    done = command("--max-retries", "0", *FOR_GOOD, "--to", place)

    assert done.status == 1
    assert re.search(rf"error: 1 of 30 files were not deleted: DELETE .+/{kept} answered {code}: ", done.err)
    assert done.lines[-2].startswith("29 files deleted in ")
    assert recorded(place, "deleted") == sorted(set(old) - {kept})
    (failed,) = read_table(place, "deletions").filter(pl.col("outcome") == "failed").to_dicts()
    assert (failed["id"], failed["deleted_at"]) == (kept, None)
    assert f"answered {code}" in failed["error"]
    emulator.recover()
    assert command(*FOR_GOOD, "--to", place).status == 0
    assert recorded(place) == sorted(old)
    assert recorded(place, "failed") == [kept]


def test_a_file_that_is_gone_already_is_no_failure(place: str, emulator: Emulator, command: Command):
    """Others may delete, too; what is recorded says so."""
    old = add_files(emulator)
    emulator.fail(doubled(emulator, old[4]), times=None, method="DELETE", path=f"/v1/files/{old[4]}")

    done = command(*FOR_GOOD, "--to", place)

    assert done.status == 0
    assert done.lines[-2].startswith("29 files deleted, 1 gone already in ")
    assert recorded(place, "gone") == [old[4]]
    assert recorded(place) == sorted(old)


def test_a_lost_answer_is_no_failure(place: str, emulator: Emulator, command: Command):
    """Asked again, the server says that the file is gone."""
    old = add_files(emulator)
    emulator.fail(cut(done=True), at=5, **DELETE)

    done = command(*FOR_GOOD, "--to", place)

    assert (done.status, recorded(place)) == (0, sorted(old))


def test_the_last_answer_may_be_lost_too(place: str, emulator: Emulator, command: Command):
    """What became of the file is found out before the run ends."""
    old = add_files(emulator)
    emulator.fail(cut(done=True), at=30, **DELETE)

    done = command("--max-retries", "0", *FOR_GOOD, "--to", place)

    assert (done.status, recorded(place)) == (0, sorted(old))
    assert recorded(place, "gone") == deleted_by(emulator)[29:]
    assert not journal_of(place).exists()


def test_an_id_that_no_address_can_hold_fails_alone(emulator: Emulator, command: Command):
    """It would name the whole listing."""
    emulator.add(file_id="..", created_at=NOW - 91 * DAY)
    emulator.add(file_id="file-1", created_at=NOW - 91 * DAY)

    done = command(*FOR_GOOD)

    assert done.status == 1
    assert "'..' is no file id" in done.err
    assert deleted_by(emulator) == ["file-1"]


@pytest.mark.parametrize(("workers", "place"), [(1, "inventory.duckdb"), (8, "lake/")], ids=["one", "eight"])
def test_an_account_that_does_not_answer_is_given_up(workers: int, place: str, emulator: Emulator, command: Command):
    """After eight files in a row; the next run finds out what became of them, and goes on."""
    old = add_files(emulator, old=60)
    emulator.fail(cut(done=True), at=11, times=None, **DELETE)
    emulator.fail(cut(), times=None, path="/v1/files/*")

    done = command("--max-retries", "0", *FOR_GOOD, "--to", place, "--workers", str(workers))

    assert done.status == 1
    deleted = deleted_by(emulator)
    asked = len(deleted)
    assert 18 <= asked <= 16 + 2 * workers
    assert f"{60 - asked} of 60 files were not deleted, {asked - 10} of 60 deletions could not be " in done.err
    assert " could not be confirmed: DELETE " in done.err
    assert " broke off: " in done.err
    assert f"\n{asked - 10} deletions not confirmed: a later cleanup with the same key finds out " in done.out
    assert 8 <= sum(request.path.startswith("/v1/files/") for request in emulator.requests) - asked < 8 + workers
    assert recorded(place) == sorted(deleted[:10])
    emulator.recover()
    again = command(*FOR_GOOD, "--to", place)
    assert again.status == 0
    assert again.lines[0].startswith(f"{asked - 10} deletions of a cleanup that was stopped, now recorded in ")
    assert recorded(place) == sorted(old)
    assert not journal_of(place).exists()


def test_what_became_of_its_files_is_found_out_where_it_answers_that(emulator: Emulator, command: Command):
    """Though it has been given up, none of them is told to be there still."""
    add_files(emulator)
    emulator.fail(cut(done=True), times=None, **DELETE)

    done = command("--max-retries", "0", *FOR_GOOD, "--workers", "1")

    assert "error: 22 of 30 files were not deleted: DELETE " in done.err
    assert done.lines[-2].startswith("0 files deleted, 8 gone already in ")
    assert recorded("inventory.duckdb", "gone") == sorted(deleted_by(emulator))


def test_a_key_that_may_only_read_is_given_up(emulator: Emulator, command: Command):
    """What it was refused is recorded, and nothing is left open."""
    add_files(emulator)
    emulator.fail(status(403), times=None, **DELETE)

    done = command(*FOR_GOOD, "--workers", "1")

    assert (done.status, len(deleted_by(emulator))) == (1, 8)
    assert "30 of 30 files were not deleted: DELETE " in done.err
    assert sorted(recorded("inventory.duckdb", "failed")) == sorted(deleted_by(emulator))
    assert not journal_of("inventory.duckdb").exists()


def test_a_file_that_fails_now_and_then_stops_nothing(emulator: Emulator, command: Command):
    """Eight in a row would: these are nine of 60."""
    old = add_files(emulator, old=60)
    for file_id in sorted(old, key=emulator.ids().index)[::7]:
        emulator.fail(status(500), times=None, method="DELETE", path=f"/v1/files/{file_id}")

    done = command("--max-retries", "0", *FOR_GOOD, "--workers", "1")

    assert done.status == 1
    assert "9 of 60 deletions could not be confirmed: " in done.err
    assert len(recorded("inventory.duckdb")) == 51


def test_a_place_that_takes_nothing_is_told_before_anything_is_deleted(emulator: Emulator, command: Command):
    """What cannot be recorded is not done."""
    add_files(emulator)

    failed = command(*FOR_GOOD, "--to", "nowhere/inventory.duckdb")

    assert failed.status == 1
    assert "nowhere/inventory.duckdb" in failed.err
    assert deleted_by(emulator) == []


def test_a_table_that_cannot_be_made_is_told_before_anything_is_deleted(
    emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """Though its place can be opened, and takes other rows."""
    monkeypatch.setenv("LOAD__RAISE_ON_MAX_RETRIES", "1")
    add_files(emulator)
    command("sync", "--to", "lake/")
    Path("lake/openai_files/deletions").write_text("in the way")

    failed = command(*FOR_GOOD, "--to", "lake/")

    assert failed.status == 1
    assert failed.err.startswith("error: lake/ did not take the rows (load): ")
    assert deleted_by(emulator) == []


def test_a_place_that_another_run_uses_is_told_before_anything_is_deleted(
    place: str, emulator: Emulator, command: Command
):
    """Whether that loads into it or cleans up."""
    add_files(emulator)
    folder = target(place).working_folder
    folder.mkdir(parents=True)

    with FileLock(folder / "lock"):
        done = command(*FOR_GOOD, "--to", place)

    assert done.err == f"error: another run into {place} is going on: wait for its end, and run again\n"
    assert deleted_by(emulator) == []
