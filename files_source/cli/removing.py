"""The command that shows and deletes what could go."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from files_source.cli.app import app, whose
from files_source.cli.options import AccountName, Accounts, Limit, Place, Purpose, age
from files_source.cli.streams import agreed, print_object
from files_source.errors import ConfigError, FilesSourceError
from files_source.exits import Interrupted

if TYPE_CHECKING:
    from files_source.cleanup import Cleanup
    from files_source.recording import Record
    from files_source.shortlist import Shortlist


@app.command()
def cleanup(
    context: typer.Context,
    older_than: Annotated[
        timedelta | None,
        typer.Option(
            metavar="AGE",
            parser=age,
            help="Only files older than that: 30min, 12h, 90d, 2w, 3mo (of 31 days) or 1y (of 366).",
        ),
    ] = None,
    purpose: Purpose = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them for good, after asking.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Print every file, not only the first 20.")] = False,
    to: Place = "inventory.duckdb",
    account: AccountName = None,
    accounts: Accounts = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many files to delete at once (default 8).")
    ] = None,
    limit: Limit = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the files, or with --delete what was done, as JSON.")
    ] = False,
) -> None:
    """Print the files of an age or purpose; --delete deletes them.

    Each deletion is recorded in the table deletions of --to. Stopped, run it again: what it has deleted is not lost.
    """
    if delete and older_than is None and purpose is None:
        raise ConfigError("--delete needs --older-than, --purpose or both: without them every file would go")
    if delete and as_json and not yes:
        raise ConfigError("--delete --json shows no files to agree to: give --yes, or leave --json out")
    from files_source import printing
    from files_source.cleanup import Cleanup

    run = Cleanup(workers=workers, limit=limit, **whose(context, account, accounts))
    with ExitStack() as opened:
        record = opened.enter_context(run.into(to)) if delete else None
        with printing.progress() as on_page:
            found = opened.enter_context(run.candidates(older_than=older_than, purpose=purpose, on_page=on_page))
        _show(found, record, as_json=as_json, show_all=show_all)
        if record is not None:
            _delete(run, found, record, ask=not yes, as_json=as_json)
        else:
            _nothing_deleted(found, is_chosen=older_than is not None or purpose is not None, as_json=as_json)


def _show(found: Shortlist, record: Record | None, *, as_json: bool, show_all: bool) -> None:
    """Print the candidates of a cleanup; with --delete as text, for what cannot be read is not agreed to."""
    from files_source import printing, review

    most = None if show_all else review.FIRST
    if record is None:
        for text in review.candidates(found, as_json=as_json, most=most):
            printing.show(text)
    elif not as_json:
        try:
            if record.earlier:
                printing.show(f"{review.earlier(record.earlier, record.place.name)}\n")
            for text in review.candidates(found, as_json=False, most=most):
                printing.show(text)
        except BrokenPipeError:
            raise FilesSourceError("nothing was deleted: the list could not be shown to its end") from None


def _nothing_deleted(found: Shortlist, *, is_chosen: bool, as_json: bool) -> None:
    """Say that the files are still there, and how they could go."""
    from files_source import printing

    if found.total.files and not as_json:
        how = "--delete deletes" if is_chosen else "--delete, with --older-than or --purpose, deletes"
        printing.show(f"nothing was deleted: {how} files for good\n")
    if error := found.error(outcome="the others were listed"):
        raise error


def _delete(run: Cleanup, found: Shortlist, record: Record, *, ask: bool, as_json: bool) -> None:
    """Delete the candidates of a cleanup after asking, and say what was done."""
    from files_source import printing, review
    from files_source.cleanup import CleanedInPart, Stopped

    number = review.to_type(found.total)
    if ask and found.total.files and not agreed(review.question(found), count=number):
        failure = found.error(outcome="the others were listed")
        how = "answer y," if number is None else f"type the number of files, {number},"
        raise FilesSourceError(f"nothing was deleted: {how} or give --yes{f'; and {failure}' if failure else ''}")
    failed: CleanedInPart | Interrupted | None = None
    with review.progress(found.total.files) as on_file:
        try:
            done = run.delete(found, record, on_file=on_file)
        except CleanedInPart as error:
            failed, done = error, error.done
        except Stopped as stop:
            failed = Interrupted("no more files are deleted, and running it again records what is not recorded")
            done = stop.done
    try:
        if as_json:
            print_object(done)
        elif done.files or done.open:
            printing.show(f"{review.summary(done)}\n")
    finally:  # that nobody reads the summary is no success
        if failed is not None:
            raise failed
