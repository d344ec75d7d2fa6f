"""A file that is deleted is recorded once, and none is taken for another."""

from __future__ import annotations

import pytest

from files_source import recording
from files_source.deletions import unrecorded
from files_source.emulator import Clock, Emulator
from tests.cleanups import (
    DAY,
    DELETE,
    FOR_GOOD,
    Command,
    add_files,
    doubled,
    recorded,
)
from tests.conftest import NOW


def test_a_file_that_is_listed_though_it_is_gone_is_recorded_once(place: str, emulator: Emulator, command: Command):
    """As by a server whose listing is behind."""
    file = emulator.add(created_at=NOW - 91 * DAY)
    command(*FOR_GOOD, "--to", place)
    emulator.add(file_id=file["id"], created_at=NOW - 91 * DAY)
    emulator.fail(doubled(emulator, str(file["id"])), **DELETE)

    assert command(*FOR_GOOD, "--to", place).status == 0

    assert recorded(place) == [file["id"]]


def test_to_find_that_out_no_more_is_read_than_needed(
    place: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """The table may hold millions."""
    old = add_files(emulator)
    command(*FOR_GOOD, "--to", place)
    emulator.add(file_id=old[3], created_at=NOW - 91 * DAY)
    emulator.fail(doubled(emulator, old[3]), **DELETE)
    read = []
    monkeypatch.setattr(
        recording, "unrecorded", lambda deletions, known: read.append(known) or unrecorded(deletions, known)
    )

    assert command(*FOR_GOOD, "--to", place).status == 0

    assert [known.column("id").to_pylist() for known in read] == [[old[3]]]
    assert set(read[0].column_names) == {"server", "account", "id", "attempted_at", "deleted_at"}
    assert recorded(place) == sorted(old)


def test_the_same_id_on_another_server_is_another_file(
    place: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """Each server's deletion is recorded."""
    emulator.add(file_id="file-1", created_at=NOW - 91 * DAY)
    command(*FOR_GOOD, "--to", place)
    other = Emulator(clock=Clock(NOW))
    other.add(file_id="file-1", created_at=NOW - 91 * DAY)
    other.fail(doubled(other, "file-1"), **DELETE)
    with other.serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)

        command(*FOR_GOOD, "--to", place)

    assert recorded(place) == ["file-1", "file-1"]
