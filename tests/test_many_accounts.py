"""Many accounts in one run: listed at once, with a bound; one that fails leaves the others alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import dlt
import polars as pl
import pytest

from files_source import openai_files, printing
from files_source.accounts import Account
from files_source.emulator import Clock, Emulator, Fault, status
from files_source.errors import AccountsError, ApiError, ConfigError
from files_source.syncing import SyncedInPart, sync
from files_source.tables import read_table
from tests.commands import Ended, run
from tests.conftest import NOW, loaded

PLACE = "inventory.duckdb"
DAY = 86_400


Served = dict[str, tuple[Emulator, Account]]
Serve = Callable[[int], Served]


@pytest.fixture(params=[PLACE, "lake/"], ids=["duckdb", "parquet"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(clock: Clock) -> Iterator[Serve]:
    """Serve so many accounts of 30 files each, with a key of its own for each."""
    with ExitStack() as opened:

        def serve(count: int) -> dict[str, tuple[Emulator, Account]]:
            accounts = {}
            for number in range(count):
                name, key = f"team-{number:02}", f"sk-secret-{number:02}"
                emulator = Emulator(clock=clock, api_key=key, seed=number)
                emulator.populate(30, start=NOW - DAY, end=NOW - 3_600)
                server = opened.enter_context(emulator.serve())
                accounts[name] = (emulator, Account(name=name, api_key=key, base_url=server.url))
            return accounts

        yield serve


def accounts_of(served: Served) -> list[Account]:
    return [account for _, account in served.values()]


def ids_of(served: Served) -> list[object]:
    return sorted(file_id for emulator, _ in served.values() for file_id in emulator.ids())


@pytest.mark.parametrize("mode", [[], ["--history"]], ids=["incremental", "history"])
def test_of_twenty_accounts_two_fail(
    mode: list[str],
    served: Serve,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """18 are loaded, the status is 1, both are named on standard error and in `scans`, and caught up next time."""
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "CRITICAL")
    team = served(20)
    lines = []
    for name, (_, account) in team.items():
        monkeypatch.setenv(name.upper().replace("-", "_"), account.api_key or "")
        lines += [f"[accounts.{name}]", f'api_key_env = "{name.upper().replace("-", "_")}"']
        lines += [f'base_url = "{account.base_url}"']
    Path("accounts.toml").write_text("\n".join(lines))
    wrong, broken = team["team-03"][0], team["team-11"][0]
    wrong.fail(status(401), times=None)
    broken.fail(status(500, headers={"x-should-retry": "false"}), at=2, times=None)
    sync_all = ["sync", "--accounts", "accounts.toml", "--limit", "10", *mode]

    ended = run(capsys, *sync_all)

    table = "files_history" if mode else "files"
    failing = {"team-03", "team-11"}
    assert ended.status == 1
    assert ended.out.startswith("540 files of 18 accounts into inventory.duckdb ")
    assert re.findall(r"'(team-\d\d)': GET ", ended.error) == sorted(failing)
    assert "2 of 20 accounts failed" in ended.error
    assert set(read_table(PLACE, table)["account"]) == set(team) - failing
    told = read_table(PLACE, "scans")
    assert told.height == 20
    assert set(told.filter(~pl.col("complete"))["account"]) == failing
    assert told.filter(pl.col("error").str.contains(" 401: | 500: ")).height == 2
    assert "sk-secret" not in ended.out + ended.err + str(told.to_dicts())

    wrong.recover()
    broken.recover()
    assert run(capsys, *sync_all).status == 0
    assert read_table(PLACE, table)["id"].sort().to_list() == ids_of(team)
    ledger = run(capsys, "scans", "--json")
    assert len([json.loads(line) for line in ledger.lines]) == 40


def test_that_one_failed_is_told_whoever_reads_the_summary(
    served: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """As by `| head`: what was done has not all been done."""

    def nobody_reads(_: str) -> None:
        raise BrokenPipeError

    accounts = served(2)
    accounts["team-01"][0].fail(status(401), times=None)
    Path("accounts.toml").write_text(
        "".join(
            f'[accounts.{account.name}]\napi_key = "{account.api_key}"\nbase_url = "{account.base_url}"\n'
            for account in accounts_of(accounts)
        )
    )
    monkeypatch.setattr(printing, "show", nobody_reads)

    ended = run(capsys, "sync", "--accounts", "accounts.toml")

    assert ended.status == 1
    assert ended.error.startswith("1 of 2 accounts failed, the others are loaded: 'team-01': ")


def test_accounts_are_loaded_side_by_side_and_incrementally(place: str, served: Serve, clock: Clock):
    """Each has its own place in the state; the next run asks each for what is new."""
    team = served(3)
    sync(place, accounts=accounts_of(team))
    team["team-01"][0].add_many(5, created_at=NOW)
    clock.advance(61)

    done = sync(place, accounts=accounts_of(team))

    assert (done.rows, done.requests, done.accounts) == (5, 3, 3)
    assert loaded(place) == ids_of(team)
    assert sync(place, accounts=accounts_of(team)[:1]).rows == 0


def test_no_more_are_listed_at_once_than_asked_for(served: Serve):
    """Three workers: three requests meet, a fourth never comes before one of them is answered."""
    team = served(6)
    meeting = Barrier(3)
    waiting, most = [0], [0]

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        waiting[0] += 1
        most[0] = max(most[0], waiting[0])
        with suppress(BrokenBarrierError):  # then the last assertion fails
            meeting.wait(timeout=10)
        waiting[0] -= 1
        return status(403).spoil(call)

    for emulator, _ in team.values():
        emulator.fail(Fault("meet", spoil))

    with pytest.raises(AccountsError):
        sync(PLACE, accounts=accounts_of(team), workers=3)

    assert most == [3]
    assert not meeting.broken


@pytest.mark.parametrize("history", [False, True], ids=["incremental", "history"])
def test_if_all_fail_nothing_is_loaded(history: bool, place: str, served: Serve):
    """Each is named, each stands in the ledger."""
    team = served(3)
    for emulator, _ in team.values():
        emulator.fail(status(403), times=None)

    with pytest.raises(AccountsError, match=r"3 of 3 accounts failed, nothing was loaded") as failed:
        sync(place, accounts=accounts_of(team), history=history)

    assert not isinstance(failed.value, SyncedInPart)
    assert set(failed.value.failures) == set(team)
    assert read_table(place, "scans")["complete"].to_list() == [False] * 3
    for emulator, _ in team.values():
        emulator.recover()
    assert sync(place, accounts=accounts_of(team), history=history).rows == 90


def test_a_full_refresh_needs_every_account(place: str, served: Serve):
    """One that fails would lose its rows: the table stays as it was."""
    team = served(3)
    sync(place, accounts=accounts_of(team))
    before = loaded(place)
    team["team-00"][0].remove(team["team-00"][0].ids()[0])
    team["team-02"][0].fail(status(403), times=None)

    with pytest.raises(AccountsError, match="nothing was loaded"):
        sync(place, accounts=accounts_of(team), full_refresh=True)

    assert loaded(place) == before
    last = read_table(place, "scans").sort("started_at").tail(3)
    assert last["rows"].to_list() == [0, 0, 0]
    assert last["watermark"].to_list() == [None] * 3
    team["team-02"][0].recover()
    sync(place, accounts=accounts_of(team), full_refresh=True)
    assert loaded(place) == ids_of(team)


@pytest.mark.parametrize("mode", ["incremental", "full", "history"])
def test_the_ledger_says_what_a_run_did(mode: str, place: str, served: Serve):
    """Pages, rows, requests and the watermark of each account, in success and failure."""
    team = served(1)
    emulator, account = team["team-00"]
    emulator.fail(status(429, headers={"retry-after-ms": "1"}), at=2)
    purpose = None if mode == "full" else "batch"
    options = {"full_refresh": mode == "full", "history": mode == "history", "purpose": purpose, "workers": 1}

    sync(place, accounts=[account], limit=5, **options)
    emulator.fail(status(403), times=None)
    with pytest.raises(ApiError):
        sync(place, accounts=[account], limit=5, **options)

    good, bad = read_table(place, "scans").sort("started_at").to_dicts()
    asked = len(emulator.ids(purpose))
    assert good | {"pages": 0, "requests": 0, "received": 0} == {
        "account": "team-00",
        "mode": mode,
        "purpose": purpose,
        "started_at": good["started_at"],
        "finished_at": good["finished_at"],
        "pages": 0,
        "rows": asked,
        "requests": 0,
        "retries": 1,
        "received": 0,
        "watermark": good["watermark"],
        "complete": True,
        "error": None,
        "exact": mode == "full",
        "note": None,
        "missed": None,
    }
    assert good["pages"] == -(-asked // 5) == good["requests"] - 1
    assert good["watermark"].timestamp() == NOW - 60
    assert good["started_at"] < good["finished_at"] < bad["started_at"] < bad["finished_at"]
    assert (bad["rows"], bad["complete"], bad["watermark"], bad["requests"]) == (0, False, None, 1)
    assert "answered 403" in bad["error"]


def test_accounts_can_be_configured_in_dlt(served: Serve, monkeypatch: pytest.MonkeyPatch):
    """As tables of `sources.openai_files.accounts`; the source of a pipeline of one's own loads them all."""
    team = served(2)
    tables = {name: {"api_key": account.api_key, "base_url": account.base_url} for name, (_, account) in team.items()}
    monkeypatch.setenv("SOURCES__OPENAI_FILES__ACCOUNTS", json.dumps(tables))
    mine = dlt.pipeline("mine", destination=dlt.destinations.duckdb("mine.duckdb"), dataset_name="openai_files")

    mine.run(openai_files())

    assert loaded("mine.duckdb") == ids_of(team)
    assert read_table("mine.duckdb", "scans").height == 2


def test_the_order_in_which_dlt_asks_its_resources_does_not_matter(served: Serve, monkeypatch: pytest.MonkeyPatch):
    """The ledger waits for the files, one after the other or by turns, and alone it ends at once."""
    team = served(2)
    for mode in ("fifo", "round_robin"):
        monkeypatch.setenv("EXTRACT__NEXT_ITEM_MODE", mode)
        sync(f"{mode}.duckdb", accounts=accounts_of(team), history=True)
        assert read_table(f"{mode}.duckdb", "scans").height == 2
    alone = dlt.pipeline("alone", destination=dlt.destinations.duckdb("alone.duckdb"), dataset_name="openai_files")

    alone.run(openai_files(accounts=accounts_of(team)).with_resources("scans"))

    assert not any(emulator.requests for emulator, _ in served(1).values())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--accounts", "accounts.toml", "--account", "me"], "--accounts names each account"),
        (["--accounts", "missing.toml"], "missing.toml"),
        (["--history", "--full-refresh"], "no full refresh"),
        (["--workers", "0"], "--workers"),
    ],
    ids=["a name beside the file", "no such file", "refresh of a history", "no workers"],
)
def test_what_cannot_be_meant_is_wrong_usage(arguments: list[str], reason: str, command: Callable[..., Ended]):
    """Told before anything is asked."""
    ended = command("sync", *arguments)

    assert ended.status == 2
    assert reason in ended.error


def test_two_accounts_of_one_name_are_refused():
    """They would overwrite each other."""
    with pytest.raises(ConfigError, match="two accounts bear the name 'me'"):
        openai_files(accounts=[Account(name="me", base_url=f"http://127.0.0.1:{port}/v1") for port in (1, 2)])


class TestScansCommand:
    """`files-source scans` reads the ledger."""

    def test_it_shows_the_latest_first(self, command: Callable[..., Ended], emulator: Emulator):
        """A line for each account and run, with what went wrong."""
        emulator.populate(30, start=NOW - DAY, end=NOW - 3_600)
        command("sync")
        emulator.fail(status(403), times=None)
        command("sync", "--history", "--purpose", "batch")

        ended = command("scans")

        header, failed, good = ended.lines
        assert header.split() == ["started_at", "account", "mode", "rows", "pages", "requests", "took", "end"]
        assert "history (batch)" in failed
        assert "answered 403" in failed
        assert re.search(r" default  incremental +30 +1 +1 +\d+\.\d s  complete to 2023-11-14 22:12:20Z$", good)

    def test_where_nothing_was_loaded_it_says_so(self, command: Callable[..., Ended]):
        """One line, status 1, and no database is made."""
        ended = command("scans", "--to", "nothing.duckdb")

        assert ended.status != 0
        assert "nothing.duckdb" in ended.error
        assert not Path("nothing.duckdb").exists()
