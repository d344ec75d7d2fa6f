"""`files-source cleanup` without `--delete`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from files_source.emulator import Emulator
from tests.cleanups import (
    DAY,
    FOR_GOOD,
    OLD,
    Command,
    add_files,
    deleted_by,
)
from tests.conftest import NOW


def test_a_table_with_what_would_be_freed(emulator: Emulator, command: Command):
    """A line for each candidate, oldest first, and their sizes together; those of unknown size apart."""
    emulator.add(file_id="file-b", created_at=NOW - 91 * DAY, purpose="batch_output", size=2_500_000_000)
    emulator.add(file_id="file-a", created_at=NOW - 92 * DAY, purpose="batch_output", filename="a\x1b[2J.jsonl")
    emulator.add(file_id="file-c", created_at=NOW - 90 * DAY - 1, purpose="batch_output", bytes=None)
    emulator.add(created_at=NOW - 90 * DAY, purpose="batch_output")
    emulator.add(created_at=NOW - 99 * DAY, purpose="batch")

    shown = command(*OLD, "--purpose", "batch_output")

    assert (shown.status, shown.err) == (0, "")
    assert [re.split(r"\s{2,}", line.strip()) for line in shown.lines[:-2]] == [
        ["created_at", "size", "purpose", "id", "filename"],
        ["2023-08-14 22:13Z", "1.0 kB", "batch_output", "file-a", r"a\u001b[2J.jsonl"],
        ["2023-08-15 22:13Z", "2.5 GB", "batch_output", "file-b", "requests.jsonl"],
        ["2023-08-16 22:13Z", "?", "batch_output", "file-c", "requests.jsonl"],
    ]
    assert shown.lines[-2] == ("3 files (2.5 GB and 1 of unknown size), created 2023-08-14 22:13Z to 2023-08-16 22:13Z")
    assert shown.lines[-1] == "nothing was deleted: --delete deletes files for good"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_cuts_no_id(width: int, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch):
    """A name may be cut short there, and is never taken for a command or a colour."""
    emulator.add(file_id="file-" + "x" * 24, created_at=NOW - 91 * DAY, filename="[red]a\x1b[2J.jsonl")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    header, *lines, total, _ = command(*OLD).lines

    start, end = header.index(" id ") + 1, header.index("file")
    assert "".join(line[start:end].strip() for line in lines) == "file-" + "x" * 24
    assert total.startswith("1 file (1.0 kB), created ")
    assert "\x1b" not in "".join(lines)
    assert "[red]" in lines[0]
    assert max(map(len, lines)) <= width


def test_json_for_programs(emulator: Emulator, command: Command):
    """One document, with every column of the files."""
    old = add_files(emulator)
    emulator.change(old[3], bytes=None)

    shown = json.loads(command(*OLD, "--json").out)

    assert [file["id"] for file in shown["candidates"]] == [file["id"] for file in emulator.files()][:30]
    assert shown["unknown_size"] == 1
    assert shown["files"] == 30
    assert shown["bytes"] == sum(file["bytes"] or 0 for file in shown["candidates"])


def test_nothing_is_deleted_and_nothing_made(emulator: Emulator, command: Command):
    """No database, no lock, no journal."""
    add_files(emulator)

    shown = command(*OLD, "--yes")

    assert shown.status == 0
    assert deleted_by(emulator) == []
    assert list(Path.cwd().iterdir()) == []


def test_an_account_without_any_is_told_so(command: Command):
    """As a document, too."""
    assert command(*OLD).out == "0 files (0 B)\n"
    assert json.loads(command(*OLD, "--json").out) == {
        "files": 0,
        "bytes": 0,
        "unknown_size": 0,
        "candidates": [],
    }
    assert command(*FOR_GOOD).out == "0 files (0 B)\n"


def test_many_stand_in_line(emulator: Emulator, command: Command):
    """However many there are, a column begins where it began on the first line."""
    emulator.populate(2_500, start=NOW - 400 * DAY, end=NOW - 91 * DAY)

    shown = command(*OLD, "--all")

    assert len(shown.lines) == 2_503
    assert len({line.index("file-") for line in shown.lines[1:-2]}) == 1


@pytest.mark.parametrize("is_terminal", [False, True], ids=["pipe", "terminal"])
def test_twenty_are_shown_and_what_the_others_are(
    is_terminal: bool, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """The oldest; of the others there is told how many, and of which purposes."""
    for age, purpose in enumerate(["batch"] * 60 + ["batch\x1b_output"] * 40):
        emulator.add(file_id=f"file-{age}", created_at=NOW - (91 + age) * DAY, purpose=purpose)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)

    header, *lines, more, purposes, total, end = command(*OLD).lines

    assert [line.split()[-2] for line in (header, *lines)] == ["id", *(f"file-{age}" for age in range(99, 79, -1))]
    assert more == "... and 80 more files; --all shows each"
    assert purposes == "by purpose: batch 60, batch\\u001b_output 40"
    assert total.startswith("100 files (100.0 kB), created ")
    assert end == "nothing was deleted: --delete deletes files for good"


def test_of_many_purposes_the_most_frequent_are_told(emulator: Emulator, command: Command):
    """In one line."""
    for number in range(12):
        emulator.add_many(12 - number, created_at=NOW - 91 * DAY, purpose=f"purpose-{number:02}")

    told = next(line for line in command(*OLD).lines if line.startswith("by purpose: "))

    assert told == "by purpose: " + ", ".join(f"purpose-{n:02} {12 - n}" for n in range(8)) + ", and 4 others"


def test_twenty_and_no_more_are_shown_whole(emulator: Emulator, command: Command):
    """There is nothing to sum up."""
    emulator.add_many(20, created_at=NOW - 91 * DAY)

    shown = command(*OLD)

    assert (len(shown.lines), "more" in shown.out) == (23, False)


def test_without_a_filter_what_to_give_is_told(emulator: Emulator, command: Command):
    """All files are no candidates for `--delete`."""
    emulator.add_many(30, created_at=NOW - 91 * DAY)

    shown = command("cleanup")

    assert len(shown.lines) == 25
    assert shown.lines[-1] == ("nothing was deleted: --delete, with --older-than or --purpose, deletes files for good")


@pytest.mark.parametrize("text", ["90", "d", "0d", "-1d", "1.5d", "9999999999d", "٣d", ""])
def test_an_age_that_is_none_is_wrong_usage(text: str, emulator: Emulator, command: Command):
    """Nothing is asked."""
    refused = command("cleanup", f"--older-than={text}")

    assert refused.status == 2
    assert refused.error.startswith("Invalid value for '--older-than': ")
    assert re.search("is no duration|has no unit|is nothing|is negative|is a fraction|is longer than", refused.error)
    assert emulator.requests == []


@pytest.mark.parametrize("text", ["3m", "3M", "90 m", "1h3m"])
def test_an_age_in_m_is_refused_with_both_readings(text: str, emulator: Emulator, command: Command):
    """Who meant months would lose all files but the newest."""
    refused = command("cleanup", "--older-than", text, "--delete", "--yes")

    number = text[-2:-1].strip() or "90"
    assert refused.status == 2
    assert f"is ambiguous: give {number}min for minutes or {number}mo for months" in refused.error
    assert emulator.requests == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30min", 1_800),
        ("12h", 43_200),
        ("90d", 90 * DAY),
        ("90 days", 90 * DAY),
        ("2w", 14 * DAY),
        ("3mo", 93 * DAY),
        ("1y", 366 * DAY),
        ("P1Y", 366 * DAY),
        ("999999w", None),
    ],
)
def test_an_age_is_a_number_and_a_unit(text: str, seconds: int | None, emulator: Emulator, command: Command):
    """A month and a year are never less than the calendar's."""
    if seconds is not None:
        emulator.add(file_id="file-younger", created_at=NOW - seconds)
        emulator.add(file_id="file-older", created_at=NOW - seconds - 1)

    shown = json.loads(command("cleanup", "--older-than", text, "--json").out)

    assert [file["id"] for file in shown["candidates"]] == (["file-older"] if seconds else [])
