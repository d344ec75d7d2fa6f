from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import duckdb
import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from polars.testing import assert_frame_equal

from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator
from files_source.errors import ConfigError, LoadError
from files_source.schema import FILES, TIMESTAMP
from files_source.syncing import sync
from files_source.tables import parquet_query, read_inventory, read_table
from tests.conftest import NOW

Connect = Callable[..., FilesClient]
TYPES = dict(cast(pl.DataFrame, pl.from_arrow(FILES.empty_table())).schema)
YEAR = 365 * 86_400
NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)

VERSIONS = pa.schema(
    [
        *FILES,
        ("_row_version", pa.string()),
        ("_dlt_load_id", pa.string()),
        ("_dlt_id", pa.string()),
        ("_dlt_valid_from", TIMESTAMP),
        ("_dlt_valid_to", TIMESTAMP),
    ]
)
SNAPSHOTS = FILES.append(pa.field("snapshot_at", TIMESTAMP))
SCANS = pa.schema(
    [
        ("account", pa.string()),
        ("mode", pa.string()),
        ("purpose", pa.string()),
        ("started_at", TIMESTAMP),
        ("finished_at", TIMESTAMP),
        ("complete", pa.bool_()),
    ]
)


@pytest.fixture
def folder() -> Iterator[str]:
    """Return the URL of an empty folder in memory."""
    memory = fsspec.filesystem("memory")
    yield "memory://bucket/lake"
    if memory.exists("/bucket"):
        memory.rm("/bucket", recursive=True)


class TestFiles:
    """What `sync` loaded is read back, from wherever it can load to."""

    @pytest.mark.parametrize(
        "place",
        [
            pytest.param("inventory.duckdb", id="duckdb"),
            pytest.param("inventory.db", id="duckdb by another suffix"),
            pytest.param("lake/", id="parquet"),
            pytest.param("a=1 'b' 2.5.c/", id="parquet in a strange folder"),
            pytest.param("parquet:lake", id="parquet by its prefix"),
            pytest.param("there", id="parquet in a folder that is there"),
            pytest.param("memory://bucket/lake", id="parquet below a URL"),
            pytest.param("parquet:memory://bucket/lake/", id="parquet below a URL by its prefix"),
            pytest.param("duckdb", id="a dlt destination"),
            pytest.param("filesystem", id="a dlt destination of files"),
        ],
    )
    @pytest.mark.usefixtures("folder")
    def test_they_come_back_as_they_are(
        self, place: str, emulator: Emulator, clock: Clock, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ):
        """Every file of two loads, once, with the types of FILES, times in UTC."""
        Path("there").mkdir()
        monkeypatch.setenv("OPENAI_FILES__DESTINATION__DUCKDB__CREDENTIALS", "duckdb:///configured.duckdb")
        monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", "configured")
        emulator.populate(200, start=NOW - YEAR, end=NOW - 61)
        sync(place, client=connect())
        emulator.add(created_at=NOW, expires_at=NOW + 9, filename="ü\n", shelf=1)
        clock.advance(61)
        sync(place, client=connect())

        rows = read_table(place)

        assert_frame_equal(rows.sort("id"), listed(emulator))

    def test_none_are_an_empty_table(self, connect: Connect):
        """An account without files is a table without rows, and all its columns."""
        for place in ("inventory.duckdb", "lake/"):
            sync(place, client=connect())

            rows = read_table(place)

            assert rows.height == 0
            assert rows.schema == TYPES

    def test_of_a_warehouse_an_empty_table_has_its_types(self, connect: Connect, monkeypatch: pytest.MonkeyPatch):
        """Where rows come without types, those of FILES are known."""
        monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", "duckdb:///configured.duckdb")
        sync("duckdb", client=connect())

        assert read_table("duckdb").schema == TYPES

    def test_times_of_a_warehouse_are_told_in_utc(self, monkeypatch: pytest.MonkeyPatch):
        """With or without a zone, and in whatever one; names in whatever case."""
        monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS__DATABASE", "configured.duckdb")
        monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS__LOCAL_CONFIG", '{"TimeZone": "Asia/Tokyo"}')
        with duckdb.connect("configured.duckdb") as database:
            database.sql("CREATE SCHEMA openai_files")
            database.sql("""
                CREATE TABLE openai_files.scans AS
                SELECT 'a' AS "ACCOUNT", NULL AS "PURPOSE", TIMESTAMPTZ '2026-09-21 14:00:00+02' AS "STARTED_AT",
                       TIMESTAMP_S '2026-09-21 12:00:00' AS "FINISHED_AT"
            """)

        rows = read_table("duckdb", "scans")

        assert rows.to_dicts() == [{"account": "a", "purpose": None, "started_at": NOON, "finished_at": NOON}]
        assert rows.schema == {
            "account": pl.String,
            "purpose": pl.String,
            "started_at": TYPES["created_at"],
            "finished_at": TYPES["created_at"],
        }

    def test_columns_of_the_loading_are_left_out(self):
        """Whose load a row is of stays behind; how long a version was valid does not."""
        database("inventory.duckdb", files_history=pa.Table.from_pylist([version("file-1", 0)], schema=VERSIONS))

        columns = read_table("inventory.duckdb", "files_history").columns

        assert columns == [*FILES.names, "_row_version", "_dlt_valid_from", "_dlt_valid_to"]

    def test_dlt_is_not_waited_for(self):
        """A database or a folder is read without the second that dlt takes to import."""
        database("inventory.db", files=FILES.empty_table())
        load("lake/", "1700000000.1", files=FILES.empty_table())
        program = """
            import sys
            from files_source.tables import read_table
            [read_table(place) for place in ("inventory.db", "lake/", "lake", "parquet:lake")]
            sys.exit("dlt" in sys.modules)
        """

        subprocess.run([sys.executable, "-c", "if True:" + program], check=True)


@pytest.mark.parametrize("place", ["lake/", "memory://bucket/lake"], ids=["folder", "URL"])
@pytest.mark.usefixtures("folder")
class TestFinishedLoads:
    """A run that died leaves files that no reader may count."""

    def test_files_of_a_load_that_was_not_finished_are_left_out(self, place: str):
        """Half a file, too, and though the load's number begins like another's; so is what is no Parquet."""
        load(place, "1700000000.12", files=files("file-1"))
        load(place, "1700000001.5", files=files("file-2"))
        load(place, "1700000000.1", files=files("file-3"), finished=False)
        load(place, "1700000000.123", files=files("file-3"), finished=False)
        write(f"{place.rstrip('/')}/openai_files/files/1700000002.5.0000000000.parquet", b"PAR1 and no more")
        write(f"{place.rstrip('/')}/openai_files/files/1700000000.12.0000000000.json", b"{}")

        assert sorted(read_table(place)["id"]) == ["file-1", "file-2"]
        if place == "lake/":
            assert sorted(queried(parquet_query(place))["id"]) == ["file-1", "file-2"]

    def test_a_column_that_came_later_is_null_in_older_files(self, place: str):
        """Rows of all loads stand in one table."""
        older = files("file-1").drop_columns(["expires_at", "extra"])
        newer = files("file-2").append_column("region", pa.array(["eu"]))
        load(place, "1700000000.1", files=older)
        load(place, "1700000001.1", files=newer)

        rows = read_table(place).sort("id")

        assert set(rows.columns) == {*FILES.names, "region"}
        assert rows["region"].to_list() == [None, "eu"]
        assert rows.schema["expires_at"] == TYPES["expires_at"]
        if place == "lake/":
            assert_frame_equal(queried(parquet_query(place)).sort("id"), rows, check_column_order=False)

    def test_a_load_of_several_files_is_read_whole(self, place: str):
        """Dlt cuts what is large."""
        load(place, "1700000000.1", file="a", files=files("file-1"))
        load(place, "1700000000.1", file="b", files=files("file-2"))

        assert sorted(read_table(place)["id"]) == ["file-1", "file-2"]

    def test_a_load_without_its_table_is_no_table(self, place: str):
        """Only a load that wrote rows has a table to read."""
        load(place, "1700000000.1", scans=ledger())
        load(place, "1700000001.1", files=files("file-1"), finished=False)

        with pytest.raises(ConfigError, match=r"has no table 'files' of a finished load"):
            read_table(place)


def test_a_load_that_ends_while_it_is_read_is_left_for_later(monkeypatch: pytest.MonkeyPatch):
    """Its files count all or not at all."""
    load("lake/", "1700000000.1", files=files("file-1"))
    load("lake/", "1700000001.1", file="a", files=files("file-2"), finished=False)
    listing = LocalFileSystem.find

    def and_then_the_load_ends(self: LocalFileSystem, *arguments: object, **settings: object) -> object:
        found = listing(self, *arguments, **settings)
        load("lake/", "1700000001.1", file="b", files=files("file-3"))
        return found

    monkeypatch.setattr(LocalFileSystem, "find", and_then_the_load_ends)

    assert read_table("lake/")["id"].to_list() == ["file-1"]
    assert sorted(read_table("lake/")["id"]) == ["file-1", "file-2", "file-3"]


@pytest.mark.parametrize("place", ["lake/", "Ann's 2.5.x lakes/"])
def test_the_query_for_a_folder_gives_what_is_read_from_it(
    place: str, emulator: Emulator, clock: Clock, connect: Connect
):
    """The same rows and types by DuckDB alone, as a database has them."""
    emulator.populate(200, start=NOW - YEAR, end=NOW - 61)
    sync(place, client=connect())
    emulator.add_many(5, created_at=NOW)
    clock.advance(61)
    sync(place, client=connect())
    load(place, "1700000000.1", files=files("file-1"), finished=False)

    rows = queried(parquet_query(place))

    assert_frame_equal(rows.sort("id"), listed(emulator))
    assert_frame_equal(read_table(place).sort("id"), listed(emulator))


def test_the_query_is_for_a_place_as_it_is_given_elsewhere():
    """With or without the prefix, the slash, and the defaults."""
    assert parquet_query() == parquet_query("parquet:lake", "files") == parquet_query("lake/", table="files")


class TestInventory:
    """The files as they were, by the history that a place keeps."""

    TIMES = pytest.mark.parametrize(
        ("at", "ids"),
        [
            pytest.param(NOON - timedelta(microseconds=1), [], id="before the first run"),
            pytest.param(NOON, ["file-1", "file-2"], id="after the first"),
            pytest.param(NOON + timedelta(hours=5), ["file-2", "file-3"], id="after the last"),
            pytest.param(None, ["file-2", "file-3"], id="now"),
            pytest.param(datetime(2026, 9, 21, 12), ["file-1", "file-2"], id="without a zone"),  # noqa: DTZ001
        ],
    )

    @TIMES
    def test_of_a_database(self, at: datetime | None, ids: list[str]):
        """Versions that were valid then."""
        versions = [version("file-1", 0, 1), version("file-2", 0), version("file-3", 1)]
        database("inventory.duckdb", files_history=pa.Table.from_pylist(versions, schema=VERSIONS))

        rows = read_inventory("inventory.duckdb", at=at)

        assert sorted(rows["id"]) == ids
        assert rows.schema == TYPES

    @TIMES
    def test_of_a_folder(self, at: datetime | None, ids: list[str]):
        """The snapshot of the last run that was complete by then."""
        load("lake/", "1700000000.1", files_snapshots=snapshot(0, "file-1", "file-2"), scans=ledger(0))
        load("lake/", "1700000001.1", files_snapshots=snapshot(1, "file-2", "file-3"), scans=ledger(1))
        load("lake/", "1700000002.1", files_snapshots=snapshot(2, "file-2"), scans=ledger(2, complete=False))
        load("lake/", "1700000003.1", files_snapshots=snapshot(3), scans=ledger(3), finished=False)

        rows = read_inventory("lake/", at=at)

        assert sorted(rows["id"]) == ids
        assert rows.schema == TYPES

    def test_of_an_account_that_was_emptied(self):
        """A complete run that found nothing leaves nothing."""
        load("lake/", "1700000000.1", files_snapshots=snapshot(0, "file-1"), scans=ledger(0))
        load("lake/", "1700000001.1", files_snapshots=snapshot(1), scans=ledger(1))

        assert read_inventory("lake/").height == 0
        assert read_inventory("lake/", at=NOON)["id"].to_list() == ["file-1"]

    def test_a_column_that_was_not_known_then_is_null(self):
        """History that an older version of this package loaded is read by a newer one."""
        older = snapshot(0, "file-1").drop_columns(["extra"])
        load("lake/", "1700000000.1", files_snapshots=older, scans=ledger(0))

        rows = read_inventory("lake/")

        assert rows.schema == TYPES
        assert rows["extra"].to_list() == [None]

    def test_a_run_that_ends_while_it_is_read_is_left_for_later(self, monkeypatch: pytest.MonkeyPatch):
        """What was there before it is read, rather than an account that looks empty."""
        load("lake/", "1700000000.1", files_snapshots=snapshot(0, "file-1"), scans=ledger(0))
        listing, listed_tables = LocalFileSystem.find, []

        def with_a_run_before_the_last_table(self: LocalFileSystem, path: str, *arguments: object) -> object:
            listed_tables.append(path)
            if [Path(path).name for path in listed_tables].count("_dlt_loads") == 3:  # of files_history and two more
                load("lake/", "1700000001.1", files_snapshots=snapshot(1, "file-2"), scans=ledger(1))
            return listing(self, path, *arguments)

        monkeypatch.setattr(LocalFileSystem, "find", with_a_run_before_the_last_table)

        assert read_inventory("lake/")["id"].to_list() == ["file-1"]
        assert len(listed_tables) == 6

    @pytest.mark.parametrize("tables", [["files"], ["files", "scans"], ["files", "files_snapshots"]])
    def test_without_a_history_there_is_none(self, tables: Sequence[str]):
        """What is lacking is said, rather than no files."""
        known = {"files": files("file-1"), "scans": ledger(0), "files_snapshots": snapshot(0, "file-1")}
        load("lake/", "1700000000.1", **{name: known[name] for name in tables})

        with pytest.raises(ConfigError, match=r"^lake/ keeps no history: make a history run into it first"):
            read_inventory("lake/")


class TestTrouble:
    """What cannot be read is told in one line that says what helps."""

    @pytest.mark.parametrize(
        ("place", "message"),
        [
            pytest.param("none.duckdb", "none.duckdb is not there: load something into it first", id="no database"),
            pytest.param("none/", "none/ is not there: load something into it first", id="no folder"),
            pytest.param("parquet:none", "parquet:none is not there: load something", id="no folder by its prefix"),
            pytest.param("parquet:", "parquet: needs a folder or a URL behind it", id="no URL"),
            pytest.param(
                "memory://none", "memory://none has no table 'files' of a finished load", id="nothing at a URL"
            ),
            pytest.param(
                "nothing/", "nothing/ has no table 'files' of a finished load: load it first", id="empty folder"
            ),
            pytest.param("other.duckdb", "other.duckdb has no table 'files' of a finished load", id="no such table"),
            pytest.param("duckdb", "duckdb has no table 'files' of a finished load", id="no such table elsewhere"),
            pytest.param("nowhere", "'nowhere' is no place", id="no such destination"),
            pytest.param("nofs://bucket", "nofs://bucket is no place", id="no such kind of URL"),
            pytest.param("dummy", "dummy cannot be read back: dlt has no SQL for it", id="a destination without SQL"),
            pytest.param(
                "snowflake",
                "snowflake is not configured as dlt needs it: set DESTINATION__",
                id="not configured",
            ),
        ],
    )
    @pytest.mark.usefixtures("folder")
    def test_what_is_not_there(self, place: str, message: str, monkeypatch: pytest.MonkeyPatch):
        """A place, a table, or what dlt needs to know of one."""
        monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", "duckdb:///configured.duckdb")
        Path("nothing").mkdir()
        database("other.duckdb", another=files())

        with pytest.raises(ConfigError) as caught:
            read_table(place)

        assert str(caught.value).startswith(message)
        assert len(str(caught.value)) < 400
        assert "  " not in str(caught.value)

    @pytest.mark.parametrize("name", ["filez", '"; DROP TABLE x; --', "files WHERE false", "../files"])
    def test_a_name_that_is_no_table(self, name: str):
        """Whatever it is made of; nothing is done but to look for it."""
        database("inventory.duckdb", files=files("file-1"))
        load("lake/", "1700000000.1", files=files("file-1"))

        for place in ("inventory.duckdb", "lake/"):
            with pytest.raises(ConfigError, match="has no table"):
                read_table(place, name)

    @pytest.mark.parametrize("place", ["broken.duckdb", "broken/", "memory://bucket/broken"])
    @pytest.mark.usefixtures("folder")
    def test_what_is_broken(self, place: str):
        """A database or a file that is none."""
        write("broken.duckdb", b"not a database" * 500)
        for folder in ("broken", "memory://bucket/broken"):
            load(folder, "1700000000.1", files=files("file-1"))
            write(f"{folder}/openai_files/files/1700000000.1.b.parquet", b"not Parquet")

        with pytest.raises(LoadError, match=rf"^{place} cannot be read: [^\n]+; fix this and read again$"):
            read_table(place)

    def test_a_database_that_another_program_has_open(self):
        """The line names the process that has to close it."""
        database("inventory.duckdb", files=files("file-1"))

        with open_elsewhere("inventory.duckdb") as process, pytest.raises(LoadError) as caught:
            read_table("inventory.duckdb")

        assert str(caught.value) == (
            f"inventory.duckdb is open in another program (PID {process}): close it there and read again"
        )

    def test_a_database_that_this_program_has_open(self):
        """For reading, that is no trouble; for writing, it is told."""
        database("inventory.duckdb", files=files("file-1"))

        with duckdb.connect("inventory.duckdb", read_only=True):
            assert read_table("inventory.duckdb").height == 1
        with duckdb.connect("inventory.duckdb"), pytest.raises(LoadError) as caught:
            read_table("inventory.duckdb")

        assert str(caught.value) == "inventory.duckdb is open for writing in this program: close it and read again"


def listed(emulator: Emulator) -> pl.DataFrame:
    """Return the emulator's files as FILES, by id."""
    rows = [
        {
            **{
                name: file.get(name)
                for name in ("id", "bytes", "filename", "object", "purpose", "status", "status_details")
            },
            "account": "default",
            "created_at": datetime.fromtimestamp(int(str(file["created_at"])), UTC),
            "expires_at": datetime.fromtimestamp(int(str(file["expires_at"])), UTC) if file.get("expires_at") else None,
            "extra": '{"shelf":1}' if "shelf" in file else None,
        }
        for file in emulator.files()
    ]
    return pl.DataFrame(rows, schema=TYPES).sort("id")


def files(*ids: str) -> pa.Table:
    return pa.Table.from_pylist([row(file_id) for file_id in ids], schema=FILES)


def row(file_id: str) -> dict[str, object]:
    named = {"account": "default", "id": file_id, "filename": file_id, "object": "file", "purpose": "batch"}
    return named | {"bytes": 7, "created_at": NOON}


def version(file_id: str, since: int, until: int | None = None) -> dict[str, object]:
    """Return a row of `files_history`, valid between two hours after noon."""
    ended = None if until is None else NOON + timedelta(hours=until)
    valid = {"_dlt_valid_from": NOON + timedelta(hours=since), "_dlt_valid_to": ended}
    return row(file_id) | valid | {"_row_version": "0", "_dlt_load_id": "1700000000.1", "_dlt_id": file_id}


def snapshot(hour: int, *ids: str) -> pa.Table:
    rows = [row(file_id) | {"snapshot_at": NOON + timedelta(hours=hour, minutes=-1)} for file_id in ids]
    return pa.Table.from_pylist(rows, schema=SNAPSHOTS)


def ledger(hour: int = 0, *, complete: bool = True) -> pa.Table:
    """Return the row of a history run that took the minute before an hour after noon."""
    ended = NOON + timedelta(hours=hour)
    run = {"account": "default", "mode": "history", "started_at": ended - timedelta(minutes=1), "finished_at": ended}
    return pa.Table.from_pylist([run | {"complete": complete}], schema=SCANS)


def database(path: str, **tables: pa.Table) -> None:
    """Make a database as dlt does."""
    with duckdb.connect(path) as connection:
        connection.sql("CREATE SCHEMA openai_files")
        for name, table in tables.items():
            connection.register("rows", table)
            connection.sql(f"CREATE TABLE openai_files.{name} AS FROM rows")


def load(place: str, number: str, *, file: str = "0", finished: bool = True, **tables: pa.Table) -> None:
    """Make one load into Parquet, in dlt's layout."""
    root = f"{place.rstrip('/')}/openai_files"
    for name, table in tables.items():
        written = pa.BufferOutputStream()
        pq.write_table(table, written)
        write(f"{root}/{name}/{number}.{file}.parquet", written.getvalue().to_pybytes())
    if finished:
        write(f"{root}/_dlt_loads/openai_files__{number}.jsonl", b"{}")


def write(path: str, content: bytes) -> None:
    with fsspec.open(path, "wb", auto_mkdir=True) as file:
        file.write(content)


def queried(query: str) -> pl.DataFrame:
    """Return what DuckDB alone makes of a query, times in UTC."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return cast(pl.DataFrame, pl.from_arrow(connection.sql(query).to_arrow_table()))


@contextmanager
def open_elsewhere(path: str) -> Iterator[int]:
    """Hold a database open for writing in another process, whose id this is."""
    program = f"import duckdb; held = duckdb.connect({path!r}); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate("\n")
