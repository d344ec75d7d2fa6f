"""What the benchmarks are to show, each as a line that says whether they do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from tests.benchmarks import bench_frames as frames
from tests.benchmarks import bench_load as load
from tests.benchmarks import bench_scan as scan
from tests.benchmarks.processes import OURS
from tests.benchmarks.results import Figure, Results

MILLION: Final = 1_000_000


class Measured(Protocol):
    """Something that was measured at several sizes."""

    def sizes(self, results: Results) -> list[int]: ...

    def value(self, results: Results, files: int) -> float: ...


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure of one way as a multiple of another's, the median of its rounds."""

    subject: str
    way: str
    to: str
    figure: Figure = "seconds"

    def sizes(self, results: Results) -> list[int]:
        found = ((files, results.find(self.subject, files)) for files in results.sizes(self.subject))
        return [files for files, one in found if one is not None and {self.way, self.to} <= set(one.ways)]

    def value(self, results: Results, files: int) -> float:
        return results.at(self.subject, files).ratio(self.way, self.to, self.figure).median


@dataclass(frozen=True, slots=True)
class Peak:
    """The memory of a first load into DuckDB, in MB."""

    def sizes(self, results: Results) -> list[int]:
        return results.sizes(load.DUCKDB)

    def value(self, results: Results, files: int) -> float:
        return results.at(load.DUCKDB, files).figure(OURS, "peak").median / 1e6


@dataclass(frozen=True, slots=True)
class Pace:
    """How many files a second a first load into DuckDB takes in, as a share of that at a tenth of the size."""

    def sizes(self, results: Results) -> list[int]:
        sizes = results.sizes(load.DUCKDB)
        return [files for files in sizes if files > MILLION and files // 10 in sizes]

    def value(self, results: Results, files: int) -> float:
        tenth, whole = (results.at(load.DUCKDB, size).pace(OURS) for size in (files // 10, files))
        return whole / tenth


@dataclass(frozen=True, slots=True)
class Target:
    """A promise.

    Attributes:
        files: the size of the account that it is about.
        text: what is promised, with a place for the figure.
        measured: where that comes from.
    """

    files: int
    text: str
    measured: Measured
    at_most: float | None = None
    at_least: float | None = None

    def line(self, results: Results) -> str:
        """Say what was measured at that size, or at the largest below, which is no verdict."""
        sizes = [files for files in self.measured.sizes(results) if files <= self.files]
        if not sizes:
            return f"-    {self.files:,} files, {self.text.format('?')} ({self._bound()}): not measured"
        files = max(sizes)
        value = self.measured.value(results, files)
        shown = f"{files:,} files, {self.text.format(f'{value:,.2f}' if value < 10 else f'{value:,.0f}')}"
        if files != self.files:
            return f"-    {shown} ({self._bound()}, at {self.files:,} files)"
        return f"{'pass' if self.is_met(value) else 'FAIL'} {shown} ({self._bound()})"

    def is_met(self, value: float) -> bool:
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    def _bound(self) -> str:
        return f"at least {self.at_least:g}" if self.at_most is None else f"at most {self.at_most:g}"


_FASTER: Final = "times as fast as"

TARGETS: Final = (
    Target(MILLION, "into DuckDB: {} x the bare limit's time", Ratio(load.DUCKDB, OURS, load.BARE), at_most=1.2),
    Target(MILLION, "into Parquet: {} x the bare limit's time", Ratio(load.PARQUET, OURS, load.BARE), at_most=1.0),
    Target(
        200_000, f"into DuckDB: {{}} {_FASTER} dlt's rest_api", Ratio(load.DUCKDB, load.REST_API, OURS), at_least=35
    ),
    Target(
        200_000, f"into DuckDB: {{}} {_FASTER} the openai client", Ratio(load.DUCKDB, load.CLIENT, OURS), at_least=10
    ),
    Target(
        200_000,
        "into DuckDB: {} x the memory of dlt's rest_api",
        Ratio(load.DUCKDB, OURS, load.REST_API, "peak"),
        at_most=0.1,
    ),
    Target(
        MILLION,
        f"{load.ADDED:,} more on top: {{}} x the time that they take on an empty table",
        Ratio(load.ON_TOP, OURS, load.ON_EMPTY),
        at_most=1.3,
    ),
    Target(
        MILLION,
        f"scanned again at 200 ms a page by {scan.WORKERS} workers: {{}} {_FASTER} on one chain",
        Ratio(scan.subject(200), scan.ONE_CHAIN, scan.AGAIN),
        at_least=6,
    ),
    Target(
        MILLION,
        f"scanned for the first time at 200 ms a page by {scan.WORKERS} workers: {{}} {_FASTER} on one chain",
        Ratio(scan.subject(200), scan.ONE_CHAIN, scan.FIRST),
        at_least=1.8,
    ),
    Target(
        MILLION,
        "as a frame: {} x the time to fetch and decode them",
        Ratio(frames.SUBJECT, frames.OURS, frames.BARE),
        at_most=1.5,
    ),
    Target(10 * MILLION, "into DuckDB: {} x the files a second of a tenth of the size", Pace(), at_least=0.85),
    Target(10 * MILLION, "into DuckDB: {} MB at the peak", Peak(), at_most=500),
    Target(MILLION, "into DuckDB: {} MB at the peak", Peak(), at_most=500),
    Target(
        MILLION,
        "nothing new: {} x the time of an empty dlt run",
        Ratio(load.NOTHING, OURS, load.EMPTY_RUN),
        at_most=1.2,
    ),
)


def lines(results: Results) -> Iterator[str]:
    """Yield a line for each target."""
    for target in TARGETS:
        yield target.line(results)
