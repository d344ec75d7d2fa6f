from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from rich.cells import cell_len

from files_source.emulator import Clock, Emulator, status
from tests.commands import Ended

Command = Callable[..., Ended]
DAY = 86_400
HERE = int(time.time())
"""The commands tell ages by the real clock."""

LIMIT = "Of the 2.5 TB that a project may hold, at the growth of the last 30 days by what never expires"
NASTY = "\x1b]0;owned\x07\x9b31m\u202egpj.exe\r\n[red]é製"


@pytest.fixture(autouse=True)
def screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show 80 columns without colour."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.fixture
def clock() -> Clock:
    return Clock(HERE)


@pytest.fixture
def account(emulator: Emulator) -> Emulator:
    """Fill an account with files whose sizes are easily told apart."""
    emulator.add(file_id="file-1", created_at=HERE - 400 * DAY, purpose="vision", filename="a.png", size=3_000_000_000)
    emulator.add(file_id="file-2", created_at=HERE - 40 * DAY, purpose="batch", filename="b", bytes=None)
    emulator.add(file_id="file-3", created_at=HERE - 3 * DAY, purpose="batch", filename="b", size=500_000_000)
    emulator.add(
        file_id="file-4",
        created_at=HERE - 3 * DAY + 60,
        purpose="batch",
        filename="b",
        size=500_000_000,
        expires_at=HERE + 5 * DAY,
    )
    return emulator


def told(command: Command, *flags: str) -> dict[str, object]:
    """Return all answers."""
    done = command("usage", "--json", *flags)
    assert (done.status, done.err, len(done.lines)) == (0, "", 1)
    answers: dict[str, object] = json.loads(done.out)
    return answers


def shown(done: Ended) -> dict[str, list[str]]:
    """Return the rows of each table by its title."""
    assert (done.status, done.err) == (0, "")
    tables = [[line.rstrip() for line in table.splitlines()] for table in done.out.split("\n\n")[1:]]
    return {title: rows for title, _, *rows in tables}


@pytest.mark.usefixtures("account")
class TestTables:
    """What a person sees."""

    def test_each_question_has_a_table(self, command: Command):
        """What there is and where in two lines, then the answers, most bytes first, each with its bar."""
        done = command("usage", "--live")

        tables = shown(done)
        assert re.fullmatch(r"4 files, 4\.0 GB and 1 of unknown size at http://127.0.0.1:\d+/v1 now", done.lines[0])
        assert re.fullmatch(r"created \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d", done.lines[1])
        assert tables["By purpose"] == [
            "vision       1  3.0 GB  75.0%  ████████████████████             0",
            "batch        3  1.0 GB  25.0%  ██████▋                          1",
        ]
        assert tables["By age"] == [
            "under 1 day            0     0 B                                   0",
            "1 to 7 days            2  1.0 GB  ██████▋                          0",
            "7 to 30 days           0     0 B                                   0",
            "30 to 90 days          1       ?                                   1",
            "90 days to 1 year      0     0 B                                   0",
            "over 1 year            1  3.0 GB  ████████████████████             0",
        ]
        assert tables["By expiry"] == [
            "within 1 day        0       0 B                                   0",
            "within 7 days       1  500.0 MB  ██▊                              0",
            "within 30 days      1  500.0 MB  ██▊                              0",
            "never               3    3.5 GB  ████████████████████             1",
        ]
        assert tables["Largest files"] == [
            "  3.0 GB  vision   a.png     file-1",
            "500.0 MB  batch    b         file-3",
            "500.0 MB  batch    b         file-4",
        ]
        assert tables["Maybe copies, by account, name and size: 500.0 MB to free"] == [
            "500.0 MB       2  500.0 MB  b         file-4"
        ]
        (limit,) = tables[LIMIT]
        assert re.fullmatch(r"default  4\.0 GB   0\.2%  16\.7 MB  after 2\d{3}", limit)
        (months,) = (rows for title, rows in tables.items() if title.startswith("By month of creation (last 12 of 1"))
        assert len(months) == 12
        assert months == sorted(months)

    def test_of_one_purpose_there_is_no_limit(self, command: Command):
        """The first line says which; a project's limit is for all."""
        done = command("usage", "--live", "--purpose", "vision")

        assert done.lines[0].startswith("1 file of purpose vision, 3.0 GB at ")
        assert done.lines[1].count("created ") == 1
        assert not [title for title in shown(done) if "copies" in title or "project" in title]
        assert shown(done)["By purpose"] == ["vision       1  3.0 GB  100.0%  ████████████████████"]

    def test_no_more_is_shown_than_a_person_reads(self, emulator: Emulator, command: Command):
        """Ten of a kind, and how many there are."""
        for number in range(11):
            for _ in "12":
                emulator.add(created_at=HERE - DAY, purpose=f"purpose-{number}", filename=f"{number}", size=number)

        tables = shown(command("usage", "--live"))

        assert len(tables["By purpose (first 10 of 13)"]) == 10
        assert len(tables["Largest files"]) == 10
        assert len(tables["Maybe copies, by account, name and size: 500.0 MB to free (first 10 of 12)"]) == 10


class TestAccounts:
    """More than one."""

    def test_each_has_its_share_and_its_limit(self, emulator: Emulator, command: Command):
        """A table of accounts, and a limit for each."""
        emulator.add(file_id="file-1", created_at=HERE - 40 * DAY, size=1_000_000)
        command("sync", "--history", "--account", "lab")
        emulator.add(file_id="file-2", created_at=HERE - 40 * DAY, size=2_000_000)
        command("sync", "--history", "--account", "team")

        tables = shown(command("usage"))

        assert tables["By account"] == [
            "team         2  3.0 MB  75.0%  ████████████████████",
            "lab          1  1.0 MB  25.0%  ██████▋",
        ]
        assert tables[LIMIT] == [
            "team     3.0 MB  <0.1%    0 B  never",
            "lab      1.0 MB  <0.1%    0 B  never",
        ]


class TestEmpty:
    """Nothing, and next to nothing."""

    def test_an_account_without_files_is_one_line(self, command: Command):
        """There is nothing to ask about."""
        done = command("usage", "--live")

        assert (done.status, done.err) == (0, "")
        assert re.fullmatch(r"0 files, 0 B at http://127.0.0.1:\d+/v1 now\n", done.out)

    def test_an_account_without_files_has_every_answer(self, command: Command):
        """Zeros and empty lists, under the same names."""
        answers = told(command, "--live")

        assert answers["totals"] == dict.fromkeys(["files", "bytes", "unknown_size", "accounts"], 0) | dict.fromkeys(
            ["oldest", "newest"]
        )
        assert [name for name, rows in answers.items() if rows == []] == [
            "by_purpose",
            "by_account",
            "by_month",
            "largest",
            "duplicates",
            "quota",
        ]

    def test_a_file_of_unknown_size_is_enough(self, emulator: Emulator, command: Command):
        """No bar, no share, no largest."""
        emulator.add(created_at=HERE - DAY, purpose="batch", bytes=None)

        done = command("usage", "--live")

        tables = shown(done)
        assert done.lines[0].startswith("1 file of unknown size at http")
        assert tables[LIMIT] == ["default     ?      ?    0 B  never"]
        assert tables["By purpose"] == ["batch        1     ?      ?                                   1"]
        assert "Largest files" not in tables

    def test_a_day_beyond_a_lifetime_is_none(self, emulator: Emulator, command: Command):
        """As in the report: a limit that is reached in another age has no date."""
        emulator.add(created_at=HERE - DAY, purpose="batch", size=12_345)

        ((limit,),) = (rows for title, rows in shown(command("usage", "--live")).items() if title == LIMIT)

        assert re.fullmatch(r"default  12\.3 kB  <0\.1%  412 B  after 2\d{3}", limit)

    def test_an_empty_file_is_enough(self, emulator: Emulator, command: Command):
        """Nor has a file of no bytes a bar."""
        emulator.add(file_id="file-1", created_at=HERE - DAY, purpose="batch", filename="a", size=0)

        tables = shown(command("usage", "--live"))

        assert tables["By purpose"] == ["batch        1   0 B      ?"]
        assert tables["Largest files"] == [" 0 B  batch    a         file-1"]


class TestWidth:
    """However wide the screen is."""

    @pytest.mark.parametrize("width", [60, 80, 120, 200])
    def test_no_line_is_wider_and_no_id_cut(
        self, width: int, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """Long names give way; the first line, which may hold a long place, and titles are whole."""
        monkeypatch.setenv("COLUMNS", str(width))
        for number in range(20):
            emulator.add(
                created_at=HERE - number * DAY,
                purpose="batch_output",
                filename=f"{number // 2} " + "long name 製品" * 20,
                size=10 ** (number // 2),
            )

        done = command("usage", "--live")

        tables = shown(done)
        assert all(cell_len(row) <= width for rows in tables.values() for row in rows)
        assert {row.split()[-1] for row in tables["Largest files"]} < set(emulator.ids())
        assert all("…" in row for row in tables["Largest files"])
        assert ("created" in done.out.partition("Largest files")[2]) is (width >= 100)

    def test_names_cannot_command_a_terminal(self, emulator: Emulator, command: Command):
        """What is no visible character is spelled out; markup is text like any other."""
        for _ in "12":
            emulator.add(created_at=HERE - DAY, purpose=NASTY, filename=NASTY, size=5)

        done = command("usage", "--live", "--purpose", NASTY)

        assert all(line.isprintable() for line in done.lines)
        assert r"of purpose \u001b]0;owned\u0007\u009b31m\u202egpj.exe\r\n[red]é製, 10 B" in done.lines[0]


@pytest.mark.usefixtures("account")
class TestJson:
    """What a program gets."""

    def test_it_is_one_object_with_all_answers(self, command: Command):
        """Sizes in bytes, shares from 0 to 1, times in UTC, nothing left out."""
        answers = told(command, "--live")

        assert list(answers) == [
            *("from", "basis", "checked_at", "purpose", "at"),
            *("totals", "by_purpose", "by_account", "by_month", "ages", "expiring_soon", "never_expiring"),
            *("largest", "duplicates", "quota"),
        ]
        assert (answers["basis"], answers["purpose"]) == ("live", None)
        assert answers["totals"]["bytes"] == 4_000_000_000
        assert [row["share"] for row in answers["by_purpose"]] == [0.75, 0.25]
        assert [row["within_days"] for row in answers["expiring_soon"]] == [1, 7, 30]
        assert answers["never_expiring"]["files"] == 3
        assert answers["duplicates"][0]["other_ids"] == ["file-3"]
        assert answers["quota"][0]["share"] == 0.0016
        assert sum(row["files"] for row in answers["by_month"]) == 4
        assert str(answers["totals"]["oldest"]).endswith("Z")

    def test_of_one_purpose_the_server_is_asked_for_no_other(self, account: Emulator, command: Command):
        """And the answers are of that one; the limit is for all."""
        answers = told(command, "--live", "--purpose", "batch")

        assert [request.query.get("purpose") for request in account.requests] == ["batch"]
        assert (answers["purpose"], answers["totals"]["files"], answers["quota"]) == ("batch", 3, None)

    @pytest.mark.parametrize("flags", [[], ["--purpose", "batch"]], ids=["all", "one purpose"])
    @pytest.mark.parametrize("history", [[], ["--history"]], ids=["files", "history"])
    @pytest.mark.parametrize("place", ["inventory.duckdb", "lake/"])
    def test_what_was_loaded_gives_the_same_answers(
        self, place: str, history: list[str], flags: list[str], command: Command
    ):
        """From a database or a folder, with history or without."""
        live = told(command, "--live", *flags)
        command("sync", "--to", place, *history)

        stored = told(command, *(["--from", place] if place != "inventory.duckdb" else []), *flags)

        assert (stored["from"], stored["basis"]) == (place, "history" if history else "files")
        for name in live.keys() - {"from", "basis", "checked_at", "at"}:
            assert stored[name] == live[name], name


class TestWhatIsGone:
    """Files that were loaded and are no longer there."""

    @pytest.mark.parametrize("place", ["inventory.duckdb", "lake/"])
    def test_history_knows_what_was_deleted(self, place: str, account: Emulator, command: Command):
        """By the last history run; the first line says so."""
        command("sync", "--history", "--to", place)
        account.remove("file-1")
        command("sync", "--history", "--to", place)

        done = command("usage", "--from", place)

        assert re.fullmatch(
            rf"3 files, 1\.0 GB and 1 of unknown size in {place}, as checked by a history run at 20[0-9: -]{{14}}Z",
            done.lines[0],
        )

    def test_without_history_it_counts_and_the_first_line_says_so(self, account: Emulator, command: Command):
        """`files` is what was ever listed."""
        command("sync")
        account.remove("file-1")
        command("sync")

        done = command("usage")

        assert done.lines[0] == (
            "4 files, 4.0 GB and 1 of unknown size loaded into inventory.duckdb; "
            "what was deleted since may count: sync --history tells"
        )

    @pytest.mark.parametrize("history", [[], ["--history"]], ids=["files", "history"])
    def test_what_has_expired_since_counts_nowhere(
        self, history: list[str], emulator: Emulator, clock: Clock, command: Command
    ):
        """Its time is known without a listing."""
        clock.advance(-3_600)
        emulator.add(file_id="file-1", created_at=HERE - DAY, size=1, expires_at=HERE - 60)
        emulator.add(file_id="file-2", created_at=HERE - DAY, size=1, expires_at=HERE + DAY)
        command("sync", *history)

        answers = told(command)

        assert answers["totals"]["files"] == 1
        assert [row["id"] for row in answers["largest"]] == ["file-2"]


class TestWrongUsage:
    """One line on standard error."""

    def test_a_place_that_is_not_there(self, command: Command):
        """Nothing was loaded yet."""
        refused = command("usage")

        assert (refused.status, refused.out) == (2, "")
        assert refused.error == "inventory.duckdb is not there: load something into it first, or correct the path"

    def test_two_places_at_once(self, command: Command):
        """The account or what was loaded."""
        refused = command("usage", "--live", "--from", "lake/")

        assert refused.status == 2
        assert refused.error == "--live lists the account, --from reads what was loaded: give one of them"

    def test_a_listing_that_fails_answers_nothing(self, emulator: Emulator, command: Command):
        """Part of a listing is not taken for all of it."""
        emulator.add_many(20_000, created_at=HERE - DAY)
        emulator.fail(status(500), at=2)

        failed = command("--max-retries", "0", "usage", "--live")

        assert (failed.status, failed.out) == (1, "")
        assert "500" in failed.error


def test_the_questions_can_be_imported_from_the_package():
    """`from files_source import usage` is all that a notebook needs, in a process that has nothing else."""
    script = "from files_source import usage; print(usage.totals.__name__, usage.over_time.__name__)"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "totals over_time\n"
