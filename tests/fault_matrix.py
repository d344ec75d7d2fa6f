"""What becomes of a run, and of what it loads, when one request goes wrong: every fault, case by case."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final
from unittest import mock

import duckdb

from files_source import progress
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.emulator import FAULTS, Clock, Emulator
from files_source.errors import ConfigError, FilesSourceError
from files_source.retries import RetryRules
from files_source.syncing import sync
from files_source.tables import read_inventory, read_table
from tests.conftest import NOW

POSITIONS: Final = {"first page": 1, "middle page": 3, "last page": 5}
MODES: Final = {"incremental": False, "history": True}
PLACES: Final = {"DuckDB": "inventory.duckdb", "Parquet": "lake/"}
TABLES: Final = {
    ("incremental", "DuckDB"): "files",
    ("incremental", "Parquet"): "files",
    ("history", "DuckDB"): "files_history",
    ("history", "Parquet"): "files_snapshots",
}
PAGE: Final = 100
FILES: Final = PAGE * POSITIONS["last page"]

RECOVERED: Final = "recovered"
TOLD: Final = "one clear error, nothing loaded"

PATIENCE: Final = 0.3
"""Seconds for which a run waits for an answer."""
BUDGET: Final = 30.0
"""Seconds that a run may take, but for the waits between retries, on a machine that is busy."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, at a page of the listing, in a first run of a kind, into a kind of place."""

    fault: str
    position: str
    mode: str
    place: str

    def __str__(self) -> str:
        return f"{self.fault}, {self.position}, {self.mode}, {self.place}"


CASES: Final = [Case(*values) for values in product(FAULTS, POSITIONS, MODES, PLACES)]


def sample() -> list[Case]:
    """Return a quarter of the cases in which any two values meet: a Latin square of pages, by mode and place."""
    ways = list(product(MODES, PLACES))
    ways = [ways[0], ways[3], ways[1], ways[2]]  # whichever three follow one another hold both modes and both places
    return [
        Case(fault, position, *ways[(row + column) % len(ways)])
        for row, fault in enumerate(FAULTS)
        for column, position in enumerate(POSITIONS)
    ]


def populated(seed: int = 0) -> Emulator:
    """Return an account of FILES files."""
    emulator = Emulator(clock=Clock(NOW), seed=seed)
    emulator.populate(FILES, start=NOW - 86_400, end=NOW - 3_600)
    return emulator


def outcome(case: Case, folder: Path, *, workers: int = 1) -> str:
    """Meet with a fault below a folder, run again after a failure, and return how it ended.

    With more than one worker another page may meet with it, or none: the ends of a listing may meet before.

    Raises:
        AssertionError: rows are lost, doubled or half loaded, the error is not clear, or it took too long.
    """
    place = f"{folder}/{PLACES[case.place]}"
    emulator = populated()
    living = emulator.ids()
    emulator.fail(FAULTS[case.fault], at=POSITIONS[case.position])
    with emulator.serve() as server, FilesClient(Account(base_url=server.url), timeout=PATIENCE) as client:
        run = partial(sync, place, client=client, history=MODES[case.mode], limit=PAGE, workers=workers)
        error = failure(run)
        if error is None:
            check_held(held(place, case.mode), must=emulator.ids(), may=living)
        else:
            check_told(str(error))
            assert loaded_tables(place) == {"scans"}
            emulator.recover()
            assert failure(run) is None
            check_held(held(place, case.mode), must=emulator.ids(), may=emulator.ids())
        ledger = read_table(place, "scans").sort("started_at")
        assert ledger["error"].to_list() == ([None] if error is None else [str(error), None])
    return RECOVERED if error is None else TOLD


def failure(run: Callable[[], object]) -> FilesSourceError | None:
    """Run in time, two pages handed on at a time and without waits between retries; return the error, if any."""
    began = time.monotonic()
    found: FilesSourceError | None = None
    try:
        with mock.patch.object(RetryRules, "sleep"), mock.patch.object(progress, "BATCH", 2 * PAGE):
            run()
    except FilesSourceError as error:
        found = error
    assert time.monotonic() - began < BUDGET
    return found


def check_told(error: str) -> None:
    """See to it that an error is one line that says what was asked, or what the listing did."""
    assert re.fullmatch(r"(GET http\S+ |the (server|listing) ).{20,}", error), error


def check_held(held: Sequence[str], *, must: Iterable[str], may: Iterable[str]) -> None:
    """See to it that *held* is what it *must* be, each once, and nothing but what it *may* be."""
    assert len(held) == len(set(held))
    assert set(must) <= set(held) <= set(may)


def held_of(place: str, mode: str) -> dict[str, list[str]]:
    """Return the ids that a place holds of each account: of a history, those that are valid."""
    try:
        rows = read_inventory(place) if MODES[mode] else read_table(place)
    except ConfigError:
        return {}
    return dict(rows.group_by("account").agg("id").iter_rows())


def held(place: str, mode: str) -> list[str]:
    """Return the ids that a place holds of its only account."""
    return held_of(place, mode).get("default", [])


def loaded_tables(place: str) -> set[str]:
    """Return the tables of our own that have rows, whether their load was finished or not."""
    with duckdb.connect() as database:
        if place.endswith(".duckdb"):
            database.execute(f"ATTACH '{place}' AS place (READ_ONLY)")
            found = database.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'openai_files'")
            rows = {name: f"place.openai_files.{name}" for (name,) in found.fetchall()}
        else:
            folders = {file.parent for file in Path(place).glob("*/*/*.parquet")}
            rows = {folder.name: f"'{folder}/*.parquet'" for folder in folders}
        ours = {name: source for name, source in rows.items() if not name.startswith("_dlt")}
        return {name for name, source in ours.items() if database.execute(f"FROM {source} LIMIT 1").fetchall()}


def measured() -> dict[Case, str]:
    """Return the outcome of every case; as many run at once as there are processors."""
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / str(number) for number in range(len(CASES))]
        for own in folders:
            own.mkdir()
        settings = {"DLT_DATA_DIR": f"{folder}/dlt", "RUNTIME__DLTHUB_TELEMETRY": "false"}
        with ProcessPoolExecutor(initializer=os.environ.update, initargs=(settings,)) as pool:
            return dict(zip(CASES, pool.map(outcome, CASES, folders), strict=True))


def table(outcomes: Mapping[Case, str]) -> str:
    """Return the outcomes as a table of Markdown.

    Raises:
        AssertionError: a fault's outcome depends on the page, the kind of run or the kind of place.
    """
    ended: dict[str, set[str]] = {}
    for case, how in outcomes.items():
        ended.setdefault(case.fault, set()).add(how)
    assert all(len(hows) == 1 for hows in ended.values()), outcomes
    rows = [
        f"| {', '.join(fault for fault, hows in ended.items() if hows == {how})} | {how} |" for how in (RECOVERED, TOLD)
    ]
    return "\n".join(["| one request meets with | the run |", "|---|---|", *rows]) + "\n"


def shown(readme: str) -> dict[str, str]:
    """Return how each fault ends by the table of a README; nothing where there is none."""
    part = re.search(r"<!-- faults -->\n(.*?)<!-- /faults -->", readme, flags=re.DOTALL)
    rows = re.findall(r"^\| (.*) \| (.*) \|$", part[1], flags=re.MULTILINE)[1:] if part else []
    return {fault: how for faults, how in rows for fault in faults.split(", ")}
