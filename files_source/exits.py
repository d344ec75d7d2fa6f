"""How a command ends: an exit status, and one line about what went wrong."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import typer

from files_source.errors import ConfigError, FilesSourceError, excerpt
from files_source.redaction import redacted
from files_source.stopping import stoppable, told

FAILED: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130

_TRACEBACK: Final = "FILES_SOURCE_TRACEBACK"


class Interrupted(KeyboardInterrupt):
    """Told to stop, and what has become of the work."""


def status_of(run: Callable[[], object]) -> int:
    """Run a command and return its exit status, having said on standard error what went wrong.

    0: all that was asked for was done. 1: it failed. 2: wrong usage. 130: interrupted by Ctrl-C. 143: by
    SIGTERM, as a scheduler or a container stops what it runs. 129: by SIGHUP, as a terminal that closes does.
    """
    with stoppable():
        try:
            return _status_of(run)
        except KeyboardInterrupt:  # it came while the end was told
            return _interrupted()


def _status_of(run: Callable[[], object]) -> int:
    try:
        run()
        sys.stdout.flush()
    except typer.Exit as end:
        return end.exit_code
    except BrokenPipeError:  # who reads our output has seen enough
        return 0
    except SystemExit as end:  # how rich ends a program whose output nobody reads
        return 0 if isinstance(end.__context__, BrokenPipeError) else FAILED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - each becomes one line and a status
        return _stopped(error) if isinstance(error, KeyboardInterrupt) or told() else _failed(error)
    finally:
        _give_up_output()
    return 0


def _failed(error: Exception) -> int:
    if _TRACEBACK in os.environ and _is_unforeseen(error):
        _say(redacted("".join(traceback.format_exception(error))))
        return FAILED
    _say_error(_reason(error))
    return WRONG_USAGE if isinstance(error, typer.TyperException | ConfigError) else FAILED


def _stopped(error: BaseException) -> int:
    """Tell of an interruption, and what has become of the work, or failed when it was given up."""
    by = told()
    how = "interrupted" if by in (None, signal.SIGINT) else f"interrupted by {by.name}"
    about = str(error) if isinstance(error, Interrupted | FilesSourceError) else ""
    _say_error(f"{how}: {about}" if about else how)
    return _interrupted()


def _interrupted() -> int:
    by = told()
    return INTERRUPTED if by is None else 128 + by


def _is_unforeseen(error: BaseException) -> bool:
    known = isinstance(error, typer.TyperException | FilesSourceError)
    return not known and not (isinstance(error, OSError) and isinstance(error.strerror, str))


def _reason(error: BaseException) -> str:
    """Say what went wrong."""
    match error:
        case typer.TyperException():
            command = getattr(getattr(error, "ctx", None), "command_path", "files-source")
            return f"{error.format_message().rstrip('.')}; see {command} --help"
        case FilesSourceError():
            return str(error)
        case OSError(strerror=str(reason)):
            return reason if error.filename is None else f"{error.filename}: {reason}"
    return f"{type(error).__name__}: {excerpt(str(error))}; {_TRACEBACK}=1 shows where it comes from"


def _say_error(reason: str) -> None:
    _say(f"error: {' '.join(str(FilesSourceError(reason)).split())}\n")


def _say(text: str) -> None:
    with suppress(OSError):  # a terminal that was closed
        sys.stderr.write(text)
        sys.stderr.flush()


def _give_up_output() -> None:
    """See to it that Python does not fail once more, at its end, with what can no longer be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
