"""Run the command line in a process that meets its end, or a full disk, at a chosen moment.

Usage: killed.py MOMENT ARGUMENT...

MOMENT is
    N           the Nth file operation from when the run looks at what an earlier one has left;
                0 for none, and their number is written to operations.txt
    commit-N    between the destination's Nth commit and dlt's note of it
    end         after the last commit, before the load is entered as complete
    state       in a folder, between the state and that entry
    recorded    in a cleanup, between the end of the load and the end of the journal that it was made from
    load-N      before the Nth load
    begin-N     in a cleanup, before the Nth deletion is noted
    answer-N    in a cleanup, between the Nth answer and its note
    full-STEP   the disk is full from the beginning of a step on: extract, normalize or load, or journal, when a
                cleanup is about to delete its first file

The end is SIGKILL, which nothing can prepare for.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.commands import Ended

_EVENTS = frozenset({"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"})
_FULL = 32 * 1024
"""Bytes that a file may hold on a disk that is full: enough for dlt's notes, too little for rows."""


FORKS = multiprocessing.get_context("forkserver")
"""Where processes come from that have imported everything already."""
FORKS.set_forkserver_preload(
    ["tests.killed", "files_source.cli", "files_source.cleanup", "files_source.review", "duckdb", "pyarrow.parquet"]
)


def fork(moment: str, *arguments: str, **environment: str) -> int:
    """Run the command line in such a process, and return its exit status."""
    return _status(main, [moment, *arguments], os.environ | environment)


def fork_and_listen(moment: str, *arguments: str) -> Ended:
    """Run it likewise, and return what it said, too."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        status = _status(_told, out, err, [moment, *arguments], dict(os.environ))
        return Ended(status, out.read_text(), err.read_text())


def _told(out: Path, err: Path, given: Sequence[str], environment: Mapping[str, str]) -> None:
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    main(given, environment)


def _status(run: Callable[..., None], *arguments: object) -> int:
    process = FORKS.Process(target=run, args=arguments)
    process.start()
    process.join()
    status = process.exitcode
    process.close()
    assert status is not None
    return status


def main(given: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run the command line until the moment has come."""
    os.environ.clear()
    os.environ.update(environment)
    moment, *arguments = given
    from dlt.common.storages.load_package import PackageStorage  # noqa: PLC0415
    from dlt.destinations.impl.filesystem.filesystem import FilesystemClient  # noqa: PLC0415
    from dlt.load.load import Load  # noqa: PLC0415
    from dlt.pipeline.pipeline import Pipeline  # noqa: PLC0415

    from files_source import cli, syncing  # noqa: PLC0415 - imports are not what is to be interrupted
    from files_source.journal import Journal  # noqa: PLC0415

    kind, _, which = moment.partition("-")
    with ExitStack() as at_end:
        if kind == "commit":
            _before(PackageStorage, "save_pending_transition", _dies(at=int(which)))
        elif kind == "end":
            _before(Load, "complete_package", _dies(at=1))
        elif kind == "state":
            _before(FilesystemClient, "_store_load", _dies(at=1))
        elif kind == "load":
            _before(Pipeline, "run", _dies(at=int(which)))
        elif kind == "begin":
            _before(Journal, "begin", _dies(at=int(which)))
        elif kind == "answer":
            _before(Journal, "end", _dies(at=int(which)))
        elif kind == "full":
            owner, name = (Journal, "begin") if which == "journal" else (Pipeline, which)
            _before(owner, name, lambda: _fill_disk(at_end, which))
        elif kind == "recorded":
            _before(Journal, "drop", _dies(at=1))
        else:
            _before(syncing, "discard_pending", lambda: at_end.callback(_write, _count_operations(die_at=int(moment))))
        cli.main(arguments)


def _before(owner: object, name: str, call: Callable[[], None]) -> None:
    """Let *call* go before each call of a function."""
    function = getattr(owner, name)

    def both(*arguments: object, **named: object) -> object:
        call()
        return function(*arguments, **named)

    setattr(owner, name, both)


def _dies(*, at: int) -> Callable[..., None]:
    """Return a function that dies when it is called for the *at*th time."""
    calls = itertools.count(1)

    def die(*_: object, **__: object) -> None:
        if next(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def _count_operations(*, die_at: int) -> Callable[[], int]:
    """Die at a file operation, and return what tells how many there have been."""
    last = 0
    counted = itertools.count(1)

    def hook(event: str, _: tuple[object, ...]) -> None:
        nonlocal last
        if event in _EVENTS:
            last = next(counted)
            if last == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: last


def _write(count: Callable[[], int]) -> None:
    Path("operations.txt").write_text(str(count()))


def _fill_disk(at_end: ExitStack, step: str) -> None:
    databases = Path().glob("*.duckdb") if step == "load" else ()  # on a full disk a file can still be written over
    room = max([_FULL, *(path.stat().st_size for path in databases)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    at_end.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)  # for whatever measures this process


if __name__ == "__main__":
    main(sys.argv[1:], dict(os.environ))
