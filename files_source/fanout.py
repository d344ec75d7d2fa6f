"""Several accounts at once, with a bound: each ends with all of its rows, or with its failure and none."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from queue import SimpleQueue
from threading import Event, Thread
from typing import Final

from files_source.attempts import Attempt, Listed
from files_source.schema import FILES
from files_source.spool import Spool

WORKERS: Final = 8
"""Listings at once, by default."""

Ended = tuple[Attempt[Listed], Spool | None]
"""An attempt, and its rows; None where its account failed."""

_Result = tuple[Attempt[Listed], Spool | Exception | None]


@contextmanager
def fan_out(attempts: Sequence[Attempt[Listed]], *, workers: int = WORKERS) -> Iterator[Iterator[Ended[Listed]]]:
    """Give an iterator over the attempts as they end.

    The spools are closed with it. An attempt that has not ended by then stops after its current
    batch; nobody waits for it, as an answer may take minutes.

    Raises (while it is iterated over):
        Exception: what went wrong in an attempt other than its account's failure, such as a full disk.
    """
    waiting, ended, stop = deque(attempts), SimpleQueue[_Result[Listed]](), Event()
    with ExitStack() as opened:
        opened.callback(stop.set)
        for _ in range(min(workers, len(attempts))):
            Thread(target=_work, args=(waiting, ended, stop), daemon=True).start()
        yield _results(ended, len(attempts), opened)


def _results(ended: SimpleQueue[_Result[Listed]], count: int, opened: ExitStack) -> Iterator[Ended[Listed]]:
    for _ in range(count):
        attempt, result = ended.get()
        if isinstance(result, Exception):
            raise result
        yield attempt, result and opened.enter_context(closing(result))


def _work(waiting: deque[Attempt[Listed]], ended: SimpleQueue[_Result[Listed]], stop: Event) -> None:
    while not stop.is_set():
        try:
            attempt = waiting.popleft()
        except IndexError:
            return
        ended.put(_listed(attempt, stop))


def _listed(attempt: Attempt[Listed], stop: Event) -> _Result[Listed]:
    spool = Spool(FILES)
    try:
        with closing(attempt.tables()) as tables:
            for table in tables:
                if stop.is_set():
                    break
                spool.write(table)
    except Exception as error:  # noqa: BLE001 - it is raised again in the thread that waits
        spool.close()
        return attempt, None if error is attempt.error else error
    return attempt, spool
