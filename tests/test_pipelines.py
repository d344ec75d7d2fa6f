from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from files_source.emulator import Emulator
from tests.conftest import NOW, loaded

PIPELINES = Path(__file__).parent.parent / "pipelines"
PLACES = {"files_to_duckdb": "inventory.duckdb", "files_to_parquet": "lake/"}


@pytest.fixture(params=PLACES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_pipeline_is_tested():
    """A new one needs its place here."""
    assert {script.stem for script in PIPELINES.glob("*.py")} == set(PLACES)


def test_a_demo_loads_everything_once(name: str):
    """Without a key, as a program of its own; run again it finds nothing new."""
    for _ in range(2):
        assert "1 load package(s) were loaded" in program(name, "--demo")

    assert len(loaded(PLACES[name])) == len(set(loaded(PLACES[name]))) == 2_000


def test_the_account_of_the_environment_is_loaded(name: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch):
    """With the official clients' variables, and nothing else to set."""
    emulator.api_key = "sk-right"
    emulator.populate(300, start=NOW - 86_400, end=NOW - 61)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
    monkeypatch.setattr("sys.argv", [name])

    with emulator.serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        runpy.run_path(str(PIPELINES / f"{name}.py"), run_name="__main__")

    assert loaded(PLACES[name]) == sorted(emulator.ids())


def program(name: str, *arguments: str) -> str:
    """Run a pipeline as a user would, and return what it says."""
    script = [sys.executable, str(PIPELINES / f"{name}.py"), *arguments]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
