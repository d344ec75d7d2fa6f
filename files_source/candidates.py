"""Which files could go: they expire, are old, or have copies; as polars expressions, and nothing is deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from files_source.durations import Duration, duration
from files_source.errors import ConfigError
from files_source.history import Frame
from files_source.measures import DAY, FILE, WIDE, counted, largest_first, shifted
from files_source.times import Time, utc

_SOON: Final = (1, 7, 30)
_SECOND: Final = timedelta(seconds=1)
_UNITS: Final = {"day": DAY, "hour": 3_600 * _SECOND, "minute": 60 * _SECOND, "second": _SECOND}
_SAME: Final = ("account", "filename", "bytes")
"""What copies have in common, as far as can be told: the API gives no hash."""


def expiring(files: Frame, *, now: Time, within: Duration) -> Frame:
    """Keep the files that expire after *now*, but not later than *within* after it, such as `7d`, soonest first.

    Raises:
        ConfigError: *within* is no duration.
    """
    soon = _expires(utc(now, name="now"), duration(within, name="within"))
    return files.filter(soon).sort("expires_at", *FILE)


def expiring_soon(files: Frame, *, now: Time) -> Frame:
    """Return how much `expiring` keeps within 1, 7 and 30 days: `within_days`, `files`, `bytes` and `unknown_size`."""
    instant = utc(now, name="now")
    return counted(files, "within_days", {days: _expires(instant, days * DAY) for days in _SOON})


def never_expiring(files: Frame) -> Frame:
    """Keep the files that stay until they are deleted, oldest first."""
    return files.filter(pl.col("expires_at").is_null()).sort("created_at", *FILE)


def unexpired(files: Frame, *, now: Time) -> Frame:
    """Keep the files that had not expired by *now*, in their order.

    What was loaded earlier may hold others; the table `files`, which is what was ever listed, does.
    """
    return files.filter(pl.col("expires_at").is_null() | (pl.col("expires_at") > utc(now, name="now")))


def older_than(files: Frame, *, now: Time, age: Duration) -> Frame:
    """Keep the files created before *now* - *age*, such as `90d`, oldest first, as `files-source cleanup` does.

    Raises:
        ConfigError: *age* is no duration.
    """
    return files.filter(_is_older(utc(now, name="now"), duration(age, name="age"))).sort("created_at", *FILE)


def duplicates(files: Frame) -> Frame:
    """Return candidates for copies: files of the same account, name and size, for the API gives no hash.

    A file of unknown size is a copy of none.

    Returns:
        `account`, `filename`, `bytes` (of one), `copies` (how many), `freed` (the bytes of all but the
        newest), `newest_id` and `other_ids`, newest first, of a tie the lesser id first. Most freed first.
    """
    ids = pl.col("id")
    freed = (pl.col("bytes").cast(WIDE) * (pl.col("copies") - 1)).cast(pl.Int64)
    return (
        _newest_first(files.filter(pl.col("bytes").is_not_null(), pl.len().over(_SAME) > 1))
        .group_by(_SAME, maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("copies"), ids.first().alias("newest_id"), ids.slice(1).alias("other_ids"))
        .select(*_SAME, "copies", freed.alias("freed"), "newest_id", "other_ids")
        .sort("freed", *_SAME, descending=[True, False, False, False])
    )


def cleanup_candidates(
    files: Frame,
    *,
    now: Time,
    older_than: Duration | None = None,
    purpose: str | Sequence[str] | None = None,
    larger_than: int | None = None,
    copies: bool = False,
) -> Frame:
    """Keep the files of which all that is given is true, largest first, of unknown size last; nothing is deleted.

    Args:
        files: those that have expired by *now* are left out.
        now: when the files are so old.
        older_than: created before *now* - that; a timedelta, or text such as `90d`.
        purpose: of this purpose, or of one of these.
        larger_than: of more bytes than that.
        copies: one of the `other_ids` of `duplicates`, whatever else is given.

    Returns:
        The rows, and `reason`, such as 'older than 90 days, of purpose batch_output'.

    Raises:
        ConfigError: nothing is given, which is true of every file, or *older_than* is no duration.
    """
    instant = utc(now, name="now")
    files = unexpired(files, now=instant)
    reasons: list[tuple[pl.Expr, pl.Expr]] = []
    if older_than is not None:
        age = duration(older_than, name="older_than")
        reasons.append((_is_older(instant, age), pl.lit(f"older than {_spelled(age)}")))
    if purpose is not None:
        purposes = [purpose] if isinstance(purpose, str) else list(purpose)
        reasons.append((pl.col("purpose").is_in(purposes), pl.format("of purpose {}", "purpose")))
    if larger_than is not None:
        reasons.append((pl.col("bytes") > larger_than, pl.lit(f"larger than {larger_than:,} bytes")))
    if copies:
        files = _newest_first(files)
        newest = pl.col("id").first().over(_SAME)
        is_older = pl.col("bytes").is_not_null() & (pl.col("id") != newest)
        reasons.append((is_older, pl.format("maybe a copy of {}", newest)))
    if not reasons:
        raise ConfigError("every file is a candidate: give older_than, purpose, larger_than or copies")
    conditions, texts = zip(*reasons, strict=True)
    reason = pl.when(*conditions).then(pl.concat_str(texts, separator=", ")).alias("reason")
    return largest_first(files.with_columns(reason).filter(pl.col("reason").is_not_null()))


def _expires(now: datetime, within: timedelta) -> pl.Expr:
    return pl.col("expires_at").is_between(now, shifted(now, within), closed="right")


def _is_older(now: datetime, age: timedelta) -> pl.Expr:
    return pl.col("created_at") < shifted(now, -age)


def _spelled(age: timedelta) -> str:
    """Return an age in the largest unit of which it is a whole number, such as `90 days`, `36 hours`, `100 seconds`."""
    unit, length = next(((unit, length) for unit, length in _UNITS.items() if not age % length), ("second", _SECOND))
    count = f"{age / length:,.6f}".rstrip("0").rstrip(".")
    return f"{count} {unit}" if count == "1" else f"{count} {unit}s"


def _newest_first(files: Frame) -> Frame:
    return files.sort("created_at", "id", descending=[True, False])
