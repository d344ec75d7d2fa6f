"""Storage through time: what each month added, and what was there at each instant, as polars expressions."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import polars as pl

from files_source.durations import refusal
from files_source.errors import ConfigError
from files_source.history import Frame
from files_source.measures import FILE, MEASURES, WIDE, measures, refuse_repeated
from files_source.times import Time, utc

BEGUN: Final = pl.col("_dlt_valid_from").min().over("account").max()
"""When the history of each account had begun, by its versions."""

_BARE_M: Final = re.compile(r"(\d+)m(?![a-z])", re.ASCII)
_MINUTES: Final = re.compile(r"(\d)min(?![a-z])", re.ASCII)
_OWN: Final = ":own"
_BEGUN: Final = ":begun"
_VALIDITY: Final = ("_dlt_valid_from", "_dlt_valid_to")


def by_month(files: Frame, *columns: str) -> Frame:
    """Return a row for each month (UTC) in which files were created, and value of *columns*, earliest first.

    Returns:
        `month` (its first day, a date), *columns*, `files`, `bytes` and `unknown_size`. Without *columns*
        a month in between in which nothing was created has a row of zeros; with them it has none.

    Raises:
        ConfigError: a column is given twice, or is one of the answer's own.
    """
    refuse_repeated(columns, beside=("month", *MEASURES))
    month = pl.col("created_at").dt.truncate("1mo").alias("month")
    months = files.group_by(month, *columns).agg(*measures()).sort("month", *columns, nulls_last=True)
    if not columns:
        own = pl.col("month") == pl.col(_OWN)
        last = pl.col("month").max()
        continued = _continued(months.with_columns(pl.col("month").alias(_OWN)), "month", last, every="1mo")
        months = continued.with_columns(pl.when(own).then(pl.col(MEASURES)).otherwise(0)).drop(_OWN)
    return months.with_columns(pl.col("month").dt.date())


def over_time(history: Frame, *, until: Time, every: str = "1d") -> Frame:
    """Return what was stored at each instant, by the versions of `files_history`.

    A file counts from its creation, be that before the scan that first saw it, and no longer at its
    expiry nor at its deletion, which is the end of its last version. A version holds until the next begins.
    What was gone before an account's first history run was never seen, so it counts nowhere.

    Args:
        history: the columns of FILES, `_dlt_valid_from` and `_dlt_valid_to`.
        until: the last instant; in the future there is what will not have expired.
        every: from one instant to the next: '30min', '1h', '1d', '1mo'; '1q' for a quarter. The instants are
            whole hours, midnights, firsts of months in UTC, and *until* itself at the end.

    Returns:
        `at`, `files`, `bytes`, `unknown_size` and `recorded`, from the first instant after the first
        creation. Before the history of each account had begun, `recorded` is false: of that time only
        those files count that were still there then.

    Raises:
        ConfigError: *history* is no history, or *every* no step.
    """
    end = utc(until, name="until")
    every = _step(every, end)
    if missing := [name for name in _VALIDITY if name not in history.collect_schema().names()]:
        raise ConfigError(
            f"over_time needs {' and '.join(missing)}, which only a history has: "
            "give it files_history, such as read_table('inventory.duckdb', 'files_history')"
        )
    last = pl.lit(end)
    sign = pl.when(pl.col("event") == "start").then(1).otherwise(-1).cast(pl.Int64)
    before = pl.col("at").dt.truncate(every)
    following = pl.when(before == pl.col("at")).then(before).otherwise(before.dt.offset_by(every))
    steps = (
        _lives(history, last + pl.duration(microseconds=1))
        .unpivot(["start", "end"], index=["bytes", _BEGUN], variable_name="event", value_name="at")
        .filter(pl.col("at") <= last)
        .group_by(pl.min_horizontal(following, last).alias("at"))
        .agg(
            sign.sum().alias("files"),
            (pl.col("bytes").cast(WIDE) * sign).sum(),
            sign.filter(pl.col("bytes").is_null()).sum().alias("unknown_size"),
            pl.col(_BEGUN).first(),
        )
        .sort("at")
        .with_columns(pl.col(MEASURES).cum_sum().cast(pl.Int64))
    )
    return _continued(steps, "at", last, every=every).select(
        "at", *MEASURES, (pl.col("at") >= pl.col(_BEGUN)).alias("recorded")
    )


def _step(every: str, at: datetime) -> str:
    """Return a step as polars spells it, for which a minute is `1m`.

    Raises:
        ConfigError: it leads no further; or it says `m`, which stands for no unit in this package.
    """
    if not isinstance(every, str):
        raise ConfigError(f"every is of type {type(every).__name__}: give a step such as '1h', '1d' or '1mo'")
    if ambiguous := _BARE_M.search(every):
        raise refusal(
            "every", every, f"is ambiguous: give {ambiguous[1]}min for minutes or {ambiguous[1]}mo for months"
        )
    step = _MINUTES.sub(r"\1m", every)
    try:
        leads_on = pl.select(pl.lit(at).dt.truncate(step).dt.offset_by(step) > pl.lit(at)).item()
    except pl.exceptions.PolarsError:
        leads_on = False
    if not leads_on:
        raise ConfigError(f"every is {every!r}: give a step such as '1h', '1d' or '1mo'")
    return step


def _lives(history: Frame, after: pl.Expr) -> Frame:
    """Return when each version began and ceased to be what is stored: `start`, `end` (*after* for never), `bytes`.

    Beside them, the same in each row, stands when the history of each account had begun.
    A version that never was, as the file had expired by then, is left out. In the order of files and their
    versions neighbours tell all, so that a million files are no million groups.
    """
    is_first, is_last = (pl.any_horizontal(pl.col(FILE) != pl.col(FILE).shift(step, fill_value="")) for step in (1, -1))
    gone = pl.when(is_last).then(pl.min_horizontal("expires_at", "_dlt_valid_to").fill_null(after)).backward_fill()
    began = pl.when(~is_first).then("_dlt_valid_from")
    replaced = pl.when(~is_last).then(pl.col("_dlt_valid_from").shift(-1))
    return (
        history.sort(*FILE, *_VALIDITY, nulls_last=True)
        .select(
            pl.max_horizontal("created_at", began).alias("start"),
            pl.min_horizontal(gone, replaced).alias("end"),
            "bytes",
            BEGUN.alias(_BEGUN),
        )
        .filter(pl.col("start") < pl.col("end"))
    )


def _continued(rows: Frame, name: str, end: pl.Expr, *, every: str) -> Frame:
    """Repeat each row at each instant from its own, *name*, until the next row's, and the last until *end* and then."""
    following = pl.col(name).shift(-1)
    instants = pl.datetime_ranges(name, following.fill_null(end), every, closed="left")
    with_end = pl.when(following.is_null()).then(pl.concat_list(instants, end)).otherwise(instants)
    return rows.with_columns(with_end.alias(name)).explode(name)
