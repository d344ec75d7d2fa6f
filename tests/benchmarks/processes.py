"""Whole processes: how long one takes, and how much memory.

Whoever measures has to stay small: the peak that the system tells of a process is never less than that of the one
that started it.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Timer
from typing import Final

OURS: Final = "files-source"

_HERE: Final = Path(__file__).parent
_PATIENCE: Final = 3_600
"""Seconds that one process may take."""
_SHOWN: Final = 300
"""Characters of an error."""
_FOREIGN: Final = ("OPENAI_", "SOURCES__", "DLT_", "DESTINATION__")


@dataclass(frozen=True, slots=True)
class Ended:
    """What a process took.

    Attributes:
        seconds: from its start to its end.
        peak: the most memory that it held, in bytes.
        printed: its standard output.
    """

    seconds: float
    peak: int
    printed: str


def program(*arguments: str) -> list[str]:
    """Return files-source as a command."""
    return [str(Path(sys.executable).with_name(OURS)), *arguments]


def script(name: str, *arguments: str) -> list[str]:
    """Return a script beside this module as a command."""
    return [sys.executable, str(_HERE / name), *arguments]


def environment(url: str, home: Path) -> dict[str, str]:
    """Return the environment of a process that finds its server and keeps all that it writes at *home*."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return ours | {
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": "sk-benchmark",
        "NO_PROXY": "127.0.0.1",
        "HOME": str(home),
        "DLT_DATA_DIR": str(home / "dlt"),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    }


def run(command: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> Ended:
    """Run a process to its end; it is ended when this is.

    Raises:
        RuntimeError: it failed.
    """
    with TemporaryFile() as out, TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        timer = Timer(_PATIENCE, os.kill, (process.pid, signal.SIGKILL))
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            timer.cancel()
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            last = err.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise RuntimeError(f"{shlex.join(command)} ended with {process.returncode}: {last[:_SHOWN]}")
        return Ended(seconds, usage.ru_maxrss * 1024, out.read().decode())
