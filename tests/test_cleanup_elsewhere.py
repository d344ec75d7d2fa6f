"""A cleanup into a place that the machine has no file of: a pod or a CI runner may end, and its disk with it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from pathlib import Path

import polars as pl
import pytest

from files_source import deleting, read_table, sweep
from files_source.emulator import Emulator, Fault, status
from files_source.emulator.delivery import Delivery
from tests import killed
from tests.cleanups import DELETE, FOR_GOOD, Command, add_files, deleted_by, doubled, journal_of, recorded
from tests.engines import Engine
from tests.test_cleanup_stopped import watched

NOTHING = ["cleanup", "--purpose", "none", "--delete", "--yes", "--json"]
NOTES = "deletions_pending"
MOMENTS = {
    "load-1": "before its table is made",
    "load-2": "before the files are noted",
    "commit-2": "when they are noted, before dlt knows that",
    "begin-1": "before the first request",
    "begin-6": "amid the requests",
    "answer-6": "between an answer and its note",
    "load-3": "before the outcomes are recorded",
    "commit-3": "when they are recorded, before dlt knows that",
    "recorded": "before the journal knows that",
}
EVERYWHERE = ("bucket", "warehouse", "postgres", "sqlite")
KILLS = (
    [(place, moment) for place in EVERYWHERE for moment in MOMENTS]
    if int(os.environ.get("CRASH_KILLS", "0"))
    else [
        *(("bucket", moment) for moment in ("load-2", "commit-2", "begin-6", "load-3", "recorded")),
        *(("warehouse", moment) for moment in ("begin-1", "answer-6")),
        *(("postgres", moment) for moment in ("begin-6", "commit-3")),
        ("sqlite", "begin-6"),
    ]
)


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a database by dlt's name for it, which merges."""
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "warehouse.duckdb"))
    return "duckdb"


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a folder of Parquet by dlt's name for it, where rows can only be added."""
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", str(tmp_path / "bucket"))
    return "filesystem"


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest) -> str:
    return named(request, request.param)


both = pytest.mark.parametrize("elsewhere", ["warehouse", "bucket"], indirect=True)


@pytest.mark.timeout(240 * (1 + len(EVERYWHERE)))
@pytest.mark.parametrize(("elsewhere", "moment"), KILLS, indirect=["elsewhere"])
def test_each_deletion_is_recorded_once_by_another_machine(
    moment: str, elsewhere: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """Whenever the first one dies, and though all its files are lost; what is there still is not recorded."""
    old = add_files(emulator, old=12, young=2)
    assert killed.fork(moment, *FOR_GOOD, "--to", elsewhere, "--workers", "2") == -signal.SIGKILL
    gone = sorted(set(old) - set(emulator.ids()))

    lose_the_machine()
    asked = command(*NOTHING, "--to", elsewhere)

    assert asked.status == 0
    assert recorded(elsewhere) == gone
    lose_the_machine()
    assert command(*FOR_GOOD, "--to", elsewhere).status == 0
    assert recorded(elsewhere) == sorted(old)
    lose_the_machine()
    assert json.loads(command(*NOTHING, "--to", elsewhere).out)["open"] == 0
    assert recorded(elsewhere) == sorted(old)
    assert set(read_table(elsewhere, "deletions")["outcome"]) <= {"deleted", "gone"}
    if elsewhere != "filesystem":  # where rows can only be added
        assert read_table(elsewhere, NOTES).is_empty()


@both
def test_no_deletion_is_asked_for_that_the_place_has_not_noted(
    elsewhere: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """However many are noted at once; each row says whose file it is, but not with which key."""
    monkeypatch.setattr(sweep, "_FIRST", 4)
    monkeypatch.setattr(sweep, "_LEAST", 4)
    monkeypatch.setattr(sweep, "_SECONDS", 0)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    old = add_files(emulator, old=10)
    held: list[pl.DataFrame] = []
    emulator.fail(watched(lambda: held.append(read_table(elsewhere, NOTES))), times=None, **DELETE)

    done = command(*FOR_GOOD, "--to", elsewhere, "--workers", "1")

    assert done.status == 0
    asked = deleted_by(emulator)
    assert [file_id in rows["id"] for file_id, rows in zip(asked, held, strict=True)] == [True] * 10
    assert held[0].height == 4
    assert "sk-very-secret" not in str(held[-1].to_dicts())
    assert recorded(elsewhere, "deleted") == sorted(old)


def test_what_is_settled_leaves_a_place_that_merges(warehouse: str, emulator: Emulator, command: Command):
    """The table of notes is empty after a cleanup that came to its end."""
    add_files(emulator, old=3)

    command(*FOR_GOOD, "--to", warehouse)

    assert read_table(warehouse, NOTES).is_empty()
    assert read_table(warehouse, "deletions").height == 3


@both
def test_a_machine_that_stays_knows_more(elsewhere: str, emulator: Emulator, command: Command):
    """Its journal tells what was confirmed."""
    add_files(emulator, old=12)
    assert killed.fork("load-3", *FOR_GOOD, "--to", elsewhere) == -signal.SIGKILL

    command(*NOTHING, "--to", elsewhere)

    assert recorded(elsewhere, "deleted") == sorted(deleted_by(emulator))
    assert not journal_of(elsewhere).exists()


@both
def test_what_was_never_asked_for_is_forgotten_after_an_hour(
    elsewhere: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """The files are there, and no later cleanup asks about them again."""
    old = add_files(emulator, old=3)
    assert killed.fork("begin-1", *FOR_GOOD, "--to", elsewhere) == -signal.SIGKILL
    lose_the_machine()
    assert json.loads(command(*NOTHING, "--to", elsewhere).out)["open"] == 3

    monkeypatch.setattr(deleting, "_UNDER_WAY", 0)
    command(*NOTHING, "--to", elsewhere)
    asked = len(emulator.requests)

    assert json.loads(command(*NOTHING, "--to", elsewhere).out)["open"] == 0
    assert not any(file_id in request.path for request in emulator.requests[asked:] for file_id in old)
    assert recorded(elsewhere) == []


@both
def test_what_an_account_that_was_given_up_has_left_is_not_open(elsewhere: str, emulator: Emulator, command: Command):
    """It was noted, and never asked for."""
    add_files(emulator, old=30)
    emulator.fail(status(403), times=None, **DELETE)

    done = command(*FOR_GOOD, "--to", elsewhere, "--workers", "1")

    assert (done.status, len(deleted_by(emulator))) == (1, 8)
    assert len(recorded(elsewhere, "failed")) == 8
    emulator.recover()
    before = len(emulator.requests)
    assert json.loads(command(*NOTHING, "--to", elsewhere).out)["open"] == 0
    assert [request.path for request in emulator.requests[before:]] == ["/v1/files"]


def test_another_key_is_not_asked(
    warehouse: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """Its project may be another, where each file seems to be gone."""
    add_files(emulator, old=12)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-first")
    assert killed.fork("load-3", *FOR_GOOD, "--to", warehouse) == -signal.SIGKILL
    lose_the_machine()

    monkeypatch.setenv("OPENAI_API_KEY", "sk-second")
    assert json.loads(command(*NOTHING, "--to", warehouse).out)["open"] == 12
    assert recorded(warehouse) == []

    monkeypatch.setenv("OPENAI_API_KEY", "sk-first")
    assert json.loads(command(*NOTHING, "--to", warehouse).out)["open"] == 0
    assert recorded(warehouse, "gone") == sorted(deleted_by(emulator))


@pytest.mark.parametrize("arguments", [FOR_GOOD, NOTHING], ids=["of the same files", "of others"])
def test_a_cleanup_on_another_machine_meanwhile_doubles_nothing(
    arguments: list[str], postgres: Engine, emulator: Emulator, command: Command
):
    """It finds what the first has noted, and not recorded yet."""
    old = add_files(emulator, old=12)
    other = {"DLT_DATA_DIR": str(Path("other").resolve())}

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        assert killed.fork("0", *arguments, "--to", postgres.to, **other) == 0
        return Delivery(call.answer())

    emulator.fail(Fault("meanwhile", spoil), at=6, times=1, **DELETE)

    assert command(*FOR_GOOD, "--to", postgres.to, "--workers", "1").status == 0

    assert recorded(postgres.to) == sorted(old)
    assert read_table(postgres.to, NOTES).is_empty()


@pytest.mark.parametrize("elsewhere", ["sqlite", "postgres", "warehouse", "bucket"], indirect=True)
def test_a_file_that_others_have_deleted_is_recorded_everywhere(elsewhere: str, emulator: Emulator, command: Command):
    """By this run and by the next, which reads back what is recorded."""
    old = add_files(emulator, old=3)
    emulator.fail(doubled(emulator, old[1]), times=None, method="DELETE", path=f"/v1/files/{old[1]}")

    assert command(*FOR_GOOD, "--to", elsewhere).status == 0
    assert command(*FOR_GOOD, "--to", elsewhere).status == 0

    assert recorded(elsewhere, "gone") == [old[1]]
    assert recorded(elsewhere) == sorted(old)


def test_a_place_that_cannot_be_read_back_is_warned_of(
    emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """In one line, which names the file to keep."""
    monkeypatch.setenv("DESTINATION__DUMMY__COMPLETED_PROB", "1")
    add_files(emulator, old=3)

    done = command(*FOR_GOOD, "--to", "dummy")

    assert done.status == 0
    (warning,) = warnings_in(caplog)
    assert warning == (
        f"dummy keeps no notes of deletions under way, only {journal_of('dummy')} does: keep that file until the "
        "next cleanup, or some may never be recorded, or be recorded twice (dummy cannot be read back: dlt has no SQL "
        "for it)"
    )


def test_a_place_that_does_not_show_what_it_took_is_warned_of(
    bucket: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Before anything is deleted: a bucket may show what it took late, or never."""
    monkeypatch.setattr("files_source.stored._parquet", lambda *_: None)
    add_files(emulator, old=3)
    warned: list[int] = []
    emulator.fail(watched(lambda: warned.append(len(warnings_in(caplog)))), times=None, **DELETE)

    done = command(*FOR_GOOD, "--to", bucket)

    assert (done.status, warned) == (0, [1, 1, 1])
    assert "(filesystem does not show the rows that it took)" in warnings_in(caplog)[0]


def test_a_table_that_can_no_longer_be_read_stops_no_cleanup(
    bucket: str, emulator: Emulator, command: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Not for ever: what is deleted is recorded all the same."""
    first = add_files(emulator, old=3, young=0)
    command(*FOR_GOOD, "--to", bucket)
    (file, *_) = sorted((tmp_path / "bucket/openai_files/deletions").glob("*.parquet"))
    file.write_bytes(b"no Parquet")
    second = add_files(emulator, old=3, young=0)
    emulator.fail(doubled(emulator, second[1]), times=None, method="DELETE", path=f"/v1/files/{second[1]}")

    done = command(*FOR_GOOD, "--to", bucket)

    assert done.status == 0
    assert warnings_in(caplog)
    file.unlink()
    assert set(second) <= set(recorded(bucket)) <= {*first, *second}


def named(request: pytest.FixtureRequest, fixture: str) -> str:
    given = request.getfixturevalue(fixture)
    return given if isinstance(given, str) else given.to


def lose_the_machine() -> None:
    """Remove all that is on this machine's disk."""
    shutil.rmtree(os.environ["DLT_DATA_DIR"], ignore_errors=True)
    for path in Path().iterdir():
        path.unlink()


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and record.name.startswith("files_source")
    ]
