"""The benchmarks' server: a process of its own, told through its standard input what account it serves.

It ends when that is closed, so also when whoever started it is killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_KEEP_MEMORY: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
}
"""Settings of glibc: otherwise each page's memory is given back and asked for again, which takes 7 of 10 ms."""
_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a server has answered.

    Attributes:
        requests: how many.
        sent: bytes of the answers' bodies.
    """

    requests: int
    sent: int


class Server:
    """A server that is running.

    Attributes:
        url: the base URL of the API.
        pid: the process that serves it.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self._process = process
        self.url = self._said()

    def serve(self, *, files: int, added: int = 0, latency: float = 0.0) -> None:
        """Serve an account of so many *files* and those *added* since, each answer after *latency* seconds."""
        self._tell({"files": files, "added": added, "latency": latency})

    def traffic(self) -> Traffic:
        """Return what was answered since `serve`."""
        return Traffic(**json.loads(self._tell({})))

    def _tell(self, settings: dict[str, float]) -> str:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which it will not say
            print(json.dumps(settings), file=self._process.stdin, flush=True)
        return self._said()

    def _said(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the benchmarks' server ended with status {self._process.wait()}")
        return line.strip()


@contextmanager
def serving() -> Iterator[Server]:
    """Start a server, and end it with the context."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.server"],
        cwd=ROOT,
        env=os.environ | _KEEP_MEMORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the benchmarks, which then end it
    )
    with process:
        try:
            yield Server(process)
        finally:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    """Serve until standard input ends; answer each line of it with the traffic so far."""
    from tests.benchmarks.account import Account, Files  # noqa: PLC0415 - who starts a server has to stay small

    account = Account(Files(before=time.time()))
    with account.serve() as server:
        print(server.url, flush=True)
        for line in sys.stdin:
            settings = json.loads(line)
            answered = list(account.requests)
            if settings:
                account.made.resize(settings["files"], settings["added"])
                account.latency = settings["latency"]
                account.requests.clear()
            traffic = Traffic(len(answered), sum(request.sent for request in answered))
            print(json.dumps(asdict(traffic)), flush=True)


if __name__ == "__main__":
    main()
