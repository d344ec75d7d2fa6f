"""Deletions: one row for each file that a cleanup asked the server to delete."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from files_source.schema import FILES, TIMESTAMP, column

Outcome = Literal["deleted", "gone", "failed"]

Row = dict[str, str | int | None]
"""A row of FILES, times in microseconds since 1970."""

OUTCOMES: Final = pa.schema(
    [
        column("attempted_at", TIMESTAMP, "When the server was asked to delete the file, by this machine's clock"),
        column(
            "deleted_at",
            TIMESTAMP,
            "When it confirmed that; `attempted_at` where it never did; null for a file that is still there",
            nullable=True,
        ),
        column(
            "outcome",
            pa.string(),
            "'deleted' (confirmed), 'gone' (not there any more: an answer was lost, or others deleted it) or 'failed'",
        ),
        column("error", pa.string(), "Why it failed", nullable=True),
    ]
)
"""The columns that a deletion has beside those of its file."""

DELETIONS: Final = pa.schema([*FILES, *OUTCOMES])
"""Arrow schema of the table `deletions`: a file as it was last listed, and what became of it."""

KEY: Final = ("account", "id", "attempted_at")
"""The columns that tell deletions apart: a file that could not be deleted may be tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A deletion from before it is asked for to its end; times are in microseconds since 1970.

    Attributes:
        file: the columns of FILES as last listed.
        server: whose file it is.
        outcome: None while that is not known.
    """

    file: Row
    server: str
    attempted_at: int
    deleted_at: int | None = None
    outcome: Outcome | None = None
    error: str | None = None

    @property
    def account(self) -> str:
        return str(self.file["account"])

    @property
    def file_id(self) -> str:
        return str(self.file["id"])


def rows(deletions: Iterable[Deletion]) -> pa.Table:
    """Return deletions that have come to their end as DELETIONS."""
    found = [
        {
            **deletion.file,
            "attempted_at": deletion.attempted_at,
            "deleted_at": deletion.deleted_at,
            "outcome": deletion.outcome,
            "error": deletion.error,
        }
        for deletion in deletions
    ]
    return pa.Table.from_pylist(found, schema=DELETIONS)


def as_numbers(files: pa.Table) -> pa.Table:
    """Return *files* with their times in microseconds since 1970."""
    schema = pa.schema([field.with_type(pa.int64()) if field.type == TIMESTAMP else field for field in files.schema])
    return files.cast(schema)


def unrecorded(deletions: pa.Table, recorded: pa.Table) -> pa.Table:
    """Keep the *deletions* that are not among those *recorded*: neither the same, nor of a file known to be deleted."""
    same = set(zip(*(recorded.column(name).to_pylist() for name in KEY), strict=True))
    known = recorded.filter(pc.is_valid(recorded.column("deleted_at")))
    deleted = set(zip(*(known.column(name).to_pylist() for name in KEY[:2]), strict=True))
    keys = zip(*(deletions.column(name).to_pylist() for name in KEY), strict=True)
    return deletions.filter(pa.array([key not in same and key[:2] not in deleted for key in keys], pa.bool_()))
