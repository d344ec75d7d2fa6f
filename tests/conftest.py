from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, settings

from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator
from tests.commands import Ended, run
from tests.engines import (  # noqa: F401 - fixtures
    duck,
    engine,
    mariadb,
    mariadb_server,
    postgres,
    postgres_server,
    sqlite,
)

NOW = 1_700_000_000
"""What the emulator's clock shows when a test begins: 14 November 2023, in Unix seconds, before any real one."""

settings.register_profile(
    "tests", deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", settings.get_profile("tests"), max_examples=600, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "tests"))


@pytest.fixture(autouse=True)
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test its own home, working folder and dlt data, and no key."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "SOURCES__", "DLT_", "DESTINATION__")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def emulator(clock: Clock) -> Emulator:
    return Emulator(clock=clock)


@pytest.fixture
def connect(emulator: Emulator) -> Iterator[Callable[..., FilesClient]]:
    """Connect to the emulator over a real socket, as often as wanted."""
    with emulator.serve() as server, ExitStack() as opened:
        yield lambda **settings: opened.enter_context(FilesClient(Account(base_url=server.url), **settings))


@pytest.fixture
def url(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the emulator over a real socket, where every command looks for it."""
    with emulator.serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server.url


@pytest.fixture
def command(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "CRITICAL")
    return lambda *arguments: run(capsys, *arguments)


@pytest.fixture(params=["inventory.duckdb", "lake/"], ids=["duckdb", "parquet"])
def place(request: pytest.FixtureRequest) -> str:
    """Name a place of each kind, which need not be there."""
    return str(request.param)


def loaded(place: str, column: str = "id") -> list[object]:
    """Return a column of what a database or folder holds, in order, doubles included."""
    if place.endswith(".duckdb"):
        with duckdb.connect(place, read_only=True) as database:
            rows = database.execute(f"SELECT {column} FROM openai_files.files ORDER BY 1").fetchall()
    else:
        rows = duckdb.sql(f"SELECT {column} FROM '{place}openai_files/files/*.parquet' ORDER BY 1").fetchall()
    return [value for (value,) in rows]
