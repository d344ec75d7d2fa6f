"""Values that an engine cannot hold are kept all the same, and come back as they were; all others stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import polars as pl
import pytest

from files_source.client import FilesClient
from files_source.emulator import Emulator
from files_source.frames import read_files
from files_source.syncing import sync
from files_source.tables import read_table
from tests.conftest import NOW
from tests.engines import Engine

Connect = Callable[..., FilesClient]

TEXTS = {
    "nul": "a\x00b",
    "only nul": "\x00",
    "empty": "",
    "long": "n\N{PILE OF POO}" * 50_000,
    "spaces": " both ends  ",
    "lines": "one\ntwo\r\nthree\ttab\u2028\u0085\x0b",
    "quotes": "it's \"quoted\" `so` \\ \\n \\' \\",
    "markers": "%s {0} :name ?1 $1 %(x)s <NULL> \\N NULL",
    "control": "\x01\x08\x1a\x1b\x7f\u200b\ufeff\uffff",
    "marked": 'json:"a\\u0000b"',
    "half marked": 'json:"',
    "surrogates": "\ud83d and \udca9",
    "composed": "e\u0301 and \u00e9",
}
"""Texts of every kind that a file may be named."""


def names(rows: pl.DataFrame) -> dict[str, str]:
    return dict(rows.select("id", "filename").rows())


@pytest.fixture
def named(emulator: Emulator) -> dict[str, str]:
    """Add a file for each of TEXTS, and return their names by id; half a surrogate pair is its escape in any place."""
    for number, text in enumerate(TEXTS.values()):
        emulator.add(
            file_id=f"file-{number:03}",
            created_at=NOW - 3_600,
            filename=text,
            purpose=text[:100],
            status=text[:100],
            status_details=text,
            vendor={"any": text},
        )
    kept = TEXTS | {"surrogates": "\\ud83d and \\udca9"}
    return {f"file-{number:03}": text for number, text in enumerate(kept.values())}


def test_every_name_comes_back_as_it_was(engine: Engine, emulator: Emulator, connect: Connect, named: dict[str, str]):
    """In the files and in their history, whichever run has loaded them."""
    sync(engine.to, client=connect())
    sync(engine.to, client=connect(), history=True)
    sync(engine.to, client=connect(), full_refresh=True)

    listed = read_files(client=connect()).sort("id")
    assert names(listed) == named
    assert read_table(engine.to).sort("id").equals(listed)
    assert read_files(place=engine.to).sort("id").equals(listed)
    assert read_table(engine.to, "files_history").sort("id").select(listed.columns).equals(listed)


def test_an_unchanged_listing_makes_no_new_versions(engine: Engine, connect: Connect, named: dict[str, str]):
    """A version is told by what the server says, whatever form it is stored in."""
    sync(engine.to, client=connect(), history=True)
    before = read_table(engine.to, "files_history").sort("id")

    sync(engine.to, client=connect(), history=True)

    assert read_table(engine.to, "files_history").sort("id").equals(before)


def test_only_what_an_engine_cannot_hold_is_stored_in_another_form(
    engine: Engine, connect: Connect, named: dict[str, str]
):
    """DuckDB, SQLite and MariaDB hold U+0000 as it is; PostgreSQL gets JSON text in its place."""
    sync(engine.to, client=connect())

    found = dict(engine.rows("SELECT id, filename FROM openai_files.files"))  # type: ignore[arg-type]
    (empty,) = (file_id for file_id, name in named.items() if not name)
    changed = {named[file_id]: stored for file_id, stored in found.items() if stored != named[file_id]}
    marked = {'json:"a\\u0000b"': r'json:"json:\"a\\u0000b\""', 'json:"': r'json:"json:\""'}
    by_engine = {
        "postgres": marked | {"a\x00b": r'json:"a\u0000b"', "\x00": r'json:"\u0000"'},
        "mariadb": marked,
    }
    assert changed == by_engine.get(engine.name, {})
    detail = engine.rows(f"SELECT status_details FROM openai_files.files WHERE id = '{empty}'")
    assert detail == [('json:""' if engine.name == "postgres" else "",)]


def test_ids_that_an_engine_may_take_for_one_stay_two(engine: Engine, emulator: Emulator, connect: Connect):
    """They differ in case, in an accent, in spaces at the end or in a character that is not seen."""
    ids = [
        "file-a",
        "file-A",
        "file-\u00e4",
        "file-a ",
        "file-a  ",
        "file-a\x00",
        "file-a\u00ad",
        "FILE-A",
        "file-\uff41",
    ]
    for file_id in ids:
        emulator.add(file_id=file_id, created_at=NOW - 3_600)

    for _ in range(2):
        sync(engine.to, client=connect())
        sync(engine.to, client=connect(), history=True)

    assert sorted(read_table(engine.to)["id"]) == sorted(ids)
    assert sorted(read_table(engine.to, "files_history")["id"]) == sorted(ids)


def test_types_come_back_as_they_were(engine: Engine, emulator: Emulator, connect: Connect):
    """Times are in UTC, truths are no numbers and numbers no text, whatever the engine's client gives."""
    emulator.add(created_at=NOW - 3_600, expires_at=NOW + 3_600)
    emulator.add(created_at=NOW - 3_599, bytes=None, status="error")

    sync(engine.to, client=connect(), history=True)

    (scan,) = read_table(engine.to, "scans").to_dicts()
    history = read_table(engine.to, "files_history")
    assert scan["complete"] is True
    assert scan["rows"] == 2
    assert scan["started_at"].tzinfo is not None
    assert history.schema["created_at"] == history.schema["_dlt_valid_to"] == pl.Datetime("us", "UTC")
    assert history.sort("created_at")["bytes"].to_list() == [1_000, None]
    assert history["expires_at"].max() == datetime.fromtimestamp(NOW + 3_600, UTC)
