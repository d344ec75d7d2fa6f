"""Whatever becomes of a place, an account or a clock between two runs: no file is missed or doubled in silence."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from filelock import FileLock

import files_source
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.destinations import target
from files_source.emulator import Clock, Emulator, Oddities, status
from files_source.errors import ApiError, ConfigError, LoadError
from files_source.source import openai_files
from files_source.syncing import sync
from tests.conftest import NOW, loaded

Connect = Callable[..., FilesClient]
KILLED = Path(__file__).with_name("killed.py")
YEAR = 365 * 86_400


@pytest.fixture(params=["inventory.duckdb", "lake/"], ids=["duckdb", "parquet"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_public_name_stays_a_function(emulator: Emulator, connect: Connect):
    """`files_source.sync` can be called as often as wanted, whatever was imported before."""
    emulator.add(created_at=NOW - 100)

    for _ in range(2):
        files_source.sync("inventory.duckdb", client=connect())

    assert loaded("inventory.duckdb") == emulator.ids()


@pytest.mark.parametrize("name", ["API_KEY", "BASE_URL", "PURPOSE", "LIMIT", "ACCOUNT", "CLIENT", "CREATED_AT"])
def test_a_variable_of_a_bare_name_is_left_alone(
    name: str, emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    """`API_KEY` and its like may be another program's: they never reach a server, nor change what is loaded."""
    emulator.api_key = "sk-right"
    emulator.populate(50, start=NOW - YEAR, end=NOW - 61)
    monkeypatch.setenv(name, "2023-01-01" if name == "CREATED_AT" else "7")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
    monkeypatch.setenv("OPENAI_BASE_URL", connect().account.base_url)

    sync("inventory.duckdb")

    assert loaded("inventory.duckdb") == sorted(emulator.ids())
    assert set(loaded("inventory.duckdb", "account")) == {"default"}
    assert {request.query["limit"] for request in emulator.requests} == {"10000"}


@pytest.mark.parametrize("name", ["LIMIT", "OVERLAP", "HEADERS", "TIMEOUT", "CREATED_AT__INITIAL_VALUE"])
def test_a_setting_that_cannot_be_read_is_told(name: str, monkeypatch: pytest.MonkeyPatch):
    """The message names the variable."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv(f"SOURCES__OPENAI_FILES__{name}", "many")

    with pytest.raises(ConfigError, match=f"SOURCES__OPENAI_FILES__{name}"):
        openai_files()


def test_a_start_can_be_configured(emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch):
    """`SOURCES__OPENAI_FILES__CREATED_AT__INITIAL_VALUE` leaves older files out."""
    old, new = emulator.add(created_at=NOW - YEAR), emulator.add(created_at=NOW - 100)
    since = datetime.fromtimestamp(NOW - 1_000, UTC).isoformat()
    monkeypatch.setenv("SOURCES__OPENAI_FILES__CREATED_AT__INITIAL_VALUE", since)

    sync("inventory.duckdb", client=connect())

    assert loaded("inventory.duckdb") == [new["id"]] != [old["id"]]


def test_an_empty_purpose_is_refused(connect: Connect):
    """An unset shell variable does not stand for a purpose that no file has."""
    with pytest.raises(ConfigError, match="purpose is empty"):
        openai_files(purpose="", client=connect())
    with pytest.raises(ConfigError, match="purpose is empty"):
        connect().page(purpose="")


class TestOrderIgnored:
    """A server that always lists in descending order must not end a listing early."""

    @pytest.fixture(autouse=True)
    def descending(self, emulator: Emulator) -> None:
        emulator.oddities = Oddities(order_ignored=True)
        emulator.page_cap = 100

    def test_a_burst_on_the_first_page_is_no_proof_of_order(self, emulator: Emulator, clock: Clock, connect: Connect):
        """Files of one second, all of them unsettled, are followed by the settled ones."""
        emulator.populate(1_000, start=NOW - YEAR, end=NOW - 3_600)
        settled = emulator.ids()
        emulator.add_many(150, created_at=NOW)

        sync("lake/", client=connect())
        assert loaded("lake/") == sorted(settled)
        clock.advance(61)
        sync("lake/", client=connect())

        assert loaded("lake/") == sorted(emulator.ids())

    def test_pages_of_one_file(self, emulator: Emulator, connect: Connect):
        """One row proves nothing."""
        emulator.populate(20, start=NOW - YEAR, end=NOW - 3_600)
        settled = emulator.ids()
        emulator.add(created_at=NOW)

        sync("lake/", client=connect(), limit=1)

        assert loaded("lake/") == sorted(settled)

    def test_a_range_before_a_burst(self, emulator: Emulator, connect: Connect):
        """A backfill does not stop at newer files that come first."""
        emulator.populate(500, start=NOW - YEAR, end=NOW - 3_600)
        old = emulator.ids()
        emulator.add_many(150, created_at=NOW - 100)

        sync("inventory.duckdb", client=connect(), until=datetime.fromtimestamp(NOW - 3_000, UTC))

        assert loaded("inventory.duckdb") == sorted(old)

    def test_new_files_after_a_run_that_saw_only_one_second(self, emulator: Emulator, clock: Clock, connect: Connect):
        """Known files of one second prove no order, so the listing after one of them is not believed."""
        emulator.add_many(5, created_at=NOW)
        clock.advance(61)
        sync("inventory.duckdb", client=connect())
        emulator.add_many(5, created_at=NOW + 61)
        clock.advance(61)

        sync("inventory.duckdb", client=connect())

        assert loaded("inventory.duckdb") == sorted(emulator.ids())


class TestAnotherAccount:
    """A name stands for one project's files."""

    def test_another_project_under_the_same_name(self, place: str):
        """A database gets its files too; a folder, where they might stand already, is left as it was."""
        one, two = Emulator(clock=Clock(NOW), seed=1), Emulator(clock=Clock(NOW), seed=2)
        one.populate(300, start=NOW - YEAR, end=NOW - 61)
        two.populate(200, start=NOW - YEAR, end=NOW - 61)
        with one.serve() as server:
            url, port = server.url, int(server.url.split(":")[2].split("/")[0])
            with FilesClient(Account(base_url=url)) as client:
                sync(place, client=client)
        with two.serve(port=port), FilesClient(Account(base_url=url)) as client:
            if place == "lake/":
                with pytest.raises(ConfigError, match="another project"):
                    sync(place, client=client)
                assert loaded(place) == sorted(one.ids())
            else:
                sync(place, client=client)
                assert loaded(place) == sorted([*one.ids(), *two.ids()])

    def test_another_server_under_the_same_name(self, emulator: Emulator, connect: Connect):
        """A folder would double every file: it is refused, and a full refresh takes it."""
        emulator.populate(100, start=NOW - YEAR, end=NOW - 61)
        sync("lake/", client=connect())
        whose = Account(base_url=connect().account.base_url, project="proj_1")

        with FilesClient(whose) as client:
            with pytest.raises(ConfigError, match="--account"):
                sync("lake/", client=client)
            assert loaded("lake/") == sorted(emulator.ids())
            sync("lake/", client=client, full_refresh=True)

        assert loaded("lake/") == sorted(emulator.ids())

    @pytest.mark.parametrize("options", [{"purpose": "batch"}, {"since": datetime(2023, 1, 1, tzinfo=UTC)}, {}])
    def test_a_full_refresh_of_a_part_is_refused(
        self, options: dict[str, object], place: str, emulator: Emulator, connect: Connect
    ):
        """The table is replaced as a whole, so nothing else may stand in it."""
        emulator.populate(100, start=NOW - YEAR, end=NOW - 61)
        sync(place, client=connect())
        url = connect().account.base_url
        name = "default" if options else "other"

        with FilesClient(Account(base_url=url, name=name)) as client, pytest.raises(ConfigError, match="whole table"):
            sync(place, client=client, full_refresh=True, **options)

        assert loaded(place) == sorted(emulator.ids())


def test_a_server_clock_that_is_ahead_settles_nothing_too_early(place: str, emulator: Emulator, connect: Connect):
    """After one answer from the far future, new files still arrive."""
    clock = Clock(int(datetime.now(UTC).timestamp()) - 1_000)
    emulator.clock = Clock(int(clock()) + 10 * YEAR)
    emulator.populate(100, start=int(clock()) - YEAR, end=int(clock()) - 3_600)
    sync(place, client=connect(), overlap=0)
    emulator.clock = clock
    emulator.add_many(7, created_at=int(datetime.now(UTC).timestamp()) + 100)
    emulator.clock = Clock(int(clock()) + 10 * YEAR)

    sync("inventory.duckdb", client=connect())

    assert loaded("inventory.duckdb") == sorted(emulator.ids())


def test_a_table_that_is_gone_is_filled_again(place: str, emulator: Emulator, connect: Connect):
    """A dropped table or removed folder holds nothing, whatever the state beside it says."""
    emulator.populate(300, start=NOW - YEAR, end=NOW - 61)
    sync(place, client=connect())
    if place == "lake/":
        shutil.rmtree("lake/openai_files/files")
    else:
        with duckdb.connect(place) as database:
            database.execute("DROP TABLE openai_files.files")

    sync(place, client=connect())

    assert loaded(place) == sorted(emulator.ids())


class TestDeadRun:
    """A run has died and left packages, and the place has changed since."""

    def die(self, place: str, url: str, moment: str) -> None:
        command = [sys.executable, str(KILLED), moment, "sync", "--to", place]
        died = subprocess.run(command, env=os.environ | {"OPENAI_BASE_URL": url}, check=False, capture_output=True)
        assert died.returncode == -signal.SIGKILL

    @pytest.mark.parametrize("moment", ["commit-1", "end"])
    def test_a_backup_was_restored(
        self, moment: str, place: str, emulator: Emulator, clock: Clock, connect: Connect, tmp_path: Path
    ):
        """What the dead run would add is not all that a restored place lacks."""
        emulator.populate(300, start=NOW - YEAR, end=NOW - 61)
        sync(place, client=connect())
        backup = tmp_path / "backup"
        (shutil.copytree if place == "lake/" else shutil.copy)(place, backup)
        for _ in range(2):
            emulator.add_many(10, created_at=int(clock()))
            clock.advance(61)
            sync(place, client=connect())
        emulator.add_many(10, created_at=int(clock()))
        clock.advance(61)
        self.die(place, connect().account.base_url, moment)
        if place == "lake/":
            shutil.rmtree(place)
        else:
            Path(place).unlink()
            Path(f"{place}.wal").unlink(missing_ok=True)
        (shutil.copytree if place == "lake/" else shutil.copy)(backup, place)

        sync(place, client=connect())

        assert loaded(place) == sorted(emulator.ids())

    @pytest.mark.parametrize("moment", ["commit-1", "end"])
    def test_another_machine_went_on(
        self,
        moment: str,
        place: str,
        emulator: Emulator,
        clock: Clock,
        connect: Connect,
        monkeypatch: pytest.MonkeyPatch,
    ):
        """What the dead run would add stands there already."""
        emulator.populate(300, start=NOW - YEAR, end=NOW - 61)
        sync(place, client=connect())
        emulator.add_many(10, created_at=NOW)
        clock.advance(61)
        complete = set(Path().glob("lake/openai_files/files/*"))
        self.die(place, connect().account.base_url, moment)
        here = os.environ["DLT_DATA_DIR"]
        monkeypatch.setenv("DLT_DATA_DIR", f"{here}-elsewhere")
        for file in set(Path().glob("lake/openai_files/files/*")) - complete:
            file.unlink()  # which the other machine cannot tell from what belongs there
        sync(place, client=connect())
        monkeypatch.setenv("DLT_DATA_DIR", here)
        emulator.add_many(10, created_at=int(clock()))
        clock.advance(61)

        sync(place, client=connect())

        assert loaded(place) == sorted(emulator.ids())


def test_a_second_run_into_a_place_waits_for_no_one(place: str, emulator: Emulator, connect: Connect):
    """While one run goes on, another into the same place fails at once, and changes nothing."""
    emulator.populate(100, start=NOW - YEAR, end=NOW - 61)
    sync(place, client=connect())
    before = loaded(place)

    with FileLock(target(place).working_folder / "lock"), pytest.raises(LoadError, match="another run"):
        sync(place, client=connect())

    assert loaded(place) == before


class TestAfter:
    """`list --after` a file that is gone."""

    def test_an_empty_listing_after_a_file_that_is_gone_is_an_error(self, emulator: Emulator, connect: Connect):
        """It looks like the end, and is not."""
        emulator.oddities = Oddities(vanished_cursor="end")
        emulator.populate(10, start=NOW - YEAR, end=NOW - 61)

        with pytest.raises(ApiError, match="404"):
            list(connect().pages(after="file-gone"))

    def test_an_empty_listing_after_the_last_file_is_the_end(self, emulator: Emulator, connect: Connect):
        """There really is nothing after it."""
        emulator.populate(10, start=NOW - YEAR, end=NOW - 61)

        (page,) = connect().pages(after=emulator.ids()[-1], order="asc")

        assert page.files.num_rows == 0


def test_another_refusal_on_the_way_is_not_taken_for_a_deleted_file(emulator: Emulator, clock: Clock, connect: Connect):
    """A 403 for the listing after a known file, or for that file, ends the run."""
    emulator.populate(100, start=NOW - YEAR, end=NOW - 61)
    sync("lake/", client=connect())
    emulator.fail(status(403), at=1)

    with pytest.raises(ApiError, match="403"):
        sync("lake/", client=connect())

    for file_id in emulator.ids():
        emulator.remove(file_id)
    emulator.recover()
    emulator.fail(status(403), path="/v1/files/*", times=None)
    with pytest.raises(ApiError, match="403"):
        sync("lake/", client=connect())
