"""The commands that answer what takes room, as tables and as a page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from files_source.cli.app import app, client_of
from files_source.cli.options import From, Limit, Live, Purpose
from files_source.cli.streams import print_object, write_whole
from files_source.errors import ConfigError

if TYPE_CHECKING:
    from files_source.inventories import Inventory

_DEFAULT: Final = "inventory.duckdb"


@app.command()
def usage(
    context: typer.Context,
    place: From = None,
    live: Live = False,
    purpose: Purpose = None,
    limit: Limit = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all answers as one JSON object.")] = False,
) -> None:
    """Print what takes room, how old it is and what could go."""
    _refuse_two(place, live=live, limit=limit)
    from files_source import usage_tables

    inventory = _inventory(context, place, live=live, purpose=purpose, limit=limit)
    now = datetime.now(UTC)
    answers = usage_tables.answers(inventory, now=now)
    if as_json:
        print_object(usage_tables.as_object(inventory, answers, now=now))
    else:
        usage_tables.show(inventory, answers, now=now)


@app.command()
def report(
    context: typer.Context,
    place: From = None,
    live: Live = False,
    purpose: Purpose = None,
    limit: Limit = None,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="PATH", help="Write it here, whole or not at all; - for standard output."
        ),
    ] = Path("report.html"),
) -> None:
    """Write what `usage` prints as one HTML page with charts."""
    _refuse_two(place, live=live, limit=limit)
    try:
        from files_source import report as pages
    except ModuleNotFoundError as missing:
        raise ConfigError(f"a report needs {missing.name}: pip install 'openai-files-source[report]'") from None
    inventory = _inventory(context, place, live=live, purpose=purpose, limit=limit)
    history = None if live else pages.recorded(place or _DEFAULT, purpose=purpose)
    write_whole(output, [pages.report(inventory, now=datetime.now(UTC), history=history).encode()])


def _refuse_two(place: str | None, *, live: bool, limit: int | None) -> None:
    if live and place is not None:
        raise ConfigError("--live lists the account, --from reads what was loaded: give one of them")
    if limit is not None and not live:
        raise ConfigError("--limit says how many files the account lists a page: it needs --live")


def _inventory(
    context: typer.Context, place: str | None, *, live: bool, purpose: str | None, limit: int | None
) -> Inventory:
    from files_source import inventories, printing
    from files_source.listing import MAX_LIMIT

    if not live:
        return inventories.stored(place or _DEFAULT, purpose=purpose)
    with client_of(context) as client, printing.progress() as on_page:
        return inventories.listed(client, purpose=purpose, limit=limit or MAX_LIMIT, on_page=on_page)
