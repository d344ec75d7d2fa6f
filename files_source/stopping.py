"""Stop when told to: by Ctrl-C, by a scheduler's SIGTERM, by a terminal that closes.

The first signal raises an exception in the main thread, so that what is open is closed, recorded and told. A
second one ends the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Final

from files_source.errors import causes

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME: Final = 0.5
"""Seconds in which another signal is the same wish: `timeout` sends to a process and to its group, and so twice."""
_QUERY_INTERRUPTED: Final = "Query interrupted"
"""What DuckDB raises, as a RuntimeError without a cause, in place of what a signal's handler raised."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP; what is done after Ctrl-C is done after these.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"interrupted by {number.name}")
        self.number = number


class _Handler:
    """The handler of signals, which remembers the first.

    Attributes:
        first: that signal; None before it.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.first: signal.Signals | None = None
        self._at = 0.0

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.first is None:
            self.first, self._at = signal.Signals(number), time.monotonic()
            raise interruption()
        if time.monotonic() - self._at > _SAME:
            os._exit(128 + number)


_handler: Final = _Handler()


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt here, and the next signal end the process.

    Signals that whoever started the process has it ignore, as `nohup` does, stay ignored. Outside the main
    thread, where Python takes no handlers, nothing changes.
    """
    _handler.reset()
    with ExitStack() as restored:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    restored.callback(signal.signal, number, signal.signal(number, _handler))
        yield


def told() -> signal.Signals | None:
    """Return the signal that told this process to stop; None where there was none."""
    return _handler.first


def interruption() -> KeyboardInterrupt:
    """Return what the signal that told this process to stop raises; Ctrl-C where that is not known."""
    first = told()
    return KeyboardInterrupt() if first in (None, signal.SIGINT) else Terminated(first)


@contextmanager
def hearing_interrupted_queries() -> Iterator[None]:
    """Raise KeyboardInterrupt where DuckDB was interrupted in a query, which it tells as an error of the query."""
    try:
        yield
    except Exception as error:
        if any(isinstance(cause, RuntimeError) and str(cause) == _QUERY_INTERRUPTED for cause in causes(error)):
            raise interruption() from None
        raise
