"""Whether a cleanup may delete, and what its end says."""

from __future__ import annotations

import io
import re
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

    done = command(*OLD, "--delete", "--all", "--to", place)

    assert done.status == 0
    assert sorted(deleted_by(emulator)) == sorted(old)
    assert set(emulator.ids()) == young | set(late)
    assert recorded(place, "deleted") == sorted(old)
    assert sorted(re.findall(r"file-\w+", "".join(done.lines[1:31]))) == sorted(old)


@pytest.mark.parametrize("answer", ["y\n", "yes\n", "100\n", "1011\n", "\n", ""])
def test_more_than_a_hundred_go_only_by_their_number(
    answer: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """Who types it has read it."""
    add_files(emulator, old=101)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))

    done = command(*OLD, "--delete")

    assert done.status == 1
    assert re.search(r"Delete 101 files .*, for good\? Type 101 to confirm: ", done.err)
    assert done.err.endswith("error: nothing was deleted: type the number of files, 101, or give --yes\n")
    assert deleted_by(emulator) == []


@pytest.mark.parametrize(("count", "answer"), [(100, "y\n"), (101, " 101\n"), (1_001, "1,001\n"), (1_001, "1001\n")])
def test_the_number_deletes(
    count: int, answer: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """Of a hundred or fewer y will do."""
    add_files(emulator, old=count)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))

    done = command(*OLD, "--delete")

    assert done.status == 0
    assert len(emulator.ids()) == 10


def test_nobody_is_asked_where_there_is_no_input(emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch):
    """As of a daemon; that is no."""
    add_files(emulator)
    monkeypatch.setattr("sys.stdin", None)

    assert command(*OLD, "--delete").status == 1
    assert command("delete", emulator.ids()[0]).status == 1
    assert deleted_by(emulator) == []


def nobody_reads(_: str) -> NoReturn:
    raise BrokenPipeError
