"""files-source: the command line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn

import typer
from typer.main import get_command

from files_source.errors import ConfigError, FilesSourceError
from files_source.exits import Interrupted, sigterm_interrupts, status_of

if TYPE_CHECKING:
    from files_source.cleanup import Cleanup
    from files_source.client import FilesClient
    from files_source.inventories import Inventory
    from files_source.recording import Record
    from files_source.shortlist import Shortlist

_NAME: Final = "files-source"
_STANDARD_OUTPUT: Final = ("-", "/dev/stdout")
_AGE: Final = re.compile(r"([0-9]{1,6})([mhdw])", re.ASCII)
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

app = typer.Typer(
    name=_NAME,
    help="The inventory of every file behind OpenAI's Files API: in DuckDB, in Parquet, or as lines.",
    epilog="The key comes from OPENAI_API_KEY, never from the command line.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end with its exit status, as `exits.status_of` says."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="backslashreplace")
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
    os.environ.setdefault("RUNTIME__LOG_LEVEL", "CRITICAL")  # an error is one line of ours, not dlt's log
    sys.exit(status_of(lambda: _run(given)))


def _run(arguments: list[str]) -> None:
    """Run a command as typer would, which keeps some errors for itself."""
    command = get_command(app)
    with command.make_context(_NAME, arguments) as context:
        command.invoke(context)


@app.callback(invoke_without_command=True)
def connect(
    context: typer.Context,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The server; otherwise OPENAI_BASE_URL, or OpenAI's own.")
    ] = None,
    organization: Annotated[str | None, typer.Option(metavar="ID", help="Otherwise OPENAI_ORG_ID.")] = None,
    project: Annotated[str | None, typer.Option(metavar="ID", help="Otherwise OPENAI_PROJECT_ID.")] = None,
    ca_bundle: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A PEM file of authorities to trust beside the usual ones.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", max=86_400, help="How long to wait for an answer; otherwise 600.")
    ] = None,
    max_retries: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="How often to send a request again; otherwise 5.")
    ] = None,
) -> None:
    """Say which server, and how patiently."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        return
    given = {
        "base_url": base_url,
        "organization": organization,
        "project": project,
        "ca_bundle": None if ca_bundle is None else str(ca_bundle),
        "timeout": timeout,
        "max_retries": max_retries,
    }
    context.obj = {name: value for name, value in given.items() if value is not None}


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!a} is no time: give ISO 8601, such as 2026-01-31 or 2026-01-31T12:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise typer.BadParameter(f"{text!a} is no age: give minutes, hours, days or weeks, such as 30m, 12h, 90d or 2w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


FileId = Annotated[str, typer.Argument(metavar="ID", help="A file's id, such as file-abc123.", show_default=False)]
Purpose = Annotated[str | None, typer.Option(metavar="PURPOSE", help="Only files of this purpose, such as batch.")]
Place = Annotated[
    str, typer.Option(metavar="PLACE", help="PATH.duckdb, DIR/, parquet:URL, or the name of a dlt destination.")
]
From = Annotated[
    str | None, typer.Option("--from", metavar="PLACE", help="Where they were loaded; otherwise inventory.duckdb.")
]
Live = Annotated[bool, typer.Option("--live", help="List the account now, in place of what was loaded.")]
AccountName = Annotated[
    str | None, typer.Option(metavar="NAME", help="The name of these files' account; otherwise default.")
]
Accounts = Annotated[
    Path | None, typer.Option(metavar="FILE.toml", help="Many accounts: a table [accounts.NAME] for each.")
]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, max=10_000, help="Files a page; otherwise 10000.")]


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
    with _client(context) as client:
        pages = client.pages(after=after, limit=size, order=order, purpose=purpose)
        for text in printing.listing(pages, form=form, most=max_items):
            printing.show(text)


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
        Path | None, typer.Option("-o", "--output", metavar="PATH", help="Write it here, whole or not at all.")
    ] = None,
) -> None:
    """Write a file's bytes to standard output, or to --output."""
    with _client(context) as client:
        chunks = client.content(file_id)
        _write_whole(output or Path("-"), chunks)


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
        int | None, typer.Option(metavar="SECONDS", help="How long it is kept: 3600 to 2592000.")
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
    with _client(context) as client:
        if not (yes or _agreed(f"Delete {file_id!a} for good?")):
            raise FilesSourceError("nothing was deleted: answer y, or give --yes")
        _print_object(client.delete(file_id))


@app.command()
def sync(
    context: typer.Context,
    to: Place = "inventory.duckdb",
    purpose: Purpose = None,
    since: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", parser=_moment, help="Only files created then or later: ISO 8601, in UTC."),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(metavar="TIME", parser=_moment, help="Only files created before then.")
    ] = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="List everything; keep what changed or is gone."),
    ] = False,
    account: AccountName = None,
    accounts: Accounts = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many requests to send at once; otherwise 8.")
    ] = None,
    limit: Limit = None,
    overlap: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", min=0, help="How long a file may still get neighbours; otherwise 60."),
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Load everything again, in place of what is there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Load the files that a database or folder lacks into it."""
    if since is not None and until is not None and since >= until:
        raise ConfigError("--since is not before --until: no file can be meant")
    from files_source import printing
    from files_source.syncing import SyncedInPart
    from files_source.syncing import sync as run

    settings = _whose(context, account, accounts)
    failed: SyncedInPart | None = None
    with printing.progress() as on_page:
        try:
            done = run(
                to,
                purpose=purpose,
                since=since,
                until=until,
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
        _print_object(done) if as_json else printing.show(f"{printing.summary(done)}\n")
    finally:  # that nobody reads the summary is no success
        if failed is not None:
            raise failed


@app.command()
def cleanup(
    context: typer.Context,
    older_than: Annotated[
        timedelta | None,
        typer.Option(metavar="AGE", parser=_age, help="Only files older than that: 90d, 12h, 2w or 30m (minutes)."),
    ] = None,
    purpose: Purpose = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them for good, after asking.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    to: Place = "inventory.duckdb",
    account: AccountName = None,
    accounts: Accounts = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many files to delete at once; otherwise 8.")
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

    run = Cleanup(workers=workers, limit=limit, **_whose(context, account, accounts))
    with sigterm_interrupts(), ExitStack() as opened:
        record = opened.enter_context(run.into(to)) if delete else None
        with printing.progress() as on_page:
            found = opened.enter_context(run.candidates(older_than=older_than, purpose=purpose, on_page=on_page))
        _show(found, record, as_json=as_json)
        if record is not None:
            _delete(run, found, record, ask=not yes, as_json=as_json)
        elif error := found.error(outcome="the others were listed"):
            raise error


def _show(found: Shortlist, record: Record | None, *, as_json: bool) -> None:
    """Print the candidates of a cleanup; with --delete as text, for what cannot be read is not agreed to."""
    from files_source import printing, review

    if record is None:
        for text in review.candidates(found, as_json=as_json):
            printing.show(text)
    elif not as_json:
        try:
            if record.earlier:
                printing.show(f"{review.earlier(record.earlier, record.place.name)}\n")
            for text in review.candidates(found, as_json=False):
                printing.show(text)
        except BrokenPipeError:
            raise FilesSourceError("nothing was deleted: the list could not be shown to its end") from None


def _delete(run: Cleanup, found: Shortlist, record: Record, *, ask: bool, as_json: bool) -> None:
    """Delete the candidates of a cleanup after asking, and say what was done."""
    from files_source import printing, review
    from files_source.cleanup import CleanedInPart, Stopped

    if ask and found.total.files and not _agreed(review.question(found)):
        failure = found.error(outcome="the others were listed")
        raise FilesSourceError(f"nothing was deleted: answer y, or give --yes{f'; and {failure}' if failure else ''}")
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
            _print_object(done)
        elif done.files or done.open:
            printing.show(f"{review.summary(done)}\n")
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


@app.command()
def usage(
    context: typer.Context,
    place: From = None,
    live: Live = False,
    purpose: Purpose = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all answers as one JSON object.")] = False,
) -> None:
    """Print what takes room, how old it is and what could go."""
    _refuse_two(place, live=live)
    from files_source import usage_tables

    inventory = _inventory(context, place, live=live, purpose=purpose)
    now = datetime.now(UTC)
    answers = usage_tables.answers(inventory, now=now)
    if as_json:
        _print_object(usage_tables.as_object(inventory, answers, now=now))
    else:
        usage_tables.show(inventory, answers, now=now)


@app.command()
def report(
    context: typer.Context,
    place: From = None,
    live: Live = False,
    purpose: Purpose = None,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="PATH", help="Write it here, whole or not at all; - for standard output."
        ),
    ] = Path("report.html"),
) -> None:
    """Write what `usage` prints as one HTML page with charts."""
    _refuse_two(place, live=live)
    try:
        from files_source import report as pages
    except ModuleNotFoundError as missing:
        raise ConfigError(f"a report needs {missing.name}: pip install 'openai-files-source[report]'") from None
    inventory = _inventory(context, place, live=live, purpose=purpose)
    history = None if live else pages.recorded(inventory.place, purpose=purpose)
    _write_whole(output, [pages.report(inventory, now=datetime.now(UTC), history=history).encode()])


@app.command()
def demo(
    to: Annotated[
        Path, typer.Option(metavar="PATH.duckdb", help="The database; an earlier demo's is replaced.")
    ] = Path("demo.duckdb"),
    files: Annotated[int, typer.Option(metavar="N", min=1000, help="Files of the made-up account.")] = 25_000,
) -> None:
    """Load a made-up account, change it and load what is new."""
    from files_source.demo import demo as run

    run(to, files=files)


@app.command()
def serve(
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65_535, help="0 for any free one.")] = 8080,
    files: Annotated[int, typer.Option(metavar="N", min=0, help="Files of the made-up account.")] = 25_000,
) -> None:
    """Serve a made-up account on loopback until interrupted."""
    import signal
    import socket

    from files_source.demo import account

    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise FilesSourceError(f"port {port}: {reason}; name another with --port, or 0 for any free one") from None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with account(files).serve(port=port) as server:
            print(f"{files:,} files at {server.url} until Ctrl-C; to use them:", flush=True)
            print(f"  export OPENAI_BASE_URL={server.url}", flush=True)
            server.wait()
    except KeyboardInterrupt:
        return


def _client(context: typer.Context) -> FilesClient:
    from files_source.accounts import Account
    from files_source.client import FilesClient

    settings = dict(context.obj)
    whose = {name: settings.pop(name) for name in ("base_url", "organization", "project") if name in settings}
    return FilesClient(Account.from_environment(**whose), **settings)


def _refuse_two(place: str | None, *, live: bool) -> None:
    if live and place is not None:
        raise ConfigError("--live lists the account, --from reads what was loaded: give one of them")


def _inventory(context: typer.Context, place: str | None, *, live: bool, purpose: str | None) -> Inventory:
    from files_source import inventories, printing

    if not live:
        return inventories.stored(place or "inventory.duckdb", purpose=purpose)
    with _client(context) as client, printing.progress() as on_page:
        return inventories.listed(client, purpose=purpose, on_page=on_page)


def _whose(context: typer.Context, account: str | None, accounts: Path | None) -> dict[str, Any]:
    """Return the settings that say whose files are meant, of one account or many, and how patiently to ask."""
    settings = {**context.obj, "account": account}
    if accounts is not None:
        if account is not None or {"organization", "project"} & set(settings):
            raise ConfigError("--accounts names each account, its organization and project: leave them out beside it")
        from files_source.account_files import read_accounts

        settings["accounts"] = read_accounts(accounts, base_url=settings.pop("base_url", None))
    return settings


def _agreed(question: str) -> bool:
    """Ask on standard error, as standard output is for data, and return whether the answer is yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        print(file=sys.stderr)
    return answer.strip().lower() in ("y", "yes")


def _write_whole(output: Path, chunks: Iterable[bytes]) -> None:
    """Write a file whole, or leave what was there; `-` is standard output."""
    if str(output) in _STANDARD_OUTPUT:
        sys.stdout.buffer.writelines(chunks)
        sys.stdout.buffer.flush()
        return
    if output.is_dir():
        raise ConfigError(f"{output} is a folder: name the file to write")
    place = output.resolve()  # a link stays, and what it points to is replaced
    unfinished = place.with_name(f".files-source-{os.getpid()}")
    try:
        if output.exists() and not output.is_file():  # a device or a pipe, of which a resolved path may be no path
            with output.open("wb") as file:
                file.writelines(chunks)
            return
        with unfinished.open("wb") as file:
            file.writelines(chunks)
        unfinished.replace(place)
    except OSError as error:
        raise OSError(error.errno, error.strerror, output) from None
    finally:
        unfinished.unlink(missing_ok=True)


def _print_object(value: object) -> None:
    import msgspec

    from files_source import printing

    printing.show(f"{msgspec.json.encode(value).decode()}\n")
