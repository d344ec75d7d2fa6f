"""Pending deletions: one row for each file that is about to be deleted, where its place notes that, too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

import polars as pl
import pyarrow as pa

from files_source.deletions import FILE_KEY, KEY, OUTCOMES, Deletion, as_numbers
from files_source.schema import FILES, TIMESTAMP, column

SETTLED: Final = "settled_at"
"""The column that is null as long as it is not known what became of a deletion."""

PENDING: Final = pa.schema(
    [
        *FILES,
        OUTCOMES.field("server"),
        column("attempted_at", TIMESTAMP, "When this row was made, before the server was asked to delete the file"),
        column("asked_by", pa.string(), "A salted hash that tells the key that asked from others"),
        column(
            SETTLED, TIMESTAMP, "When it was known that the file is deleted, was not asked for or stays", nullable=True
        ),
    ]
)
"""Arrow schema of the table `deletions_pending`: files whose deletion is about to be asked for."""


def typed(rows: pl.LazyFrame, schema: pa.Schema) -> pl.LazyFrame:
    """Return the columns of a schema with its types, which a destination may give as others, or as none at all."""
    types = cast(pl.DataFrame, pl.from_arrow(schema.empty_table())).schema
    return rows.select(pl.col(name).cast(kind) for name, kind in types.items())


def pending_rows(deletions: Iterable[Deletion], *, settled_at: int | None = None) -> pa.Table:
    """Return deletions as PENDING."""
    found = [
        {
            **deletion.file,
            "server": deletion.server,
            "attempted_at": deletion.attempted_at,
            "asked_by": deletion.asked_by,
            SETTLED: settled_at,
        }
        for deletion in deletions
    ]
    return pa.Table.from_pylist(found, schema=PENDING)


def unsettled(pending: pl.LazyFrame) -> pl.LazyFrame:
    """Keep the rows of PENDING that no other row settles, each once."""
    settled = pending.filter(pl.col(SETTLED).is_not_null()).select(KEY)
    return pending.filter(pl.col(SETTLED).is_null()).unique(KEY).join(settled, on=KEY, how="anti")


def without_outcome(pending: pl.DataFrame, recorded: pl.DataFrame) -> pl.DataFrame:
    """Keep the rows of PENDING whose file is neither known to be deleted, nor was tried since.

    Args:
        recorded: the table `deletions`.
    """
    last = recorded.group_by(FILE_KEY).agg(
        pl.col("attempted_at").max().alias(":last"), pl.col("deleted_at").is_not_null().any().alias(":deleted")
    )
    is_over = pl.col(":deleted") | (pl.col(":last") >= pl.col("attempted_at"))
    return pending.join(last, on=FILE_KEY, how="left").filter(~is_over.fill_null(value=False)).drop(":last", ":deleted")


def deletions_in(pending: pa.Table) -> list[Deletion]:
    """Return the deletions of PENDING."""
    return [
        Deletion(
            file={name: row[name] for name in FILES.names},
            server=row["server"],
            asked_by=row["asked_by"],
            attempted_at=row["attempted_at"],
        )
        for row in as_numbers(pending).to_pylist()
    ]
