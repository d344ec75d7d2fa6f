"""Any sequence of what files, servers, clocks, places and runs may go through: the tables are what they should be.

The world is an emulator for each account, and one clock. The model is what a place held after each run, and which files
a run could have seen; from these follows, file by file, what it may hold after the next one.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import dlt
import pytest
from dlt.common.storages.load_package import PackageStorage
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.load.load import Load
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from files_source import retries, syncing
from files_source.accounts import Account
from files_source.emulator import (
    FAULTS,
    ODDITIES,
    Clock,
    Emulator,
    Fault,
    File,
    Oddities,
    captive_portal,
    cut,
    status,
)
from files_source.emulator.delivery import Delivery
from files_source.emulator.faults import Call
from files_source.errors import AccountsError, ConfigError, FilesSourceError, LoadError
from files_source.frames import read_files
from files_source.schema import FILES
from files_source.syncing import SyncedInPart, sync
from files_source.tables import read_inventory, read_table
from tests.conftest import NOW
from tests.killed import FORKS, _before, _count_operations, _dies
from tests.test_faults import HOPELESS

STEPS = int(os.environ.get("MODEL_STEPS", "60"))
"""Steps for each seed; `make model` sets more."""
SEED = int(os.environ.get("MODEL_SEED", "0"))
"""The first seed: fixed, so that a change is not blamed for what another seed finds; `make model` explores."""
SEEDS = int(os.environ.get("MODEL_SEEDS", "1"))
LENGTH = 50 if STEPS >= 500 else 30
"""Steps until the world is made anew."""

DATABASE, LAKE = "inventory.duckdb", "lake/"
NAMES = ("default", "it's {one}", "ü")
PURPOSES = ("batch", "vision", "user_data")
SERVERS = {"as documented": Oddities()} | {name: ODDITIES[name] for name in sorted(ODDITIES.keys() - HOPELESS)}
OUTAGES: dict[str, Fault] = {"401": status(401), "500": status(500), "cut": cut(), "portal": captive_portal()}
TROUBLE = sorted(FAULTS.keys() - {"hang"})
"""Faults of a run; one that hangs would only cost time."""
MOMENTS: dict[str, tuple[type, str, int]] = {
    "extracted": (dlt.Pipeline, "normalize", 1),
    "normalized": (dlt.Pipeline, "load", 1),
    "first commit": (PackageStorage, "save_pending_transition", 1),
    "second commit": (PackageStorage, "save_pending_transition", 2),
    "third commit": (PackageStorage, "save_pending_transition", 3),
    "loaded": (Load, "complete_package", 1),
    "state written": (FilesystemClient, "_store_load", 1),
}
"""Moments at which a run is killed, by what it would have done next, and for the how manieth time."""
OPERATIONS = {DATABASE: 800, LAKE: 500}
"""About as many file operations as a run has."""
PLACES = st.sampled_from([DATABASE, LAKE])
NUMBERS = st.sets(st.integers(0, 2), min_size=1)
SOME_PURPOSE = st.sampled_from([None, None, None, "batch", "vision"])
LIMITS = st.sampled_from([10_000, 7, 3, 2])
KILLS = st.sampled_from(sorted(MOMENTS)) | st.integers(1, 1_000)

REFUSED = 3
"""Exit status of a run whose listing failed before it could be killed."""
OK = 200
DAY = 86_400

Mode = Literal["incremental", "full", "history"]
Row = tuple[Any, ...]
"""A file's values, in the order of FILES."""
Key = tuple[str, str]
"""Account and id."""
ID, CREATED_AT, PURPOSE = (FILES.names.index(name) for name in ("id", "created_at", "purpose"))

TALLY = Counter[str]()

FORKS.set_forkserver_preload(
    [
        "tests.test_model",
        "files_source.cli",
        "pyarrow.parquet",
        "httpcore",
        "dlt.destinations.impl.duckdb.duck",
        "dlt.sources.helpers.requests",
    ]
)


@pytest.mark.timeout(120 + STEPS * 10)
@pytest.mark.parametrize("number", range(SEED, SEED + SEEDS))
def test_whatever_happens_the_tables_are_what_they_should_be(
    number: int, testrun_uid: str, tmp_path_factory: pytest.TempPathFactory
):
    """Files come, change and go, clocks and servers go wrong, runs fail and are killed: what is loaded is right."""
    TALLY.clear()
    began = time.monotonic()

    run_state_machine_as_test(
        seed(number)(World),
        settings=settings(
            max_examples=math.ceil(STEPS / LENGTH),
            stateful_step_count=LENGTH,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )

    TALLY["seconds"] = round(time.monotonic() - began)
    tell(number, tmp_path_factory.getbasetemp().parent / f"model-{testrun_uid}.jsonl")


def tell(number: int, log: Path) -> None:
    """Print what this seed did, and with it all seeds so far; `-rP` shows it."""
    with log.open("a") as lines:
        lines.write(json.dumps(TALLY) + "\n")
    every = [Counter(json.loads(line)) for line in log.read_text().splitlines()]
    for name, tally in ((f"seed {number}", TALLY), (f"{len(every)} of {SEEDS} seeds", sum(every, Counter[str]()))):
        print(f"{name}: " + ", ".join(f"{tally[what]:,} {what}" for what in sorted(tally)))


def row(account: str, file: File) -> Row:
    """Return the row that a File object should become."""
    others = {name: value for name, value in file.items() if name not in FILES.names}
    values = file | {
        "account": account,
        "created_at": moment(file["created_at"]),
        "expires_at": moment(file["expires_at"]),
        "extra": json.dumps(others, separators=(",", ":")) if others else None,
    }
    return tuple(values[name] for name in FILES.names)


def moment(second: Any) -> datetime | None:
    return None if second is None else datetime.fromtimestamp(second, UTC)


def created(file: Row) -> int:
    return int(file[CREATED_AT].timestamp())


class Project:
    """An account, the server that knows its files, and what is wrong with that.

    Attributes:
        met: every file that there ever was, as it was last seen.
        meddled: the files that came up while a run was going on.
        outage: what all listings end in.
        out_for: for how many runs more.
        troubled: whether something goes wrong in the next run.
    """

    def __init__(self, account: Account, emulator: Emulator) -> None:
        self.account = account
        self.name = account.name
        self.emulator = emulator
        self.met: dict[str, File] = {}
        self.meddled: list[File] = []
        self.outage: Fault | None = None
        self.out_for = 0
        self.troubled = False

    def rows(self) -> dict[str, Row]:
        files = {str(file["id"]): file for file in self.emulator.files()}
        self.met |= files
        return {file_id: row(self.name, file) for file_id, file in files.items()}

    def gone(self) -> list[str]:
        alive = self.rows()
        return [file_id for file_id in self.met if file_id not in alive]

    def go_out(self, outage: Fault, runs: int) -> None:
        self.outage, self.out_for = outage, runs
        self.emulator.recover()
        self.emulator.fail(outage, times=None)

    def calm(self) -> None:
        """End the trouble of a run, and the outage if it was the last one."""
        self.meddled.clear()
        self.troubled = False
        self.emulator.recover()
        self.out_for -= 1
        if self.outage is not None and self.out_for > 0:
            self.emulator.fail(self.outage, times=None)
        else:
            self.outage = None


@dataclass(frozen=True)
class Tables:
    """What a place holds, as its readers see it.

    Attributes:
        inventory: the files of the last complete history scans.
        versions: on DuckDB, rows of the history with the times from and to which they are valid.
        scans: rows of the ledger, oldest first.
    """

    files: dict[Key, Row] = field(default_factory=dict)
    inventory: dict[Key, Row] = field(default_factory=dict)
    versions: Counter[tuple[Row, Any, Any]] = field(default_factory=Counter)
    scans: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, path: str) -> Tables:
        valid = ("_dlt_valid_from", "_dlt_valid_to")
        found = cls(
            files=by_key(rows_in(path, "files")),
            inventory=inventory_of(path),
            versions=Counter((line[:-2], *line[-2:]) for line in rows_in(path, "files_history", *valid)),
            scans=scans_in(path),
        )
        assert still_there_in(path) == found.still_there(), "not what the tables say is still there"
        return found

    def still_there(self) -> dict[Key, Row]:
        """Return what the last complete scans found, and what was listed since then or that they have not covered."""
        return {key: file for key, file in self.files.items() if self.may_be_missed(file)} | self.inventory

    def may_be_missed(self, file: Row) -> bool:
        """Tell whether no complete scan has covered a file, or one before it was settled and listed again."""
        whose = [scan for scan in self.scans if scan["complete"] and scan["account"] == file[0]]
        covering = [scan for scan in whose if scan["mode"] == "history" and scan["purpose"] in (None, file[PURPOSE])]
        if not covering:
            return True
        listed = max((scan["finished_at"] for scan in whose if scan["mode"] != "history"), default=None)
        is_listed_since = listed is not None and listed > max(scan["started_at"] for scan in covering)
        return is_listed_since and file[CREATED_AT] >= max(scan["watermark"] for scan in covering)


def still_there_in(path: str) -> dict[Key, Row]:
    try:
        return by_key(read_files(path).rows())
    except ConfigError:
        return {}


def rows_in(path: str, table: str, *further: str) -> list[Row]:
    try:
        return read_table(path, table).select(*FILES.names, *further).rows()
    except ConfigError:  # there is no such table yet
        return []


def inventory_of(path: str, at: datetime | None = None) -> dict[Key, Row]:
    try:
        return by_key(read_inventory(path, at=at).rows())
    except ConfigError:
        return {}


def scans_in(path: str) -> list[dict[str, Any]]:
    try:
        return read_table(path, "scans").sort("started_at", "account").to_dicts()
    except ConfigError:
        return []


def by_key(rows: list[Row]) -> dict[Key, Row]:
    keyed: dict[Key, Row] = {line[: ID + 1]: line for line in rows}
    doubles = [key for key, count in Counter(line[: ID + 1] for line in rows).items() if count > 1]
    assert not doubles, f"these files stand there more than once: {doubles}"
    return keyed


@dataclass
class Place:
    """What a place should hold.

    Attributes:
        settled: for each account and purpose (None: all) that was listed, the second before which its
            files are not read again: at least, and at most, as the end of a killed run is not known.
        pasts: the inventory at some instants.
    """

    path: str
    merges: bool
    tables: Tables = field(default_factory=Tables)
    settled: dict[tuple[str, str | None], tuple[float, float]] = field(default_factory=dict)
    pasts: list[tuple[datetime, dict[Key, Row]]] = field(default_factory=list)

    def settled_for(self, file: Row) -> tuple[float, float]:
        """Return the seconds before which a file is certainly, and possibly, settled."""
        nothing = (-math.inf, -math.inf)
        spans = [self.settled.get((file[0], purpose), nothing) for purpose in (None, file[PURPOSE])]
        return max(low for low, _ in spans), max(high for _, high in spans)

    def is_ready_for(self, file: Row) -> bool:
        """Tell whether a file may come back that was gone: it is held, or its time is not settled."""
        return file[: ID + 1] in self.tables.files or created(file) >= self.settled_for(file)[1]

    def adopt(self, run: Run, found: Tables, loaded: set[str], *, maybe: set[str]) -> None:
        """Go on from what a run has left, which has loaded some accounts, and maybe others."""
        scans = {scan["account"]: scan["rows"] for scan in found.scans[len(self.tables.scans) :]}
        self.tables = found
        if run.mode == "history":
            if loaded:
                self.pasts.append((datetime.now(UTC), found.inventory))
            return
        for name in loaded | maybe:
            self._settle(run, name, rows=scans[name] if name in loaded else None)
            if name in maybe and run.replaces_folder and not part(found.files, name):
                self._forget(name)

    def _settle(self, run: Run, name: str, *, rows: int | None) -> None:
        """Note how far a run has come that handed over so many rows; None if that is not known."""
        if run.mode == "full":
            for other, (low, high) in self._forget(name).items():
                if rows is None:
                    self.settled[other] = (min(low, run.until), max(high, run.until))
        key = (name, run.purpose)
        low, high = self.settled.get(key, (-math.inf if rows is None else run.until, run.until))
        self.settled[key] = (
            max(low, run.until) if rows else low,  # a run that finds nothing may leave the state as it was
            max(high, run.until),
        )

    def _forget(self, name: str) -> dict[tuple[str, str | None], tuple[float, float]]:
        return {key: self.settled.pop(key) for key in list(self.settled) if key[0] == name}


@dataclass(frozen=True)
class Listing:
    """What a run may have found of an account.

    Attributes:
        shown: the values that each file may have had.
        sure: the files that were there all the time.
        estranged: whether the run looked for files that it knew, and none was there any more.
    """

    shown: dict[str, set[Row]]
    sure: set[str]
    estranged: bool


@dataclass(frozen=True)
class Run:
    """A run, before it is made.

    Attributes:
        until: the second before which its files are settled.
    """

    place: Place
    projects: tuple[Project, ...]
    mode: Mode
    purpose: str | None
    limit: int
    overlap: int
    until: int

    def options(self) -> dict[str, Any]:
        return {
            "to": self.place.path,
            "urls": {project.name: project.account.base_url for project in self.projects},
            "purpose": self.purpose,
            "history": self.mode == "history",
            "full_refresh": self.mode == "full",
            "limit": self.limit,
            "overlap": self.overlap,
            "max_retries": 1,
        }

    @property
    def replaces_folder(self) -> bool:
        """Tell whether the run empties the table before it loads it, which only a database can do at once."""
        return self.mode == "full" and not self.place.merges

    def allowed(self, listing: Listing, file_id: str, before: Row | None) -> set[Row | None]:  # noqa: PLR0911 - a rule a line
        """Return what the run may leave of a file, in the table that it writes."""
        shown = {file for file in listing.shown.get(file_id, set()) if self.purpose in (None, file[PURPOSE])}
        if not shown:
            of_others = before is not None and self.purpose not in (None, before[PURPOSE])
            return {None if self.mode == "full" or (self.mode == "history" and not of_others) else before}
        unseen: set[Row | None] = set() if file_id in listing.sure else {None if self.mode != "incremental" else before}
        if self.mode == "history":
            return shown | unseen
        second = created(next(iter(shown)))
        if not self.place.merges and (self.mode == "full" or before is None):
            return shown | unseen if second < self.until else {None}
        if self.mode == "full":
            return shown | unseen
        low, high = self.place.settled_for(next(iter(shown)))
        if not self.place.merges or (second < low and not listing.estranged):
            return {before}
        if second >= high or before is None or listing.estranged:
            return shown | unseen
        return shown | {before}

    def handed_over(self, listing: Listing, name: str, found: Tables) -> tuple[float, float]:
        """Return how many rows the run may have given to the destination, at least and at most."""
        if listing.shown.keys() != listing.sure:
            return 0, math.inf
        files = [file for (file,) in listing.shown.values() if self.purpose in (None, file[PURPOSE])]
        after, before = (part(tables.files, name) for tables in (found, self.place.tables))
        if self.mode == "history" or (self.place.merges and (self.mode == "full" or listing.estranged)):
            least = most = len(files)
        elif self.place.merges:
            most, least = (sum(created(file) >= self.place.settled_for(file)[end] for file in files) for end in (0, 1))
        else:
            least = most = len(after) - (len(before) if self.mode == "incremental" else 0)
        return least, most


class World(RuleBasedStateMachine):
    """Accounts, a clock, a database and a folder, and what may happen to them.

    No two runs that are killed leave quite the same, so which rules there are never depends on that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.home = self.opened.enter_context(tempfile.TemporaryDirectory())
        self.patch = self.opened.enter_context(pytest.MonkeyPatch.context())
        self.patch.setenv("DLT_DATA_DIR", f"{self.home}/machine-1")
        self.patch.setenv("RUNTIME__LOG_LEVEL", "CRITICAL")
        self.patch.setattr(retries.RetryRules, "sleep", lambda *_: None)
        self.clock = Clock(NOW)
        self.latest = self.clock.now
        self.overlap = 60
        self.projects: list[Project] = []
        self.places = {name: Place(f"{self.home}/{name}", merges=name == DATABASE) for name in (DATABASE, LAKE)}
        self.backups: dict[str, Place] = {}

    def teardown(self) -> None:
        self.opened.close()

    @initialize(
        accounts=st.integers(1, 3),
        server=st.sampled_from(list(SERVERS)),
        page_cap=st.sampled_from([None, None, 1, 3]),
        max_limit=st.sampled_from([10_000, 10_000, 4]),
        overlap=st.sampled_from([60, 60, 5, 0]),
        files=st.integers(0, 25),
    )
    def begin(self, accounts: int, server: str, page_cap: int | None, max_limit: int, overlap: int, files: int) -> None:
        """Make the accounts, their servers and some old files."""
        self.overlap = overlap
        for number, name in enumerate(NAMES[:accounts]):
            emulator = Emulator(
                clock=self.clock, seed=number, oddities=SERVERS[server], page_cap=page_cap, max_limit=max_limit
            )
            for place in range(files):
                emulator.add(created_at=NOW - DAY + place // 2 * 1_000, purpose=PURPOSES[place % 3])
            url = self.opened.enter_context(emulator.serve()).url
            self.projects.append(Project(Account(name=name, base_url=url), emulator))

    @invariant()
    def count(self) -> None:
        TALLY["steps"] += 1

    # What happens to files.

    @rule(
        number=st.integers(0, 2),
        count=st.sampled_from([1, 2, 9]),
        age=st.sampled_from([0, 0, 1, 30, 60]),
        purpose=st.sampled_from(PURPOSES),
        lifetime=st.sampled_from([None, None, 30, 5_000]),
    )
    def upload(self, number: int, count: int, age: int, purpose: str, lifetime: int | None) -> None:
        """Add files of one second: this one, or one up to the overlap ago."""
        expires_at = None if lifetime is None else math.ceil(self.clock()) + lifetime
        for _ in range(count):
            self._project(number).emulator.add(created_at=self._second(age), purpose=purpose, expires_at=expires_at)

    @rule(number=st.integers(0, 2), newest=st.booleans(), count=st.sampled_from([1, 1, 4, 10, 1_000]))
    def delete(self, number: int, newest: bool, count: int) -> None:
        """Delete the newest files of an account, by which a run would know where to go on, or the oldest."""
        self._delete(self._project(number), newest, count)

    @rule(
        pick=st.integers(0, 99),
        fields=st.fixed_dictionaries(
            {},
            optional={
                "status": st.sampled_from(["processed", "error", "deleted"]),
                "status_details": st.sampled_from([None, "bad line 3"]),
                "bytes": st.integers(0, 3),
                "shelf": st.integers(0, 2),
            },
        ),
        lifetime=st.sampled_from([None, None, 30, 100_000]),
    )
    def change(self, pick: int, fields: dict[str, Any], lifetime: int | None) -> None:
        """Give a file another status, other values or an end."""
        living = self._living()
        if not living:
            return
        project, file_id = living[pick % len(living)]
        expires_at = None if lifetime is None else math.ceil(self.clock()) + lifetime
        project.emulator.change(file_id, **fields, expires_at=expires_at)

    @rule(pick=st.integers(0, 99))
    def come_back(self, pick: int) -> None:
        """Show a file again that was gone, under its old id."""
        returnable = self._returnable()
        if not returnable:
            return
        project, file_id = returnable[pick % len(returnable)]
        file = project.met[file_id] | {"expires_at": None}
        project.emulator.add(file_id=file_id, **{name: file[name] for name in file if name not in ("id", "object")})

    # What happens to clocks, servers and places.

    @rule(seconds=st.sampled_from([0.25, 1, 30, 61, 61, 3_600, DAY]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.latest = max(self.latest, self.clock())

    @precondition(lambda self: self.overlap)
    @rule(seconds=st.integers(1, 60))
    def step_back(self, seconds: int) -> None:
        """Set the clock back, no further than the overlap from where it has been."""
        self.clock.now = max(self.clock() - seconds, math.floor(self.latest) - self.overlap)

    @rule(number=st.integers(0, 2), name=st.sampled_from(sorted(OUTAGES)), runs=st.integers(1, 3))
    def go_out(self, number: int, name: str, runs: int) -> None:
        """Let all listings of an account fail for some runs."""
        self._project(number).go_out(OUTAGES[name], runs)

    @rule(
        number=st.integers(0, 2),
        name=st.sampled_from(TROUBLE),
        at=st.integers(1, 4),
        times=st.sampled_from([1, 1, 2, None]),
    )
    def plan_trouble(self, number: int, name: str, at: int, times: int | None) -> None:
        """Let requests of the next run go wrong."""
        project = self._project(number)
        project.emulator.fail(FAULTS[name], at=at, times=times)
        project.troubled = True

    @rule(
        number=st.integers(0, 2),
        at=st.integers(1, 4),
        newest=st.booleans(),
        deleted=st.sampled_from([0, 1, 3]),
        ages=st.lists(st.integers(0, 60), max_size=3),
    )
    def plan_changes(self, number: int, at: int, newest: bool, deleted: int, ages: list[int]) -> None:
        """Delete and add files between two pages of the next run."""
        project = self._project(number)

        def spoil(call: Call) -> Delivery:
            self._delete(project, newest, deleted)
            for age in ages:
                project.meddled.append(project.emulator.add(created_at=self._second(age)))
            return Delivery(call.answer())

        project.emulator.fail(Fault("changes", spoil), at=at)
        project.troubled = True

    @rule(number=st.integers(1, 2), cleared=st.booleans())
    def move(self, number: int, cleared: bool) -> None:
        """Go on from another machine, or with nothing of what dlt has noted on this one."""
        self.patch.setenv("DLT_DATA_DIR", f"{self.home}/machine-{number}")
        if cleared:
            shutil.rmtree(os.environ["DLT_DATA_DIR"], ignore_errors=True)

    @rule(name=PLACES)
    def back_up(self, name: str) -> None:
        """Copy a place."""
        self.backups[name] = deepcopy(self.places[name])
        copy(Path(self.home, name), Path(self.home, "backups", name))

    @precondition(lambda self: self.backups)
    @rule(pick=st.integers(0, 1))
    def restore(self, pick: int) -> None:
        """Put a place back to its copy."""
        name = sorted(self.backups)[pick % len(self.backups)]
        self.places[name] = deepcopy(self.backups[name])
        copy(Path(self.home, "backups", name), Path(self.home, name))

    # Runs.

    @rule(name=PLACES, numbers=NUMBERS)
    def load(self, name: str, numbers: set[int]) -> None:
        """Load what is new."""
        self._run(self._planned(name, numbers, "incremental"))

    @rule(name=PLACES, numbers=NUMBERS, purpose=SOME_PURPOSE, limit=LIMITS)
    def load_in_pages(self, name: str, numbers: set[int], purpose: str | None, limit: int) -> None:
        """Load what is new, maybe of one purpose, in small pages."""
        self._run(self._planned(name, numbers, "incremental", purpose=purpose, limit=limit))

    @rule(name=PLACES, numbers=NUMBERS, purpose=SOME_PURPOSE, limit=LIMITS)
    def keep_history(self, name: str, numbers: set[int], purpose: str | None, limit: int) -> None:
        """List everything and keep what was so before."""
        self._run(self._planned(name, numbers, "history", purpose=purpose, limit=limit))

    @rule(name=PLACES, limit=LIMITS)
    def refresh(self, name: str, limit: int) -> None:
        """Load everything again, in place of what is there."""
        self._run(self._planned(name, {0, 1, 2}, "full", limit=limit))

    @rule(name=PLACES, numbers=NUMBERS, purpose=SOME_PURPOSE, at=KILLS)
    def kill_a_load(self, name: str, numbers: set[int], purpose: str | None, at: str | int) -> None:
        """Kill a run that loads what is new."""
        self._kill(self._planned(name, numbers, "incremental", purpose=purpose), at)

    @rule(name=PLACES, mode=st.sampled_from(["history", "history", "full"]), at=KILLS)
    def kill_a_scan(self, name: str, mode: Mode, at: str | int) -> None:
        """Kill a run that lists everything."""
        self._kill(self._planned(name, {0, 1, 2}, mode), at)

    @rule(pick=st.integers(0, 99))
    def look_back(self, pick: int) -> None:
        """Ask for an inventory of the past: it is what it was."""
        pasts = [(place.path, *past) for place in self.places.values() for past in place.pasts]
        if not pasts:
            return
        path, at, inventory = pasts[pick % len(pasts)]
        assert inventory_of(path, at) == inventory

    # How runs are checked.

    def _planned(
        self, name: str, numbers: set[int], mode: Mode, *, purpose: str | None = None, limit: int = 10_000
    ) -> Run:
        projects = {number % len(self.projects) for number in numbers}
        return Run(
            place=self.places[name],
            projects=tuple(self.projects[number] for number in sorted(projects)),
            mode=mode,
            purpose=purpose,
            limit=limit,
            overlap=self.overlap,
            until=math.floor(self.clock()) - self.overlap,
        )

    def _run(self, run: Run) -> None:
        with self._watched(run) as listings:
            failed, loads = attempt(run)
        for project in run.projects:
            hopeless = run.mode == "incremental" and not run.place.merges and listings[project.name].estranged
            assert project.name not in failed or project.outage or project.troubled or hopeless, failed[project.name]
            assert project.name in failed or not project.outage
        found = Tables.read(run.place.path)
        loaded = {project.name for project in run.projects if loads and project.name not in failed}
        for project in self.projects:
            check_account(run, listings, project.name, found, loaded=project.name in loaded)
        assert found.versions == versions_after(run, found)
        check_ledger(run, listings, found, failed, loaded)
        run.place.adopt(run, found, loaded, maybe=set())
        TALLY["runs that " + ("failed" if not loaded else "failed in part" if failed else "succeeded")] += 1
        TALLY[f"{run.mode} runs"] += 1
        self._calm(run)

    def _kill(self, run: Run, at: str | int) -> None:
        """Kill a run at a moment, or after so many thousandths of its file operations."""
        with self._watched(run) as listings:
            ended = in_a_process(run, at)
        assert ended in (-signal.SIGKILL, REFUSED, 0)
        found = Tables.read(run.place.path)
        names = {project.name for project in run.projects}
        for project in self.projects:
            untouched = ended and part(found.files, project.name) == part(run.place.tables.files, project.name)
            untouched = untouched and part(found.inventory, project.name) == part(
                run.place.tables.inventory, project.name
            )
            emptied = ended and run.replaces_folder and not part(found.files, project.name)
            loaded = project.name in names and not untouched and not emptied
            if not emptied:
                check_account(run, listings, project.name, found, loaded=loaded)
        assert found.versions == versions_after(run, found)
        assert_begins(found.scans, run.place.tables.scans)
        assert names.issuperset(scan["account"] for scan in found.scans[len(run.place.tables.scans) :])
        run.place.adopt(run, found, set() if ended else names, maybe=names if ended else set())
        TALLY["runs that " + ("failed" if ended > 0 else "were killed" if ended else "were killed too late")] += 1
        self._calm(run)

    @contextmanager
    def _watched(self, run: Run) -> Iterator[dict[str, Listing]]:
        """Give what may be found in each account while the context lasts; it is known when that ends."""
        listings: dict[str, Listing] = {}
        before = {project.name: project.rows() for project in run.projects}
        asked = {project.name: len(project.emulator.requests) for project in run.projects}
        yield listings
        for project in run.projects:
            was, now = before[project.name], project.rows()
            shown: dict[str, set[Row]] = {}
            for file in (*was.values(), *now.values(), *(row(project.name, file) for file in project.meddled)):
                shown.setdefault(file[ID], set()).add(file)
            known = [
                request for request in project.emulator.requests[asked[project.name] :] if request.path != "/v1/files"
            ]
            estranged = bool(known) and all(request.status != OK for request in known)
            listings[project.name] = Listing(
                shown, {file_id for file_id in was if now.get(file_id) == was[file_id]}, estranged
            )

    def _calm(self, run: Run) -> None:
        for project in run.projects:
            project.calm()

    def _project(self, number: int) -> Project:
        return self.projects[number % len(self.projects)]

    def _living(self) -> list[tuple[Project, str]]:
        return [(project, file_id) for project in self.projects for file_id in project.emulator.ids()]

    def _delete(self, project: Project, newest: bool, count: int) -> None:
        ids = list(project.rows())
        for file_id in (ids[::-1] if newest else ids)[:count]:
            project.emulator.remove(file_id)

    def _returnable(self) -> list[tuple[Project, str]]:
        """Return the files that are gone and may come back: a place that has settled their time holds them."""
        places = [*self.places.values(), *self.backups.values()]
        gone = [
            (project, row(project.name, project.met[file_id]))
            for project in self.projects
            for file_id in project.gone()
        ]
        return [(project, file[ID]) for project, file in gone if all(place.is_ready_for(file) for place in places)]

    def _second(self, age: int) -> int:
        """Return the second that was so long ago, or the first that is not settled anywhere."""
        return max(math.floor(self.clock()) - age, math.floor(self.latest) - self.overlap)


def check_account(run: Run, listings: dict[str, Listing], name: str, found: Tables, *, loaded: bool) -> None:
    """Check each file of an account, in the table that the run has written and in the one that it has not."""
    for table in ("files", "inventory"):
        before, after = part(getattr(run.place.tables, table), name), part(getattr(found, table), name)
        if not loaded or (table == "inventory") != (run.mode == "history"):
            assert after == before, (table, name)
            continue
        listing = listings[name]
        for file_id in sorted({*before, *after, *listing.shown}):
            allowed = run.allowed(listing, file_id, before.get(file_id))
            assert after.get(file_id) in allowed, (table, name, file_id, before.get(file_id), allowed)


def versions_after(run: Run, found: Tables) -> Counter[tuple[Row, Any, Any]]:
    """Return the history that leads from what it was to the inventory that the run has found."""
    before = run.place.tables.versions
    if not run.place.merges:
        return Counter()
    now = max((time for _, *times in found.versions for time in times if time), default=None)
    after = Counter[tuple[Row, Any, Any]]()
    lasting = set[Row]()
    for (file, since, until), count in before.items():
        lasts = until is None and found.inventory.get(file[: ID + 1]) == file
        after[file, since, until if lasts or until else now] += count
        lasting |= {file} if lasts else set()
    after.update((file, now, None) for file in found.inventory.values() if file not in lasting)
    return after


def check_ledger(
    run: Run, listings: dict[str, Listing], found: Tables, failed: dict[str, str], loaded: set[str]
) -> None:
    """Check that each account of the run has its row, and that this says what was done."""
    assert_begins(found.scans, run.place.tables.scans)
    scans = {scan["account"]: scan for scan in found.scans[len(run.place.tables.scans) :]}
    assert len(found.scans) == len(run.place.tables.scans) + len(run.projects)
    assert scans.keys() == {project.name for project in run.projects}
    for name, scan in scans.items():
        assert (scan["mode"], scan["purpose"]) == (run.mode, run.purpose)
        assert (scan["complete"], scan["error"]) == (name not in failed, failed.get(name))
        assert scan["watermark"] == (moment(run.until) if name in loaded else None)
        least, most = run.handed_over(listings[name], name, found) if name in loaded else (0, 0)
        assert least <= scan["rows"] <= most


def assert_begins(scans: list[dict[str, Any]], earlier: list[dict[str, Any]]) -> None:
    assert scans[: len(earlier)] == earlier


def part(table: dict[Key, Row], account: str) -> dict[str, Row]:
    return {file_id: file for (name, file_id), file in table.items() if name == account}


def attempt(run: Run) -> tuple[dict[str, str], bool]:
    """Run, and return the accounts that failed, and whether the others are loaded."""
    try:
        load(**run.options())
    except SyncedInPart as error:
        return error.failures, True
    except AccountsError as error:
        return error.failures, False
    except LoadError:
        raise
    except FilesSourceError as error:
        (project,) = run.projects
        return {project.name: str(error)}, False
    return {}, True


def load(urls: dict[str, str], **options: Any) -> None:
    sync(accounts=[Account(name=name, base_url=url) for name, url in urls.items()], **options)


def in_a_process(run: Run, at: str | int) -> int:
    """Run in a process that is killed, and return its exit status."""
    process = FORKS.Process(target=die, args=(at, dict(os.environ), run.options()))
    process.start()
    process.join()
    status = process.exitcode
    process.close()
    assert status is not None
    return status


def die(at: str | int, environment: dict[str, str], options: dict[str, Any]) -> None:
    """Run until the moment to be killed has come."""
    os.environ.clear()
    os.environ.update(environment)
    retries.RetryRules.sleep = lambda *_: None  # type: ignore[method-assign]
    if isinstance(at, str):
        owner, name, calls = MOMENTS[at]
        _before(owner, name, _dies(at=calls))
    else:
        operation = math.ceil(at * OPERATIONS[DATABASE if options["to"].endswith(DATABASE) else LAKE] / 1_000)
        _before(syncing, "discard_pending", lambda: _count_operations(die_at=operation))
    try:
        load(**options)
    except LoadError:
        raise
    except FilesSourceError:
        sys.exit(REFUSED)


def copy(source: Path, target: Path) -> None:
    """Make *target* what *source* is, or nothing where that is not there."""
    target.parent.mkdir(exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    for suffix in ("", ".wal"):
        Path(f"{target}{suffix}").unlink(missing_ok=True)
        if Path(f"{source}{suffix}").is_file():
            shutil.copy(f"{source}{suffix}", f"{target}{suffix}")
    if source.is_dir():
        shutil.copytree(source, target)
