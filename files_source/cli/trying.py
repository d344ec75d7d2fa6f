"""The commands that need no account: a demonstration, and a server to try things on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from files_source.cli.app import app
from files_source.errors import FilesSourceError


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
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what runs in its background ignore it
    try:
        with account(files).serve(port=port) as server:
            print(f"{files:,} files at {server.url} until Ctrl-C; to use them:", flush=True)
            print(f"  export OPENAI_BASE_URL={server.url}", flush=True)
            server.wait()
    except KeyboardInterrupt:
        return
