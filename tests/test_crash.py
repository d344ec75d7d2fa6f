"""A run that is killed, interrupted, short of room or not alone leaves nothing wrong: the next has it exactly right."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import polars as pl
import pytest

from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator, Fault
from files_source.emulator.delivery import Delivery
from files_source.errors import ConfigError, LoadError
from files_source.syncing import sync
from files_source.tables import read_inventory, read_table
from tests import killed
from tests.commands import finish, hang_and_tell, start
from tests.conftest import NOW, loaded
from tests.fault_matrix import loaded_tables

Connect = Callable[..., FilesClient]
FILE = ["id", "filename"]
Versions = set[tuple[str, str]]
"""Files as they were at a time."""

KILLS = int(os.environ.get("CRASH_KILLS", "0"))
"""How many runs are killed in each way, evenly spread over their file operations; `make crash` sets it."""
CLEARING = 120
"""About as many file operations as it takes to clear up after a run that has died."""
PAGE = 100

pytestmark = pytest.mark.timeout(60 + KILLS * 30)


@dataclass(frozen=True, slots=True)
class Way:
    """A kind of run to kill.

    Attributes:
        history: a complete scan; otherwise what is new.
        parquet: into a folder; otherwise into a database.
        later: one has been finished before.
        lost: the next runs on another machine, without the working folder.
    """

    history: bool
    parquet: bool
    later: bool
    lost: bool

    def __str__(self) -> str:
        return "-".join(
            [
                "history" if self.history else "incremental",
                "parquet" if self.parquet else "duckdb",
                "later run" if self.later else "first run",
                "folder lost" if self.lost else "folder kept",
            ]
        )

    def place(self, name: str) -> str:
        return f"{name}/" if self.parquet else f"{name}.duckdb"

    @property
    def commits(self) -> list[str]:
        """The moments between a commit and dlt's note of it."""
        if self.parquet:
            return ["commit-1", "commit-2", "end", "state"]
        return ["commit-1", "commit-2", "commit-3", "commit-4", "end"]


PLACES = [pytest.param("inventory.duckdb", id="duckdb"), pytest.param("lake/", id="parquet")]
WAYS = [Way(*flags) for flags in product((False, True), repeat=4)]
TRIED = WAYS if KILLS else [way for way in WAYS if (way.history + way.parquet + way.later + way.lost) % 2 == 0]
"""Half of them, in which any two flags meet, is what there is time for every day."""


def each_two(one: tuple[str, Sequence[Any]], other: tuple[str, Sequence[Any]]) -> pytest.MarkDecorator:
    """Try two things of two kinds each with two kinds of place: those in which any two meet, or all by `make crash`."""
    (name, values), (second, others) = one, other
    all_of_them = product(enumerate(values), enumerate(others), enumerate(("inventory.duckdb", "lake/")))
    return pytest.mark.parametrize(
        (name, second, "place"),
        [(a, b, place) for (i, a), (j, b), (k, place) in all_of_them if KILLS or (i + j + k) % 2 == 0],
    )


@dataclass(slots=True)
class Life:
    """An account whose files come, change and go, and what loads it."""

    emulator: Emulator
    clock: Clock
    client: FilesClient

    def go_on(self) -> None:
        """Let five files come, one change and one go, and a minute pass, so that they are settled."""
        self.emulator.add_many(5, created_at=int(self.clock()))
        self.emulator.change(self.emulator.ids()[1], filename=f"{self.clock()}.jsonl")
        self.emulator.remove(self.emulator.ids()[0])
        self.clock.advance(61)

    def files(self) -> Versions:
        """Return the account's files as they are."""
        return {(str(file["id"]), str(file["filename"])) for file in self.emulator.files()}

    def load(self, place: str, *, history: bool) -> Versions:
        """Run to the end, and return what there was to load."""
        sync(place, client=self.client, history=history, limit=PAGE)
        return self.files()


def sync_to(place: str, *, history: bool) -> list[str]:
    """Return the arguments of a run."""
    return ["sync", "--to", place, "--limit", str(PAGE), *(["--history"] if history else [])]


@pytest.fixture
def life(emulator: Emulator, clock: Clock, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> Life:
    """Make an account of five pages, where every run looks for it."""
    emulator.populate(5 * PAGE, start=NOW - 86_400, end=NOW - 3_600)
    client = connect()
    monkeypatch.setenv("OPENAI_BASE_URL", client.account.base_url)
    return Life(emulator, clock, client)


@pytest.mark.parametrize("way", TRIED, ids=str)
def test_a_killed_run_is_made_good_by_the_next(way: Way, life: Life):
    """Killed at any moment, then run again: nothing is lost or doubled, and nothing retired that is there."""
    for moment in moments(way, life):
        place = way.place(moment)
        before = prepare(way, life, place)
        assert killed.fork(moment, *sync_to(place, history=way.history)) == -signal.SIGKILL
        dead = life.files()
        if way.lost:
            shutil.rmtree(os.environ["DLT_DATA_DIR"])
        life.go_on()

        now = life.load(place, history=way.history)

        check(way, place, before=before, dead=dead, now=now)
        print(f"killed at {moment}: nothing lost, nothing doubled")


@pytest.mark.parametrize("way", [way for way in TRIED if way.later and not way.lost], ids=str)
def test_a_run_that_is_killed_while_it_clears_up_is_made_good_too(way: Way, life: Life):
    """One dies, the next dies while it drops what that has left, and the third has it right."""
    for kill in range(KILLS or 1):
        place = way.place(f"killed-{kill}")
        before = prepare(way, life, place)
        assert killed.fork("end", *sync_to(place, history=way.history)) == -signal.SIGKILL
        dead = life.files()
        life.go_on()
        moment = 1 + CLEARING * (2 * kill + 1) // (2 * (KILLS or 1))
        assert killed.fork(str(moment), *sync_to(place, history=way.history)) == -signal.SIGKILL

        now = life.load(place, history=way.history)

        check(way, place, before=before, dead=dead, now=now)
        print(f"killed at end, and at {moment} of the next: nothing lost, nothing doubled")


@pytest.mark.parametrize("history", [False, True], ids=["incremental", "history"])
def test_half_a_file_that_a_killed_run_has_left_is_not_read(history: bool, life: Life):
    """A Parquet file that a machine was still writing is left out by readers, and removed by the next run."""
    place, table = "lake/", "files_snapshots" if history else "files"
    before = life.load(place, history=history)
    life.go_on()
    whole = parquet(place, table)
    assert killed.fork("end", *sync_to(place, history=history)) == -signal.SIGKILL
    (half,) = parquet(place, table) - whole
    os.truncate(half, half.stat().st_size // 2)

    compare(read_table(place, table), before, before)
    now = life.load(place, history=history)

    assert not half.exists()
    assert {row["id"] for row in duckdb.sql(f"FROM '{place}openai_files/{table}/*.parquet'").pl().to_dicts()} >= {
        file_id for file_id, _ in now
    }


def parquet(place: str, table: str) -> set[Path]:
    return set(Path(place).glob(f"openai_files/{table}/*.parquet"))


def prepare(way: Way, life: Life, place: str) -> Versions:
    """Make the run that has been finished before, if there is one, and return what it had to load."""
    if not way.later:
        return set()
    before = life.load(place, history=way.history)
    life.go_on()
    return before


def moments(way: Way, life: Life) -> Iterator[str]:
    """Yield moments to die at: spread evenly over the file operations of a run, and between commits and notes."""
    prepare(way, life, way.place("counted"))
    assert killed.fork("0", *sync_to(way.place("counted"), history=way.history)) == 0
    operations = int(Path("operations.txt").read_text()) * 97 // 100  # no two runs have quite the same
    kills, number = max(KILLS, 1), WAYS.index(way)
    for kill in range(kills):  # each way's moments lie between those of the others
        yield str(1 + operations * (2 * (len(WAYS) * kill + number) + 1) // (2 * len(WAYS) * kills))
    yield from way.commits if KILLS else [way.commits[number % len(way.commits)]]


def check(way: Way, place: str, *, before: Versions, dead: Versions, now: Versions) -> None:
    """See to it that a place is right, whatever of the killed run was committed.

    Args:
        before: what a finished run had to load, if there was one.
        dead: what the killed run had to load.
        now: what the run after it had to load.
    """
    if not way.history:
        compare(read_table(place), ids(before | now), ids(before | dead | now), by=["id"])
    elif way.parquet:
        compare(read_inventory(place), now, now)
        snapshots = (
            read_table(place, "files_snapshots").sort("snapshot_at").group_by("snapshot_at", maintain_order=True)
        )
        complete = [set(rows.select(FILE).iter_rows()) for _, rows in snapshots]
        finished = [before, now] if before else [now]
        assert complete in (finished, [*finished[:-1], dead, now])
    else:
        rows = read_table(place, "files_history")
        is_valid = pl.col("_dlt_valid_to").is_null()
        compare(rows.filter(is_valid), now, now)
        compare(rows.filter(~is_valid), before - now, (before | dead) - now)
    scans = read_table(place, "scans")
    assert scans["complete"].all()
    assert scans["started_at"].n_unique() == scans.height in (1 + way.later, 2 + way.later)
    if way.parquet:
        for table in ("scans", "files_snapshots" if way.history else "files"):  # no file of a dead load is left
            raw = duckdb.sql(f"FROM '{place}openai_files/{table}/*.parquet'")
            assert len(raw.fetchall()) == read_table(place, table).height


def compare(rows: pl.DataFrame, must: set[Any], may: set[Any], *, by: Sequence[str] = FILE) -> None:
    """See to it that a table has each row that it *must* have once, and only such as it *may* have."""
    found = Counter(rows.select(by).iter_rows())
    doubled = {row for row, times in found.items() if times > 1}
    assert (must - found.keys(), doubled, found.keys() - may) == (set(), set(), set()), "lost, doubled, made up"


def ids(files: Versions) -> set[tuple[str]]:
    return {(file_id,) for file_id, _ in files}


@pytest.mark.parametrize("moment", ["commit-3", "commit-4", "commit-5"] if KILLS else ["commit-4"])
def test_a_first_load_is_never_there_in_part(moment: str, life: Life):
    """Even where dlt is told to cut it into small files, a database has all rows or none."""
    life.emulator.populate(120_000, start=NOW - 86_400, end=NOW - 3_600)
    sync_all = ["sync", "--to", "inventory.duckdb"]
    assert killed.fork(moment, *sync_all, DATA_WRITER__FILE_MAX_ITEMS="1000") == -signal.SIGKILL

    with suppress(ConfigError):
        assert read_table("inventory.duckdb").height in (0, len(life.files()))

    assert killed.fork("0", *sync_all, DATA_WRITER__FILE_MAX_ITEMS="1000") == 0
    compare(read_table("inventory.duckdb"), ids(life.files()), ids(life.files()), by=["id"])


@pytest.mark.parametrize("moment", [f"commit-{number}" for number in range(1, 6)])
def test_a_full_refresh_that_is_killed_leaves_the_table_as_it_was_or_new(moment: str, life: Life):
    """A database replaces it in one transaction: it is never empty in between."""
    before = life.load("inventory.duckdb", history=False)
    life.go_on()
    now = life.files()

    ended = killed.fork(moment, "sync", "--to", "inventory.duckdb", "--full-refresh")

    assert ended == -signal.SIGKILL or (ended, moment) == (0, "commit-5")
    held = set(read_table("inventory.duckdb").select(FILE).iter_rows())
    assert held in (before, now)


def test_a_folder_that_a_killed_run_has_just_made_is_taken(life: Life):
    """Its mark was not in it yet."""
    Path("lake/openai_files").mkdir(parents=True)

    now = life.load("lake/", history=False)

    compare(read_table("lake/"), now, now)


class TestFreshMachine:
    """The working folder is gone; the place is not."""

    @pytest.mark.parametrize("place", PLACES)
    def test_it_goes_on_where_the_place_is(self, place: str, life: Life):
        """What the place holds is known from itself: one small request, and nothing doubled."""
        before = life.load(place, history=False)
        shutil.rmtree(os.environ["DLT_DATA_DIR"])

        done = sync(place, client=life.client, limit=PAGE)

        assert (done.rows, done.requests) == (0, 1)
        assert done.received < 30_000
        assert loaded(place) == sorted(file_id for file_id, _ in before)

    @pytest.mark.parametrize("place", PLACES)
    def test_a_history_goes_on_too(self, place: str, life: Life):
        """Only what has changed has a new version, and only what is gone is retired."""
        before = life.load(place, history=True)
        life.go_on()
        shutil.rmtree(os.environ["DLT_DATA_DIR"])

        now = life.load(place, history=True)

        compare(read_inventory(place), now, now)
        if place == "inventory.duckdb":
            compare(read_table(place, "files_history"), before | now, before | now)


class TestTwoRunsAtOnce:
    """One begins while another goes on, in a process of its own."""

    @each_two(("apart", [False, True]), ("history", [False, True]))
    def test_each_is_right_or_says_so(
        self, apart: bool, history: bool, place: str, life: Life, monkeypatch: pytest.MonkeyPatch
    ):
        """Whether they share a working folder or only the place: a table is never made of two listings."""
        before = life.load(place, history=history)
        life.go_on()
        asked, answer = Event(), Event()
        life.emulator.fail(held_up(asked, answer), at=1 + history)
        first = start(*sync_to(place, history=history))
        assert asked.wait(60)
        life.go_on()
        if apart:
            monkeypatch.setenv("DLT_DATA_DIR", f"{os.environ['DLT_DATA_DIR']}-of-another")

        with pytest.raises(LoadError, match=f"^another run into {place} is going on: "):
            life.load(place, history=history)

        answer.set()
        assert finish(first).status == 0
        now = life.load(place, history=history)
        if history:
            compare(read_inventory(place), now, now)
        else:
            compare(read_table(place), ids(before | now), ids(before | now), by=["id"])


def held_up(asked: Event, answer: Event) -> Fault:
    """Tell when a request has come, and answer it when told to."""

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        asked.set()
        answer.wait(60)
        return Delivery(call.answer())

    return Fault("held up", spoil)


class TestInterrupted:
    """Ctrl-C while every file is listed, of one account or many."""

    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.parametrize("many", [False, True], ids=["one account", "many accounts"])
    def test_nothing_is_half_loaded_and_the_next_run_has_it_right(self, many: bool, place: str, life: Life):
        """One line that says so, and status 130."""
        asked = Event()
        life.emulator.fail(hang_and_tell(asked), at=3 + 5 * many)
        Path("accounts.toml").write_text("".join(f"[accounts.{name}]\napi_key = 'sk-{name}'\n" for name in "abc"))
        arguments = [*sync_to(place, history=True), *(["--accounts", "accounts.toml"] if many else [])]

        process = start(*arguments)
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        ended = finish(process)

        assert (ended.status, ended.out) == (130, "")
        assert ended.error == "interrupted: nothing is half-loaded, and the next run goes on from here"
        assert loaded_tables(place) <= {"scans"}
        assert finish(start(*arguments)).status == 0
        accounts = read_inventory(place).group_by("account").agg(pl.col("id").sort())
        assert dict(accounts.iter_rows()) == dict.fromkeys("abc" if many else ["default"], sorted(life.emulator.ids()))


class TestFullDisk:
    """No file can grow any more."""

    @each_two(("step", ["extract", "load"]), ("history", [False, True]))
    def test_it_is_told_in_one_line_and_the_next_run_has_it_right(
        self, step: str, history: bool, place: str, life: Life, monkeypatch: pytest.MonkeyPatch
    ):
        """Where rows are kept on their way as well as where they are meant to go, which is left as it was."""
        before = life.load(place, history=history)
        life.emulator.populate(10_000, start=NOW, end=NOW + 3_000)
        life.clock.advance(3_600)
        monkeypatch.setenv("LOAD__RAISE_ON_MAX_RETRIES", "1")  # dlt waits longer before each
        command = [sys.executable, killed.__file__, f"full-{step}", *sync_to(place, history=history)]

        ended = finish(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))

        assert (ended.status, ended.out) == (1, "")
        assert "File too large" in ended.error
        assert ("cannot be kept" in ended.error) == (step == "extract")
        read = read_inventory if history else read_table
        compare(read(place), before, before)
        now = life.load(place, history=history)
        compare(read(place), now, now)
