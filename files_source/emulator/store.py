"""The files of one account in memory: sorted, indexed and serialised once."""

from __future__ import annotations

import itertools
import json.encoder
import math
import random
import string
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, cast

from files_source.emulator.index import Entry, Index, Order, Row, arrival, key, listed_purpose
from files_source.emulator.population import Draft, population

File = dict[str, object]
"""A File object as the API shows it."""

ABSENT: Final = object()
"""The value of a field that is to be left out of a File object."""

_ALPHANUMERICS: Final = string.ascii_letters + string.digits
_AS_ALPHANUMERIC: Final = bytes(ord(_ALPHANUMERICS[byte % len(_ALPHANUMERICS)]) for byte in range(256))
_ID_LENGTH: Final = 24
_IDS_AT_ONCE: Final = 1_000

_quote: Final = json.encoder.encode_basestring
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Store:
    """An account's files, which several threads may change and list.

    A file whose `expires_at` has come by *clock* is gone from every answer; zero and less is never. Ids and
    populations come from *seed*.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, seed: int = 0) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        self._random = random.Random(seed)  # noqa: S311 - must be repeatable, not secret
        self._new_ids = _random_ids(self._random)
        self._arrivals = itertools.count()
        self._index = Index()
        self._contents: dict[str, bytes] = {}

    def add(
        self,
        *,
        created_at: int | None = None,
        purpose: str = "batch",
        size: int | None = None,
        filename: str = "requests.jsonl",
        status: str = "processed",
        expires_at: int | None = None,
        file_id: str | None = None,
        content: bytes | None = None,
        **extra: object,
    ) -> File:
        """Add one file and return its File object.

        Args:
            created_at: Unix seconds; now by default.
            size: its `bytes`; by default the length of *content*, or 1,000.
            expires_at: Unix seconds; by default never, whatever the purpose.
            file_id: a new one by default.
            content: what a download gives; by default its name over and over.
            extra: more fields, or other values of those above: any JSON, or `ABSENT` to leave one out.

        Raises:
            ValueError: there is a file *file_id* already.
        """
        if size is None:
            size = 1_000 if content is None else len(content)
        with self._lock:
            self._expire()
            file_id = next(self._new_ids) if file_id is None else file_id
            if file_id in self._index:
                raise ValueError(f"there is a file {file_id!r} already")
            second = math.floor(self.clock()) if created_at is None else created_at
            file: File = {
                "object": "file",
                "id": file_id,
                "purpose": purpose,
                "filename": filename,
                "bytes": size,
                "created_at": second,
                "expires_at": expires_at,
                "status": status,
                "status_details": None,
            }
            if content is not None:
                self._contents[file_id] = content
            return self._put(file_id, key(second, next(self._arrivals)), file | extra)

    def add_many(self, count: int, *, created_at: int, purpose: str = "batch") -> list[str]:
        """Add a bulk upload of *count* files in one second, and return their ids."""
        names = (f"part_{number:06d}.jsonl" for number in range(count))
        return self._extend((created_at, purpose, name, 1_000, "processed", None, None) for name in names)

    def populate(self, count: int, *, start: int, end: int) -> list[str]:
        """Add *count* files as a busy account would have them, created in [*start*, *end*), and return their ids.

        None of them expires within an hour by the clock.
        """
        return self._extend(population(count, start=start, end=end, now=self.clock(), random=self._random))

    def change(self, file_id: str, **fields: object) -> File:
        """Set *fields* of a file, `ABSENT` to take one away, and return its File object.

        A `created_at` that is a number also moves the file in the listing.

        Raises:
            KeyError: there is no such file.
        """
        with self._lock:
            place, _, text = self._find(file_id)
            second = fields.get("created_at")
            if isinstance(second, int | float):
                place = key(second, arrival(place))
            self._index.take_out([file_id])
            return self._put(file_id, place, json.loads(text) | fields)

    def remove(self, file_id: str) -> None:
        """Delete a file.

        Raises:
            KeyError: there is no such file.
        """
        with self._lock:
            self._find(file_id)
            self._index.take_out([file_id])
            self._contents.pop(file_id, None)

    def ids(self, purpose: str | None = None) -> list[str]:
        """Return the ids of all files in ascending order."""
        with self._lock:
            return [file_id for _, file_id, _ in self._live(purpose)]

    def files(self, purpose: str | None = None) -> list[File]:
        """Return all File objects in ascending order."""
        with self._lock:
            return [json.loads(text) for _, _, text in self._live(purpose)]

    def file(self, file_id: str) -> File:
        """Return one File object.

        Raises:
            KeyError: there is no such file.
        """
        return cast(File, json.loads(self.row(file_id)))

    def row(self, file_id: str) -> bytes:
        """Return one File object as JSON.

        Raises:
            KeyError: there is no such file.
        """
        with self._lock:
            return self._find(file_id)[-1]

    def content(self, file_id: str) -> bytes | None:
        """Return the bytes that a file was added with, if any."""
        with self._lock:
            return self._contents.get(file_id)

    def page(
        self, *, after: str | None, limit: int, order: Order, purpose: str | None, ties_by_id: bool = False
    ) -> tuple[list[bytes], bool]:
        """Return the JSON of at most *limit* files after one, and whether more follow.

        Args:
            ties_by_id: files of one second stand in ascending order of their ids in both orders, not in
                order of arrival. This sorts the whole listing on each call.

        Raises:
            KeyError: there is no file *after*.
        """
        with self._lock:
            self._expire()
            rows, more = self._index.page(after=after, limit=limit, order=order, purpose=purpose, ties_by_id=ties_by_id)
            return [text for _, _, text in rows], more

    def _live(self, purpose: str | None) -> list[Row]:
        self._expire()
        return self._index.rows(purpose)

    def _find(self, file_id: str) -> Row:
        self._expire()
        return self._index[file_id]

    def _expire(self) -> None:
        expired = self._index.expired(self.clock())
        if expired:
            self._index.take_out(expired)
            for file_id in expired:
                self._contents.pop(file_id, None)

    def _put(self, file_id: str, place: int, fields: File) -> File:
        file = {name: value for name, value in fields.items() if value is not ABSENT}
        expires_at = file.get("expires_at")
        # A lone surrogate has no UTF-8; its escape in Python is its escape in JSON.
        row = (place, file_id, _encode(file).encode("utf-8", "backslashreplace"))
        goes = expires_at if isinstance(expires_at, int | float) and expires_at > 0 else None
        self._index.put(row, listed_purpose(file), goes)
        return file

    def _extend(self, drafts: Iterable[Draft]) -> list[str]:
        with self._lock:
            self._expire()
            return self._index.extend(self._entries(drafts))

    def _entries(self, drafts: Iterable[Draft]) -> Iterator[Entry]:
        """Yield the rows of files to come; writing their JSON without a dict takes a fifth of the time."""
        for second, purpose, filename, size, status, details, expires_at in drafts:
            file_id = next(self._new_ids)
            text = (
                f'{{"object":"file","id":"{file_id}","purpose":{_quote(purpose)},"filename":{_quote(filename)},'
                f'"bytes":{size},"created_at":{second},"expires_at":{expires_at or "null"},"status":"{status}",'
                f'"status_details":{_quote(details) if details else "null"}}}'
            )
            yield (key(second, next(self._arrivals)), file_id, text.encode()), purpose, expires_at


def _random_ids(random: random.Random) -> Iterator[str]:
    while True:
        letters = random.randbytes(_ID_LENGTH * _IDS_AT_ONCE).translate(_AS_ALPHANUMERIC).decode()
        for start in range(0, len(letters), _ID_LENGTH):
            yield f"file-{letters[start : start + _ID_LENGTH]}"
