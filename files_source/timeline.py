"""Storage through time: what each month added, and what was there at each instant, as polars expressions."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import polars as pl

from files_source.history import Frame, utc
from files_source.measures import FILE, MEASURES, WIDE, measures

_OWN: Final = ":own"


def by_month(files: Frame, *columns: str) -> Frame:
    """Return a row for each month (UTC) in which files were created, and value of *columns*, earliest first.

    Returns:
        `month` (its first day, a date), *columns*, `files`, `bytes` and `unknown_size`. Without *columns*
        a month in between in which nothing was created has a row of zeros; with them it has none.
    """
    month = pl.col("created_at").dt.truncate("1mo").alias("month")
    months = files.group_by(month, *columns).agg(*measures()).sort("month", *columns, nulls_last=True)
    if not columns:
        own = pl.col("month") == pl.col(_OWN)
        after_last = pl.col("month").max().dt.offset_by("1mo")
        continued = _continued(months.with_columns(pl.col("month").alias(_OWN)), "month", after_last, every="1mo")
        months = continued.with_columns(pl.when(own).then(pl.col(MEASURES)).otherwise(0)).drop(_OWN)
    return months.with_columns(pl.col("month").dt.date())


def over_time(history: Frame, *, until: datetime, every: str = "1d") -> Frame:
    """Return what was stored at each instant, by the versions of `files_history`.

    A file counts from its creation, be that before the scan that first saw it, and no longer at its
    expiry nor at its deletion, which is the end of its last version. A version holds until the next begins.

    Args:
        history: the columns of FILES, `_dlt_valid_from` and `_dlt_valid_to`.
        until: the last instant; in the future there is what will not have expired.
        every: from one instant to the next, as polars spells it: '1h', '1d', '1mo'. The instants are
            whole hours, midnights, firsts of months in UTC.

    Returns:
        `at`, `files`, `bytes` and `unknown_size`, from the first instant after the first creation.
    """
    after = pl.lit(utc(until)) + pl.duration(microseconds=1)
    sign = pl.when(pl.col("event") == "start").then(1).otherwise(-1).cast(pl.Int64)
    before = pl.col("at").dt.truncate(every)
    steps = (
        _lives(history, after)
        .unpivot(["start", "end"], index="bytes", variable_name="event", value_name="at")
        .with_columns(pl.when(before == pl.col("at")).then(before).otherwise(before.dt.offset_by(every)).alias("at"))
        .filter(pl.col("at") < after)
        .group_by("at")
        .agg(
            sign.sum().alias("files"),
            (pl.col("bytes").cast(WIDE) * sign).sum(),
            sign.filter(pl.col("bytes").is_null()).sum().alias("unknown_size"),
        )
        .sort("at")
        .with_columns(pl.col(MEASURES).cum_sum().cast(pl.Int64))
    )
    return _continued(steps, "at", after, every=every)


def _lives(history: Frame, after: pl.Expr) -> Frame:
    """Return when each version began and ceased to be what is stored: `start`, `end` (*after* for never), `bytes`.

    A version that never was, as the file had expired by then, is left out. In the order of files and their
    versions neighbours tell all, so that a million files are no million groups.
    """
    is_first, is_last = (pl.any_horizontal(pl.col(FILE) != pl.col(FILE).shift(step, fill_value="")) for step in (1, -1))
    gone = pl.when(is_last).then(pl.min_horizontal("expires_at", "_dlt_valid_to").fill_null(after)).backward_fill()
    began = pl.when(~is_first).then("_dlt_valid_from")
    replaced = pl.when(~is_last).then(pl.col("_dlt_valid_from").shift(-1))
    return (
        history.sort(*FILE, "_dlt_valid_from", "_dlt_valid_to", nulls_last=True)
        .select(
            pl.max_horizontal("created_at", began).alias("start"),
            pl.min_horizontal(gone, replaced).alias("end"),
            "bytes",
        )
        .filter(pl.col("start") < pl.col("end"))
    )


def _continued(rows: Frame, name: str, end: pl.Expr, *, every: str) -> Frame:
    """Repeat each row at each instant from its own, *name*, until the next row's, and the last until *end*."""
    following = pl.col(name).shift(-1).fill_null(end)
    return rows.with_columns(pl.datetime_ranges(name, following, every, closed="left")).explode(name)
