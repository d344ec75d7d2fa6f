"""`--accounts`."""

from __future__ import annotations

import io
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from files_source import CleanedInPart, Cleanup, read_table
from files_source.accounts import Account
from files_source.emulator import Clock, Emulator, status
from files_source.errors import AccountsError, TransportError
from tests.cleanups import (
    DELETE,
    FOR_GOOD,
    OLD,
    Command,
    add_files,
)


def test_each_is_cleaned_up_with_its_own_key(
    place: str, clock: Clock, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """One that cannot be listed leaves the others alone, and is named; the status is 1."""
    team = {name: Emulator(clock=clock, api_key=f"sk-{name}", seed=seed) for seed, name in enumerate("abc")}
    old = {name: add_files(emulator, old=6) for name, emulator in team.items()}
    with ExitStack() as opened:
        lines = []
        for name, emulator in team.items():
            server = opened.enter_context(emulator.serve())
            lines += [f"[accounts.{name}]", f'api_key = "sk-{name}"', f'base_url = "{server.url}"']
        Path("accounts.toml").write_text("\n".join(lines))
        team["b"].fail(status(401), times=None)

        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

        shown = command(*OLD, "--accounts", "accounts.toml")
        asked = command(*OLD, "--delete", "--accounts", "accounts.toml", "--to", place)
        done = command(*FOR_GOOD, "--accounts", "accounts.toml", "--to", place)

    assert shown.status == done.status == 1
    assert "1 of 3 accounts failed, the others were listed: 'b': " in shown.err
    assert asked.err.startswith("'b' could not be listed. Delete 12 files (")
    assert "nothing was deleted: answer y, or give --yes; and 1 of 3 accounts failed, the others were " in asked.err
    assert "1 of 3 accounts failed, the others were cleaned up: 'b': " in done.err
    assert [line.split()[0] for line in shown.lines[:-2]] == ["account", *["a"] * 6, *["c"] * 6]
    assert [len(team[name].ids()) for name in "abc"] == [10, 16, 10]
    rows = read_table(place, "deletions").group_by("account").agg(pl.col("id").sort())
    assert dict(rows.iter_rows()) == {name: sorted(old[name]) for name in "ac"}


def test_one_that_is_given_up_leaves_the_others_alone(clock: Clock):
    """Its files are left; those of the other are deleted."""
    first, second = Emulator(clock=clock), Emulator(clock=clock, seed=1)
    for emulator in (first, second):
        add_files(emulator)
    first.fail(status(401), times=None, **DELETE)
    with first.serve() as one, second.serve() as other:
        accounts = [Account(name="one", base_url=one.url), Account(name="other", base_url=other.url)]
        cleanup = Cleanup(accounts=accounts, workers=2)

        with (
            cleanup.into("inventory.duckdb") as record,
            cleanup.candidates(older_than=timedelta(days=90)) as found,
            pytest.raises(CleanedInPart) as caught,
        ):
            cleanup.delete(found, record)

    assert str(caught.value).startswith("30 of 60 files were not deleted: 'one': DELETE ")
    assert (caught.value.done.deleted, caught.value.done.failed) == (30, 30)
    assert [len(emulator.ids()) for emulator in (first, second)] == [40, 10]


def test_all_of_them_may_fail():
    """Then there is nothing to show."""
    accounts = [Account(name=name, base_url="http://127.0.0.1:9/v1") for name in ("one", "other")]

    with pytest.raises(TransportError):
        Cleanup(accounts=accounts[:1], max_retries=0).candidates()
    with pytest.raises(AccountsError, match=r"^2 of 2 accounts failed, nothing was listed: 'one': "):
        Cleanup(accounts=accounts, max_retries=0).candidates()
