"""What the tests of cleanups have in common."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event

import polars as pl

from files_source import read_table
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.deletions import as_numbers
from files_source.emulator import Emulator, Fault
from files_source.emulator.delivery import Delivery
from files_source.journal import Journal
from files_source.recording import Record
from files_source.shortlist import Shortlist
from tests.commands import Ended
from tests.conftest import NOW

Command = Callable[..., Ended]
Connect = Callable[..., FilesClient]
DAY = 86_400
DELETE = {"method": "DELETE", "path": "/v1/files/*"}
OLD = ["cleanup", "--older-than", "90d"]
FOR_GOOD = [*OLD, "--delete", "--yes"]


def add_files(emulator: Emulator, *, old: int = 30, young: int = 10) -> list[str]:
    """Add files before and after the age of 90 days, and return the ids of the old ones."""
    emulator.populate(young, start=NOW - 90 * DAY, end=NOW)
    return emulator.populate(old, start=NOW - 400 * DAY, end=NOW - 90 * DAY)


def ids(found: Shortlist) -> list[str]:
    return [file_id for _, files in found.tables() for file_id in files.column("id").to_pylist()]


def recorded(place: str, *outcomes: str) -> list[str]:
    """Return the ids in the table of deletions that came to such an end, or whose file is gone, doubles included."""
    rows = read_table(place, "deletions")
    wanted = pl.col("outcome").is_in(outcomes) if outcomes else pl.col("deleted_at").is_not_null()
    return sorted(rows.filter(wanted)["id"].to_list())


def journal_of(place: str) -> Path:
    return Record(place).path


def deleted_by(emulator: Emulator) -> list[str]:
    """Return the ids that the server was asked to delete, in order."""
    return [request.path.rpartition("/")[2] for request in emulator.requests if request.method == "DELETE"]


def doubled(emulator: Emulator, file_id: str) -> Fault:
    """Let someone else delete a file just before."""

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        call.remove(file_id)
        return Delivery(call.answer())

    return Fault("doubled", spoil)


def done_and_hanging(asked: Event) -> Fault:
    """Do what is asked, tell that it is done, and never answer."""

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        answer = call.answer()
        asked.set()
        return Delivery(answer, fate="hangs")

    return Fault("done and hanging", spoil)


def leave_open(emulator: Emulator, place: str, *, is_done: bool) -> str:
    """Leave the deletion of a file as a cleanup does that dies before the answer, and return the file's id."""
    file_id = str(emulator.add(created_at=NOW - 91 * DAY)["id"])
    account = Account.from_environment()
    with FilesClient(account) as client:
        (file,) = [row for row in as_numbers(client.page().files).to_pylist() if row["id"] == file_id]
    path = journal_of(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(Journal(path)) as journal:
        journal.begin(file, account=account)
    if is_done:
        emulator.remove(file_id)
    return file_id
