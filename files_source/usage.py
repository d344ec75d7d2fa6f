"""Questions about storage: what takes room, since when, until when, and what could go, as polars expressions.

An answer is eager or lazy as the frame it is asked of; a lazy frame is read once. *files* has the
columns of `schema.FILES`, one row a file: what is there now, or by `history.as_of` what was there at
another time; only `over_time` takes a history itself. Answers that are rows of *files* keep further
columns. An instant (*now*, *until*) is a datetime, a date (its beginning) or ISO 8601 text, in UTC
where it names no zone, or how long ago, such as `7d`; a duration (*age*, *within*, *older_than*, *over*)
is a timedelta, or text such as `90d`.

Sizes are in bytes. A file of unknown size (null) counts in `files` and in `unknown_size`, and adds
nothing to `bytes`. All three are Int64: a sum beyond that raises polars' InvalidOperationError. What
happened between two inventories is `history.changes`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from files_source.candidates import (
    cleanup_candidates,
    duplicates,
    expiring,
    expiring_soon,
    never_expiring,
    older_than,
    unexpired,
)
from files_source.durations import Duration, duration
from files_source.errors import ConfigError
from files_source.history import Frame
from files_source.measures import DAY, MEASURES, TICK, WIDE, counted, largest_first, measures, refuse_repeated, shifted
from files_source.timeline import by_month, over_time
from files_source.times import Time, utc

__all__ = [
    "LIMIT",
    "ages",
    "by",
    "by_month",
    "cleanup_candidates",
    "duplicates",
    "expiring",
    "expiring_soon",
    "largest",
    "never_expiring",
    "older_than",
    "over_time",
    "quota",
    "totals",
    "unexpired",
]

LIMIT: Final = 2_500_000_000_000
"""Bytes that a project may store, as the API's documentation says."""

_AGES: Final = {
    "under 1 day": 1 * DAY,
    "1 to 7 days": 7 * DAY,
    "7 to 30 days": 30 * DAY,
    "30 to 90 days": 90 * DAY,
    "90 days to 1 year": 365 * DAY,
}
"""Each age but the last, and where it ends."""
_OLDEST: Final = "over 1 year"
_GROWTH: Final = ":growth"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)
_LONGEST: Final = _END - datetime.min.replace(tzinfo=UTC)
_TOO_MANY: Final = 2**63


def totals(files: Frame) -> Frame:
    """Return one row: `files`, `bytes`, `unknown_size`, `accounts` (how many), `oldest` and `newest` (`created_at`).

    Without files there are zeros, and no oldest or newest.
    """
    return files.select(
        *measures(),
        pl.col("account").n_unique().cast(pl.Int64).alias("accounts"),
        pl.col("created_at").min().alias("oldest"),
        pl.col("created_at").max().alias("newest"),
    )


def by(files: Frame, *columns: str) -> Frame:
    """Return a row for each value of some columns, such as `by(files, "account", "purpose")`.

    Returns:
        *columns*, `files`, `bytes`, `unknown_size` and `share`, of the bytes of all, 0 to 1; null where
        there are none. Most bytes first, then by *columns*, null last. Without *columns* one row of all.

    Raises:
        ConfigError: a column is given twice, or is one of the answer's own.
    """
    refuse_repeated(columns, beside=(*MEASURES, "share"))
    count, _, unknown = measures()
    share = pl.col("bytes").cast(pl.Float64) / pl.col("bytes").sum().cast(pl.Float64)
    sums = (count, pl.col("bytes").cast(WIDE).sum(), unknown)
    groups = files.group_by(columns).agg(*sums) if columns else files.select(*sums)
    return groups.with_columns(pl.col("bytes").cast(pl.Int64), share.fill_nan(None).alias("share")).sort(
        "bytes", *columns, descending=[True, *(False for _ in columns)], nulls_last=True
    )


def largest(files: Frame, count: int = 20) -> Frame:
    """Keep the *count* largest files, largest first; one of unknown size is none of them.

    Raises:
        ConfigError: *count* is negative.
    """
    if count < 0:
        raise ConfigError(f"count is {count}: say how many files, 0 or more")
    return largest_first(files.filter(pl.col("bytes").is_not_null())).head(count)


def ages(files: Frame, *, now: Time) -> Frame:
    """Return how much there is of each age, youngest first, with zeros where there is nothing.

    Returns:
        `age` ('under 1 day', '1 to 7 days', '7 to 30 days', '30 to 90 days', '90 days to 1 year',
        'over 1 year'), `files`, `bytes` and `unknown_size`. A file just 7 days old is in '7 to 30 days'.
    """
    instant = utc(now, name="now")
    groups: dict[str, pl.Expr] = {}
    old_enough = pl.lit(value=True)
    for age, end in _AGES.items():
        younger = pl.col("created_at") > shifted(instant, -end)
        groups[age] = old_enough & younger
        old_enough = ~younger
    return counted(files, "age", groups | {_OLDEST: old_enough})


def quota(files: Frame, *, now: Time, limit: int = LIMIT, over: Duration = 30 * DAY) -> Frame:
    """Return how much of its limit each account takes, and when it will be full; most bytes first.

    What expires by itself is taken to be replaced, not added to: at the API a file lives 30 days at most
    if it expires at all, so that much the same is there a month later. Only files that stay are growth.

    Args:
        files: of all purposes.
        now: where growth begins to be foretold.
        limit: bytes that an account may store.
        over: how long before *now* the growth is measured; a timedelta, or text such as `30d`.

    Returns:
        `account`, `files`, `bytes`, `unknown_size`, `share` (of the limit, above 1 beyond it),
        `growth_per_day` (bytes created in that time, still there and never to expire, by its days) and
        `full_on`: the date (UTC) when the limit is reached at that growth. It is that of *now* if the limit
        is reached already, and null if nothing grows or not before the year 10000.

    Raises:
        ConfigError: *limit* or *over* is not above 0, or beyond what can be reckoned with.
    """
    instant, span = utc(now, name="now"), duration(over, name="over")
    if not (0 < limit < _TOO_MANY and timedelta() < span <= _LONGEST):
        raise ConfigError(
            f"the limit is {limit} bytes, measured over {span}: give more than 0, within 64 bits and 9999 years"
        )
    recent = pl.col("created_at").is_between(shifted(instant, -span), instant, closed="right")
    added = pl.col("bytes").filter(recent, pl.col("expires_at").is_null())
    left = pl.lit(limit, WIDE) - pl.col("bytes")
    wait = pl.when(left > 0).then(left * pl.lit(span // TICK, WIDE) // pl.col(_GROWTH)).otherwise(0)
    full = pl.lit((instant - _EPOCH) // TICK, WIDE) + wait
    day = pl.when(full <= (_END - _EPOCH) // TICK).then(full).cast(pl.Int64).cast(pl.Datetime("us")).dt.date()
    return (
        files.group_by("account")
        .agg(*measures(), added.cast(WIDE).sum().alias(_GROWTH))
        .with_columns(
            (pl.col("bytes") / limit).alias("share"),
            (pl.col(_GROWTH).cast(pl.Float64) / (span / DAY)).alias("growth_per_day"),
            day.alias("full_on"),
        )
        .select("account", "files", "bytes", "unknown_size", "share", "growth_per_day", "full_on")
        .sort("bytes", "account", descending=[True, False])
    )
