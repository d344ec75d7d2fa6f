from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import dlt
import duckdb
import pyarrow as pa
import pytest

from files_source import decoding, openai_files
from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator
from files_source.errors import ConfigError
from files_source.schema import FILES, descriptions
from files_source.syncing import sync
from tests.conftest import NOW, loaded

Connect = Callable[..., FilesClient]
PLACE = "inventory.duckdb"
YEAR = 365 * 86_400


RUN = """
import dlt
from files_source import openai_files

pipeline = dlt.pipeline("mine", destination=dlt.destinations.duckdb("inventory.duckdb"), dataset_name="openai_files")
pipeline.run(openai_files())
"""


def pipeline(place: str = PLACE) -> dlt.Pipeline:
    destination = dlt.destinations.filesystem(place) if place.endswith("/") else dlt.destinations.duckdb(place)
    name = "lake" if place.endswith("/") else "database"
    return dlt.pipeline(name, destination=destination, dataset_name="openai_files")


def run_apart(**variables: str) -> None:
    """Run a pipeline in a process of its own: dlt reads its files and scheduler variables once."""
    subprocess.run([sys.executable, "-c", RUN], env=os.environ | variables, check=True, timeout=120)


@pytest.fixture
def url(emulator: Emulator) -> Iterator[str]:
    with emulator.serve() as server:
        yield server.url


def test_building_a_source_asks_nothing(emulator: Emulator, connect: Connect):
    """A source costs no request until a pipeline runs it."""
    client = connect()

    openai_files(client=client)

    assert emulator.requests == []
    assert client.requests == 0


def test_a_run_warns_of_nothing(emulator: Emulator, connect: Connect, caplog: pytest.LogCaptureFixture):
    """Neither Python's warnings nor dlt's log have anything to say."""
    emulator.populate(200, start=NOW - YEAR, end=NOW - 61)
    logging.getLogger("dlt").addHandler(caplog.handler)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for place in (PLACE, "lake/"):
            pipeline(place).run(openai_files(client=connect()))

    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_every_column_says_what_it_means(emulator: Emulator, connect: Connect):
    """The schema carries the description of each column, and which may be null."""
    emulator.populate(50, start=NOW - YEAR, end=NOW - 61)
    mine = pipeline()

    mine.run(openai_files(client=connect()))

    columns = mine.default_schema.tables["files"]["columns"]
    assert {name: column.get("description") for name, column in columns.items()} == descriptions(FILES)
    assert {name for name, column in columns.items() if column.get("nullable", True)} == {
        field.name for field in FILES if field.nullable
    }
    assert [name for name, column in columns.items() if column.get("primary_key")] == ["account", "id"]


def test_no_row_becomes_a_python_object_on_the_fast_path(
    emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    """Contract pages go through the native reader only, and their rows through Arrow only."""
    emulator.populate(25_000, start=NOW - YEAR, end=NOW - 61)
    monkeypatch.setattr(decoding.tolerant, "read", lambda _: pytest.fail("a page was read row by row"))
    objects = 0

    def counted(scalar: pa.Scalar) -> object:
        nonlocal objects
        objects += 1
        return scalar

    monkeypatch.setattr(dlt.common.libs.pyarrow, "from_arrow_scalar", counted)

    pipeline().run(openai_files(client=connect()))

    assert loaded(PLACE) == sorted(emulator.ids())
    assert objects < 100


def test_pages_with_and_without_odd_values_make_one_table(emulator: Emulator, connect: Connect):
    """Types do not depend on which reader took a page, nor on what the first page held."""
    for number in range(300):
        emulator.add(created_at=NOW - 10_000 + number)
    ids = emulator.ids()
    emulator.change(ids[120], bytes="17", created_at=float(NOW - 9_880), shelf=[1])
    emulator.change(ids[250], bytes=None, status=None, expires_at=None)

    pipeline().run(openai_files(client=connect(), limit=100))

    with duckdb.connect(PLACE) as database:
        odd = database.execute(
            "SELECT id, bytes, extra FROM openai_files.files WHERE id IN (?, ?)", [ids[120], ids[250]]
        )
        assert {row[0]: row[1:] for row in odd.fetchall()} == {ids[120]: (17, '{"shelf":[1]}'), ids[250]: (None, None)}
    assert loaded(PLACE) == sorted(ids)


class TestSettings:
    """Where settings come from."""

    def test_dlt_configuration(self, emulator: Emulator, url: str, monkeypatch: pytest.MonkeyPatch):
        """`SOURCES__OPENAI_FILES__...` sets every argument."""
        emulator.api_key = "sk-from-dlt"
        emulator.populate(200, start=NOW - YEAR, end=NOW - 61)
        settings = {"API_KEY": "sk-from-dlt", "BASE_URL": url, "PURPOSE": "batch", "LIMIT": "50", "ACCOUNT": "team"}
        for name, value in settings.items():
            monkeypatch.setenv(f"SOURCES__OPENAI_FILES__{name}", value)

        pipeline().run(openai_files())

        assert loaded(PLACE) == sorted(emulator.ids("batch"))
        assert set(loaded(PLACE, "account")) == {"team"}
        assert {request.query["limit"] for request in emulator.requests} == {"50"}

    def test_dlt_secrets_file(self, emulator: Emulator, url: str):
        """`.dlt/secrets.toml` holds the key."""
        emulator.api_key = "sk-from-a-file"
        emulator.add(created_at=NOW - 100)
        Path(".dlt").mkdir()
        settings = f'[sources.openai_files]\napi_key = "sk-from-a-file"\nbase_url = "{url}"\n'
        Path(".dlt/secrets.toml").write_text(settings)

        run_apart()

        assert loaded(PLACE) == emulator.ids()

    def test_variables_of_the_official_clients(self, emulator: Emulator, url: str, monkeypatch: pytest.MonkeyPatch):
        """`OPENAI_API_KEY` and its like fill what dlt's configuration leaves open."""
        emulator.api_key = "sk-official"
        emulator.add(created_at=NOW - 100)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-official")
        monkeypatch.setenv("OPENAI_BASE_URL", url)

        pipeline().run(openai_files())

        assert loaded(PLACE) == emulator.ids()

    def test_dlt_comes_before_the_environment(self, emulator: Emulator, url: str, monkeypatch: pytest.MonkeyPatch):
        """What is configured for this source wins over what is set for every client."""
        emulator.api_key = "sk-right"
        emulator.add(created_at=NOW - 100)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("SOURCES__OPENAI_FILES__API_KEY", "sk-right")

        pipeline().run(openai_files())

        assert loaded(PLACE) == emulator.ids()

    def test_no_key_is_told_before_anything_runs(self):
        """The message names the variables that would help."""
        with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
            openai_files()

    @pytest.mark.parametrize(("name", "value"), [("limit", 0), ("limit", 10_001), ("overlap", -1)])
    def test_a_setting_out_of_range_is_told(self, name: str, value: int):
        """The message names the setting and its range."""
        with pytest.raises(ConfigError, match=name):
            openai_files(base_url="http://127.0.0.1:1/v1", **{name: value})


class TestRanges:
    """dlt's own ways to say from when until when."""

    def test_initial_value(self, emulator: Emulator, connect: Connect):
        """Older files are left out, and not listed either."""
        emulator.populate(2_000, start=NOW - YEAR, end=NOW - 61)
        since = datetime.fromtimestamp(NOW - 86_400 * 30, UTC)
        client = connect()

        pipeline().run(openai_files(dlt.sources.incremental(initial_value=since), client=client, limit=100))

        expected = [file["id"] for file in emulator.files() if file["created_at"] >= since.timestamp()]
        assert loaded(PLACE) == sorted(expected)
        assert client.requests <= len(expected) // 100 + 2

    def test_end_value(self, emulator: Emulator, connect: Connect):
        """A backfill loads its range, ends exclusive."""
        emulator.populate(2_000, start=NOW - YEAR, end=NOW - 61)
        times = sorted({int(str(file["created_at"])) for file in emulator.files()})
        since, until = times[300], times[700]
        moments = (datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(until, UTC))
        window = dlt.sources.incremental(initial_value=moments[0], end_value=moments[1])

        pipeline().run(openai_files(window, client=connect()))

        expected = [file["id"] for file in emulator.files() if since <= file["created_at"] < until]
        assert loaded(PLACE) == sorted(expected)

    def test_an_external_scheduler(self, emulator: Emulator, url: str):
        """The interval variables load exactly that interval."""
        emulator.populate(2_000, start=NOW - YEAR, end=NOW - 61)
        since, until = NOW - 86_400 * 60, NOW - 86_400 * 30

        run_apart(
            OPENAI_BASE_URL=url,
            DLT_ALLOW_EXTERNAL_SCHEDULERS="true",
            DLT_INTERVAL_START=datetime.fromtimestamp(since, UTC).isoformat(),
            DLT_INTERVAL_END=datetime.fromtimestamp(until, UTC).isoformat(),
        )

        expected = [file["id"] for file in emulator.files() if since <= file["created_at"] < until]
        assert loaded(PLACE) == sorted(expected)

    def test_a_backfill_that_is_run_again_refreshes_its_rows(self, emulator: Emulator, connect: Connect):
        """Where rows are merged, a range asked for by name is loaded again, with what has changed."""
        emulator.populate(100, start=NOW - YEAR, end=NOW - 61)
        window = {
            "initial_value": datetime.fromtimestamp(NOW - YEAR, UTC),
            "end_value": datetime.fromtimestamp(NOW, UTC),
        }
        pipeline().run(openai_files(dlt.sources.incremental(**window), client=connect()))
        emulator.change(emulator.ids()[5], status="error")

        pipeline().run(openai_files(dlt.sources.incremental(**window), client=connect()))

        assert loaded(PLACE) == sorted(emulator.ids())
        assert loaded(PLACE, "status").count("error") >= 1
        with duckdb.connect(PLACE) as database:
            found = database.execute("SELECT status FROM openai_files.files WHERE id = ?", [emulator.ids()[5]])
            assert found.fetchall() == [("error",)]

    def test_the_cursor_in_dlt_state_is_the_settled_time(self, emulator: Emulator, connect: Connect):
        """`last_value` is the instant up to which the table is final: a minute before the server's clock."""
        emulator.populate(100, start=NOW - YEAR, end=NOW - 61)
        mine = pipeline()

        mine.run(openai_files(client=connect()))

        cursor = mine.state["sources"]["openai_files"]["resources"]["files"]["incremental"]["created_at"]
        assert cursor["last_value"] == datetime.fromtimestamp(NOW - 60, UTC)
        assert cursor["unique_hashes"] == []


class TestPending:
    """Packages that a run which died has left behind."""

    @pytest.fixture
    def left(self, emulator: Emulator, connect: Connect) -> None:
        """Load an account, add files to it, and leave them extracted but not loaded."""
        emulator.populate(100, start=NOW - YEAR, end=NOW - 61)
        sync(PLACE, client=connect())
        emulator.add_many(5, created_at=NOW)
        left = dlt.pipeline(
            "openai_files",
            pipelines_dir=dlt.current.pipeline().pipelines_dir,
            destination=dlt.destinations.duckdb(PLACE),
            dataset_name="openai_files",
        )
        left.extract(openai_files(client=connect()))

    @pytest.mark.usefixtures("left")
    def test_sync_drops_them_and_lists_again(self, emulator: Emulator, connect: Connect):
        """A plain run would load the old package and leave the new files for another run."""
        emulator.add_many(7, created_at=NOW)

        done = sync(PLACE, client=connect())

        assert done.discarded
        assert loaded(PLACE) == sorted(emulator.ids())


def test_a_destination_that_keeps_no_state_is_filled_from_the_local_one(
    emulator: Emulator, clock: Clock, connect: Connect
):
    """A function as destination gets every settled file once, over several runs."""
    got: list[str] = []

    @dlt.destination(name="sink", loader_file_format="parquet", batch_size=0)
    def sink(path: str, table: dict[str, object]) -> None:
        if table["name"] == "files":
            got.extend(row[0] for row in duckdb.sql(f"SELECT id FROM '{path}'").fetchall())

    emulator.populate(100, start=NOW - YEAR, end=NOW - 61)
    for _ in range(2):
        dlt.pipeline("mine", destination=sink, dataset_name="openai_files").run(openai_files(client=connect()))
        emulator.add_many(5, created_at=int(clock()))
        clock.advance(61)
    dlt.pipeline("mine", destination=sink, dataset_name="openai_files").run(openai_files(client=connect()))

    assert sorted(got) == sorted(emulator.ids())
