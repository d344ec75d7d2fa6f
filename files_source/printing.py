"""What the command line shows: files as lines, tables or CSV, and a run's progress and end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import pyarrow as pa

from files_source.decoding import Page
from files_source.progress import OnPage
from files_source.tolerant import file_objects

if TYPE_CHECKING:
    from files_source.syncing import Synced

Format = Literal["jsonl", "table", "csv"]

_COLUMNS: Final = {
    "id": 29,
    "bytes": 9,
    "created_at": 20,
    "purpose": 17,
    "status": 9,
    "expires_at": 20,
    "filename": 0,
}
"""What a table shows, and the room that it leaves at least, so that pages stand in line."""
_SCAN: Final = ("started_at", "account", "mode", "rows", "pages", "requests", "took", "end")
"""What the table of scans shows."""
_NUMBERS: Final = frozenset({"rows", "pages", "requests", "took", "bytes"})
_ALL_COLUMNS: Final = (*_COLUMNS, "status_details", "extra")
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
"""Each a thousand times the one before."""
_LEAST: Final = 0.001
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_TO_QUOTE: Final = frozenset(',"\r\n')


def listing(pages: Iterable[Page], *, form: Format, most: int | None = None) -> Iterator[str]:
    """Yield the files of a listing as text, a page at a time, until *most* of them are shown."""
    for number, page in enumerate(pages):
        rows = page.files.num_rows if most is None else min(most, page.files.num_rows)
        yield _FORMS[form](page, rows, number == 0)
        if most is not None:
            most -= rows
            if most <= 0:
                return


def show(text: str) -> None:
    """Write lines to standard output; where that is a terminal, spell out what could command it."""
    safe = "\n".join(map(printable, text.split("\n"))) if sys.stdout.isatty() else text
    sys.stdout.write(safe)
    sys.stdout.flush()


def printable(text: str) -> str:
    r"""Return *text* with what is no visible character spelled out as in JSON, such as `\u001b`."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)


def one_line(json: bytes) -> str:
    """Return JSON without the line breaks and blanks between its values, and nothing else changed."""
    return msgspec.json.format(json, indent=-1).decode()


def size(count: int | None) -> str:
    """Return a size in bytes for a person, in powers of ten."""
    if count is None:
        return "?"
    unit, factor = scale_of(count)
    return f"{count} B" if factor == 1 else f"{count / factor:.1f} {unit}"


def scale_of(count: int) -> tuple[str, int]:
    """Return the unit in which a size has the fewest digits, rounded as `size` does, and its bytes."""
    units = [(unit, 1000**power) for power, unit in enumerate(_UNITS)]
    return next((found for found in units if round(count / found[1], 1) < 1000), units[-1])  # noqa: PLR2004 - a step


def known_size(row: Mapping[str, Any]) -> str:
    """Return the `bytes` of so many `files`, of which some are of `unknown_size`: `?` if all of them are."""
    return size(None if is_unknown(row) else row["bytes"])


def known_share(row: Mapping[str, Any]) -> str:
    """Return the `share` of some files in the same way."""
    return percent(None if is_unknown(row) else row["share"])


def is_unknown(row: Mapping[str, Any]) -> bool:
    """Return whether there are files, but none of known size."""
    return bool(row["files"]) and row["files"] == row["unknown_size"]


def percent(share: float | None) -> str:
    """Return a share of 0 to 1 for a person."""
    if share is None:
        return "?"
    return "<0.1%" if 0 < share < _LEAST else f"{share:.1%}"


def counted(count: int, noun: str) -> str:
    """Return a number with what it counts, such as `1 page` or `25,000 files`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def summary(done: Synced) -> str:
    """Say what a run did, in a few lines."""
    lines = ["what an earlier run that had died had left was dropped first"] if done.discarded else []
    again = f", {done.retries:,} of them again" if done.retries else ""
    traffic = f"{counted(done.pages, 'page')}, {counted(done.requests, 'request')}{again}, {size(done.received)}"
    whose = f" of {done.accounts:,} accounts" if done.accounts > 1 else ""
    lines += [f"{counted(done.rows, 'file')}{whose} into {printable(done.to)} in {done.seconds:.1f} s ({traffic})"]
    if done.missed:
        lines += [f"{counted(done.missed, 'file')} of these had been missed by incremental runs"]
    lines += [f"look at it: {printable(done.query)}"] if done.query else []
    return "\n".join(lines)


def scans(ledger: pa.Table, *, as_json: bool) -> str:
    """Return the ledger as text, the latest scan first."""
    rows = ledger.sort_by([("started_at", "descending")]).to_pylist()
    if as_json:
        return "".join(f"{msgspec.json.encode(row).decode()}\n" for row in rows)
    cells = [_scan(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(_SCAN, *cells, strict=True)]
    return "".join(f"{aligned(_SCAN, line, widths)}\n" for line in (_SCAN, *cells))


def _scan(row: Mapping[str, Any]) -> list[str]:
    took = (row["finished_at"] - row["started_at"]).total_seconds()
    counts = [f"{row[name]:,}" for name in ("rows", "pages", "requests")]
    mode = row["mode"] if row["purpose"] is None else f"{row['mode']} ({row['purpose']})"
    end = row["error"] or f"complete to {_text(row['watermark'])}"
    shown = [_text(row["started_at"].replace(microsecond=0)), row["account"], mode, *counts, f"{took:.1f} s", end]
    return list(map(printable, shown))


@contextmanager
def progress() -> Iterator[OnPage | None]:
    """Show pages, files and files a second on standard error while a run goes on, where a person sees it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - rich takes long to import, and pipes never need it
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[pages]:,} pages  {task.completed:,.0f} files"),
        TextColumn("{task.fields[rate]:,.0f} files/s"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as shown:
        task = shown.add_task("listing", total=None, pages=0, rate=0)

        def on_page(pages: int, rows: int) -> None:
            elapsed = shown.tasks[0].elapsed or 0
            shown.update(task, completed=rows, pages=pages, rate=rows / elapsed if elapsed else 0)

        yield on_page


def _jsonl(page: Page, rows: int, first: bool) -> str:  # noqa: ARG001, FBT001 - one form among others
    given = dict(reversed(file_objects(page.body)))  # of an id that comes twice, the first
    return "".join(f"{one_line(given[file_id])}\n" for file_id in page.files.column("id").slice(0, rows).to_pylist())


def _csv(page: Page, rows: int, first: bool) -> str:  # noqa: FBT001 - one form among others
    header = [_ALL_COLUMNS] if first else []
    lines = [*header, *_cells(page.files.slice(0, rows), _ALL_COLUMNS)]
    return "".join(f"{','.join(map(_quoted, line))}\n" for line in lines)


def _quoted(cell: str) -> str:
    """Return a cell of a CSV file which no spreadsheet takes for a formula, nor any line break for a row's end."""
    harmless = f"'{cell}" if cell.startswith(_FORMULA) else cell
    if _TO_QUOTE.isdisjoint(harmless):
        return harmless
    return '"{}"'.format(harmless.replace('"', '""'))


def _table(page: Page, rows: int, first: bool) -> str:  # noqa: FBT001 - one form among others
    cells = [[printable(cell) for cell in line] for line in _cells(page.files.slice(0, rows), tuple(_COLUMNS))]
    lines = [list(_COLUMNS), *cells] if first else cells
    widths = [max([room, *(len(line[place]) for line in lines)]) for place, room in enumerate(_COLUMNS.values())]
    return "".join(f"{aligned(tuple(_COLUMNS), line, widths)}\n" for line in lines)


def aligned(names: Sequence[str], line: Sequence[str], widths: Sequence[int]) -> str:
    """Return the cells of a line with room for each, numbers to the right; *names* says what each is."""
    padded = [
        cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
        for name, cell, width in zip(names, line, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _cells(files: pa.Table, columns: tuple[str, ...]) -> Iterator[list[str]]:
    for row in files.select(columns).to_pylist():
        yield [_text(value) for value in row.values()]


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.isoformat(" ").replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


_FORMS: Final[dict[Format, Callable[[Page, int, bool], str]]] = {"jsonl": _jsonl, "table": _table, "csv": _csv}
