from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator, Fault, Oddities
from files_source.emulator.delivery import Delivery
from files_source.schema import FILES
from files_source.syncing import sync
from files_source.tables import read_table
from tests.conftest import NOW, loaded

Connect = Callable[..., FilesClient]
PLACES = ["inventory.duckdb", "lake/"]
YEAR = 365 * 86_400


@pytest.fixture(params=PLACES, ids=["duckdb", "parquet"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_file_lands_once_with_the_types_of_the_schema(place: str, emulator: Emulator, connect: Connect):
    """25,000 files over a socket are exactly those ids in the table, and its columns are those of FILES."""
    emulator.populate(25_000, start=NOW - 3 * YEAR, end=NOW - 61)

    done = sync(place, client=connect())

    assert loaded(place) == sorted(emulator.ids())
    assert done.rows == 25_000
    assert types_in(place) == {field.name: duckdb_type(field.type) for field in FILES}


@pytest.mark.parametrize("workers", [1, 8])
def test_a_file_that_the_server_gives_twice_far_apart_is_there_once(workers: int, emulator: Emulator, connect: Connect):
    """A first load appends what it lists; where that is out of order, a file may have come twice, and it merges."""
    emulator.populate(500, start=NOW - YEAR, end=NOW - 61)

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        delivery = Delivery(call.answer())
        page = json.loads(delivery.response.get_data())
        oldest = json.loads(emulator.row(emulator.ids()[0]))
        delivery.response.set_data(json.dumps(page | {"data": [page["data"][0], oldest, *page["data"][1:]]}))
        return delivery

    emulator.fail(Fault("twice", spoil), at=4, times=1)

    sync("inventory.duckdb", client=connect(), limit=50, workers=workers)

    assert loaded("inventory.duckdb") == sorted(emulator.ids())


def test_values_arrive_as_the_api_gave_them(place: str, emulator: Emulator, connect: Connect):
    """Every field of a file stands in its column, times in UTC, unknown fields as JSON in `extra`."""
    file = emulator.add(
        created_at=NOW - 3600, purpose="batch", filename="../ü\n.jsonl", size=7, expires_at=NOW + 9, shelf={"row": [1]}
    )

    sync(place, client=connect())

    assert rows_in(place) == [
        {
            "account": "default",
            "id": file["id"],
            "bytes": 7,
            "created_at": datetime.fromtimestamp(NOW - 3600, UTC),
            "filename": "../ü\n.jsonl",
            "object": "file",
            "purpose": "batch",
            "status": "processed",
            "expires_at": datetime.fromtimestamp(NOW + 9, UTC),
            "status_details": None,
            "extra": '{"shelf":{"row":[1]}}',
        }
    ]


def test_a_run_with_nothing_new_asks_little_and_writes_little(place: str, emulator: Emulator, connect: Connect):
    """At most two requests and 10 kB, however many files there are, and nothing but its row of the ledger."""
    emulator.populate(25_000, start=NOW - 3 * YEAR, end=NOW - 61)
    sync(place, client=connect())
    sync(place, client=connect())  # learns which file of its second is the last
    before = stored_states(place)

    done = sync(place, client=connect())

    assert done.requests <= 2
    assert done.received < 10_000
    assert done.rows == 0
    assert stored_states(place) == before
    assert read_table(place, "scans").sort("started_at")["rows"].to_list() == [25_000, 0, 0]


def test_one_purpose_of_a_place_that_has_all_costs_little_when_repeated(emulator: Emulator, connect: Connect):
    """The first two such runs learn where that purpose's listing ends; the next asks little and learns nothing."""
    emulator.populate(3_000, start=NOW - YEAR, end=NOW - 61)
    sync("inventory.duckdb", client=connect())
    sync("inventory.duckdb", client=connect(), purpose="batch_output")
    sync("inventory.duckdb", client=connect(), purpose="batch_output")
    before = stored_states("inventory.duckdb")

    done = sync("inventory.duckdb", client=connect(), purpose="batch_output")

    assert done.received < 10_000
    assert stored_states("inventory.duckdb") == before


def test_only_what_is_new_is_loaded(place: str, emulator: Emulator, clock: Clock, connect: Connect):
    """Seven new files are seven rows, once the overlap has passed where rows are only appended."""
    emulator.populate(3_000, start=NOW - YEAR, end=NOW - 61)
    sync(place, client=connect())
    emulator.add_many(7, created_at=NOW)
    clock.advance(61)

    done = sync(place, client=connect())

    assert done.rows == 7
    assert loaded(place) == sorted(emulator.ids())


def test_without_an_overlap_new_files_are_appended_at_once(emulator: Emulator, clock: Clock, connect: Connect):
    """An overlap of 0 leaves only the current second for a later run."""
    emulator.populate(100, start=NOW - YEAR, end=NOW - 1)
    sync("lake/", client=connect(), overlap=0)
    emulator.add_many(7, created_at=NOW)
    clock.advance(1)

    done = sync("lake/", client=connect(), overlap=0)

    assert done.rows == 7
    assert loaded("lake/") == sorted(emulator.ids())


def test_a_folder_gets_all_files_older_than_the_overlap_and_no_younger(emulator: Emulator, connect: Connect):
    """What may still get neighbours is left for a later run; everything else arrives in this one."""
    old = [emulator.add(created_at=NOW - age)["id"] for age in (3600, 62, 61)]
    emulator.add_many(50, created_at=NOW - 60)

    sync("lake/", client=connect())

    assert loaded("lake/") == sorted(old)


def test_ties_and_late_arrivals_are_loaded_once_and_the_state_stays_small(
    emulator: Emulator, clock: Clock, connect: Connect
):
    """10,000 files of one second, then five more of it and one ten seconds older: all there, once."""
    emulator.add_many(10_000, created_at=NOW)
    clock.advance(5)
    sync("inventory.duckdb", client=connect(), limit=1_000)
    emulator.add_many(5, created_at=NOW)
    emulator.add(created_at=NOW - 10)

    sync("inventory.duckdb", client=connect(), limit=1_000)

    assert loaded("inventory.duckdb") == sorted(emulator.ids())
    assert len(stored_state("inventory.duckdb")) < 5_000


def test_the_state_stays_small_over_many_runs(place: str, emulator: Emulator, clock: Clock, connect: Connect):
    """Five runs with new files each leave a state of less than 5 kB, and every file once."""
    for _ in range(5):
        emulator.add_many(30, created_at=int(clock()))
        clock.advance(90)
        sync(place, client=connect())

    assert loaded(place) == sorted(emulator.ids())
    assert len(stored_state(place)) < 5_000


def test_a_backlog_of_ties_is_not_read_again_once_it_is_settled(emulator: Emulator, clock: Clock, connect: Connect):
    """A bulk upload in the last second costs nothing once it is older than an hour."""
    emulator.add(created_at=NOW - 86_400)
    emulator.add_many(5_000, created_at=NOW)
    clock.advance(3_601)
    sync("inventory.duckdb", client=connect())

    done = sync("inventory.duckdb", client=connect())

    assert done.requests == 1
    assert done.received < 10_000


class TestAnotherPlace:
    """One working folder, one place after another: each holds exactly what was asked for."""

    def test_two_places_in_turn(self, place: str, emulator: Emulator, clock: Clock, connect: Connect):
        """What one place holds says nothing about another."""
        other = place.replace("inventory", "other").replace("lake", "other")
        emulator.populate(500, start=NOW - YEAR, end=NOW - 61)
        sync(place, client=connect())
        emulator.add_many(5, created_at=NOW)
        clock.advance(61)

        sync(other, client=connect())
        sync(place, client=connect())

        assert loaded(place) == loaded(other) == sorted(emulator.ids())

    def test_a_place_that_was_deleted(self, place: str, emulator: Emulator, connect: Connect):
        """A database or folder that is gone starts from the beginning."""
        emulator.populate(500, start=NOW - YEAR, end=NOW - 61)
        sync(place, client=connect())
        remove(place)

        sync(place, client=connect())

        assert loaded(place) == sorted(emulator.ids())

    def test_a_place_restored_from_a_backup(self, place: str, emulator: Emulator, clock: Clock, connect: Connect):
        """What was loaded after the backup was made is loaded again."""
        emulator.populate(500, start=NOW - YEAR, end=NOW - 61)
        sync(place, client=connect())
        copy(place, "backup/")
        for _ in range(3):
            emulator.add_many(5, created_at=int(clock()))
            clock.advance(61)
            sync(place, client=connect())
        remove(place)
        copy("backup/" + place, ".", back=True)

        sync(place, client=connect())

        assert loaded(place) == sorted(emulator.ids())

    def test_a_place_that_was_moved(self, place: str, emulator: Emulator, clock: Clock, connect: Connect):
        """What a place holds is known from itself: a moved one goes on where it was."""
        emulator.populate(500, start=NOW - YEAR, end=NOW - 61)
        sync(place, client=connect())
        moved = place.replace("inventory", "moved").replace("lake", "moved")
        Path(place).rename(moved)
        emulator.add_many(5, created_at=NOW)
        clock.advance(61)

        done = sync(moved, client=connect())

        assert done.rows == 5
        assert loaded(moved) == sorted(emulator.ids())

    def test_one_purpose_and_then_all(self, place: str, emulator: Emulator, connect: Connect):
        """All purposes after one: the others are added, and that one is not doubled."""
        emulator.populate(2_000, start=NOW - YEAR, end=NOW - 61)

        sync(place, client=connect(), purpose="batch")
        batch = loaded(place)
        sync(place, client=connect())

        assert batch == sorted(emulator.ids("batch"))
        assert loaded(place) == sorted(emulator.ids())

    def test_all_purposes_and_then_one(self, place: str, emulator: Emulator, clock: Clock, connect: Connect):
        """One purpose after all: only what is new of it."""
        emulator.populate(500, start=NOW - YEAR, end=NOW - 61)
        sync(place, client=connect())
        before = set(emulator.ids())
        emulator.add_many(3, created_at=NOW, purpose="batch")
        emulator.add_many(3, created_at=NOW, purpose="vision")
        clock.advance(61)

        sync(place, client=connect(), purpose="batch")

        assert loaded(place) == sorted(before | set(emulator.ids("batch")))

    def test_since_last_year_and_then_everything(self, place: str, emulator: Emulator, clock: Clock, connect: Connect):
        """An earlier start after a later one leaves no hole, and nothing is doubled."""
        emulator.populate(3_000, start=NOW - 3 * YEAR, end=NOW - 61)
        since = datetime.fromtimestamp(NOW - YEAR, UTC)

        sync(place, client=connect(), since=since)
        recent = loaded(place)
        emulator.add_many(4, created_at=NOW)
        clock.advance(61)
        sync(place, client=connect())

        assert recent == created(emulator, since=NOW - YEAR, until=NOW)
        assert loaded(place) == sorted(emulator.ids())

    def test_backfills_in_any_order_and_then_everything(self, place: str, emulator: Emulator, connect: Connect):
        """Ranges that overlap, touch and repeat each hold what was asked for, and no file twice."""
        emulator.populate(3_000, start=NOW - 3 * YEAR, end=NOW - 61)
        middle, late = NOW - 2 * YEAR, NOW - YEAR

        sync(place, client=connect(), since=moment(middle), until=moment(late))
        assert loaded(place) == created(emulator, since=middle, until=late)
        sync(place, client=connect(), until=moment(middle + 86_400))
        assert loaded(place) == created(emulator, since=0, until=late)
        sync(place, client=connect(), since=moment(middle), until=moment(late))
        assert loaded(place) == created(emulator, since=0, until=late)

        sync(place, client=connect())
        assert loaded(place) == sorted(emulator.ids())

    def test_a_full_refresh_holds_what_is_there_now(
        self, place: str, emulator: Emulator, clock: Clock, connect: Connect
    ):
        """Everything is loaded again in place of what was there; the next run goes on from it."""
        emulator.populate(500, start=NOW - YEAR, end=NOW - 61)
        sync(place, client=connect())
        emulator.remove(emulator.ids()[17])

        sync(place, client=connect(), full_refresh=True)
        assert loaded(place) == sorted(emulator.ids())
        emulator.add_many(2, created_at=NOW)
        clock.advance(61)
        done = sync(place, client=connect())

        assert done.rows == 2
        assert loaded(place) == sorted(emulator.ids())


def test_an_empty_account_makes_an_empty_table(emulator: Emulator, clock: Clock, connect: Connect):
    """The table is there to query, and the first file is loaded when it comes."""
    sync("inventory.duckdb", client=connect())
    assert loaded("inventory.duckdb") == []
    emulator.add(created_at=NOW)

    sync("inventory.duckdb", client=connect())

    assert loaded("inventory.duckdb") == emulator.ids()


def test_small_pages_are_gathered(emulator: Emulator, connect: Connect):
    """Pages of 1,000 reach dlt as batches of 50,000 rows: one row group for each in the extracted file."""
    emulator.populate(70_000, start=NOW - YEAR, end=NOW - 61)

    sync("lake/", client=connect(), limit=1_000)

    (file,) = Path("lake/openai_files/files").glob("*.parquet")
    metadata = pq.read_metadata(file)
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [50_000, 20_000]


class TestDeletedAnchors:
    """The files that a run would go on from may be gone."""

    @pytest.mark.parametrize("vanished", [400, 404, "end"])
    @pytest.mark.parametrize("deleted", [1, 2, 40, 600])
    def test_new_files_are_still_found(
        self, deleted: int, vanished: Literal[400, 404, "end"], emulator: Emulator, clock: Clock, connect: Connect
    ):
        """However many of the newest files are deleted and however the server says so."""
        emulator.oddities = Oddities(vanished_cursor=vanished)
        emulator.populate(600, start=NOW - YEAR, end=NOW - 61)
        sync("lake/", client=connect())
        before = set(emulator.ids())
        for file_id in emulator.ids()[-deleted:]:
            emulator.remove(file_id)
        emulator.add_many(5, created_at=NOW)
        clock.advance(61)

        done = sync("lake/", client=connect())

        assert done.rows == 5
        assert loaded("lake/") == sorted(before | set(emulator.ids()))


def moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def created(emulator: Emulator, *, since: int, until: int) -> list[str]:
    return sorted(str(file["id"]) for file in emulator.files() if since <= int(str(file["created_at"])) < until)


def remove(place: str) -> None:
    if Path(place).is_dir():
        shutil.rmtree(place)
    else:
        Path(place).unlink()


def copy(place: str, folder: str, *, back: bool = False) -> None:
    Path(folder).mkdir(exist_ok=True)
    if Path(place).is_dir():
        shutil.copytree(place, Path(folder) / Path(place).name)
    else:
        shutil.copy(place, folder)


def rows_in(place: str) -> list[dict[str, object]]:
    if place.endswith(".duckdb"):
        with duckdb.connect(place, read_only=True) as database:
            table = database.sql("FROM openai_files.files").to_arrow_table()
    else:
        table = duckdb.sql(f"SELECT * FROM '{place}openai_files/files/*.parquet'").to_arrow_table()
    return table.to_pylist()


def types_in(place: str) -> dict[str, str]:
    if place.endswith(".duckdb"):
        with duckdb.connect(place, read_only=True) as database:
            described = database.execute("DESCRIBE openai_files.files").fetchall()
    else:
        described = duckdb.sql(f"DESCRIBE FROM '{place}openai_files/files/*.parquet'").fetchall()
    return {name: kind for name, kind, *_ in described}


def duckdb_type(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE"
    return "BIGINT" if pa.types.is_integer(kind) else "VARCHAR"


def stored_states(place: str) -> int:
    if place.endswith(".duckdb"):
        with duckdb.connect(place, read_only=True) as database:
            return int(database.execute("SELECT count(*) FROM openai_files._dlt_pipeline_state").fetchall()[0][0])
    return len(list(Path(place).glob("openai_files/_dlt_pipeline_state/*")))


def stored_state(place: str) -> str:
    """Return the pipeline's state as the destination keeps it."""
    if place.endswith(".duckdb"):
        with duckdb.connect(place, read_only=True) as database:
            newest = "SELECT state FROM openai_files._dlt_pipeline_state ORDER BY version DESC LIMIT 1"
            return str(database.execute(newest).fetchall()[0][0])
    files = sorted(Path(place).glob("openai_files/_dlt_pipeline_state/*.jsonl"))
    return files[-1].read_text()
