"""A complete scan: on one chain, the first from both ends, and again from remembered borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tests.benchmarks.measuring import Bench, Way
from tests.benchmarks.processes import script

SIZES: Final = (1_000_000,)
SMALL_SIZES: Final = (200_000,)
LATENCIES: Final = (0, 50, 200)
"""Milliseconds that each page takes."""
WORKERS: Final = 8

ONE_CHAIN: Final = "one chain"
FIRST: Final = f"first by {WORKERS} workers"
AGAIN: Final = f"again by {WORKERS} workers"


def subject(latency: int) -> str:
    """Return what a scan is called where each page takes so many milliseconds."""
    return f"complete scan, {latency} ms a page"


def bench(bench: Bench, sizes: Sequence[int]) -> None:
    """Measure scans of accounts of some sizes."""
    for files in sizes:
        if all(bench.has(subject(latency), files) for latency in LATENCIES):
            continue
        with bench.telling(f"scans of {files:,} files"):
            ways = _ways(bench, files)
            for latency in LATENCIES:
                late = [replace(way, latency=latency / 1_000) for way in ways]
                bench.compare(subject(latency), files, late)


def _ways(bench: Bench, files: int) -> list[Way]:
    one = Way(name=ONE_CHAIN, command=script("scanning.py"), rows=files, files=files)
    command = script("scanning.py", "--workers", str(WORKERS), "--borders", "borders.json")
    borders = bench.keep(f"borders-{files}", command, files=files)
    return [one, replace(one, name=FIRST, command=command), replace(one, name=AGAIN, command=command, start=borders)]
