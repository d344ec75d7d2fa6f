"""Each engine takes the files, and gives them back to frames and commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import dlt
import polars as pl
import pytest

from files_source import openai_files, read_files
from files_source.client import FilesClient
from files_source.emulator import Emulator
from files_source.errors import ConfigError
from files_source.stored import reader
from files_source.syncing import sync
from files_source.tables import read_table
from tests.commands import Ended
from tests.conftest import NOW
from tests.engines import Engine

Connect = Callable[..., FilesClient]


@pytest.fixture(autouse=True)
def populated(emulator: Emulator) -> None:
    emulator.populate(30, start=NOW - 86_400, end=NOW - 3_600)


def test_every_file_is_loaded_once(engine: Engine, emulator: Emulator, connect: Connect):
    """What the engine's own client counts is what the account holds."""
    sync(engine.to, client=connect())
    emulator.add()
    sync(engine.to, client=connect())

    found = [file_id for (file_id,) in engine.rows("SELECT id FROM openai_files.files")]
    assert sorted(map(str, found)) == sorted(emulator.ids())


def test_the_commands_read_it_back(engine: Engine, emulator: Emulator, command: Callable[..., Ended]):
    """`usage` counts as it does what the server lists, and `scans` says what the runs did."""
    command("sync", "--to", engine.to)
    command("sync", "--to", engine.to, "--history")

    usage = command("usage", "--from", engine.to, "--json")
    live = command("usage", "--live", "--json")
    scans = command("scans", "--to", engine.to, "--json")

    assert (usage.status, usage.err, scans.status, scans.err) == (0, "", 0, "")
    assert sorted(json.loads(line)["mode"] for line in scans.lines) == ["history", "incremental"]
    assert json.loads(usage.out)["totals"] == json.loads(live.out)["totals"]


def test_a_frame_of_the_place_is_the_live_one(engine: Engine, connect: Connect):
    """Eager and lazy, with every column's type and value."""
    sync(engine.to, client=connect(), history=True)

    assert read_files(engine.to).sort("id").equals(read_files(client=connect()).sort("id"))


def test_a_table_that_is_not_there_is_named(engine: Engine, connect: Connect):
    """A name is no SQL, whatever it looks like."""
    sync(engine.to, client=connect(), history=True)

    for table in ("files", 'x"; DROP TABLE files_history; --', "a:b", "100%s", "`x`", "{x}"):
        with pytest.raises(ConfigError, match="has no table"):
            read_table(engine.to, table)
    assert len(read_table(engine.to, "files_history")) == 30


def test_a_table_can_be_read_while_a_pipeline_is_running(engine: Engine, connect: Connect, emulator: Emulator):
    """By the client that the pipeline has opened, whatever its dataset is called."""
    destination: Any = dlt.destinations.duckdb(engine.to) if engine.name == "duckdb" else engine.to
    pipeline = dlt.pipeline("inventory", destination=destination, dataset_name="elsewhere")
    pipeline.run(openai_files(client=connect()))

    with pipeline.destination_client() as client:
        found = reader("elsewhere", client)("files")

    assert isinstance(found, pl.LazyFrame)
    assert sorted(found.collect()["id"]) == sorted(emulator.ids())
