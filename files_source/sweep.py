"""One go through the files of a cleanup: many are deleted at once, and recorded some at a time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final

from files_source.deleting import Way, find_out
from files_source.deletions import Deletion, Outcome, Row, as_numbers
from files_source.errors import FilesSourceError
from files_source.parallel import each
from files_source.progress import BATCH
from files_source.recording import Record
from files_source.shortlist import Connect, Shortlist

OnFile = Callable[[int], None]
"""What is told how many files have been tried so far, after each."""

_SECONDS: Final = 30.0
"""How long files are deleted until they are recorded, which takes a second or a few: what a machine may lose."""

_FIRST: Final = 1_000
"""How many files a place notes at first before they are deleted; then as many as take so long."""
_LEAST: Final = 100
_SHORT: Final = 1e-3

_Task = tuple[Way, Row]
"""A file to delete, and the way to its account."""


@dataclass(slots=True, kw_only=True)
class Sweep:
    """One go through the files of a cleanup.

    Args:
        connect: opens the way to an account.
        workers: how many files are deleted at once.
        on_file: what is told of progress.

    Attributes:
        outcomes: how many files came to which end.
        bytes: the sizes of those that are deleted, where they are known, together.
        unknown_size: how many of those are of unknown size.
        unconfirmed: of how many files it is not known whether they are deleted.
        reason: why a file was not deleted; of several reasons the weightiest.
    """

    connect: Connect
    workers: int
    on_file: OnFile | None = None
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    bytes: int = 0
    unknown_size: int = 0
    unconfirmed: int = 0
    reason: str | None = None
    _ways: dict[str, Way] = field(default_factory=dict, init=False)
    _tried: int = field(default=0, init=False)

    def delete(self, shortlist: Shortlist, record: Record) -> None:
        """Delete the files, each noted in the journal of the *record*, which is open, and recorded soon after.

        Raises:
            JournalError, LoadError: the journal cannot be written, or the place did not take the rows.
        """
        with ExitStack() as opened:
            for noted_at, tasks in self._noted(self._tasks(shortlist, opened), record):
                for first in tasks:
                    batch = _for_a_while(chain([first], tasks))
                    self._delete(batch, record, noted_at=noted_at, is_named=shortlist.is_of_many)

    def _tasks(self, shortlist: Shortlist, opened: ExitStack) -> Iterator[_Task]:
        for account, files in shortlist.tables():
            if account.name not in self._ways:
                self._ways[account.name] = Way(opened.enter_context(self.connect(account)))
            for file in as_numbers(files).to_pylist():
                yield self._ways[account.name], file

    def _noted(self, tasks: Iterator[_Task], record: Record) -> Iterator[tuple[int | None, Iterator[_Task]]]:
        """Yield tasks that the place has noted, and when; all at once where the journal is enough.

        It notes as many as are deleted in the time until they are recorded.
        """
        size = _FIRST
        while some := list(islice(tasks, size)):
            began = time.monotonic()
            noted_at = record.note((way.client.account, file) for way, file in some if way.given_up is None)
            if noted_at is None:
                yield None, chain(some, tasks)
                return
            yield noted_at, iter(some)
            pace = len(some) / max(time.monotonic() - began, _SHORT)
            size = min(BATCH, max(_LEAST, round(pace * _SECONDS)))

    def _delete(self, batch: Iterable[_Task], record: Record, *, noted_at: int | None, is_named: bool) -> None:
        """Delete some files, and record what became of them even where it breaks off."""
        journal = record.journal

        def delete(task: _Task) -> FilesSourceError | None:
            way, file = task
            return way.delete(file, journal, noted_at=noted_at)

        try:
            with closing(each(batch, delete, workers=self.workers)) as results:
                for (way, file), problem in results:
                    self._tried += 1
                    if problem is not None and (self.reason is None or way.given_up is not None):
                        reason = way.given_up or problem
                        self.reason = f"{file['account']!r}: {reason}" if is_named else str(reason)
                    if self.on_file is not None:
                        self.on_file(self._tried)
            self._find_out(record)
        except BaseException:  # Ctrl-C, or a journal that cannot be written
            journal.close()  # what is under way is left to the next cleanup
            raise
        finally:
            for deletion in journal.decided():
                self._count(deletion)
            record.load()

    def _find_out(self, record: Record) -> None:
        unanswered = [(way, deletion) for way in self._ways.values() for deletion in way.unanswered]
        record.forget(find_out(unanswered, record.journal, workers=self.workers))
        open_still = {deletion.key for deletion in record.journal.undecided()}
        self.unconfirmed += sum(deletion.key in open_still for _, deletion in unanswered)
        for way in self._ways.values():
            way.unanswered.clear()

    def _count(self, deletion: Deletion) -> None:
        assert deletion.outcome is not None
        self.outcomes[deletion.outcome] += 1
        if deletion.outcome != "deleted":
            return
        if isinstance(size := deletion.file["bytes"], int):
            self.bytes += size
        else:
            self.unknown_size += 1


def _for_a_while(tasks: Iterator[_Task]) -> Iterator[_Task]:
    """Yield tasks until it is time to record them; the others are left where they are."""
    end = time.monotonic() + _SECONDS
    for task in islice(tasks, BATCH):
        yield task
        if time.monotonic() >= end:
            return
