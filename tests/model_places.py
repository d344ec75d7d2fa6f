"""What a place holds, and what its runs may take for held: the half of the model that lasts from run to run."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import duckdb

from files_source.emulator import File
from files_source.errors import ConfigError
from files_source.frames import read_files
from files_source.schema import FILES
from files_source.tables import read_inventory, read_table

Row = tuple[Any, ...]
"""A file's values, in the order of FILES."""
Key = tuple[str, str]
"""Account and id."""
Listing = tuple[str, str, str | None]
"""Whose state it is (a pipeline's, or a folder's), account and purpose (None: all)."""
Seconds = tuple[float, float]
"""A second, at least and at most, where a run does not tell."""
Loss = Literal["all", "truncated", "dropped", "account", "newest", "some"]

ID, CREATED_AT, PURPOSE = (FILES.names.index(name) for name in ("id", "created_at", "purpose"))
NEVER: Seconds = (-math.inf, -math.inf)


def row(account: str, file: File) -> Row:
    """Return the row that a File object should become."""
    others = {name: value for name, value in file.items() if name not in FILES.names}
    values = file | {
        "account": account,
        "created_at": moment(file["created_at"]),
        "expires_at": moment(file["expires_at"]),
        "extra": json.dumps(others, separators=(",", ":")) if others else None,
    }
    return tuple(values[name] for name in FILES.names)


def moment(second: Any) -> datetime | None:
    return None if second is None else datetime.fromtimestamp(second, UTC)


def created(file: Row) -> int:
    return int(file[CREATED_AT].timestamp())


@dataclass(frozen=True)
class Tables:
    """What a place holds, as its readers see it.

    Attributes:
        inventory: the files of the last complete history scans.
        versions: on DuckDB, rows of the history with the times from and to which they are valid.
        scans: rows of the ledger, oldest first.
        has_files: whether there is a table of files, though it may have no rows.
    """

    files: dict[Key, Row] = field(default_factory=dict)
    inventory: dict[Key, Row] = field(default_factory=dict)
    versions: Counter[tuple[Row, Any, Any]] = field(default_factory=Counter)
    scans: list[dict[str, Any]] = field(default_factory=list)
    has_files: bool = False

    @classmethod
    def read(cls, path: str) -> Tables:
        valid = ("_dlt_valid_from", "_dlt_valid_to")
        found = cls(
            files=by_key(rows_in(path, "files") or []),
            inventory=inventory_of(path),
            versions=Counter((line[:-2], *line[-2:]) for line in rows_in(path, "files_history", *valid) or []),
            scans=scans_in(path),
            has_files=rows_in(path, "files") is not None,
        )
        assert still_there_in(path) == found.still_there(), "not what the tables say is still there"
        return found

    def still_there(self) -> dict[Key, Row]:
        """Return what the newest complete knowledge says: a scan of everything, or a table loaded from nothing."""
        if not self.has_files:
            return self.inventory
        known = {key: file for key, file in self.inventory.items() if not self._is_loaded_since(file)}
        return {key: file for key, file in self.files.items() if self._may_be_missed(file)} | known

    def _covering(self, file: Row) -> list[dict[str, Any]]:
        """Return the complete scans that would have found a file."""
        return [
            scan
            for scan in self.scans
            if scan["complete"] and scan["mode"] == "history" and scan["account"] == file[0]
            if scan["purpose"] in (None, file[PURPOSE])
        ]

    def _is_loaded_since(self, file: Row) -> bool:
        """Tell whether the table was loaded from nothing after the last complete scan of a file's listing."""
        loads = [
            scan["started_at"]
            for scan in self.scans
            if scan["account"] == file[0] and scan["complete"] and (scan["mode"] == "full" or scan["exact"])
        ]
        return bool(loads) and all(max(loads) > scan["started_at"] for scan in self._covering(file))

    def _may_be_missed(self, file: Row) -> bool:
        """Tell whether no complete scan has covered a file, or one before it was settled and listed again."""
        covering = self._covering(file)
        if not covering or self._is_loaded_since(file):
            return True
        listed = [
            scan["finished_at"]
            for scan in self.scans
            if scan["account"] == file[0] and scan["mode"] != "history" and (scan["complete"] or scan["rows"])
        ]
        is_listed_since = bool(listed) and max(listed) > max(scan["started_at"] for scan in covering)
        return is_listed_since and file[CREATED_AT] >= max(scan["watermark"] for scan in covering)


def still_there_in(path: str) -> dict[Key, Row]:
    try:
        return by_key(read_files(path).rows())
    except ConfigError:
        return {}


def rows_in(path: str, table: str, *further: str) -> list[Row] | None:
    try:
        return read_table(path, table).select(*FILES.names, *further).rows()
    except ConfigError:  # there is no such table
        return None


def inventory_of(path: str, at: datetime | None = None) -> dict[Key, Row]:
    try:
        return by_key(read_inventory(path, at=at).rows())
    except ConfigError:
        return {}


def scans_in(path: str) -> list[dict[str, Any]]:
    try:
        return read_table(path, "scans").sort("started_at", "account").to_dicts()
    except ConfigError:
        return []


def by_key(rows: list[Row]) -> dict[Key, Row]:
    keyed: dict[Key, Row] = {line[: ID + 1]: line for line in rows}
    doubles = [key for key, count in Counter(line[: ID + 1] for line in rows).items() if count > 1]
    assert not doubles, f"these files stand there more than once: {doubles}"
    return keyed


def part(table: dict[Key, Row], account: str) -> dict[str, Row]:
    return {file_id: file for (name, file_id), file in table.items() if name == account}


@dataclass
class Place:
    """What a place should hold.

    A database merges, and each pipeline knows only what it has loaded itself. Of a folder all of them know all.

    Attributes:
        held: the newest second of which each listing has loaded a final file: those up to it are held.
        young: the rows that each listing has loaded and lists again, as they are not final; None if that is not known.
        last: the file by which a listing tells which others of its newest second are new.
        known: the accounts that the state is certain to have, and *tried* those that it may have.
        lost: files that were deleted from the table one by one, which no run needs to notice.
        blurred: the accounts of which no known file may be left to ask for.
        is_dropped: whether somebody has dropped the table, which only `sync` makes again.
        pasts: the inventory at some instants.
    """

    path: str
    merges: bool
    tables: Tables = field(default_factory=Tables)
    held: dict[Listing, Seconds] = field(default_factory=dict)
    young: dict[Listing, frozenset[Row] | None] = field(default_factory=dict)
    last: dict[Listing, str] = field(default_factory=dict)
    known: set[tuple[str, str]] = field(default_factory=set)
    tried: set[tuple[str, str]] = field(default_factory=set)
    lost: set[Key] = field(default_factory=set)
    blurred: set[str] = field(default_factory=set)
    is_dropped: bool = False
    pasts: list[tuple[datetime, dict[Key, Row]]] = field(default_factory=list)

    def whose(self, pipeline: str) -> str:
        return pipeline if self.merges else ""

    def held_for(self, file: Row, whose: str) -> Seconds:
        """Return the second up to which a file's listings are held."""
        spans = [self.held.get((whose, file[0], purpose), NEVER) for purpose in (None, file[PURPOSE])]
        return max(low for low, _ in spans), max(high for _, high in spans)

    def may_come_back(self, file: Row) -> bool:
        """Tell whether a file may show up again: not where it is held, and would stand behind the newest of its second.

        Where rows are only appended, nothing but its place in the listing tells that one from a new file.
        """
        low, high = self.held_for(file, "")
        return self.merges or file[: ID + 1] not in self.tables.files or not low <= created(file) <= high

    def forget(self, whose: str | None, account: str | None = None) -> None:
        """Nothing is held any more of an account, or of all."""
        for listing in list(self.held.keys() | self.young.keys()):
            if whose in (None, listing[0]) and account in (None, listing[1]):
                self.held.pop(listing, None)
                self.young.pop(listing, None)
                self.last.pop(listing, None)

    def doubt(self, account: str, *, but: str | None = None, high: float = math.inf) -> None:
        """Somebody else has changed an account's rows: less may be held than a state remembers."""
        for listing in list(self.held):
            if listing[1] == account and listing[0] != but:
                self.held[listing] = (-math.inf, min(high, self.held[listing][1]))
        for listing in self._listings(account, but):
            self.young[listing] = None
            self.last.pop(listing, None)

    def _listings(self, account: str, but: str | None) -> list[Listing]:
        return [
            listing for listing in self.held.keys() | self.young.keys() if listing[1] == account != but != listing[0]
        ]

    # What people do to the table.

    def lose(self, how: Loss, pick: int, *, is_ordered: bool) -> None:
        """Delete rows of the table of files."""
        held = self.tables.files
        if not held:
            return
        _, chosen = sorted(held.items())[pick % len(held)]
        if not self.merges:
            for path in Path(self.path, "openai_files", "files").glob("*.parquet"):
                path.unlink()
        else:
            self._execute(how, chosen)
        self.tables = Tables.read(self.path)
        gone = {key: file for key, file in held.items() if key not in self.tables.files}
        for name in {name for name, _ in gone}:
            self._note_loss(how, name, gone, created(chosen) if is_ordered and name not in self.blurred else math.inf)
        if not self.merges:
            self.forget(None)
            self.known.clear()
        self.is_dropped = self.is_dropped or (how == "dropped" and self.merges)

    def _execute(self, how: Loss, chosen: Row) -> None:
        statements: dict[Loss, tuple[str, list[Any]]] = {
            "all": ("DELETE FROM openai_files.files", []),
            "truncated": ("TRUNCATE openai_files.files", []),
            "dropped": ("DROP TABLE openai_files.files", []),
            "account": ("DELETE FROM openai_files.files WHERE account = ?", [chosen[0]]),
            "newest": ("DELETE FROM openai_files.files WHERE created_at > ?", [chosen[CREATED_AT]]),
            "some": ("DELETE FROM openai_files.files WHERE id = ?", [chosen[ID]]),
        }
        with duckdb.connect(self.path) as database:
            database.execute(*statements[how])

    def _note_loss(self, how: Loss, name: str, gone: dict[Key, Row], newest: float) -> None:
        if not part(self.tables.files, name):
            self.forget(None, name)
            self.lost -= {key for key in self.lost if key[0] == name}
            return
        self.doubt(name, high=newest if how == "newest" else math.inf)
        if how == "some":
            self.lost |= {key for key in gone if key[0] == name}
