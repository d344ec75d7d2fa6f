"""What dlt's own calls do with the source: nothing is lost, doubled or ignored in silence."""

from __future__ import annotations

import gc
import os
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import dlt
import duckdb
import pyarrow as pa
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from files_source import openai_files, read_files, read_table, sync
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.emulator import ODDITIES, Clock, Emulator
from files_source.errors import ConfigError
from files_source.incremental import Increment
from files_source.ledger import SCANS
from files_source.scan import Scan
from tests.conftest import NOW, loaded

Connect = Callable[..., FilesClient]
Refresh = Literal["drop_data", "drop_resources", "drop_sources"]

DAY = 86_400
MOMENT = datetime.fromtimestamp(NOW, UTC)


def pipeline_into(place: str, name: str = "mine") -> dlt.Pipeline:
    """Make a pipeline as a user of dlt does."""
    destination: Any = dlt.destinations.filesystem(place) if place.endswith("/") else dlt.destinations.duckdb(place)
    return dlt.pipeline(name, destination=destination, dataset_name="openai_files")


def stock(emulator: Emulator, count: int) -> None:
    """Add files, none of which expires, that were created in the week before yesterday."""
    for number in range(count):
        emulator.add(created_at=NOW - 9 * DAY + number * 2_000 // max(count // 300, 1), purpose="user_data")


def ids_in(place: str, table: str = "files") -> list[str]:
    return sorted(read_table(place, table)["id"].to_list())


def ids_of_files(place: str) -> list[str]:
    return sorted(read_files(place)["id"].to_list())


class TestRefresh:
    """A run that drops what its tables hold begins anew, whatever dlt's state says."""

    @pytest.mark.parametrize("refresh", ["drop_data", "drop_resources", "drop_sources"])
    def test_a_refreshing_run_loads_everything(
        self, refresh: Refresh, place: str, emulator: Emulator, connect: Connect
    ):
        emulator.populate(300, start=NOW - 9 * DAY, end=NOW - DAY)
        pipeline_into(place).run(openai_files(client=connect()))

        pipeline_into(place).run(openai_files(client=connect()), refresh=refresh)

        assert ids_in(place) == sorted(emulator.ids())

    def test_the_next_run_goes_on_from_there(self, place: str, emulator: Emulator, clock: Clock, connect: Connect):
        stock(emulator, 300)
        pipeline_into(place).run(openai_files(client=connect()), refresh="drop_data")
        pipeline_into(place).run(openai_files(client=connect()), refresh="drop_data")
        emulator.add_many(5, created_at=NOW, purpose="user_data")
        clock.advance(DAY)
        client = connect(max_retries=0)

        pipeline_into(place).run(openai_files(client=client))

        assert ids_in(place) == sorted(emulator.ids())
        assert client.received < 10_000

    def test_what_a_refresh_has_dropped_is_gone_for_every_pipeline(self, place: str, clock: Clock):
        """A pipeline that has loaded two accounts loads the one again that another's refresh has dropped."""
        emulators = [Emulator(clock=clock, seed=seed) for seed in range(2)]
        with ExitStack() as opened:
            accounts = []
            for name, emulator in zip("ab", emulators, strict=True):
                stock(emulator, 30)
                accounts.append(Account(name=name, base_url=opened.enter_context(emulator.serve()).url))
            pipeline_into(place, "one").run(openai_files(accounts=accounts[:1]))
            pipeline_into(place, "two").run(openai_files(accounts=accounts))
            pipeline_into(place, "one").run(openai_files(accounts=accounts[:1]))
            emulators[0].add(created_at=NOW - 8 * DAY + 1)
            pipeline_into(place, "one").run(openai_files(accounts=accounts[:1]), refresh="drop_data")

            pipeline_into(place, "two").run(openai_files(accounts=accounts))

        assert ids_in(place) == sorted(file_id for emulator in emulators for file_id in emulator.ids())

    def test_a_refresh_that_drops_nothing_doubles_nothing_and_says_so(
        self, place: str, emulator: Emulator, connect: Connect
    ):
        """Only what the same pipeline has loaded is dropped by dlt: `two` finds all of it loaded by `one`."""
        stock(emulator, 30)
        pipeline_into(place, "one").run(openai_files(client=connect()))
        shown = ids_in(place)
        emulator.remove(shown[0])

        pipeline_into(place, "two").run(openai_files(client=connect()), refresh="drop_data")

        assert ids_in(place) == shown
        assert read_table(place, "scans").sort("started_at")["exact"].to_list() == [True, False]

    def test_the_ledger_says_that_a_refresh_has_dropped_nothing(self, emulator: Emulator, connect: Connect):
        """On another machine, dlt knows only the tables that a pipeline has loaded rows into."""
        stock(emulator, 30)
        pipeline_into("lake/", "one").run(openai_files(client=connect()))
        pipeline_into("lake/", "two").run(openai_files(client=connect()))
        shutil.rmtree(os.environ["DLT_DATA_DIR"])

        pipeline_into("lake/", "two").run(openai_files(client=connect()), refresh="drop_data")

        (scan,) = read_table("lake/", "scans").to_dicts()
        assert ids_in("lake/") == sorted(emulator.ids())
        assert scan["note"].startswith("refresh='drop_data' dropped nothing of 'files', of which dlt knows no load by")
        assert not scan["exact"]

    @pytest.mark.parametrize("accounts", [1, 2])
    def test_the_ledger_says_that_the_table_holds_exactly_what_was_listed(
        self, accounts: int, place: str, clock: Clock
    ):
        emulators = [Emulator(clock=clock, seed=seed) for seed in range(accounts)]
        with ExitStack() as opened:
            whose = []
            for number, emulator in enumerate(emulators):
                stock(emulator, 10)
                whose.append(Account(name=str(number), base_url=opened.enter_context(emulator.serve()).url))
            sync(place, accounts=whose)
            sync(place, accounts=whose)
            sync(place, accounts=whose, full_refresh=True)

        scans = read_table(place, "scans").sort("started_at")
        assert [scans.filter(account=str(number))["exact"].to_list() for number in range(accounts)] == [
            [True, False, True]
        ] * accounts

    def test_a_full_refresh_of_an_account_without_files_empties_the_table(
        self, place: str, emulator: Emulator, connect: Connect
    ):
        stock(emulator, 20)
        sync(place, client=connect())
        for file_id in emulator.ids():
            emulator.remove(file_id)

        sync(place, client=connect(), full_refresh=True)

        assert ids_in(place) == ids_of_files(place) == []

    def test_replacing_by_a_write_disposition_is_a_full_refresh(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(50, start=NOW - 9 * DAY, end=NOW - DAY)
        pipeline_into(place).run(openai_files(client=connect()))
        emulator.remove(emulator.ids()[0])

        pipeline_into(place).run(openai_files(client=connect()), write_disposition="replace")
        pipeline_into(place).run(openai_files(client=connect()))

        assert ids_in(place) == sorted(emulator.ids())
        assert "full" in read_table(place, "scans")["mode"].to_list()


class TestRowsThatAreGone:
    """What dlt remembers counts only as far as the rows are there."""

    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM openai_files.files",
            "TRUNCATE openai_files.files",
            "DROP TABLE openai_files.files",
            f"DELETE FROM openai_files.files WHERE created_at > to_timestamp({NOW - 3 * DAY})",
            "DELETE FROM openai_files.files WHERE account = 'default'",
        ],
        ids=["deleted", "truncated", "dropped", "latest days deleted", "account deleted"],
    )
    def test_rows_that_were_deleted_are_loaded_again(self, statement: str, emulator: Emulator, connect: Connect):
        emulator.populate(2_000, start=NOW - 9 * DAY, end=NOW - DAY)
        sync("inventory.duckdb", client=connect())
        with duckdb.connect("inventory.duckdb") as database:
            database.execute(statement)

        sync("inventory.duckdb", client=connect())

        assert loaded("inventory.duckdb") == sorted(emulator.ids())

    def test_files_of_the_last_minutes_are_loaded_again_though_they_have_not_changed(
        self, emulator: Emulator, connect: Connect
    ):
        emulator.populate(20, start=NOW - 9 * DAY, end=NOW - DAY)
        emulator.add_many(5, created_at=NOW - 120)
        sync("inventory.duckdb", client=connect())
        with duckdb.connect("inventory.duckdb") as database:
            database.execute(f"DELETE FROM openai_files.files WHERE created_at > to_timestamp({NOW - 3_000})")

        sync("inventory.duckdb", client=connect())

        assert loaded("inventory.duckdb") == sorted(emulator.ids())

    def test_the_very_last_rows_are_loaded_again(self, emulator: Emulator, connect: Connect):
        """Of the files that are not final some are there still, so that nothing new is listed."""
        stock(emulator, 20)
        for age in (1_200, 600, 100):
            emulator.add(created_at=NOW - age)
        sync("inventory.duckdb", client=connect())
        with duckdb.connect("inventory.duckdb") as database:
            database.execute(f"DELETE FROM openai_files.files WHERE created_at > to_timestamp({NOW - 300})")

        sync("inventory.duckdb", client=connect())

        assert loaded("inventory.duckdb") == sorted(emulator.ids())

    def test_rows_of_a_server_without_an_order_are_loaded_again(self, clock: Clock):
        """Of its listings no known file is remembered, but of one purpose with a single file."""
        emulator = Emulator(clock=clock, oddities=ODDITIES["order ignored"])
        stock(emulator, 20)
        emulator.add(created_at=NOW - 5 * DAY, purpose="vision")
        with emulator.serve() as server, FilesClient(Account(base_url=server.url)) as client:
            sync("inventory.duckdb", client=client, purpose="user_data")
            sync("inventory.duckdb", client=client, purpose="vision")
            with duckdb.connect("inventory.duckdb") as database:
                database.execute("DELETE FROM openai_files.files")

            sync("inventory.duckdb", client=client, purpose="user_data")

        assert loaded("inventory.duckdb") == sorted(emulator.ids(purpose="user_data"))

    def test_what_is_asked_of_the_table_does_not_grow_with_it(
        self, emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ):
        from files_source.table_rows import TableRows  # noqa: PLC0415 - only this test looks at the queries

        asked: list[tuple[str, int]] = []
        fetch = TableRows._fetch

        def counted(self: TableRows, columns: str, rest: str, given: Any = ()) -> Any:
            asked.append((columns, len(given)))
            return fetch(self, columns, rest, given)

        emulator.populate(20_000, start=NOW - 900 * DAY, end=NOW - DAY)
        sync("inventory.duckdb", client=connect())
        monkeypatch.setattr(TableRows, "_fetch", counted)

        sync("inventory.duckdb", client=connect())

        assert len(asked) == 1
        assert asked[0][1] < 64


class TestLateFiles:
    """A file that shows up after its time is loaded, once, as long as nothing newer is final."""

    @pytest.mark.parametrize("age", [120, 600, 1_800, 7_200, DAY])
    def test_a_file_that_shows_up_late_is_loaded_once(
        self, age: int, place: str, emulator: Emulator, clock: Clock, connect: Connect
    ):
        emulator.populate(100, start=NOW - 9 * DAY, end=NOW - 2 * DAY)
        sync(place, client=connect())
        emulator.add_many(3, created_at=NOW - age)

        sync(place, client=connect())
        clock.advance(30)
        sync(place, client=connect())
        clock.advance(DAY)
        sync(place, client=connect())

        assert loaded(place) == sorted(emulator.ids())

    def test_a_late_file_of_the_newest_known_second_is_loaded_once(
        self, place: str, emulator: Emulator, connect: Connect
    ):
        emulator.populate(20, start=NOW - 9 * DAY, end=NOW - 2 * DAY)
        emulator.add_many(3, created_at=NOW - DAY)
        sync(place, client=connect())
        emulator.add_many(3, created_at=NOW - DAY)

        sync(place, client=connect())
        sync(place, client=connect())

        assert loaded(place) == sorted(emulator.ids())

    def test_the_first_file_of_an_empty_account_may_be_late(self, place: str, emulator: Emulator, connect: Connect):
        sync(place, client=connect())
        emulator.add(created_at=NOW - 7_200)

        sync(place, client=connect())
        sync(place, client=connect())

        assert loaded(place) == sorted(emulator.ids())

    def test_a_database_goes_back_an_hour(self, emulator: Emulator, clock: Clock, connect: Connect):
        """A newer file that is known does not hide one that is late by less."""
        emulator.populate(100, start=NOW - 9 * DAY, end=NOW - DAY)
        emulator.add_many(3, created_at=NOW - 90)
        sync("inventory.duckdb", client=connect())
        emulator.add(created_at=NOW - 3_000)
        clock.advance(600)

        sync("inventory.duckdb", client=connect())

        assert loaded("inventory.duckdb") == sorted(emulator.ids())

    def test_files_of_the_last_hour_are_loaded_again_only_if_something_changed(
        self, emulator: Emulator, connect: Connect
    ):
        emulator.populate(20, start=NOW - 9 * DAY, end=NOW - DAY)
        late = [emulator.add(created_at=NOW - 90 + second)["id"] for second in range(3)]
        sync("inventory.duckdb", client=connect())

        again = sync("inventory.duckdb", client=connect())
        emulator.change(late[0], status="error")
        changed = sync("inventory.duckdb", client=connect())

        assert (again.rows, changed.rows) == (0, 3)
        assert read_table("inventory.duckdb").filter(id=late[0])["status"].to_list() == ["error"]

    def test_a_file_that_changes_back_is_loaded_again(self, emulator: Emulator, connect: Connect):
        """Another listing has loaded the change meanwhile."""
        file_id = str(emulator.add(created_at=NOW - 90, purpose="batch", status="processed")["id"])
        statuses = []
        for purpose, status in ((None, "processed"), ("batch", "error"), (None, "processed")):
            emulator.change(file_id, status=status)
            sync("inventory.duckdb", client=connect(), purpose=purpose)
            statuses.append(read_table("inventory.duckdb")["status"].to_list())

        assert statuses == [["processed"], ["error"], ["processed"]]

    def test_a_history_tells_how_many_files_the_increments_missed(
        self, place: str, emulator: Emulator, clock: Clock, connect: Connect
    ):
        emulator.populate(100, start=NOW - 9 * DAY, end=NOW - DAY)
        sync(place, client=connect())
        emulator.add_many(4, created_at=NOW - 5 * DAY)
        clock.advance(DAY)
        sync(place, client=connect())

        first = sync(place, client=connect(), history=True)

        assert first.missed == 4
        assert read_table(place, "scans").filter(mode="history")["missed"].to_list() == [4]
        assert sorted(read_files(place)["id"]) == sorted(emulator.ids())

    def test_a_history_without_increments_tells_nothing_of_them(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(10, start=NOW - 9 * DAY, end=NOW - DAY)

        done = sync(place, client=connect(), history=True)

        assert done.missed is None

    def test_older_files_that_nobody_asked_for_are_not_missed(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(100, start=NOW - 9 * DAY, end=NOW - DAY)
        sync(place, client=connect(), since=MOMENT - timedelta(days=3))

        done = sync(place, client=connect(), history=True)

        assert done.missed == 0


class TestStoppedEarly:
    """`add_limit` stops a run; the next one goes on where it stopped."""

    def limited(self, client: FilesClient, items: int | None = 1, **limits: Any) -> Any:
        source = openai_files(client=client, limit=1_000)
        source.resources["files"].add_limit(items, **limits)
        return source

    @pytest.fixture(autouse=True)
    def small_batches(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("files_source.progress.BATCH", 1_000)

    def test_a_whole_run_after_a_limited_one_doubles_nothing(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(6_000, start=NOW - 9 * DAY, end=NOW - DAY)
        pipeline_into(place).run(self.limited(connect()))
        first = ids_in(place)

        pipeline_into(place).run(openai_files(client=connect(), limit=1_000))

        assert 0 < len(first) < 2_000
        assert ids_in(place) == sorted(emulator.ids())

    def test_a_limit_on_another_thread_doubles_nothing(self, place: str, emulator: Emulator, connect: Connect):
        """Dlt may fail to stop what is under way there, which loads nothing; the next run is exact in any case."""
        emulator.populate(6_000, start=NOW - 9 * DAY, end=NOW - DAY)
        source = self.limited(connect())
        source.resources["files"].parallelize()
        with suppress(PipelineStepFailed):
            pipeline_into(place).run(source)

        pipeline_into(place).run(openai_files(client=connect(), limit=1_000))

        assert ids_in(place) == sorted(emulator.ids())

    def test_limited_runs_get_to_the_end(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(5_000, start=NOW - 9 * DAY, end=NOW - DAY)

        for _ in range(7):
            pipeline_into(place).run(self.limited(connect()))

        assert ids_in(place) == sorted(emulator.ids())

    @pytest.mark.parametrize(
        "limits", [{"items": 0}, {"items": None, "max_time": 1e-9}, {"items": 1, "count_rows": True}]
    )
    def test_every_kind_of_limit_keeps_the_state_right(
        self, limits: dict[str, Any], place: str, emulator: Emulator, connect: Connect
    ):
        emulator.populate(4_000, start=NOW - 9 * DAY, end=NOW - DAY)
        pipeline_into(place).run(self.limited(connect(), **limits))

        pipeline_into(place).run(openai_files(client=connect(), limit=1_000))

        assert ids_in(place) == sorted(emulator.ids())

    def test_a_limit_in_the_middle_of_one_second(self, place: str, emulator: Emulator, connect: Connect):
        """A bulk upload is loaded whole or not at all, so that the next run can tell what is left."""
        emulator.add_many(500, created_at=NOW - 2 * DAY)
        emulator.add_many(3_500, created_at=NOW - DAY)
        emulator.add_many(500, created_at=NOW - DAY + 1)

        for _ in range(3):
            pipeline_into(place).run(self.limited(connect()))
        pipeline_into(place).run(openai_files(client=connect()))

        assert ids_in(place) == sorted(emulator.ids())

    def test_the_ledger_says_that_a_run_was_stopped(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(6_000, start=NOW - 9 * DAY, end=NOW - DAY)

        pipeline_into(place).run(self.limited(connect()))

        (scan,) = read_table(place, "scans").to_dicts()
        assert scan["rows"] == len(ids_in(place))
        assert not scan["complete"]
        assert scan["error"] == "stopped before the end of the listing"
        assert scan["watermark"] is None

    def test_what_a_limited_run_has_loaded_after_a_history_is_read(
        self, place: str, emulator: Emulator, clock: Clock, connect: Connect
    ):
        stock(emulator, 10)
        sync(place, client=connect(), history=True)
        sync(place, client=connect())
        sync(place, client=connect(), history=True)
        emulator.populate(4_000, start=NOW + DAY, end=NOW + 2 * DAY)
        clock.advance(3 * DAY)

        pipeline_into(place).run(self.limited(connect()))

        assert len(ids_in(place)) > 1_000
        assert sorted(read_files(place)["id"]) == ids_in(place)

    def test_limited_runs_of_several_accounts_get_to_the_end(self, place: str, clock: Clock):
        """Accounts that are listed and not taken leave nothing open, and nothing in the state."""
        emulators = [Emulator(clock=clock, seed=seed) for seed in range(3)]
        with ExitStack() as opened:
            accounts = []
            for number, emulator in enumerate(emulators):
                emulator.populate(1_500, start=NOW - 9 * DAY, end=NOW - DAY)
                accounts.append(Account(name=str(number), base_url=opened.enter_context(emulator.serve()).url))
            for _ in range(8):
                source = openai_files(accounts=accounts, limit=1_000)
                source.resources["files"].add_limit(1)
                pipeline_into(place).run(source)
                gc.collect()

        assert ids_in(place) == sorted(file_id for emulator in emulators for file_id in emulator.ids())

    def test_a_limited_run_forgets_what_it_held_of_files_that_are_all_gone(self, emulator: Emulator, connect: Connect):
        """None of the known files is there: the rest is loaded from the oldest on, and the next run goes on there."""
        stock(emulator, 30)
        pipeline_into("inventory.duckdb").run(openai_files(client=connect()))
        for file_id in emulator.ids():
            emulator.remove(file_id)
        emulator.populate(3_500, start=NOW - 90 * DAY, end=NOW - 60 * DAY)

        for _ in range(5):
            pipeline_into("inventory.duckdb").run(self.limited(connect()))

        assert set(emulator.ids()) <= set(ids_in("inventory.duckdb"))

    def test_a_history_is_never_limited(self, emulator: Emulator, connect: Connect):
        """What it did not see would be retired."""
        emulator.populate(6_000, start=NOW - 9 * DAY, end=NOW - DAY)
        source = openai_files(client=connect(), history=True)
        source.resources["files_history"].add_limit(1)

        with pytest.raises(Exception, match="leave out add_limit") as failed:
            pipeline_into("inventory.duckdb").run(source)

        assert isinstance(failed.value.__cause__.__cause__ or failed.value.__cause__, Exception)


class TestNames:
    """Rows are known by the table that they are in, whatever the source, resource or pipeline is called."""

    def test_a_clone_under_another_name_doubles_nothing(
        self, place: str, emulator: Emulator, clock: Clock, connect: Connect
    ):
        stock(emulator, 300)
        pipeline = pipeline_into(place)
        for name in ("openai_files", "other", "other", "openai_files", "other"):
            emulator.add(created_at=int(clock()), purpose="user_data")
            clock.advance(DAY)
            pipeline.run(openai_files(client=connect()).clone(with_name=name))

        assert ids_in(place) == sorted(emulator.ids())

    def test_another_pipeline_into_the_same_place_doubles_nothing(
        self, place: str, emulator: Emulator, clock: Clock, connect: Connect
    ):
        stock(emulator, 300)
        for name in ("one", "two", "one", "two"):
            emulator.add(created_at=int(clock()), purpose="user_data")
            clock.advance(DAY)
            pipeline_into(place, name).run(openai_files(client=connect()))

        assert ids_in(place) == sorted(emulator.ids())

    def test_a_renamed_table_is_loaded_once(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(300, start=NOW - 9 * DAY, end=NOW - DAY)
        client = connect()
        for _ in range(2):
            before = client.received
            source = openai_files(client=client)
            source.resources["files"].apply_hints(table_name="stock")
            pipeline_into(place).run(source)

        assert ids_in(place, "stock") == sorted(emulator.ids())
        assert client.received - before < 10_000


class TestSettingsOfTheCursor:
    """Each of dlt's settings of a cursor counts, or is refused."""

    def created(self, emulator: Emulator, *seconds: int) -> list[str]:
        return [str(emulator.add(created_at=NOW - DAY + second)["id"]) for second in seconds]

    def at(self, second: int) -> datetime:
        return MOMENT - timedelta(days=1) + timedelta(seconds=second)

    def test_open_and_closed_ranges(self, place: str, emulator: Emulator, connect: Connect):
        ids = self.created(emulator, 0, 1, 2, 3)
        cursor = dlt.sources.incremental(
            initial_value=self.at(0), end_value=self.at(2), range_start="open", range_end="closed"
        )

        pipeline_into(place).run(openai_files(cursor, client=connect()))

        assert ids_in(place) == sorted(ids[1:3])

    def test_lag_is_the_overlap(self, emulator: Emulator, connect: Connect):
        self.created(emulator, 0)
        emulator.add(created_at=NOW - 7_000)
        pipeline_into("inventory.duckdb").run(openai_files(dlt.sources.incremental(lag=7_200), client=connect()))
        emulator.add(created_at=NOW - 7_100)

        pipeline_into("inventory.duckdb").run(openai_files(dlt.sources.incremental(lag=7_200), client=connect()))

        assert ids_in("inventory.duckdb") == sorted(emulator.ids())

    @pytest.mark.parametrize("cursor", [{"cursor_path": "expires_at"}, {"last_value_func": min}, {"lag": -1.0}])
    def test_what_cannot_be_done_is_refused(self, cursor: dict[str, Any], emulator: Emulator, connect: Connect):
        self.created(emulator, 0)

        with pytest.raises(Exception, match=r"created_at|lag is") as failed:
            pipeline_into("inventory.duckdb").run(openai_files(dlt.sources.incremental(**cursor), client=connect()))

        assert Counter(type(cause) for cause in causes(failed.value))[ConfigError]

    @pytest.mark.parametrize("row_order", ["asc", "desc"])
    def test_a_row_order_never_ends_a_listing_early(
        self, row_order: Any, place: str, emulator: Emulator, clock: Clock, connect: Connect
    ):
        stock(emulator, 300)
        for _ in range(2):
            emulator.add(created_at=int(clock()), purpose="user_data")
            clock.advance(DAY)
            cursor = dlt.sources.incremental(row_order=row_order)
            pipeline_into(place).run(openai_files(cursor, client=connect(), limit=10))

        assert ids_in(place) == sorted(emulator.ids())

    def test_an_interval_in_the_environment_needs_no_switch(
        self, place: str, emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ):
        ids = self.created(emulator, 0, 1, 2, 3)
        monkeypatch.setenv("DLT_INTERVAL_START", self.at(1).isoformat())
        monkeypatch.setenv("DLT_INTERVAL_END", self.at(3).isoformat())

        pipeline_into(place).run(openai_files(client=connect()))

        assert ids_in(place) == sorted(ids[1:3])

    def test_half_an_interval_is_refused(self, connect: Connect, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("DLT_INTERVAL_START", self.at(1).isoformat())

        with pytest.raises(ConfigError, match="DLT_INTERVAL_START is set alone"):
            openai_files(client=connect())

    def test_an_empty_interval_lists_nothing_and_says_so(self, place: str, emulator: Emulator, connect: Connect):
        self.created(emulator, 0)
        client = connect()
        cursor = dlt.sources.incremental(initial_value=self.at(0), end_value=self.at(0))

        pipeline_into(place).run(openai_files(cursor, client=client))

        (scan,) = read_table(place, "scans").to_dicts()
        assert client.requests == 0
        assert scan["note"].startswith("nothing was listed: the time range is empty, from 2023-11-13T")
        assert scan["complete"]

    def test_a_filter_of_rows_is_refused(self, place: str, emulator: Emulator, connect: Connect):
        self.created(emulator, 0)
        source = openai_files(client=connect())
        source.resources["files"].add_filter(lambda row: row["purpose"] == "batch")

        with pytest.raises(Exception, match="add_filter cannot be used on 'files'"):
            pipeline_into(place).run(source)


class TestWithoutAPipeline:
    """Looking at the source needs no destination."""

    @pytest.mark.parametrize("history", [False, True])
    def test_a_list_of_the_source_is_every_file_and_the_ledger(
        self, history: bool, emulator: Emulator, connect: Connect
    ):
        emulator.populate(30, start=NOW - 9 * DAY, end=NOW)

        for _ in range(2):
            *files, scans = list(openai_files(client=connect(), history=history))

            assert sorted(pa.concat_tables(files).column("id").to_pylist()) == sorted(emulator.ids())
            assert scans.column("rows").to_pylist() == [30]

    def test_a_pipeline_that_has_run_changes_nothing_of_that(self, emulator: Emulator, connect: Connect):
        emulator.populate(30, start=NOW - 9 * DAY, end=NOW - DAY)
        pipeline_into("inventory.duckdb").run(openai_files(client=connect()))

        (files,) = list(openai_files(client=connect()).resources["files"])

        assert sorted(files.column("id").to_pylist()) == sorted(emulator.ids())


class TestTheLedgerOfEveryRun:
    """Each run that began has its row in `scans`, however dlt runs it."""

    def test_a_parallel_run(self, place: str, emulator: Emulator, connect: Connect):
        emulator.populate(30, start=NOW - 9 * DAY, end=NOW - DAY)
        source = openai_files(client=connect())
        source.resources["files"].parallelize()

        pipeline_into(place).run(source)

        assert read_table(place, "scans")["rows"].to_list() == [30]
        assert ids_in(place) == sorted(emulator.ids())

    def test_a_source_that_runs_twice(self, place: str, emulator: Emulator, clock: Clock, connect: Connect):
        emulator.populate(30, start=NOW - 9 * DAY, end=NOW - DAY)
        source, pipeline = openai_files(client=connect()), pipeline_into(place)
        pipeline.run(source)
        emulator.add(created_at=NOW)
        clock.advance(DAY)

        pipeline.run(openai_files(client=connect()))

        assert sorted(read_table(place, "scans")["rows"]) == [1, 30]

    @pytest.mark.parametrize("history", [False, True])
    def test_files_alone(self, history: bool, place: str, emulator: Emulator, connect: Connect):
        """As Airflow decomposes a source: each resource in a run of its own."""
        emulator.populate(30, start=NOW - 9 * DAY, end=NOW - DAY)
        for name in ("files_history" if history else "files", "scans"):
            pipeline_into(place).run(openai_files(client=connect(), history=history).with_resources(name))

        scans = read_table(place, "scans")
        assert scans["rows"].to_list() == [30]
        assert sorted(scans.columns) == sorted(SCANS.names)

    @pytest.mark.parametrize("history", [False, True])
    @pytest.mark.parametrize("step", ["extract", "normalize", "load"])
    def test_an_interrupted_run(self, step: str, history: bool, place: str, emulator: Emulator, connect: Connect):
        """Its row says that nothing of it is loaded, and the next run loads everything."""
        emulator.populate(30, start=NOW - 9 * DAY, end=NOW - DAY)
        sync(place, client=connect(), purpose="vision")
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, step)
            with pytest.raises(KeyboardInterrupt):
                sync(place, client=connect(), history=history)
        (_, interrupted) = read_table(place, "scans").sort("started_at").to_dicts()

        sync(place, client=connect(), history=history)

        assert (interrupted["rows"], interrupted["complete"], interrupted["watermark"]) == (0, False, None)
        assert "interrupted" in interrupted["error"] or "stopped" in interrupted["error"]
        assert sorted(read_files(place)["id"]) == sorted(emulator.ids())

    def test_accounts_that_nobody_waited_for(self, place: str, emulator: Emulator, url: str):
        """An account whose listing goes on when the run is interrupted has its row, too."""
        emulator.populate(30, start=NOW - 9 * DAY, end=NOW - DAY)
        accounts = [Account(name=name, base_url=url) for name in ("a", "b", "c")]

        with pytest.raises(KeyboardInterrupt):
            sync(place, accounts=accounts, workers=1, limit=10, on_page=stop_at(pages=4))

        scans = read_table(place, "scans")
        assert scans["account"].to_list()
        assert not scans["complete"].any()
        assert scans["rows"].sum() == 0


def interrupt(patch: pytest.MonkeyPatch, step: str) -> None:
    """Let Ctrl-C be pressed in a step of the next run: while files are listed, or when another step begins."""
    if step == "extract":
        patch.setattr(Increment, "_counted", raise_interrupt)
        patch.setattr(Scan, "_counted", raise_interrupt)
        return
    pressed, function = iter([True]), getattr(dlt.Pipeline, step)

    def pressing(self: dlt.Pipeline, *arguments: Any, **named: Any) -> Any:
        if next(pressed, False):
            raise KeyboardInterrupt
        return function(self, *arguments, **named)

    patch.setattr(dlt.Pipeline, step, pressing)


def raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def stop_at(*, pages: int) -> Callable[[int, int], None]:
    def on_page(read: int, _: int) -> None:
        if read >= pages:
            raise KeyboardInterrupt

    return on_page


def causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
