"""One account's listing in a run, from its first request to its row in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Generic, Protocol, TypeVar

import pyarrow as pa

from files_source.client import FilesClient
from files_source.errors import FilesSourceError
from files_source.ledger import Mode, ScanRecord
from files_source.progress import Progress, moment

OnScan = Callable[[ScanRecord], None]
"""What is told of each account's listing when that has ended, in success or failure."""


class Listing(Protocol):
    """What an attempt goes through: what is new, or everything."""

    @property
    def progress(self) -> Progress: ...

    @property
    def until(self) -> int:
        """The instant before which nothing lacks, in microseconds since 1970; known from the first page on."""

    def batches(self) -> Iterator[pa.Table]:
        """Yield the rows."""


_NOT_YET: Final = datetime.max.replace(tzinfo=UTC)

Listed = TypeVar("Listed", bound=Listing)


@dataclass(slots=True, kw_only=True)
class Attempt(Generic[Listed]):
    """One account's listing in a run.

    Args:
        account: the account's name.
        connect: opens the way to it.
        begin: makes the listing.
        mode: what for.
        purpose: the only purpose that is listed.
        on_end: what is told of its end, in success or failure.

    Attributes:
        listing: the listing; None until it has begun.
        started_at: when that was.
        rows: rows yielded so far.
        error: why it failed.
    """

    account: str
    connect: Callable[[], AbstractContextManager[FilesClient]]
    begin: Callable[[FilesClient], Listed]
    mode: Mode
    purpose: str | None
    on_end: OnScan
    listing: Listed | None = None
    started_at: datetime = _NOT_YET
    rows: int = 0
    error: FilesSourceError | None = None

    def tables(self) -> Generator[pa.Table, None, None]:
        """Yield the rows, and tell of the end.

        Raises:
            FilesSourceError: the listing failed; what was yielded is not all there is.
        """
        self.started_at = started = datetime.now(UTC)
        with self.connect() as client:
            before = client.requests, client.retries, client.received
            self.listing = listing = self.begin(client)
            try:
                for table in listing.batches():
                    yield table
                    self.rows += table.num_rows
            except FilesSourceError as error:
                error.__cause__ = error.__context__ = None  # they may quote a secret, and dlt's trace would keep that
                self.error = error
            record = ScanRecord(
                account=self.account,
                mode=self.mode,
                purpose=self.purpose,
                started_at=started,
                finished_at=datetime.now(UTC),
                pages=listing.progress.pages,
                rows=0 if self.error else self.rows,
                requests=client.requests - before[0],
                retries=client.retries - before[1],
                received=client.received - before[2],
                watermark=None if self.error else moment(listing.until),
                complete=self.error is None,
                error=None if self.error is None else str(self.error),
            )
        self.on_end(record)
        if self.error is not None:
            raise self.error
