"""What was measured, as tables: all of it, and what the README shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from tests.benchmarks import bench_decode as decode
from tests.benchmarks import bench_frames as frames
from tests.benchmarks import bench_load as load
from tests.benchmarks import bench_scan as scan
from tests.benchmarks import targets
from tests.benchmarks.results import Comparison, Results, Spread

FULL_NAME: Final = "speed.md"
CHART_NAME: Final = "speed.svg"

_LOADS: Final = (load.DUCKDB, load.PARQUET, load.HISTORY, load.ON_TOP, load.NOTHING)
_ORDER: Final = (*_LOADS, *map(scan.subject, scan.LATENCIES), frames.SUBJECT, decode.SUBJECT)
_FIGURES: Final = ("files/s", "received", "peak memory")
_NUMBERS: Final = ("files", "time", "requests", *_FIGURES)
_ROW: Final = "| {} |"


def full(results: Results) -> str:
    """Return everything that was measured, as a document of its own, with a verdict on each target."""
    parts = [
        "# Speed",
        how(results),
        _table(
            ["what", "files", "way", "time", "in multiples of the first's", "requests", *_FIGURES],
            (row for one in _in_order(results) for row in _ways(one)),
        ),
        "## Targets",
        "```text\n" + "\n".join(targets.lines(results)) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def short(results: Results) -> str:
    """Return what the README shows: first loads of every size, and of all else the largest up to a million."""
    shown = [
        one
        for one in _in_order(results)
        if one.subject == load.DUCKDB or one.files == _largest(results.sizes(one.subject))
    ]
    table = _table(
        ["what", "files", "time", *_FIGURES, "others, in multiples of that time"],
        map(_line, shown),
    )
    picture = f"![Time and pace of loading into DuckDB, beside the peers](.readme/{CHART_NAME})"
    again = (
        "Measure again with `make bench`, which takes an hour, or less of it in two minutes with `make bench-small`."
    )
    link = f"All of it, with every way and its spread: [{FULL_NAME}](.readme/{FULL_NAME})."
    return f"{picture}\n\n{table}\n\n{how(results)} {link} {again}\n"


def how(results: Results) -> str:
    """Return how it was measured: the command, the machine, the versions."""
    newest = max(results, key=lambda one: one.run)
    versions = ", ".join(f"{name} {version}" for name, version in newest.machine.versions.items())
    rounds = sorted({len(one.of(one.ways[0])) for one in results})
    often = str(rounds[0]) if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]}"
    return (
        f"Measured with `make bench` ({newest.run[:10]}): {newest.machine.cores} cores, Python "
        f"{newest.machine.python}, {versions}. Loads are whole processes from start to end, the server is "
        f"another one on the same machine; all ways are taken in turn (rounds: {often}), ratios within one. Medians."
    )


def _largest(sizes: list[int]) -> int:
    return max((size for size in sizes if size <= targets.MILLION), default=sizes[0])


def _in_order(results: Results) -> list[Comparison]:
    return sorted(results, key=lambda one: (_ORDER.index(one.subject), one.files))


def _ways(one: Comparison) -> Iterator[list[str]]:
    """Yield a row for each way of a comparison."""
    first = one.ways[0]
    for way in one.ways:
        named = [one.subject, f"{one.files:,}"] if way == first else ["", ""]
        ratio = _spread(one.ratio(way, first), _multiple) if way != first else ""
        requests = one.of(way)[-1].requests
        yield [
            *named,
            way,
            _spread(one.figure(way), _time),
            ratio,
            f"{requests:,}" if requests else "",
            *_figures(one, way),
        ]


def _line(one: Comparison) -> list[str]:
    """Return a comparison in one row."""
    first = one.ways[0]
    others = ", ".join(f"{way} {_multiple(one.ratio(way, first).median)}" for way in one.ways[1:])
    return [one.subject, f"{one.files:,}", _time(one.figure(first).median), *_figures(one, first), others]


def _figures(one: Comparison, way: str) -> list[str]:
    """Return files a second, bytes received and peak memory, as far as they mean anything."""
    pace = one.pace(way)
    return [f"{pace:,.0f}" if pace else "", _size(one.of(way)[-1].received), _size(one.figure(way, "peak").median)]


def _table(names: list[str], rows: Iterable[list[str]]) -> str:
    form = ["---:" if name in _NUMBERS else "---" for name in names]
    return "\n".join(_ROW.format(" | ".join(row)) for row in [names, form, *rows])


def _spread(spread: Spread, shown: Callable[[float], str]) -> str:
    if spread.least == spread.most:
        return shown(spread.median)
    return f"{shown(spread.median)} ({shown(spread.least)} to {shown(spread.most)})"


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _multiple(ratio: float) -> str:
    return f"{ratio:.2f} x" if ratio < 10 else f"{ratio:.0f} x"


def _size(size: float) -> str:
    if not size:
        return ""
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"
