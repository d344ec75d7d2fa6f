"""What a polars predicate says of every file that passes it, as far as it can be told."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Final, Literal

import polars as pl

from files_source.bounds import NOTHING, Bounds

_Build = Callable[[pl.Expr, pl.Expr], pl.Expr]

_Closed = Literal["both", "left", "right", "none"]

_ACCOUNT: Final = pl.col("account")
_PURPOSE: Final = pl.col("purpose")
_CREATED_AT: Final = pl.col("created_at")

_IS: Final[tuple[_Build, ...]] = (operator.eq, pl.Expr.eq_missing)
_IS_IN: Final[tuple[_Build, ...]] = (pl.Expr.is_in, lambda name, names: name.is_in(names, nulls_equal=True))
_TIMES: Final[Mapping[_Build, Callable[[int], Bounds]]] = {
    **dict.fromkeys(_IS, lambda at: Bounds(since=at, until=at + 1)),
    operator.ge: lambda at: Bounds(since=at),
    operator.gt: lambda at: Bounds(since=at + 1),
    operator.le: lambda at: Bounds(until=at + 1),
    operator.lt: lambda at: Bounds(until=at),
}
_MIRRORED: Final[Mapping[_Build, _Build]] = {
    **{build: build for build in _IS},
    operator.ge: operator.le,
    operator.gt: operator.lt,
    operator.le: operator.ge,
    operator.lt: operator.gt,
}
_CLOSED: Final[Mapping[_Closed, tuple[_Build, _Build]]] = {
    "both": (operator.ge, operator.le),
    "left": (operator.ge, operator.lt),
    "right": (operator.gt, operator.le),
    "none": (operator.gt, operator.lt),
}
_FARTHEST: Final = 2**62


def bounds_of(predicate: pl.Expr) -> Bounds:
    """Return bounds that no file which passes *predicate* lies outside of.

    polars promises no lasting form in which an expression can be read. So one is recognised by
    building it anew from its parts and comparing the two. What is not recognised sets no bounds:
    that costs requests, never rows.
    """
    try:
        return _bounds(predicate, predicate.meta.pop()[::-1])
    except Exception:  # noqa: BLE001 - whatever it is: another version of polars, or a constant that has no value
        return Bounds()


def _bounds(predicate: pl.Expr, parts: list[pl.Expr]) -> Bounds:
    match parts:
        case []:
            return NOTHING if predicate.meta.eq(pl.lit(value=False)) else Bounds()
        case [left, right]:
            if predicate.meta.eq(left & right):
                return bounds_of(left) & bounds_of(right)
            if predicate.meta.eq(left | right):
                return bounds_of(left) | bounds_of(right)
            return _compared(predicate, left, right)
        case [time, earliest, latest]:
            return _between(predicate, time, earliest, latest)
        case _:
            return Bounds()


def _between(predicate: pl.Expr, time: pl.Expr, earliest: pl.Expr, latest: pl.Expr) -> Bounds:
    closed = next(closed for closed in _CLOSED if predicate.meta.eq(time.is_between(earliest, latest, closed)))
    from_then, till_then = _CLOSED[closed]
    return _bound(time, from_then, earliest) & _bound(time, till_then, latest)


def _compared(predicate: pl.Expr, left: pl.Expr, right: pl.Expr) -> Bounds:
    built = next(build for build in (*_TIMES, *_IS_IN) if predicate.meta.eq(build(left, right)))
    return _bound(left, built, right) if _is_constant(right) else _bound(right, _MIRRORED[built], left)


def _bound(column: pl.Expr, built: _Build, constant: pl.Expr) -> Bounds:
    """Return what `column OPERATOR constant` says."""
    if not _is_constant(constant):
        return Bounds()
    values = pl.select(constant).to_series()
    values = values.explode() if built in _IS_IN and values.dtype == pl.List else values
    if _is_time(column, values.dtype):
        return _any_of(values.drop_nulls()) if built in _IS_IN else _TIMES[built](_instant(values))
    if column.meta.eq(_ACCOUNT):
        return Bounds(accounts=_names(values, built))
    return Bounds(purposes=_names(values, built)) if column.meta.eq(_PURPOSE) else Bounds()


def _is_constant(expression: pl.Expr) -> bool:
    return not expression.meta.root_names()


def _is_time(column: pl.Expr, kind: pl.DataType) -> bool:
    """Tell whether a column is `created_at`, be it told in another time zone."""
    zone = kind.time_zone if isinstance(kind, pl.Datetime) else None
    return column.meta.eq(_CREATED_AT) or (zone is not None and column.meta.eq(_CREATED_AT.dt.convert_time_zone(zone)))


def _any_of(times: pl.Series) -> Bounds:
    if times.is_empty():
        return NOTHING
    return Bounds(since=_instant(times.sort().head(1)), until=_instant(times.sort().tail(1)) + 1)


def _names(values: pl.Series, built: _Build) -> frozenset[str] | None:
    if built not in _IS_IN and (built not in _IS or len(values) != 1):
        return None
    return frozenset(values.drop_nulls()) if values.dtype == pl.String else None


def _instant(time: pl.Series) -> int:
    """Return a time in microseconds since 1970.

    Raises:
        ValueError: it is of another kind than `created_at`, or out of reach.
    """
    kind, instant = time.dtype, time.to_physical().item()
    if not isinstance(kind, pl.Datetime) or kind.time_unit != "us" or kind.time_zone is None:
        raise ValueError(kind)
    if not -_FARTHEST < instant < _FARTHEST:
        raise ValueError(instant)
    return int(instant)
