from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from files_source import changes, demo, read_files
from files_source.demo import MADE_UP_NOW, YEARS, account, connected, made_up, made_up_accounts, tidy_up
from files_source.destinations import target
from tests.commands import Ended, run
from tests.conftest import loaded

Command = Callable[..., Ended]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "CRITICAL")
    return lambda *arguments: run(capsys, "demo", *arguments)


def test_it_tells_what_happens_and_every_number_is_right(command: Command, monkeypatch: pytest.MonkeyPatch):
    """The first load, the changes, the next load of what is new alone, a table of usage, and the way in."""
    emulator = account(1_000)
    monkeypatch.setattr(demo, "account", lambda _: emulator)

    told = command("--files", "1000", "--to", "odd $name 'x'[red].duckdb")

    assert (told.status, told.err) == (0, "")
    story = [line.rstrip() for line in told.lines]
    assert re.fullmatch(r"A made-up account: 1,000 files over 3 years, served at http://127\.0\.0\.1:\d+/v1", story[0])
    assert re.fullmatch(r"first load: 1,000 files in \d+\.\d s \(1 request, 2\d\d\.\d kB received\)", story[1])
    assert story[2] == "The account changes: 120 files are added, 40 deleted, 25 expire"
    assert re.fullmatch(r"next load: 120 files in \d+\.\d s \(1 request, \d\d\.\d kB received\)", story[3])
    assert len(emulator.ids()) == 1_000 + 120 - 40 - 25
    assert story[5] == "What takes the room:"
    assert story[-3:-1] == [
        "The database is odd $name 'x'[red].duckdb; files that are gone from the account keep their rows.",
        "Open it with",
    ]
    assert usage(story) == in_database("odd $name 'x'[red].duckdb")
    assert sum(usage(story).values()) == 1_120
    shown = subprocess.run(story[-1].strip(), shell=True, capture_output=True, text=True, check=True)  # noqa: S602 - as a user would
    assert shown.stdout.count("made-up") == 5


def test_another_demo_replaces_the_database_of_the_first(command: Command):
    """What an earlier demo left is removed; nothing of it stays."""
    database_of("made-up", "demo.duckdb")

    told = command("--files", "1000")

    assert told.status == 0
    assert len(loaded("demo.duckdb")) == 1_120


def test_the_way_in_is_short_where_python_is_near(monkeypatch: pytest.MonkeyPatch):
    """After `make demo` it is `.venv/bin/python`, not a path from the root."""
    monkeypatch.setattr(sys, "executable", str(Path.cwd() / ".venv/bin/python"))

    assert str(target("demo.duckdb").query("files")).startswith(".venv/bin/python -c ")
    assert str(target("lake/").query("files")).startswith(".venv/bin/python -c ")


@pytest.mark.parametrize("whose", ["default", "demo", None], ids=["of a real account", "of one named demo", "empty"])
def test_a_database_that_no_demo_made_is_left_alone(whose: str | None, command: Command):
    """It is refused as wrong usage, before anything is done, and not a byte of it is changed."""
    database_of(whose, "demo.duckdb")
    before = Path("demo.duckdb").read_bytes()

    refused = command()

    assert (refused.status, refused.out) == (2, "")
    assert refused.error == "demo.duckdb is in use, or was not made by a demo: name another with --to"
    assert Path("demo.duckdb").read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(command: Command):
    """Nor is anything else that bears the name."""
    Path("demo.duckdb").write_text("precious")

    refused = command()

    assert refused.status == 2
    assert Path("demo.duckdb").read_text() == "precious"


@pytest.mark.parametrize("place", ["lake/", "postgres", "demo.db", "."])
def test_a_place_that_is_no_duckdb_file_is_refused(place: str, command: Command):
    """A demo loads a database on this machine and nothing else."""
    refused = command("--to", place)

    assert refused.status == 2
    assert refused.error.endswith("is no place for a demo: give PATH.duckdb")


def test_a_folder_that_is_missing_is_one_line(command: Command):
    """As for any database."""
    failed = command("--files", "1000", "--to", "nowhere/demo.duckdb")

    assert failed.status == 1
    assert "nowhere/demo.duckdb" in failed.error


def test_an_account_is_spread_over_years_up_to_now():
    """Its newest file is settled, so that a first load is complete."""
    emulator = account(5_000)

    times = [int(str(file["created_at"])) for file in emulator.files()]
    now = emulator.clock()
    assert len(times) == 5_000
    assert now - YEARS * 365 * 86_400 - 60 <= min(times) < now - (YEARS - 0.1) * 365 * 86_400
    assert now - 30 * 86_400 < max(times) <= now - 120


def test_a_made_up_account_is_the_same_whenever_it_is_asked_for():
    """So that a script that is run again finds nothing new."""
    with made_up(500) as client, made_up(500) as again:
        page = client.page()

        assert page.files == again.page().files
        assert page.date == MADE_UP_NOW
        assert client.account == again.account


def test_made_up_accounts_are_the_same_whenever_they_are_served():
    """Three of different sizes, which share no file; each is at its own address only while the context lasts."""
    with made_up_accounts(500) as accounts:
        files = read_files(accounts=accounts)
    with made_up_accounts(500) as accounts:
        again = read_files(accounts=accounts)

    assert dict(files.group_by("account").len().iter_rows()) == {"research": 300, "support": 150, "trial": 50}
    assert files["id"].n_unique() == 500
    assert files.sort("account", "id").equals(again.sort("account", "id"))
    assert files["created_at"].max() < MADE_UP_NOW


def test_tidying_up_leaves_a_history_of_everything():
    """Files are deleted, expire, are given an expiry, and come."""
    emulator = account(1_000)
    with connected(emulator) as client:
        before = read_files(client=client)
        tidy_up(emulator)
        happened = changes(before, read_files(client=client))

    assert dict(happened.group_by("change").len().iter_rows()) == {"created": 20, "changed": 100, "deleted": 110}
    assert happened.filter(change="changed")["changed"].to_list() == [["expires_at"]] * 100


def usage(story: list[str]) -> dict[str, int]:
    """Return the files of each purpose that a story's table shows."""
    rows = (re.fullmatch(r"([a-z_-]+) +([\d,]+) +[\d.]+ [kMG]?B +█+(?: +\d{4}-\d\d-\d\d){2}", line) for line in story)
    return {row[1]: int(row[2].replace(",", "")) for row in rows if row}


def in_database(path: str) -> dict[str, int]:
    with duckdb.connect(path, read_only=True) as database:
        return dict(database.execute("SELECT purpose, count(*) FROM openai_files.files GROUP BY 1").fetchall())


def database_of(whose: str | None, path: str) -> None:
    """Make a database with a file of *whose*."""
    with duckdb.connect(path) as database:
        database.execute("CREATE SCHEMA openai_files")
        database.execute("CREATE TABLE openai_files.files (account VARCHAR, id VARCHAR)")
        if whose is not None:
            database.execute("INSERT INTO openai_files.files VALUES (?, 'file-1')", [whose])
