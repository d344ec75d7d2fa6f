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
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from files_source import progress, retries
from files_source.accounts import Account
from files_source.emulator import (
    FAULTS,
    ODDITIES,
    Clock,
    Emulator,
    Fault,
    Oddities,
    captive_portal,
    cut,
    status,
)
from files_source.emulator.delivery import Delivery
from files_source.emulator.faults import Call
from files_source.syncing import PIPELINE
from tests.conftest import NOW
from tests.model_places import Loss, Place, Row, Tables, inventory_of, part, row
from tests.model_runs import (
    BATCH,
    MOMENTS,
    OK,
    OWN,
    REFUSED,
    Found,
    Mode,
    Project,
    Refresh,
    Run,
    as_refreshed,
    assert_begins,
    attempt,
    check_account,
    check_ledger,
    failures_in,
    in_a_process,
    new_scans,
    versions_after,
)
from tests.test_faults import HOPELESS

STEPS = int(os.environ.get("MODEL_STEPS", "60"))
"""Steps for each seed; `make model` sets more."""
SEED = int(os.environ.get("MODEL_SEED", "0"))
"""The first seed: fixed, so that a change is not blamed for what another seed finds; `make model` explores."""
SEEDS = int(os.environ.get("MODEL_SEEDS", "1"))
LENGTH = 50 if STEPS >= 500 else 30
"""Steps until the world is made anew."""
PHASES = [Phase.generate, Phase.shrink] if os.environ.get("MODEL_SHRINK") else [Phase.generate]
"""A difference is told as it was found: to make it smaller takes hundreds of runs."""

DATABASE, LAKE = "inventory.duckdb", "lake/"
NAMES = ("default", "Default", "id", "account", "0) OR (1=1", "it's {one}", "a:b", "100%s", '"; DROP', "%", "ü", "\\'")
"""Names of accounts: none of them is anything but a name, wherever it goes."""
PURPOSES = ("batch", "vision", "user_data")
SERVERS = {"as documented": Oddities()} | {name: ODDITIES[name] for name in sorted(ODDITIES.keys() - HOPELESS)}
OUTAGES: dict[str, Fault] = {"401": status(401), "500": status(500), "cut": cut(), "portal": captive_portal()}
TROUBLE = sorted(FAULTS.keys() - {"hang"})
"""Faults of a run; one that hangs would only cost time."""
OUT_OF_ORDER = {"order ignored", "first two transposed", "ties by id"}
PLACES = st.sampled_from([DATABASE, LAKE])
NUMBERS = st.sets(st.integers(0, 2), min_size=1)
SOME_PURPOSE = st.sampled_from([None, None, None, "batch", "vision"])
LIMITS = st.sampled_from([10_000, 7, 3, 2])
PIPELINES = st.sampled_from([OWN, OWN, PIPELINE])
REFRESHES: st.SearchStrategy[Refresh] = st.sampled_from(["drop_data", "drop_resources", "drop_sources"])
LOSSES: st.SearchStrategy[Loss] = st.sampled_from(
    ["all", "truncated", "dropped", "account", "newest", "newest", "some"]
)
KILLS = st.sampled_from(sorted(MOMENTS)) | st.integers(1, 1_000)

DAY = 86_400
TABLES = ("files", "inventory")

TALLY = Counter[str]()


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
            phases=PHASES,
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
        self.overlap = 60
        self.is_ordered = True
        self.is_in_small_batches = False
        self.projects: list[Project] = []
        self.places = {name: Place(f"{self.home}/{name}", merges=name == DATABASE) for name in (DATABASE, LAKE)}
        self.backups: dict[str, Place] = {}

    def teardown(self) -> None:
        self.opened.close()

    @initialize(
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
        server=st.sampled_from(["as documented", *SERVERS]),
        page_cap=st.sampled_from([None, None, 1, 3]),
        max_limit=st.sampled_from([10_000, 10_000, 4]),
        overlap=st.sampled_from([60, 60, 5, 0, 3_600]),
        files=st.integers(0, 25),
        small=st.booleans(),
    )
    def begin(
        self,
        names: list[str],
        server: str,
        page_cap: int | None,
        max_limit: int,
        overlap: int,
        files: int,
        small: bool,
    ) -> None:
        """Make the accounts, their servers and some old files."""
        self.overlap, self.is_ordered, self.is_in_small_batches = overlap, server not in OUT_OF_ORDER, small
        if small:
            self.patch.setattr(progress, "BATCH", BATCH)
        for number, name in enumerate(names):
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
        age=st.sampled_from([0, 0, 1, 30, 60, 90, 600, 3_599, 7_200, DAY, 30 * DAY]),
        purpose=st.sampled_from(PURPOSES),
        lifetime=st.sampled_from([None, None, 30, 5_000]),
    )
    def upload(self, number: int, count: int, age: int, purpose: str, lifetime: int | None) -> None:
        """Add files of one second: this one, or one long ago, as of files that show up late."""
        expires_at = None if lifetime is None else math.ceil(self.clock()) + lifetime
        for _ in range(count):
            self._project(number).emulator.add(created_at=self._second(age), purpose=purpose, expires_at=expires_at)

    @rule(number=st.integers(0, 2), count=st.sampled_from([1, 2]), back=st.sampled_from([0, 0, 0, 1, -1]))
    def upload_beside_the_newest(self, number: int, count: int, back: int) -> None:
        """Add files that show up late in the second of the newest file, or beside it."""
        project = self._project(number)
        newest = max((int(str(file["created_at"])) for file in project.emulator.files()), default=self._second(0))
        for _ in range(count):
            project.emulator.add(created_at=newest - back, purpose="batch")

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
        project.returned.add(file_id)
        project.emulator.add(file_id=file_id, **{name: file[name] for name in file if name not in ("id", "object")})

    # What happens to clocks, servers and places.

    @rule(seconds=st.sampled_from([0.25, 1, 30, 61, 61, 3_600, DAY]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([1, 30, 60, 600]))
    def step_back(self, seconds: int) -> None:
        """Set the clock back."""
        self.clock.now -= seconds

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
        ages=st.lists(st.sampled_from([0, 0, 1, 60, 600, DAY]), max_size=3),
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

    @rule(name=PLACES, how=LOSSES, pick=st.integers(0, 99))
    def lose(self, name: str, how: Loss, pick: int) -> None:
        """Delete rows of the table of files, or its files."""
        self.places[name].lose(how, pick, is_ordered=self.is_ordered)
        TALLY["losses"] += 1

    # Runs.

    @rule(name=PLACES, numbers=NUMBERS)
    def load(self, name: str, numbers: set[int]) -> None:
        """Load what is new."""
        self._run(self._planned(name, numbers, "incremental"))

    @rule(name=PLACES, numbers=NUMBERS, purpose=SOME_PURPOSE, limit=LIMITS)
    def load_in_pages(self, name: str, numbers: set[int], purpose: str | None, limit: int) -> None:
        """Load what is new, maybe of one purpose, in small pages."""
        self._run(self._planned(name, numbers, "incremental", purpose=purpose, limit=limit))

    @rule(name=PLACES, numbers=NUMBERS, purpose=SOME_PURPOSE, limit=LIMITS, pipeline=PIPELINES)
    def load_with_dlt(self, name: str, numbers: set[int], purpose: str | None, limit: int, pipeline: str) -> None:
        """Load what is new through a pipeline of one's own."""
        self._run_with_dlt(name, numbers, purpose=purpose, limit=limit, pipeline=pipeline)

    @rule(name=PLACES, numbers=NUMBERS, refresh=REFRESHES, limit=LIMITS, pipeline=PIPELINES)
    def refresh_with_dlt(self, name: str, numbers: set[int], refresh: Refresh, limit: int, pipeline: str) -> None:
        """Let dlt drop what there is, and load everything."""
        self._run_with_dlt(name, numbers, refresh=refresh, may_drop=True, limit=limit, pipeline=pipeline)

    @rule(
        name=PLACES,
        numbers=NUMBERS,
        purpose=SOME_PURPOSE,
        limit=LIMITS,
        pipeline=PIPELINES,
        most=st.integers(1, 3),
    )
    def load_some(
        self, name: str, numbers: set[int], purpose: str | None, limit: int, pipeline: str, most: int
    ) -> None:
        """Load what is new, and let dlt stop that after some batches."""
        self._run_with_dlt(name, numbers, purpose=purpose, limit=limit, pipeline=pipeline, most=most)

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

    def _planned(self, name: str, numbers: set[int], mode: Mode, **settings: Any) -> Run:
        projects = {number % len(self.projects) for number in numbers}
        given = {"purpose": None, "limit": 10_000} | settings
        return Run(
            place=self.places[name],
            projects=tuple(self.projects[number] for number in sorted(projects)),
            mode=mode,
            overlap=self.overlap,
            until=math.floor(self.clock()) - self.overlap,
            is_in_small_batches=self.is_in_small_batches,
            **given,
        )

    def _run_with_dlt(self, name: str, numbers: set[int], **settings: Any) -> None:
        if not self.places[name].is_dropped:  # dlt takes a table that it has made for there
            with pytest.MonkeyPatch.context() as patch:
                if settings.get("most"):
                    patch.setattr(progress, "BATCH", BATCH)
                self._run(self._planned(name, numbers, "incremental", is_plain=True, **settings))

    def _run(self, run: Run) -> None:
        with self._watched(run) as listings:
            failed, loads, missed = attempt(run)
        found = Tables.read(run.place.path)
        if run.is_plain and loads:
            failed, run = failures_in(run, found), as_refreshed(run, found)
        for project in run.projects:
            hopeless = run.mode == "incremental" and not run.place.merges and listings[project.name].is_estranged
            hopeless = hopeless or (run.most is not None and not self.is_ordered)
            assert project.name not in failed or project.outage or project.troubled or hopeless, failed[project.name]
            assert project.name in failed or not project.outage
        loaded = {project.name for project in run.projects if loads and project.name not in failed}
        for project in self.projects:
            check_account(run, listings.get(project.name), project.name, found, loaded=loaded)
        if not (run.may_drop and loaded):
            assert found.versions == versions_after(run, found)
        check_ledger(run, listings, found, failed, loaded, missed)
        self._adopt(run, listings, found, loaded)
        TALLY["runs that " + ("failed" if not loaded else "failed in part" if failed else "succeeded")] += 1
        TALLY[f"{run.kind} runs"] += 1
        self._calm(run)

    def _adopt(self, run: Run, listings: dict[str, Found], found: Tables, loaded: set[str]) -> None:
        """Go on from what a run has left."""
        place, scans = run.place, new_scans(run, found)
        if run.may_drop and loaded:
            place.pasts.clear()
        if run.refresh is not None and loaded:
            for project in self.projects:
                if project.name not in loaded:
                    place.forget(None, project.name)
                    place.known = {account for account in place.known if account[1] != project.name}
        if run.mode == "history":
            place.tables = found
            if loaded:
                place.pasts.append((datetime.now(UTC), found.inventory))
            return
        for name in loaded:
            run.learn(name, listings[name], found, scans[name])
        place.tables = found
        place.is_dropped = place.is_dropped and not loaded

    def _kill(self, run: Run, at: str | int) -> None:
        """Kill a run at a moment, or after so many thousandths of its file operations."""
        with self._watched(run) as listings:
            ended = in_a_process(run, at)
        assert ended in (-signal.SIGKILL, REFUSED, 0)
        found = Tables.read(run.place.path)
        names = {project.name for project in run.projects}
        before = run.place.tables
        emptied = set[str]()
        loaded = set[str]()
        for name in names:
            is_untouched = all(
                part(getattr(found, table), name) == part(getattr(before, table), name) for table in TABLES
            )
            if ended and run.empties_first and part(found.files, name).items() < part(before.files, name).items():
                emptied.add(name)  # or half of it: a folder loses one file after the other
            elif not (ended and is_untouched):
                loaded.add(name)
        for project in self.projects:
            if project.name not in emptied:
                check_account(run, listings.get(project.name), project.name, found, loaded=loaded)
        assert found.versions == versions_after(run, found)
        assert_begins(found.scans, before.scans)
        assert names.issuperset(scan["account"] for scan in found.scans[len(before.scans) :])
        if ended:
            self._adopt_killed(run, listings, found, emptied)
        else:
            self._adopt(run, listings, found, names)
        TALLY["runs that " + ("failed" if ended > 0 else "were killed" if ended else "were killed too late")] += 1
        self._calm(run)

    def _adopt_killed(self, run: Run, listings: dict[str, Found], found: Tables, emptied: set[str]) -> None:
        place = run.place
        place.tables = found
        if run.mode == "history":
            return
        for name, listing in listings.items():
            run.doubt(name, listing)
        if emptied and not found.has_files:
            place.forget(None)
            place.known.clear()

    @contextmanager
    def _watched(self, run: Run) -> Iterator[dict[str, Found]]:
        """Give what may be found in each account while the context lasts; it is known when that ends."""
        listings: dict[str, Found] = {}
        before = {project.name: project.rows() for project in run.projects}
        asked = {project.name: len(project.emulator.requests) for project in run.projects}
        yield listings
        for project in run.projects:
            was, now = before[project.name], project.rows()
            shown: dict[str, set[Row]] = {}
            for file in (*was.values(), *now.values(), *(row(project.name, file) for file in project.meddled)):
                shown.setdefault(file[1], set()).add(file)
            requests = project.emulator.requests[asked[project.name] :]
            looked = [request for request in requests if request.path != "/v1/files"]
            pages = [request.query for request in requests if request.path == "/v1/files" and request.status == OK]
            is_ascending = all(query.get("order") == "asc" for query in pages)
            listings[project.name] = Found(
                shown=shown,
                sure={file_id for file_id in was if now.get(file_id) == was[file_id]},
                returned=set(project.returned),
                is_ordered=self.is_ordered,
                is_estranged=bool(looked) and all(request.status != OK for request in looked),
                is_serial=len(pages) == 1 and is_ascending,
                follows=bool(pages) and is_ascending and all(query.get("after") for query in pages),
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
        return [(project, file[1]) for project, file in gone if all(place.may_come_back(file) for place in places)]

    def _second(self, age: int) -> int:
        return math.floor(self.clock()) - age


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
