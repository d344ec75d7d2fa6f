"""What the command line shows: files as lines, tables or CSV, and a run's progress and end."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import pyarrow as pa

from files_source.decoding import Page
from files_source.incremental import OnPage
from files_source.tolerant import file_objects

if TYPE_CHECKING:
    from files_source.sync import Synced

Format = Literal["jsonl", "table", "csv"]

_COLUMNS: Final = ("id", "bytes", "created_at", "purpose", "status", "expires_at", "filename")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def listing(pages: Iterable[Page], *, form: Format, most: int | None = None) -> Iterator[str]:
    """Yield the files of a listing as text, a page at a time, until *most* of them are shown."""
    for number, page in enumerate(pages):
        rows = page.files.num_rows if most is None else min(most, page.files.num_rows)
        yield _FORMS[form](page, rows, number == 0)
        if most is not None:
            most -= rows
            if most <= 0:
                return


def one_line(json: bytes) -> str:
    """Return JSON without the line breaks and blanks between its values, and nothing else changed."""
    return msgspec.json.format(json, indent=-1).decode()


def printable(text: str) -> str:
    """Return *text* with what could command a terminal spelled out."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def size(count: int | None) -> str:
    """Return a size in bytes for a person, in powers of ten."""
    if count is None:
        return "?"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:  # noqa: PLR2004 - the step from a unit to the next
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def summary(done: Synced) -> str:
    """Say what a run did, in a few lines."""
    lines = ["an earlier run that had died was finished first"] if done.finished_earlier else []
    again = f", {done.retries} of them again" if done.retries else ""
    traffic = f"{done.pages:,} pages, {done.requests:,} requests{again}, {size(done.received)}"
    lines += [f"{done.rows:,} files into {printable(done.to)} in {done.seconds:.1f} s ({traffic})"]
    lines += [f"look at it: {printable(done.query)}"] if done.query else []
    return "\n".join(lines)


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
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if first:
        writer.writerow([*_COLUMNS, "status_details", "extra"])
    for row in _cells(page.files.slice(0, rows), (*_COLUMNS, "status_details", "extra")):
        writer.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row])
    return out.getvalue()


def _table(page: Page, rows: int, first: bool) -> str:  # noqa: FBT001 - one form among others
    from rich.console import Console  # noqa: PLC0415 - rich takes long to import, and only tables need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, show_header=first)
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name == "bytes" else "left", no_wrap=name != "filename")
    for row in _cells(page.files.slice(0, rows), _COLUMNS):
        table.add_row(*(Text(printable(cell)) for cell in row))
    out = io.StringIO()
    Console(file=out, width=None if sys.stdout.isatty() else 200).print(table)
    return out.getvalue()


def _cells(files: pa.Table, columns: tuple[str, ...]) -> Iterator[list[str]]:
    for row in files.select(columns).to_pylist():
        yield ["" if value is None else str(value) for value in row.values()]


_FORMS: Final[dict[Format, Callable[[Page, int, bool], str]]] = {"jsonl": _jsonl, "table": _table, "csv": _csv}
