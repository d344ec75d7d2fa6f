"""Notes of deletions in the place itself, made before they are asked for: they survive the machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pyarrow as pa

from files_source.accounts import Account
from files_source.deletions import RECORDED, Deletion, FileKey, Row, begun
from files_source.errors import FilesSourceError, LoadError
from files_source.holdings import DELETIONS_TABLE, PENDING_TABLE
from files_source.journal import Journal
from files_source.pending import PENDING, deletions_in, pending_rows, typed, unsettled, without_outcome
from files_source.stored import Read, opened

Load = Callable[[pa.Table], None]
"""What loads rows of PENDING into the place."""

_log: Final = logging.getLogger(__name__)


class Notes:
    """What the table `deletions_pending` of a place says, for a cleanup into it.

    Nothing is noted until the table has been read, nor in a place that does not show what it took:
    a note that nobody can find again helps nobody.

    Args:
        to: the place, as `sync` takes it.
        journal: where deletions are noted on this machine.
    """

    def __init__(self, to: str, journal: Path) -> None:
        self._to = to
        self._path = journal
        self._open: list[Deletion] = []
        self._settled: list[Deletion] = []
        self._last: int | None = None
        self._is_read = False
        self._is_kept = False
        self._is_seen = False
        self._is_warned = False

    def read(self) -> None:
        """Read once what cleanups on this machine and others have left open, or warn that it cannot be read."""
        if self._is_read:
            return
        self._is_read = True
        try:
            with opened(self._to) as read:
                self._open = deletions_in(_left(read))
            self._is_kept = True
        except FilesSourceError as failed:
            self.warn(failed)

    def undecided(self, journal: Journal) -> list[Deletion]:
        """Return the deletions that are open here or in the journal, each file once; the journal knows more."""
        noted = journal.undecided()
        known = {deletion.key for deletion in (*noted, *journal.decided())}
        return [*noted, *(deletion for key, deletion in self._latest().items() if key not in known)]

    def write(self, files: Iterable[tuple[Account, Row]], load: Load) -> int | None:
        """Note files that are going to be deleted, and return when, in microseconds since 1970; None where it cannot.

        Raises: as *load* does.
        """
        if not self._is_kept:
            return None
        now = time.time_ns() // 1_000
        noted = [begun(file, account=account, at=now) for account, file in files]
        if noted:
            load(pa.concat_tables([pending_rows(self._settled, settled_at=now), pending_rows(noted)]))
            self._settled.clear()
            self._open += noted
            self._last = now
            self._look_for(noted)
        return now

    def close(self, deletions: Iterable[Deletion], *, settles: bool) -> None:
        """Take these deletions, and earlier ones of their files, for open no longer.

        Args:
            settles: whether the table must say so; else the table of deletions does.
        """
        ends = {deletion.key: deletion.attempted_at for deletion in deletions}
        self._close(lambda noted: noted.attempted_at <= ends.get(noted.key, -1), settles=settles)

    def close_unasked(self, journal: Journal) -> None:
        """Take what was noted last for open no longer, but for what the journal has."""
        asked = {deletion.key for deletion in (*journal.decided(), *journal.undecided())}
        self._close(lambda noted: noted.attempted_at == self._last and noted.key not in asked, settles=True)

    def settle(self, load: Load) -> None:
        """Let the table know what is open no longer.

        Raises: as *load* does.
        """
        if self._settled:
            load(pending_rows(self._settled, settled_at=time.time_ns() // 1_000))
            self._settled.clear()

    def warn(self, failed: FilesSourceError) -> None:
        """Warn once that the place cannot be read back, what that means, and what to do."""
        if self._is_warned:
            return
        self._is_warned = True
        _log.warning(
            "%s keeps no notes of deletions under way, only %s does: keep that file until the next cleanup, or some "
            "may never be recorded, or be recorded twice (%s)",
            self._to,
            self._path,
            failed,
        )

    def _latest(self) -> dict[FileKey, Deletion]:
        return {deletion.key: deletion for deletion in sorted(self._open, key=lambda noted: noted.attempted_at)}

    def _close(self, is_over: Callable[[Deletion], bool], *, settles: bool) -> None:
        if settles:
            self._settled += filter(is_over, self._open)
        self._open = [noted for noted in self._open if not is_over(noted)]

    def _look_for(self, noted: list[Deletion]) -> None:
        """Look once whether the place shows what it took, and note nothing more where it does not."""
        if self._is_seen:
            return
        ids = {deletion.file_id for deletion in noted}
        try:
            with opened(self._to) as read:
                rows = read(PENDING_TABLE)
                found = [] if rows is None else rows.select("id").collect()["id"].to_list()
            if not ids.issubset(found):
                raise LoadError(f"{self._to} does not show the rows that it took")
            self._is_seen = True
        except FilesSourceError as failed:
            self._is_kept = False
            self._open.clear()
            self.warn(failed)


def _left(read: Read) -> pa.Table:
    """Return the rows of PENDING that nothing says the end of."""
    noted = read(PENDING_TABLE)
    if noted is None:
        return PENDING.empty_table()
    left = unsettled(typed(noted, PENDING)).collect()
    recorded = None if left.is_empty() else read(DELETIONS_TABLE)  # second: it has what was recorded meanwhile
    if recorded is not None:
        left = without_outcome(left, typed(recorded, RECORDED).collect())
    return left.to_arrow().cast(PENDING)
