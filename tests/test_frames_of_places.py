from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from files_source import Account, CleanedInPart, Cleanup, FilesStream, read_files, scan_files
from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator, status
from files_source.errors import ApiError, ConfigError, LoadError
from files_source.inventories import stored
from files_source.stored import opened
from files_source.syncing import sync
from files_source.tables import read_table, scan_stored
from tests.conftest import NOW
from tests.test_tables import TYPES, database, files, load, write

Connect = Callable[..., FilesClient]

DAY = 86_400
MONTH = datetime.fromtimestamp(NOW - 30 * DAY, UTC)
PLACES = pytest.mark.parametrize("place", ["inventory.duckdb", "lake/"], ids=["duckdb", "parquet"])
ENGINES: tuple[Literal["in-memory", "streaming"], ...] = ("in-memory", "streaming")

created_at, purpose = pl.col("created_at"), pl.col("purpose")


@pytest.fixture
def year(emulator: Emulator, url: str) -> Emulator:
    """Serve 500 files of a year, no two of a second, where the OPENAI_ variables look for them."""
    for number in range(500):
        emulator.add(created_at=NOW - 100 - number * 60_000, purpose=("batch", "vision")[number % 2], size=number)
    emulator.add(created_at=NOW - 99, expires_at=NOW + 9, filename="ü\n", shelf=1)
    return emulator


def put(place: str, table: pa.Table, *, number: int = 0) -> None:
    """Leave *table* in a place as a load does."""
    if place == "lake/":
        load(place, f"170000000{number}.1", files=table)
    else:
        database(place, files=table)


@pytest.mark.parametrize(
    "place", ["inventory.duckdb", "lake/", "parquet:lake", "a=1 'b' 2.5.c/", "memory://bucket/lake"]
)
@pytest.mark.usefixtures("year")
def test_what_was_loaded_is_the_frame_that_was_listed(place: str, connect: Connect):
    """The same rows, columns and types in the same order, eager and lazy."""
    sync(place, client=connect(), overlap=0)

    frames = [read_files(place), *(scan_files(place).collect(engine=engine) for engine in ENGINES)]

    for frame in frames:
        assert_frame_equal(frame, read_files())


@PLACES
@pytest.mark.parametrize(
    "query",
    [
        pytest.param(lambda all_: all_.filter(purpose == "vision", created_at >= MONTH).select("id"), id="filter"),
        pytest.param(lambda all_: all_.select(pl.len()), id="count"),
        pytest.param(lambda all_: all_.group_by("purpose").agg(pl.col("bytes").sum()).sort("purpose"), id="group_by"),
        pytest.param(lambda all_: all_.select("created_at").tail(3), id="tail"),
        pytest.param(lambda all_: all_.head(3).filter(purpose == "vision"), id="head"),
        pytest.param(
            lambda all_: all_.filter(pl.col("bytes").map_elements(lambda size: f"{size}"[0] == "1", pl.Boolean)),
            id="a Python function",
        ),
    ],
)
@pytest.mark.usefixtures("year")
def test_a_query_of_a_place_is_that_of_its_frame(
    query: Callable[[pl.LazyFrame | pl.DataFrame], pl.LazyFrame], place: str
):
    """Whatever is pushed into the files or the database."""
    put(place, pa.table(FilesStream()))
    expected = query(read_files())

    for engine in ENGINES:
        assert_frame_equal(query(scan_files(place)).collect(engine=engine), expected)
    assert expected.height > 0


@PLACES
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.usefixtures("year")
def test_what_is_asked_for_by_name_goes_for_a_place_too(place: str, order: Literal["asc", "desc"]):
    """The purpose, the times, the order and how many."""
    put(place, pa.table(FilesStream()))
    since = datetime.fromtimestamp(NOW - 300 * DAY, UTC)

    frame = read_files(place, purpose="vision", since=since, until=MONTH, order=order, max_items=9)

    assert frame.height == 9
    assert_frame_equal(frame, read_files(purpose="vision", since=since, until=MONTH, order=order, max_items=9))


@PLACES
def test_the_rows_of_a_place_may_be_taken_as_they_come(place: str):
    """A head is obeyed before whatever comes after it, as polars leaves that to the source."""
    put(place, files(*(f"file-{number}" for number in range(9))))
    rows = scan_stored(place)
    whole = rows.collect()

    assert rows.head(3).collect().equals(whole.head(3))
    assert rows.head(3).filter(pl.col("id") == "file-1").select("id").collect()["id"].to_list() == ["file-1"]
    assert rows.head(3).filter(pl.col("id") == "file-7").collect().height == 0
    with opened(place) as read:
        table = read("files")
        assert table is not None
        assert table.head(3).collect().height == 3


@pytest.mark.parametrize("place", [None, "inventory.duckdb"])
def test_a_keyword_that_there_is_not_is_refused(place: str | None):
    """A place or none, a value or none."""
    for read in (read_files, scan_files):
        with pytest.raises(TypeError, match="unexpected keyword argument 'limti'"):
            read(place, limti=None)


def test_a_place_may_be_a_path():
    """Without a database's suffix it is a folder, there or not."""
    put("lake/", files("file-1"))
    put("inventory.duckdb", files("file-2"))

    assert read_files(Path("lake"))["id"].to_list() == ["file-1"]
    assert scan_files(Path("inventory.duckdb")).collect()["id"].to_list() == ["file-2"]
    with pytest.raises(ConfigError, match=r"^elsewhere/ is not there"):
        read_files(Path("elsewhere"))


def test_a_folder_may_be_called_anything():
    """Its name is no pattern, and says nothing of the files."""
    load("account=x [b] *.c/", "1700000000.1", files=files("file-1"))

    assert read_files("account=x [b] *.c/")["account"].to_list() == ["default"]
    assert scan_files("account=x [b] *.c/").select("id").collect()["id"].to_list() == ["file-1"]


@PLACES
def test_building_a_query_does_not_open_the_place(place: str):
    """It need not be there yet; when it is collected, it must."""
    query = scan_files(place).filter(purpose == "batch").select("id")
    with pytest.raises(ConfigError, match=f"^{place} is not there: load something into it first"):
        query.collect()

    put(place, files("file-1"))

    assert query.collect()["id"].to_list() == ["file-1"]


def test_loads_that_were_not_finished_are_left_out():
    """Until they are; each time it is collected, a frame holds what is there then."""
    load("lake/", "1700000000.1", files=files("file-1"), finished=False)
    query = scan_files("lake/").select("id")
    with pytest.raises(ConfigError, match="lake/ has no table 'files' of a finished load"):
        query.collect()

    put("lake/", files("file-2"), number=1)
    put("lake/", files("file-3"), number=2)

    assert sorted(query.collect()["id"]) == ["file-2", "file-3"]


@PLACES
@pytest.mark.usefixtures("year")
def test_a_place_that_keeps_only_a_history(place: str, connect: Connect, emulator: Emulator):
    """It gives what is there by its last complete scan."""
    sync(place, client=connect(), history=True)
    emulator.remove(emulator.ids()[7])
    sync(place, client=connect(), history=True)
    there = read_files()

    frames = [read_files(place), *(scan_files(place).collect(engine=engine) for engine in ENGINES)]

    assert there.height == 500
    for frame in frames:
        assert_frame_equal(frame, there)
    assert_frame_equal(scan_files(place).filter(purpose == "vision").collect(), there.filter(purpose == "vision"))


def ids(frame: pl.DataFrame) -> set[str]:
    return set(frame["id"])


@PLACES
class TestWhatIsStillThere:
    """A place that keeps both what was listed and a history gives what it knows to be there."""

    @pytest.fixture(autouse=True)
    def account(self, emulator: Emulator) -> Emulator:
        """Serve ten files of each of two purposes, settled."""
        for number in range(20):
            emulator.add(created_at=NOW - 1000 + number, purpose=("batch", "vision")[number % 2])
        return emulator

    def lose(self, emulator: Emulator) -> None:
        """Delete a file of each purpose."""
        for file_id in emulator.ids()[:2]:
            emulator.remove(file_id)

    def test_what_a_history_run_found_gone_is_left_out(self, place: str, connect: Connect, account: Emulator):
        """What it was not told of is not; eager and lazy, and in the answers about storage."""
        sync(place, client=connect())
        self.lose(account)
        assert read_files(place).height == 20

        sync(place, client=connect(), history=True)

        assert ids(read_files(place)) == set(account.ids())
        assert ids(scan_files(place).filter(purpose == "batch").collect()) == {
            str(file["id"]) for file in account.files("batch")
        }
        assert ids(stored(place).files) == set(account.ids())

    def test_what_came_after_it_is_there(self, place: str, connect: Connect, account: Emulator, clock: Clock):
        """Files that a later run has listed, each once."""
        sync(place, client=connect())
        sync(place, client=connect(), history=True)
        clock.advance(3600)
        account.add(created_at=NOW + 1800)
        sync(place, client=connect())

        frame = read_files(place)

        assert frame["id"].is_unique().all()
        assert ids(frame) == set(account.ids())
        assert stored(place).basis == "history"

    def test_a_young_file_that_it_did_not_find_is_gone_too(self, place: str, connect: Connect, account: Emulator):
        """Though it was listed before, and such a file may be missed: until another run lists it."""
        young = str(account.add(created_at=NOW)["id"])
        sync(place, client=connect(), overlap=0)
        account.remove(young)

        sync(place, client=connect(), history=True)

        assert ids(read_files(place)) == set(account.ids()) == ids(stored(place).files)

    def test_an_account_that_it_found_empty_has_been_checked(self, place: str, connect: Connect, account: Emulator):
        """There is nothing left that could be gone."""
        sync(place, client=connect())
        for file_id in account.ids():
            account.remove(file_id)

        sync(place, client=connect(), history=True)

        found = stored(place)
        assert (found.files.height, found.basis) == (0, "history")
        assert stored(place, purpose="batch").checked_at == found.checked_at is not None

    def test_of_another_purpose_it_says_nothing(self, place: str, connect: Connect, account: Emulator):
        """All that was listed of that counts, and it is said that some may be gone."""
        sync(place, client=connect())
        everything = account.ids()
        self.lose(account)

        sync(place, client=connect(), history=True, purpose="batch")

        assert set(everything) - ids(read_files(place)) == {everything[0]}
        assert (stored(place).basis, stored(place).checked_at) == ("files", None)
        assert stored(place, purpose="batch").basis == "history"
        assert stored(place, purpose="vision").basis == "files"

    def test_of_another_account_it_says_nothing(self, place: str, url: str, account: Emulator):
        """Its files are not lost."""
        accounts = [Account(name=name, api_key=f"sk-{name}", base_url=url) for name in ("lab", "team")]
        sync(place, accounts=accounts)
        self.lose(account)

        sync(place, accounts=accounts[:1], history=True)

        assert read_files(place)["account"].value_counts().sort("account").rows() == [("lab", 18), ("team", 20)]

    def test_what_a_cleanup_deleted_is_gone(self, place: str, connect: Connect, account: Emulator):
        """Without a history run; a file that the server refused to delete stays."""
        sync(place, client=connect())
        cleanup = Cleanup(client=connect(), workers=1)
        account.fail(status(403), method="DELETE", path="/v1/files/*")
        with cleanup.into(place) as record, cleanup.candidates(purpose="batch") as found, suppress(CleanedInPart):
            cleanup.delete(found, record)

        assert len(account.ids()) == 11
        assert ids(read_files(place)) == set(account.ids()) == ids(stored(place).files)

    def test_what_a_history_run_finds_is_there_whatever_a_cleanup_took_it_for(
        self, place: str, connect: Connect, account: Emulator
    ):
        """The last one who looked is right."""
        sync(place, client=connect())
        lost = account.files()
        cleanup = Cleanup(client=connect())
        with cleanup.into(place) as record, cleanup.candidates(purpose="batch") as found:
            cleanup.delete(found, record)
        for file in lost[::2]:
            account.add(file_id=str(file["id"]), created_at=file["created_at"], purpose="batch")

        sync(place, client=connect(), history=True)

        assert ids(read_files(place)) == set(account.ids())
        assert len(account.ids()) == 20


@PLACES
def test_the_frame_always_has_the_columns_of_files(place: str):
    """Those of the loading are left out, and those that an older table lacks are null."""
    put(place, files("file-1").drop_columns(["extra"]).append_column("_dlt_load_id", [["1700000000.1"]]))

    assert read_files(place).schema == TYPES
    assert scan_files(place).select("extra", "id").collect().rows() == [(None, "file-1")]


@PLACES
def test_a_place_that_is_broken(place: str):
    """One line says so, when the frame is collected."""
    broken = place if place.endswith(".duckdb") else "lake/openai_files/files/1700000000.1.b.parquet"
    if place == "lake/":
        put(place, files("file-1"))
    write(broken, b"no such thing" * 500)

    with pytest.raises(LoadError, match=rf"^{place} cannot be read: [^\n]+; fix this and read again$"):
        scan_files(place).collect()


class TestTheNewestCompleteKnowledge:
    """What lists everything counts from then on, whichever run it was."""

    def test_a_full_refresh_after_a_history(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(60, start=NOW - 9 * DAY, end=NOW - DAY)
        sync(place, client=connect())
        sync(place, client=connect(), history=True)
        for file_id in emulator.ids()[:20]:
            emulator.remove(file_id)

        sync(place, client=connect(), full_refresh=True)

        assert sorted(read_files(place)["id"]) == sorted(emulator.ids())
        assert stored(place).files.height == 40

    def test_a_history_after_a_full_refresh(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(60, start=NOW - 9 * DAY, end=NOW - DAY)
        sync(place, client=connect(), history=True)
        sync(place, client=connect(), full_refresh=True)
        for file_id in emulator.ids()[:20]:
            emulator.remove(file_id)

        sync(place, client=connect(), history=True)

        assert sorted(read_files(place)["id"]) == sorted(emulator.ids())

    def test_a_first_load_after_a_history(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(60, start=NOW - 9 * DAY, end=NOW - DAY)
        sync(place, client=connect(), history=True)
        for file_id in emulator.ids()[:20]:
            emulator.remove(file_id)

        sync(place, client=connect())

        assert sorted(read_files(place)["id"]) == sorted(emulator.ids())

    def test_one_purpose_is_not_everything(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(60, start=NOW - 9 * DAY, end=NOW - DAY)
        sync(place, client=connect(), history=True)

        sync(place, client=connect(), purpose="batch")

        assert sorted(read_files(place)["id"]) == sorted(emulator.ids())

    def test_a_refresh_that_failed_changes_nothing(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(60, start=NOW - 9 * DAY, end=NOW - DAY)
        sync(place, client=connect(), history=True)
        emulator.fail(status(403), at=2, times=None)

        with pytest.raises(ApiError):
            sync(place, client=connect(max_retries=0), full_refresh=True, limit=10, workers=1)

        assert sorted(read_files(place)["id"]) == sorted(emulator.ids())

    def test_it_was_checked_when_the_refresh_began(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(6, start=NOW - 9 * DAY, end=NOW - DAY)
        sync(place, client=connect(), history=True)
        sync(place, client=connect(), full_refresh=True)

        checked = stored(place).checked_at

        assert checked == read_table(place, "scans")["started_at"].max()
