from __future__ import annotations

import operator
from datetime import UTC, date, datetime, timedelta, timezone
from functools import reduce
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from files_source.bounds import ANYTHING, NOTHING, Bounds
from files_source.pushdown import bounds_of
from tests.predicates import account, created_at, moment, predicates, purpose

NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)
INSTANT = 1_789_992_000_000_000
DAY = timedelta(days=1)
TOKYO = ZoneInfo("Asia/Tokyo")

size = pl.col("bytes")
in_tokyo = created_at.dt.convert_time_zone("Asia/Tokyo")


def names(*given: str) -> frozenset[str]:
    return frozenset(given)


@pytest.mark.parametrize(
    ("predicate", "bounds"),
    [
        (purpose == "batch", Bounds(purposes=names("batch"))),
        (pl.lit("batch") == purpose, Bounds(purposes=names("batch"))),
        (purpose.eq_missing("batch"), Bounds(purposes=names("batch"))),
        (purpose.is_in(["batch", "vision", None]), Bounds(purposes=names("batch", "vision"))),
        (purpose.is_in({"batch"}, nulls_equal=True), Bounds(purposes=names("batch"))),
        (purpose.is_in(pl.Series(["batch"]).implode()), Bounds(purposes=names("batch"))),
        ((purpose == "batch") | (purpose == "vision"), Bounds(purposes=names("batch", "vision"))),
        (purpose.is_in(["batch", "vision"]) & purpose.is_in(["vision", "evals"]), Bounds(purposes=names("vision"))),
        (account == "me", Bounds(accounts=names("me"))),
        (account.is_in(["me", "you"]), Bounds(accounts=names("me", "you"))),
        (created_at >= NOON, Bounds(since=INSTANT)),
        (created_at > NOON, Bounds(since=INSTANT + 1)),
        (created_at <= NOON, Bounds(until=INSTANT + 1)),
        (created_at < NOON, Bounds(until=INSTANT)),
        (created_at == NOON, Bounds(since=INSTANT, until=INSTANT + 1)),
        (pl.lit(NOON) >= created_at, Bounds(until=INSTANT + 1)),
        (pl.lit(NOON) > created_at, Bounds(until=INSTANT)),
        (pl.lit(NOON) <= created_at, Bounds(since=INSTANT)),
        (pl.lit(NOON) < created_at, Bounds(since=INSTANT + 1)),
        (created_at >= NOON.astimezone(timezone(timedelta(hours=9))), Bounds(since=INSTANT)),
        (created_at >= pl.lit(NOON).dt.convert_time_zone("Asia/Tokyo"), Bounds(since=INSTANT)),
        (created_at >= pl.lit(NOON + DAY) - pl.duration(days=1), Bounds(since=INSTANT)),
        (created_at.is_between(NOON, NOON, "both"), Bounds(since=INSTANT, until=INSTANT + 1)),
        (created_at.is_between(NOON, NOON, "left"), Bounds(since=INSTANT, until=INSTANT)),
        (created_at.is_between(NOON, NOON, "right"), Bounds(since=INSTANT + 1, until=INSTANT + 1)),
        (created_at.is_between(NOON, NOON, "none"), Bounds(since=INSTANT + 1, until=INSTANT)),
        (created_at.is_between(NOON, pl.col("expires_at")), Bounds(since=INSTANT)),
        ((created_at >= NOON) & (created_at >= NOON + DAY), Bounds(since=INSTANT + 86_400_000_000)),
        ((created_at >= NOON) | (created_at >= NOON + DAY), Bounds(since=INSTANT)),
        ((created_at < NOON) | (created_at < NOON + DAY), Bounds(until=INSTANT + 86_400_000_000)),
        ((created_at < NOON) & (created_at < NOON + DAY), Bounds(until=INSTANT)),
        ((created_at < NOON) | (created_at >= NOON + DAY), ANYTHING),
        ((size > 3) & (purpose == "batch") & size.is_null(), Bounds(purposes=names("batch"))),
        ((account == "me") & (purpose == "batch") | (account == "you"), Bounds(accounts=names("me", "you"))),
        (pl.lit(value=False), NOTHING),
        (pl.lit(value=False) | (purpose == "batch"), Bounds(purposes=names("batch"))),
        (pl.lit(value=True), ANYTHING),
        (size > 3, ANYTHING),
        ((size > 3) | (purpose == "batch"), ANYTHING),
        (purpose != "batch", ANYTHING),
        (~(purpose == "batch"), ANYTHING),
        (purpose == account, ANYTHING),
        (purpose == size, ANYTHING),
        (purpose == 3, ANYTHING),
        (purpose == pl.lit("batch", pl.Categorical), ANYTHING),
        (purpose == pl.Series(["batch", "vision"]), ANYTHING),
        (purpose.str.to_lowercase() == "batch", ANYTHING),
        (purpose.str.starts_with("batch"), ANYTHING),
        (purpose < "batch", ANYTHING),
        (created_at >= datetime(2026, 9, 21, 12), ANYTHING),  # noqa: DTZ001 - which polars will refuse
        (created_at >= date(2026, 9, 21), ANYTHING),
        (created_at >= pl.lit(None, pl.Datetime("us", "UTC")), ANYTHING),
        (created_at >= pl.lit(2**63 - 1).cast(pl.Datetime("us", "UTC")), ANYTHING),
        (created_at >= pl.lit("no time").str.to_datetime(), ANYTHING),
        (created_at.is_in([NOON, NOON - DAY, None]), Bounds(since=INSTANT - 86_400_000_000, until=INSTANT + 1)),
        (created_at.is_in([]), NOTHING),
        (created_at.dt.convert_time_zone("Asia/Tokyo") >= NOON.astimezone(TOKYO), Bounds(since=INSTANT)),
        (
            created_at.dt.convert_time_zone("Asia/Tokyo").is_in([NOON.astimezone(TOKYO)]),
            Bounds(since=INSTANT, until=INSTANT + 1),
        ),
        (created_at.dt.replace_time_zone("Asia/Tokyo") >= NOON.astimezone(TOKYO), ANYTHING),
        (created_at.dt.year() == 2026, ANYTHING),
        (size.map_elements(lambda _: True, pl.Boolean), ANYTHING),
        (size.map_elements(lambda _: True, pl.Boolean) & (purpose == "batch"), Bounds(purposes=names("batch"))),
        (reduce(operator.or_, [purpose == str(number) for number in range(3_000)]), ANYTHING),
    ],
    ids=lambda part: str(part)[:70] if isinstance(part, pl.Expr) else "",
)
def test_what_a_predicate_says_is_understood(predicate: pl.Expr, bounds: Bounds):
    """Of a purpose, an account and a time, however it is written; whatever else there is says nothing."""
    assert bounds_of(predicate) == bounds


@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.integers(0, 9)), max_size=9),
    predicate=predicates(accounts="abcd", purposes="abcd", seconds=st.integers(-1, 10)),
)
def test_whatever_passes_lies_within_the_bounds(rows: list[tuple[str, str, int]], predicate: pl.Expr):
    """Of any combination of conditions, on any files; otherwise rows would be lost."""
    frame = pl.DataFrame(
        [(name, goal, moment(second)) for name, goal, second in rows],
        schema={"account": pl.String, "purpose": pl.String, "created_at": pl.Datetime("us", "UTC")},
        orient="row",
    )

    bounds = bounds_of(predicate)

    for name, goal, time in frame.filter(predicate).iter_rows():
        assert bounds.accounts is None or name in bounds.accounts
        assert bounds.purposes is None or goal in bounds.purposes
        assert bounds.since is None or time.timestamp() * 1_000_000 >= bounds.since
        assert bounds.until is None or time.timestamp() * 1_000_000 < bounds.until
