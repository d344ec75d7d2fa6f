"""The commands that load, and tell what was loaded."""

from __future__ import annotations

from typing import Annotated

import typer

from files_source.cli.app import app, whose
from files_source.cli.options import AccountName, Accounts, Limit, Place, Purpose, moment
from files_source.cli.streams import print_object
from files_source.exits import Interrupted
from files_source.times import window


@app.command()
def sync(
    context: typer.Context,
    to: Place = "inventory.duckdb",
    purpose: Purpose = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            parser=moment,
            help="Only files created since: 2026-01-31T12:00 (in UTC), or how long ago: 7d.",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", parser=moment, help="Only files created before then.")
    ] = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="List everything; keep what changed or is gone."),
    ] = False,
    account: AccountName = None,
    accounts: Accounts = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many requests to send at once (default 8).")
    ] = None,
    limit: Limit = None,
    overlap: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", min=0, help="Age from which a file is final (default 3600, in Parquet 60)."),
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Load everything again, in place of what is there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Load the files that a database or folder lacks into it."""
    begin, end = window(since, until, names=("--since", "--until"))
    from files_source import printing
    from files_source.syncing import SyncedInPart
    from files_source.syncing import sync as run

    settings = whose(context, account, accounts)
    failed: SyncedInPart | None = None
    with printing.progress() as on_page:
        try:
            done = run(
                to,
                purpose=purpose,
                since=begin,
                until=end,
                limit=limit,
                overlap=overlap,
                full_refresh=full_refresh,
                history=history,
                workers=workers,
                on_page=on_page,
                **settings,
            )
        except SyncedInPart as error:
            failed, done = error, error.done
        except KeyboardInterrupt:
            raise Interrupted("nothing is half-loaded, and the next run goes on from here") from None
    try:
        print_object(done) if as_json else printing.show(f"{printing.summary(done)}\n")
    finally:  # that nobody reads the summary is no success
        if failed is not None:
            raise failed


@app.command()
def scans(
    to: Annotated[str, typer.Option(metavar="PLACE", help="Where they were loaded, as for sync.")] = "inventory.duckdb",
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON, a scan a line.")] = False,
) -> None:
    """Print what earlier runs did, account by account."""
    from files_source import printing
    from files_source.tables import read_table

    printing.show(printing.scans(read_table(to, "scans").to_arrow(), as_json=as_json))
