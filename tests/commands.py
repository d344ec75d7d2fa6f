"""Running files-source: in this process, and in one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest

from files_source.cli import main
from files_source.emulator import Fault, hang

PROGRAM = Path(sys.executable).with_name("files-source")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def error(self) -> str:
        """The one line on standard error."""
        assert self.err.startswith("error: ")
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1
        return self.err.removeprefix("error: ").rstrip("\n")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """Run a command in this process."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr()
    return Ended(int(end.value.code or 0), said.out, said.err)


def start(*arguments: str, **settings: object) -> subprocess.Popen[str]:
    """Start a command in a process of its own, whose output is buffered as anywhere else."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what runs in the background, which a child inherits
        signal.signal(signal.SIGINT, signal.default_int_handler)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | settings
    return subprocess.Popen([str(PROGRAM), *arguments], env=environment, **given)  # type: ignore[call-overload,no-any-return]


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for the end of a command."""
    with process:
        try:
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()  # one that has not ended would be waited for without end
    return Ended(process.returncode, out, err)


def hang_and_tell(asked: Event) -> Fault:
    """Do not answer, and tell when that begins."""

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        asked.set()
        return hang().spoil(call)

    return Fault("hang", spoil)
