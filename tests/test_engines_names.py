"""Names are text, whatever they look like: on each engine a history retires the rows of its own accounts only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import polars as pl
import pytest

from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator
from files_source.history import current
from files_source.syncing import sync
from files_source.tables import read_inventory, read_table
from tests.conftest import NOW
from tests.engines import Engine

Connect = Callable[..., FilesClient]
Served = dict[str, tuple[Emulator, Account]]
Serve = Callable[[Sequence[str]], Served]

NAMES = [
    "id",
    "0) OR (1=1",
    "it's {one}",
    "a:b",
    "100%s",
    "\\' OR 1=1 --",
    "account",
    "x'; DROP TABLE files_history; --",
    "two\nlines\u2028here",
    "a NUL \x00 inside",
    "{staging_table}",
    'json:"quoted"',
    "Ïd",
]
LOOK_ALIKE = ["ID", "0) or (1=1", "it's {one} ", "a:B", "Account", "a:b\x00", "id\u3000"]
"""Names that differ from one of NAMES in little that an engine may not look at."""


@pytest.fixture
def served(clock: Clock) -> Iterator[Serve]:
    """Serve accounts of these names, of three files each."""
    with ExitStack() as opened:

        def serve(names: Sequence[str]) -> Served:
            accounts = {}
            for number, name in enumerate(names):
                emulator = Emulator(clock=clock, seed=number)
                emulator.populate(3, start=NOW - 86_400, end=NOW - 3_600)
                server = opened.enter_context(emulator.serve())
                accounts[name] = (emulator, Account(name=name, base_url=server.url))
            return accounts

        yield serve


def valid(to: str) -> set[tuple[str, str]]:
    """Return account and id of the rows of the history that are valid; there are no doubles."""
    rows = current(read_table(to, "files_history")).select("account", "id").rows()
    assert len(rows) == len(set(rows))
    return set(rows)


def test_a_history_of_one_account_never_retires_the_rows_of_another(engine: Engine, served: Serve):
    """One file of each account is gone, and only that of those that are listed is retired."""
    team = served([*NAMES, *LOOK_ALIKE])
    sync(engine.to, accounts=[account for _, account in team.values()], history=True)
    held = {(name, file_id) for name, (emulator, _) in team.items() for file_id in emulator.ids()}
    gone = {name: emulator.ids()[0] for name, (emulator, _) in team.items()}
    for name, (emulator, _) in team.items():
        emulator.remove(gone[name])

    before = valid(engine.to)
    sync(engine.to, accounts=[team[name][1] for name in NAMES], history=True)

    assert before == held
    assert valid(engine.to) == held - {(name, gone[name]) for name in NAMES}
    assert set(read_inventory(engine.to).select("account", "id").rows()) == valid(engine.to)


def test_an_account_whose_last_file_is_gone_has_no_valid_row(engine: Engine, served: Serve):
    """An empty listing is one as well; the other account's rows stay."""
    team = served(["it's {one}", "other"])
    sync(engine.to, accounts=[account for _, account in team.values()], history=True)
    emulator, account = team["it's {one}"]
    for file_id in emulator.ids():
        emulator.remove(file_id)

    sync(engine.to, accounts=[account], history=True)

    assert valid(engine.to) == {("other", file_id) for file_id in team["other"][0].ids()}


def test_a_history_of_one_purpose_never_retires_the_rows_of_another(
    engine: Engine, emulator: Emulator, connect: Connect
):
    purposes = ["it's {one}", "0) OR (1=1", "a:b", "A:b", "a:b "]
    for purpose in purposes:
        for number in range(2):
            emulator.add(purpose=purpose, created_at=NOW - 3_600 + number)
    sync(engine.to, client=connect(), history=True)
    gone = {purpose: emulator.ids(purpose)[0] for purpose in purposes}
    for file_id in gone.values():
        emulator.remove(file_id)
    held = valid(engine.to)

    sync(engine.to, client=connect(), purpose="a:b", history=True)

    assert valid(engine.to) == held - {("default", gone["a:b"])}
    retired = read_table(engine.to, "files_history").filter(pl.col("_dlt_valid_to").is_not_null())
    assert retired["purpose"].to_list() == ["a:b"]
