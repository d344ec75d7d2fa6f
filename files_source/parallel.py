"""Several iterators at once: each on a thread of its own, their items together, with a bound on both."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from queue import Empty, SimpleQueue
from threading import Event, Lock, Semaphore, Thread
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_POLL: Final = 0.5
_PATIENCE: Final = 1.0
"""Seconds for what is under way to come to an end, so that its connections are closed in good order."""


def merged(
    iterators: Iterable[Generator[Item, None, None]], *, workers: int, ahead: int
) -> Generator[Item, None, None]:
    """Yield the items of all *iterators*, each in its order, as they come.

    Closed before their end, the iterators stop after their next item; they are waited for, but not
    for long, as that may take minutes.

    Args:
        iterators: run *workers* at a time, the first ones first.
        workers: threads.
        ahead: how many items may wait to be taken; then all iterators do.

    Raises:
        BaseException: what an iterator raises; the others stop.
    """
    crew = _Crew(iterators, ahead)
    threads = [Thread(target=crew.work, daemon=True) for _ in range(min(workers, len(crew.waiting)))]
    left = started = 0
    try:
        for thread in threads:
            thread.start()
            left = started = started + 1
        while left:
            try:
                found = crew.found.get(timeout=_POLL)
            except Empty:  # so that Ctrl-C is heard that came just before the wait began
                continue
            if isinstance(found, BaseException):
                raise found
            if not found:
                left -= 1
                continue
            crew.room.release()
            yield found[0]
    finally:
        crew.stop.set()
        crew.room.release(max(1, left))  # for those that wait to put an item down
        end = time.monotonic() + _PATIENCE
        for thread in threads[:started]:
            thread.join(max(0.0, end - time.monotonic()))


class _Crew(Generic[Item]):
    """What the threads share.

    Attributes:
        waiting: iterators that no thread has begun.
        found: items, each in a tuple; an empty one where a thread has ended; what an iterator raised.
        room: for how many more items there is room.
        stop: whether nobody takes them any more.
    """

    def __init__(self, iterators: Iterable[Generator[Item, None, None]], ahead: int) -> None:
        self.waiting = deque(iterators)
        self.found = SimpleQueue[tuple[Item] | BaseException | tuple[()]]()
        self.room = Semaphore(ahead)
        self.stop = Event()

    def work(self) -> None:
        try:
            while not self.stop.is_set() and (iterator := self._next()) is not None:
                self._exhaust(iterator)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that waits
            self.found.put(error)
        finally:
            self.found.put(())

    def _next(self) -> Generator[Item, None, None] | None:
        try:
            return self.waiting.popleft()
        except IndexError:
            return None

    def _exhaust(self, iterator: Generator[Item, None, None]) -> None:
        with closing(iterator):
            for item in iterator:
                self.room.acquire()
                if self.stop.is_set():
                    return
                self.found.put((item,))


def each(
    items: Iterable[Item], work: Callable[[Item], Result], *, workers: int
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with what *work* makes of it, as that is done, on so many threads at most.

    The items are taken one by one, when a thread is free for the next.

    Raises:
        BaseException: what *work* or the items' own iterator raises; no more items are taken.
    """
    waiting = iter(items)
    lock = Lock()

    def results() -> Generator[tuple[Item, Result], None, None]:
        while True:
            with lock:
                try:
                    item = next(waiting)
                except StopIteration:
                    return
            yield item, work(item)

    return merged([results() for _ in range(workers)], workers=workers, ahead=workers)
