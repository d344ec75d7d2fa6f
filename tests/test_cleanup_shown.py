"""`files-source cleanup` without `--delete`."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from files_source import printing
from files_source.emulator import Emulator, status
from tests.cleanups import (
    DAY,
    DELETE,
    FOR_GOOD,
    OLD,
    Command,
    add_files,
    deleted_by,
    recorded,
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


@pytest.mark.parametrize("flags", [[], ["--yes"]], ids=["asking", "not asking"])
def test_not_without_an_age_or_a_purpose(flags: list[str], emulator: Emulator, command: Command):
    """Every file would go."""
    refused = command("cleanup", "--delete", *flags)

    assert refused.status == 2
    assert refused.error.startswith("--delete needs --older-than, --purpose or both")
    assert emulator.requests == []


def test_not_of_a_purpose_that_is_empty(emulator: Emulator, command: Command):
    """A shell variable that is not set stands for no purpose, and not for all."""
    refused = command("cleanup", "--delete", "--yes", "--purpose", "")

    assert (refused.status, deleted_by(emulator)) == (2, [])
    assert "purpose is empty" in refused.error


def test_not_of_files_that_are_not_shown(emulator: Emulator, command: Command):
    """`--json` prints what was done, and not what is going to be."""
    refused = command(*OLD, "--delete", "--json")

    assert refused.status == 2
    assert refused.error.startswith("--delete --json shows no files to agree to: give --yes")
    assert emulator.requests == []


def test_it_says_whose_they_are(emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch):
    """The organization and the project, too."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    emulator.add(created_at=NOW - 91 * DAY)

    asked = command("--organization", "org_B", "--project", "proj_A", *OLD, "--delete")

    assert re.search(r", of default at http://127\.0\.0\.1:\d+/v1 org_B proj_A, for good\? \[y/N\]", asked.err)


def test_a_list_that_is_not_read_to_its_end_is_no_list_to_delete(
    emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """As by `| head`; the status says that nothing was done."""
    add_files(emulator)
    monkeypatch.setattr(printing, "show", nobody_reads)

    failed = command(*FOR_GOOD)

    assert failed.status == 1
    assert failed.error == "nothing was deleted: the list could not be shown to its end"
    assert deleted_by(emulator) == []


def test_failures_are_told_whoever_reads_the_summary(
    emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """The status is theirs; where all went well it is 0."""
    add_files(emulator)
    emulator.fail(status(403), times=None, **DELETE)
    monkeypatch.setattr(printing, "show", nobody_reads)

    failed = command(*FOR_GOOD, "--json")

    assert failed.status == 1
    assert failed.error.startswith("30 of 30 files were not deleted: DELETE ")
    emulator.recover()
    assert command(*FOR_GOOD, "--json").status == 0
    assert len(emulator.ids()) == 10


@pytest.mark.parametrize("answer", ["n\n", "", "\n", "delete\n"], ids=["no", "nobody there", "return", "a word"])
def test_any_answer_but_yes_is_a_no(answer: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch):
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
    place: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """A file that comes before the answer, as old as the others, stays."""
    old = add_files(emulator)
    young = set(emulator.ids()) - set(old)
    late: list[str] = []

    class Answer(io.StringIO):
        def readline(*_: int) -> str:  # type: ignore[override]
            late.extend(emulator.add_many(1, created_at=NOW - 200 * DAY))
            return "y\n"

    monkeypatch.setattr("sys.stdin", Answer())

    done = command(*OLD, "--delete", "--to", place)

    assert done.status == 0
    assert sorted(deleted_by(emulator)) == sorted(old)
    assert set(emulator.ids()) == young | set(late)
    assert recorded(place, "deleted") == sorted(old)
    assert sorted(re.findall(r"file-\w+", "".join(done.lines[1:31]))) == sorted(old)


def nobody_reads(_: str) -> NoReturn:
    raise BrokenPipeError
