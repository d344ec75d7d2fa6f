"""Settings of dlt that other pipelines need, set for all of them: ours load every file once and are read back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import dlt
import duckdb
import polars as pl
import pytest
from dlt.common.destination import Destination
from dlt.common.destination.utils import resolve_replace_strategy

from files_source.client import FilesClient
from files_source.destinations import target
from files_source.emulator import Clock, Emulator
from files_source.errors import ConfigError
from files_source.inventories import stored
from files_source.shield import PIPELINE, shielded
from files_source.source import openai_files
from files_source.strategies import merge_strategies
from files_source.syncing import sync
from files_source.tables import read_inventory, read_table
from tests.conftest import NOW

Connect = Callable[..., FilesClient]
Settings = Mapping[str, str]

_NORMALIZER: Final = "NORMALIZE__PARQUET_NORMALIZER__"
_LAYOUT: Final = "DESTINATION__FILESYSTEM__LAYOUT"
MONTH: Final = 30 * 86_400

UPPER: Final = """
from dlt.common.normalizers.naming.sql_cs_v1 import NamingConvention as SqlNaming

class NamingConvention(SqlNaming):
    def normalize_identifier(self, identifier):
        return super().normalize_identifier(identifier).upper()
"""

SETTINGS: Final[dict[str, Settings]] = {
    "ids of loads": {f"{_NORMALIZER}ADD_DLT_LOAD_ID": "true"},
    "ids of loads and rows": {
        f"{_NORMALIZER}ADD_DLT_LOAD_ID": "true",
        f"{_NORMALIZER}ADD_DLT_ID": "true",
        "NORMALIZE__JSON_NORMALIZER__ADD_DLT_ID": "false",
        _LAYOUT: "{table_name}/{file_id}.{ext}",
    },
    "what is followed": {
        "DATASET_NAME": "mine",
        "PIPELINES__OPENAI_FILES__DATASET_NAME": "mine",
        "DESTINATION__STAGING_DATASET_NAME_LAYOUT": "shared",
        "LOAD__TRUNCATE_STAGING_DATASET": "true",
        "LOAD__DELETE_COMPLETED_JOBS": "true",
        _LAYOUT: "{table_name}/{YYYY}-{MM}/{load_id}.{file_id}.{ext}",
        "DATA_WRITER__FILE_MAX_ITEMS": "7",
        "DATA_WRITER__BUFFER_MAX_ITEMS": "7",
        "DESTINATION__REPLACE_STRATEGY": "staging-optimized",
        "DESTINATION__CREATE_INDEXES": "true",
        "SOURCES__SCHEMA_CONTRACT": "freeze",
        "SCHEMA_CONTRACT": "freeze",
    },
    "what is hidden": {
        "SCHEMA__NAMING": "capitals",
        "DATASET_NAME_LAYOUT": "dev_%s",
        "DEV_MODE": "true",
        "REFRESH": "drop_sources",
        "RESTORE_FROM_DESTINATION": "false",
        "STAGING_TYPE": "filesystem",
        "DESTINATION__FILESYSTEM__BUCKET_URL": "staged",
        _LAYOUT: "{table_name}_{load_id}.{file_id}.{ext}",
        "DATA_WRITER__FLAVOR": "spark",
        "DATA_WRITER__COERCE_TIMESTAMPS": "ms",
        "LOAD__RAISE_ON_FAILED_JOBS": "false",
    },
}
"""What people set for all of their pipelines."""

WARNED: Final = {"SCHEMA__NAMING": "capitals", "DATASET_NAME_LAYOUT": "dev_%s", "DEV_MODE": "true"}
"""Some that a run must say that it does not follow."""


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Settings | None], None]:
    """Set these settings, and these only, of those that the tests know."""
    (tmp_path / "capitals.py").write_text(UPPER)
    monkeypatch.syspath_prepend(tmp_path)
    known = {name for settings in [*SETTINGS.values(), WARNED] for name in settings}

    def switched(settings: Settings | None) -> None:
        for name in known:
            monkeypatch.delenv(name, raising=False)
        for name, value in (settings or {}).items():
            monkeypatch.setenv(name, value)

    return switched


@pytest.fixture
def account(emulator: Emulator) -> Emulator:
    emulator.populate(40, start=NOW - MONTH, end=NOW - 61)
    return emulator


@pytest.fixture
def warnings_of_dlt(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = logging.getLogger("dlt")
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.WARNING, logger="dlt")  # another test may have silenced it
    yield caplog
    logger.removeHandler(caplog.handler)


def grow(emulator: Emulator, clock: Clock) -> None:
    """Add files, and let them settle."""
    emulator.add_many(3, created_at=int(clock()))
    clock.advance(61)


def ids(place: str) -> list[str]:
    return sorted(read_table(place)["id"].to_list())


@pytest.mark.parametrize("asked", SETTINGS)
@pytest.mark.parametrize("first", [True, False], ids=["before the first load", "after it"])
def test_every_file_is_loaded_once_and_read_back(
    asked: str, first: bool, place: str, account: Emulator, clock: Clock, connect: Connect, switch: Callable[..., None]
):
    """Switched on or off between two loads, it neither blocks the next one nor costs or doubles a file."""
    on = SETTINGS[asked]
    switch(on if first else None)
    sync(place, client=connect())
    grow(account, clock)

    switch(None if first else on)
    sync(place, client=connect())

    assert ids(place) == sorted(account.ids())
    assert stored(place).files.height == len(account.ids())
    assert read_table(place, "scans").height == 2


@pytest.mark.parametrize("asked", ["ids of loads and rows", "what is followed"])
def test_histories_and_full_refreshes_go_on(
    asked: str, place: str, account: Emulator, clock: Clock, connect: Connect, switch: Callable[..., None]
):
    """The other kinds of run are as exact, with the setting and without it in turn."""
    for settings in (None, SETTINGS[asked]):
        switch(settings)
        grow(account, clock)
        account.remove(account.ids()[0])
        sync(place, client=connect(), history=True)
        sync(place, client=connect(), full_refresh=True)

        assert ids(place) == sorted(read_inventory(place)["id"].to_list()) == sorted(account.ids())


@pytest.mark.parametrize(("name", "value"), WARNED.items(), ids=WARNED)
def test_a_setting_that_is_not_followed_is_told_once(
    name: str, value: str, connect: Connect, switch: Callable[..., None], warnings_of_dlt: pytest.LogCaptureFixture
):
    """One line names it; nothing is said where nothing is set."""
    sync("inventory.duckdb", client=connect())
    assert warnings_of_dlt.messages == []
    switch({name: value})

    sync("inventory.duckdb", client=connect())

    (message,) = warnings_of_dlt.messages
    assert message.startswith(f"{name} is left to other pipelines")


def test_ids_of_loads_are_written_from_when_they_are_asked_for(
    account: Emulator, clock: Clock, connect: Connect, switch: Callable[..., None]
):
    """The rows before are null; once the column is there, each later row has its load."""
    sync("inventory.duckdb", client=connect())
    before = set(account.ids())
    for settings in (SETTINGS["ids of loads"], None):
        switch(settings)
        grow(account, clock)
        sync("inventory.duckdb", client=connect())

    with duckdb.connect("inventory.duckdb", read_only=True) as database:
        without = database.execute("SELECT id FROM openai_files.files WHERE _dlt_load_id IS NULL").fetchall()
        unknown = database.execute(
            "SELECT id FROM openai_files.files WHERE _dlt_load_id NOT IN (SELECT load_id FROM openai_files._dlt_loads)"
        ).fetchall()
    assert {file_id for (file_id,) in without} == before
    assert unknown == []


def test_a_table_whose_ids_may_not_be_null_is_loaded_into(
    account: Emulator, clock: Clock, connect: Connect, switch: Callable[..., None]
):
    """Tables that earlier versions made have the column NOT NULL; it is filled although nothing asks for it."""
    switch(SETTINGS["ids of loads"])
    sync("inventory.duckdb", client=connect())
    with duckdb.connect("inventory.duckdb") as database:
        database.execute("ALTER TABLE openai_files.files ALTER _dlt_load_id SET NOT NULL")
    grow(account, clock)

    switch(None)
    sync("inventory.duckdb", client=connect())

    assert ids("inventory.duckdb") == sorted(account.ids())


class TestPipelinesOfOthers:
    """`dlt.pipeline(...).run(openai_files())`: its settings are its owner's, and the source goes along with them."""

    def run(self, place: str, **settings: Any) -> None:
        destination = dlt.destinations.filesystem(place) if place.endswith("/") else dlt.destinations.duckdb(place)
        pipeline = dlt.pipeline("mine", destination=destination, dataset_name="openai_files")
        pipeline.run(openai_files(**settings))

    @pytest.mark.parametrize("asked", ["ids of loads", "what is followed"])
    @pytest.mark.parametrize("first", [True, False], ids=["before the first load", "after it"])
    def test_every_file_is_loaded_once(
        self,
        asked: str,
        first: bool,
        place: str,
        account: Emulator,
        clock: Clock,
        connect: Connect,
        switch: Callable[..., None],
    ):
        """Switched on or off, it neither blocks the next run nor costs or doubles a file."""
        switch(SETTINGS[asked] if first else None)
        self.run(place, client=connect())
        grow(account, clock)

        switch(None if first else SETTINGS[asked])
        self.run(place, client=connect())

        assert ids(place) == sorted(account.ids())

    def test_ids_of_rows_that_a_table_cannot_get_are_refused(self, connect: Connect, switch: Callable[..., None]):
        """The message says what to set for this pipeline alone, and that cures it."""
        self.run("inventory.duckdb", client=connect())
        switch({f"{_NORMALIZER}ADD_DLT_ID": "true"})

        with pytest.raises(Exception, match=f"MINE__{_NORMALIZER}ADD_DLT_ID=false"):
            self.run("inventory.duckdb", client=connect())

    def test_what_is_hidden_from_ours_is_theirs_meanwhile(self, switch: Callable[..., None]):
        """While a run of ours goes on, another pipeline of the same program finds its settings."""
        switch({"DATASET_NAME_LAYOUT": "dev_%s"})

        with shielded():
            theirs = dlt.pipeline("theirs", destination="duckdb", dataset_name="other")
            ours = dlt.pipeline(PIPELINE, destination="duckdb", dataset_name="other")

        after = dlt.pipeline(PIPELINE, destination="duckdb", dataset_name="other")
        assert (theirs.dataset_name, ours.dataset_name, after.dataset_name) == ("dev_other", "other", "dev_other")


class TestDestinations:
    """Every name that dlt has."""

    NAMES: Final = sorted(set(dlt.destinations.__all__) - {"destination"})

    @pytest.mark.parametrize("name", NAMES)
    def test_the_replace_strategy_is_one_that_the_destination_has(self, name: str):
        """A full refresh asks for no more than it can do to a plain table."""
        destination = target(name).destination

        capabilities = destination.capabilities()
        chosen = destination.config_params.get("replace_strategy")
        if capabilities.supported_replace_strategies is None:
            assert chosen is None
        else:
            table: Any = {"name": "files", "columns": {}}
            assert resolve_replace_strategy(table, chosen, capabilities) == chosen is not None

    @pytest.mark.parametrize(("name", "merges"), [("duckdb", True), ("athena", False), ("filesystem", False)])
    def test_a_destination_merges_only_where_its_plain_tables_can(self, name: str, merges: bool):
        """What it can do to tables of another format does not count."""
        assert bool(merge_strategies(Destination.from_reference(name))) == merges

    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("filesystem", {"DESTINATION__FILESYSTEM__BUCKET_URL": "bucket"}),
            (
                "my_lake",
                {"DESTINATION__MY_LAKE__DESTINATION_TYPE": "filesystem", "DESTINATION__MY_LAKE__BUCKET_URL": "bucket"},
            ),
            (
                "my_base",
                {
                    "DESTINATION__MY_BASE__DESTINATION_TYPE": "duckdb",
                    "DESTINATION__MY_BASE__CREDENTIALS": "duckdb:///base.duckdb",
                },
            ),
        ],
        ids=["filesystem", "a lake by a name of its own", "a database by a name of its own"],
    )
    def test_a_configured_place_takes_every_kind_of_run(
        self,
        name: str,
        settings: Settings,
        account: Emulator,
        clock: Clock,
        connect: Connect,
        monkeypatch: pytest.MonkeyPatch,
    ):
        """Loaded, refreshed and read back by its name."""
        for variable, value in settings.items():
            monkeypatch.setenv(variable, value)
        sync(name, client=connect())
        grow(account, clock)
        account.remove(account.ids()[0])

        sync(name, client=connect(), full_refresh=True)
        sync(name, client=connect(), history=True)

        assert ids(name) == sorted(read_inventory(name)["id"].to_list()) == sorted(account.ids())

    def test_a_type_that_is_not_there_is_named(self, monkeypatch: pytest.MonkeyPatch):
        """The message says which variable to correct."""
        monkeypatch.setenv("DESTINATION__MINE__DESTINATION_TYPE", "postgress")

        with pytest.raises(ConfigError, match=r"'postgress'.*DESTINATION__MINE__DESTINATION_TYPE"):
            target("mine")

    def test_a_warehouse_keeps_its_staging(self, monkeypatch: pytest.MonkeyPatch):
        """Where a destination loads from files elsewhere, what is configured is used; a database has no need of it."""
        monkeypatch.setenv("STAGING_TYPE", "filesystem")
        monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", "s3://bucket")

        assert target("redshift").staging is not None
        assert target("duckdb").staging is None


class TestReadingBack:
    """Folders and databases that pipelines of others have written with settings of their own."""

    @pytest.mark.parametrize("layout", ["{table_name}_{load_id}.{file_id}.{ext}", "{table_name}/{file_id}.{ext}"])
    def test_files_that_cannot_be_told_apart_are_refused(
        self, layout: str, emulator: Emulator, connect: Connect, switch: Callable[..., None]
    ):
        """They are never left out in silence: the message names one of them, and the setting."""
        emulator.populate(40, start=NOW - MONTH, end=NOW - 61)
        TestPipelinesOfOthers().run("lake/", client=connect())
        switch({_LAYOUT: layout})
        TestPipelinesOfOthers().run("lake/", client=connect(), full_refresh=True)

        with pytest.raises(ConfigError, match="DESTINATION__FILESYSTEM__LAYOUT"):
            read_table("lake/")

    def test_times_of_another_flavour_are_read_as_utc(
        self, account: Emulator, clock: Clock, connect: Connect, switch: Callable[..., None]
    ):
        """Spark's files beside dlt's own make one table."""
        switch({"DATA_WRITER__FLAVOR": "spark"})
        TestPipelinesOfOthers().run("lake/", client=connect())
        switch(None)
        grow(account, clock)
        TestPipelinesOfOthers().run("lake/", client=connect())

        assert ids("lake/") == sorted(account.ids())
        assert read_table("lake/").schema["created_at"] == pl.Datetime("us", "UTC")

    def test_names_in_capitals_are_read(self, account: Emulator, connect: Connect, switch: Callable[..., None]):
        """DuckDB finds tables whatever their case; their columns are named as everywhere."""
        switch({"SCHEMA__NAMING": "capitals"})
        TestPipelinesOfOthers().run("inventory.duckdb", client=connect())

        assert ids("inventory.duckdb") == sorted(account.ids())
