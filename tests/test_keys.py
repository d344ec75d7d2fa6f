from __future__ import annotations

import base64
import gzip
import json
import logging
import pickle
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dlt
import duckdb
import pyarrow.parquet as pq
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from files_source import openai_files
from files_source.emulator import Emulator, status
from tests.commands import Ended, finish, run, start
from tests.conftest import NOW

KEY = "sk-proj-Zq7/recognisable+key=0123456789"
FILE = "file-recognisable0123456789"


@pytest.fixture
def url(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve an emulator that asks for the key."""
    emulator.api_key = KEY
    emulator.add(file_id=FILE, created_at=NOW - 3600)
    with emulator.serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server.url


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"OPENAI_API_KEY": KEY}, "inventory.duckdb"),
        (
            {
                "SOURCES__OPENAI_FILES__API_KEY": KEY,
                "SOURCES__OPENAI_FILES__HEADERS": json.dumps({"x-gateway-key": KEY}),
            },
            "lake/",
        ),
    ],
    ids=["the official clients' variable", "dlt's variables"],
)
def test_a_load_leaves_no_trace_of_the_key(
    variables: dict[str, str], place: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not in its output, its logs, dlt's working folder and traces, its state, or the data."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "DEBUG")

    done = finish(start("sync", "--to", place))

    assert done.status == 0
    assert "dlt" in done.err
    assert traces_of(KEY, done, tmp_path) == []
    seen = traces_of(FILE, done, tmp_path)
    assert {"trace.pickle", "state.json"} <= {Path(name).name for name in everything_below(tmp_path)}
    assert any(place.rstrip("/") in name for name in seen)
    assert any("state" in name for name in seen)


@pytest.mark.parametrize("command", ["list", "sync"])
def test_a_server_that_echoes_the_key_is_not_repeated(
    *,
    command: str,
    emulator: Emulator,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    """Wherever in its answer it does: neither in the error, which shows that something was there, nor in any log."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "CRITICAL")
    caplog.set_level(logging.DEBUG)
    error = {"message": f"no: {KEY}", "code": KEY, "param": f"Bearer {KEY}"}
    emulator.fail(status(400, body=json.dumps({"error": error}), headers={"x-request-id": KEY}))

    failed = run(capsys, command)

    assert failed.status == 1
    assert "no: ***; request ***" in failed.err
    assert "receive_response_headers" in caplog.text
    assert KEY not in caplog.text
    assert traces_of(KEY, failed, tmp_path) == []


def test_a_listing_that_repeats_the_key_leaves_no_trace(
    emulator: Emulator, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Dlt's trace keeps the words of every error on the way, also of those that another one took the place of."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    page = {"object": "list", "data": [{"object": "file", "id": KEY, "created_at": KEY}], "has_more": False}
    emulator.fail(status(200, body=json.dumps(page)))
    mine = dlt.pipeline("mine", destination=dlt.destinations.duckdb("mine.duckdb"), dataset_name="openai_files")

    with pytest.raises(PipelineStepFailed, match="created_at") as failed:
        mine.run(openai_files())

    assert "***" in str(failed.value)
    assert traces_of(KEY, Ended(1, "", str(failed.value)), tmp_path) == []


def test_a_search_finds_what_is_hidden(tmp_path: Path):
    """The searches above would find a key that is compressed, encoded, pickled, or in a column."""
    secret = KEY.encode()
    Path("plain.txt").write_bytes(b"x" + secret)
    Path("packed.gz").write_bytes(gzip.compress(secret))
    Path("packed.z").write_bytes(zlib.compress(secret))
    Path("state.jsonl").write_bytes(b'{"state":"' + base64.b64encode(zlib.compress(b'{"a":"' + secret + b'"}')) + b'"}')
    Path("trace.pickle").write_bytes(pickle.dumps({"deep": [KEY.encode("utf-16")[2:].decode("utf-16")]}))
    with duckdb.connect("table.duckdb") as database:
        database.execute("CREATE TABLE t AS SELECT ? AS state", [base64.b64encode(zlib.compress(secret)).decode()])
    duckdb.execute("COPY (SELECT repeat(?, 9) AS a) TO 'table.parquet'", [KEY])

    found = traces_of(KEY, Ended(0, f"{KEY}", ""), tmp_path)

    assert {Path(name).name for name in found} == {name.name for name in Path.cwd().iterdir()} | {"output"}


def traces_of(text: str, ended: Ended, folder: Path) -> list[str]:
    """Return where *text* stands: in the output of a program, or in or on a file below a folder."""
    places = {"output": [(ended.out + ended.err).encode()]} | {
        name: [name.encode(), *readings(Path(name))] for name in everything_below(folder)
    }
    secret = text.encode()
    return [name for name, texts in places.items() if any(secret in part for read in texts for part in unpack(read))]


def everything_below(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file()]


def readings(path: Path) -> Iterator[bytes]:
    """Yield what is in a file, by every way to read it."""
    yield path.read_bytes()
    if path.suffix == ".pickle":
        yield repr(vars_of(pickle.loads(path.read_bytes()))).encode()  # noqa: S301 - our own
    elif path.suffix == ".parquet":
        yield repr(pq.read_table(path).to_pylist()).encode()
    elif path.suffix == ".duckdb":
        with duckdb.connect(path, read_only=True) as database:
            tables = database.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
            for schema, table in tables:
                yield repr(database.execute(f'SELECT * FROM "{schema}"."{table}"').fetchall()).encode()


def vars_of(value: object) -> object:
    """Return a value with the attributes of all that it is made of, whatever its repr hides."""
    if isinstance(value, dict):
        return [(vars_of(key), vars_of(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [vars_of(item) for item in value]
    return [repr(value), vars_of(vars(value)) if hasattr(value, "__dict__") else None]


def unpack(read: bytes) -> Iterator[bytes]:
    """Yield bytes as they are, and what is packed or encoded in them."""
    encoded = re.findall(rb"(?:[A-Za-z0-9+/]{4}){6,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", read)
    for text in (read, *map(base64.b64decode, encoded)):
        yield text
        for open_up in (gzip.decompress, zlib.decompress):
            with suppress(OSError, EOFError, zlib.error):
                yield open_up(text)
