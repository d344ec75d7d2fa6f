"""The rows of pages compared: which files were given before, and which stand on a page twice."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from files_source.decoding import Page


def known(page: Page) -> pa.Table:
    """Return of a page's files what tells them from others."""
    return page.files.select(["id", "created_at"])


def ids_of(page: Page) -> list[str]:
    """Return the ids on a page."""
    return list(map(str, page.files.column("id").to_pylist()))


def fresh(page: Page, given: pa.Table) -> Page:
    """Drop the rows that were *given* before, and all but the first of each id."""
    ids = page.files.column("id")
    keep = None
    if may_share(page.files, given):
        keep = pc.invert(are_in(page.files, given))
    if len(pc.unique(ids)) < len(ids):
        keep = _is_first(ids) if keep is None else pc.and_(keep, _is_first(ids))
    if keep is None or pc.all(keep, min_count=0).as_py():
        return page
    return replace(page, files=page.files.filter(keep).combine_chunks())


def may_share(files: pa.Table, others: pa.Table) -> bool:
    """Tell whether a file may stand in both: there are some that were created in the same span of time."""
    if not files.num_rows or not others.num_rows:
        return False
    (first, last), (others_first, others_last) = (
        pc.min_max(rows.column("created_at")).values() for rows in (files, others)
    )
    return bool(pc.less_equal(first, others_last).as_py() and pc.less_equal(others_first, last).as_py())


def are_in(files: pa.Table, others: pa.Table) -> pa.ChunkedArray:
    """Return for each of *files* whether it is one of the *others*, too."""
    return pc.is_in(files.column("id"), others.column("id").combine_chunks())


def _is_first(ids: pa.ChunkedArray) -> pa.Array:
    """Return for each id whether it stands here for the first time."""
    positions = pa.array(range(len(ids)), pa.int64())
    firsts = pa.table({"id": ids, "position": positions}).group_by("id").aggregate([("position", "min")])
    return pc.is_in(positions, firsts.column("position_min").combine_chunks())
