from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.emulator import STYLES, Clock, Emulator, Fault, status
from files_source.emulator.delivery import Delivery
from files_source.emulator.faults import Call
from files_source.errors import ApiError, ConfigError, CursorError
from files_source.frames import read_files
from files_source.syncing import sync
from files_source.tables import read_inventory
from tests.commands import Ended
from tests.conftest import NOW, loaded

Connect = Callable[..., FilesClient]
QUERIES = {"azure 2024": {"api-version": "2024-10-21"}}
"""Query parameters that a style cannot do without."""
PURPOSES = {"zhipu": "batch"}
"""The purpose to ask for, where one is required."""
AT_ONCE = {"azure 2024", "groq"}
"""Styles that give everything at once, and say so in no way."""
WITHOUT_PURPOSES = {"anthropic", "anthropic pages", "xai"}
"""Styles that do not say what a file is for."""


@pytest.fixture(params=sorted(STYLES))
def style(request: pytest.FixtureRequest, emulator: Emulator) -> str:
    emulator.style = request.param
    return str(request.param)


@pytest.fixture
def vendor(style: str, emulator: Emulator, url: str) -> Callable[..., FilesClient]:
    """Connect to the emulator as a vendor's customers do."""
    return lambda **settings: FilesClient(Account(base_url=url, query=QUERIES.get(style, {})), **settings)


def ids(client: FilesClient, **asked: Any) -> list[str]:
    with client:
        return [file_id for page in client.pages(**asked) for file_id in page.files.column("id").to_pylist()]


@pytest.mark.parametrize("limit", [10_000, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 51, 101, 250])
def test_every_style_lists_every_file_once(
    style: str, count: int, limit: int, emulator: Emulator, vendor: Callable[..., FilesClient]
):
    """However a vendor pages, the pages together are the listing."""
    emulator.populate(count, start=NOW - 86_400, end=NOW)
    purpose = PURPOSES.get(style)

    found = ids(vendor(), limit=limit, purpose=purpose)

    assert sorted(found) == sorted(emulator.ids(purpose))
    assert len(emulator.requests) < 30 + 2 * count


@pytest.mark.parametrize("count", [20, 100])
def test_a_full_page_of_every_style_is_all_or_an_error(
    style: str, count: int, emulator: Emulator, vendor: Callable[..., FilesClient]
):
    """As many files as servers put on a page are told from a part, but where the server says nothing at all."""
    emulator.add_many(count, created_at=NOW)

    if style in AT_ONCE:
        with pytest.raises(CursorError, match=f"full page of {count} files"):
            ids(vendor())
    else:
        assert sorted(ids(vendor(), purpose=PURPOSES.get(style))) == sorted(emulator.ids())


def removing(*positions: int) -> Fault:
    """Delete the newest files of some positions just before an answer."""

    def spoil(call: Call) -> Delivery:
        listed = json.loads(call.answer().get_data())
        rows = listed if isinstance(listed, list) else listed["data"]
        for position in positions:
            if position < len(rows):
                call.remove(rows[position]["id"])
        return Delivery(call.answer())

    return Fault("removing", spoil)


@pytest.mark.parametrize("positions", [[0, 1], range(7)], ids=["two", "all of a page"])
@pytest.mark.parametrize("at", [2, 4, 9])
def test_files_deleted_amid_a_listing_push_no_other_past_it(
    style: str, positions: list[int], at: int, emulator: Emulator, vendor: Callable[..., FilesClient]
):
    """The files that stay are all given, or the listing is an error: it never ends too early."""
    emulator.populate(160, start=NOW - 86_400, end=NOW)
    emulator.fail(removing(*positions), at=at)
    purpose = PURPOSES.get(style)

    try:
        found = ids(vendor(), limit=7, purpose=purpose)
    except (CursorError, ApiError):
        return

    assert set(emulator.ids(purpose)) <= set(found)
    assert len(found) == len(set(found))


def test_a_history_retires_nothing_that_is_there(
    style: str, emulator: Emulator, clock: Clock, vendor: Callable[..., FilesClient]
):
    """Of a vendor's files a first history holds all, and a second one retires what is gone and nothing else."""
    emulator.populate(240, start=NOW - 86_400, end=NOW - 3_600)
    emulator.fail(removing(0), at=1)  # so that the account is of no usual size
    purpose = PURPOSES.get(style)
    with vendor() as client:
        sync("inventory.duckdb", client=client, history=True, purpose=purpose)
        before = read_inventory("inventory.duckdb")["id"].to_list()
        for file_id in emulator.ids(purpose)[3:9]:
            emulator.remove(file_id)
        emulator.add_many(11, created_at=NOW)
        clock.advance(120)

        sync("inventory.duckdb", client=client, history=True, purpose=purpose)

    assert len(before) > 30
    assert sorted(read_inventory("inventory.duckdb")["id"]) == sorted(emulator.ids(purpose))


def test_increments_load_what_is_new(
    style: str, place: str, emulator: Emulator, clock: Clock, vendor: Callable[..., FilesClient]
):
    """Run after run, a place holds each file of a vendor once."""
    emulator.populate(130, start=NOW - 86_400, end=NOW - 3_600)
    purpose = PURPOSES.get(style)
    with vendor() as client:
        for number in range(3):
            sync(place, client=client, purpose=purpose)
            emulator.add_many(3 + number, created_at=int(clock.now))
            clock.advance(300)
        sync(place, client=client, purpose=purpose)

    assert loaded(place) == sorted(emulator.ids(purpose))


def test_the_rows_of_every_style_have_times_and_sizes(
    style: str, emulator: Emulator, vendor: Callable[..., FilesClient]
):
    """Whatever a vendor calls it, a file's size and age are known; what has no column is kept."""
    emulator.add(created_at=NOW, size=5, filename="a.txt", purpose="batch")

    with vendor() as client:
        (row,) = next(client.pages(purpose=PURPOSES.get(style))).files.to_pylist()

    assert (row["bytes"], row["created_at"].timestamp(), row["filename"], row["object"]) == (5, NOW, "a.txt", "file")
    assert row["purpose"] == ("" if style in WITHOUT_PURPOSES else "batch")


@pytest.mark.parametrize("style", sorted(WITHOUT_PURPOSES), indirect=True)
def test_a_purpose_is_refused_where_no_file_has_one(style: str, emulator: Emulator, vendor: Callable[..., FilesClient]):
    """An empty answer would look as if there were no files."""
    emulator.add_many(3, created_at=NOW)

    with pytest.raises(ConfigError, match=r"purpose is 'batch', but this server does not say"):
        ids(vendor(), purpose="batch")


@pytest.mark.parametrize("style", ["groq"], indirect=True)
def test_a_purpose_that_a_server_ignores_is_kept_all_the_same(
    style: str, emulator: Emulator, vendor: Callable[..., FilesClient]
):
    """Only the files that were asked for are given."""
    emulator.add(purpose="vision")
    wanted = emulator.add(purpose="batch")["id"]

    assert ids(vendor(), purpose="batch") == [wanted]


@pytest.mark.parametrize("style", ["zhipu"], indirect=True)
def test_a_purpose_that_is_required_is_asked_for_by_name(style: str, command: Callable[..., Ended]):
    """The refusal says what to give."""
    ended = command("list")

    assert ended.status == 1
    assert ended.error.endswith("name it with --purpose (purpose=...)")


REFUSALS: Mapping[str, tuple[int, object]] = {
    "limit by param": (400, {"error": {"message": "too much", "param": "limit"}}),
    "page_size in words": (400, {"error": "page_size must be less than or equal to 100"}),
    "limit in a list": (422, {"detail": [{"loc": ["query", "limit"], "msg": "should be at most 100"}]}),
    "limit in Chinese": (400, {"error": {"code": "1214", "message": "limit参数非法"}}),
    "limit unnamed": (400, {"message": "value must be between 1 and 100"}),
    "limit unnamed in Chinese": (400, {"message": "参数错误"}),
    "order by param": (400, {"error": {"message": "no", "param": "order"}}),
    "order in words": (422, {"message": "order: Input should be 'created_at'"}),
    "order unnamed": (400, {"message": "Bad Request"}),
    "limit not known": (400, {"error": {"message": "Unknown parameter: 'limit'."}}),
    "order not known": (422, {"detail": [{"type": "extra_forbidden", "loc": ["query", "order"]}]}),
}


def refusing(name: str) -> Fault:
    """Refuse a list request that has the parameter in question, or too much of it."""
    code, body = REFUSALS[name]

    def spoil(call: Call) -> Delivery:
        asked = call.request.args
        if name.startswith("order"):
            is_refused = "order" in asked
        elif "not known" in name:
            is_refused = "limit" in asked
        else:
            is_refused = int(asked.get("limit", "100")) > 100
        return status(code, body=json.dumps(body)).spoil(call) if is_refused else Delivery(call.answer())

    return Fault("refusing", spoil)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_server_is_asked_again_without_what_it_refuses(name: str, emulator: Emulator, connect: Connect):
    """Which parameter that is, `param` says, or the words, or a try without it; then it is remembered."""
    emulator.populate(250, start=NOW - 86_400, end=NOW)
    emulator.fail(refusing(name), times=None)
    client = connect()

    found = ids(client, order="asc")
    asked = len(emulator.requests)

    assert sorted(found) == sorted(emulator.ids())
    assert asked < 20
    client = connect()
    next(client.pages())
    before = len(emulator.requests)
    next(client.pages())
    assert [request.status for request in emulator.requests[before:]] == [200]


def test_a_purpose_whose_parameter_is_not_known_is_filtered_here(emulator: Emulator, connect: Connect):
    """A server without purposes in its listing gives all, and the others are left out."""
    wanted = [emulator.add(purpose=purpose)["id"] for purpose in ("batch", "vision", "batch")][::2]
    body = json.dumps({"error": {"message": "Unrecognized request argument supplied: purpose"}})
    refused = status(400, body=body)
    emulator.fail(
        Fault(
            "no purpose",
            lambda call: refused.spoil(call) if "purpose" in call.request.args else Delivery(call.answer()),
        ),
        times=None,
    )

    assert sorted(ids(connect(), purpose="batch")) == sorted(wanted)


@pytest.mark.parametrize(
    "body", [{"message": "参数错误"}, {"error": {"message": "no such purpose", "param": "purpose"}}]
)
def test_what_is_refused_whatever_is_left_out_is_told(body: object, emulator: Emulator, connect: Connect):
    """The server's own words stand in the error, after a few tries."""
    emulator.fail(status(400, body=json.dumps(body, ensure_ascii=False)), times=None)

    with pytest.raises(ApiError) as told:
        ids(connect(), purpose="batch")

    assert told.value.reason in ("参数错误", "no such purpose")
    assert len(emulator.requests) <= 6


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1/v1/files?cursor=x",
        "https://other.example/v1/files?cursor=x",
        "//other.example/v1/files?c=x",
        "http://user:pass@127.0.0.1/v1/files?cursor=x",
        "/v1/batches?cursor=x",
        "http://[::1/v1/files?cursor=x",
    ],
)
def test_an_address_elsewhere_is_not_followed(address: str, emulator: Emulator, connect: Connect):
    """The key stays where it belongs, and the listing is not taken for complete."""
    emulator.fail(status(200, body=json.dumps({"data": [emulator.add()], "next": address})), times=None)

    with pytest.raises(CursorError, match="the key must not travel elsewhere"):
        ids(connect())

    assert len(emulator.requests) == 1


@pytest.mark.parametrize("name", ["cursor", "page_token", "next_page", "token"])
def test_a_token_that_leads_nowhere_is_an_error(name: str, emulator: Emulator, connect: Connect):
    """A server that promises more by a token, and gives the first page again for it."""
    answer = {"data": [emulator.add()], f"next_{name.removeprefix('next_')}": "abc"}
    emulator.fail(status(200, body=json.dumps(answer)), times=None)

    with pytest.raises(CursorError, match="promises more files by"):
        ids(connect())


def test_tokens_that_run_in_circles_are_an_error(emulator: Emulator, connect: Connect):
    """The same token again is followed no further."""
    for number, token in enumerate(("a", "b", "a"), 1):
        emulator.fail(status(200, body=json.dumps({"data": [emulator.add()], "next_page": token})), at=number)

    with pytest.raises(CursorError, match="for the second time"):
        ids(connect())


class TestQuery:
    """Parameters that go with every request."""

    SECRET = "hunter2-hunter2"

    def test_they_stand_on_every_request(self, emulator: Emulator, url: str):
        """The listing's own parameters stand beside them, as do those of the paging."""
        emulator.add_many(3, created_at=NOW)
        (file_id, *_) = emulator.ids()

        with FilesClient(Account(base_url=url, query={"api-version": "v1", "scope": "a b&c"})) as client:
            found = [page.files.num_rows for page in client.pages(limit=2)]
            client.get(file_id)
            client.delete(file_id)

        assert found == [2, 1]
        assert {(request.query["api-version"], request.query["scope"]) for request in emulator.requests} == {
            ("v1", "a b&c")
        }
        assert emulator.requests[1].query["after"]

    def test_no_value_shows(self, emulator: Emulator, url: str, caplog: pytest.LogCaptureFixture):
        """Not in the log of httpx, an error, a repr or what tells servers apart."""
        account = Account(base_url=url, query={"code": self.SECRET})
        emulator.fail(status(400, body=json.dumps({"message": f"bad {self.SECRET}", "param": "x"})), times=None)

        with caplog.at_level(logging.DEBUG), FilesClient(account) as client, pytest.raises(ApiError) as told:
            ids(client)

        assert emulator.requests[0].query["code"] == self.SECRET
        assert self.SECRET not in caplog.text + str(told.value) + repr(account) + account.server
        assert "HTTP Request: GET" in caplog.text

    def test_they_say_whose_files_are_meant_but_for_the_version(self, url: str):
        """A new version of the API is the same account; another scope is another."""
        servers = [
            Account(base_url=url, query=query).server
            for query in ({}, {"api-version": "1"}, {"scope": "a"}, {"scope": "a", "api-version": "2"}, {"scope": "b"})
        ]

        assert servers[0] == servers[1] == url
        assert servers[2] == servers[3] != servers[4]

    @pytest.mark.parametrize("name", ["after", "limit", "order", "purpose", "Limit", "page", "pageToken"])
    def test_the_listings_own_are_refused(self, name: str):
        """They would be in the way of the paging, in silence."""
        with pytest.raises(ConfigError, match=name.lower()):
            Account(api_key="k" * 20, query={name: "5"})

    @pytest.mark.parametrize("query", [{"": "x"}, {"a": 5}, {"a\n": "x"}, {"a": f"\n{SECRET}"}])
    def test_what_no_request_can_carry_is_refused_unseen(self, query: dict[str, Any]):
        """The message names the account, and no value."""
        with pytest.raises(ConfigError, match="account 'default'") as told:
            Account(api_key="k" * 20, query=query)

        assert self.SECRET not in str(told.value)

    @pytest.mark.parametrize(
        ("query", "is_refused"),
        [({"api-version": "2024-10-21"}, False), ({"code": SECRET}, True)],
        ids=["version", "secret"],
    )
    def test_what_may_be_secret_does_not_travel_in_the_clear(self, query: dict[str, str], is_refused: bool):
        """A value counts as a key does; the version of an API is none."""
        try:
            Account(base_url="http://192.0.2.1/v1", query=query)
        except ConfigError:
            assert is_refused
        else:
            assert not is_refused

    @pytest.mark.parametrize("given", ["configured", "by keyword", "for frames", "on the command line"])
    def test_each_way_to_give_them(
        self, given: str, emulator: Emulator, url: str, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Ended]
    ):
        """A classic Azure account is listed in all of them."""
        emulator.style = "azure 2024"
        emulator.add_many(3, created_at=NOW - 3_600)
        query = {"api-version": "2024-10-21"}

        if given == "configured":
            monkeypatch.setenv("SOURCES__OPENAI_FILES__QUERY", json.dumps(query))
            sync("lake/", base_url=url)
        elif given == "by keyword":
            sync("lake/", base_url=url, query=query)
        elif given == "for frames":
            assert read_files(base_url=url, query=query).height == 3
            return
        else:
            assert command("--query", "api-version=2024-10-21", "sync", "--to", "lake/").status == 0
            assert command("--query", "api-version=2024-10-21", "list").out.count("\n") == 3
        assert loaded("lake/") == sorted(emulator.ids())

    @pytest.mark.parametrize("query", ["api-version", "=x", f"code={SECRET}", f"api_key={SECRET}", "x=sk-abc"])
    def test_a_secret_has_no_place_on_the_command_line(self, query: str, command: Callable[..., Ended]):
        """What others can read is refused, and not repeated."""
        ended = command("--query", query, "list")

        assert ended.status == 2
        assert "--query" in ended.error
        assert self.SECRET not in ended.error


def test_a_live_listing_takes_a_limit(emulator: Emulator, command: Callable[..., Ended]):
    """`usage` and `report` ask for pages of the size that is given."""
    emulator.add_many(5, created_at=NOW)

    assert command("usage", "--live", "--limit", "2").status == 0
    assert command("report", "--live", "--limit", "3", "-o", "-").status == 0
    assert {request.query["limit"] for request in emulator.requests} == {"2", "3"}
    assert command("usage", "--limit", "2").error == (
        "--limit says how many files the account lists a page: it needs --live"
    )


@pytest.mark.parametrize("value", [0, -1, "0", 0.0, 9_223_372_036_854_775_807])
def test_a_file_that_never_expires_counts_in_every_answer(
    value: object, emulator: Emulator, connect: Connect, command: Callable[..., Ended]
):
    """Zero is not 1970: the file is there, and its room is used."""
    emulator.add(created_at=NOW, size=700, expires_at=None)
    emulator.change(emulator.ids()[0], expires_at=value)

    told = json.loads(command("usage", "--live", "--json").out)

    assert (told["totals"]["bytes"], told["never_expiring"]["bytes"]) == (700, 700)


def test_the_bytes_of_a_link_header_are_an_address_and_nothing_else(api_answer: Callable[..., FilesClient]):
    """Only `rel=next` leads on."""
    client = api_answer({"Link": '<https://x.example/v1/files?c=1>; rel="prev"'})

    assert ids(client) == []


@pytest.fixture
def api_answer() -> Callable[..., FilesClient]:
    def connect(headers: dict[str, str]) -> FilesClient:
        answer = httpx.MockTransport(
            lambda _: httpx.Response(200, json={"data": [], "has_more": False}, headers=headers)
        )
        return FilesClient(Account(base_url="https://x.example/v1"), transport=answer)

    return connect
