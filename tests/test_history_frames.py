from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import cast

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from files_source.history import as_of, as_of_snapshots, changes, current
from files_source.schema import FILES

EMPTY = cast(pl.DataFrame, pl.from_arrow(FILES.empty_table()))
INSTANT = pl.Datetime("us", "UTC")
NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)
ACCOUNTS = ["lab", "team"]
PURPOSES = {"file-1": "batch", "file-2": "batch", "file-3": "vision", "file-4": "vision"}

Listing = Mapping[str, int | None]
"""What a scan found: the size of each file, by id."""
Inventory = set[tuple[str, str, int | None]]
"""Account, id and size of each file."""


def minute(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One account's run; times in minutes."""

    account: str = "team"
    mode: str = "history"
    purpose: str | None = None
    started: int
    finished: int
    complete: bool = True
    files: Listing

    def covers(self, account: str, file_id: str) -> bool:
        return account == self.account and self.purpose in (None, PURPOSES[file_id])


@st.composite
def lives(draw: st.DrawFn) -> list[Run]:
    """Draw the runs of two accounts' lives: files come, change, go and come back between them."""
    runs = []
    for number in range(draw(st.integers(0, 8))):
        purpose = draw(st.sampled_from([None, None, "batch", "vision"]))
        ids = [file_id for file_id in PURPOSES if purpose in (None, PURPOSES[file_id])]
        runs.append(
            Run(
                account=draw(st.sampled_from(ACCOUNTS)),
                mode=draw(st.sampled_from(["history", "history", "history", "incremental", "full"])),
                purpose=purpose,
                started=2 * number,
                finished=2 * number + draw(st.integers(1, 5)),
                complete=draw(st.sampled_from([True, True, True, False])),
                files=draw(st.dictionaries(st.sampled_from(ids), st.sampled_from([None, 1, 2]))),
            )
        )
    return runs


INSTANTS = st.integers(-1, 22).map(minute)


def found(runs: Iterable[Run], at: datetime) -> Inventory:
    """Return what the complete history runs that had finished by *at* left, each in place of what it covers."""
    inventory: Inventory = set()
    for run in runs:
        if run.mode == "history" and run.complete and minute(run.finished) <= at:
            inventory = {row for row in inventory if not run.covers(*row[:2])}
            inventory |= {(run.account, file_id, size) for file_id, size in run.files.items()}
    return inventory


def by_end(runs: list[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: run.finished)


def versions(runs: list[Run]) -> pl.DataFrame:
    """Return `files_history` after *runs*, as a destination makes it: each load retires and adds rows."""
    rows: list[dict[str, object]] = []
    for run in by_end(runs):
        if run.mode != "history" or not run.complete:
            continue
        added = dict(run.files)
        for row in rows:
            file_id = str(row["id"])
            if row["_dlt_valid_to"] is None and run.covers(str(row["account"]), file_id):
                if file_id in added and added[file_id] == row["bytes"]:
                    del added[file_id]
                else:
                    row["_dlt_valid_to"] = minute(run.finished)
        rows += [
            file(run.account, file_id, size) | {"_dlt_valid_from": minute(run.finished), "_dlt_valid_to": None}
            for file_id, size in added.items()
        ]
    return framed(rows, _dlt_valid_from=INSTANT, _dlt_valid_to=INSTANT)


def snapshots(runs: Iterable[Run]) -> pl.DataFrame:
    """Return `files_snapshots` after *runs*; what a run that failed had read is there, too."""
    return framed(
        [
            file(run.account, file_id, size) | {"snapshot_at": minute(run.started)}
            for run in runs
            if run.mode == "history"
            for file_id, size in run.files.items()
        ],
        snapshot_at=INSTANT,
    )


def ledger(runs: Iterable[Run]) -> pl.DataFrame:
    """Return the columns of `scans` that tell which snapshots count."""
    return pl.DataFrame(
        [(run.account, run.mode, run.purpose, minute(run.started), minute(run.finished), run.complete) for run in runs],
        schema={
            "account": pl.String,
            "mode": pl.String,
            "purpose": pl.String,
            "started_at": INSTANT,
            "finished_at": INSTANT,
            "complete": pl.Boolean,
        },
        orient="row",
    )


def file(account: str, file_id: str, size: int | None) -> dict[str, object]:
    return {
        "account": account,
        "id": file_id,
        "bytes": size,
        "created_at": NOON,
        "filename": "requests.jsonl",
        "object": "file",
        "purpose": PURPOSES[file_id],
    }


def framed(rows: Iterable[Mapping[str, object]], **further: pl.DataType) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema={**EMPTY.schema, **further})


def inventory(rows: pl.DataFrame) -> Inventory:
    """Return what *rows* hold; no file twice."""
    files = rows.select("account", "id", "bytes").rows()
    assert len(set(files)) == len(files)
    return set(files)


def either(function: Callable[..., pl.DataFrame], *frames: pl.DataFrame, **settings: object) -> pl.DataFrame:
    """Return what *function* makes of eager frames, after a check that it makes the same of lazy ones."""
    eager = function(*frames, **settings)
    lazy = cast(pl.LazyFrame, function(*(frame.lazy() for frame in frames), **settings))
    assert_frame_equal(lazy.collect(), eager)
    return eager


class TestHistory:
    """Versions of files, each with the time it was valid."""

    @settings(max_examples=100)
    @given(runs=lives(), at=INSTANTS)
    def test_the_inventory_at_an_instant_is_what_the_runs_until_then_had_left(self, runs: list[Run], at: datetime):
        """However files came, changed, went and came back, and whatever the runs covered."""
        history = versions(runs)

        rows = either(as_of, history, at=at)

        assert inventory(rows) == found(by_end(runs), at)
        assert rows.schema == history.schema

    @given(runs=lives())
    def test_the_current_inventory_is_what_all_runs_have_left(self, runs: list[Run]):
        """What is valid now is what was found last, and what is valid at any later time."""
        history = versions(runs)

        rows = either(current, history)

        assert inventory(rows) == found(by_end(runs), minute(1_000))
        assert_frame_equal(rows, as_of(history, minute(1_000)))

    @pytest.mark.parametrize(
        ("at", "size"),
        [
            pytest.param(minute(1) - timedelta(microseconds=1), None, id="just before the first run"),
            pytest.param(minute(1), 1, id="when it appears"),
            pytest.param(minute(3) - timedelta(microseconds=1), 1, id="just before it changes"),
            pytest.param(minute(3), 2, id="when it changes"),
            pytest.param(minute(5), None, id="when it is gone"),
            pytest.param(minute(7), 3, id="when it is back"),
        ],
    )
    def test_a_version_is_valid_from_its_run_until_the_next(self, at: datetime, size: int | None):
        """The first instant counts, the last does not."""
        sizes = [{"file-1": 1}, {"file-1": 2}, {}, {"file-1": 3}]
        history = versions([Run(started=2 * n, finished=2 * n + 1, files=files) for n, files in enumerate(sizes)])

        rows = as_of(history, at)

        assert rows["bytes"].to_list() == ([] if size is None else [size])


class TestSnapshots:
    """Whole inventories, and the ledger that says which of them count."""

    @settings(max_examples=100)
    @given(runs=lives(), at=INSTANTS)
    def test_the_inventory_at_an_instant_is_what_the_runs_until_then_had_left(self, runs: list[Run], at: datetime):
        """The run that started last counts where runs overlap; an emptied account has no rows, a failed run no say."""
        rows = either(as_of_snapshots, snapshots(runs), ledger(runs), at=at)

        assert inventory(rows) == found(runs, at)
        assert rows.columns == [*FILES.names, "snapshot_at"]

    @pytest.mark.parametrize(
        ("second", "left"),
        [
            pytest.param(Run(started=2, finished=3, files={"file-1": 2}), {"file-1": 2}, id="the later counts"),
            pytest.param(Run(started=2, finished=3, files={}), {}, id="the account was emptied"),
            pytest.param(
                Run(started=2, finished=3, purpose="batch", files={}), {"file-3": 1}, id="a purpose was emptied"
            ),
            pytest.param(
                Run(started=2, finished=3, purpose="batch", files={"file-2": 5}),
                {"file-2": 5, "file-3": 1},
                id="only one purpose",
            ),
            pytest.param(
                Run(started=2, finished=3, complete=False, files={"file-2": 5}),
                {"file-1": 1, "file-3": 1},
                id="it failed half way",
            ),
            pytest.param(
                Run(started=2, finished=3, mode="incremental", files={}),
                {"file-1": 1, "file-3": 1},
                id="it looked for new files only",
            ),
            pytest.param(
                Run(started=2, finished=9, files={"file-2": 5}), {"file-1": 1, "file-3": 1}, id="it goes on still"
            ),
            pytest.param(
                Run(account="lab", started=2, finished=3, files={"file-1": 2}),
                {"file-1": 1, "file-3": 1},
                id="another account",
            ),
        ],
    )
    def test_after_a_second_run(self, second: Run, left: Listing):
        """What the first run found stays as far as the second did not look, or did not get through."""
        runs = [Run(started=0, finished=1, files={"file-1": 1, "file-3": 1}), second]

        rows = as_of_snapshots(snapshots(runs), ledger(runs), at=minute(8)).filter(pl.col("account") == "team")

        assert inventory(rows) == {("team", file_id, size) for file_id, size in left.items()}

    def test_rows_stay_in_their_order(self):
        """What was sorted stays sorted."""
        runs = [Run(started=0, finished=1, files=dict.fromkeys(["file-4", "file-1", "file-3", "file-2"], 1))]

        rows = as_of_snapshots(snapshots(runs), ledger(runs), at=minute(1))

        assert rows["id"].to_list() == ["file-4", "file-1", "file-3", "file-2"]


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(datetime(2026, 9, 21, 12, 3), id="no zone"),  # noqa: DTZ001 - the point
        pytest.param(datetime(2026, 9, 21, 12, 3, tzinfo=UTC), id="UTC"),
        pytest.param(datetime(2026, 9, 21, 21, 3, tzinfo=timezone(timedelta(hours=9))), id="another zone"),
    ],
)
def test_an_instant_without_a_zone_is_in_utc(at: datetime):
    """Wherever the program runs; an instant of another zone is the same instant."""
    runs = [Run(started=n, finished=n, files={"file-1": n}) for n in range(6)]

    assert as_of(versions(runs), at)["bytes"].to_list() == [3]
    assert as_of_snapshots(snapshots(runs), ledger(runs), at=at)["bytes"].to_list() == [3]


FILE = st.fixed_dictionaries(
    {
        "bytes": st.sampled_from([None, 0, 1]),
        "created_at": st.sampled_from([minute(0), minute(1)]),
        "filename": st.sampled_from(["", "a", "b"]),
        "object": st.just("file"),
        "purpose": st.sampled_from(["batch", "vision"]),
        "status": st.sampled_from([None, "uploaded", "processed"]),
        "expires_at": st.sampled_from([None, minute(5), minute(6)]),
        "status_details": st.sampled_from([None, ""]),
        "extra": st.sampled_from([None, "{}"]),
    }
)
KEYS = st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(sorted(PURPOSES)))
Files = dict[tuple[str, str], dict[str, object]]


@st.composite
def two_inventories(draw: st.DrawFn) -> tuple[Files, Files]:
    """Draw two inventories that have much in common."""
    before: Files = draw(st.dictionaries(KEYS, FILE))
    after = {key: values for key, values in before.items() if draw(st.integers(0, 3))}
    for key, values in after.items():
        if draw(st.booleans()):
            name = draw(st.sampled_from(FILES.names[2:]))
            after[key] = values | {name: draw(FILE)[name]}
    return before, draw(st.dictionaries(KEYS, FILE, max_size=2)) | after


def listed(files: Files, *, backwards: bool = False) -> pl.DataFrame:
    """Return *files* as rows with a column that no inventory has, in one order or the other."""
    rows = [{"account": key[0], "id": key[1], "snapshot_at": NOON} | values for key, values in files.items()]
    return framed(rows[::-1] if backwards else rows, snapshot_at=INSTANT)


class TestChanges:
    """What happened between two inventories."""

    @settings(max_examples=100)
    @given(inventories=two_inventories())
    def test_every_file_that_differs_is_told_with_what_differs(self, inventories: tuple[Files, Files]):
        """One row for each, by account and id, null like any other value; none for a file that stayed as it was."""
        before, after = inventories

        rows = either(changes, listed(before), listed(after, backwards=True))

        expected = []
        for key in sorted(before.keys() | after.keys()):
            was, now = before.get(key), after.get(key)
            change = "created" if was is None else "deleted" if now is None else "changed"
            changed = [name for name in FILES.names[2:] if was and now and was[name] != now[name]]
            if was != now:
                told = {"account": key[0], "id": key[1]} | (now or was or {})
                expected.append({"change": change} | told | {"changed": changed})
        assert rows.to_dicts() == expected
        assert rows.schema == {"change": pl.String, **EMPTY.schema, "changed": pl.List(pl.String)}

    @settings(max_examples=100)
    @given(inventories=two_inventories())
    def test_applied_to_what_was_they_give_what_is(self, inventories: tuple[Files, Files]):
        """Nothing else is needed to go from one inventory to the next."""
        before, after = map(listed, inventories)

        told = changes(before, after)

        kept = before.join(told, on=["account", "id"], how="anti")
        result = pl.concat([kept.select(FILES.names), told.filter(change="changed").select(FILES.names)])
        result = pl.concat([result, told.filter(change="created").select(FILES.names)])
        assert_frame_equal(result, after.select(FILES.names), check_row_order=False)

    @pytest.mark.parametrize("column", FILES.names[2:])
    def test_no_column_changes_unseen(self, column: str):
        """From a value to null and back, whichever column it is."""
        values = {
            name: 1 if kind == pl.Int64 else NOON if kind == INSTANT else "x" for name, kind in EMPTY.schema.items()
        }
        with_value, with_null = framed([values]), framed([values | {column: None}])

        assert changes(with_value, with_null)["changed"].to_list() == [[column]]
        assert changes(with_null, with_value)["changed"].to_list() == [[column]]
