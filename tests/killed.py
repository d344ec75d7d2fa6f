"""Run the command line in a process that kills itself (SIGKILL) at a chosen moment.

Usage: killed.py MOMENT ARGUMENT...

MOMENT is
    N          the Nth file operation; 0 for none, and their number is written to operations.txt
    commit-N   between the destination's Nth commit and dlt's note of it
    end        after the last commit, before the load is entered as complete
"""

from __future__ import annotations

import atexit
import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

_EVENTS = frozenset({"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"})


def main() -> None:
    moment, *arguments = sys.argv[1:]
    from files_source import cli, syncing  # noqa: F401, PLC0415 - imports are not what is to be interrupted

    kind, _, number = moment.partition("-")
    if kind == "commit":
        from dlt.common.storages.load_package import PackageStorage  # noqa: PLC0415

        PackageStorage.save_pending_transition = _dies(at=int(number))  # type: ignore[method-assign]
    elif kind == "end":
        from dlt.load.load import Load  # noqa: PLC0415

        Load.complete_package = _dies(at=1)  # type: ignore[method-assign]
    else:
        _count_operations(die_at=int(moment))
    cli.main(arguments)


def _dies(*, at: int) -> Callable[..., None]:
    """Return a function that takes the place of dlt's and dies when it is called for the *at*th time."""
    calls = itertools.count(1)

    def die(*_: object, **__: object) -> None:
        if next(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def _count_operations(*, die_at: int) -> None:
    operations = itertools.count(1)
    last = 0

    def hook(event: str, _: tuple[object, ...]) -> None:
        nonlocal last
        if event in _EVENTS:
            last = next(operations)
            if last == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    atexit.register(lambda: Path("operations.txt").write_text(str(last)))


if __name__ == "__main__":
    main()
