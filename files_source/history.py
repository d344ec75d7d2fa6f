"""The inventory at an instant, and what happened between two inventories, as polars expressions.

An instant is a datetime, a date (its beginning) or ISO 8601 text, in UTC where it names no zone, or how
long ago it was, such as `7d`.
"""

from __future__ import annotations

from typing import Final, TypeVar

import polars as pl

from files_source.schema import FILES
from files_source.times import Time, utc

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

_KEY: Final = ("account", "id")
_VALUES: Final = tuple(name for name in FILES.names if name not in _KEY)
_AFTER: Final = ":after"
_COVERED: Final = ":covered"
_EXACT: Final = ":exact"


def current(history: Frame) -> Frame:
    """Keep the versions of `files_history` that are valid now: one row a file, none of a file that is gone."""
    return history.filter(pl.col("_dlt_valid_to").is_null())


def as_of(history: Frame, at: Time) -> Frame:
    """Keep the versions of `files_history` that were valid at an instant: `_dlt_valid_from` <= *at* < `_dlt_valid_to`.

    Before an account's first run there are none of its files.
    """
    instant = utc(at, name="at")
    ended = pl.col("_dlt_valid_to") <= instant
    return history.filter(pl.col("_dlt_valid_from") <= instant, ~ended.fill_null(value=False))


def as_of_snapshots(snapshots: Frame, scans: Frame, *, at: Time) -> Frame:
    """Keep the rows of `files_snapshots` that were the inventory at an instant, by the ledger `scans`.

    A row counts if no later scan of its account covered its purpose: among the complete history
    scans that had finished by *at*, of all purposes or of the row's own, its snapshot is of the one
    that started last. So a scan of one purpose replaces that purpose's rows only, an account that
    was emptied has none, and a scan that failed changes nothing.
    """
    done = scans.filter(pl.col("finished_at") <= utc(at, name="at"))
    return _covered(snapshots, done, "started_at").filter(pl.col("snapshot_at") == pl.col(_COVERED)).drop(_COVERED)


def still_there(listed: Frame, inventory: Frame, scans: Frame) -> Frame:
    """Return the files that are there as far as is known: by complete scans where there were any.

    Args:
        listed: the table `files`, which is what was ever listed, deleted or not.
        inventory: what `current` or `as_of_snapshots` keeps: what the last complete scans found.
        scans: the ledger.

    Returns:
        The rows of *inventory*, and those of *listed* that it could not hold: of an account or a
        purpose that no complete scan has covered, or so young that the last one may have missed them,
        where they may have been listed after that. Of an account whose table was loaded from nothing
        (a full refresh, or the first load) after its last complete scan, all rows of *listed* instead.
    """
    exact = _exact(scans)
    covered = _covered(_covered(listed, scans, "started_at").rename({_COVERED: ":began"}), scans, "watermark")
    has_loaded = pl.col("complete") | (pl.col("rows") > 0)  # some of what a run found that dlt stopped early
    others = scans.filter(pl.col("mode") != "history", has_loaded).group_by("account")
    last_listed = others.agg(pl.col("finished_at").max().alias(":listed"))
    is_younger = pl.col("created_at") >= pl.col(_COVERED)
    is_listed_since = (pl.col(":listed") > pl.col(":began")).fill_null(value=False)
    known = (
        _covered(inventory, scans, "started_at")
        .join(exact, on="account", how="left", maintain_order="left")
        .filter(~_is_newer(_COVERED))
    )
    rest = (
        covered.join(last_listed, on="account", how="left", maintain_order="left")
        .join(exact, on="account", how="left", maintain_order="left")
        .filter(_is_newer(":began") | pl.col(_COVERED).is_null() | (is_younger & is_listed_since))
        .join(known, on=_KEY, how="anti", maintain_order="left")
    )
    return pl.concat([known.select(FILES.names), rest.select(FILES.names)])


def without_deleted(files: Frame, deletions: Frame, scans: Frame | None) -> Frame:
    """Leave out the files that a cleanup has deleted, but for those that a complete scan has found after that.

    Args:
        deletions: the table.
        scans: the ledger, where *files* are what complete scans have found; None where they are what was listed.
    """
    last = deletions.group_by(_KEY).agg(pl.col("deleted_at").max().alias(":deleted"))
    found = files.join(last, on=_KEY, how="left", maintain_order="left")
    deleted = pl.col(":deleted").is_not_null()
    if scans is not None:
        found = _covered(found, scans, "started_at")
        deleted = deleted & (pl.col(_COVERED) <= pl.col(":deleted")).fill_null(value=True)
    return found.filter(~deleted).select(FILES.names)


def checked_at(files: Frame, scans: Frame, *, purpose: str | None = None) -> Frame:
    """Return one row with `checked_at`, the instant since which each of *files* has been covered by a complete scan.

    It is when the earliest began of those that covered them last; null where one has not been
    covered. A full refresh covers all files of its accounts.
    Of an account without files, it is the last scan of all purposes, or of the only *purpose*.
    """
    whose = scans.select("account").unique().with_columns(pl.lit(purpose, pl.String).alias("purpose"))
    none_left = whose.join(files.select("account").unique(), on="account", how="anti")
    covered, refreshed = pl.max_horizontal(_COVERED, _EXACT), scans.filter(pl.col("mode") == "full")
    asked = pl.concat([files.select("account", "purpose"), none_left])
    return (
        _covered(asked, scans, "started_at")
        .join(_exact(refreshed), on="account", how="left")
        .select(pl.when(covered.is_not_null().all()).then(covered.min()).alias("checked_at"))
    )


def changes(before: Frame, after: Frame) -> Frame:
    """Return what happened to each file between two inventories, sorted by account and id.

    Args:
        before, after: the columns of FILES, each (account, id) once; other columns are left out.

    Returns:
        One row for each file that was created, changed or deleted: `change` ('created', 'changed'
        or 'deleted'), the columns of FILES as they are in *after* (of a deleted file as they were
        in *before*), and `changed`, the names of the columns that differ, in the order of FILES;
        empty for a file that was created or deleted.
    """
    was = before.select(FILES.names).with_columns(pl.lit(value=True).alias(":was"))
    now = after.select(*_KEY, pl.col(_VALUES).name.suffix(_AFTER)).with_columns(pl.lit(value=True).alias(":is"))
    created, deleted = pl.col(":was").is_null(), pl.col(":is").is_null()
    differs = {name: ~created & ~deleted & pl.col(name).ne_missing(pl.col(name + _AFTER)) for name in _VALUES}
    change = pl.when(created).then(pl.lit("created")).when(deleted).then(pl.lit("deleted")).otherwise(pl.lit("changed"))
    changed = pl.concat_list(pl.when(differing).then(pl.lit(name)) for name, differing in differs.items())
    return (
        was.join(now, on=_KEY, how="full", coalesce=True)
        .filter(created | deleted | pl.any_horizontal(differs.values()))
        .select(
            change.alias("change"),
            *_KEY,
            *(pl.when(deleted).then(pl.col(name)).otherwise(pl.col(name + _AFTER)).alias(name) for name in _VALUES),
            changed.list.drop_nulls().alias("changed"),
        )
        .select("change", *FILES.names, "changed")
        .sort(_KEY)
    )


def _exact(scans: Frame) -> Frame:
    """Return for each account when the last run began after which `files` held exactly what was listed."""
    is_exact = pl.col("mode") == "full"
    if "exact" in scans.lazy().collect_schema():
        is_exact = is_exact | pl.col("exact").fill_null(value=False)
    loaded = scans.filter(pl.col("complete"), is_exact)
    return loaded.group_by("account").agg(pl.col("started_at").max().alias(_EXACT))


def _is_newer(covered: str) -> pl.Expr:
    """Tell whether what such a run listed is newer than a complete scan."""
    return (pl.col(_EXACT) > pl.col(covered)).fill_null(pl.col(_EXACT).is_not_null() & pl.col(covered).is_null())


def _covered(files: Frame, scans: Frame, column: str) -> Frame:
    """Add what the last complete history scan of a file's account and purpose says in *column*; null without one."""
    complete = scans.filter(pl.col("mode") == "history", pl.col("complete"))
    last = pl.col(column).max()
    of_all = complete.filter(pl.col("purpose").is_null()).group_by("account").agg(last.alias(":of_all"))
    of_one = complete.group_by("account", "purpose").agg(last.alias(":of_one"))
    return (
        files.join(of_all, on="account", how="left", maintain_order="left")
        .join(of_one, on=["account", "purpose"], how="left", maintain_order="left")
        .with_columns(pl.max_horizontal(":of_all", ":of_one").alias(_COVERED))
        .drop(":of_all", ":of_one")
    )
