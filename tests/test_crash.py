"""A run that is killed leaves nothing wrong behind: the next one makes the table exactly right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator
from files_source.syncing import sync
from tests.conftest import NOW, loaded

Connect = Callable[..., FilesClient]
KILLED = Path(__file__).with_name("killed.py")
KILLS = int(os.environ.get("CRASH_KILLS", "3"))
"""Moments at which a run is killed, evenly spread over its file operations; `make crash` sets more."""

pytestmark = pytest.mark.timeout(60 + KILLS * 20)


def run(place: str, url: str, moment: str = "0") -> int:
    """Sync in a process of its own, killed at *moment*, and return its exit status."""
    command = [sys.executable, str(KILLED), moment, "sync", "--to", place, "--limit", "200"]
    environment = os.environ | {"OPENAI_BASE_URL": url}
    return subprocess.run(command, env=environment, check=False, capture_output=True, timeout=120).returncode


@pytest.mark.parametrize("place", ["{}.duckdb", "{}/"], ids=["duckdb", "parquet"])
@pytest.mark.parametrize("first", [True, False], ids=["first run", "later run"])
def test_a_killed_run_is_made_good_by_the_next(
    first: bool, place: str, emulator: Emulator, clock: Clock, connect: Connect
):
    """Killed at any moment during a sync, its working folder kept, then run again: every settled file once."""
    emulator.populate(1_000, start=NOW - 86_400, end=NOW - 3_600)
    client = connect()
    url = client.account.base_url
    if not first:
        sync(place.format("whole"), client=client)
        emulator.add_many(100, created_at=NOW)
        clock.advance(61)
    assert run(place.format("whole"), url) == 0
    operations = int(Path("operations.txt").read_text())
    for kill in range(KILLS):
        killed = place.format(f"killed_{kill}")
        moment = 1 + operations * kill // KILLS
        if not first:
            sync(killed, client=client)
            emulator.add_many(100, created_at=int(clock()))
            clock.advance(61)
        assert run(killed, url, str(moment)) == -signal.SIGKILL
        emulator.add_many(3, created_at=int(clock()))
        clock.advance(61)

        sync(killed, client=client)

        assert loaded(killed) == sorted(emulator.ids()), f"killed at file operation {moment} of {operations}"


@pytest.mark.parametrize("moment", ["commit-1", "commit-2", "commit-3", "end"])
def test_a_run_killed_between_commit_and_note_doubles_nothing(
    moment: str, emulator: Emulator, clock: Clock, connect: Connect
):
    """What the database has committed and dlt does not know of is loaded again, and not doubled."""
    emulator.populate(300, start=NOW - 86_400, end=NOW - 3_600)
    client = connect()
    assert run("inventory.duckdb", client.account.base_url, moment) == -signal.SIGKILL
    emulator.add_many(3, created_at=NOW)

    done = sync("inventory.duckdb", client=client)

    assert done.finished_earlier
    assert loaded("inventory.duckdb") == sorted(emulator.ids())


@pytest.mark.parametrize("moment", ["commit-1", "end"])
def test_a_file_copied_by_a_killed_run_is_not_copied_twice(
    moment: str, emulator: Emulator, clock: Clock, connect: Connect
):
    """With the working folder kept, the next run writes the same Parquet file again."""
    emulator.populate(300, start=NOW - 86_400, end=NOW - 3_600)
    client = connect()
    assert run("lake/", client.account.base_url, moment) == -signal.SIGKILL
    emulator.add_many(3, created_at=NOW)
    clock.advance(61)

    done = sync("lake/", client=client)

    assert done.finished_earlier
    assert loaded("lake/") == sorted(emulator.ids())
