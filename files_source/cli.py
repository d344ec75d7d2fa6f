"""files-source: the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from files_source.errors import ConfigError, FilesSourceError

if TYPE_CHECKING:
    from files_source.client import FilesClient

_FAILED: Final = 1
_WRONG_USAGE: Final = 2
_INTERRUPTED: Final = 130

app = typer.Typer(
    name="files-source",
    help="The inventory of every file behind OpenAI's Files API: in DuckDB, in Parquet, or as lines.",
    epilog="The key comes from OPENAI_API_KEY, never from the command line.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class Order(StrEnum):
    asc = "asc"
    desc = "desc"


class Format(StrEnum):
    jsonl = "jsonl"
    table = "table"
    csv = "csv"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end with its exit status.

    0: all that was asked for was done. 1: it failed. 2: wrong usage. 130: interrupted.
    """
    sys.exit(_status(arguments))


def _status(arguments: Sequence[str] | None) -> int:
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
    os.environ.setdefault("RUNTIME__LOG_LEVEL", "CRITICAL")  # an error is one line of ours, not dlt's log
    try:
        return int(app(arguments, standalone_mode=False) or 0)
    except typer.Exit as end:
        return end.exit_code
    except typer.TyperException as error:
        return _fail(getattr(error, "format_message", error.__str__)(), _WRONG_USAGE)
    except ConfigError as error:
        return _fail(str(error), _WRONG_USAGE)
    except FilesSourceError as error:
        return _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted: nothing is half-loaded, and the next run goes on from here", _INTERRUPTED)


def _fail(message: str, status: int = _FAILED) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status


@app.callback(invoke_without_command=True)
def connect(
    context: typer.Context,
    base_url: Annotated[str | None, typer.Option(help="The server, otherwise OPENAI_BASE_URL or OpenAI's own.")] = None,
    organization: Annotated[str | None, typer.Option(help="Otherwise OPENAI_ORG_ID.")] = None,
    project: Annotated[str | None, typer.Option(help="Otherwise OPENAI_PROJECT_ID.")] = None,
    ca_bundle: Annotated[
        Path | None, typer.Option(help="A PEM file of authorities to trust beside the usual ones.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait for an answer.", show_default="600")] = None,
    max_retries: Annotated[
        int | None, typer.Option(min=0, help="How often to send a request again.", show_default="5")
    ] = None,
) -> None:
    """Say which server, and how patiently."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit
    given = {
        "base_url": base_url,
        "organization": organization,
        "project": project,
        "ca_bundle": None if ca_bundle is None else str(ca_bundle),
        "timeout": timeout,
        "max_retries": max_retries,
    }
    context.obj = {name: value for name, value in given.items() if value is not None}


FileId = Annotated[str, typer.Argument(metavar="ID", help="A file's id, such as file-abc123.", show_default=False)]
Purpose = Annotated[str | None, typer.Option(help="Only files of this purpose, such as batch.")]
Limit = Annotated[int | None, typer.Option(min=1, max=10_000, help="Files a page.", show_default="10000")]


@app.command("list")
def list_files(
    context: typer.Context,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Start after this file.")] = None,
    limit: Limit = None,
    order: Annotated[Order, typer.Option(help="By created_at.")] = Order.desc,
    purpose: Purpose = None,
    max_items: Annotated[int | None, typer.Option(min=1, help="Stop after so many files.")] = None,
    form: Annotated[Format, typer.Option("--format", help="jsonl: as the API gave it.")] = Format.jsonl,
) -> None:
    """Print the files, newest first, one JSON object a line."""
    from files_source import printing
    from files_source.listing import MAX_LIMIT

    size = min(limit or MAX_LIMIT, max_items or MAX_LIMIT)
    with _client(context) as client:
        pages = client.pages(after=after, limit=size, order=order.value, purpose=purpose)
        for text in printing.listing(pages, form=form.value, most=max_items):
            sys.stdout.write(text)
            sys.stdout.flush()


@app.command()
def get(context: typer.Context, file_id: FileId) -> None:
    """Print one File object."""
    with _client(context) as client:
        _print_object(client.get(file_id))


@app.command()
def content(
    context: typer.Context,
    file_id: FileId,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A file to write; otherwise standard output.")
    ] = None,
) -> None:
    """Write the bytes of a file to standard output, or whole to --output."""
    with _client(context) as client:
        if output is None:
            for chunk in client.content(file_id):
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        unfinished = output.with_name(f"{output.name}.unfinished")
        try:
            with unfinished.open("wb") as file:
                for chunk in client.content(file_id):
                    file.write(chunk)
            unfinished.replace(output)
        finally:
            unfinished.unlink(missing_ok=True)


@app.command()
def upload(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="The file to upload.", show_default=False)],
    purpose: Annotated[
        str, typer.Option(help="What it is for: assistants, batch, fine-tune, vision, user_data, evals.")
    ],
    expires_after: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="Seconds until it expires, 3600 to 2592000.")
    ] = None,
) -> None:
    """Upload a file and print its File object."""
    with _client(context) as client:
        _print_object(client.create(path, purpose=purpose, expires_after=expires_after))


@app.command()
def delete(
    context: typer.Context,
    file_id: FileId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a file for good, after asking."""
    if not yes:
        typer.confirm(f"Delete {file_id!a} for good?", abort=True, err=True)
    with _client(context) as client:
        _print_object(client.delete(file_id))


@app.command()
def sync(
    context: typer.Context,
    to: Annotated[
        str, typer.Option(metavar="PLACE", help="PATH.duckdb, DIR/, parquet:URL, or the name of a dlt destination.")
    ] = "inventory.duckdb",
    purpose: Purpose = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only files created then or later (ISO 8601).")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only files created before then.")] = None,
    limit: Limit = None,
    overlap: Annotated[
        int | None, typer.Option(min=0, help="Seconds until a file counts as settled.", show_default="60")
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Load everything again, in place of what is there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Load the files that a database or folder lacks into it."""
    from dataclasses import asdict

    from files_source import printing
    from files_source.sync import sync as run

    with printing.progress() as on_page:
        done = run(
            to,
            purpose=purpose,
            since=_moment("--since", since),
            until=_moment("--until", until),
            limit=limit,
            overlap=overlap,
            full_refresh=full_refresh,
            on_page=on_page,
            **context.obj,
        )
    if as_json:
        _print_object(asdict(done))
    else:
        print(printing.summary(done))


@app.command()
def demo(
    to: Annotated[Path, typer.Option(metavar="PATH.duckdb", help="The database; an earlier one is replaced.")] = Path(
        "demo.duckdb"
    ),
    files: Annotated[int, typer.Option(min=1000, help="Files of the made-up account.")] = 25_000,
) -> None:
    """Load a made-up account, change it, load it again, and show what is in the database."""
    from files_source.demo import demo as run

    run(to, files=files)


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 for any free one.")] = 8080,
    files: Annotated[int, typer.Option(min=0, help="Files of the made-up account.")] = 25_000,
) -> None:
    """Serve a made-up account on loopback until interrupted: the Files API in memory."""
    from threading import Event

    from files_source.demo import account

    with account(files).serve(port=port) as server:
        print(
            f"{files:,} files at {server.url}; stop with Ctrl-C; use it with:\n  export OPENAI_BASE_URL={server.url}",
            flush=True,
        )
        try:
            Event().wait()
        except KeyboardInterrupt:
            return


def _client(context: typer.Context) -> FilesClient:
    from files_source.accounts import Account
    from files_source.client import FilesClient

    settings = dict(context.obj)
    whose = {name: settings.pop(name) for name in ("base_url", "organization", "project") if name in settings}
    return FilesClient(Account.from_environment(**whose), **settings)


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option} {text!a} is no time: give ISO 8601, such as 2026-01-31 or 2026-01-31T12:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _print_object(value: object) -> None:
    import msgspec

    print(msgspec.json.encode(value).decode())
