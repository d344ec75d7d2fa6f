"""The program: its name, and what all commands are told of the server and of whose files are meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from files_source.cli.options import parameters
from files_source.errors import ConfigError

if TYPE_CHECKING:
    from files_source.client import FilesClient

NAME: Final = "files-source"

app = typer.Typer(
    name=NAME,
    help="The inventory of every file behind OpenAI's Files API: in DuckDB, in Parquet, or as lines.",
    epilog="The key comes from OPENAI_API_KEY, never from the command line.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def connect(
    context: typer.Context,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The server (default OPENAI_BASE_URL, then OpenAI's own).")
    ] = None,
    organization: Annotated[str | None, typer.Option(metavar="ID", help="Default OPENAI_ORG_ID.")] = None,
    project: Annotated[str | None, typer.Option(metavar="ID", help="Default OPENAI_PROJECT_ID.")] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A parameter of every request, such as api-version=2024-10-21; never a key.",
        ),
    ] = None,
    ca_bundle: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A PEM file of authorities to trust beside the usual ones.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", max=86_400, help="How long to wait for an answer (default 600).")
    ] = None,
    max_retries: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="How often to send a request again (default 5).")
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
        "query": parameters(query or []) or None,
        "ca_bundle": None if ca_bundle is None else str(ca_bundle),
        "timeout": timeout,
        "max_retries": max_retries,
    }
    context.obj = {name: value for name, value in given.items() if value is not None}


def client_of(context: typer.Context) -> FilesClient:
    """Return a client of the account that the options and the `OPENAI_*` variables describe."""
    from files_source.accounts import Account
    from files_source.client import FilesClient

    settings = dict(context.obj)
    names = ("base_url", "organization", "project", "query")
    whose = {name: settings.pop(name) for name in names if name in settings}
    return FilesClient(Account.from_environment(**whose), **settings)


def whose(context: typer.Context, account: str | None, accounts: Path | None) -> dict[str, Any]:
    """Return the settings that say whose files are meant, of one account or many, and how patiently to ask."""
    settings = {**context.obj, "account": account}
    if accounts is not None:
        if account is not None or {"organization", "project", "query"} & set(settings):
            raise ConfigError(
                "--accounts names each account, its organization, project and query: leave them out beside it"
            )
        from files_source.account_files import read_accounts

        settings["accounts"] = read_accounts(accounts, base_url=settings.pop("base_url", None))
    return settings
