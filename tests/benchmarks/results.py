"""What was measured: comparisons of several ways to do one thing, each taken in turn with the others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from statistics import median
from typing import Final, Literal, Self

import msgspec

PACKAGES: Final = ("dlt", "duckdb", "pyarrow", "polars", "httpx", "openai")

Figure = Literal["seconds", "peak"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One go.

    Attributes:
        way: what was tried.
        seconds: wall time.
        rows: files that came in.
        peak: the most memory that its process held, in bytes; 0 where that was not measured.
        requests: answers of the server.
        received: bytes of their bodies.
    """

    way: str
    seconds: float
    rows: int
    peak: int = 0
    requests: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure that was taken several times."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> Self:
        taken = list(figures)
        return cls(median(taken), min(taken), max(taken))


@dataclass(frozen=True, slots=True)
class Machine:
    """What the measuring was done with."""

    cores: int
    python: str
    versions: dict[str, str]

    @classmethod
    def here(cls) -> Self:
        return cls(len(os.sched_getaffinity(0)), python_version(), {name: version(name) for name in PACKAGES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One thing, done in several ways, again and again in turn.

    Attributes:
        subject: what was done.
        files: how many files the account had.
        run: when the run that measured it began.
        samples: in the order in which they were taken.
    """

    subject: str
    files: int
    run: str
    machine: Machine
    samples: list[Sample] = field(default_factory=list)

    @property
    def ways(self) -> list[str]:
        return list(dict.fromkeys(sample.way for sample in self.samples))

    def of(self, way: str) -> list[Sample]:
        """Return what was measured of one way, in order."""
        return [sample for sample in self.samples if sample.way == way]

    def figure(self, way: str, name: Figure = "seconds") -> Spread:
        """Return a figure of one way."""
        return Spread.of(getattr(sample, name) for sample in self.of(way))

    def pace(self, way: str) -> float:
        """Return how many files a second one way took in."""
        return self.of(way)[-1].rows / self.figure(way).median

    def ratio(self, way: str, to: str, name: Figure = "seconds") -> Spread:
        """Return a figure of one way as a multiple of another's, round by round."""
        pairs = zip(self.of(way), self.of(to), strict=True)
        return Spread.of(getattr(one, name) / getattr(other, name) for one, other in pairs)


class Results:
    """The latest comparison of each subject and size, in a file with a line for each.

    Args:
        path: the file; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_bytes().splitlines() if path.exists() else []
        read = [msgspec.json.decode(line, type=Comparison) for line in lines]
        self._comparisons = {(one.subject, one.files): one for one in read}

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self._comparisons.values())

    def find(self, subject: str, files: int) -> Comparison | None:
        return self._comparisons.get((subject, files))

    def at(self, subject: str, files: int) -> Comparison:
        """Return a comparison.

        Raises:
            KeyError: it was not made.
        """
        return self._comparisons[subject, files]

    def sizes(self, subject: str) -> list[int]:
        """Return the sizes at which it was measured, ascending."""
        return sorted(files for name, files in self._comparisons if name == subject)

    @property
    def last_run(self) -> str | None:
        return max((one.run for one in self), default=None)

    def put(self, comparison: Comparison) -> None:
        """Keep a comparison in place of an earlier one, and write the file so that an interruption leaves it whole."""
        self._comparisons[comparison.subject, comparison.files] = comparison
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in self))
        unfinished.replace(self._path)
