"""Deleting files of one account one by one, and finding out what became of a deletion that has no answer."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from threading import Lock
from typing import Final

from files_source.client import FilesClient
from files_source.deletions import Deletion, Outcome, Row
from files_source.errors import (
    OUT_OF_QUOTA,
    ApiError,
    ConfigError,
    DecodeError,
    DeletionError,
    FilesSourceError,
    TransportError,
)
from files_source.journal import Journal
from files_source.parallel import each
from files_source.progress import MICROSECONDS

_ENOUGH: Final = 8
"""Files in a row that met with the same trouble until no other of their account is tried."""
_ENOUGH_LATER: Final = 64
"""The same for refusals once a deletion has worked, when they may well be about their files."""
_UNDER_WAY: Final = 3_600 * MICROSECONDS
"""How long a server may still carry out a deletion whose answer nobody waits for."""

_NOT_FOUND: Final = 404
_TIMED_OUT: Final = 408
_LIMITED: Final = 429
_SERVER_FAILED: Final = 500
_NOT_IMPLEMENTED: Final = 501
_ABOUT_ALL: Final = (401, 405, _NOT_IMPLEMENTED)
"""Statuses that every other file of the account would get, too."""
_ABOUT_ONE: Final = (400, 409, 422, 423)
"""Statuses that are about the one file, however many get them: it may be in use."""
_SILENCE: Final = "silence"
"""The kind of trouble that every file may meet with at any time: no answer, or no time for one."""
_TROUBLE: Final = (ApiError, TransportError, DecodeError)
"""What leaves open whether a file is deleted."""


class Way:
    """The way to an account whose files are deleted; it may be used by several threads.

    Attributes:
        given_up: why no more is tried; None as long as it is.
        unanswered: the deletions of which it is not known what came of them.
    """

    def __init__(self, client: FilesClient) -> None:
        self.client = client
        self.given_up: FilesSourceError | None = None
        self.unanswered: list[Deletion] = []
        self._last: object = None
        self._in_a_row = 0
        self._silent = 0
        self._has_deleted = False
        self._shows_files = False
        self._lock = Lock()

    def delete(self, file: Row, journal: Journal, *, noted_at: int | None = None) -> FilesSourceError | None:
        """Delete a file, noted before and after, and return what went wrong; nothing is asked once that is given up.

        Args:
            noted_at: when the place noted that the file is going to be deleted; None where it did not.

        Raises:
            JournalError: the journal cannot be written; where that was before, nothing was asked.
        """
        if self.given_up is not None:
            return None
        deletion = journal.begin(file, account=self.client.account, at=noted_at)
        try:
            outcome, problem = self._asked(deletion)
        except _TROUBLE as trouble:
            with self._lock:
                self.unanswered.append(deletion)
                self._count(_SILENCE, trouble)
            return trouble
        journal.end(deletion, outcome, error=None if problem is None else str(problem))
        with self._lock:
            if problem is None:
                self._has_deleted = True
                self._in_a_row = 0
            else:
                self._count(_kind(problem), problem)
        return problem

    def find_out(self, deletion: Deletion, journal: Journal) -> bool:
        """Note a deletion that has no answer as done where the file is gone, or return whether to forget it.

        A file that is still there may be about to go; after an hour its deletion can be forgotten.
        Where the server does not say, all stays as it is.

        Raises:
            JournalError: the journal cannot be written.
        """
        if self._silent >= _ENOUGH:
            return False
        try:
            is_gone = self._is_gone(deletion)
        except _TROUBLE:
            self._silent += 1
            return False
        self._silent = 0
        if is_gone:
            journal.end(deletion, "gone", at=deletion.attempted_at)
        return not is_gone and time.time_ns() // 1_000 - deletion.attempted_at > _UNDER_WAY

    def _count(self, kind: object, problem: FilesSourceError) -> None:
        """Give the account up where what went wrong goes wrong with all, or has done so too often in a row."""
        self._in_a_row = self._in_a_row + 1 if kind == self._last else 1
        self._last = kind
        enough = _ENOUGH_LATER if self._has_deleted and kind != _SILENCE else _ENOUGH
        if _is_hopeless(problem) or (kind is not None and self._in_a_row >= enough):
            self.given_up = self.given_up or problem

    def _asked(self, deletion: Deletion) -> tuple[Outcome, FilesSourceError | None]:
        """Ask for a deletion, and return what became of the file, and why it is still there.

        No answer but the API's own is believed without a look at the file: some servers say that it is
        not there because they cannot delete.

        Raises:
            ApiError, TransportError, DecodeError: it is not known what became of the file.
        """
        try:
            is_confirmed = self.client.delete(deletion.file_id).get("deleted") is True
        except ConfigError as error:
            return "failed", error
        except DecodeError:
            is_confirmed = False
        except ApiError as error:
            if error.status == _TIMED_OUT or (error.status >= _SERVER_FAILED and error.status != _NOT_IMPLEMENTED):
                raise
            is_in_doubt = error.status in (_NOT_FOUND, _LIMITED) and not _is_hopeless(error)
            return ("gone", None) if is_in_doubt and self._is_gone(deletion) else ("failed", error)
        if is_confirmed or self._is_gone(deletion):
            return "deleted", None
        return "failed", DeletionError(
            f"DELETE {self.client.account.base_url}/files/{deletion.file_id} was answered, but the file is still there"
        )

    def _is_gone(self, deletion: Deletion) -> bool:
        try:
            self.client.get(deletion.file_id)
        except ApiError as error:
            if error.status != _NOT_FOUND or not self._is_shown_what_is_listed():
                raise
            return True
        return False

    def _is_shown_what_is_listed(self) -> bool:
        """Tell whether the server shows a file that it lists; where it shows none, its 404 says nothing of any."""
        listed: list[str] | None = None
        while not self._shows_files and (newest := self._newest()) != listed:  # others may delete it meanwhile
            listed = newest
            self._shows_files = all(map(self.client.exists, listed))
        return self._shows_files

    def _newest(self) -> list[str]:
        with closing(self.client.pages(limit=1)) as pages:  # which ask again without what a server refuses
            return list(map(str, next(pages).files.column("id").to_pylist()))


def find_out(deletions: Iterable[tuple[Way, Deletion]], journal: Journal, *, workers: int) -> list[Deletion]:
    """Find out what became of many deletions, each on the way to its account, and return those to forget.

    Raises: as `Way.find_out` does.
    """
    with closing(each(deletions, lambda asked: asked[0].find_out(asked[1], journal), workers=workers)) as results:
        return [deletion for (_, deletion), is_old in results if is_old]


def _kind(problem: FilesSourceError) -> object:
    """Return what tells one trouble from another; None of what is about one file alone."""
    if isinstance(problem, ApiError):
        if problem.status in _ABOUT_ONE:
            return None
        return _SILENCE if problem.status == _LIMITED else problem.status
    return None if isinstance(problem, ConfigError) else type(problem)


def _is_hopeless(problem: FilesSourceError) -> bool:
    """Tell whether what went wrong with one file goes wrong with every other, too."""
    return isinstance(problem, ApiError) and (problem.status in _ABOUT_ALL or problem.code == OUT_OF_QUOTA)
