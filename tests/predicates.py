"""Conditions on files, alone and combined, for what must hold of any of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import polars as pl
from hypothesis import strategies as st

account, purpose, created_at = pl.col("account"), pl.col("purpose"), pl.col("created_at")

_EQUAL: list[Callable[[pl.Expr, object], pl.Expr]] = [operator.eq, operator.ne, pl.Expr.eq_missing]
_ORDERED: list[Callable[[pl.Expr, object], pl.Expr]] = [operator.lt, operator.le, operator.gt, operator.ge]


def moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def predicates(
    *others: pl.Expr, accounts: Sequence[str], purposes: Sequence[str], seconds: st.SearchStrategy[int]
) -> st.SearchStrategy[pl.Expr]:
    """Return conditions on `account`, `purpose` and `created_at`, and *others* that can't be asked for."""
    times = seconds.map(moment)
    compared = st.sampled_from([*_EQUAL, *_ORDERED])
    alone = st.one_of(
        *(
            st.one_of(
                st.builds(
                    lambda build, name, column: build(column, name), compared, st.sampled_from(names), st.just(column)
                ),
                st.builds(column.is_in, st.lists(st.sampled_from(names), max_size=3)),
            )
            for column, names in ((account, accounts), (purpose, purposes))
        ),
        st.builds(lambda build, time: build(created_at, time), compared, times),
        st.builds(lambda build, time: build(pl.lit(time), created_at), compared, times),
        st.builds(created_at.is_between, times, times, st.sampled_from(["both", "left", "right", "none"])),
        st.builds(created_at.is_in, st.lists(times, max_size=3)),
        st.booleans().map(pl.lit),
        st.sampled_from([account == purpose, *others]),
    )
    return st.recursive(
        alone,
        lambda inner: st.one_of(
            st.builds(operator.and_, inner, inner),
            st.builds(operator.or_, inner, inner),
            st.builds(operator.inv, inner),
        ),
        max_leaves=5,
    )
