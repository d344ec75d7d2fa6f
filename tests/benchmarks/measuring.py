"""Doing one thing in several ways, in turn, each as a process of its own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.processes import Ended, environment, run
from tests.benchmarks.results import Comparison, Machine, Results, Sample
from tests.benchmarks.server import Server

_ONCE: Final = 5_000_000
"""Accounts of so many files are read once."""
_COUNT: Final = "import duckdb, sys; print(duckdb.execute(sys.argv[1]).fetchone()[0])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to do something.

    Attributes:
        name: how it is called in the results.
        command: what is run, in a folder of its own. It may print a JSON object with `seconds` and `rows`, which
            then count instead of its whole time and *count*.
        rows: how many files that must come to.
        had: how many of them *start* holds already.
        files: how many files the account has.
        added: how many it has since it was loaded into *start*.
        latency: seconds that each of the server's answers takes.
        start: what the folder is a copy of; None for an empty one.
        count: SQL for DuckDB that counts the files that were loaded.
    """

    name: str
    command: Sequence[str]
    rows: int
    had: int = 0
    files: int
    added: int = 0
    latency: float = 0.0
    start: Path | None = None
    count: str | None = None


class Bench:
    """What every benchmark is handed: a server, a place to work, and where the results go.

    Args:
        run: when it began; what this run has measured already is not measured again.
        rounds: how often everything is done.

    Attributes:
        failures: what could not be measured, and why.
    """

    def __init__(self, server: Server, folder: Path, results: Results, *, run: str, rounds: int) -> None:
        self.failures: list[str] = []
        self.rounds = rounds
        self._server, self._folder, self._results, self._run = server, folder, results, run
        self._work = folder / "work"

    def has(self, subject: str, files: int) -> bool:
        """Tell whether this run has measured it."""
        found = self._results.find(subject, files)
        return found is not None and found.run == self._run

    def compare(self, subject: str, files: int, ways: Sequence[Way]) -> None:
        """Measure some ways in turn, round by round, and keep the result."""
        rounds = 1 if files >= _ONCE else self.rounds
        self.record(subject, files, lambda: [self._measured(way) for _ in range(rounds) for way in ways])

    def record(self, subject: str, files: int, measure: Callable[[], list[Sample]]) -> None:
        """Keep what is measured."""
        if self.has(subject, files):
            return
        what = f"{subject}, {files:,} files"
        print(what, flush=True)
        with self.telling(what):
            comparison = Comparison(
                subject=subject, files=files, run=self._run, machine=Machine.here(), samples=measure()
            )
            self._results.put(comparison)

    @contextmanager
    def telling(self, what: str) -> Iterator[None]:
        """Tell of a failure, and leave the rest alone."""
        try:
            yield
        except RuntimeError as failed:
            self.failures.append(f"{what}: {failed}")
            print(f"  failed: {failed}", file=sys.stderr, flush=True)

    def keep(self, name: str, command: Sequence[str], *, files: int) -> Path:
        """Run a command on an account, unmeasured, and return a folder that is as it left it.

        Raises:
            RuntimeError: it failed.
        """
        self.ask(command, files=files)
        return Path(shutil.move(self._work, self._folder / name))

    def ask(self, command: Sequence[str], *, files: int = 0) -> str:
        """Run a command in an empty folder, unmeasured, and return what it prints.

        Raises:
            RuntimeError: it failed.
        """
        self._server.serve(files=files)
        self._lay_out(None)
        return self._run_there(command).printed

    def _measured(self, way: Way) -> Sample:
        self._server.serve(files=way.files, added=way.added, latency=way.latency)
        self._lay_out(way.start)
        ended = self._run_there(way.command)
        traffic = self._server.traffic()
        told = json.loads(ended.printed) if way.count is None else {}
        seconds = told.get("seconds", ended.seconds)
        rows = self._counted(way.count) if way.count is not None else told["rows"]
        if rows != way.rows:
            raise RuntimeError(f"{way.name} came to {rows:,} files, not to {way.rows:,}")
        print(f"  {way.name:30}{seconds:9.2f} s{ended.peak / 1e6:9,.0f} MB", flush=True)
        return Sample(
            way=way.name,
            seconds=seconds,
            rows=rows - way.had,
            peak=ended.peak,
            requests=traffic.requests,
            received=traffic.sent,
        )

    def _counted(self, query: str) -> int:
        return int(self._run_there([sys.executable, "-c", _COUNT, query]).printed)

    def _run_there(self, command: Sequence[str]) -> Ended:
        """Run a command where all of them run: dlt knows what it did before by the path."""
        return run(command, folder=self._work, environment=environment(self._server.url, self._work))

    def _lay_out(self, start: Path | None) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        if start is None:
            self._work.mkdir()
        else:
            shutil.copytree(start, self._work)
