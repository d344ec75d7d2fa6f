"""Loading: first loads into DuckDB and Parquet, history, new files on top, and runs that find nothing new."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tests.benchmarks.measuring import Bench, Way
from tests.benchmarks.processes import OURS, program, script

SIZES: Final = (10_000, 100_000, 200_000, 1_000_000, 10_000_000)
SMALL_SIZES: Final = (10_000, 100_000)
ADDED: Final = 1_000

BARE: Final = "bare limit"
CLIENT: Final = "openai client"
REST_API: Final = "dlt rest_api"
ON_EMPTY: Final = "on an empty table"
EMPTY_RUN: Final = "empty dlt run"

DUCKDB: Final = "first load into DuckDB"
PARQUET: Final = "first load into Parquet"
HISTORY: Final = "first history run into DuckDB"
ON_TOP: Final = f"{ADDED:,} new files into DuckDB"
NOTHING: Final = "nothing new"

_BARE: Final = "peers/bare_to_duckdb.py"
_CLIENT: Final = "peers/openai_to_duckdb.py"
_REST_API: Final = "peers/rest_api_to_duckdb.py"
_TABLE: Final = "ATTACH 'inventory.duckdb' AS inventory (READ_ONLY); SELECT count(*) FROM inventory.openai_files.{}"
FILES_LOADED: Final = _TABLE.format("files")
FILES_WRITTEN: Final = "SELECT count(*) FROM 'files.parquet'"
_SYNC: Final = program("sync", "--to", "inventory.duckdb")


def bench(bench: Bench, sizes: Sequence[int], *, slow_up_to: int) -> None:
    """Measure loading accounts of some sizes.

    Args:
        slow_up_to: the most files that the peers are given which make Python objects of them.
    """
    with bench.telling("a first try of all of them"):
        for peer in (_SYNC, *map(script, (_BARE, _CLIENT, _REST_API))):
            bench.ask(peer, files=ADDED)  # so that none has to read its libraries from the disk while it is measured
    for files in sizes:
        ours = Way(name=OURS, command=_SYNC, rows=files, files=files, count=FILES_LOADED)
        bare = replace(ours, name=BARE, command=script(_BARE))
        peers = [
            replace(ours, name=CLIENT, command=script(_CLIENT)),
            replace(ours, name=REST_API, command=script(_REST_API)),
        ]
        bench.compare(DUCKDB, files, [ours, bare, *(peers if files <= slow_up_to else ())])
        bench.compare(PARQUET, files, _parquet(ours))
        history = replace(ours, command=[*_SYNC, "--history"], count=_TABLE.format("files_history"))
        bench.compare(HISTORY, files, [history, bare])
        if not (bench.has(ON_TOP, files) and bench.has(NOTHING, files)):
            with bench.telling(f"a database of {files:,} files"):
                _again(bench, files)


def _parquet(ours: Way) -> list[Way]:
    return [
        replace(
            ours,
            command=program("sync", "--to", "lake/"),
            count="SELECT count(*) FROM 'lake/openai_files/files/*.parquet'",
        ),
        replace(
            ours,
            name=BARE,
            command=script("peers/bare_to_parquet.py"),
            count=FILES_WRITTEN,
        ),
    ]


def _again(bench: Bench, files: int) -> None:
    """Measure runs into a database that has been loaded before."""
    loaded = bench.keep(f"loaded-{files}", _SYNC, files=files)
    empty = bench.keep(f"empty-{files}", _SYNC, files=0)
    nothing = bench.keep(f"nothing-{files}", script("peers/empty_dlt_run.py", "--first"), files=0)
    ours = Way(
        name=OURS,
        command=_SYNC,
        rows=files + ADDED,
        files=files,
        added=ADDED,
        had=files,
        start=loaded,
        count=FILES_LOADED,
    )
    bench.compare(ON_TOP, files, [ours, replace(ours, name=ON_EMPTY, rows=ADDED, files=0, had=0, start=empty)])
    idle = replace(ours, rows=files, added=0)
    dlt_alone = replace(
        idle, name=EMPTY_RUN, command=script("peers/empty_dlt_run.py"), rows=1, files=0, had=1, start=nothing
    )
    bench.compare(NOTHING, files, [idle, dlt_alone])
    for folder in (loaded, empty, nothing):
        shutil.rmtree(folder)
