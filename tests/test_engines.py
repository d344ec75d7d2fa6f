"""Each engine takes the files, and gives them back."""

from __future__ import annotations

from collections.abc import Callable

from files_source.client import FilesClient
from files_source.emulator import Emulator
from files_source.syncing import sync
from tests.conftest import NOW
from tests.engines import Engine

Connect = Callable[..., FilesClient]


def test_every_file_is_loaded_once(engine: Engine, emulator: Emulator, connect: Connect):
    """What the engine's own client counts is what the account holds."""
    emulator.populate(30, start=NOW - 86_400, end=NOW - 3_600)

    sync(engine.to, client=connect())
    sync(engine.to, client=connect())

    found = [file_id for (file_id,) in engine.rows("SELECT id FROM openai_files.files")]
    assert sorted(found) == sorted(emulator.ids())
