"""Rows in order of creation: all of them and by purpose, and when they go."""

from __future__ import annotations

import heapq
import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from math import floor
from typing import Final, Literal

Order = Literal["asc", "desc"]

# A bare tuple, which the garbage collector leaves alone: a million objects would keep it busy.
Row = tuple[int, str, bytes]
"""One file: its key, its id, and its File object as JSON."""

Entry = tuple[Row, str, float | None]
"""A row, the purpose that it is listed under, and when it goes."""

_ARRIVAL_BITS: Final = 32
_FEW: Final = 16
"""Up to so many rows are taken out one by one; for more, the lists are built anew."""


def key(second: float, arrival: int) -> int:
    """Return what a file is sorted by: the second of its creation, then its arrival, in one number."""
    return (floor(second) << _ARRIVAL_BITS) + arrival


def arrival(key: int) -> int:
    """Return the arrival that a key holds."""
    return key & ((1 << _ARRIVAL_BITS) - 1)


class Index:
    """Rows by id, in order of their keys, by purpose and by expiry."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._sorted: dict[str | None, list[Row]] = {None: []}
        self._expiring: list[tuple[float, str]] = []

    def __contains__(self, file_id: str) -> bool:
        return file_id in self._rows

    def __getitem__(self, file_id: str) -> Row:
        return self._rows[file_id]

    def rows(self, purpose: str | None = None) -> list[Row]:
        """Return the rows, ascending: the list itself, which is not to be changed."""
        return self._sorted.get(purpose, [])

    def put(self, row: Row, purpose: str, expires_at: float | None) -> None:
        """Add one row; what is newest is added fastest."""
        self._rows[row[1]] = row
        for name in (None, purpose):
            insort(self._sorted.setdefault(name, []), row)
        if expires_at is not None:
            heapq.heappush(self._expiring, (expires_at, row[1]))

    def extend(self, entries: Iterable[Entry]) -> list[str]:
        """Add many rows, and return their ids."""
        added: dict[str | None, list[Row]] = {None: []}
        for row, purpose, expires_at in entries:
            self._rows[row[1]] = row
            added[None].append(row)
            added.setdefault(purpose, []).append(row)
            if expires_at is not None:
                self._expiring.append((expires_at, row[1]))
        for name, rows in added.items():
            self._sorted.setdefault(name, []).extend(rows)
            self._sorted[name].sort()
        heapq.heapify(self._expiring)
        return [file_id for _, file_id, _ in added[None]]

    def take_out(self, ids: list[str]) -> None:
        """Remove rows."""
        gone = [self._rows.pop(file_id) for file_id in ids]
        purposes = [listed_purpose(json.loads(text)) for _, _, text in gone]
        if len(gone) > _FEW:
            for name in {None, *purposes}:
                self._sorted[name] = [row for row in self._sorted[name] if row[1] in self._rows]
            return
        for row, purpose in zip(gone, purposes, strict=True):
            for name in (None, purpose):
                del self._sorted[name][bisect_left(self._sorted[name], row)]

    def expired(self, now: float) -> list[str]:
        """Return, once, the ids of rows whose time has come; they are still to be taken out."""
        ids: dict[str, None] = {}
        while self._expiring and self._expiring[0][0] <= now:
            expires_at, file_id = heapq.heappop(self._expiring)
            # An entry is out of date where its file was changed or deleted since.
            if file_id in self._rows and json.loads(self._rows[file_id][-1]).get("expires_at") == expires_at:
                ids[file_id] = None
        return list(ids)

    def page(
        self, *, after: str | None, limit: int, order: Order, purpose: str | None, ties_by_id: bool
    ) -> tuple[list[Row], bool]:
        """Return at most *limit* rows after one, and whether more follow; see `Store.page`."""
        rows = self.rows(purpose)
        cursor = None if after is None else self._rows[after]
        if ties_by_id:
            return _page_by_id(rows, cursor, limit, order)
        if order == "asc":
            start = 0 if cursor is None else bisect_right(rows, cursor)
            return rows[start : start + limit], start + limit < len(rows)
        end = len(rows) if cursor is None else bisect_left(rows, cursor)
        start = max(end - limit, 0)
        return rows[start:end][::-1], start > 0


def listed_purpose(file: dict[str, object]) -> str:
    """Return the purpose under which a File object is listed."""
    purpose = file.get("purpose")
    return purpose if isinstance(purpose, str) else ""


def _page_by_id(rows: list[Row], cursor: Row | None, limit: int, order: Order) -> tuple[list[Row], bool]:
    def place(row: Row) -> tuple[int, str]:
        second = row[0] >> _ARRIVAL_BITS
        return (second if order == "asc" else -second, row[1])

    rows = sorted(rows, key=place)
    start = 0 if cursor is None else bisect_right(rows, place(cursor), key=place)
    return rows[start : start + limit], start + limit < len(rows)
