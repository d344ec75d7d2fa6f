"""Times and durations, wherever one is given: the same are taken everywhere, and the same refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dlt
import numpy as np
import pytest

from files_source import FilesStream, as_of, openai_files, read_files, read_inventory, read_table, scan_files, sync
from files_source.client import FilesClient
from files_source.emulator import Emulator
from files_source.errors import ConfigError
from tests.commands import Ended
from tests.conftest import NOW, loaded

Connect = Callable[..., FilesClient]
Command = Callable[..., Ended]
DAY = datetime(2023, 9, 1, tzinfo=UTC)
"""Before the emulator's clock."""
FORMS = [
    DAY,
    DAY.replace(tzinfo=None),
    DAY.date(),
    "2023-09-01",
    "2023-09-01 00:00",
    "2023-09-01T02:00+02:00",
    "20230901T000000Z",
    np.datetime64("2023-09-01", "ns"),
]
BARE_M = "is ambiguous: give 3min for minutes or 3mo for months"


def add_around(emulator: Emulator) -> list[str]:
    """Add files around the begin and the end of a day, and return the ids of those of that day."""
    begin = int(DAY.timestamp())
    for second in (begin - 1, begin, begin + 86_399, begin + 86_400):
        emulator.add(file_id=f"file-{second}", created_at=second)
    return [f"file-{begin}", f"file-{begin + 86_399}"]


@pytest.mark.parametrize("since", FORMS, ids=repr)
def test_a_first_run_takes_every_form_of_a_time(since: str, emulator: Emulator, connect: Connect):
    """Text raised inside dlt where nothing had been loaded yet."""
    wanted = add_around(emulator)

    sync("inventory.duckdb", since=since, until="2023-09-02", client=connect())

    assert loaded("inventory.duckdb") == wanted


def test_a_later_run_takes_what_a_first_one_does(emulator: Emulator, connect: Connect):
    """Each run with another form, all with the same answer."""
    wanted = add_around(emulator)

    for since in FORMS:
        sync("inventory.duckdb", since=since, until=DAY + timedelta(days=1), client=connect())  # type: ignore[arg-type]

    assert loaded("inventory.duckdb") == wanted


@pytest.mark.parametrize("at", [DAY.replace(tzinfo=None), DAY.date(), "2023-09-01", "2023-09-01 00:00Z"], ids=repr)
def test_the_source_takes_every_form_of_a_time(at: str, emulator: Emulator, connect: Connect):
    """As dlt's initial value, alone and with an end; in a database that is new, and then again."""
    first, last = add_around(emulator)
    pipeline = dlt.pipeline("mine", destination=dlt.destinations.duckdb("a.duckdb"), dataset_name="openai_files")

    for _ in range(2):
        end = {"initial_value": at, "end_value": "2023-09-02"}
        pipeline.run(openai_files(dlt.sources.incremental(**end), client=connect()))
    assert loaded("a.duckdb") == [first, last]

    pipeline.run(openai_files(dlt.sources.incremental(initial_value=at), client=connect()))
    assert loaded("a.duckdb") == [first, last, f"file-{int(DAY.timestamp()) + 86_400}"]


@pytest.mark.parametrize("at", ["2023-09-01", "2023-09-01 00:00", "2023-W35-5", "2023-09-01T02:00+02:00"])
def test_a_configured_time_is_read_like_any_other(
    at: str, emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    """And not as dlt would read it."""
    wanted = add_around(emulator)
    monkeypatch.setenv("SOURCES__OPENAI_FILES__CREATED_AT__INITIAL_VALUE", at)
    monkeypatch.setenv("SOURCES__OPENAI_FILES__CREATED_AT__END_VALUE", "2023-09-02")

    sync("inventory.duckdb", client=connect())

    assert loaded("inventory.duckdb") == wanted


def test_a_configured_time_that_is_none_is_refused(connect: Connect, monkeypatch: pytest.MonkeyPatch):
    """The message names the variable."""
    for text, said in {
        "3m": BARE_M,
        "2026-01-31+02:00": "is no time: give ISO 8601",
        "1700000000": "is no time",
    }.items():
        monkeypatch.setenv("SOURCES__OPENAI_FILES__CREATED_AT__INITIAL_VALUE", text)

        with pytest.raises(ConfigError, match=rf"^SOURCES__OPENAI_FILES__CREATED_AT__INITIAL_VALUE '.*' {said}"):
            openai_files(client=connect())


def test_how_long_ago_is_a_time(emulator: Emulator, connect: Connect):
    """By this machine's clock."""
    ids = sorted(emulator.populate(10, start=NOW - 1_000, end=NOW - 900))

    sync("new.duckdb", since="1h", client=connect())
    sync("all.duckdb", since="99y", until="now", client=connect())

    assert loaded("new.duckdb") == []
    assert loaded("all.duckdb") == ids
    for place in (None, "all.duckdb"):
        given = {"client": connect()} if place is None else {}
        assert sorted(read_files(place, since="99y", **given)["id"]) == ids
        assert scan_files(place, until=timedelta(days=99 * 366), **given).collect().is_empty()


def test_the_past_is_read_by_every_form_of_a_time(emulator: Emulator, connect: Connect):
    """A date is its beginning."""
    emulator.populate(3, start=NOW - 1_000, end=NOW - 900)
    before = datetime.now(UTC)
    sync("inventory.duckdb", history=True, client=connect())
    after = datetime.now(UTC) + timedelta(minutes=1)
    history = read_table("inventory.duckdb", "files_history")

    for at in (after, after.replace(tzinfo=None), after.isoformat(), str(after.replace(tzinfo=None))):
        assert read_inventory("inventory.duckdb", at=at).height == as_of(history, at).height == 3
    for at in (before, before.date(), f"{before:%Y-%m-%d}", "1h", "yesterday", timedelta(hours=1)):
        assert read_inventory("inventory.duckdb", at=at).height == as_of(history, at).height == 0


@pytest.mark.parametrize(
    "ask",
    [
        lambda at, client: sync("inventory.duckdb", since=at, client=client),
        lambda at, client: sync("inventory.duckdb", until=at, client=client),
        lambda at, client: openai_files(dlt.sources.incremental(initial_value=at), client=client),
        lambda at, client: read_files(since=at, client=client),
        lambda at, client: scan_files(until=at, client=client),
        lambda at, client: FilesStream(since=at, client=client),
        lambda at, _: read_inventory("inventory.duckdb", at=at),
        lambda at, client: client.create(b"{}", purpose="batch", expires_after=at),
    ],
    ids=["sync since", "sync until", "source", "read", "scan", "stream", "inventory", "expires_after"],
)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("3m", BARE_M),
        ("0d", "is nothing"),
        ("-7d", "is negative"),
        ("1.5d", "is a fraction"),
        (b"7d", r"\(bytes\) is no"),
    ],
    ids=repr,
)
def test_what_is_neither_time_nor_duration_is_refused_alike(
    given: object, message: str, ask: Callable[[object, FilesClient], object], emulator: Emulator, connect: Connect
):
    """By name, before anything is asked or made."""
    with pytest.raises(ConfigError, match=rf"^(since|until|initial_value|at|expires_after) .*{message}"):
        ask(given, connect())

    assert emulator.requests == []
    assert list(Path.cwd().iterdir()) == []


def test_a_window_that_is_empty_is_refused_everywhere(emulator: Emulator, connect: Connect):
    """With the same sentence, before anything is asked or made."""
    asks: list[Callable[..., object]] = [
        lambda **window: sync("inventory.duckdb", client=connect(), **window),
        lambda **window: read_files(client=connect(), **window),
        lambda **window: scan_files("inventory.duckdb", **window),
        lambda **window: FilesStream(client=connect(), **window),
    ]
    for ask in asks:
        for since, until in (("2023-09-01", DAY), (DAY, DAY.date()), ("1d", "24h"), ("now", "7d")):
            with pytest.raises(ConfigError, match=r"^since is not before until: no file can be meant"):
                ask(since=since, until=until)

    assert emulator.requests == []
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h", 3_600), ("90min", 5_400), ("30d", 2_592_000), ("P7D", 604_800), ("7200", 7_200)]
)
def test_an_upload_expires_after_a_duration(text: str, seconds: int, command: Command):
    """A number alone is seconds, as at the API."""
    Path("a.txt").write_text("a")

    sent = command("upload", "a.txt", "--purpose", "user_data", "--expires-after", text)

    assert json.loads(sent.out)["expires_at"] == NOW + seconds


@pytest.mark.parametrize("given", [3_600, "1h", "3600", timedelta(hours=1)], ids=repr)
def test_the_client_takes_a_duration_too(given: int | str | timedelta, connect: Connect):
    """Seconds, text or a timedelta."""
    assert connect().create(b"{}", purpose="batch", expires_after=given)["expires_at"] == NOW + 3_600


@pytest.mark.parametrize(
    ("text", "said"),
    [("3m", BARE_M), ("0", "is not a whole number of seconds above 0"), ("long", "'long' is no duration")],
)
def test_a_life_that_is_none_is_wrong_usage(text: str, said: str, emulator: Emulator, command: Command):
    """Nothing is uploaded."""
    Path("a.txt").write_text("a")

    refused = command("upload", "a.txt", "--purpose", "user_data", "--expires-after", text)

    assert refused.status == 2
    assert refused.error.startswith("Invalid value for '--expires-after': ")
    assert said in refused.error
    assert emulator.requests == []
