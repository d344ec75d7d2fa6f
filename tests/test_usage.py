from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, TypeVar, cast

import httpx
import polars as pl
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from polars.io.plugins import register_io_source
from polars.testing import assert_frame_equal

from files_source import usage
from files_source.accounts import Account
from files_source.cleanup import Cleanup
from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator
from files_source.errors import ConfigError
from files_source.history import as_of, current
from files_source.schema import FILES

EMPTY = cast(pl.DataFrame, pl.from_arrow(FILES.empty_table()))
INSTANT = EMPTY.schema["created_at"]
NO_HISTORY = EMPTY.with_columns(
    pl.lit(None, INSTANT).alias("_dlt_valid_from"), pl.lit(None, INSTANT).alias("_dlt_valid_to")
)
NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
KNOWN = {"files": pl.Int64, "bytes": pl.Int64, "unknown_size": pl.Int64}

Row = dict[str, Any]
Answer = TypeVar("Answer", pl.DataFrame, pl.LazyFrame)

EDGES = [NOON + days * DAY + tick for days in (-365, -90, -30, -7, -1, 0, 1, 7, 30) for tick in (-TICK, 0 * TICK, TICK)]
MOMENTS = st.sampled_from(EDGES) | st.datetimes(
    NOON.replace(year=2024, tzinfo=None),
    NOON.replace(year=2028, tzinfo=None),
    timezones=st.just(UTC),
)
FAR = st.datetimes(FIRST.replace(tzinfo=None) + TICK, timezones=st.just(UTC))
"""Any instant but the first, which no comparison tells from those before it."""
SIZES = st.none() | st.integers(0, 3) | st.integers(0, 2**58)
SPANS = st.sampled_from([timedelta(), TICK, DAY, 7 * DAY, 30 * DAY]) | st.timedeltas(timedelta(), timedelta.max)


def rows(moments: st.SearchStrategy[datetime] = MOMENTS | FAR, *, most: int = 12) -> st.SearchStrategy[list[Row]]:
    """Draw the files of two accounts, with names, sizes and times in common."""
    row = st.fixed_dictionaries(
        {
            "account": st.sampled_from(["lab", "team"]),
            "id": st.integers(0, 30).map("file-{:02}".format),
            "bytes": SIZES,
            "created_at": moments,
            "filename": st.sampled_from(["", "a", "ü\n"]),
            "object": st.just("file"),
            "purpose": st.sampled_from(["batch", "batch_output", "vision"]),
            "status": st.sampled_from([None, "error", "processed"]),
            "expires_at": st.none() | moments,
        }
    )
    return st.lists(row, max_size=most, unique_by=lambda row: (row["account"], row["id"]))


def framed(files: Sequence[Mapping[str, object]], like: pl.DataFrame = EMPTY) -> pl.DataFrame:
    return pl.DataFrame(files, schema=like.schema)


def answer(question: Callable[[Any], Any], files: pl.DataFrame) -> pl.DataFrame:
    """Return what *question* says of a frame, after a check that it says the same of a lazy one, on either engine."""
    eager = question(files)
    lazy = question(files.lazy())
    assert isinstance(lazy, pl.LazyFrame)
    assert lazy.collect_schema() == eager.schema
    for engine in ("in-memory", "streaming"):
        assert_frame_equal(lazy.collect(engine=engine), eager, rel_tol=1e-12)
    return cast(pl.DataFrame, eager)


def told(files: Sequence[Row]) -> Row:
    """Return the measures of some files."""
    return {
        "files": len(files),
        "bytes": sum(row["bytes"] or 0 for row in files),
        "unknown_size": sum(row["bytes"] is None for row in files),
    }


def grouped(files: Sequence[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups = defaultdict(list)
    for row in files:
        groups[key(row)].append(row)
    return groups


def null_last(*values: object) -> tuple[object, ...]:
    return tuple((value is None, "" if value is None else value) for value in values)


def ordered(files: Sequence[Row], key: Callable[[Row], Any]) -> list[str]:
    return [row["account"] + row["id"] for row in sorted(files, key=lambda row: (key(row), row["account"], row["id"]))]


def kept(files: pl.DataFrame) -> list[str]:
    """Return which files a frame holds, in its order."""
    return (files["account"] + files["id"]).to_list()


def before(moment: datetime, span: timedelta) -> datetime:
    try:
        return moment - span
    except OverflowError:
        return FIRST


def later(moment: datetime, ticks: int) -> datetime | None:
    try:
        return moment + ticks * TICK
    except OverflowError:
        return None


QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "totals": usage.totals,
    "by": lambda files: usage.by(files, "purpose"),
    "by_month": usage.by_month,
    "by_month, column": lambda files: usage.by_month(files, "purpose"),
    "largest": usage.largest,
    "ages": lambda files: usage.ages(files, now=NOON),
    "expiring": lambda files: usage.expiring(files, now=NOON, within=DAY),
    "expiring_soon": lambda files: usage.expiring_soon(files, now=NOON),
    "never_expiring": usage.never_expiring,
    "unexpired": lambda files: usage.unexpired(files, now=NOON),
    "older_than": lambda files: usage.older_than(files, now=NOON, age=DAY),
    "duplicates": usage.duplicates,
    "quota": lambda files: usage.quota(files, now=NOON),
    "cleanup_candidates": lambda files: usage.cleanup_candidates(
        files, now=NOON, older_than=DAY, purpose="batch", larger_than=0, copies=True
    ),
    "over_time": lambda history: usage.over_time(history, until=NOON),
}
"""Every question, as it may be asked."""


class TestTotals:
    """Everything at once."""

    @given(files=rows())
    def test_they_are_counts_sums_and_ends(self, files: list[Row]):
        """Null sizes are counted apart; without files there are zeros, and no ends."""
        total = answer(usage.totals, framed(files))

        times = [row["created_at"] for row in files]
        ends = {"oldest": min(times, default=None), "newest": max(times, default=None)}
        assert total.to_dicts() == [told(files) | {"accounts": len({row["account"] for row in files})} | ends]


class TestBy:
    """A row for each value."""

    @given(files=rows(), columns=st.lists(st.sampled_from(["account", "purpose", "status"]), max_size=3, unique=True))
    @example(files=[], columns=[])
    def test_groups_come_with_most_bytes_first_then_by_name(self, files: list[Row], columns: list[str]):
        """Grouped by what may be null too, and by nothing: then there is one group, of all files."""
        groups = answer(lambda frame: usage.by(frame, *columns), framed(files))

        whole = told(files)["bytes"]
        expected = [
            dict(zip(columns, key, strict=True))
            | told(group)
            | {"share": told(group)["bytes"] / whole if whole else None}
            for key, group in grouped(files, lambda row: tuple(row[name] for name in columns)).items()
        ]
        expected = expected if columns or files else [told([]) | {"share": None}]
        expected.sort(key=lambda row: (-row["bytes"], null_last(*(row[name] for name in columns))))
        assert_frame_equal(groups, pl.DataFrame(expected, schema=groups.schema), rel_tol=1e-12)

    @pytest.mark.parametrize(
        "ask",
        [
            lambda: usage.by(EMPTY, "purpose", "bytes"),
            lambda: usage.by(EMPTY.lazy(), "files"),
            lambda: usage.by(EMPTY, "purpose", "purpose"),
            lambda: usage.by_month(EMPTY, "bytes"),
            lambda: usage.by_month(EMPTY.lazy(), "month"),
        ],
    )
    def test_a_column_of_the_answer_is_refused(self, ask: Callable[[], object]):
        """It would stand there twice; so would one that is given twice."""
        with pytest.raises(ConfigError, match=r"'\w+' is a column of the answer already: group by others, each once"):
            ask()

    @given(files=rows())
    def test_shares_are_parts_of_one(self, files: list[Row]):
        """They add up to one, or are null where no byte is known of."""
        shares = usage.by(framed(files), "purpose")["share"]

        assert shares.null_count() in (0, len(shares))
        if told(files)["bytes"]:
            assert shares.sum() == pytest.approx(1)
        else:
            assert shares.null_count() == len(shares)


class TestByMonth:
    """What each month added."""

    @given(files=rows())
    def test_no_month_between_the_first_and_the_last_is_missing(self, files: list[Row]):
        """Months without files are rows of zeros, over thousands of years if need be."""
        months = answer(usage.by_month, framed(files))

        groups = grouped(files, lambda row: 12 * row["created_at"].year + row["created_at"].month - 1)
        every = range(min(groups), max(groups) + 1) if groups else []
        expected = [
            {"month": date(number // 12, number % 12 + 1, 1)} | told(groups.get(number, [])) for number in every
        ]
        assert_frame_equal(months, pl.DataFrame(expected, schema={"month": pl.Date} | KNOWN))

    @given(files=rows())
    def test_with_columns_there_is_a_row_for_each_month_and_value(self, files: list[Row]):
        """None where there is nothing; by month, then by name, null last."""
        months = answer(lambda frame: usage.by_month(frame, "status", "purpose"), framed(files))

        def key(row: Row) -> tuple[object, ...]:
            return row["created_at"].date().replace(day=1), row["status"], row["purpose"]

        groups = grouped(files, key)
        expected = [
            dict(zip(("month", "status", "purpose"), found, strict=True)) | told(groups[found])
            for found in sorted(groups, key=lambda found: null_last(*found))
        ]
        assert months.to_dicts() == expected


class TestLargest:
    """The few that matter most."""

    @given(files=rows(), count=st.integers(0, 15))
    def test_the_largest_come_first(self, files: list[Row], count: int):
        """As many as asked for; one of unknown size is none of them."""
        top = answer(lambda frame: usage.largest(frame, count), framed(files))

        known = [row for row in files if row["bytes"] is not None]
        assert kept(top) == ordered(known, lambda row: -row["bytes"])[:count]
        assert top.schema == EMPTY.schema

    def test_a_negative_count_is_refused(self):
        """It would mean something else to polars."""
        with pytest.raises(ConfigError, match="count is -1"):
            usage.largest(EMPTY, -1)


class TestAges:
    """How old what is there is."""

    BUCKETS = (
        ("under 1 day", 1),
        ("1 to 7 days", 7),
        ("7 to 30 days", 30),
        ("30 to 90 days", 90),
        ("90 days to 1 year", 365),
        ("over 1 year", 10**8),
    )

    @given(files=rows(), now=st.just(NOON) | FAR)
    def test_every_file_is_in_one_of_six_ages(self, files: list[Row], now: datetime):
        """In order, those without files too; a file from the future, by a clock that is ahead, is the youngest."""
        buckets = answer(lambda frame: usage.ages(frame, now=now), framed(files))

        def age(row: Row) -> str:
            return next(name for name, days in self.BUCKETS if now - row["created_at"] < timedelta(days=days))

        groups = grouped(files, age)
        assert buckets.to_dicts() == [{"age": name} | told(groups[name]) for name, _ in self.BUCKETS]


class TestExpiring:
    """What goes by itself, and what does not."""

    @given(files=rows(), now=st.just(NOON) | FAR, within=SPANS)
    def test_those_that_expire_in_time_come_soonest_first(self, files: list[Row], now: datetime, within: timedelta):
        """After now, as what expires now is gone, up to the last instant asked for."""
        soon = answer(lambda frame: usage.expiring(frame, now=now, within=within), framed(files))

        expected = [row for row in files if row["expires_at"] and timedelta() < row["expires_at"] - now <= within]
        assert kept(soon) == ordered(expected, lambda row: row["expires_at"])

    @pytest.mark.parametrize(
        ("expires_at", "soon"),
        [
            pytest.param(NOON, False, id="now"),
            pytest.param(NOON + TICK, True, id="next"),
            pytest.param(NOON + DAY, True, id="at last"),
            pytest.param(NOON + DAY + TICK, False, id="too late"),
            pytest.param(None, False, id="never"),
        ],
    )
    def test_now_is_too_early_and_the_last_instant_is_in_time(self, expires_at: datetime | None, soon: bool):
        """What expires now is gone."""
        files = framed([file("file-1", expires_at=expires_at)])

        assert usage.expiring(files, now=NOON, within=DAY).height == soon

    @given(files=rows())
    def test_each_term_holds_the_shorter_ones(self, files: list[Row]):
        """Within 1, 7 and 30 days, as `expiring` counts them."""
        terms = answer(lambda frame: usage.expiring_soon(frame, now=NOON), framed(files))

        counts = [
            usage.totals(usage.expiring(framed(files), now=NOON, within=days * DAY)).select(*KNOWN).to_dicts()[0]
            for days in (1, 7, 30)
        ]
        assert terms.to_dicts() == [{"within_days": days} | told for days, told in zip((1, 7, 30), counts, strict=True)]

    @given(files=rows())
    def test_those_without_an_expiry_come_oldest_first(self, files: list[Row]):
        """They stay until they are deleted."""
        staying = answer(usage.never_expiring, framed(files))

        assert kept(staying) == ordered([row for row in files if not row["expires_at"]], lambda row: row["created_at"])

    @given(files=rows(), now=st.just(NOON) | FAR)
    def test_what_has_not_expired_stays_in_its_order(self, files: list[Row], now: datetime):
        """At the instant of its expiry a file is gone."""
        there = answer(lambda frame: usage.unexpired(frame, now=now), framed(files))

        assert there.rows() == framed([row for row in files if not row["expires_at"] or row["expires_at"] > now]).rows()


class TestOlderThan:
    """What has been there for long."""

    @given(files=rows(), now=st.just(NOON) | FAR, age=SPANS)
    def test_those_of_that_age_come_oldest_first(self, files: list[Row], now: datetime, age: timedelta):
        """Those that are just so old are not, as they are not to `files-source cleanup`."""
        old = answer(lambda frame: usage.older_than(frame, now=now, age=age), framed(files))

        expected = [row for row in files if now - row["created_at"] > age]
        assert kept(old) == ordered(expected, lambda row: row["created_at"])


class TestDuplicates:
    """Candidates for copies."""

    @given(files=rows())
    def test_files_of_one_account_name_and_size_may_be_copies(self, files: list[Row]):
        """All but the newest could be freed; a file of unknown size is a copy of none."""
        found = answer(usage.duplicates, framed(files))

        assert found.to_dicts() == copies(files)
        assert found.schema == {
            "account": pl.String,
            "filename": pl.String,
            "bytes": pl.Int64,
            "copies": pl.Int64,
            "freed": pl.Int64,
            "newest_id": pl.String,
            "other_ids": pl.List(pl.String),
        }


def copies(files: Sequence[Row]) -> list[Row]:
    """Return the candidates for copies among some files."""
    found = []
    for (account, filename, size), group in grouped(
        files, lambda row: (row["account"], row["filename"], row["bytes"])
    ).items():
        ids = [row["id"] for row in sorted(group, key=lambda row: (-(row["created_at"] - FIRST), row["id"]))]
        if size is not None and len(ids) > 1:
            found.append(
                {
                    "account": account,
                    "filename": filename,
                    "bytes": size,
                    "copies": len(ids),
                    "freed": size * (len(ids) - 1),
                    "newest_id": ids[0],
                    "other_ids": ids[1:],
                }
            )
    return sorted(found, key=lambda row: (-row["freed"], row["account"], row["filename"], row["bytes"]))


class TestQuota:
    """How much of its limit an account takes, and until when."""

    @given(
        files=rows(),
        now=st.just(NOON) | FAR,
        limit=st.integers(1, 10) | st.integers(1, 2**60),
        over=SPANS.filter(bool).map(lambda span: min(span, LAST - FIRST)),
    )
    def test_the_growth_of_late_is_taken_to_go_on(self, files: list[Row], now: datetime, limit: int, over: timedelta):
        """The date is that of now where it is full, and none where it does not grow or the calendar ends before."""
        accounts = answer(lambda frame: usage.quota(frame, now=now, limit=limit, over=over), framed(files))

        expected = []
        for account, group in grouped(files, lambda row: row["account"]).items():
            staying = [row for row in group if row["expires_at"] is None]
            recent = [row for row in staying if timedelta() <= now - row["created_at"] < over]
            growth = told(recent)["bytes"] / (over / DAY)
            left = limit - told(group)["bytes"]
            full = now if left <= 0 else later(now, left * (over // TICK) // told(recent)["bytes"]) if growth else None
            expected.append(
                {"account": account}
                | told(group)
                | {"share": told(group)["bytes"] / limit, "growth_per_day": growth, "full_on": full and full.date()}
            )
        expected.sort(key=lambda row: (-row["bytes"], row["account"]))
        assert_frame_equal(accounts, pl.DataFrame(expected, schema=accounts.schema), rel_tol=1e-12)

    @pytest.mark.parametrize(
        ("sizes", "full_on"),
        [
            pytest.param([(40, 400), (10, 100)], date(2027, 2, 18), id="500 of 1,000, and 100 in 30 days"),
            pytest.param([(40, 999), (10, 1)], date(2026, 9, 21), id="full today"),
            pytest.param([(40, 2_000)], date(2026, 9, 21), id="full for long"),
            pytest.param([(40, 500)], None, id="nothing came in 30 days"),
            pytest.param([(30, 500)], None, id="just 30 days ago"),
            pytest.param([(10, None)], None, id="of unknown size"),
        ],
    )
    def test_the_day_when_it_is_full(self, sizes: list[tuple[int, int | None]], full_on: date | None):
        """At the growth of the last 30 days."""
        files = [file(f"file-{days}", created_at=NOON - days * DAY, bytes=size) for days, size in sizes]

        (account,) = usage.quota(framed(files), now=NOON, limit=1_000).to_dicts()

        assert account["full_on"] == full_on

    def test_what_expires_does_not_add_up(self):
        """As much each day, each of which expires after 30 days, stays as much: no day will be that of the limit."""
        steady = [
            file(f"file-{days}", created_at=NOON - days * DAY, bytes=60, expires_at=NOON + (30 - days) * DAY)
            for days in range(30)
        ]
        kept = file("file-kept", created_at=NOON - 5 * DAY, bytes=30)

        expiring, growing = (usage.quota(framed(files), now=NOON, limit=2_000) for files in (steady, [*steady, kept]))

        assert expiring.select("bytes", "growth_per_day", "full_on").rows() == [(1_800, 0.0, None)]
        assert growing.select("bytes", "growth_per_day", "full_on").rows() == [(1_830, 1.0, date(2027, 3, 10))]

    @pytest.mark.parametrize(("further", "full_on"), [(0, date.max), (1, None)], ids=["the last day", "the day after"])
    def test_the_calendar_ends_with_the_year_9999(self, further: int, full_on: date | None):
        """A byte a day may take longer."""
        days = (date.max - NOON.date()).days + further

        filling = usage.quota(framed([file("file-1", bytes=1)]), now=NOON, limit=1 + days, over=DAY)

        assert filling["full_on"].to_list() == [full_on]

    def test_the_limit_is_that_of_a_project(self):
        """2.5 TB, as the API's documentation has it."""
        files = framed([file("file-1", bytes=25_000_000_000)])

        assert usage.quota(files, now=NOON)["share"].to_list() == [0.01]

    @pytest.mark.parametrize(
        "given", [{"limit": 0}, {"limit": 2**63}, {"over": timedelta()}, {"over": timedelta.max}], ids=str
    )
    def test_what_cannot_be_measured_is_refused(self, given: dict[str, Any]):
        """No limit or no time, or more than there is."""
        with pytest.raises(ConfigError, match="give more than 0"):
            usage.quota(EMPTY, now=NOON, **given)


class TestCleanupCandidates:
    """What might be deleted, and why."""

    @given(
        files=rows(),
        age=st.none() | SPANS,
        purpose=st.none() | st.sampled_from(["batch", ["batch", "vision"], ("vision",), []]),
        size=st.none() | st.integers(0, 3),
        only_copies=st.booleans(),
    )
    def test_all_that_is_asked_for_is_true_of_them(
        self,
        files: list[Row],
        age: timedelta | None,
        purpose: str | Sequence[str] | None,
        size: int | None,
        only_copies: bool,
    ):
        """The largest first; copies are looked for among all that is there, and what has expired is not."""
        wanted = {"older_than": age, "purpose": purpose, "larger_than": size, "copies": only_copies}
        assume(only_copies or any(value is not None for value in (age, purpose, size)))

        found = answer(lambda frame: usage.cleanup_candidates(frame, now=NOON, **wanted), framed(files))

        there = [row for row in files if row["expires_at"] is None or row["expires_at"] > NOON]
        older = {(row["account"], file_id) for row in copies(there) for file_id in row["other_ids"]}
        expected = [
            row
            for row in there
            if (age is None or NOON - row["created_at"] > age)
            and (purpose is None or row["purpose"] in ([purpose] if isinstance(purpose, str) else purpose))
            and (size is None or (row["bytes"] is not None and row["bytes"] > size))
            and (not only_copies or (row["account"], row["id"]) in older)
        ]
        assert kept(found) == ordered(expected, lambda row: null_last(row["bytes"] and -row["bytes"]))
        assert found.schema == {**EMPTY.schema, "reason": pl.String}
        assert found["reason"].null_count() == 0

    @pytest.mark.parametrize(
        ("wanted", "reason"),
        [
            pytest.param({"older_than": 90 * DAY}, "older than 90 days", id="age"),
            pytest.param({"older_than": DAY}, "older than 1 day", id="a day"),
            pytest.param({"older_than": DAY / 2}, "older than 12 hours", id="half a day"),
            pytest.param({"older_than": 1.5 * DAY}, "older than 36 hours", id="a day and a half"),
            pytest.param({"older_than": DAY / 1_440}, "older than 1 minute", id="a minute"),
            pytest.param({"older_than": timedelta(seconds=100)}, "older than 100 seconds", id="100 seconds"),
            pytest.param({"older_than": 1_500 * DAY}, "older than 1,500 days", id="years"),
            pytest.param({"older_than": TICK}, "older than 0.000001 seconds", id="a tick"),
            pytest.param({"older_than": timedelta()}, "older than 0 days", id="no age"),
            pytest.param({"purpose": ["batch", "vision"]}, "of purpose batch", id="purpose"),
            pytest.param({"larger_than": 1_000}, "larger than 1,000 bytes", id="size"),
            pytest.param({"copies": True}, "maybe a copy of file-2", id="copy"),
            pytest.param(
                {"copies": True, "larger_than": 9, "purpose": "batch", "older_than": 30 * DAY},
                "older than 30 days, of purpose batch, larger than 9 bytes, maybe a copy of file-2",
                id="all",
            ),
        ],
    )
    def test_each_comes_with_its_reason(self, wanted: dict[str, Any], reason: str):
        """What was asked for, in words."""
        files = [
            file("file-1", created_at=NOON - 2_000 * DAY, bytes=2_000),
            file("file-2", purpose="vision", bytes=2_000),
        ]

        found = usage.cleanup_candidates(framed(files), now=NOON, **wanted)

        assert found.filter(id="file-1")["reason"].to_list() == [reason]

    def test_they_are_those_of_the_command(self):
        """Of files about an age, by a second each, `files-source cleanup` lists the same."""
        now = int(NOON.timestamp())
        emulator = Emulator(clock=Clock(now))
        for second in range(-2, 3):
            for purpose in ("batch", "vision"):
                emulator.add(created_at=now - 3_600 + second, purpose=purpose, size=second + 2)
        client = FilesClient(Account(base_url="http://made-up/v1"), transport=httpx.WSGITransport(app=emulator))
        with client, Cleanup(client=client).candidates(older_than=timedelta(hours=1), purpose="batch") as listed:
            commanded = [row["id"] for _, table in listed.tables() for row in table.to_pylist()]
            files = cast(pl.DataFrame, pl.from_arrow(client.page(limit=10).files))

        found = usage.cleanup_candidates(files, now=NOON, older_than=timedelta(hours=1), purpose="batch")

        assert sorted(found["id"]) == sorted(commanded)
        assert len(commanded) == 2

    @pytest.mark.parametrize(
        "ask",
        [
            lambda age: usage.cleanup_candidates(EMPTY, now=NOON, older_than=age),
            lambda age: usage.older_than(EMPTY, now=NOON, age=age),
        ],
        ids=["cleanup_candidates", "older_than"],
    )
    @pytest.mark.parametrize(
        ("age", "message"),
        [
            (-TICK, "is negative: give more than 0"),
            ("3m", "'3m' is ambiguous: give 3min for minutes or 3mo for months"),
            (90, r"\(int\) is no duration: give a timedelta, or text such as"),
        ],
    )
    def test_what_is_no_age_is_refused(self, ask: Callable[[Any], object], age: object, message: str):
        """As the command refuses it: every file might be older."""
        with pytest.raises(ConfigError, match=rf"^(age|older_than) .*{message}"):
            ask(age)

    def test_what_has_a_copy_that_has_expired_is_the_only_one(self):
        """It is no candidate for a copy of something that is gone."""
        files = [file("file-1", created_at=NOON - DAY), file("file-2", expires_at=NOON)]

        assert usage.cleanup_candidates(framed(files), now=NOON, copies=True).is_empty()

    def test_without_a_reason_there_are_none(self):
        """Not every file is a candidate because nothing was said."""
        with pytest.raises(ConfigError, match="every file is a candidate: give older_than"):
            usage.cleanup_candidates(EMPTY, now=NOON)


def file(file_id: str, **values: object) -> Row:
    usual = {"account": "team", "bytes": 10, "created_at": NOON, "filename": "a", "object": "file", "purpose": "batch"}
    return usual | {"id": file_id, "status": None, "expires_at": None} | values


@st.composite
def histories(draw: st.DrawFn, moments: st.SearchStrategy[datetime]) -> list[list[Row]]:
    """Draw the versions of some files, in order; some were not seen for a while, some came twice."""
    files = []
    for number in range(draw(st.integers(0, 5))):
        starts = sorted(draw(st.lists(moments, min_size=1, max_size=4, unique=True)))
        shared = {"account": draw(st.sampled_from(["lab", "team"])), "created_at": draw(moments)}
        versions = []
        for start, following in zip(starts, [*starts[1:], None], strict=True):
            until = draw(
                st.none() | moments if following is None else st.sampled_from([following, between(start, following)])
            )
            varying = {"bytes": draw(SIZES), "expires_at": draw(st.none() | moments)}
            valid = {"_dlt_valid_from": start, "_dlt_valid_to": until if until is None or until > start else None}
            versions += [file(f"file-{number}", **shared, **varying, **valid)] * draw(st.sampled_from([1, 1, 1, 2]))
        files.append(versions)
    return files


def between(start: datetime, end: datetime) -> datetime:
    return start + (end - start) / 2


def grid(every: str, first: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the instants from the first at or after *first* to *until*."""
    step = {"1h": timedelta(hours=1), "1d": DAY}.get(every)
    at = first.replace(minute=0, second=0, microsecond=0)
    at = at if every == "1h" else at.replace(hour=0)
    at = at if step else at.replace(day=1)
    at = at if every != "1y" else at.replace(month=1)
    while at <= until:
        if at >= first:
            yield at
        if step:
            at += step
        elif every == "1mo" and at.month < 12:
            at = at.replace(month=at.month + 1)
        elif at.year == 9999:
            return
        else:
            at = at.replace(year=at.year + 1, month=1)


class TestOverTime:
    """What was stored at each instant."""

    @given(data=st.data())
    def test_a_file_counts_from_its_creation_until_it_is_gone(self, data: st.DataObject):
        """With the size that it had; it is gone when it expires, or when its last version ends."""
        every, moments = data.draw(
            st.sampled_from(
                [
                    ("1h", st.datetimes(datetime(2026, 9, 20), datetime(2026, 9, 23), timezones=st.just(UTC))),  # noqa: DTZ001
                    ("1h", st.integers(0, 48).map(lambda hours: NOON + timedelta(hours=hours))),
                    ("1d", MOMENTS),
                    ("1mo", MOMENTS),
                    ("1y", MOMENTS | FAR),
                ]
            )
        )
        files = data.draw(histories(moments))
        until = data.draw(moments)
        shuffled = data.draw(st.permutations([version for versions in files for version in versions]))

        stored = answer(
            lambda history: usage.over_time(history, until=until, every=every), framed(shuffled, like=NO_HISTORY)
        )

        lives = [(versions, gone(versions)) for versions in files if versions[0]["created_at"] < gone(versions)]
        first = min((versions[0]["created_at"] for versions, _ in lives), default=LAST)
        expected = [
            {"at": at}
            | told([valid(versions, at) for versions, end in lives if versions[0]["created_at"] <= at < end])
            | {"recorded": at >= begun(files)}
            for at in sorted({*grid(every, first, until), *([until] if first <= until else [])})
        ]
        assert_frame_equal(stored, pl.DataFrame(expected, schema={"at": INSTANT} | KNOWN | {"recorded": pl.Boolean}))

    def test_a_life(self):
        """Uploaded at noon, seen the next day, grown the day after, deleted after another; and one that expires."""
        seen = [NOON + days * DAY for days in (1, 2, 3)]
        history = [
            file("file-1", bytes=1) | {"_dlt_valid_from": seen[0], "_dlt_valid_to": seen[1]},
            file("file-1", bytes=5) | {"_dlt_valid_from": seen[1], "_dlt_valid_to": seen[2]},
            file("file-2", bytes=None, expires_at=NOON + 2 * DAY) | {"_dlt_valid_from": seen[0], "_dlt_valid_to": None},
        ]

        stored = usage.over_time(framed(history, like=NO_HISTORY), until=NOON + 5 * DAY)

        assert stored.rows() == [
            (datetime(2026, 9, 22, tzinfo=UTC), 2, 1, 1, False),
            (datetime(2026, 9, 23, tzinfo=UTC), 2, 1, 1, True),
            (datetime(2026, 9, 24, tzinfo=UTC), 1, 5, 0, True),
            (datetime(2026, 9, 25, tzinfo=UTC), 0, 0, 0, True),
            (datetime(2026, 9, 26, tzinfo=UTC), 0, 0, 0, True),
            (NOON + 5 * DAY, 0, 0, 0, True),
        ]

    def test_it_ends_at_the_instant_asked_for(self):
        """Whatever the step: what came since the last month began is not left out, nor what has just come."""
        history = [
            file("file-1", created_at=NOON - 100 * DAY, bytes=1) | {"_dlt_valid_from": NOON, "_dlt_valid_to": None},
            file("file-2", created_at=NOON - TICK, bytes=5) | {"_dlt_valid_from": NOON, "_dlt_valid_to": None},
        ]

        stored = usage.over_time(framed(history, like=NO_HISTORY), until=NOON, every="1mo")

        assert stored.rows() == [
            (datetime(2026, 7, 1, tzinfo=UTC), 1, 1, 0, False),
            (datetime(2026, 8, 1, tzinfo=UTC), 1, 1, 0, False),
            (datetime(2026, 9, 1, tzinfo=UTC), 1, 1, 0, False),
            (NOON, 2, 6, 0, True),
        ]

    def test_it_is_recorded_from_when_every_account_is(self):
        """Of an account that joins later, what was gone before is not known."""
        history = [
            file("file-1", account=account, created_at=NOON - 3 * DAY) | {"_dlt_valid_from": at, "_dlt_valid_to": None}
            for account, at in (("lab", NOON - 3 * DAY), ("team", NOON - DAY))
        ]

        stored = usage.over_time(framed(history, like=NO_HISTORY), until=NOON)

        assert stored["recorded"].to_list() == [False, False, True, True]

    @pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
    def test_what_is_no_history_is_refused(self, lazy: bool):
        """In words that say what is one."""
        with pytest.raises(ConfigError, match=r"needs _dlt_valid_from and _dlt_valid_to.*'files_history'\)"):
            usage.over_time(EMPTY.lazy() if lazy else EMPTY, until=NOON)

    def test_a_step_of_minutes_is_spelled_as_everywhere(self):
        """In polars' own `30m` the unit is minutes, elsewhere months."""
        history = framed([file("file-1") | {"_dlt_valid_from": NOON, "_dlt_valid_to": None}], like=NO_HISTORY)

        steps = usage.over_time(history, until=NOON + timedelta(hours=1), every="30min")["at"].diff().drop_nulls()

        assert set(steps) == {timedelta(minutes=30)}
        for every in ("30m", "1h30m"):
            with pytest.raises(ConfigError, match="is ambiguous: give 30min for minutes or 30mo for months"):
                usage.over_time(history, until=NOON, every=every)

    @pytest.mark.parametrize("every", ["banana", "-1d", ""])
    def test_a_step_that_is_none_is_refused(self, every: str):
        """In one line, when it is asked for."""
        with pytest.raises(ConfigError, match=rf"every is {every!r}: give a step such as '1h', '1d' or '1mo'"):
            usage.over_time(NO_HISTORY.lazy(), until=NOON, every=every)

    @given(files=histories(MOMENTS))
    def test_it_ends_with_what_is_there(self, files: list[list[Row]]):
        """After the last change it holds what `current` holds, but for what has expired."""
        history = framed([versions[-1] for versions in files], like=NO_HISTORY)
        end = datetime(2030, 1, 1, tzinfo=UTC)

        stored = usage.over_time(history, until=end, every="1mo")

        there = usage.totals(usage.unexpired(current(history), now=end))
        assert not stored.height or stored[-1].select(*KNOWN).rows() == there.select(*KNOWN).rows()


def gone(versions: Sequence[Row]) -> datetime:
    """Return when a file expired or was deleted; the end of time if it is there."""
    last = versions[-1]
    return min(last["expires_at"] or LAST, last["_dlt_valid_to"] or LAST)


def begun(files: Sequence[Sequence[Row]]) -> datetime:
    """Return when the first version of each account's files had been seen."""
    seen = grouped([versions[0] for versions in files], lambda row: row["account"])
    return max(min(row["_dlt_valid_from"] for row in rows) for rows in seen.values())


def valid(versions: Sequence[Row], at: datetime) -> Row:
    """Return the version of a file at an instant: the first one before any was seen."""
    return next((row for row in reversed(versions) if row["_dlt_valid_from"] <= at), versions[0])


ANSWERS = {name: question for name, question in QUESTIONS.items() if name != "over_time"}


@pytest.mark.parametrize("name", QUESTIONS)
def test_nothing_has_the_columns_and_types_of_something(name: str):
    """A chart or a table of an empty account needs no special care."""
    some = framed([file(f"file-{n}", created_at=NOON - n * DAY, expires_at=NOON + DAY) for n in (1, 2)])
    history = some.with_columns(
        pl.lit(NOON, INSTANT).alias("_dlt_valid_from"), pl.lit(None, INSTANT).alias("_dlt_valid_to")
    )

    nothing = answer(QUESTIONS[name], NO_HISTORY)

    assert nothing.schema == answer(QUESTIONS[name], history).schema
    assert nothing.height == {"totals": 1, "ages": 6, "expiring_soon": 3}.get(name, 0)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_lazy_frame_is_read_once(name: str):
    """A listing that is made while it is asked is made once, whatever the question."""
    reads = []
    files = NO_HISTORY.vstack(framed([file("file-1") | {"_dlt_valid_from": NOON, "_dlt_valid_to": None}], NO_HISTORY))

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, most: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        reads.append(predicate)
        found = files if predicate is None else files.filter(predicate)
        yield found.select(columns or files.columns).head(most or found.height)

    lazy = register_io_source(read, schema=files.schema)

    for engine in ("in-memory", "streaming"):
        QUESTIONS[name](lazy).collect(engine=engine)

    assert len(reads) == 2


@pytest.mark.parametrize(
    "name",
    ["totals", "by", "by_month", "by_month, column", "ages", "expiring_soon", "duplicates", "quota", "over_time"],
)
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_a_sum_that_is_too_large_is_refused(name: str, lazy: bool):
    """More than 64 bits hold is an error, never another number."""
    large = {"bytes": 2**62, "created_at": NOON - DAY, "expires_at": NOON + DAY, "_dlt_valid_from": NOON}
    files = framed([file(f"file-{n}") | large | {"_dlt_valid_to": None} for n in range(3)], like=NO_HISTORY)

    with pytest.raises(pl.exceptions.InvalidOperationError, match=r"conversion from `i128` to `i64` failed"):
        (QUESTIONS[name](files.lazy()).collect() if lazy else QUESTIONS[name](files))


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(NOON.replace(tzinfo=None), id="no zone"),
        pytest.param(NOON.astimezone(timezone(timedelta(hours=9))), id="another zone"),
        pytest.param(NOON.isoformat(), id="text"),
        pytest.param(NOON.strftime("%Y-%m-%d %H:%M"), id="text without a zone"),
    ],
)
@given(files=rows())
def test_an_instant_without_a_zone_is_in_utc(now: datetime, files: list[Row]):
    """Wherever the program runs; an instant of another zone is the same instant."""
    frame = framed(files)
    history = frame.with_columns(
        pl.col("created_at").alias("_dlt_valid_from"), pl.lit(None, INSTANT).alias("_dlt_valid_to")
    )

    def answers(now: datetime) -> list[pl.DataFrame]:
        return [
            usage.ages(frame, now=now),
            usage.expiring(frame, now=now, within=DAY),
            usage.expiring_soon(frame, now=now),
            usage.unexpired(frame, now=now),
            usage.older_than(frame, now=now, age=DAY),
            usage.quota(frame, now=now),
            usage.cleanup_candidates(frame, now=now, older_than=DAY),
            usage.over_time(history, until=now, every="1y"),
        ]

    for found, expected in zip(answers(now), answers(NOON), strict=True):
        assert_frame_equal(found, expected)


@pytest.mark.parametrize("now", [NOON.date(), f"{NOON:%Y-%m-%d}"], ids=["date", "text"])
def test_a_day_is_its_beginning(now: Any):
    """In UTC, as everywhere."""
    files = framed([file("file-1", expires_at=NOON.replace(hour=0)), file("file-2", expires_at=NOON)])

    assert usage.unexpired(files, now=now)["id"].to_list() == ["file-2"]


def test_what_is_no_instant_is_refused():
    """A number may be of seconds or of milliseconds."""
    for ask in (usage.ages, usage.expiring_soon, usage.unexpired, usage.quota):
        with pytest.raises(ConfigError, match=r"now \(int\) is no time: give a datetime, a date, ISO 8601 text"):
            ask(EMPTY, now=1_800_000_000)  # type: ignore[arg-type]


@given(files=rows())
def test_a_duration_may_be_text(files: list[Row]):
    """In the same grammar as on the command line."""
    frame, weeks = framed(files), timedelta(weeks=2)
    asked = [
        lambda span: usage.expiring(frame, now=NOON, within=span),
        lambda span: usage.older_than(frame, now=NOON, age=span),
        lambda span: usage.cleanup_candidates(frame, now=NOON, older_than=span),
        lambda span: usage.quota(frame, now=NOON, over=span),
    ]

    for ask in asked:
        assert_frame_equal(ask("2w"), ask(weeks))


def test_questions_are_asked_of_another_time_through_its_inventory():
    """Any but `over_time`, which takes the history itself; rows keep the columns that only a history has."""
    history = framed(
        [
            file("file-1", bytes=1) | {"_dlt_valid_from": NOON, "_dlt_valid_to": NOON + DAY},
            file("file-1", bytes=2) | {"_dlt_valid_from": NOON + DAY, "_dlt_valid_to": None},
        ],
        like=NO_HISTORY,
    )

    assert usage.totals(as_of(history, NOON))["bytes"].item() == 1
    assert usage.totals(current(history))["bytes"].item() == 2
    assert usage.largest(current(history)).schema == NO_HISTORY.schema
