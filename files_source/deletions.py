"""Deletions: one row for each file that a cleanup asked the server to delete."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from files_source.accounts import Account
from files_source.schema import FILES, TIMESTAMP, column

Outcome = Literal["deleted", "gone", "failed"]

Row = dict[str, str | int | None]
"""A row of FILES, times in microseconds since 1970."""

OUTCOMES: Final = pa.schema(
    [
        column("server", pa.string(), "Whose file it was: the base URL, and the organization and project where named"),
        column(
            "attempted_at",
            TIMESTAMP,
            "When the deletion was noted, before the server was asked for it, by the clock of the machine that asked",
        ),
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

FILE_KEY: Final = ("server", "account", "id")
"""The columns that tell files apart."""
KEY: Final = (*FILE_KEY, "attempted_at")
"""The columns that tell deletions apart: a file that could not be deleted may be tried again."""
RECORDED: Final = pa.schema([DELETIONS.field(name) for name in (*KEY, "deleted_at")])
"""What of the table tells what need not be recorded again."""

FileKey = tuple[str, str, str]
"""A file's server, account and id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A deletion from before it is asked for to its end; times are in microseconds since 1970.

    Attributes:
        file: the columns of FILES as last listed.
        server: whose file it is.
        asked_by: what tells the key that asked from others, and does not show it.
        outcome: None while that is not known.
    """

    file: Row
    server: str
    asked_by: str
    attempted_at: int
    deleted_at: int | None = None
    outcome: Outcome | None = None
    error: str | None = None

    @property
    def file_id(self) -> str:
        return str(self.file["id"])

    @property
    def key(self) -> FileKey:
        """Return what tells the file from others, as FILE_KEY says."""
        return self.server, str(self.file["account"]), self.file_id

    def is_of(self, account: Account) -> bool:
        """Tell whether an account has asked for it, with the key that it has now: to another its file may be hidden."""
        named = self.server, str(self.file["account"])
        if named != (account.server, account.name):
            return False
        return self.asked_by == fingerprint(account, salt=self.asked_by[:16])


def begun(file: Row, *, account: Account, at: int) -> Deletion:
    """Return the deletion of a file of an account before it is asked for."""
    return Deletion(file=file, server=account.server, asked_by=fingerprint(account), attempted_at=at)


def fingerprint(account: Account, *, salt: str | None = None) -> str:
    """Return what tells an account's key and headers from others, begun by the salt in 16 hexadecimal digits."""
    salted = salt or secrets.token_hex(8)
    secret = json.dumps(sorted(account.request_headers().items())).encode()
    return salted + hashlib.blake2b(secret, salt=bytes.fromhex(salted), digest_size=16).hexdigest()


def rows(deletions: Iterable[Deletion]) -> pa.Table:
    """Return deletions that have come to their end as DELETIONS."""
    found = [
        {
            **deletion.file,
            "server": deletion.server,
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
    deleted = set(zip(*(known.column(name).to_pylist() for name in FILE_KEY), strict=True))
    keys = zip(*(deletions.column(name).to_pylist() for name in KEY), strict=True)
    return deletions.filter(pa.array([key not in same and key[:-1] not in deleted for key in keys], pa.bool_()))
