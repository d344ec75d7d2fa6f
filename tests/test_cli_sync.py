from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGINT
from threading import Event

import duckdb
import pytest

from files_source.emulator import Emulator, cut, hang
from files_source.tables import read_table
from tests.commands import Ended, finish, hang_and_tell, start
from tests.conftest import NOW, loaded

Command = Callable[..., Ended]
DAY = 86_400


@pytest.mark.parametrize(
    ("flags", "place"),
    [
        pytest.param([], "inventory.duckdb", id="by default"),
        pytest.param(["--to", "lake/"], "lake/", id="a folder"),
        pytest.param(["--to", "parquet:file://{here}/lake"], "lake/", id="a URL"),
    ],
)
def test_files_land_where_the_user_says(flags: list[str], place: str, emulator: Emulator, command: Command):
    """A database, a folder or any URL: those files and no others, and two quiet lines about it."""
    emulator.populate(50, start=NOW - DAY, end=NOW - 61)

    done = command("sync", *(flag.format(here=Path.cwd()) for flag in flags))

    assert loaded(place) == sorted(emulator.ids())
    assert (done.status, done.err, len(done.lines)) == (0, "", 2)
    assert re.fullmatch(r"50 files into .+ in \d+\.\d s \(1 page, 1 request, 1\d\.\d kB\)", done.lines[0])
    assert looked_at(done.lines[1]).count("default") == 5


def test_a_run_is_described_to_programs_as_json(emulator: Emulator, command: Command):
    """`--json` prints one object and nothing else; what was done is counted, by pages as asked for."""
    emulator.add_many(25, created_at=NOW - DAY)
    emulator.fail(cut(), at=2)

    done = command("sync", "--json", "--limit", "10")

    told = json.loads(done.out)
    assert (done.status, done.err, len(done.lines)) == (0, "", 1)
    assert {name: told[name] for name in ("to", "rows", "pages", "requests", "retries", "discarded")} == {
        "to": "inventory.duckdb",
        "rows": 25,
        "pages": 3,
        "requests": 4,
        "retries": 1,
        "discarded": False,
    }
    assert told["received"] == sum(request.sent for request in emulator.requests)
    assert told["seconds"] > 0


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the machine to New York."""
    with monkeypatch.context() as there:
        there.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


def test_only_what_is_asked_for_is_loaded(new_york: None, emulator: Emulator, command: Command):
    """A purpose and a range of time; a time without a zone is UTC, wherever the machine stands."""
    since = int(datetime(2026, 9, 20, tzinfo=UTC).timestamp())
    until = int(datetime(2026, 9, 20, 12, tzinfo=UTC).timestamp())
    for second in (since - 1, since, until - 1, until):
        for purpose in ("batch", "vision"):
            emulator.add(file_id=f"file-{purpose}-{second}", created_at=second, purpose=purpose)

    done = command("sync", "--purpose", "batch", "--since", "2026-09-20", "--until", "2026-09-20T14:00+02:00")

    assert done.status == 0
    assert loaded("inventory.duckdb") == [f"file-batch-{since}", f"file-batch-{until - 1}"]


def test_a_full_refresh_holds_what_is_there_now(emulator: Emulator, command: Command):
    """Files that are gone from the account are gone from the table."""
    emulator.add_many(10, created_at=NOW - DAY)
    command("sync")
    emulator.remove(emulator.ids()[3])

    done = command("sync", "--full-refresh")

    assert done.lines[0].startswith("9 files into ")
    assert loaded("inventory.duckdb") == sorted(emulator.ids())


def test_what_no_flag_says_is_left_to_the_configuration_of_dlt(
    emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """`SOURCES__OPENAI_FILES__...` sets what the command line leaves open."""
    emulator.add_many(10, created_at=NOW - DAY)
    monkeypatch.setenv("SOURCES__OPENAI_FILES__LIMIT", "7")
    monkeypatch.setenv("SOURCES__OPENAI_FILES__ACCOUNT", "research")

    command("sync")

    assert [request.query["limit"] for request in emulator.requests] == ["7", "7"]
    assert set(loaded("inventory.duckdb", "account")) == {"research"}


class TestProgress:
    """What a person sees while a run goes on."""

    @pytest.mark.usefixtures("url")
    def test_a_terminal_shows_pages_files_and_speed(self, emulator: Emulator):
        """On standard error, so that standard output still holds the summary alone."""
        emulator.add_many(25, created_at=NOW - DAY)

        shown, ended = on_terminal("sync", "--limit", "10")

        assert re.search(r"3 pages  25 files.* [\d,]+ files/s", shown)
        assert ended.status == 0
        assert ended.lines[0].startswith("25 files into inventory.duckdb in ")

    def test_an_error_on_a_terminal_is_still_one_line(
        self, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """What showed progress is wiped away before."""
        emulator.fail(cut(), times=None)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setenv("TERM", "xterm")

        failed = command("--max-retries", "0", "sync")

        assert failed.status == 1
        assert "0 pages  0 files" in failed.err
        assert re.search(r"\x1b\[2Kerror: GET [^\n]+; try again\n$", failed.err)


class TestPlacesThatDoNotWork:
    """One clear line, and the status that says whose mistake it is."""

    @pytest.mark.parametrize(
        ("place", "said"),
        [
            ("openai_files.duckdb", "bears the name of its schema"),
            ("no_such_destination", "'no_such_destination' is no place: give PATH.duckdb, DIR/"),
            ("parquet:", "needs a folder or a URL"),
            ("team[1]/", "team[1]/ cannot be loaded into: dlt takes *, ? and [ in a folder's name for a pattern"),
            ("parquet:a*b", "a*b cannot be loaded into"),
            ("", ""),
        ],
        ids=[
            "the schema's name",
            "an unknown name",
            "parquet without a place",
            "a pattern",
            "another pattern",
            "nothing",
        ],
    )
    def test_a_place_that_cannot_be_meant_is_wrong_usage(
        self, place: str, said: str, emulator: Emulator, command: Command
    ):
        """Nothing is asked of the server."""
        refused = command("sync", "--to", place)

        assert refused.status == 2
        assert said in refused.error
        assert emulator.requests == []

    @pytest.mark.parametrize(
        ("place", "status", "said"),
        [
            ("nowhere/inventory.duckdb", 1, "No such file or directory"),
            ("/sys/inventory.duckdb", 1, "Permission denied|Read-only file system|No such file"),
            ("/sys/lake/", 1, "not permitted|Permission denied|Read-only file system"),
            ("text.duckdb", 1, "not a valid DuckDB database"),
            ("parquet:nonsense://x", 2, "nonsense"),
            ("filesystem", 2, "not configured as dlt needs it"),
            ("databricks", 2, r"not installed: pip install 'dlt\[databricks\]'"),
        ],
        ids=[
            "a folder that is missing",
            "a database where none may be",
            "a folder where none may be",
            "no database",
            "an unknown kind of URL",
            "a destination that is not configured",
            "a destination that is not installed",
        ],
    )
    def test_a_place_that_fails_is_named_in_one_line(
        self, place: str, status: int, said: str, emulator: Emulator, command: Command
    ):
        """With the reason, and the status that says whose mistake it is."""
        Path("text.duckdb").write_text("no database")
        emulator.add(created_at=NOW - DAY)

        failed = command("sync", "--to", place)

        assert failed.status == status
        assert place.removeprefix("parquet:") in failed.error
        assert re.search(said, failed.error)
        assert failed.out == ""
        assert Path("text.duckdb").read_text() == "no database"

    def test_a_database_that_is_open_elsewhere_is_left_alone(self, emulator: Emulator, command: Command):
        """The line says who has it, and what to do."""
        emulator.add(created_at=NOW - DAY)
        holding = "import duckdb; held = duckdb.connect('inventory.duckdb'); print('open', flush=True); input()"
        holder = subprocess.Popen(
            [sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with holder:
            assert holder.stdout
            holder.stdout.readline()
            failed = command("sync")
            holder.communicate("\n")

        assert failed.status == 1
        said = f"inventory.duckdb is open in another program (PID {holder.pid}): close it there and run this again"
        assert failed.error == said


class TestInterrupted:
    """Ctrl-C in the middle of a run."""

    def test_nothing_is_half_loaded_and_the_next_run_loads_everything(self, emulator: Emulator, command: Command):
        """One line that says so, and status 130."""
        emulator.add_many(3_000, created_at=NOW - DAY)
        asked = Event()
        emulator.fail(hang_and_tell(asked), at=2)

        process = start("sync", "--limit", "1000")
        assert asked.wait(30)
        process.send_signal(SIGINT)
        ended = finish(process)

        assert (ended.status, ended.out) == (130, "")
        assert ended.error == "interrupted: nothing is half-loaded, and the next run goes on from here"
        assert "files" not in tables()
        assert read_table("inventory.duckdb", "scans")["error"].to_list() == ["interrupted"]
        assert command("sync").status == 0
        assert loaded("inventory.duckdb") == sorted(emulator.ids())


def test_patience_is_the_users_choice(emulator: Emulator, command: Command):
    """`--timeout` and `--max-retries` hold for a run as for a call."""
    emulator.fail(hang(), times=None)

    failed = command("--timeout", "0.05", "--max-retries", "0", "sync")

    assert failed.status == 1
    assert "gave no answer in time" in failed.error
    assert len(emulator.requests) == 1


def on_terminal(*arguments: str) -> tuple[str, Ended]:
    """Run a command with standard error on a terminal, and return what that showed."""
    leader, follower = pty.openpty()
    process = start(*arguments, stderr=follower)
    os.close(follower)
    shown = b"".join(iter(lambda: read(leader), b""))
    os.close(leader)
    return shown.decode(), finish(process)


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux's way to say that nobody writes any more
        return b""


def looked_at(line: str) -> str:
    """Run the command with which a run ends, as a user would, and return what it shows."""
    shown = line.removeprefix("look at it: ")
    return subprocess.run(shown, shell=True, capture_output=True, text=True, check=True).stdout  # noqa: S602 - as above


def tables() -> list[str]:
    """Return the tables of openai_files in the default database, if there is one."""
    if not Path("inventory.duckdb").exists():
        return []
    with duckdb.connect("inventory.duckdb", read_only=True) as database:
        return [name for (name,) in database.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
