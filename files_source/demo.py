"""A made-up account from its first load to its next, as a story on the screen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb
import httpx
from rich.console import Console
from rich.table import Table

from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator
from files_source.errors import ConfigError
from files_source.printing import counted, printable, size
from files_source.syncing import Synced, sync

YEARS: Final = 3

_SAME_NOW: Final = 1_700_000_000
MADE_UP_NOW: Final = datetime.fromtimestamp(_SAME_NOW, UTC)
"""What the clock of `made_up` and `made_up_accounts` shows."""

_SHARES: Final = {"research": 0.6, "support": 0.3, "trial": 0.1}
"""The accounts of `made_up_accounts`, and how much of all files each has."""
_NAME: Final = "made-up"
"""The account's name, by which a demo knows a database that a demo made."""
_ADDED: Final = 120
_DELETED: Final = 40
_EXPIRED: Final = 25
_BAR: Final = 12
"""Characters of the longest bar."""
_USAGE: Final = """
    SELECT purpose, count(*), sum(bytes), min(created_at), max(created_at)
    FROM openai_files.files GROUP BY purpose ORDER BY sum(bytes) DESC
"""


def account(files: int) -> Emulator:
    """Return a made-up account of so many files, spread over YEARS up to two minutes ago."""
    return _populated(Emulator(), files)


def made_up(files: int) -> FilesClient:
    """Return a client of a made-up account that is the same whenever it is asked for; no server is needed."""
    return connected(_populated(Emulator(clock=Clock(_SAME_NOW)), files))


def connected(emulator: Emulator) -> FilesClient:
    """Return a client of an account in memory; no server is needed."""
    return FilesClient(Account(base_url="http://made-up/v1"), transport=httpx.WSGITransport(app=emulator))


@contextmanager
def made_up_accounts(files: int) -> Iterator[list[Account]]:
    """Serve three accounts of so many files together, the same ones each time, while the context lasts."""
    with ExitStack() as served:
        accounts = []
        for seed, (name, share) in enumerate(_SHARES.items()):
            emulator = _populated(Emulator(clock=Clock(_SAME_NOW), seed=seed), round(files * share))
            accounts.append(Account(name=name, base_url=served.enter_context(emulator.serve()).url))
        yield accounts


def tidy_up(emulator: Emulator) -> None:
    """Change an account as one does who needs room, so that a history has something of everything to tell.

    A tenth of its files, the oldest, are deleted, the next tenth will expire in ten days, a hundredth,
    the newest, expire at once, and a fiftieth as many are uploaded.
    """
    now = int(emulator.clock())
    ids = emulator.ids()
    tenth = len(ids) // 10
    for file_id in ids[:tenth]:
        emulator.remove(file_id)
    for file_id in ids[tenth : 2 * tenth]:
        emulator.change(file_id, expires_at=now + 10 * 86_400)
    for file_id in ids[-(tenth // 10) :]:
        emulator.change(file_id, expires_at=now - 1)
    for number in range(tenth // 5):
        emulator.add(created_at=now, purpose="user_data", size=2_000_000, filename=f"report_{number:03}.pdf")


def demo(to: Path, *, files: int) -> None:
    """Load a made-up account over HTTP, change it, load what is new, and show what is there.

    Raises:
        ConfigError: *to* is no path of a DuckDB database, or a database that no demo made.
    """
    _make_room(to)
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    emulator = account(files)
    with emulator.serve() as server, FilesClient(Account(name=_NAME, base_url=server.url)) as client:
        console.print(f"A made-up account: {files:,} files over {YEARS} years, served at {server.url}")
        console.print(_told("first load", sync(str(to), client=client)))
        _change(emulator)
        console.print(f"The account changes: {_ADDED} files are added, {_DELETED} deleted, {_EXPIRED} expire")
        done = sync(str(to), client=client)
        console.print(_told("next load", done))
    console.print("\nWhat takes the room:\n")
    console.print(_usage(to))
    console.print()
    console.print(f"The database is {printable(str(to))}; files that are gone from the account keep their rows.")
    console.print(f"Open it with\n  {done.query}")


def _populated(emulator: Emulator, files: int) -> Emulator:
    now = int(emulator.clock())
    emulator.populate(files, start=now - YEARS * 365 * 86_400, end=now - 120)
    return emulator


def _make_room(to: Path) -> None:
    """Remove the database of an earlier demo, and refuse any other."""
    if to.suffix != ".duckdb":
        raise ConfigError(f"{to} is no place for a demo: give PATH.duckdb")
    if not to.exists():
        return
    try:
        with duckdb.connect(to, read_only=True) as database:
            names = database.execute("SELECT DISTINCT account FROM openai_files.files").fetchall()
    except duckdb.Error:
        names = []
    if names != [(_NAME,)]:
        raise ConfigError(f"{to} is in use, or was not made by a demo: name another with --to")
    to.unlink()


def _change(emulator: Emulator) -> None:
    """Add new files, and delete and expire old ones, as days of use would."""
    now = int(time.time())
    old = emulator.ids()
    for file_id in old[1 : 1 + _DELETED]:
        emulator.remove(file_id)
    for file_id in old[-_EXPIRED - 2 : -2]:
        emulator.change(file_id, expires_at=now - 1)
    for number in range(_ADDED):
        emulator.add(created_at=now, purpose="user_data", filename=f"report_{number:03}.pdf")


def _told(what: str, done: Synced) -> str:
    traffic = f"{counted(done.requests, 'request')}, {size(done.received)} received"
    return f"{what}: {counted(done.rows, 'file')} in {done.seconds:.1f} s ({traffic})"


def _usage(to: Path) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("purpose", no_wrap=True)
    for name in ("files", "size"):
        table.add_column(name, justify="right")
    table.add_column("", style="cyan", no_wrap=True)
    for name in ("oldest", "newest"):
        table.add_column(name, justify="right", style="dim")
    with duckdb.connect(to, read_only=True) as database:
        rows = database.execute(_USAGE).fetchall()
    for purpose, files, total, oldest, newest in rows:
        bar = "█" * max(1, round(_BAR * total / rows[0][2]))
        table.add_row(purpose, f"{files:,}", size(total), bar, f"{oldest:%Y-%m-%d}", f"{newest:%Y-%m-%d}")
    return table
