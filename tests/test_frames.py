from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta, timezone
from threading import Barrier, BrokenBarrierError, Event
from typing import Literal
from urllib.parse import parse_qsl, urlencode

import httpx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from files_source import FilesStream, read_files, scan_files
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.emulator import Clock, Emulator, Fault, Oddities, hang, status
from files_source.errors import AccountsError, ApiError, ConfigError, CursorError
from files_source.stream import Listing
from tests.conftest import NOW
from tests.test_tables import TYPES, listed

DAY = 86_400
Engine = Literal["in-memory", "streaming"]
BOTH: tuple[Engine, Engine] = ("in-memory", "streaming")
ENGINES = pytest.mark.parametrize("engine", BOTH)

created_at, purpose, account = pl.col("created_at"), pl.col("purpose"), pl.col("account")


def at(seconds: int) -> datetime:
    """Return so many seconds after the beginning of a test."""
    return datetime.fromtimestamp(NOW + seconds, UTC)


MONTH = at(-30 * DAY)


@pytest.fixture
def year(emulator: Emulator, url: str) -> Emulator:
    """Serve 1,000 files of a year, no two of a second, where the OPENAI_ variables look for them."""
    goals = ("batch", "batch_output", "vision", "assistants", "batch", "batch_output", "user_data", "batch")
    for number in reversed(range(1_000)):
        goal = "fine-tune" if number % 50 == 3 else goals[number % 8] if number % 16 < 8 else "batch"
        emulator.add(
            created_at=NOW - 61 - number * 31_000, purpose=goal, size=number * 997 % 40_000, filename=f"{number}.jsonl"
        )
    return emulator


def client_of(app: Callable[..., object]) -> FilesClient:
    """Connect to the files of an application without a socket."""
    transport = httpx.WSGITransport(app=app)  # type: ignore[arg-type]
    return FilesClient(Account(base_url="http://localhost/v1"), transport=transport)


def queries(emulator: Emulator) -> list[dict[str, str]]:
    """Return what was asked since the last time, without the cursors."""
    asked = [{name: text for name, text in request.query.items() if name != "after"} for request in emulator.requests]
    emulator.requests.clear()
    return asked


def pages(count: int, **asked: str) -> list[dict[str, str]]:
    """Return what so many requests ask for, 100 files a page and newest first where nothing else is said."""
    return [{"limit": "100", "order": "desc"} | asked] * count


class TestReading:
    """A key, and one line."""

    def test_every_file_stands_in_the_frame(self, year: Emulator):
        """With the columns and types of FILES, newest first, by nothing but the environment."""
        year.add(created_at=NOW - 60, expires_at=NOW + 9, filename="ü\n", shelf=1)

        frame = read_files()

        assert frame.schema == TYPES
        assert frame["id"].to_list() == year.ids()[::-1]
        assert_frame_equal(frame.sort("id"), listed(year))

    @pytest.mark.usefixtures("url")
    def test_an_account_without_files_is_an_empty_frame(self):
        """No rows, all columns, eager and lazy."""
        for frame in (read_files(), *(scan_files().collect(engine=engine) for engine in BOTH)):
            assert frame.height == 0
            assert frame.schema == TYPES

    @given(count=st.integers(0, 30), limit=st.integers(1, 12), order=st.sampled_from(["asc", "desc"]))
    def test_pages_of_any_size_hold_every_file_once(self, count: int, limit: int, order: Literal["asc", "desc"]):
        """However the listing is cut, the frame is the same."""
        emulator = Emulator(clock=Clock(NOW))
        ids = [str(emulator.add(created_at=NOW - number)["id"]) for number in range(count)]

        with client_of(emulator) as client:
            frame = read_files(client=client, limit=limit, order=order)

        assert frame["id"].to_list() == (ids if order == "desc" else ids[::-1])

    @pytest.mark.parametrize(
        ("settings", "like"),
        [
            pytest.param({"purpose": "batch"}, lambda all_: all_.filter(purpose == "batch"), id="purpose"),
            pytest.param({"since": MONTH}, lambda all_: all_.filter(created_at >= MONTH), id="since"),
            pytest.param({"until": MONTH}, lambda all_: all_.filter(created_at < MONTH), id="until"),
            pytest.param(
                {"since": MONTH, "until": at(-DAY), "purpose": "batch"},
                lambda all_: all_.filter(created_at.is_between(MONTH, at(-DAY), "left"), purpose == "batch"),
                id="all of these",
            ),
            pytest.param({"max_items": 17}, lambda all_: all_.head(17), id="max_items"),
            pytest.param(
                {"max_items": 17, "order": "asc"}, lambda all_: all_.reverse().head(17), id="the first of all"
            ),
            pytest.param(
                {"max_items": 17, "until": MONTH},
                lambda all_: all_.filter(created_at < MONTH).head(17),
                id="max_items of a time",
            ),
            pytest.param(
                {"order": "asc", "since": MONTH},
                lambda all_: all_.filter(created_at >= MONTH).reverse(),
                id="ascending",
            ),
            pytest.param({"limit": 7}, lambda all_: all_, id="limit"),
            pytest.param({"account": "me"}, lambda all_: all_.with_columns(account=pl.lit("me")), id="account"),
        ],
    )
    @pytest.mark.usefixtures("year")
    def test_what_is_asked_for_by_name_is_all_there_is(
        self, settings: dict[str, object], like: Callable[[pl.DataFrame], pl.DataFrame]
    ):
        """Every setting gives what a filter of the whole frame gives; lazily, too."""
        expected = like(read_files())

        assert expected.height > 10
        assert_frame_equal(read_files(**settings), expected)
        for engine in BOTH:
            assert_frame_equal(scan_files(**settings).collect(engine=engine), expected)

    @pytest.mark.usefixtures("year")
    def test_a_time_without_a_zone_is_in_utc(self):
        """As everywhere in this package; one with a zone is the same instant in any."""
        expected = read_files(since=MONTH)

        assert_frame_equal(read_files(since=MONTH.replace(tzinfo=None)), expected)
        assert_frame_equal(read_files(since=MONTH.isoformat()), expected)
        assert_frame_equal(read_files(since=f"{MONTH:%Y-%m-%d %H:%M:%S}"), expected)
        assert_frame_equal(read_files(since=MONTH.astimezone(timezone(timedelta(hours=9)))), expected)

    def test_a_failure_is_one_of_ours(self, year: Emulator):
        """Eager and lazy, on the first page and on a later one."""
        for engine in BOTH:
            for place in (1, 3):
                year.fail(status(401), at=place)
                with pytest.raises(ApiError, match="answered 401"):
                    scan_files(limit=100).collect(engine=engine)
        for place in (1, 3):
            year.fail(status(401), at=place)
            with pytest.raises(ApiError, match="answered 401"):
                read_files(limit=100, workers=1)

    def test_a_listing_that_loops_is_an_error(self):
        """Rather than a frame that never ends, or ends too early."""
        emulator = Emulator(clock=Clock(NOW), oddities=Oddities(after_ignored=True))
        emulator.add_many(30, created_at=NOW)

        with client_of(emulator) as client, pytest.raises(CursorError):
            scan_files(client=client, limit=10).filter(purpose == "batch").collect()

    def test_a_whole_listing_goes_from_both_ends_at_once(self, year: Emulator):
        """With one worker, from the newest to the oldest."""
        frames = [read_files(limit=100), read_files(limit=100, workers=1)]

        orders = [asked["order"] for asked in queries(year)]
        assert orders[-10:] == ["desc"] * 10
        assert set(orders[:-10]) == {"asc", "desc"}
        for frame in frames:
            assert frame["id"].to_list() == year.ids()[::-1]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"purpose": ""}, "the purpose is empty"),
            ({"order": "up"}, "order is 'up': give 'asc' or 'desc'"),
            ({"limit": 0}, "limit is 0: give 1 to 10000"),
            ({"limit": 10_001}, "limit is 10001: give 1 to 10000"),
            ({"limit": "10"}, "limit is '10': give 1 to 10000"),
            ({"max_items": 0}, "max_items is 0: give 1 or more"),
            ({"purpose": ["batch", "vision"]}, "name one, or filter a frame of all by several"),
            ({"since": "lately"}, "since 'lately' is no time: give ISO 8601, such as 2026-01-31"),
            ({"until": "3m"}, "until '3m' is ambiguous: give 3min for minutes or 3mo for months"),
            ({"since": 1_700_000_000}, r"since \(int\) is no time"),
            ({"workers": 0}, "workers is 0: give 1 or more"),
            ({"since": MONTH, "until": MONTH}, "since is not before until"),
            ({"accounts": []}, "there is no account to list"),
            (
                {"accounts": [Account(api_key="a"), Account(api_key="b")]},
                "two accounts bear the name 'default'",
            ),
            ({"accounts": [Account(api_key="a")], "api_key": "b"}, "accounts says whose files: leave out api_key"),
            ({"base_url": "file:///etc"}, "is no http"),
            ({"place": "lake/", "workers": 3, "account": "a"}, "leave out workers, account"),
            ({"place": "lake/", "purpose": ""}, "the purpose is empty"),
            ({"place": "lake/", "since": MONTH, "until": MONTH}, "since is not before until"),
            ({"place": "lake/", "since": "3m"}, "since '3m' is ambiguous"),
            ({}, "no API key for account 'default'"),
        ],
    )
    def test_what_cannot_be_meant_is_told_at_once(self, settings: dict[str, object], message: str):
        """When the frame is made, not when it is collected."""
        for make in (read_files, scan_files):
            with pytest.raises(ConfigError, match=message):
                make(**settings)

    @pytest.mark.usefixtures("year")
    def test_a_day_is_its_beginning_in_utc(self):
        """Where a time is asked for, a date will do."""
        day = (MONTH + timedelta(days=1)).date()
        midnight = datetime.combine(day, datetime.min.time(), UTC)

        assert_frame_equal(read_files(since=day), read_files(since=midnight))
        assert_frame_equal(read_files(until=day), read_files(until=midnight))
        assert 0 < read_files(since=day).height < 1_000

    def test_a_client_is_not_given_beside_what_it_would_ignore(self):
        """It has its account and its patience already."""
        with client_of(Emulator()) as client, pytest.raises(ConfigError, match="leave out account, timeout beside it"):
            read_files(client=client, account="me", timeout=3)

    @pytest.mark.usefixtures("year")
    def test_a_client_stays_open(self, connect: Callable[..., FilesClient]):
        """It is the caller's."""
        client = connect()

        assert read_files(client=client).height == read_files(client=client).height == 1_000

    def test_the_keywords_are_those_of_the_stream(self):
        """Whoever knows one knows all three, and a type checker knows each."""
        given = {field.name: field.type for field in dataclasses.fields(FilesStream) if field.init}

        assert given == {name: told.__forward_arg__ for name, told in Listing.__annotations__.items()}

    @pytest.mark.usefixtures("year")
    def test_neither_dlt_nor_duckdb_is_waited_for(self):
        """A live listing needs neither."""
        program = """
            import sys
            from files_source import read_files, scan_files
            assert read_files().height == scan_files().collect().height == 1_000
            sys.exit(bool({"dlt", "duckdb"} & set(sys.modules)))
        """

        subprocess.run([sys.executable, "-c", "if True:" + program], check=True)


class TestAsking:
    """A lazy frame asks for what the query needs, and the answer is that of the whole frame."""

    def test_building_a_query_asks_nothing(self, year: Emulator):
        """Only collecting does; explaining does not."""
        query = scan_files().filter(purpose == "batch").sort("bytes").head(3)
        query.collect_schema()
        query.explain()

        assert year.requests == []

    def test_collecting_twice_lists_twice(self, year: Emulator):
        """What was uploaded between is there the second time."""
        query = scan_files().select(pl.len())
        assert query.collect().item() == 1_000
        year.add(created_at=NOW)

        assert query.collect().item() == 1_001
        assert len(year.requests) == 2

    @ENGINES
    @pytest.mark.parametrize(
        ("query", "asked"),
        [
            pytest.param(lambda all_: all_.head(10), pages(1, limit="10"), id="head"),
            pytest.param(lambda all_: all_.head(0), [], id="head of nothing"),
            pytest.param(lambda all_: all_.head(150), pages(2, limit="75"), id="head of two pages"),
            pytest.param(lambda all_: all_.head(10).filter(purpose == "batch"), pages(1, limit="10"), id="head first"),
            pytest.param(lambda all_: all_.filter(purpose == "vision"), pages(1, purpose="vision"), id="purpose"),
            pytest.param(
                lambda all_: all_.filter(purpose.is_in(["vision", "fine-tune"])).sort("id"),
                pages(1, purpose="fine-tune") + pages(1, purpose="vision"),
                id="purposes",
            ),
            pytest.param(
                lambda all_: all_.filter((purpose == "vision") & (pl.col("bytes") % 7 < 6)).select("id"),
                pages(1, purpose="vision"),
                id="purpose, and what cannot be asked for",
            ),
            pytest.param(
                lambda all_: all_.filter(purpose == "vision").filter(
                    pl.col("filename").map_elements(lambda name: len(set(name)) % 2 == 0, return_dtype=pl.Boolean)
                ),
                pages(1, purpose="vision"),
                id="purpose, and a Python function",
            ),
            pytest.param(lambda all_: all_.filter(purpose == "no such"), pages(1, purpose="no such"), id="unknown"),
            pytest.param(lambda all_: all_.filter(purpose == ""), pages(10), id="a purpose that cannot be asked for"),
            pytest.param(
                lambda all_: all_.filter(purpose.is_in(["vision", *map(str, range(4))])),
                pages(10),
                id="too many purposes to ask for each",
            ),
            pytest.param(lambda all_: all_.filter(purpose.is_in([])), [], id="no purpose"),
            pytest.param(lambda all_: all_.filter(account == "default"), pages(10), id="the account"),
            pytest.param(lambda all_: all_.filter(account == "other"), [], id="another account"),
            pytest.param(lambda all_: all_.filter(created_at < MONTH, created_at > MONTH), [], id="no time"),
            pytest.param(lambda all_: all_.select(pl.col("bytes").sum()), pages(10), id="a sum"),
        ],
    )
    def test_only_what_is_needed_is_asked_for(
        self,
        query: Callable[[pl.LazyFrame | pl.DataFrame], pl.LazyFrame],
        asked: list[dict[str, str]],
        engine: Engine,
        year: Emulator,
    ):
        """Not a page more, and the answer is that of the whole frame."""
        expected = query(read_files())
        queries(year)

        frame = query(scan_files(limit=100)).collect(engine=engine)

        assert sorted(queries(year), key=json.dumps) == asked
        assert_frame_equal(frame, expected)

    @ENGINES
    @pytest.mark.usefixtures("url")
    def test_a_month_of_a_big_account_costs_its_pages_and_one(self, engine: Engine, emulator: Emulator):
        """The month ends on its third page; where it ends with a page, one more shows that."""
        for number in range(400):
            emulator.add(created_at=NOW - number)
        for newest, asked in ((25, 3), (30, 4)):
            month = scan_files(limit=10).filter(created_at >= at(1 - newest))

            assert month.collect(engine=engine)["id"].to_list() == emulator.ids()[::-1][:newest]
            assert queries(emulator) == pages(asked, limit="10")

    @ENGINES
    @pytest.mark.usefixtures("url")
    def test_what_is_old_is_asked_for_from_the_beginning(self, engine: Engine, emulator: Emulator):
        """In ascending order, up to the bound; the frame is in the order that was asked for all the same."""
        for number in range(400):
            emulator.add(created_at=NOW - number)
        for order, expected in (("desc", emulator.ids()[24::-1]), ("asc", emulator.ids()[:25])):
            old = scan_files(limit=10, order=order).filter(created_at < at(-374))

            assert old.collect(engine=engine)["id"].to_list() == expected
            assert queries(emulator) == pages(3, limit="10", order="asc")

    @pytest.mark.usefixtures("url")
    def test_a_span_of_time_is_asked_for_from_the_newest(self, emulator: Emulator):
        """Down to its beginning, in both orders, however its bounds are written."""
        for number in range(100):
            emulator.add(created_at=NOW - number)
        for order, expected in (("desc", emulator.ids()[84:80:-1]), ("asc", emulator.ids()[81:85])):
            span = scan_files(limit=10, order=order).filter(pl.lit(at(-18)) <= created_at, created_at <= at(-15))

            assert span.collect()["id"].to_list() == expected
            assert queries(emulator) == pages(2, limit="10")

    def test_a_few_are_asked_for_as_such_only_where_the_listing_begins_with_them(self, year: Emulator):
        """What comes before them is listed in whole pages."""
        scan_files(limit=100, max_items=5, since=MONTH).collect()
        assert queries(year) == pages(1, limit="5")

        scan_files(limit=100, max_items=5, until=MONTH).collect()
        assert queries(year) == pages(1)

        scan_files(limit=100, max_items=5, since=MONTH, order="asc").collect()
        assert queries(year) == pages(10, order="asc")

    @pytest.mark.usefixtures("url")
    def test_the_streaming_engine_stops_when_it_has_enough(self, emulator: Emulator):
        """A head behind a filter is not told to the source; the rest of the listing is still spared."""
        emulator.populate(1_000, start=NOW - DAY, end=NOW - 61)

        frame = scan_files(limit=10).filter(pl.col("bytes") > 0).head(5).collect(engine="streaming")

        assert frame["id"].to_list() == emulator.ids()[::-1][:5]
        assert len(emulator.requests) < 90

    @ENGINES
    @pytest.mark.usefixtures("year")
    def test_only_the_columns_that_are_needed_are_handed_over(self, engine: Engine, monkeypatch: pytest.MonkeyPatch):
        """Those of the query and of its filter."""
        handed: list[list[str]] = []
        hand_over = pl.from_arrow
        monkeypatch.setattr(pl, "from_arrow", lambda table: handed.append(table.column_names) or hand_over(table))

        frame = (
            scan_files().filter(pl.col("bytes") > 10_000, created_at >= MONTH).select("purpose").collect(engine=engine)
        )

        assert frame.columns == ["purpose"]
        assert {name for columns in handed for name in columns} == {"bytes", "created_at", "purpose"}

    @pytest.mark.parametrize("name", ["pop", "eq", "root_names"])
    def test_a_filter_that_is_not_understood_only_costs_requests(
        self, name: str, year: Emulator, monkeypatch: pytest.MonkeyPatch
    ):
        """As if a later polars showed expressions in another way, or not at all."""
        query = scan_files(limit=100).filter(purpose == "vision", created_at >= MONTH, account == "default")
        expected = query.collect()
        few = len(queries(year))
        meta = type(purpose.meta)

        for broken in (lambda *_: [], lambda *_: None, lambda *_: 1 / 0):
            monkeypatch.setattr(meta, name, broken)

            for engine in BOTH:
                assert_frame_equal(query.collect(engine=engine), expected)

        assert len(queries(year)) > 3 * few

    def test_what_is_right_of_a_filter_may_be_computed(self, year: Emulator):
        """Any constant is understood, not only one that is written down."""
        thirty_days = pl.lit(at(0)) - pl.duration(days=30)

        frame = scan_files(limit=100).filter(created_at >= thirty_days).collect()

        assert len(queries(year)) < 6
        assert_frame_equal(frame, read_files(since=MONTH))


class TestServers:
    """Servers stray from the contract: what is pushed may cost more then, and gives what is there all the same."""

    @ENGINES
    @pytest.mark.parametrize(
        "oddities",
        [
            pytest.param(Oddities(order_ignored=True), id="order ignored"),
            pytest.param(Oddities(first_two_transposed=True), id="first two transposed"),
            pytest.param(Oddities(ties_by_id=True), id="ties by id"),
            pytest.param(Oddities(has_more_omitted=True), id="no has_more"),
        ],
    )
    @pytest.mark.parametrize(
        "bounds",
        [
            pytest.param(created_at >= at(-20), id="since"),
            pytest.param(created_at < at(-20), id="until"),
            pytest.param(created_at.is_between(at(-25), at(-20)), id="between"),
            pytest.param(purpose.is_in(["batch", "vision"]) & (created_at > at(-30)), id="purposes"),
        ],
    )
    def test_no_file_is_missed(self, oddities: Oddities, bounds: pl.Expr, engine: Engine, clock: Clock):
        """A listing is cut short only where it has proven its order."""
        emulator = Emulator(clock=clock, oddities=oddities)
        for number in range(60):
            emulator.add(created_at=NOW - number // 2, purpose=("batch", "vision", "assistants")[number % 3])

        with client_of(emulator) as client:
            frame = scan_files(client=client, limit=7).filter(bounds).collect(engine=engine)
            expected = read_files(client=client).filter(bounds)

        assert expected.height > 8
        assert_frame_equal(frame.sort("id"), expected.sort("id"))

    def test_an_order_that_a_server_ignores_does_not_turn_the_frame_round(self, clock: Clock):
        """What was asked for in ascending order, and came newest first, as is wanted, stays as it is."""
        emulator = Emulator(clock=clock, oddities=Oddities(order_ignored=True))
        ids = [str(emulator.add(created_at=NOW - number)["id"]) for number in range(30)]

        with client_of(emulator) as client:
            frame = scan_files(client=client, limit=7, order="desc").filter(created_at < at(-20)).collect()

        assert frame["id"].to_list() == ids[21:]

    def test_files_of_one_second_prove_no_order(self, clock: Clock):
        """A page of ties, then an older one, then a newer one: nothing is missed."""
        emulator = Emulator(clock=clock, oddities=Oddities(first_two_transposed=True))
        emulator.add_many(5, created_at=NOW - 9)

        with client_of(emulator) as client:
            assert scan_files(client=client, limit=2).filter(created_at >= at(-9)).collect().height == 5
            assert scan_files(client=client, limit=2).filter(created_at > at(-9)).collect().height == 0
        assert len(emulator.requests) == 6

    def test_a_purpose_that_a_filter_names_and_the_server_refuses(self, clock: Clock):
        """Everything is listed instead; whoever names it as a purpose is told."""
        emulator = Emulator(clock=clock)
        emulator.add_many(3, created_at=NOW, purpose="evals")
        emulator.add_many(3, created_at=NOW, purpose="batch")
        refused = {"message": "Invalid value: 'evals'", "param": "purpose", "type": "invalid_request_error"}
        refusal = status(400, body=json.dumps({"error": refused}))

        with client_of(emulator) as client:
            emulator.fail(refusal)
            assert scan_files(client=client).filter(purpose == "evals").collect().height == 3
            emulator.fail(refusal)
            with pytest.raises(ApiError, match="Invalid value: 'evals'"):
                read_files(client=client, purpose="evals")
            emulator.fail(status(400), times=None)
            with pytest.raises(ApiError, match="answered 400"):
                scan_files(client=client).filter(purpose == "evals").collect()

    def test_a_server_that_ignores_the_purpose(self, clock: Clock):
        """Its files come once each, though it is asked for two purposes, and only those of that purpose."""
        emulator = Emulator(clock=clock)
        for name in ("batch", "vision", "assistants"):
            emulator.add_many(4, created_at=NOW, purpose=name)

        def without_purpose(environ: dict[str, str], start: object) -> object:
            query = [(name, text) for name, text in parse_qsl(environ["QUERY_STRING"]) if name != "purpose"]
            return emulator(environ | {"QUERY_STRING": urlencode(query)}, start)  # type: ignore[arg-type]

        with client_of(without_purpose) as client:
            two = scan_files(client=client).filter(purpose.is_in(["batch", "vision"])).collect()
            one = read_files(client=client, purpose="batch")

        assert sorted(two["id"]) == sorted(emulator.ids("batch") + emulator.ids("vision"))
        assert sorted(one["id"]) == sorted(emulator.ids("batch"))


Team = dict[str, tuple[Emulator, Account]]


@pytest.fixture
def team(clock: Clock) -> Iterator[Callable[[int], Team]]:
    """Serve so many accounts of 50 files each, a file a second in turn, with a key of its own for each."""
    with ExitStack() as opened:

        def serve(count: int) -> Team:
            made = {}
            for number in range(count):
                emulator = Emulator(clock=clock, api_key=f"sk-{number}", seed=number)
                for turn in range(50):
                    emulator.add(created_at=NOW - turn * count - number, purpose=("batch", "vision")[turn % 2])
                server = opened.enter_context(emulator.serve())
                name = f"team-{number:02}"
                made[name] = (emulator, Account(name=name, api_key=f"sk-{number}", base_url=server.url))
            return made

        yield serve


def collected(**settings: object) -> pl.DataFrame:
    return scan_files(**settings).collect()


def accounts_of(team: Team) -> list[Account]:
    return [owner for _, owner in team.values()]


class TestAccounts:
    """Several accounts stand in one frame."""

    @ENGINES
    @pytest.mark.parametrize("order", ["desc", "asc"])
    def test_their_files_stand_in_order(
        self, order: Literal["asc", "desc"], engine: Engine, team: Callable[[int], Team]
    ):
        """Of creation, whosever they are, each with its account's name."""
        three = team(3)
        names = [name for _ in range(50) for name in three]

        frame = scan_files(accounts=accounts_of(three), limit=7, order=order).collect(engine=engine)

        assert frame["account"].to_list() == (names if order == "desc" else names[::-1])
        assert frame["created_at"].is_sorted(descending=order == "desc")
        for name, (emulator, _) in three.items():
            assert sorted(frame.filter(account == name)["id"]) == sorted(emulator.ids())
        assert_frame_equal(read_files(accounts=accounts_of(three), order=order), frame)

    def test_the_head_is_of_all_of_them(self, team: Callable[[int], Team]):
        """The newest ten, by one request of ten to each."""
        three = team(3)

        frame = scan_files(accounts=accounts_of(three)).head(10).collect()

        assert frame["account"].to_list() == [*three, *three, *three, "team-00"]
        for emulator, _ in three.values():
            assert queries(emulator) == pages(1, limit="10")

    def test_a_filter_picks_accounts(self, team: Callable[[int], Team]):
        """The others are asked nothing, whatever else the filter says of them."""
        three = team(3)
        mine = account.is_in(["team-00", "team-02"]) & (purpose == "vision") & (pl.col("bytes") > 0)

        frame = scan_files(accounts=accounts_of(three)).filter(mine).collect()

        assert sorted(set(frame["account"])) == ["team-00", "team-02"]
        assert frame.height == 50
        assert [len(queries(emulator)) for emulator, _ in three.values()] == [1, 0, 1]

    @pytest.mark.parametrize("read", [read_files, collected])
    def test_no_more_are_listed_at_once_than_asked_for(
        self, read: Callable[..., pl.DataFrame], team: Callable[[int], Team]
    ):
        """Three workers: three requests meet, a fourth never comes before one of them is answered."""
        six = team(6)
        meeting, never, waiting, most = Barrier(3), Event(), [0], [0]

        def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
            waiting[0] += 1
            most[0] = max(most[0], waiting[0])
            with suppress(BrokenBarrierError):  # then the last assertion fails
                meeting.wait(timeout=10)
            never.wait(0.1)  # in which a fourth would come
            waiting[0] -= 1
            return status(500, headers={"retry-after-ms": "1"}).spoil(call)

        for emulator, _ in six.values():
            emulator.fail(Fault("meet", spoil))

        frame = read(accounts=accounts_of(six), workers=3)

        assert frame.height == 300
        assert most == [3]
        assert not meeting.broken

    @pytest.mark.parametrize("read", [read_files, collected])
    def test_one_that_fails_is_named(self, read: Callable[..., pl.DataFrame], team: Callable[[int], Team]):
        """Its failure is the frame's, on whichever page."""
        three = team(3)
        for page in (1, 4):
            three["team-01"][0].fail(status(401), at=page)

            with pytest.raises(AccountsError, match=r"^1 of 3 accounts failed, [^:]+: 'team-01': [^']+ answered 401"):
                read(accounts=accounts_of(three), limit=10)

    @pytest.mark.parametrize("read", [read_files, collected])
    def test_nobody_waits_for_the_others(self, read: Callable[..., pl.DataFrame], team: Callable[[int], Team]):
        """One that does not answer does not keep back the failure of another."""
        three = team(3)
        three["team-00"][0].fail(hang(), times=None)
        three["team-02"][0].fail(status(401))
        began = time.monotonic()

        with pytest.raises(AccountsError, match="the others were not waited for: 'team-02'"):
            read(accounts=accounts_of(three), timeout=60)

        assert time.monotonic() - began < 30

    def test_of_a_single_one_the_failure_is_its_own(self, team: Callable[[int], Team]):
        """As it is without a list of accounts."""
        one = team(1)
        one["team-00"][0].fail(status(401))

        with pytest.raises(ApiError, match="answered 401"):
            read_files(accounts=accounts_of(one))


class TestKeys:
    """A key stays where it is."""

    def test_a_lazy_frame_does_not_take_it_into_a_file(self):
        """Nor into a plan or a repr: such a frame is made where it is collected."""
        query = scan_files(api_key="sk-recognisable", headers={"x-key": "recognisable"}).filter(purpose == "batch")

        with pytest.raises(Exception, match="may hold a key"):
            query.serialize()

        assert "recognisable" not in query.explain() + repr(query)
