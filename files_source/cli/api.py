"""The five calls of the API as commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from files_source.cli.app import app, client_of
from files_source.cli.options import FileId, Limit, Purpose, lifetime
from files_source.cli.streams import agreed, print_object, write_whole
from files_source.errors import FilesSourceError


@app.command("list")
def list_files(
    context: typer.Context,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Start after this file.")] = None,
    limit: Limit = None,
    order: Annotated[Literal["asc", "desc"], typer.Option(help="By created_at.")] = "desc",
    purpose: Purpose = None,
    max_items: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after so many files.")] = None,
    form: Annotated[
        Literal["jsonl", "table", "csv"], typer.Option("--format", help="jsonl is what the API gave, a file a line.")
    ] = "jsonl",
) -> None:
    """Print the files, newest first, one JSON object a line."""
    from files_source import printing
    from files_source.listing import MAX_LIMIT

    size = min(limit or MAX_LIMIT, max_items or MAX_LIMIT)
    with client_of(context) as client:
        pages = client.pages(after=after, limit=size, order=order, purpose=purpose)
        for text in printing.listing(pages, form=form, most=max_items):
            printing.show(text)


@app.command()
def get(context: typer.Context, file_id: FileId) -> None:
    """Print one File object."""
    with client_of(context) as client:
        print_object(client.get(file_id))


@app.command()
def content(
    context: typer.Context,
    file_id: FileId,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PATH", help="Write it here, whole or not at all.")
    ] = None,
) -> None:
    """Write a file's bytes to standard output, or to --output."""
    with client_of(context) as client:
        chunks = client.content(file_id)
        write_whole(output or Path("-"), chunks)


@app.command()
def upload(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to upload.", show_default=False)],
    purpose: Annotated[
        str,
        typer.Option(
            metavar="PURPOSE", help="What it is for: assistants, batch, fine-tune, vision, user_data or evals."
        ),
    ],
    expires_after: Annotated[
        int | None,
        typer.Option(metavar="DURATION", parser=lifetime, help="How long it is kept: 1h to 30d, or so many seconds."),
    ] = None,
) -> None:
    """Upload a file and print its File object."""
    with client_of(context) as client:
        print_object(client.create(path, purpose=purpose, expires_after=expires_after))


@app.command()
def delete(
    context: typer.Context,
    file_id: FileId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a file for good, after asking."""
    with client_of(context) as client:
        if not (yes or agreed(f"Delete {file_id!a} for good?")):
            raise FilesSourceError("nothing was deleted: answer y, or give --yes")
        print_object(client.delete(file_id))
