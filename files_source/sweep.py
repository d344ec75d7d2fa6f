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
from files_source.journal import Journal
from files_source.parallel import each
from files_source.progress import BATCH
from files_source.recording import Record
from files_source.shortlist import Connect, Shortlist

OnFile = Callable[[int], None]
"""What is told how many files have been tried so far, after each."""

_SECONDS: Final = 30.0
"""How long files are deleted until they are recorded, which takes a second or a few: what a machine may lose."""

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
            tasks = self._tasks(shortlist, opened)
            for first in tasks:
                self._delete(_for_a_while(chain([first], tasks)), record, is_named=shortlist.is_of_many)

    def _tasks(self, shortlist: Shortlist, opened: ExitStack) -> Iterator[_Task]:
        for account, files in shortlist.tables():
            if account.name not in self._ways:
                self._ways[account.name] = Way(opened.enter_context(self.connect(account)))
            for file in as_numbers(files).to_pylist():
                yield self._ways[account.name], file

    def _delete(self, batch: Iterable[_Task], record: Record, *, is_named: bool) -> None:
        """Delete some files, and record what became of them even where it breaks off."""
        journal = record.journal
        try:
            with closing(each(batch, lambda task: task[0].delete(task[1], journal), workers=self.workers)) as results:
                for (way, file), problem in results:
                    self._tried += 1
                    if problem is not None and (self.reason is None or way.given_up is not None):
                        reason = way.given_up or problem
                        self.reason = f"{file['account']!r}: {reason}" if is_named else str(reason)
                    if self.on_file is not None:
                        self.on_file(self._tried)
            self._find_out(journal)
        except BaseException:  # Ctrl-C, or a journal that cannot be written
            journal.close()  # what is under way is left to the next cleanup
            raise
        finally:
            for deletion in journal.decided():
                self._count(deletion)
            record.load()

    def _find_out(self, journal: Journal) -> None:
        unanswered = [(way, deletion) for way in self._ways.values() for deletion in way.unanswered]
        find_out(unanswered, journal, workers=self.workers)
        open_still = {deletion.key for deletion in journal.undecided()}
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
