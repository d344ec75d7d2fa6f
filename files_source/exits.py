"""How a command ends: an exit status, and one line about what went wrong."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer

from files_source.errors import ConfigError, FilesSourceError, excerpt

FAILED: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130

_TRACEBACK: Final = "FILES_SOURCE_TRACEBACK"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, and what has become of the work."""


def status_of(run: Callable[[], object]) -> int:
    """Run a command and return its exit status, having said on standard error what went wrong.

    0: all that was asked for was done. 1: it failed. 2: wrong usage. 130: interrupted.
    """
    try:
        run()
        sys.stdout.flush()
    except typer.Exit as end:
        return end.exit_code
    except BrokenPipeError:  # who reads our output has seen enough
        return 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - each becomes one line and a status
        line = " ".join(str(FilesSourceError(_reason(error))).split())
        sys.stderr.write(f"error: {line}\n")
        if isinstance(error, KeyboardInterrupt):
            return INTERRUPTED
        return WRONG_USAGE if isinstance(error, typer.TyperException | ConfigError) else FAILED
    finally:
        _give_up_output()
    return 0


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C: it is how a container or a scheduler ends what it runs."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _reason(error: BaseException) -> str:
    """Say what went wrong, or raise what nobody foresaw where the user looks for a bug."""
    match error:
        case Interrupted():
            return f"interrupted: {error}"
        case KeyboardInterrupt():
            return "interrupted"
        case typer.TyperException():
            command = getattr(getattr(error, "ctx", None), "command_path", "files-source")
            return f"{error.format_message().rstrip('.')}; see {command} --help"
        case FilesSourceError():
            return str(error)
        case OSError(strerror=str(reason)):
            return reason if error.filename is None else f"{error.filename}: {reason}"
    if _TRACEBACK in os.environ:
        raise error
    return f"{type(error).__name__}: {excerpt(str(error))}; {_TRACEBACK}=1 shows where it comes from"


def _give_up_output() -> None:
    """See to it that Python does not fail once more, at its end, with what can no longer be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
