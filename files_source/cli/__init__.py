"""files-source: the command line."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Final, NoReturn

from typer.main import get_command

from files_source.cli import api, loading, removing, storage, trying
from files_source.cli.app import NAME, app
from files_source.exits import status_of
from files_source.redaction import has_password
from files_source.servers import password_elsewhere

__all__ = ["api", "loading", "main", "program", "removing", "storage", "trying"]


_SHOWN: Final = "a password on the command line can be read by others on this machine, and stays in the shell's history"
_SELDOM: Final = (20_000, 20, 20)
"""How many new objects make Python look for garbage: its modules alone are hundreds of thousands, and none."""


def program() -> NoReturn:
    """Be a process that runs the command line, and ends as soon as that has.

    To take apart what it has imported takes Python a twentieth of a big load's time.
    """
    gc.set_threshold(*_SELDOM)
    try:
        main()
    except SystemExit as end:
        logging.shutdown()
        sys.stderr.flush()
        os._exit(int(end.code or 0))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end with its exit status, as `exits.status_of` says."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    _open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="backslashreplace")
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
    os.environ.setdefault("RUNTIME__LOG_LEVEL", "CRITICAL")  # an error is one line of ours, not dlt's log
    os.environ.setdefault("RUNTIME__INTERCEPT_SIGNALS", "false")  # dlt forgets a signal that comes near a load's end
    sys.exit(status_of(lambda: _run(given)))


def _open_closed_streams() -> None:
    """Take what whoever started this has closed, as daemons do, for a place where nobody listens."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open to the end


def _run(arguments: list[str]) -> None:
    """Run a command as typer would, which keeps some errors for itself."""
    command = get_command(app)
    with command.make_context(NAME, arguments) as context:
        command.invoke(context)
    for argument in arguments:
        if has_password(argument):
            sys.stderr.write(f"warning: {_SHOWN}: {password_elsewhere(argument)}\n")
