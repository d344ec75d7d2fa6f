"""Run the benchmarks: `make bench`, `make bench-small`, or with PARTS, SIZES and RESUME for some of them."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks import bench_decode, bench_frames, bench_load, bench_scan, report, targets
from tests.benchmarks.measuring import Bench
from tests.benchmarks.results import Results
from tests.benchmarks.server import ROOT, serving

PARTS: Final = ("decode", "scan", "frames", "load")
PAGE: Final = 10_000
RESULTS: Final = "speed.jsonl"

_PUBLISHED: Final = ROOT / ".readme"
_TRIED: Final = ROOT / ".cache" / "bench-small"
_README: Final = ROOT / "README.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results down; return 1 if something could not be measured."""
    asked = _parser().parse_args(arguments)
    folder = _TRIED if asked.small else _PUBLISHED
    if asked.small and not asked.resume:
        (folder / RESULTS).unlink(missing_ok=True)
    results = Results(folder / RESULTS)
    run = (asked.resume and results.last_run) or datetime.now(UTC).isoformat(timespec="seconds")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        failures = _measure(asked, results, run)
    except KeyboardInterrupt:
        print("\ninterrupted: what was measured is kept; go on with RESUME=1", file=sys.stderr)
        return 130
    _write(results, folder)
    print("\n" + "\n".join([*targets.lines(results), "", *failures]), flush=True)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--small", action="store_true", help="in less than two minutes, and not into the README")
    parser.add_argument("--sizes", nargs="+", type=_size, help="files of the accounts")
    parser.add_argument("--rounds", type=int, help="how often all is measured; 10 million files only once")
    parser.add_argument("--resume", action="store_true", help="leave out what the last run has measured already")
    return parser


def _size(text: str) -> int:
    """Read a size; whole blocks are what files can be added to."""
    size = int(text)
    if size < PAGE or size % PAGE:
        raise argparse.ArgumentTypeError(f"{text} is not a multiple of {PAGE}")
    return size


def _measure(asked: argparse.Namespace, results: Results, run: str) -> list[str]:
    with serving() as server, TemporaryDirectory(prefix="benchmarks-") as folder:
        bench = Bench(server, Path(folder), results, run=run, rounds=asked.rounds or (1 if asked.small else 3))
        if "decode" in asked.parts:
            bench_decode.bench(bench)
        if "scan" in asked.parts:
            sizes = bench_scan.SMALL_SIZES if asked.small else bench_scan.SIZES
            bench_scan.bench(bench, asked.sizes or sizes)
        if "frames" in asked.parts:
            sizes = bench_frames.SMALL_SIZES if asked.small else bench_frames.SIZES
            bench_frames.bench(bench, asked.sizes or sizes)
        if "load" in asked.parts:
            sizes = bench_load.SMALL_SIZES if asked.small else bench_load.SIZES
            bench_load.bench(bench, asked.sizes or sizes, slow_up_to=10_000 if asked.small else 200_000)
        return bench.failures


def _write(results: Results, folder: Path) -> None:
    """Write the tables and the picture; the README gets its own where the results are those it shows."""
    from tests.benchmarks import chart  # noqa: PLC0415 - who measures has to stay small

    if not list(results):
        return
    (folder / report.FULL_NAME).write_text(report.full(results))
    if results.sizes(bench_load.DUCKDB):
        (folder / report.CHART_NAME).write_text(chart.drawn(results))
    if folder == _PUBLISHED:
        part = re.compile(r"(<!-- speed -->\n).*?(<!-- /speed -->)", re.DOTALL)
        _README.write_text(part.sub(lambda found: found[1] + report.short(results) + found[2], _README.read_text()))


if __name__ == "__main__":
    sys.exit(main())
