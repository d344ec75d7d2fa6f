"""A journal of deletions, on disk before they are asked for: whatever dies, none is without a record."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec

from files_source.accounts import Account
from files_source.deletions import Deletion, FileKey, Outcome, Row, begun
from files_source.errors import JournalError

_decode: Final[Callable[[bytes], Deletion]] = msgspec.json.Decoder(Deletion).decode


class Journal:
    """The deletions that no table has yet, by the server, the account's name and the file's id.

    A deletion is written before it is asked for, and again with its outcome; the last line about a
    file counts. It may be used by several threads until it is closed: from then on nothing can be
    begun, and what is under way stays so, for whoever opens the journal next.

    Raises (every method that writes):
        JournalError: the disk is full, or the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._deletions = dict[FileKey, Deletion]()
        self._file: FileIO | None = None
        self._is_usable = True
        with self._one_clear_error():
            for deletion in self._read():
                self._deletions[deletion.key] = deletion

    def decided(self) -> list[Deletion]:
        """Return the deletions whose outcome is known."""
        return [deletion for deletion in self._deletions.values() if deletion.outcome is not None]

    def undecided(self) -> list[Deletion]:
        """Return the deletions that were begun, and whose outcome is not known."""
        return [deletion for deletion in self._deletions.values() if deletion.outcome is None]

    def begin(self, file: Row, *, account: Account, at: int | None = None) -> Deletion:
        """Write down that a file of an account is going to be deleted, and return once that is safe on disk.

        Args:
            at: when the place noted it, in microseconds since 1970; now by default.
        """
        deletion = begun(file, account=account, at=time.time_ns() // 1_000 if at is None else at)
        with self._one_clear_error():
            os.fsync(self._write(deletion))
        return deletion

    def end(self, deletion: Deletion, outcome: Outcome, *, at: int | None = None, error: str | None = None) -> Deletion:
        """Write down what has become of a file, *at* a time (now by default)."""
        done = time.time_ns() // 1_000 if at is None else at
        ended = replace(deletion, outcome=outcome, deleted_at=None if outcome == "failed" else done, error=error)
        if self._is_usable:
            with self._one_clear_error():
                self._write(ended)
        return ended

    def drop(self, deletions: Iterable[Deletion]) -> None:
        """Forget deletions, at once or not at all: a table has them, or nothing has come of them."""
        dropped = {deletion.key for deletion in deletions}
        with self._lock, self._one_clear_error():
            left = {key: deletion for key, deletion in self._deletions.items() if key not in dropped}
            self._close_file()
            if left:
                self._rewrite(left.values())
            else:
                self.path.unlink(missing_ok=True)
            _make_lasting(self.path.parent)
            self._deletions = left

    def close(self) -> None:
        """Let nothing begin or end any more."""
        with self._lock:
            self._is_usable = False
            self._close_file()

    def _read(self) -> Iterator[Deletion]:
        """Yield what the file holds, without the end of a line that was never finished."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            os.truncate(self.path, whole)
        for number, line in enumerate(text[:whole].splitlines(), start=1):
            try:
                yield _decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise JournalError(
                    f"{self.path} is damaged in line {number}: it notes deletions that no table has yet; mend the "
                    "line, or move the file away and lose them"
                ) from None

    def _write(self, deletion: Deletion) -> int:
        """Append a line, and return the file's descriptor."""
        with self._lock:
            if not self._is_usable:
                raise JournalError(f"{self.path} is closed: nothing more can be deleted")
            if self._file is None:
                self._file = _for_its_owner(self.path, os.O_APPEND)
                _make_lasting(self.path.parent)
            if deletion.outcome is not None:  # it counts even where it cannot be written; a beginning is none then
                self._deletions[deletion.key] = deletion
            try:
                _write_whole(self._file, deletion)
            except OSError:  # half a line is there, to which none may be joined
                self._is_usable = False
                raise
            self._deletions[deletion.key] = deletion
            return self._file.fileno()

    def _rewrite(self, deletions: Iterable[Deletion]) -> None:
        unfinished = self.path.with_suffix(".new")
        with _for_its_owner(unfinished, os.O_TRUNC) as file:
            for deletion in deletions:
                _write_whole(file, deletion)
            os.fsync(file.fileno())
        unfinished.replace(self.path)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @contextmanager
    def _one_clear_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise JournalError(
                f"{self.path}, which notes each deletion before it is asked for, cannot be written: {error.strerror}; "
                "see to it, and run again"
            ) from None


def _for_its_owner(path: Path, how: int) -> FileIO:
    """Open a file for writing, which nobody else can read."""
    return FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600), "wb")


def _write_whole(file: FileIO, deletion: Deletion) -> None:
    line = memoryview(msgspec.json.encode(deletion) + b"\n")
    while line:
        line = line[file.write(line) :]


def _make_lasting(folder: Path) -> None:
    """See to it that the names in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # network file systems do without
            raise
    finally:
        os.close(descriptor)
