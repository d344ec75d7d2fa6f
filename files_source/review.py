"""What a cleanup shows: its candidates, what it asks, how far it has come, and its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from io import StringIO
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa

from files_source.printing import aligned, counted, printable, size
from files_source.shortlist import Shortlist, Total

if TYPE_CHECKING:
    from files_source.cleanup import Cleaned
    from files_source.sweep import OnFile

_COLUMNS: Final = {"created_at": 17, "bytes": 8, "purpose": 12, "id": 29, "filename": 0}
"""What a table shows, and the room that it leaves at least, so that its parts stand in line."""
_ROWS: Final = 1_000
"""Rows of a part: the whole would have to be measured before its first line."""
FIRST: Final = 20
"""Rows that are shown where not all are asked for."""
_MANY: Final = 100
"""More files than so many are deleted only by their number."""
_NAMES: Final = 8


def candidates(found: Shortlist, *, as_json: bool, most: int | None = None) -> Iterator[str]:
    """Yield the candidates of a cleanup as text, part by part, and what they come to.

    Args:
        found: the candidates.
        as_json: as one JSON object, with all of them.
        most: no more rows than so many; None for all.
    """
    if as_json:
        yield from _document(found)
        return
    yield from _table(found, most)
    total = found.total
    if most is not None and total.files > most:
        yield f"... and {counted(total.files - most, 'more file')}; --all shows each\n"
        for name, counts in (("account", total.accounts), ("purpose", total.purposes)):
            if name == "purpose" or found.is_of_many:
                yield f"by {name}: {_shares(counts)}\n"
    yield f"{_told(total)}\n"


def to_type(total: Total) -> int | None:
    """Return the number that must be typed in for so many files to be deleted; None where y will do."""
    return total.files if total.files > _MANY else None


def question(found: Shortlist) -> str:
    """Return what is asked before the candidates are deleted."""
    whose = ", ".join(f"{account.name} at {account.server}" for account in found.accounts)
    failed = f"{', '.join(map(repr, found.failures))} could not be listed. " if found.failures else ""
    return printable(f"{failed}Delete {_told(found.total)}, of {whose}, for good?")


def earlier(count: int, to: str) -> str:
    """Say what an earlier cleanup has left to this one."""
    return f"{counted(count, 'deletion')} of a cleanup that was stopped, now recorded in {printable(to)}"


def summary(done: Cleaned) -> str:
    """Say what a cleanup did, in a few lines."""
    unknown = f", {done.unknown_size:,} more of unknown size" if done.unknown_size else ""
    gone = f", {done.gone:,} gone already" if done.gone else ""
    deleted = f"{counted(done.deleted, 'file')} deleted{gone}"
    lines = [f"{deleted} in {done.seconds:.1f} s; {size(done.bytes)} freed{unknown}"]
    if done.open:
        left = counted(done.open, "deletion")
        lines += [f"{left} not confirmed: a later cleanup with the same key finds out what came of that"]
    if done.query and done.files:
        lines += [f"look at the record: {printable(done.query)}"]
    return "\n".join(lines)


@contextmanager
def progress(total: int) -> Iterator[OnFile | None]:
    """Show how many of the files have been tried on standard error, where a person sees it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - rich takes long to import, and pipes never need it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415

    with Progress(
        "deleting",
        BarColumn(),
        MofNCompleteColumn(),
        "files",
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as shown:
        task = shown.add_task("deleting", total=total)
        yield lambda tried: shown.update(task, completed=tried)


def _table(found: Shortlist, most: int | None) -> Iterator[str]:
    names = ["account", *_COLUMNS] if found.is_of_many else list(_COLUMNS)
    part = _for_a_person if sys.stdout.isatty() else _for_a_pipe
    is_first = True
    for files in _first(found, most):
        for start in range(0, files.num_rows, _ROWS):
            rows = files.slice(start, _ROWS).select(names).to_pylist()
            yield part(names, [[_cell(name, row[name]) for name in names] for row in rows], with_header=is_first)
            is_first = False


def _first(found: Shortlist, most: int | None) -> Iterator[pa.Table]:
    """Yield the files, or the first ones."""
    for _, files in found.tables():
        yield files if most is None else files.slice(0, most)
        if most is not None:
            most -= files.num_rows
            if most <= 0:
                return


def _for_a_person(names: list[str], rows: list[list[str]], *, with_header: bool) -> str:
    """Return a part of the table as wide as the terminal, where a file's name may be cut short, but no id."""
    from rich.console import Console  # noqa: PLC0415 - rich takes long to import, and only a terminal needs it
    from rich.table import Table  # noqa: PLC0415

    console = Console(file=StringIO(), no_color=True, markup=False, emoji=False, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=with_header)
    *rooms, _ = _widths(names, rows)
    is_wide = console.width > sum(rooms) + 2 * len(rooms)
    for name, room in zip(names, rooms, strict=False):
        if name == "bytes":
            table.add_column("size", justify="right", no_wrap=True, min_width=room)
        else:
            table.add_column(name, no_wrap=is_wide, overflow="fold", min_width=room if is_wide else None)
    table.add_column(names[-1], overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    with console.capture() as shown:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in shown.get().splitlines())


def _for_a_pipe(names: list[str], rows: list[list[str]], *, with_header: bool) -> str:
    """Return a part of the table whole, at a hundred times the speed."""
    header = ["size" if name == "bytes" else name for name in names]
    lines = [header, *rows] if with_header else rows
    widths = _widths(names, lines)
    return "".join(f"{aligned(names, line, widths)}\n" for line in lines)


def _widths(names: list[str], lines: list[list[str]]) -> list[int]:
    return [max(_COLUMNS.get(name, 0), *map(len, cells)) for name, *cells in zip(names, *lines, strict=True)]


def _cell(name: str, value: object) -> str:
    if name == "bytes":
        return size(value if isinstance(value, int) else None)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}Z"
    return printable(str(value))


def _document(found: Shortlist) -> Iterator[str]:
    """Yield one JSON object, a line for each candidate, so that it need not fit in memory."""
    total = {"files": found.total.files, "bytes": found.total.bytes, "unknown_size": found.total.unknown_size}
    yield f'{_json(total)[:-1]},"candidates":['
    before = "\n"
    for _, files in found.tables():
        for row in files.to_pylist():
            yield before + _json(row)
            before = ",\n"
    yield "\n]}\n"


def _json(value: Mapping[str, object]) -> str:
    return msgspec.json.encode(value).decode()


def _shares(counts: Mapping[str, int]) -> str:
    """Say how many files are of each of some names, most first."""
    told = [f"{printable(name)} {count:,}" for name, count in counts.items()]
    return ", ".join(told if len(told) <= _NAMES else [*told[:_NAMES], f"and {len(told) - _NAMES:,} others"])


def _told(total: Total) -> str:
    unknown = f" and {total.unknown_size:,} of unknown size" if total.unknown_size else ""
    known = f"{counted(total.files, 'file')} ({size(total.bytes)}{unknown})"
    if total.oldest is None or total.newest is None:
        return known
    return f"{known}, created {total.oldest:%Y-%m-%d %H:%M}Z to {total.newest:%Y-%m-%d %H:%M}Z"
