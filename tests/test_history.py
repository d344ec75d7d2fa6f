"""History: what changed, what is gone, and since when; only a complete scan may say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from files_source import history
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.decoding import Page
from files_source.emulator import Clock, Emulator, status
from files_source.errors import ApiError, ConfigError
from files_source.history import changes
from files_source.syncing import SyncedInPart, sync
from files_source.tables import read_inventory, read_table
from tests.conftest import NOW

Connect = Callable[..., FilesClient]
PLACE = "inventory.duckdb"
DAY = 86_400


@pytest.fixture(params=[PLACE, "lake/"], ids=["duckdb", "parquet"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def scan(to: str, client: FilesClient, **options: object) -> None:
    sync(to, client=client, history=True, limit=20, **options)


def versions(file_id: str) -> list[dict[str, object]]:
    """Return the versions of a file, oldest first."""
    rows = read_table(PLACE, "files_history").filter(pl.col("id") == file_id)
    return rows.sort("_dlt_valid_from", "_dlt_valid_to", nulls_last=True).to_dicts()


def open_ids() -> list[str]:
    """Return the ids of the rows that are valid, doubles included."""
    return sorted(history.current(read_table(PLACE, "files_history"))["id"])


class TestVersions:
    """On DuckDB: a slowly changing dimension of type 2."""

    @pytest.fixture(autouse=True)
    def populated(self, emulator: Emulator) -> None:
        emulator.populate(50, start=NOW - 30 * DAY, end=NOW - 3_600)

    @pytest.mark.parametrize(
        "change",
        [
            {"status": "error", "status_details": "it broke"},
            {"expires_at": NOW + DAY},
            {"size": 1, "bytes": 7},
            {"filename": "other.jsonl"},
            {"shelf": 3},
        ],
        ids=["status", "expiry", "size", "name", "unknown field"],
    )
    def test_a_change_retires_the_version_before(self, change: dict[str, object], emulator: Emulator, connect: Connect):
        """The old version ends when the new one begins, with the values that it had."""
        file_id = emulator.ids()[25]
        scan(PLACE, connect())
        (before,) = versions(file_id)
        emulator.change(file_id, **change)

        scan(PLACE, connect())

        old, new = versions(file_id)
        assert old["_dlt_valid_to"] == new["_dlt_valid_from"]
        assert new["_dlt_valid_to"] is None
        assert old | {"_dlt_valid_to": None} == before
        assert {name for name in old if old[name] != new[name]} >= {"_row_version", "_dlt_valid_from", "_dlt_valid_to"}
        assert open_ids() == sorted(emulator.ids())

    def test_nothing_changed_leaves_every_row(self, emulator: Emulator, connect: Connect):
        """Values that are null, absent and present again make no new version."""
        emulator.change(emulator.ids()[0], status=None, expires_at=None)
        scan(PLACE, connect())
        before = read_table(PLACE, "files_history").sort("id")

        scan(PLACE, connect())

        assert read_table(PLACE, "files_history").sort("id").equals(before)

    def test_a_deleted_file_is_retired_with_its_last_values_and_may_return(self, emulator: Emulator, connect: Connect):
        """Deleted, it ends; there again, it has a new version."""
        file = emulator.add(created_at=NOW - 100, file_id="file-back", filename="a.jsonl")
        scan(PLACE, connect())
        emulator.remove("file-back")
        scan(PLACE, connect())
        (gone,) = versions("file-back")
        emulator.add(created_at=NOW - 100, file_id="file-back", filename="a.jsonl")

        scan(PLACE, connect())

        assert gone["filename"] == file["filename"]
        assert gone["_dlt_valid_to"] is not None
        first, second = versions("file-back")
        assert first == gone
        assert second["_dlt_valid_to"] is None

    def test_an_emptied_account_has_no_valid_row(self, emulator: Emulator, connect: Connect):
        """The last file gone, every row is retired and none is lost."""
        scan(PLACE, connect())
        before = read_table(PLACE, "files_history").sort("id")
        for file_id in emulator.ids():
            emulator.remove(file_id)

        scan(PLACE, connect())

        after = read_table(PLACE, "files_history").sort("id")
        assert open_ids() == []
        assert after.drop("_dlt_valid_to").equals(before.drop("_dlt_valid_to"))

    def test_an_account_that_is_empty_from_the_first_has_an_empty_table(self, connect: Connect, emulator: Emulator):
        """There is a table to ask."""
        for file_id in emulator.ids():
            emulator.remove(file_id)

        scan(PLACE, connect())

        assert read_table(PLACE, "files_history").is_empty()

    @pytest.mark.parametrize("at", [1, 2, 3], ids=["first page", "middle page", "last page"])
    def test_a_scan_that_is_cut_off_retires_nothing(self, at: int, emulator: Emulator, connect: Connect):
        """The files of the pages that did not come are not gone."""
        scan(PLACE, connect())
        before = read_table(PLACE, "files_history").sort("id")
        emulator.remove(emulator.ids()[0])
        emulator.fail(status(403), at=at)

        with pytest.raises(ApiError):
            scan(PLACE, connect())

        assert read_table(PLACE, "files_history").sort("id").equals(before)
        scan(PLACE, connect())
        assert open_ids() == sorted(emulator.ids())

    def test_a_purpose_leaves_the_others_alone(self, emulator: Emulator, connect: Connect):
        """Only rows of that purpose may change, whatever has happened to the rest."""
        emulator.add_many(2, created_at=NOW - 200, purpose="vision")
        scan(PLACE, connect())
        wanted, other = emulator.ids("batch")[0], emulator.ids("vision")[0]
        emulator.remove(wanted)
        emulator.remove(other)
        added = emulator.add(created_at=NOW - 100, purpose="batch")["id"]

        scan(PLACE, connect(), purpose="batch")

        assert other in open_ids()
        assert wanted not in open_ids()
        assert added in open_ids()
        scan(PLACE, connect())
        assert open_ids() == sorted(emulator.ids())

    @pytest.mark.parametrize("purpose", ["it's", 'a"b', "{}", "{0}", "back\\slash", "a' OR '1'='1"])
    def test_a_purpose_is_no_sql(self, purpose: str, emulator: Emulator, connect: Connect):
        """A purpose with any characters limits a scan as any other."""
        emulator.add(created_at=NOW - 100, purpose=purpose)
        scan(PLACE, connect())
        for file_id in emulator.ids():
            emulator.remove(file_id)

        scan(PLACE, connect(), purpose=purpose)

        assert len(open_ids()) == 50

    def test_a_file_that_the_server_gives_twice_has_one_version(
        self, emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ):
        """Pages apart, where no walk can see it."""
        seen: list[pa.Table] = []
        client = connect()
        page = client.page

        def doubled(**asked: Any) -> Page:
            answer = page(**asked)
            seen.append(answer.files)
            again = pa.concat_tables([seen[0].slice(0, 3), answer.files]) if len(seen) == 3 else answer.files
            return replace(answer, files=again.combine_chunks())

        monkeypatch.setattr(client, "page", doubled)

        scan(PLACE, client)

        assert len(seen) > 3
        assert open_ids() == sorted(emulator.ids())

    def test_incremental_runs_and_history_do_not_disturb_each_other(
        self, emulator: Emulator, clock: Clock, connect: Connect
    ):
        """One database holds both tables."""
        sync(PLACE, client=connect())
        scan(PLACE, connect())
        emulator.remove(emulator.ids()[0])
        emulator.add_many(3, created_at=NOW)
        clock.advance(61)
        sync(PLACE, client=connect())
        scan(PLACE, connect())

        assert sync(PLACE, client=connect()).rows == 0
        assert open_ids() == sorted(emulator.ids())
        assert read_table(PLACE).height == 53

    @pytest.mark.parametrize("table", ["files_history", "scans", "files"])
    def test_a_dropped_table_is_made_again(self, table: str, emulator: Emulator, connect: Connect):
        """And the others are left as they are."""
        sync(PLACE, client=connect())
        scan(PLACE, connect())
        with duckdb.connect(PLACE) as database:
            database.execute(f"DROP TABLE openai_files.{table}")

        scan(PLACE, connect())
        sync(PLACE, client=connect())

        assert open_ids() == sorted(emulator.ids())
        assert read_table(PLACE)["id"].sort().to_list() == sorted(emulator.ids())
        assert read_table(PLACE, "scans").height == (2 if table == "scans" else 4)


def test_the_state_at_a_past_time(place: str, emulator: Emulator, connect: Connect):
    """As the account was after each run, whatever came later; on DuckDB from versions, else from snapshots."""
    inventories, moments = [], []
    emulator.populate(30, start=NOW - DAY, end=NOW - 3_600)
    for _ in range(3):
        scan(place, connect())
        moments.append(datetime.now(UTC))
        inventories.append(sorted(emulator.ids()))
        emulator.remove(emulator.ids()[0])
        emulator.add_many(2, created_at=NOW)

    for moment, expected in zip(moments, inventories, strict=True):
        assert sorted(read_inventory(place, at=moment)["id"]) == expected
    assert sorted(read_inventory(place)["id"]) == inventories[-1]


def test_what_happened_between_two_snapshots(place: str, emulator: Emulator, connect: Connect):
    """Created, changed and deleted files."""
    emulator.populate(30, start=NOW - DAY, end=NOW - 3_600)
    scan(place, connect())
    before = read_inventory(place)
    deleted, changed = emulator.ids()[:2]
    emulator.remove(deleted)
    emulator.change(changed, status="error")
    created = emulator.add(created_at=NOW)["id"]
    scan(place, connect())

    found = changes(before, read_inventory(place))

    assert {row["id"]: row["change"] for row in found.to_dicts()} == {
        deleted: "deleted",
        changed: "changed",
        created: "created",
    }
    assert found.filter(pl.col("id") == changed)["changed"].to_list() == [["status"]]


def test_a_snapshot_bears_the_time_of_its_scan(emulator: Emulator, connect: Connect):
    """So that the ledger says whether an account without rows was empty or not listed."""
    emulator.populate(30, start=NOW - DAY, end=NOW - 3_600)
    for _ in range(2):
        scan("lake/", connect())

    snapshots = read_table("lake/", "files_snapshots").group_by("snapshot_at").len().sort("snapshot_at")

    assert snapshots["len"].to_list() == [30, 30]
    assert snapshots["snapshot_at"].to_list() == read_table("lake/", "scans")["started_at"].sort().to_list()


def test_an_emptied_account_has_an_empty_inventory(place: str, emulator: Emulator, connect: Connect):
    """Its last snapshot has no rows, and the one before does not count any more."""
    emulator.populate(3, start=NOW - DAY, end=NOW - 3_600)
    scan(place, connect())
    for file_id in emulator.ids():
        emulator.remove(file_id)

    scan(place, connect())

    assert read_inventory(place).is_empty()


def test_only_the_accounts_that_were_listed_change(place: str, clock: Clock):
    """Of two accounts one fails: its rows stay as they were."""
    first, second = Emulator(clock=clock), Emulator(clock=clock, seed=1)
    with first.serve() as one, second.serve() as two:
        accounts = [Account(name="o'ne", base_url=one.url), Account(name="{two}", base_url=two.url)]
        for emulator in (first, second):
            emulator.populate(30, start=NOW - DAY, end=NOW - 3_600)
        sync(place, accounts=accounts, history=True)
        kept = sorted(second.ids())
        first.remove(first.ids()[0])
        second.remove(second.ids()[0])
        second.fail(status(401), times=None)

        with pytest.raises(SyncedInPart, match=r"1 of 2 accounts failed.*'{two}'.*401"):
            sync(place, accounts=accounts, history=True)

        found = read_inventory(place).group_by("account").agg(pl.col("id").sort())
        assert dict(found.iter_rows()) == {"o'ne": sorted(first.ids()), "{two}": kept}


@pytest.mark.parametrize(
    "options", [{"full_refresh": True}, {"since": datetime(2023, 1, 1, tzinfo=UTC)}], ids=["refresh", "since"]
)
def test_what_a_history_cannot_be_is_refused(options: dict[str, object], connect: Connect):
    """Before anything is asked or written."""
    with pytest.raises(ConfigError, match="history"):
        sync(PLACE, client=connect(), history=True, **options)
    assert not Path(PLACE).exists()
