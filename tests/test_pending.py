"""Which notes of deletions in a place nothing says the end of."""

from __future__ import annotations

from typing import cast

import polars as pl
import pyarrow as pa
import pytest

from files_source.deletions import RECORDED
from files_source.pending import PENDING, deletions_in, pending_rows, unsettled, without_outcome

SERVER = "https://api.openai.com/v1"
Note = dict[str, object]


def note(file_id: str = "file-1", *, at: int = 10, server: str = SERVER, settled: bool = False) -> Note:
    file = {"account": "default", "id": file_id, "created_at": 0, "filename": "ü", "object": "file", "purpose": "batch"}
    return file | {"server": server, "attempted_at": at, "asked_by": "0a", "settled_at": at + 1 if settled else None}


def outcome(file_id: str = "file-1", *, at: int = 10, server: str = SERVER, is_deleted: bool = True) -> Note:
    key = {"server": server, "account": "default", "id": file_id, "attempted_at": at}
    return key | {"deleted_at": at if is_deleted else None}


@pytest.mark.parametrize(
    ("notes", "outcomes", "left"),
    [
        ([note()], [], [("file-1", 10)]),
        ([note(), note()], [], [("file-1", 10)]),
        ([note(), note(settled=True)], [], []),
        ([note(), note(at=20, settled=True)], [], [("file-1", 10)]),
        ([note()], [outcome()], []),
        ([note()], [outcome(is_deleted=False)], []),
        ([note(at=20)], [outcome(is_deleted=False)], [("file-1", 20)]),
        ([note()], [outcome(at=20, is_deleted=False)], []),
        ([note(at=20)], [outcome()], []),
        ([note()], [outcome("file-2")], [("file-1", 10)]),
        ([note()], [outcome(server="https://other/v1")], [("file-1", 10)]),
    ],
    ids=[
        "nothing is known",
        "noted twice, by a load that was repeated",
        "settled",
        "another attempt is settled",
        "deleted",
        "refused",
        "tried again after a refusal",
        "refused when it was tried again",
        "known to be deleted before",
        "another file is deleted",
        "another server's file is deleted",
    ],
)
def test_what_is_left(notes: list[Note], outcomes: list[Note], left: list[tuple[str, int]]):
    """A later word about the same file ends a note, and so does any that it is deleted."""
    pending, recorded = frame(notes, PENDING), frame(outcomes, RECORDED)

    found = without_outcome(unsettled(pending.lazy()).collect(), recorded)

    assert [(row["id"], row["attempted_at"]) for row in found.cast({"attempted_at": pl.Int64}).to_dicts()] == left


def test_a_deletion_comes_back_as_it_was_noted():
    """With every column of its file, and what tells the key."""
    (deletion,) = deletions_in(pa.Table.from_pylist([note()], schema=PENDING))

    assert pending_rows([deletion]).to_pylist() == pa.Table.from_pylist([note()], schema=PENDING).to_pylist()


def frame(rows: list[Note], schema: pa.Schema) -> pl.DataFrame:
    return cast(pl.DataFrame, pl.from_arrow(pa.Table.from_pylist(rows, schema=schema)))
