"""A cleanup deletes what it has shown and nothing else, and whatever stops it, each deletion is recorded once."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Event, Lock
from typing import Any

import duckdb
import httpx
import polars as pl
import pytest
from filelock import FileLock
from hypothesis import example, given
from hypothesis import strategies as st

from files_source import CleanedInPart, Cleanup, read_table
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.destinations import target
from files_source.emulator import Clock, Emulator, Fault, Oddities, cut, insufficient_quota, status
from files_source.emulator.delivery import Delivery
from files_source.errors import AccountsError, ConfigError, TransportError
from files_source.shortlist import Candidates
from tests import killed
from tests.commands import Ended, finish, hang_and_tell, start
from tests.conftest import NOW, loaded
from tests.test_cli_sync import on_terminal
from tests.test_security import on_terminal as shown_on_terminal

Command = Callable[..., Ended]
Connect = Callable[..., FilesClient]
DAY = 86_400
DELETE = {"method": "DELETE", "path": "/v1/files/*"}
OLD = ["cleanup", "--older-than", "90d"]
FOR_GOOD = [*OLD, "--delete", "--yes"]
KILLS = int(os.environ.get("CRASH_KILLS", "2"))
"""How many cleanups are killed in each way, evenly spread over their file operations; `make crash` sets it."""

pytestmark = pytest.mark.timeout(120 + KILLS * 30)


@pytest.fixture(params=["inventory.duckdb", "lake/"], ids=["duckdb", "parquet"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def add_files(emulator: Emulator, *, old: int = 30, young: int = 10) -> list[str]:
    """Add files before and after the age of 90 days, and return the ids of the old ones."""
    emulator.populate(young, start=NOW - 90 * DAY, end=NOW)
    return emulator.populate(old, start=NOW - 400 * DAY, end=NOW - 90 * DAY)


def ids(found: Candidates) -> list[str]:
    return [file_id for _, files in found.tables() for file_id in files.column("id").to_pylist()]


def recorded(place: str, *outcomes: str) -> list[str]:
    """Return the ids in the table of deletions that came to such an end, or whose file is gone, doubles included."""
    rows = read_table(place, "deletions")
    wanted = pl.col("outcome").is_in(outcomes) if outcomes else pl.col("deleted_at").is_not_null()
    return sorted(rows.filter(wanted)["id"].to_list())


def journal_of(place: str) -> Path:
    return target(place).working_folder / "deletions.jsonl"


def deleted_by(emulator: Emulator) -> list[str]:
    """Return the ids that the server was asked to delete, in order."""
    return [request.path.rpartition("/")[2] for request in emulator.requests if request.method == "DELETE"]


class TestCandidates:
    """What a cleanup shows."""

    FILES = st.lists(st.tuples(st.integers(-5, 5), st.sampled_from(["batch", "batch_output", "vision"])), max_size=30)

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
        self,
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

    def test_a_file_is_judged_by_what_it_says_itself(self):
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

    def test_young_files_are_not_listed(self, emulator: Emulator, connect: Connect):
        """The listing ends at the first of them."""
        old = add_files(emulator, old=25, young=1_000)

        with Cleanup(client=connect(), limit=10).candidates(older_than=timedelta(days=90)) as found:
            assert sorted(ids(found)) == sorted(old)

        assert [request.query["order"] for request in emulator.requests] == ["asc"] * 3

    def test_a_clock_that_is_ahead_makes_no_file_older(self):
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

    def test_a_file_that_is_listed_twice_is_one(self):
        """On pages far apart, too."""
        emulator = Emulator(clock=Clock(NOW))
        emulator.add_many(6, created_at=NOW - DAY)
        twice = Twice(httpx.WSGITransport(app=emulator))
        client = FilesClient(Account(base_url="http://made-up/v1"), transport=twice)

        with client, Cleanup(client=client, limit=1).candidates(purpose="batch") as found:
            assert sorted(ids(found)) == sorted(emulator.ids())
            assert found.total.files == 6

    def test_what_cannot_be_meant_is_refused(self, connect: Connect):
        """Before anything is asked."""
        cleanup = Cleanup(client=connect())

        with pytest.raises(ConfigError, match="purpose is empty"):
            cleanup.candidates(purpose="")
        with pytest.raises(ConfigError, match="age is negative"):
            cleanup.candidates(older_than=timedelta(days=-1))


class TestShown:
    """`files-source cleanup` without `--delete`."""

    def test_a_table_with_what_would_be_freed(self, emulator: Emulator, command: Command):
        """A line for each candidate, oldest first, and their sizes together; those of unknown size apart."""
        emulator.add(file_id="file-b", created_at=NOW - 91 * DAY, purpose="batch_output", size=2_500_000_000)
        emulator.add(file_id="file-a", created_at=NOW - 92 * DAY, purpose="batch_output", filename="a\x1b[2J.jsonl")
        emulator.add(file_id="file-c", created_at=NOW - 90 * DAY - 1, purpose="batch_output", bytes=None)
        emulator.add(created_at=NOW - 90 * DAY, purpose="batch_output")
        emulator.add(created_at=NOW - 99 * DAY, purpose="batch")

        shown = command(*OLD, "--purpose", "batch_output")

        assert (shown.status, shown.err) == (0, "")
        assert [re.split(r"\s{2,}", line.strip()) for line in shown.lines[:-1]] == [
            ["created_at", "size", "purpose", "id", "filename"],
            ["2023-08-14 22:13Z", "1.0 kB", "batch_output", "file-a", r"a\u001b[2J.jsonl"],
            ["2023-08-15 22:13Z", "2.5 GB", "batch_output", "file-b", "requests.jsonl"],
            ["2023-08-16 22:13Z", "?", "batch_output", "file-c", "requests.jsonl"],
        ]
        assert shown.lines[-1] == (
            "3 files (2.5 GB and 1 of unknown size), created 2023-08-14 22:13Z to 2023-08-16 22:13Z"
        )

    @pytest.mark.usefixtures("url")
    @pytest.mark.parametrize("width", [60, 80, 200])
    def test_a_terminal_cuts_no_id(self, width: int, emulator: Emulator, monkeypatch: pytest.MonkeyPatch):
        """A name may be cut short there, and is never taken for a command or a colour."""
        emulator.add(file_id="file-" + "x" * 24, created_at=NOW - 91 * DAY, filename="[red]a\x1b[2J.jsonl")
        monkeypatch.setenv("COLUMNS", str(width))

        header, *lines, total = shown_on_terminal(*OLD).splitlines()

        start, end = header.index(" id ") + 1, header.index("file")
        assert "".join(line[start:end].strip() for line in lines) == "file-" + "x" * 24
        assert total.startswith("1 file (1.0 kB), created ")
        assert "\x1b" not in "".join(lines)
        assert "[red]" in lines[0]
        assert max(map(len, lines)) <= width

    def test_json_for_programs(self, emulator: Emulator, command: Command):
        """One document, with every column of the files."""
        old = add_files(emulator)
        emulator.change(old[3], bytes=None)

        shown = json.loads(command(*OLD, "--json").out)

        assert [file["id"] for file in shown["candidates"]] == [file["id"] for file in emulator.files()][:30]
        assert shown["unknown_size"] == 1
        assert shown["files"] == 30
        assert shown["bytes"] == sum(file["bytes"] or 0 for file in shown["candidates"])

    def test_nothing_is_deleted_and_nothing_made(self, emulator: Emulator, command: Command):
        """No database, no lock, no journal."""
        add_files(emulator)

        shown = command(*OLD, "--yes")

        assert shown.status == 0
        assert deleted_by(emulator) == []
        assert list(Path.cwd().iterdir()) == []

    def test_an_account_without_any_is_told_so(self, command: Command):
        """As a document, too."""
        assert command(*OLD).out == "0 files (0 B)\n"
        assert json.loads(command(*OLD, "--json").out) == {
            "files": 0,
            "bytes": 0,
            "unknown_size": 0,
            "candidates": [],
        }
        assert command(*FOR_GOOD).out == "0 files (0 B)\n"

    def test_many_stand_in_line(self, emulator: Emulator, command: Command):
        """However many there are, a column begins where it began on the first line."""
        emulator.populate(2_500, start=NOW - 400 * DAY, end=NOW - 91 * DAY)

        shown = command(*OLD)

        assert len(shown.lines) == 2_502
        assert len({line.index("file-") for line in shown.lines[1:-1]}) == 1

    @pytest.mark.parametrize("text", ["90", "d", "0d", "-1d", "1.5d", "3 months", "1y", "9999999d", "٣d", ""])
    def test_an_age_that_is_none_is_wrong_usage(self, text: str, emulator: Emulator, command: Command):
        """Nothing is asked."""
        refused = command("cleanup", f"--older-than={text}")

        assert refused.status == 2
        assert "is no age: give minutes, hours, days or weeks, such as 30m, 12h, 90d or 2w" in refused.error
        assert emulator.requests == []

    @pytest.mark.parametrize(
        ("text", "seconds"), [("30m", 1_800), ("12h", 43_200), ("90d", 90 * DAY), ("2w", 14 * DAY), ("999999w", None)]
    )
    def test_an_age_is_a_number_and_a_unit(self, text: str, seconds: int | None, emulator: Emulator, command: Command):
        """Minutes, hours, days and weeks."""
        if seconds is not None:
            emulator.add(file_id="file-younger", created_at=NOW - seconds)
            emulator.add(file_id="file-older", created_at=NOW - seconds - 1)

        shown = json.loads(command("cleanup", "--older-than", text, "--json").out)

        assert [file["id"] for file in shown["candidates"]] == (["file-older"] if seconds else [])


class TestAsked:
    """Whether to delete."""

    @pytest.mark.parametrize("flags", [[], ["--yes"]], ids=["asking", "not asking"])
    def test_not_without_an_age_or_a_purpose(self, flags: list[str], emulator: Emulator, command: Command):
        """Every file would go."""
        refused = command("cleanup", "--delete", *flags)

        assert refused.status == 2
        assert refused.error.startswith("--delete needs --older-than, --purpose or both")
        assert emulator.requests == []

    def test_not_of_a_purpose_that_is_empty(self, emulator: Emulator, command: Command):
        """A shell variable that is not set stands for no purpose, and not for all."""
        refused = command("cleanup", "--delete", "--yes", "--purpose", "")

        assert (refused.status, deleted_by(emulator)) == (2, [])
        assert "purpose is empty" in refused.error

    @pytest.mark.parametrize("answer", ["n\n", "", "\n", "delete\n"], ids=["no", "nobody there", "return", "a word"])
    def test_any_answer_but_yes_is_a_no(
        self, answer: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """All is left as it was, the place included."""
        add_files(emulator)
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))

        done = command(*OLD, "--delete")

        assert done.status == 1
        assert "Delete 30 files (" in done.err
        assert "), created 20" in done.err
        assert done.err.endswith("error: nothing was deleted: answer y, or give --yes\n")
        assert len(emulator.ids()) == 40
        assert deleted_by(emulator) == []
        assert list(Path.cwd().iterdir()) == []

    def test_a_yes_deletes_what_was_shown_and_no_more(
        self, place: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """A file that comes before the answer, as old as the others, stays."""
        old = add_files(emulator)
        young = set(emulator.ids()) - set(old)
        late: list[str] = []

        class Answer(io.StringIO):
            def readline(self, *_: int) -> str:  # type: ignore[override]
                late.extend(emulator.add_many(1, created_at=NOW - 200 * DAY))
                return "y\n"

        monkeypatch.setattr("sys.stdin", Answer())

        done = command(*OLD, "--delete", "--to", place)

        assert done.status == 0
        assert sorted(deleted_by(emulator)) == sorted(old)
        assert set(emulator.ids()) == young | set(late)
        assert recorded(place, "deleted") == sorted(old)
        assert sorted(re.findall(r"file-\w+", "".join(done.lines[1:31]))) == sorted(old)


class TestRecorded:
    """What the table says."""

    def test_a_deletion_has_the_file_as_it_was_listed_and_when(self, place: str, emulator: Emulator, command: Command):
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

    def test_the_end_says_what_is_freed_and_where_to_look(self, place: str, emulator: Emulator, command: Command):
        """In two lines after the table."""
        emulator.add(created_at=NOW - 91 * DAY)
        emulator.add(created_at=NOW - 92 * DAY, bytes=None)

        done = command(*FOR_GOOD, "--to", place)

        assert re.fullmatch(r"2 files deleted in \d+\.\d s; 1\.0 kB freed, 1 more of unknown size", done.lines[-2])
        shown = done.lines[-1].removeprefix("look at the record: ")
        looked = subprocess.run(shown, shell=True, capture_output=True, text=True, check=True)  # noqa: S602 - as a user would
        assert looked.stdout.count("default") == 2

    def test_a_place_may_be_loaded_and_cleaned_up_in_turn(self, place: str, emulator: Emulator, command: Command):
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
        self, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """What it has already is not known then."""
        monkeypatch.setenv("DESTINATION__DUMMY__COMPLETED_PROB", "1")
        emulator.add(created_at=NOW - 91 * DAY)
        emulator.fail(cut(done=True), **DELETE)

        done = command(*FOR_GOOD, "--to", "dummy")

        assert (done.status, done.lines[-1].partition(" in ")[0]) == (0, "0 files deleted, 1 gone already")
        assert not journal_of("dummy").exists()

    def test_a_table_that_was_dropped_is_made_again(self, emulator: Emulator, command: Command):
        """Though dlt has noted that there is one."""
        emulator.add(created_at=NOW - 91 * DAY)
        command(*FOR_GOOD)
        with duckdb.connect("inventory.duckdb") as database:
            database.execute("DROP TABLE openai_files.deletions")
        emulator.add(file_id="file-2", created_at=NOW - 91 * DAY)

        assert command(*FOR_GOOD).status == 0

        assert recorded("inventory.duckdb") == ["file-2"]

    def test_no_key_is_shown_or_kept(
        self, tmp_path: Path, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
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


class TestTrouble:
    """Files that cannot be deleted."""

    @pytest.mark.parametrize("code", [403, 409])
    def test_a_file_that_is_refused_leaves_the_others_alone(
        self, code: int, place: str, emulator: Emulator, command: Command
    ):
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

    def test_a_file_that_is_gone_already_is_no_failure(self, place: str, emulator: Emulator, command: Command):
        """Others may delete, too; what is recorded says so."""
        old = add_files(emulator)
        emulator.fail(doubled(emulator, old[4]), times=None, method="DELETE", path=f"/v1/files/{old[4]}")

        done = command(*FOR_GOOD, "--to", place)

        assert done.status == 0
        assert done.lines[-2].startswith("29 files deleted, 1 gone already in ")
        assert recorded(place, "gone") == [old[4]]
        assert recorded(place) == sorted(old)

    def test_a_lost_answer_is_no_failure(self, place: str, emulator: Emulator, command: Command):
        """Asked again, the server says that the file is gone."""
        old = add_files(emulator)
        emulator.fail(cut(done=True), at=5, **DELETE)

        done = command(*FOR_GOOD, "--to", place)

        assert (done.status, recorded(place)) == (0, sorted(old))

    def test_the_last_answer_may_be_lost_too(self, place: str, emulator: Emulator, command: Command):
        """What became of the file is found out before the run ends."""
        old = add_files(emulator)
        emulator.fail(cut(done=True), at=30, **DELETE)

        done = command("--max-retries", "0", *FOR_GOOD, "--to", place)

        assert (done.status, recorded(place)) == (0, sorted(old))
        assert recorded(place, "gone") == deleted_by(emulator)[29:]
        assert not journal_of(place).exists()

    @pytest.mark.parametrize(
        "answer",
        [
            status(404),
            status(200, body='{"id": "file-1", "object": "file", "deleted": false}'),
            status(200, body="{}"),
            status(200, body='{"code": 404, "message": "no such route"}'),
            status(200, body='{"error": {"message": "cannot delete"}}'),
            status(200, body='{"id": "file-1", "object": "file"}'),
        ],
        ids=["cannot delete", "says no", "nothing", "no such route", "an error with status 200", "the file"],
    )
    def test_a_file_that_is_still_there_is_not_recorded_as_deleted(
        self, answer: Fault, emulator: Emulator, command: Command
    ):
        """Whatever the answer looks like."""
        emulator.add(created_at=NOW - 91 * DAY)
        emulator.fail(answer, times=None, **DELETE)

        done = command(*FOR_GOOD)

        assert done.status == 1
        assert (recorded("inventory.duckdb"), len(recorded("inventory.duckdb", "failed"))) == ([], 1)

    def test_an_id_that_no_address_can_hold_fails_alone(self, emulator: Emulator, command: Command):
        """It would name the whole listing."""
        emulator.add(file_id="..", created_at=NOW - 91 * DAY)
        emulator.add(file_id="file-1", created_at=NOW - 91 * DAY)

        done = command(*FOR_GOOD)

        assert done.status == 1
        assert "'..' is no file id" in done.err
        assert deleted_by(emulator) == ["file-1"]

    @pytest.mark.parametrize("workers", [1, 8])
    def test_an_account_that_does_not_answer_is_given_up(
        self, workers: int, place: str, emulator: Emulator, command: Command
    ):
        """After eight files in a row; the next run finds out what became of them, and goes on."""
        old = add_files(emulator, old=60)
        emulator.fail(cut(done=True), at=11, times=None, **DELETE)

        done = command("--max-retries", "0", *FOR_GOOD, "--to", place, "--workers", str(workers))

        assert done.status == 1
        asked = len(deleted_by(emulator))
        assert 18 <= asked <= 16 + 2 * workers
        assert "50 of 60 files were not deleted: DELETE " in done.err
        assert " broke off: " in done.err
        assert recorded(place) == sorted(deleted_by(emulator)[:10])
        emulator.recover()
        again = command(*FOR_GOOD, "--to", place)
        assert again.status == 0
        assert again.lines[0].startswith(f"{asked - 10} deletions of a cleanup that was stopped, now recorded in ")
        assert recorded(place) == sorted(old)
        assert not journal_of(place).exists()

    def test_a_file_that_fails_now_and_then_stops_nothing(self, emulator: Emulator, command: Command):
        """Eight in a row would: these are nine of 60."""
        old = add_files(emulator, old=60)
        for file_id in sorted(old, key=emulator.ids().index)[::7]:
            emulator.fail(status(500), times=None, method="DELETE", path=f"/v1/files/{file_id}")

        done = command("--max-retries", "0", *FOR_GOOD, "--workers", "1")

        assert done.status == 1
        assert "9 of 60 files were not deleted: " in done.err
        assert len(recorded("inventory.duckdb")) == 51

    @pytest.mark.parametrize("answer", [status(401), insufficient_quota()], ids=["wrong key", "no quota"])
    def test_what_goes_wrong_with_all_stops_at_once(self, answer: Fault, emulator: Emulator, command: Command):
        """Nothing else would come of the others."""
        add_files(emulator)
        emulator.fail(answer, times=None, **DELETE)

        done = command(*FOR_GOOD, "--workers", "1")

        assert (done.status, len(deleted_by(emulator))) == (1, 1)
        assert "30 of 30 files were not deleted: " in done.err

    def test_a_place_that_takes_nothing_is_told_before_anything_is_deleted(self, emulator: Emulator, command: Command):
        """What cannot be recorded is not done."""
        add_files(emulator)

        failed = command(*FOR_GOOD, "--to", "nowhere/inventory.duckdb")

        assert failed.status == 1
        assert "nowhere/inventory.duckdb" in failed.err
        assert deleted_by(emulator) == []

    def test_a_table_that_cannot_be_made_is_told_before_anything_is_deleted(
        self, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
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
        self, place: str, emulator: Emulator, command: Command
    ):
        """Whether that loads into it or cleans up."""
        add_files(emulator)
        folder = target(place).working_folder
        folder.mkdir(parents=True)

        with FileLock(folder / "lock"):
            loading = command(*FOR_GOOD, "--to", place)
        with FileLock(folder / "cleanup.lock"):
            cleaning = command(*FOR_GOOD, "--to", place)

        assert loading.err == f"error: another run into {place} is going on: wait for its end, and run again\n"
        assert cleaning.error == f"another cleanup into {place} is going on: wait for its end, and run again"
        assert deleted_by(emulator) == []


class TestAtOnce:
    """How many files are deleted at the same time."""

    @pytest.mark.parametrize("workers", [None, 1, 3])
    def test_there_is_a_bound(self, workers: int | None, emulator: Emulator, command: Command):
        """As many as `--workers` says, 8 without it, and never more."""
        bound = workers or 8
        add_files(emulator, old=bound * 4)
        gate = Gate(bound)
        emulator.fail(gate.fault(), times=None, **DELETE)

        done = command(*FOR_GOOD, *([] if workers is None else ["--workers", str(workers)]))

        assert done.status == 0
        assert gate.most == bound

    @pytest.mark.usefixtures("url")
    def test_a_terminal_shows_how_far_it_is(self, emulator: Emulator):
        """On standard error, so that standard output still holds the data alone."""
        add_files(emulator)

        shown, ended = on_terminal(*FOR_GOOD, "--json")

        assert "deleting" in shown
        assert "30/30" in shown
        assert ended.status == 0
        assert json.loads(ended.out)["deleted"] == 30


class TestStopped:
    """A cleanup that does not come to its end, and the next."""

    def test_by_ctrl_c(self, place: str, emulator: Emulator, command: Command):
        """What was done is recorded at once; what was under way, and the rest, by the next run."""
        old = add_files(emulator)
        asked = Event()
        emulator.fail(done_and_hanging(asked), at=12, **DELETE)

        process = start(*FOR_GOOD, "--to", place, "--workers", "2")
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        ended = finish(process)

        assert ended.status == 130
        assert ended.err.startswith("error: interrupted: no more files are deleted")
        gone = set(old) - set(emulator.ids())
        assert set(recorded(place)) < gone
        assert len(recorded(place)) >= 11 - 1
        self.resume(place, emulator, command, old)

    def test_by_a_kill(self, place: str, emulator: Emulator, command: Command):
        """Between the server's deed and its answer."""
        old = add_files(emulator)
        asked = Event()
        emulator.fail(done_and_hanging(asked), at=12, **DELETE)

        process = start(*FOR_GOOD, "--to", place, "--workers", "3")
        assert asked.wait(60)
        process.kill()
        assert finish(process).status == -signal.SIGKILL

        again = self.resume(place, emulator, command, old)
        assert "of a cleanup that was stopped, now recorded in" in again.lines[0]

    @pytest.mark.parametrize("later", [False, True], ids=["first cleanup", "later cleanup"])
    def test_at_any_moment(self, later: bool, place: str, emulator: Emulator, command: Command):
        """Killed at file operations spread over all that it does, and between commits and notes; then run again."""
        for moment in moments(place, emulator, command, later=later):
            where = named(moment, place)
            earlier = prepare(where, emulator, command, later=later)
            old = add_files(emulator, old=12, young=2)
            assert killed.fork(moment, *FOR_GOOD, "--to", where) == -signal.SIGKILL

            self.resume(where, emulator, command, old, earlier)
            print(f"killed at {moment}: nothing lost, nothing doubled, nothing else deleted")

    def test_with_the_answer_no_to_the_next_question(
        self, place: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """What was deleted is recorded all the same."""
        old = add_files(emulator)
        asked = Event()
        emulator.fail(done_and_hanging(asked), at=12, **DELETE)
        process = start(*FOR_GOOD, "--to", place, "--workers", "1")
        assert asked.wait(60)
        process.kill()
        finish(process)
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

        done = command(*OLD, "--delete", "--to", place)

        assert done.status == 1
        assert recorded(place) == sorted(set(old) - set(emulator.ids()))
        assert len(recorded(place)) == 12

    def test_by_a_full_disk(self, emulator: Emulator, command: Command):
        """No deletion is asked for that cannot be noted before."""
        place = "lake/"
        earlier = prepare(place, emulator, command, later=True)
        old = add_files(emulator, old=200)

        ended = on_full_disk("journal", place)

        assert (ended.status, ended.out.count("files deleted")) == (1, 0)
        assert "deletions.jsonl, which notes each deletion before it is asked for, cannot be written" in ended.err
        assert 0 < len(set(old) - set(emulator.ids())) < 200
        self.resume(place, emulator, command, old, earlier)

    @pytest.mark.parametrize("step", ["extract", "load"])
    def test_by_a_disk_that_is_full_when_it_comes_to_recording(
        self, step: str, place: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """The line says that the deletions are noted, and the next run records them."""
        monkeypatch.setenv("LOAD__RAISE_ON_MAX_RETRIES", "1")
        earlier = prepare(place, emulator, command, later=True)
        names = (os.urandom(40_000).hex() for _ in range(100))
        old = [str(emulator.add(created_at=NOW - 91 * DAY, filename=name)["id"]) for name in names]

        ended = on_full_disk(step, place)

        assert ended.status == 1
        assert "File too large" in ended.err
        assert recorded(place) == sorted(earlier)
        assert set(old).isdisjoint(emulator.ids())
        self.resume(place, emulator, command, old, earlier)

    def test_a_load_that_never_became_complete_is_not_completed_by_a_cleanup(
        self, clock: Clock, emulator: Emulator, command: Command
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

    def resume(
        self, place: str, emulator: Emulator, command: Command, old: list[str], earlier: list[str] | None = None
    ) -> Ended:
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


class TestUnderWay:
    """A deletion that was noted, and of which nobody knows what came of it."""

    def stop(self, emulator: Emulator, place: str, fault: Callable[[Event], Fault]) -> str:
        """Kill a cleanup of one file, and return the file's id."""
        file = emulator.add(created_at=NOW - 91 * DAY)
        asked = Event()
        emulator.fail(fault(asked), **DELETE)
        process = start(*FOR_GOOD, "--to", place)
        assert asked.wait(60)
        process.kill()
        finish(process)
        emulator.recover()
        return str(file["id"])

    def test_one_that_was_done_is_recorded_with_the_time_of_the_attempt(
        self, place: str, emulator: Emulator, command: Command
    ):
        """Nobody knows a better one."""
        file_id = self.stop(emulator, place, done_and_hanging)

        command(*FOR_GOOD, "--to", place)

        (row,) = read_table(place, "deletions").to_dicts()
        assert (row["id"], row["outcome"]) == (file_id, "gone")
        assert row["deleted_at"] == row["attempted_at"]

    def test_one_that_was_not_done_is_no_deletion(self, emulator: Emulator, command: Command):
        """The file is there, and listed again; the server may still be about to delete it, so it is remembered."""
        place = "inventory.duckdb"
        file_id = self.stop(emulator, place, hang_and_tell)

        asked = command("cleanup", "--purpose", "none", "--delete", "--yes", "--to", place)

        assert (asked.status, emulator.ids()) == (0, [file_id])
        assert journal_of(place).exists()
        emulator.remove(file_id)
        command("cleanup", "--purpose", "none", "--delete", "--yes", "--to", place)
        assert recorded(place) == [file_id]
        assert not journal_of(place).exists()

    def test_one_that_the_server_says_nothing_about_stays_open(self, emulator: Emulator, command: Command):
        """Nothing is recorded that is not known, and nothing forgotten."""
        place = "inventory.duckdb"
        file_id = self.stop(emulator, place, done_and_hanging)
        emulator.fail(status(500), times=None, path="/v1/files/*")

        told = command("--max-retries", "0", *FOR_GOOD, "--json")

        assert told.status == 0
        assert json.loads(told.out)["open"] == 1
        emulator.recover()
        assert command(*FOR_GOOD).status == 0
        assert recorded(place) == [file_id]

    def test_after_an_hour_it_is_forgotten(self, emulator: Emulator, command: Command):
        """No server takes that long."""
        place = "inventory.duckdb"
        file_id = self.stop(emulator, place, hang_and_tell)
        noted = json.loads(journal_of(place).read_text())
        journal_of(place).write_text(json.dumps(noted | {"attempted_at": noted["attempted_at"] - 3_601_000_000}) + "\n")

        command("cleanup", "--purpose", "none", "--delete", "--yes", "--to", place)

        assert emulator.ids() == [file_id]
        assert not journal_of(place).exists()

    def test_another_server_is_not_asked_about_it(
        self, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """There it would seem to be gone; the server that has it is asked when its turn comes."""
        place = "inventory.duckdb"
        file_id = self.stop(emulator, place, hang_and_tell)
        there = os.environ["OPENAI_BASE_URL"]
        with Emulator().serve() as other:
            monkeypatch.setenv("OPENAI_BASE_URL", other.url)
            told = json.loads(command(*FOR_GOOD, "--to", place, "--json").out)
        assert told["open"] == 1

        monkeypatch.setenv("OPENAI_BASE_URL", there)
        command(*FOR_GOOD, "--to", place)

        assert recorded(place, "deleted") == [file_id]

    def test_half_a_line_was_never_asked_for(self, emulator: Emulator, command: Command):
        """What a machine was still writing when it lost its power."""
        place = "inventory.duckdb"
        file_id = self.stop(emulator, place, done_and_hanging)
        whole = journal_of(place).read_bytes()
        journal_of(place).write_bytes(whole + whole[:50])

        assert command(*FOR_GOOD, "--to", place).status == 0

        assert recorded(place) == [file_id]

    def test_a_journal_that_is_damaged_is_told(self, emulator: Emulator, command: Command):
        """Nothing is deleted, nothing forgotten."""
        place = "inventory.duckdb"
        self.stop(emulator, place, hang_and_tell)
        damaged = journal_of(place).read_text() + "{}\n"
        journal_of(place).write_text(damaged)

        failed = command(*FOR_GOOD)

        assert failed.status == 1
        assert "deletions.jsonl is damaged in line 2" in failed.error
        assert len(emulator.ids()) == 1
        assert journal_of(place).read_text() == damaged

    def test_a_file_that_is_listed_though_it_is_gone_is_recorded_once(
        self, place: str, emulator: Emulator, command: Command
    ):
        """As by a server whose listing is behind."""
        file = emulator.add(created_at=NOW - 91 * DAY)
        command(*FOR_GOOD, "--to", place)
        emulator.add(file_id=file["id"], created_at=NOW - 91 * DAY)
        emulator.fail(doubled(emulator, str(file["id"])), **DELETE)

        assert command(*FOR_GOOD, "--to", place).status == 0

        assert recorded(place) == [file["id"]]


class TestManyAccounts:
    """`--accounts`."""

    def test_each_is_cleaned_up_with_its_own_key(self, place: str, clock: Clock, command: Command):
        """One that cannot be listed leaves the others alone, and is named; the status is 1."""
        team = {name: Emulator(clock=clock, api_key=f"sk-{name}", seed=seed) for seed, name in enumerate("abc")}
        old = {name: add_files(emulator, old=6) for name, emulator in team.items()}
        with ExitStack() as opened:
            lines = []
            for name, emulator in team.items():
                server = opened.enter_context(emulator.serve())
                lines += [f"[accounts.{name}]", f'api_key = "sk-{name}"', f'base_url = "{server.url}"']
            Path("accounts.toml").write_text("\n".join(lines))
            team["b"].fail(status(401), times=None)

            shown = command(*OLD, "--accounts", "accounts.toml")
            done = command(*FOR_GOOD, "--accounts", "accounts.toml", "--to", place)

        assert shown.status == done.status == 1
        assert "1 of 3 accounts failed, the others were listed: 'b': " in shown.err
        assert "1 of 3 accounts failed, the others were cleaned up: 'b': " in done.err
        assert [line.split()[0] for line in shown.lines[:-1]] == ["account", *["a"] * 6, *["c"] * 6]
        assert [len(team[name].ids()) for name in "abc"] == [10, 16, 10]
        rows = read_table(place, "deletions").group_by("account").agg(pl.col("id").sort())
        assert dict(rows.iter_rows()) == {name: sorted(old[name]) for name in "ac"}

    def test_one_that_is_given_up_leaves_the_others_alone(self, clock: Clock):
        """Its files are left; those of the other are deleted."""
        first, second = Emulator(clock=clock), Emulator(clock=clock, seed=1)
        for emulator in (first, second):
            add_files(emulator)
        first.fail(status(401), times=None, **DELETE)
        with first.serve() as one, second.serve() as other:
            accounts = [Account(name="one", base_url=one.url), Account(name="other", base_url=other.url)]
            cleanup = Cleanup(accounts=accounts, workers=2)

            with (
                cleanup.into("inventory.duckdb") as record,
                cleanup.candidates(older_than=timedelta(days=90)) as found,
                pytest.raises(CleanedInPart) as caught,
            ):
                cleanup.delete(found, record)

        assert (caught.value.done.deleted, caught.value.done.failed) == (30, 30)
        assert [len(emulator.ids()) for emulator in (first, second)] == [40, 10]

    def test_all_of_them_may_fail(self):
        """Then there is nothing to show."""
        accounts = [Account(name=name, base_url="http://127.0.0.1:9/v1") for name in ("one", "other")]

        with pytest.raises(TransportError):
            Cleanup(accounts=accounts[:1], max_retries=0).candidates()
        with pytest.raises(AccountsError, match=r"^2 of 2 accounts failed, nothing was listed: 'one': "):
            Cleanup(accounts=accounts, max_retries=0).candidates()


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


def doubled(emulator: Emulator, file_id: str) -> Fault:
    """Let someone else delete a file just before."""

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        call.remove(file_id)
        return Delivery(call.answer())

    return Fault("doubled", spoil)


def done_and_hanging(asked: Event) -> Fault:
    """Do what is asked, tell that it is done, and never answer."""

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        answer = call.answer()
        asked.set()
        return Delivery(answer, fate="hangs")

    return Fault("done and hanging", spoil)


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
    for kill in range(KILLS):
        yield str(1 + operations * (2 * kill + 1) // (2 * KILLS))
    yield from ("commit-1", "end", "recorded")
    if place.endswith("/"):
        yield "state"


def on_full_disk(step: str, place: str) -> Ended:
    """Run a cleanup whose disk is full from a step on."""
    command = [sys.executable, killed.__file__, f"full-{step}", *FOR_GOOD, "--to", place]
    return finish(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
