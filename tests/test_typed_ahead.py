"""What is typed before it is asked for is no answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from files_source.emulator import Emulator
from tests.cleanups import DAY, OLD, deleted_by
from tests.commands import Ended, finish, start
from tests.conftest import NOW

COMMANDS = pytest.mark.parametrize(
    "arguments", [["delete", "file-a"], [*OLD, "--delete"]], ids=["delete", "cleanup --delete"]
)


@contextmanager
def keyboard() -> Iterator[tuple[int, int]]:
    """Give a terminal: what a person types into, and what a program reads from."""
    pty = pytest.importorskip("pty")
    typing, reading = pty.openpty()
    try:
        yield typing, reading
    finally:
        os.close(typing)
        os.close(reading)


def typed(arguments: list[str], *, before: bytes, after: bytes) -> Ended:
    """Run a command at whose keyboard someone types before it asks, and after that."""
    with keyboard() as (typing, reading):
        os.write(typing, before)
        process = start(*arguments, stdin=reading)
        assert process.stderr is not None
        asked = ""
        while not asked.endswith("[y/N] ") and (character := process.stderr.read(1)):
            asked += character
        os.write(typing, after)
        ended = finish(process)
    return Ended(ended.status, ended.out, asked + ended.err)


@COMMANDS
@pytest.mark.usefixtures("url")
def test_a_y_typed_ahead_deletes_nothing(arguments: list[str], emulator: Emulator):
    """It was meant for something else: the answer is what follows the question."""
    emulator.add(file_id="file-a", created_at=NOW - 91 * DAY)

    ended = typed(arguments, before=b"y\ny\nyes\n", after=b"n\n")

    assert ended.status == 1
    assert "for good? [y/N] " in ended.err
    assert ended.err.endswith("error: nothing was deleted: answer y, or give --yes\n")
    assert deleted_by(emulator) == []


@COMMANDS
@pytest.mark.usefixtures("url")
def test_a_y_typed_after_the_question_deletes(arguments: list[str], emulator: Emulator):
    """Whatever was typed before."""
    emulator.add(file_id="file-a", created_at=NOW - 91 * DAY)

    ended = typed(arguments, before=b"n\n", after=b"y\n")

    assert ended.status == 0
    assert deleted_by(emulator) == ["file-a"]
