"""Deleting many files at once, with a bound: trouble with one leaves the others alone."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import Final, TypeVar

from files_source.client import FilesClient
from files_source.deleting import TROUBLE, delete_file, find_out, is_hopeless
from files_source.deletions import Deletion, Outcome, Row, as_numbers
from files_source.errors import FilesSourceError
from files_source.journal import Journal
from files_source.parallel import merged
from files_source.progress import BATCH
from files_source.shortlist import Candidates, Connect

OnFile = Callable[[int], None]
"""What is told how many files have been tried so far, after each."""

_ENOUGH: Final = 8
"""Files in a row that met with trouble until no other of their account is tried."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Way:
    """The way to an account whose files are deleted; it may be used by several threads.

    Attributes:
        given_up: why no more is tried; None as long as it is.
    """

    def __init__(self, client: FilesClient) -> None:
        self.client = client
        self.given_up: FilesSourceError | None = None
        self._in_a_row = 0
        self._lock = Lock()

    def delete(self, file: Row, journal: Journal) -> Deletion | FilesSourceError | None:
        """Return what became of a file, or the trouble that leaves that open; None where it was left alone.

        Raises:
            LoadError: the journal cannot be written.
        """
        if self.given_up is not None:
            return None
        try:
            deletion = delete_file(self.client, file, journal)
        except TROUBLE as trouble:
            with self._lock:
                self._in_a_row += 1
                if self._in_a_row == _ENOUGH or is_hopeless(trouble):
                    self.given_up = trouble
            return trouble
        with self._lock:
            self._in_a_row = 0
        return deletion


Task = tuple[Way, Row]
"""A file to delete, and the way to its account."""


@dataclass(slots=True, kw_only=True)
class Sweep:
    """One go through the candidates of a cleanup.

    Args:
        connect: opens the way to an account.
        workers: how many files are deleted at once.
        on_file: what is told of progress.

    Attributes:
        outcomes: how many files came to which end.
        bytes: the sizes of those that are deleted or gone, where they are known, together.
        unknown_size: how many of those are of unknown size.
        reason: why a file was not deleted; of several reasons the weightiest.
    """

    connect: Connect
    workers: int
    on_file: OnFile | None = None
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    bytes: int = 0
    unknown_size: int = 0
    reason: str | None = None
    _tried: int = field(default=0, init=False)

    def batches(self, candidates: Candidates, opened: ExitStack) -> Iterator[list[Task]]:
        """Yield the candidates as tasks, some at a time; the ways are closed with *opened*."""
        tasks = self._tasks(candidates, opened)
        while batch := list(islice(tasks, BATCH)):
            yield batch

    def delete(self, batch: Sequence[Task], journal: Journal) -> None:
        """Delete a batch of files, noted in the journal one by one.

        Raises:
            LoadError: the journal cannot be written.
        """
        troubled: list[Task] = []
        with closing(each(batch, lambda task: task[0].delete(task[1], journal), workers=self.workers)) as results:
            for task, result in results:
                self._tried += 1
                if isinstance(result, Deletion):
                    self._count(result)
                elif result is not None:
                    troubled.append(task)
                    self.reason = str(task[0].given_up or self.reason or result)
                if self.on_file is not None:
                    self.on_file(self._tried)
        undecided = {(deletion.account, deletion.file_id): deletion for deletion in journal.undecided()}
        left = [(way, (str(file["account"]), str(file["id"]))) for way, file in troubled if not way.given_up]
        asked = [(way, undecided[key]) for way, key in left]
        for ended in found_out(asked, journal, workers=self.workers):
            self._count(ended)

    def _tasks(self, candidates: Candidates, opened: ExitStack) -> Iterator[Task]:
        ways: dict[str, Way] = {}
        for account, files in candidates.tables():
            if account.name not in ways:
                ways[account.name] = Way(opened.enter_context(self.connect(account)))
            for file in as_numbers(files).to_pylist():
                yield ways[account.name], file

    def _count(self, deletion: Deletion) -> None:
        assert deletion.outcome is not None
        self.outcomes[deletion.outcome] += 1
        if deletion.outcome == "failed":
            self.reason = self.reason or deletion.error
        elif isinstance(size := deletion.file["bytes"], int):
            self.bytes += size
        else:
            self.unknown_size += 1


def each(
    items: Iterable[_Item], work: Callable[[_Item], _Result], *, workers: int
) -> Generator[tuple[_Item, _Result], None, None]:
    """Yield each item with what *work* makes of it, as that is done, on so many threads at most."""
    waiting = deque(items)

    def results() -> Generator[tuple[_Item, _Result], None, None]:
        while True:
            try:
                item = waiting.popleft()
            except IndexError:
                return
            yield item, work(item)

    return merged([results() for _ in range(min(workers, len(waiting)))], workers=workers, ahead=workers)


def found_out(deletions: Iterable[tuple[Way, Deletion]], journal: Journal, *, workers: int) -> Iterator[Deletion]:
    """Yield those of some deletions without an outcome that turn out to be done, and note it."""

    def ask(asked: tuple[Way, Deletion]) -> Deletion | None:
        way, deletion = asked
        return find_out(way.client, deletion, journal)

    with closing(each(deletions, ask, workers=workers)) as results:
        for _, ended in results:
            if ended is not None:
                yield ended
