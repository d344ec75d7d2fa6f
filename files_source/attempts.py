"""One account's listing in a run, from its first request to its row in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
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
    def watermark(self) -> int:
        """The instant before which everything is listed, in microseconds since 1970; known from the first page on."""

    def batches(self) -> Iterator[pa.Table]:
        """Yield the rows."""


STOPPED: Final = "stopped before the end of the listing"
INTERRUPTED: Final = "interrupted"

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
        record: its row in the ledger, once it has ended.
        is_kept: whether what was yielded is loaded although the listing was stopped before its end.
        is_exact: whether the table of files then holds exactly what was listed.
        note: what is worth knowing of a listing that succeeded.
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
    record: ScanRecord | None = None
    is_kept: bool = False
    is_exact: bool = False
    note: str | None = None
    _client: FilesClient | None = None
    _before: tuple[int, int, int] = (0, 0, 0)
    _lock: AbstractContextManager[object] = field(default_factory=Lock, repr=False)

    def tables(self) -> Generator[pa.Table, None, None]:
        """Yield the rows, and tell of the end, however it comes.

        Raises:
            FilesSourceError: the listing failed; what was yielded is not all there is.
        """
        self.started_at = datetime.now(UTC)
        try:
            with self.connect() as client:
                self._client, self._before = client, _sent(client)
                self.listing = listing = self.begin(client)
                for table in listing.batches():
                    self.rows += table.num_rows
                    yield table
        except FilesSourceError as error:
            error.__cause__ = error.__context__ = None  # they may quote a secret, and dlt's trace would keep that
            self.error = error
            self.end(str(error))
            raise
        except GeneratorExit:
            self.end(STOPPED)
            raise
        except BaseException as error:
            self.end(INTERRUPTED if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}")
            raise
        self.end()

    def end(self, error: str | None = None) -> None:
        """Tell of the end of a listing that has begun, once."""
        with self._lock:
            if self.record is not None or self.started_at is _NOT_YET:
                return
            requests, retries, received = self._sent_since()
            settled = None if self.listing is None or error is not None else self.listing.progress.settled
            self.record = ScanRecord(
                account=self.account,
                mode=self.mode,
                purpose=self.purpose,
                started_at=self.started_at,
                finished_at=datetime.now(UTC),
                pages=0 if self.listing is None else self.listing.progress.pages,
                rows=self.rows if error is None or (self.is_kept and error == STOPPED) else 0,
                requests=requests,
                retries=retries,
                received=received,
                watermark=None if self.listing is None or settled is None else moment(self.listing.watermark),
                complete=error is None,
                error=error,
                exact=self.is_exact and error is None,
                note=self.note,
                missed=None,
            )
        self.on_end(self.record)

    def _sent_since(self) -> tuple[int, int, int]:
        if self._client is None:
            return 0, 0, 0
        requests, retries, received = (
            now - before for now, before in zip(_sent(self._client), self._before, strict=True)
        )
        return requests, retries, received


def _sent(client: FilesClient) -> tuple[int, int, int]:
    return client.requests, client.retries, client.received
