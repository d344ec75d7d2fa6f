"""The ledger of scans: one row for each account and run, however it ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, Literal

import pyarrow as pa

from files_source.schema import TIMESTAMP, column

Mode = Literal["incremental", "full", "history"]

SCANS: Final = pa.schema(
    [
        column("account", pa.string(), "Name of the account"),
        column("mode", pa.string(), "'incremental', 'full' (all loaded again) or 'history' (a complete scan)"),
        column("purpose", pa.string(), "The only purpose that was listed; null for all", nullable=True),
        column("started_at", TIMESTAMP, "When the account's listing began, by this machine's clock"),
        column("finished_at", TIMESTAMP, "When it ended, in success or failure"),
        column("pages", pa.int64(), "Pages of the listing that were read"),
        column("rows", pa.int64(), "Files that were handed to the destination; none of a scan that failed"),
        column("requests", pa.int64(), "Requests sent, those sent again included"),
        column("retries", pa.int64(), "How many of them were sent again"),
        column("received", pa.int64(), "Bytes of answers, as they travelled"),
        column("watermark", TIMESTAMP, "Files created before this were listed; null after a failure", nullable=True),
        column("complete", pa.bool_(), "Whether the listing was read to its end"),
        column("error", pa.string(), "Why it was not", nullable=True),
        column(
            "exact",
            pa.bool_(),
            "Whether `files` then held exactly what was listed: all files of the account, loaded again or first",
            nullable=True,
        ),
        column("note", pa.string(), "What is worth knowing about a scan without an error", nullable=True),
        column(
            "missed",
            pa.int64(),
            "Of a history scan: files that incremental runs should have loaded and did not; null if none had run",
            nullable=True,
        ),
    ]
)
"""Arrow schema of the table `scans`; (account, started_at) is its key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRecord:
    """One row of the ledger; its fields are the columns of SCANS."""

    account: str
    mode: Mode
    purpose: str | None
    started_at: datetime
    finished_at: datetime
    pages: int
    rows: int
    requests: int
    retries: int
    received: int
    watermark: datetime | None
    complete: bool
    error: str | None
    exact: bool | None = None
    note: str | None = None
    missed: int | None = None


def ledger(records: Iterable[ScanRecord]) -> pa.Table:
    """Return the rows of the ledger as SCANS."""
    return pa.Table.from_pylist([asdict(record) for record in records], schema=SCANS)
