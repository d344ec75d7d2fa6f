"""Several iterators at once: each on a thread of its own, their items together, with a bound on both."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from contextlib import closing
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import Final, TypeVar

Item = TypeVar("Item")

_END: Final = object()


def merged(
    iterators: Iterable[Generator[Item, None, None]], *, workers: int, ahead: int
) -> Generator[Item, None, None]:
    """Yield the items of all *iterators*, each in its order, as they come.

    Closed before their end, the iterators stop after their next item; nobody waits for them, as
    that may take minutes.

    Args:
        iterators: run *workers* at a time, the first ones first.
        workers: threads.
        ahead: how many items may wait to be taken; then all iterators do.

    Raises:
        Exception: what an iterator raises; the others stop.
    """
    waiting, found, room, stop = deque(iterators), SimpleQueue[object](), Semaphore(ahead), Event()

    def work() -> None:
        try:
            while not stop.is_set():
                try:
                    items = waiting.popleft()
                except IndexError:
                    return
                with closing(items):
                    for item in items:
                        room.acquire()
                        if stop.is_set():
                            return
                        found.put(item)
        except Exception as error:  # noqa: BLE001 - it is raised again in the thread that waits
            found.put(_Raised(error))
        finally:
            found.put(_END)

    threads = [Thread(target=work, daemon=True) for _ in range(min(workers, len(waiting)))]
    for thread in threads:
        thread.start()
    left = len(threads)
    try:
        while left:
            item = found.get()
            if isinstance(item, _Raised):
                raise item.error
            if item is _END:
                left -= 1
                continue
            room.release()
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        room.release(max(1, len(threads)))  # whoever waits for room learns that there is no need


class _Raised:
    def __init__(self, error: Exception) -> None:
        self.error = error
