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
    assert [re.split(r"\s{2,}", line.strip()) for line in shown.lines[:-1]] == [
        ["created_at", "size", "purpose", "id", "filename"],
        ["2023-08-14 22:13Z", "1.0 kB", "batch_output", "file-a", r"a\u001b[2J.jsonl"],
        ["2023-08-15 22:13Z", "2.5 GB", "batch_output", "file-b", "requests.jsonl"],
        ["2023-08-16 22:13Z", "?", "batch_output", "file-c", "requests.jsonl"],
    ]
    assert shown.lines[-1] == ("3 files (2.5 GB and 1 of unknown size), created 2023-08-14 22:13Z to 2023-08-16 22:13Z")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_cuts_no_id(width: int, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch):
    """A name may be cut short there, and is never taken for a command or a colour."""
    emulator.add(file_id="file-" + "x" * 24, created_at=NOW - 91 * DAY, filename="[red]a\x1b[2J.jsonl")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    header, *lines, total = command(*OLD).lines

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

    shown = command(*OLD)

    assert len(shown.lines) == 2_502
    assert len({line.index("file-") for line in shown.lines[1:-1]}) == 1


@pytest.mark.parametrize("text", ["90", "d", "0d", "-1d", "1.5d", "3 months", "1y", "9999999d", "٣d", ""])
def test_an_age_that_is_none_is_wrong_usage(text: str, emulator: Emulator, command: Command):
    """Nothing is asked."""
    refused = command("cleanup", f"--older-than={text}")

    assert refused.status == 2
    assert "is no age: give minutes, hours, days or weeks, such as 30m, 12h, 90d or 2w" in refused.error
    assert emulator.requests == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1_800), ("12h", 43_200), ("90d", 90 * DAY), ("2w", 14 * DAY), ("999999w", None)]
)
def test_an_age_is_a_number_and_a_unit(text: str, seconds: int | None, emulator: Emulator, command: Command):
    """Minutes, hours, days and weeks."""
    if seconds is not None:
        emulator.add(file_id="file-younger", created_at=NOW - seconds)
        emulator.add(file_id="file-older", created_at=NOW - seconds - 1)

    shown = json.loads(command("cleanup", "--older-than", text, "--json").out)

    assert [file["id"] for file in shown["candidates"]] == (["file-older"] if seconds else [])
