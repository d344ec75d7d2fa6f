"""A run into a place, and what it may leave there: the half of the model that is about one run."""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import dlt
from dlt.common.storages.load_package import PackageStorage
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.load.load import Load
from dlt.pipeline.exceptions import PipelineStepFailed

from files_source import openai_files, retries, syncing
from files_source.accounts import Account
from files_source.attempts import STOPPED
from files_source.emulator import Emulator, Fault, File
from files_source.errors import AccountsError, FilesSourceError, LoadError
from files_source.syncing import PIPELINE, SyncedInPart, sync
from tests.killed import FORKS, _before, _count_operations, _dies
from tests.model_places import (
    NEVER,
    PURPOSE,
    Key,
    Listing,
    Place,
    Row,
    Seconds,
    Tables,
    created,
    moment,
    part,
    row,
)

BATCH = 3
"""Rows of a batch, where a run is stopped after some."""
OWN = "mine"
"""The pipeline of somebody who uses dlt without `sync`."""
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
OPERATIONS = {True: 800, False: 500}
"""About as many file operations as a run has into a database, and into a folder."""
REFUSED = 3
"""Exit status of a run whose listing failed before it could be killed."""
OK = 200

Mode = Literal["incremental", "full", "history"]
Refresh = Literal["drop_data", "drop_resources", "drop_sources"]

FORKS.set_forkserver_preload(
    [
        "tests.model_runs",
        "files_source.cli",
        "pyarrow.parquet",
        "httpcore",
        "dlt.destinations.impl.duckdb.duck",
        "dlt.sources.helpers.requests",
    ]
)


class Project:
    """An account, the server that knows its files, and what is wrong with that.

    Attributes:
        met: every file that there ever was, as it was last seen.
        meddled: the files that came up while a run was going on.
        returned: the files that were gone for a time, and stand elsewhere in the listing since.
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
        self.returned: set[str] = set()
        self.outage: Fault | None = None
        self.out_for = 0
        self.troubled = False

    def rows(self) -> dict[str, Row]:
        """Return the files that are there, in the order of the listing."""
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
class Found:
    """What a run may have found of an account.

    Attributes:
        shown: the values that each file may have had.
        sure: the files that were there all the time.
        returned: as `Project` says it.
        is_ordered: whether the server keeps the order that it is asked for.
        is_estranged: whether the run looked for files that it knew, and none was there any more.
        is_serial: whether it has read one page, in ascending order and not from the beginning of the listing
            only if it went on after a known file.
        follows: whether it went on after a known file, and nowhere else.
    """

    shown: dict[str, set[Row]]
    sure: set[str]
    returned: set[str]
    is_ordered: bool
    is_estranged: bool
    is_serial: bool
    follows: bool

    @property
    def is_certain(self) -> bool:
        return self.shown.keys() == self.sure and all(len(values) == 1 for values in self.shown.values())

    def rows(self, purpose: str | None) -> list[Row]:
        """Return the files of a purpose, each as it may have been."""
        return [file for values in self.shown.values() for file in values if purpose in (None, file[PURPOSE])]


@dataclass(frozen=True)
class Run:
    """A run, before it is made.

    Attributes:
        until: the second before which its files are settled.
        pipeline: whose run it is: `sync`'s, or another that calls dlt.
        refresh: what dlt drops first.
        most: after how many batches dlt stops it.
        is_in_small_batches: whether it may hand over several.
    """

    place: Place
    projects: tuple[Project, ...]
    mode: Mode
    purpose: str | None
    limit: int
    overlap: int
    until: int
    pipeline: str = PIPELINE
    refresh: Refresh | None = None
    most: int | None = None
    is_plain: bool = False
    may_drop: bool = False
    is_in_small_batches: bool = False

    @property
    def kind(self) -> str:
        return "refreshing" if self.refresh else "limited" if self.most else self.mode

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
    def whose(self) -> str:
        return self.place.whose(self.pipeline)

    @property
    def watermark(self) -> int:
        return self.until + self.overlap - min(self.overlap, 60)

    @property
    def replaces(self) -> bool:
        return self.mode == "full" or self.refresh is not None

    @property
    def empties_first(self) -> bool:
        """Tell whether the run empties the table before it loads it, which only a database can do at once."""
        return self.mode == "full" and not self.place.merges

    def counts(self, file: Row) -> bool:
        """Tell whether a file is one of those that are listed."""
        return self.purpose in (None, file[PURPOSE])

    def is_final(self, file: Row) -> bool:
        return created(file) < self.until

    def listing(self, account: str) -> Listing:
        return self.whose, account, self.purpose

    # What may be in the tables afterwards.

    def allowed(  # noqa: PLR0911 - a rule a line
        self, found: Found, file_id: str, before: Row | None
    ) -> set[Row | None]:
        """Return what the run may leave of a file, in the table that it writes."""
        shown = {file for file in found.shown.get(file_id, set()) if self.counts(file)}
        if self.mode == "history":
            return self._of_history(found, file_id, before, shown)
        if not shown:
            return {None if self.replaces else before}
        unseen: set[Row | None] = set() if file_id in found.sure else {None if self.replaces else before}
        file = next(iter(shown))
        if self.replaces:
            return shown | unseen if self.place.merges or self.is_final(file) else {None}
        low, high = self.place.held_for(file, self.whose)
        if not self.place.merges:
            return self._appended(found, file, before, unseen)
        if created(file) > high and not found.is_estranged:
            return shown | unseen | ({before} if self._may_be_skipped(file) else set())
        if created(file) < low and not found.is_estranged:
            return {before}
        return shown | unseen | (set() if found.is_estranged or self._is_new(found, file) else {before})

    def _of_history(self, found: Found, file_id: str, before: Row | None, shown: set[Row]) -> set[Row | None]:
        is_of_others = before is not None and not self.counts(before)
        if not shown:
            return {before if is_of_others else None}
        return {*shown} if file_id in found.sure else {*shown, None}

    def _appended(self, found: Found, file: Row, before: Row | None, unseen: set[Row | None]) -> set[Row | None]:
        """Return what may be there of a file where nothing is replaced."""
        low, high = self.place.held_for(file, self.whose)
        if before is not None:
            return {before}
        if not self.is_final(file) or created(file) < low:
            return {None}
        shown: set[Row | None] = {*found.shown[file[1]]}
        return shown | unseen | (set() if created(file) > high or self._is_new(found, file) else {None})

    def _may_be_skipped(self, file: Row) -> bool:
        """Tell whether the run may take a file for one that the last run has loaded, although it is not there so."""
        is_known = self.most is not None or self.place.young.get(self.listing(file[0]), frozenset()) is not None
        return not is_known or file[:2] in self.place.lost

    def _is_new(self, found: Found, file: Row) -> bool:
        """Tell whether a file of the newest known second certainly stands behind the newest known one."""
        last = self.place.last.get(self.listing(file[0]))
        if last is None or not found.follows or last not in found.sure or file[1] not in found.sure:
            return False
        others = {None, file[PURPOSE]} - {self.purpose}
        if any(self.place.held.get((self.whose, file[0], other), NEVER)[1] >= created(file) for other in others):
            return False
        order = list(found.shown)
        return order.index(file[1]) > order.index(last)

    # What the ledger says.

    def handed_over(  # noqa: PLR0911 - a rule a line
        self, found: Found, name: str, after: Tables
    ) -> tuple[float, float]:
        """Return how many rows the run may have given to the destination, at least and at most."""
        if not found.is_certain:
            return 0, math.inf
        files = [file for file in found.rows(self.purpose) if self.counts(file)]
        if self.mode == "history" or (self.place.merges and (self.replaces or found.is_estranged)):
            return len(files), len(files)
        loaded, had = (part(tables.files, name) for tables in (after, self.place.tables))
        if not self.place.merges:
            return (len(loaded) - (0 if self.replaces else len(had)),) * 2
        spans = [self.place.held_for(file, self.whose) for file in files]
        least = sum(created(file) > high for file, (_, high) in zip(files, spans, strict=True))
        most = sum(created(file) >= low for file, (low, _) in zip(files, spans, strict=True))
        late = [
            file
            for file, (low, high) in zip(files, spans, strict=True)
            if low <= created(file) <= high and (low < high or had.get(file[1]) is None or file[1] in found.returned)
        ]
        if not late:
            most = least
        if self.most is not None:
            return least, most
        young = self.place.young.get(self.listing(name), frozenset())
        lacking = frozenset(file for file, (_, high) in zip(files, spans, strict=True) if created(file) > high)
        if young is None:
            return 0, most
        if young and young == lacking:
            return 0, most if late else 0
        return least, most

    def may_be_exact(self, name: str) -> set[bool]:
        """Return what the ledger may say of whether the table then held exactly what was listed."""
        if self.mode == "history" or self.purpose is not None:
            return {False}
        if self.replaces:
            return {True}
        if part(self.place.tables.files, name):
            return {False}
        is_first = (self.whose, name) not in self.place.tried
        return {True} if is_first and (self.place.merges or not self.place.tried) else {True, False}

    def may_be_missed(self, found: Found, name: str) -> tuple[float, float, bool, bool]:
        """Return how many files may be called missed, and whether that may be left open, and may be told."""
        had = part(self.place.tables.files, name)
        files = [file for file in found.rows(self.purpose) if self.counts(file) and file[1] not in had]
        spans = [self.place.held_for(file, self.whose) for file in files]
        least = sum(created(file) <= low and file[1] in found.sure for file, (low, _) in zip(files, spans, strict=True))
        most = len({file[1] for file, (_, high) in zip(files, spans, strict=True) if created(file) <= high})
        account = (self.whose, name)
        return least, most, account not in self.place.known, account in self.place.tried

    # What is held from then on.

    def learn(self, name: str, found: Found, after: Tables, scan: dict[str, Any]) -> None:
        """Note how far an account is loaded by this run."""
        place, listing = self.place, self.listing(name)
        lacking = self._lacking(found)
        if self.replaces:
            place.forget(self.whose, name)
        self._doubt_others(name, found, rows=scan["rows"])
        old = NEVER if self.most is not None and found.is_estranged else place.held.get(listing, NEVER)
        reached = self._reached(found)
        if self.most is not None:
            handed = self._handed(found, lacking, scan["rows"], part(after.files, name))
            reached = (max(filter(self._is_settled, handed), default=-math.inf), reached[1])
        place.held[listing] = (max(old[0], reached[0]), max(old[1], reached[1]))
        if found.is_estranged:
            place.blurred.add(name)
        place.young[listing] = self._young(found, lacking)
        place.known.add((self.whose, name))
        place.tried.add((self.whose, name))
        place.lost -= part_keys(after.files, name)
        self._note_last(found, listing)

    def _is_settled(self, second: float) -> bool:
        return second < self.until

    def _reached(self, found: Found) -> Seconds:
        """Return the newest second of a final file that the listing has shown."""
        files = [file for file in found.rows(self.purpose) if self.counts(file) and self.is_final(file)]
        sure = [created(file) for file in files if file[1] in found.sure]
        return max(sure, default=-math.inf), max(map(created, files), default=-math.inf)

    def _lacking(self, found: Found) -> list[Row]:
        """Return the files that are handed over for certain, oldest first."""
        files = [file for file in found.rows(self.purpose) if self.counts(file)]
        return sorted(
            (
                file
                for file in files
                if self.replaces or created(file) > self.place.held_for(file, self.whose)[1]
                if self.place.merges or self.is_final(file)
            ),
            key=created,
        )

    def _handed(self, found: Found, lacking: list[Row], rows: int, after: dict[str, Row]) -> list[int]:
        """Return the seconds of the files that a run has handed over, which was stopped after so many rows."""
        seconds = [created(file) for file in lacking]
        if not self.is_told(found, lacking) or rows == 0:
            return []
        assert rows <= len(seconds), "more rows than were lacking"
        handed, rest = lacking[:rows], lacking[rows:]
        assert not rest or created(rest[0]) > seconds[rows - 1], "a second was handed over in part"
        assert all(after.get(file[1]) == file for file in handed), "what was handed over is not there"
        before = part(self.place.tables.files, lacking[0][0])
        assert all(after.get(file[1]) == before.get(file[1]) for file in rest), "what was not handed over is there"
        if len(self.projects) == 1 and self.most is not None:
            assert rows >= min(len(lacking), self.most * BATCH), "fewer rows than dlt would have taken"
        return seconds[:rows]

    def is_told(self, found: Found, lacking: list[Row]) -> bool:
        """Tell whether the number of rows says which files were handed over."""
        if not (found.is_certain and found.is_ordered) or found.is_estranged:
            return False
        known = {file[1] for file in lacking}
        for file in found.rows(self.purpose):
            if self.counts(file) and file[1] not in known and not self.replaces:
                low, high = self.place.held_for(file, self.whose)
                if low <= created(file) <= high and (
                    low < high or file[:2] not in self.place.tables.files or file[1] in found.returned
                ):
                    return False
        return True

    def _young(self, found: Found, lacking: list[Row]) -> frozenset[Row] | None:
        """Return the rows that the next run lists again, and knows for the same."""
        if self.most is not None:
            return frozenset()
        if not found.is_certain or found.is_estranged:
            return None
        if self.is_in_small_batches and lacking:
            return None
        return frozenset(file for file in lacking if not self.is_final(file))

    def _doubt_others(self, name: str, found: Found, *, rows: int) -> None:
        """Note that what other listings remember of an account may be no longer so."""
        place = self.place
        for listing in list(place.held.keys() | place.young.keys()):
            whose, account, purpose = listing
            if account != name or listing == self.listing(name):
                continue
            if whose == self.whose and found.is_estranged:
                place.young[listing] = None
            elif whose == self.whose and None in (purpose, self.purpose):
                place.young[listing] = frozenset()
            elif whose != self.whose and (rows or self.replaces):
                place.young[listing] = None
            if whose != self.whose and self.replaces:
                place.held[listing] = (-math.inf, place.held.get(listing, NEVER)[1])
                place.last.pop(listing, None)

    def _note_last(self, found: Found, listing: Listing) -> None:
        """Note the newest known file, if the run has learned it in a way that tells what stands behind it."""
        low, high = self.place.held[listing]
        files = [file for file in found.rows(self.purpose) if self.counts(file) and created(file) == low]
        self.place.last.pop(listing, None)
        if (
            low == high
            and found.is_certain
            and found.is_ordered
            and found.is_serial
            and files
            and self.is_final(files[0])
        ):
            self.place.last[listing] = files[-1][1]

    def doubt(self, name: str, found: Found) -> None:
        """Note that a run that was killed may have loaded an account, or not."""
        place, listing = self.place, self.listing(name)
        if self.mode == "full":
            for other in [other for other in place.held if other[1] == name]:
                place.held[other] = (-math.inf, place.held[other][1])
        old = place.held.get(listing, NEVER)
        place.held[listing] = (old[0], max(old[1], self._reached(found)[1]))
        for other in place.held.keys() | place.young.keys():
            if other[1] == name:
                place.young[other] = None
                place.last.pop(other, None)
        if found.is_estranged:
            place.blurred.add(name)
        place.tried.add((self.whose, name))


def part_keys(table: dict[Key, Row], account: str) -> set[Key]:
    return {key for key in table if key[0] == account}


def attempt(run: Run) -> tuple[dict[str, str], bool, int | None]:
    """Run, and return the accounts that failed, whether the others are loaded, and how many files were missed."""
    try:
        if not run.is_plain:
            return {}, True, load(**run.options())
        with_dlt(run)
    except SyncedInPart as error:
        return error.failures, True, error.done.missed
    except AccountsError as error:
        return error.failures, False, None
    except LoadError:
        raise
    except FilesSourceError as error:
        (project,) = run.projects
        return {project.name: str(error)}, False, None
    return {}, True, None


def load(urls: dict[str, str], **options: Any) -> int | None:
    return sync(accounts=[Account(name=name, base_url=url) for name, url in urls.items()], **options).missed


def with_dlt(run: Run) -> None:
    """Run as somebody does who knows dlt."""
    path = run.place.path
    destination: Any = dlt.destinations.duckdb(path) if run.place.merges else dlt.destinations.filesystem(path)
    source = openai_files(
        accounts=[project.account for project in run.projects],
        purpose=run.purpose,
        limit=run.limit,
        overlap=run.overlap,
        max_retries=1,
    )
    if run.most is not None:
        source.resources["files"].add_limit(run.most)
    pipeline = dlt.pipeline(run.pipeline, destination=destination, dataset_name="openai_files")
    try:
        pipeline.run(source, refresh=run.refresh)
    except PipelineStepFailed as failed:
        for cause in causes(failed):
            if isinstance(cause, FilesSourceError):
                raise cause from None
        raise


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def in_a_process(run: Run, at: str | int) -> int:
    """Run in a process that is killed, and return its exit status."""
    process = FORKS.Process(target=die, args=(at, dict(os.environ), run.place.merges, run.options()))
    process.start()
    process.join()
    status = process.exitcode
    process.close()
    assert status is not None
    return status


def die(at: str | int, environment: dict[str, str], merges: bool, options: dict[str, Any]) -> None:
    """Run until the moment to be killed has come."""
    os.environ.clear()
    os.environ.update(environment)
    retries.RetryRules.sleep = lambda *_: None  # type: ignore[method-assign]
    if isinstance(at, str):
        owner, name, calls = MOMENTS[at]
        _before(owner, name, _dies(at=calls))
    else:
        operation = math.ceil(at * OPERATIONS[merges] / 1_000)
        _before(syncing, "discard_pending", lambda: _count_operations(die_at=operation))
    try:
        load(**options)
    except LoadError:
        raise
    except FilesSourceError:
        sys.exit(REFUSED)


# How a run is checked.


def check_account(run: Run, found: Found | None, name: str, after: Tables, *, loaded: set[str]) -> None:
    """Check each file of an account, in the table that the run has written and in the one that it has not."""
    for table in ("files", "inventory"):
        was, now = part(getattr(run.place.tables, table), name), part(getattr(after, table), name)
        if run.may_drop and loaded and table == "inventory":
            assert now in ({}, was), (table, name)
            continue
        if run.refresh is not None and loaded and name not in loaded:
            assert now == {}, (table, name)
            continue
        if found is None or name not in loaded or (table == "inventory") != (run.mode == "history"):
            assert now == was, (table, name)
            continue
        for file_id in sorted({*was, *now, *found.shown}):
            allowed = run.allowed(found, file_id, was.get(file_id))
            if run.most is not None:
                allowed = allowed | {was.get(file_id)}
            assert now.get(file_id) in allowed, (table, name, file_id, was.get(file_id), allowed)


def versions_after(run: Run, found: Tables) -> Counter[tuple[Row, Any, Any]]:
    """Return the history that leads from what it was to the inventory that the run has found."""
    before = run.place.tables.versions
    if not run.place.merges:
        return Counter()
    now = max((time for _, *times in found.versions for time in times if time), default=None)
    after = Counter[tuple[Row, Any, Any]]()
    lasting = set[Row]()
    for (file, since, until), count in before.items():
        lasts = until is None and found.inventory.get(file[:2]) == file
        after[file, since, until if lasts or until else now] += count
        lasting |= {file} if lasts else set()
    after.update((file, now, None) for file in found.inventory.values() if file not in lasting)
    return after


def check_ledger(
    run: Run, listings: dict[str, Found], after: Tables, failed: dict[str, str], loaded: set[str], missed: int | None
) -> None:
    """Check that each account of the run has its row, and that this says what was done."""
    assert_begins(after.scans, earlier_scans(run, after))
    scans = new_scans(run, after)
    if run.is_plain and not loaded:  # dlt drops everything
        assert not scans
        return
    assert len(after.scans) == len(earlier_scans(run, after)) + len(run.projects)
    assert scans.keys() == {project.name for project in run.projects}
    counts = [scan["missed"] for scan in scans.values() if scan["missed"] is not None]
    assert run.is_plain or missed == (sum(counts) if counts else None)
    for name, scan in scans.items():
        assert (scan["mode"], scan["purpose"]) == (run.mode, run.purpose)
        if run.most is not None and scan["error"] == STOPPED:
            assert (scan["complete"], scan["watermark"], scan["exact"]) == (False, None, False)
            continue
        error = failed.get(name, None if name in loaded else "not loaded")
        assert (scan["complete"], scan["error"]) == (error is None, error), name
        assert scan["watermark"] == (moment(run.watermark) if name in loaded else None)
        if name not in loaded:
            assert (scan["rows"], scan["exact"], scan["missed"]) == (0, False, None)
            continue
        least, most = run.handed_over(listings[name], name, after)
        if run.most is not None and len(run.projects) > 1:
            least = 0
        assert least <= scan["rows"] <= most, (name, least, scan["rows"], most)
        assert scan["exact"] in run.may_be_exact(name), (name, scan["exact"])
        check_missed(run, listings[name], name, scan["missed"])


def check_missed(run: Run, found: Found, name: str, missed: int | None) -> None:
    if run.mode != "history":
        assert missed is None
        return
    least, most, may_be_unknown, may_be_known = run.may_be_missed(found, name)
    assert may_be_unknown if missed is None else may_be_known and least <= missed <= most, (name, missed, least, most)


def earlier_scans(run: Run, after: Tables) -> list[dict[str, Any]]:
    """Return the rows of the ledger that were there before a run, and are still."""
    scans = run.place.tables.scans
    return [] if run.may_drop and after.scans[: len(scans)] != scans else scans


def new_scans(run: Run, after: Tables) -> dict[str, dict[str, Any]]:
    return {scan["account"]: scan for scan in after.scans[len(earlier_scans(run, after)) :]}


def as_refreshed(run: Run, after: Tables) -> Run:
    """Return the run with or without a refresh: dlt drops only what the same pipeline has loaded before.

    The ledger says so: only then does the table hold exactly what was listed, and nothing of others.
    """
    if run.refresh is None:
        return run
    names = {project.name for project in run.projects}
    is_exact = any(scan["exact"] for scan in new_scans(run, after).values())
    is_alone = all(name in names for name, _ in after.files)
    return run if is_exact and is_alone else replace(run, refresh=None)


def failures_in(run: Run, after: Tables) -> dict[str, str]:
    """Return the accounts that failed in a run that dlt has loaded, by the ledger."""
    scans = new_scans(run, after).values()
    return {scan["account"]: scan["error"] for scan in scans if scan["error"] not in (None, STOPPED)}


def assert_begins(scans: list[dict[str, Any]], earlier: Iterable[dict[str, Any]]) -> None:
    earlier = list(earlier)
    assert scans[: len(earlier)] == earlier
