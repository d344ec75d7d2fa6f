from __future__ import annotations

import gzip
import http.client
import itertools
import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import openai
import pytest
import werkzeug.test
from hypothesis import given
from hypothesis import strategies as st

from files_source.emulator import (
    ABSENT,
    DOWNLOADABLE,
    FAULTS,
    ODDITIES,
    PURPOSES,
    WRONG_ID,
    Clock,
    Emulator,
    Fault,
    Oddities,
    Request,
    Server,
    cut,
    cut_short,
    empty_page,
    hang,
    slow,
    status,
    vanish,
)
from files_source.emulator.delivery import STOPPING
from tests.conftest import NOW

DAY = 86_400
KEY = "sk-secret-of-the-tests"


def in_process(emulator: Emulator) -> httpx.Client:
    """Return a client that calls the emulator in this process."""
    return httpx.Client(base_url="http://emulator/v1", transport=httpx.WSGITransport(app=emulator))


def over_a_socket(server: Server) -> httpx.Client:
    """Return a client that calls the emulator as another program would."""
    authorities = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # none: reading the usual ones takes long
    return httpx.Client(base_url=server.url, timeout=30, verify=authorities)


def address_of(server: Server) -> tuple[str, int]:
    """Return where a socket finds the emulator."""
    url = httpx.URL(server.url)
    return url.host, url.port or 0


def follow(client: httpx.Client, **params: str | int) -> Iterator[list[str]]:
    """Yield the ids on each page, as a client that trusts the contract reads them."""
    after: dict[str, str] = {}
    while True:
        page = client.get("/files", params=params | after).json()
        yield [file["id"] for file in page["data"]]
        if not page["has_more"]:
            return
        after = {"after": page["last_id"]}


def error_of(response: httpx.Response) -> dict[str, str | None]:
    """Return the error that an answer explains, which must have the API's form."""
    assert response.headers["content-type"] == "application/json"
    error: dict[str, str | None] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.fixture
def client(emulator: Emulator) -> Iterator[httpx.Client]:
    with in_process(emulator) as client:
        yield client


@pytest.fixture
def server(emulator: Emulator) -> Iterator[Server]:
    with emulator.serve() as server:
        yield server


@pytest.fixture
def remote(server: Server) -> Iterator[httpx.Client]:
    with over_a_socket(server) as client:
        yield client


# The listing


def test_a_listing_is_what_the_contract_says(emulator: Emulator, client: httpx.Client):
    """The newest file comes first, ten thousand to a page, with the ends named."""
    old, new = emulator.add(created_at=NOW - 10), emulator.add()

    answer = client.get("/files")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "object": "list",
        "data": [new, old],
        "first_id": new["id"],
        "last_id": old["id"],
        "has_more": False,
    }


def test_a_file_has_the_fields_of_the_contract(emulator: Emulator, client: httpx.Client):
    """What is added is what is listed, its id included."""
    file = emulator.add(purpose="vision", size=7, filename="a.png", status="uploaded", expires_at=NOW + 60)

    assert client.get("/files").json()["data"] == [file]
    assert file == {
        "object": "file",
        "id": file["id"],
        "purpose": "vision",
        "filename": "a.png",
        "bytes": 7,
        "created_at": NOW,
        "expires_at": NOW + 60,
        "status": "uploaded",
        "status_details": None,
    }
    kind, _, name = str(file["id"]).partition("-")
    assert (kind, len(name), name.isalnum()) == ("file", 24, True)


def test_an_empty_account_has_a_page_too(client: httpx.Client):
    """No files are no error."""
    assert client.get("/files").json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_ties_stand_in_order_of_arrival(emulator: Emulator, client: httpx.Client):
    """Files of one second keep the order in which they came, and the reverse of it when descending."""
    ids = emulator.add_many(5, created_at=NOW)

    assert list(follow(client, order="asc", limit=2)) == [ids[:2], ids[2:4], ids[4:]]
    assert list(follow(client, order="desc", limit=2)) == [ids[:2:-1], ids[2:0:-1], ids[:1]]


files_to_add = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["batch", "vision"])), max_size=30)


@given(
    added=files_to_add,
    limit=st.integers(1, 40),
    order=st.sampled_from(["asc", "desc"]),
    purpose=st.none() | st.sampled_from(["batch", "vision", "evals"]),
    page_cap=st.none() | st.integers(1, 5),
)
@pytest.mark.parametrize("ties_by_id", [False, True])
def test_pages_hold_every_file_once_and_in_order(
    *,
    added: list[tuple[int, str]],
    limit: int,
    order: str,
    purpose: str | None,
    page_cap: int | None,
    ties_by_id: bool,
):
    """However a listing is cut into pages, following `after` gives the listing."""
    emulator = Emulator(clock=Clock(NOW), page_cap=page_cap, oddities=Oddities(ties_by_id=ties_by_id))
    files = [emulator.add(created_at=NOW - second, purpose=name) for second, name in added]
    signs = {"asc": 1, "desc": -1}
    if ties_by_id:
        files.sort(key=lambda file: (signs[order] * file["created_at"], file["id"]))
    else:
        files = sorted(files, key=lambda file: file["created_at"])[:: signs[order]]

    with in_process(emulator) as client:
        pages = list(follow(client, limit=limit, order=order, **({"purpose": purpose} if purpose else {})))

    assert list(itertools.chain(*pages)) == [file["id"] for file in files if purpose in (None, file["purpose"])]
    assert all(len(page) == min(limit, page_cap or limit) for page in pages[:-1])


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 5), st.sampled_from(["batch", "vision"]), st.integers(1, 50)),
            st.tuples(st.just("add_many"), st.integers(0, 5), st.sampled_from(["batch", "vision"]), st.integers(0, 20)),
            st.tuples(st.just("remove"), st.integers(0, 99)),
            st.tuples(st.just("move"), st.integers(0, 99), st.integers(0, 5)),
            st.tuples(st.just("keep"), st.integers(0, 99)),
            st.tuples(st.just("wait"), st.integers(0, 20)),
        ),
        max_size=30,
    )
)
def test_the_store_does_what_a_plain_list_would_do(steps: list[tuple[object, ...]]):
    """After any changes, late arrivals and expiries, the listing is the live files sorted by time and arrival."""
    clock = Clock(NOW)
    emulator = Emulator(clock=clock)
    model: list[dict[str, object]] = []
    for name, *values in steps:
        if name == "add":
            second, purpose, lifetime = values
            model.append(emulator.add(created_at=NOW - second, purpose=purpose, expires_at=clock.now + lifetime))
        elif name == "add_many":
            second, purpose, count = values
            new = emulator.add_many(count, created_at=NOW - second, purpose=purpose)
            model += [emulator.file(file_id) for file_id in new]
        elif name == "wait":
            clock.advance(values[0])
            model = [file for file in model if file["expires_at"] is None or file["expires_at"] > clock.now]
        elif model:
            index = values[0] % len(model)
            file_id = model[index]["id"]
            if name == "remove":
                emulator.remove(file_id)
                del model[index]
            elif name == "move":
                model[index] = emulator.change(file_id, created_at=NOW - values[1])
            else:
                model[index] = emulator.change(file_id, expires_at=None)

        for purpose in (None, "batch", "vision"):
            expected = [file for file in model if purpose in (None, file["purpose"])]
            assert emulator.files(purpose) == sorted(expected, key=lambda file: file["created_at"])
    assert len(emulator.ids()) == len(model)


def test_a_cursor_may_have_another_purpose(emulator: Emulator, client: httpx.Client):
    """`after` marks a place in the listing, also in one that does not show its file."""
    first, marker, last = (emulator.add(created_at=NOW - age, purpose="vision") for age in (3, 2, 1))
    emulator.change(marker["id"], purpose="batch")

    def after_marker(order: str) -> list[str]:
        return next(follow(client, after=marker["id"], order=order, purpose="vision"))

    assert after_marker("asc") == [last["id"]]
    assert after_marker("desc") == [first["id"]]


def test_a_page_has_no_more_than_the_server_gives(client: httpx.Client, emulator: Emulator):
    """Default, largest page and cap are the server's, whatever is asked."""
    emulator.add_many(9, created_at=NOW)
    emulator.max_limit = 6
    assert [len(page) for page in follow(client)] == [6, 3]
    emulator.default_limit = 4
    assert [len(page) for page in follow(client)] == [4, 4, 1]
    assert [len(page) for page in follow(client, limit=6)] == [6, 3]
    emulator.page_cap = 5
    assert [len(page) for page in follow(client, limit=6)] == [5, 4]
    assert error_of(client.get("/files", params={"limit": 7}))["param"] == "limit"


@pytest.mark.parametrize(
    ("params", "param", "code"),
    [
        ({"limit": "0"}, "limit", "integer_below_min_value"),
        ({"limit": "10001"}, "limit", "integer_above_max_value"),
        ({"limit": "many"}, "limit", "invalid_type"),
        ({"limit": ""}, "limit", "invalid_type"),
        ({"order": "up"}, "order", "invalid_value"),
        ({"after": "file-nobody"}, "after", None),
    ],
    ids=str,
)
def test_a_bad_parameter_is_refused(client: httpx.Client, params: dict[str, str], param: str, code: str | None):
    """400 names the parameter."""
    answer = client.get("/files", params=params)

    assert answer.status_code == 400
    assert (error_of(answer)["param"], error_of(answer)["code"]) == (param, code)


def test_the_largest_page_may_be_asked_for(client: httpx.Client, emulator: Emulator):
    """Ten thousand is allowed."""
    emulator.add_many(10_001, created_at=NOW)

    assert [len(page) for page in follow(client, limit=10_000)] == [10_000, 1]


# One file


def test_a_file_is_retrieved_and_deleted(emulator: Emulator, client: httpx.Client):
    """What was deleted is gone from every answer."""
    file = emulator.add(content=b"line\n")
    path = f"/files/{file['id']}"

    assert client.get(path).json() == file
    assert client.delete(path).json() == {"object": "file", "id": file["id"], "deleted": True}
    assert [client.get(path).status_code, client.delete(path).status_code] == [404, 404]
    assert (emulator.ids(), emulator.content(file["id"])) == ([], None)


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/content")])
def test_a_file_that_does_not_exist_is_404(client: httpx.Client, method: str, path: str):
    """The id in the path is named as the trouble."""
    answer = client.request(method, f"/files/file-nobody{path}")

    assert (answer.status_code, error_of(answer)["param"]) == (404, "id")
    assert "file-nobody" in error_of(answer)["message"]


@pytest.mark.parametrize("file_id", ["file with spaces", "datei-ü", "ファイル", "a/b", "100%", "?x=1#y"])
def test_any_id_can_stand_in_a_path(emulator: Emulator, client: httpx.Client, remote: httpx.Client, file_id: str):
    """Ids that a URL must quote work over a socket and in one process."""
    emulator.add(file_id=file_id, content=b"x")
    path = f"/files/{httpx.QueryParams({'': file_id})}".replace("=", "", 1).replace("+", "%20")

    for caller in (client, remote):
        assert caller.get(path).json()["id"] == file_id
        assert caller.get(f"{path}/content").content == b"x"
        assert caller.get("/files", params={"after": file_id}).json()["data"] == []


def test_the_right_word_for_a_wrong_turn(client: httpx.Client):
    """An unknown path is 404, a known one with another method 405 with what is allowed."""
    unknown, refused = client.get("/assistants"), client.put("/files")

    assert (unknown.status_code, error_of(unknown)["type"]) == (404, "invalid_request_error")
    assert (refused.status_code, error_of(refused)["code"]) == (405, "method_not_supported")
    assert refused.headers["allow"] == "GET, HEAD, POST"


# Uploads and downloads


@pytest.mark.parametrize("purpose", PURPOSES)
def test_an_upload_becomes_a_file(client: httpx.Client, emulator: Emulator, purpose: str):
    """A batch expires after 30 days, the rest stays."""
    answer = client.post("/files", data={"purpose": purpose}, files={"file": ("../日本 1.jsonl", b"{}\n")})

    assert answer.status_code == 200
    file = answer.json()
    assert emulator.files() == [file]
    assert file["filename"] == "../日本 1.jsonl"
    assert (file["bytes"], file["created_at"], file["purpose"]) == (3, NOW, purpose)
    assert file["expires_at"] == (NOW + 30 * DAY if purpose == "batch" else None)


@pytest.mark.parametrize("seconds", [3_600, 2_592_000])
def test_an_upload_may_say_when_it_expires(client: httpx.Client, seconds: int):
    """The expiry is counted from the creation."""
    data = {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": str(seconds)}

    file = client.post("/files", data=data, files={"file": b"x"}).json()

    assert file["expires_at"] == NOW + seconds


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({}, "purpose"),
        ({"purpose": "batch_output"}, "purpose"),
        ({"purpose": "batch", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "anchor"),
        ({"purpose": "batch", "expires_after[seconds]": "3600"}, "anchor"),
        ({"purpose": "batch", "expires_after[anchor]": "created_at"}, "seconds"),
        ({"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"}, "seconds"),
        ({"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"}, "seconds"),
        ({"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "1.5"}, "seconds"),
    ],
    ids=str,
)
def test_a_bad_upload_is_refused(client: httpx.Client, emulator: Emulator, form: dict[str, str], param: str):
    """400 names the field, and nothing is kept."""
    answer = client.post("/files", data=form, files={"file": b"x"})

    assert answer.status_code == 400
    assert param in str(error_of(answer)["param"])
    assert emulator.files() == []


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "multipart/form-data", "text/plain"])
def test_an_upload_without_a_file_is_refused(client: httpx.Client, content_type: str):
    """Whatever the body is, an answer explains what is missing."""
    answer = client.post("/files", content=b"nothing", headers={"Content-Type": content_type})

    assert (answer.status_code, error_of(answer)["param"]) == (400, "file")


def test_a_long_upload_arrives_whole(remote: httpx.Client, emulator: Emulator):
    """A megabyte or a thousand form fields are nothing special, and the connection can be used again."""
    content = bytes(range(256)) * 4_000
    fields = {f"field{number}": "x" for number in range(1_100)} | {"purpose": "vision", "long": "x" * 600_000}

    file = remote.post("/files", data=fields, files={"file": ("a.png", content)}).json()

    assert remote.get(f"/files/{file['id']}/content").content == content


@pytest.mark.parametrize("purpose", sorted(DOWNLOADABLE))
def test_some_purposes_can_be_downloaded(emulator: Emulator, client: httpx.Client, purpose: str):
    """The bytes come back as they went in."""
    file = emulator.add(purpose=purpose, content=b"\x00\xff\r\n")

    answer = client.get(f"/files/{file['id']}/content")

    assert answer.content == b"\x00\xff\r\n"
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("purpose", ["assistants", "fine-tune", "user_data", "evals", "something new"])
def test_other_purposes_cannot_be_downloaded(emulator: Emulator, client: httpx.Client, purpose: str):
    """The API keeps what it was given to work with."""
    file = emulator.add(purpose=purpose, content=b"secret")

    answer = client.get(f"/files/{file['id']}/content")

    assert answer.status_code == 400
    assert error_of(answer)["message"] == f"Not allowed to download files of purpose: {purpose}"


@pytest.mark.parametrize("size", [0, 1, 65_536, 200_001])
def test_a_file_without_content_gives_as_many_bytes_as_it_says(
    emulator: Emulator, client: httpx.Client, remote: httpx.Client, size: object
):
    """Two such files of one name and size are alike."""
    one, other = (emulator.add(purpose="vision", filename="ab.png", size=size) for _ in range(2))

    contents = [caller.get(f"/files/{one['id']}/content").content for caller in (client, remote)]
    contents.append(client.get(f"/files/{other['id']}/content").content)

    assert contents == [(b"ab.png\n" * size)[:size]] * 3


@pytest.mark.parametrize("size", [None, -1, "12", ABSENT])
def test_a_strange_size_gives_no_bytes(emulator: Emulator, client: httpx.Client, size: object):
    """A download of a file whose size is unknown is empty."""
    file = emulator.add(purpose="vision", bytes=size)

    assert client.get(f"/files/{file['id']}/content").content == b""


# Keys, headers and the log


@pytest.mark.parametrize(
    ("headers", "expected", "names"),
    [
        ({"Authorization": f"Bearer {KEY}"}, 200, ("authorization",)),
        ({"Authorization": f"bearer {KEY}"}, 200, ("authorization",)),
        ({"api-key": KEY}, 200, ("api-key",)),
        ({"Authorization": "Bearer wrong"}, 401, ("authorization",)),
        ({"Authorization": f"Basic {KEY}"}, 401, ("authorization",)),
        ({"api-key": "wrong"}, 401, ("api-key",)),
        ({}, 401, ()),
    ],
    ids=["bearer", "small letters", "azure", "wrong", "another scheme", "azure, wrong", "none"],
)
def test_a_key_is_asked_for(
    emulator: Emulator, client: httpx.Client, headers: dict[str, str], expected: int, names: tuple[str, ...]
):
    """Only the right key is let in, and no key is ever written down."""
    emulator.api_key = KEY

    answer = client.get("/files", headers=headers)

    assert answer.status_code == expected
    assert emulator.requests[-1].authorized_by == names
    assert KEY not in repr(emulator.requests) + answer.text + repr(emulator)
    if expected == 401:
        assert error_of(answer)["code"] == ("invalid_api_key" if "wrong" in str(headers) else None)


def test_without_a_key_anybody_may_ask(client: httpx.Client):
    """An emulator that was given no key takes any or none."""
    assert client.get("/files", headers={"Authorization": "Bearer whatever"}).status_code == 200


def test_each_answer_has_an_id_and_the_emulators_date(emulator: Emulator, client: httpx.Client, clock: Clock):
    """`Date` follows the emulator's clock, errors included."""
    clock.advance(3_600.5)
    emulator.fail(status(500))

    answers = [client.get("/files"), client.get("/files"), client.get("/nowhere")]

    assert {answer.headers["date"] for answer in answers} == {"Tue, 14 Nov 2023 23:13:20 GMT"}
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3


def test_the_clock_is_the_real_one_by_default():
    """A demo needs no clock of its own."""
    emulator = Emulator()
    file = emulator.add()

    assert emulator.clock() - file["created_at"] < DAY


def test_the_log_says_what_came_in(emulator: Emulator, client: httpx.Client):
    """Method, path, query, status and the bytes that went out."""
    length = len(client.get("/files", params={"limit": 5, "purpose": "batch"}).content)
    client.delete("/files/file-x")
    client.head("/files")

    assert emulator.requests == [
        Request("GET", "/v1/files", {"limit": "5", "purpose": "batch"}, 200, length, ()),
        Request("DELETE", "/v1/files/file-x", {}, 404, emulator.requests[1].sent, ()),
        Request("HEAD", "/v1/files", {}, 200, 0, ()),
    ]


def test_answers_are_compressed_for_who_accepts_that(emulator: Emulator, client: httpx.Client):
    """With `gzip`, JSON goes out compressed, and the log counts what went out."""
    emulator.add_many(100, created_at=NOW)
    emulator.gzip = True
    with client.stream("GET", "/files", headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())

    plain = client.get("/files", headers={"Accept-Encoding": "gzip;q=0"})

    assert answer.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(packed) == plain.content
    assert [request.sent for request in emulator.requests] == [len(packed), len(plain.content)]


# Filling


def test_the_same_seed_gives_the_same_account():
    """Ids and populations are repeatable, and another seed gives others."""

    def files(seed: int) -> list[dict[str, object]]:
        emulator = Emulator(clock=Clock(NOW), seed=seed)
        emulator.populate(200, start=NOW - 60 * DAY, end=NOW)
        emulator.add()
        return emulator.files()

    assert files(1) == files(1)
    assert files(1) != files(2)


def test_a_population_is_alive_and_looks_real(emulator: Emulator, client: httpx.Client):
    """Exactly so many live files, in their time, of every purpose, with copies, expiries and trouble."""
    start, end = NOW - 60 * DAY, NOW
    ids = emulator.populate(20_000, start=start, end=end)

    files = emulator.files()

    assert emulator.ids() == ids
    assert len({file["id"] for file in files}) == len(emulator.ids()) == 20_000
    assert all(start <= file["created_at"] < end for file in files)
    assert all(file["expires_at"] is None or file["expires_at"] > NOW + 3_600 for file in files)
    assert all(file["expires_at"] for file in files if file["purpose"] == "batch")
    counts = Counter(file["purpose"] for file in files)
    assert counts.most_common(1)[0][0] == "batch_output"
    assert set(counts) == {
        *("batch", "batch_output", "assistants", "assistants_output"),
        *("fine-tune", "fine-tune-results", "user_data", "vision"),
    }
    assert {file["status"] for file in files} == {"processed", "uploaded", "error"}
    assert all(bool(file["status_details"]) is (file["status"] == "error") for file in files)
    assert max(Counter(file["created_at"] for file in files).values()) > 100
    assert max(Counter((file["filename"], file["bytes"]) for file in files).values()) > 1
    assert client.get("/files", params={"order": "asc"}).json()["data"] == files[:10_000]


def test_an_old_population_has_no_batches(emulator: Emulator, clock: Clock):
    """What would have expired does not exist, and the rest lasts an hour at least."""
    emulator.populate(500, start=NOW - 300 * DAY, end=NOW - 29 * DAY)
    clock.advance(3_600)

    assert len(emulator.ids()) == 500
    assert not any(file["created_at"] < NOW - 30 * DAY for file in emulator.files("batch"))


def test_populations_join_what_is_there(emulator: Emulator):
    """A second population, older or newer, is merged by time."""
    late = emulator.add(created_at=NOW)["id"]
    emulator.populate(50, start=NOW - 2 * DAY, end=NOW - DAY)
    emulator.populate(50, start=NOW - 3 * DAY, end=NOW)

    times = [file["created_at"] for file in emulator.files()]

    assert times == sorted(times)
    assert emulator.ids()[-1] == late


def test_a_populated_file_is_written_like_any_other(emulator: Emulator):
    """The fast way to JSON and the plain one give the same bytes."""
    emulator.populate(500, start=NOW - DAY, end=NOW)
    emulator.add_many(1, created_at=NOW, purpose='a "purpose"')

    for file in emulator.files():
        written = emulator.row(file["id"])
        emulator.change(file["id"])
        assert emulator.row(file["id"]) == written


def test_anything_may_stand_in_a_file(emulator: Emulator, client: httpx.Client):
    """Tests need rows that the contract does not know."""
    odd = {"created_at": "2026-01-01T00:00:00Z", "bytes": None, "vendor": {"a": [1, 2.5, None, "é"]}}
    first = emulator.add(created_at=-5, filename="\ud800 ../\x00", status_details=ABSENT, extra=[])
    second = emulator.add(created_at=NOW)
    emulator.change(second["id"], status=ABSENT, purpose=7, **odd)

    listed = client.get("/files", params={"order": "asc"}).json()["data"]

    assert listed == [first, {**{k: v for k, v in second.items() if k != "status"}, **odd, "purpose": 7}]
    assert (first["created_at"], first["filename"], "status_details" in first) == (-5, "\ud800 ../\x00", False)
    assert emulator.ids("batch") == [first["id"]]


def test_a_listing_may_show_an_id_twice(emulator: Emulator, client: httpx.Client):
    """A row may show another id than the one it has."""
    one = emulator.add()
    emulator.add(id=one["id"])

    assert next(follow(client)) == [one["id"]] * 2
    assert len(set(emulator.ids())) == 2


def test_an_id_is_given_once(emulator: Emulator):
    """Adding a file under a taken id is a mistake in the test."""
    emulator.add(file_id="file-a")

    with pytest.raises(ValueError, match="file-a"):
        emulator.add(file_id="file-a")


@pytest.mark.parametrize("call", ["remove", "change", "file"])
def test_who_names_no_file_gets_a_key_error(emulator: Emulator, call: str):
    """A wrong id in a test shows at once."""
    with pytest.raises(KeyError, match="file-nobody"):
        getattr(emulator, call)("file-nobody")


# Time


@pytest.mark.parametrize("count", [1, 100], ids=["one file", "many files"])
def test_a_file_that_expires_is_gone_from_every_answer(
    emulator: Emulator, client: httpx.Client, clock: Clock, count: int
):
    """At the very second of its expiry no call knows it any more."""
    stays = emulator.add()["id"]
    ids = [emulator.add(expires_at=NOW + 60, content=b"x")["id"] for _ in range(count)]
    clock.advance(59)
    assert len(next(follow(client))) == count + 1

    clock.advance(1)

    assert emulator.ids() == emulator.ids("batch") == next(follow(client)) == [stays]
    for file_id in ids[:3]:
        path = f"/files/{file_id}"
        answers = [client.get(path), client.get(f"{path}/content"), client.delete(path)]
        assert [answer.status_code for answer in answers] == [404, 404, 404]
        assert client.get("/files", params={"after": file_id}).status_code == 400
        assert emulator.content(file_id) is None


def test_a_new_expiry_replaces_the_old_one(emulator: Emulator, clock: Clock):
    """A file lives as long as its field says, also where it said so twice."""
    longer, shorter, same = (emulator.add(expires_at=NOW + 60)["id"] for _ in range(3))
    emulator.change(longer, expires_at=NOW + 90)
    emulator.change(shorter, expires_at=NOW + 30)
    emulator.change(same, status="error")

    clock.advance(30)
    assert emulator.ids() == [longer, same]
    clock.advance(30)
    assert emulator.ids() == [longer]
    clock.advance(30)
    assert emulator.ids() == []


# Oddities

SHAPES: dict[str, Callable[[dict[str, object]], object]] = {
    "no has_more": lambda page: {name: page[name] for name in ("object", "data", "first_id", "last_id")},
    "no first_id and last_id": lambda page: {name: page[name] for name in ("object", "data", "has_more")},
    "null first_id and last_id": lambda page: {**page, "first_id": None, "last_id": None},
    "empty first_id and last_id": lambda page: {**page, "first_id": "", "last_id": ""},
    "wrong first_id and last_id": lambda page: {**page, "first_id": WRONG_ID, "last_id": WRONG_ID},
    "null data": lambda page: {**page, "data": None},
    "no data": lambda page: {name: page[name] for name in ("object", "first_id", "last_id", "has_more")},
    "bare array": lambda page: page["data"],
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_page_has_another_shape(emulator: Emulator, client: httpx.Client, name: str):
    """The shapes that other servers give a page differ from the contract in one point each."""
    emulator.add_many(3, created_at=NOW)
    page = client.get("/files", params={"limit": 2}).json()

    emulator.oddities = ODDITIES[name]

    assert client.get("/files", params={"limit": 2}).json() == SHAPES[name](page)


ORDERS: dict[str, tuple[list[int], list[int], list[int]]] = {
    "after ignored": ([0, 1], [0, 1], [4, 3]),
    "last page repeats": ([0, 1], [2, 3], [4, 3]),
    "order ignored": ([4, 3], [0], [4, 3]),
    "first two transposed": ([1, 0], [2, 3], [3, 4]),
    "ties by id": ([0, 1], [2, 3], [3, 4]),
    "vanished cursor is 404": ([0, 1], [2, 3], [4, 3]),
    "vanished cursor is the end": ([0, 1], [2, 3], [4, 3]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_a_listing_has_another_order(emulator: Emulator, client: httpx.Client, name: str):
    """Of five files, the last two in one second: two ascending, two more after the second, two descending."""
    ids = [emulator.add(created_at=NOW - age, file_id=f"file-{age}-{n}")["id"] for n, age in enumerate([3, 2, 1, 0, 0])]
    emulator.oddities = ODDITIES[name]

    pages = [
        client.get("/files", params={"limit": 2} | params).json()["data"]
        for params in ({"order": "asc"}, {"order": "asc", "after": ids[1]}, {"order": "desc"})
    ]

    assert tuple([ids.index(file["id"]) for file in page] for page in pages) == ORDERS[name]


def test_every_oddity_is_tested():
    """No way to stray is there that no test knows."""
    assert set(ODDITIES) == set(SHAPES) | set(ORDERS)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_last_page_repeats(emulator: Emulator, client: httpx.Client, order: str):
    """The end promises more, and after it the last page comes again and again."""
    emulator.add_many(5, created_at=NOW)
    emulator.oddities = ODDITIES["last page repeats"]

    pages = list(itertools.islice(follow(client, limit=2, order=order), 6))

    expected = emulator.ids()[:: 1 if order == "asc" else -1]
    assert list(itertools.chain(*pages[:3])) == expected
    assert pages[3:] == [expected[-2:]] * 3


def test_the_first_of_one_has_nobody_to_change_places_with(emulator: Emulator, client: httpx.Client):
    """Transposing works on pages of any size."""
    emulator.oddities = ODDITIES["first two transposed"]
    assert client.get("/files").json()["data"] == []
    file = emulator.add()

    assert client.get("/files").json()["data"] == [file]


@pytest.mark.parametrize(("vanished", "expected"), [(400, 400), (404, 404), ("end", 200)])
def test_a_vanished_cursor_is_answered_as_servers_do(
    emulator: Emulator, client: httpx.Client, vanished: int | str, expected: int
):
    """An error that names `after`, or what looks like the end."""
    emulator.add()
    emulator.oddities = Oddities(vanished_cursor=vanished)

    answer = client.get("/files", params={"after": "file-gone"})

    assert answer.status_code == expected
    if vanished == "end":
        page = answer.json()
        assert (page["data"], page["has_more"]) == ([], False)
    else:
        assert error_of(answer)["param"] == "after"


# Faults

STATUSES = {
    "401": 401,
    "408": 408,
    "429": 429,
    "429 with Retry-After": 429,
    "429 with retry-after-ms": 429,
    "429 insufficient quota": 429,
    "500": 500,
    "500 not to retry": 500,
    "400 to retry": 400,
    "503 with HTML": 503,
    "vanish": 400,
    "slow": 200,
    "broken JSON": 200,
    "captive portal": 200,
    "empty page": 200,
}
BROKEN = {
    "cut": (httpx.RemoteProtocolError, ConnectionResetError),
    "cut short": (httpx.RemoteProtocolError, ConnectionResetError),
    "hang": (httpx.ReadTimeout, TimeoutError),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_spoils_one_request(emulator: Emulator, client: httpx.Client, remote: httpx.Client, name: str):
    """Over a socket and in one process the second request goes wrong, and those beside it do not."""
    emulator.add_many(5, created_at=NOW)

    for caller, kind in ((remote, 0), (client, 1)):
        before, after = emulator.ids()[:2]
        params = {"after": after, "order": "asc"}
        assert caller.get("/files", params=params).is_success
        emulator.fail(FAULTS[name])

        if name in BROKEN:
            with pytest.raises(BROKEN[name][kind]):
                caller.get("/files", params=params, timeout=0.05 if name == "hang" else 5)
        else:
            assert caller.get("/files", params=params).status_code == STATUSES[name]

        assert caller.get("/files", params={"after": before}).is_success


def test_every_fault_is_tested():
    """No fault is there that no test knows."""
    assert set(FAULTS) == set(STATUSES) | set(BROKEN)
    assert repr(FAULTS["cut"]) == "Fault(name='cut')"


def test_faults_come_when_and_as_often_as_ordered(emulator: Emulator, client: httpx.Client):
    """Counted from the order on, the first order goes first; others are not forgotten meanwhile."""
    client.get("/files")
    emulator.fail(status(500), at=2, times=2)
    emulator.fail(status(429), at=3, times=2)

    assert [client.get("/files").status_code for _ in range(5)] == [200, 500, 500, 429, 200]


def test_a_fault_lasts_until_the_server_recovers(emulator: Emulator, client: httpx.Client):
    """A server may be down for good."""
    emulator.fail(status(503), times=None)
    down = [client.get("/files").status_code for _ in range(3)]

    emulator.recover()

    assert down == [503, 503, 503]
    assert client.get("/files").status_code == 200


@pytest.mark.parametrize(
    ("pattern", "spoiled"),
    [
        ({}, ["list"]),
        ({"method": "*", "path": "*"}, ["list", "retrieve", "download", "upload", "delete"]),
        ({"path": "/v1/files/*"}, ["retrieve", "download"]),
        ({"method": "POST"}, ["upload"]),
        ({"method": "DELETE", "path": "/v1/files/*"}, ["delete"]),
    ],
    ids=str,
)
def test_a_fault_finds_its_requests(
    emulator: Emulator, client: httpx.Client, pattern: dict[str, str], spoiled: list[str]
):
    """Method and path are patterns; by default a fault waits for a list request."""
    path = f"/files/{emulator.add()['id']}"
    emulator.fail(status(418), times=None, **pattern)

    answers = {
        "list": client.get("/files"),
        "retrieve": client.get(path),
        "download": client.get(f"{path}/content"),
        "upload": client.post("/files", data={"purpose": "batch"}, files={"file": b"x"}),
        "delete": client.delete(path),
    }

    assert [name for name, answer in answers.items() if answer.status_code == 418] == spoiled


@pytest.mark.parametrize(
    ("name", "header", "value"),
    [
        ("429 with Retry-After", "retry-after", "1"),
        ("429 with retry-after-ms", "retry-after-ms", "5"),
        ("500 not to retry", "x-should-retry", "false"),
        ("400 to retry", "x-should-retry", "true"),
        ("503 with HTML", "content-type", "text/html; charset=utf-8"),
        ("captive portal", "content-type", "text/html; charset=utf-8"),
        ("broken JSON", "content-type", "application/json"),
    ],
)
def test_a_fault_says_how_to_go_on(emulator: Emulator, client: httpx.Client, name: str, header: str, value: str):
    """Headers are part of a fault."""
    emulator.fail(FAULTS[name])

    assert client.get("/files").headers[header] == value


def test_a_fault_explains_itself_as_the_api_does(emulator: Emulator, client: httpx.Client):
    """Errors have the API's form; the quota's has its code."""
    for name in ("401", "408", "429", "500", "429 insufficient quota"):
        emulator.fail(FAULTS[name])
        assert error_of(client.get("/files"))["message"]
    assert emulator.fail(FAULTS["429 insufficient quota"]) is None
    assert error_of(client.get("/files"))["code"] == "insufficient_quota"


def test_broken_json_is_a_complete_answer(emulator: Emulator, remote: httpx.Client):
    """All bytes that were promised arrive, and mean nothing."""
    emulator.fail(FAULTS["broken JSON"])

    answer = remote.get("/files")

    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_a_status_may_have_any_headers_and_body(emulator: Emulator, client: httpx.Client):
    """What a fault says comes before what the emulator would."""
    emulator.fail(status(502, headers={"Date": "yesterday", "Via": "gateway"}, body="oh", mimetype="text/plain"))

    answer = client.get("/files")

    assert (answer.status_code, answer.text) == (502, "oh")
    assert (answer.headers["date"], answer.headers["via"]) == ("yesterday", "gateway")


def test_a_body_is_cut_in_its_middle(emulator: Emulator, client: httpx.Client):
    """Half of what was promised arrives."""
    emulator.add_many(10, created_at=NOW)
    whole = client.get("/files").content
    emulator.fail(cut_short())

    with client.stream("GET", "/files") as answer:
        parts = answer.iter_raw()
        arrived = next(parts)
        with pytest.raises(ConnectionResetError):
            next(parts)

    assert arrived == whole[: len(whole) // 2]
    assert answer.headers["content-length"] == str(len(whole))
    assert emulator.requests[-1] == Request("GET", "/v1/files", {}, 200, len(arrived), ())


@pytest.mark.parametrize(("fault", "left"), [(cut(), 1), (cut(done=True), 0), (status(500), 1), (hang(), 1)])
def test_a_request_that_gets_no_answer_may_have_been_carried_out(
    emulator: Emulator, client: httpx.Client, fault: Fault, left: int
):
    """Only a cut that comes after the work leaves a trace; the log knows of no status."""
    file = emulator.add()
    emulator.fail(fault, method="DELETE", path="*")

    try:
        answer = client.delete(f"/files/{file['id']}").status_code
    except (ConnectionResetError, TimeoutError):
        answer = None

    assert len(emulator.ids()) == left
    assert emulator.requests[-1].status == answer


def test_a_cursor_vanishes_under_way(emulator: Emulator, client: httpx.Client):
    """The file that the next page starts after is deleted just before the answer."""
    emulator.add_many(6, created_at=NOW)
    emulator.oddities = Oddities(vanished_cursor="end")
    emulator.fail(vanish(), at=2)

    pages = list(follow(client, limit=2))

    assert [len(page) for page in pages] == [2, 0]
    assert pages[0][-1] not in emulator.ids()


def test_a_first_page_has_no_cursor_to_lose(emulator: Emulator, client: httpx.Client):
    """Without `after` nothing vanishes."""
    emulator.add()
    emulator.fail(vanish())

    assert client.get("/files").is_success
    assert len(emulator.ids()) == 1


@pytest.mark.parametrize("named", [False, True])
def test_an_empty_page_promises_more(emulator: Emulator, client: httpx.Client, named: bool):
    """Its files are hidden; where it names its last one, a client can go on behind them."""
    ids = emulator.add_many(6, created_at=NOW)
    emulator.fail(empty_page(named=named), at=2)
    first = client.get("/files", params={"limit": 2, "order": "asc"}).json()

    page = client.get("/files", params={"limit": 2, "order": "asc", "after": first["last_id"]}).json()

    assert (page["data"], page["has_more"]) == ([], True)
    assert (page["first_id"], page["last_id"]) == ((ids[2], ids[3]) if named else (None, None))


def test_an_error_has_no_page_to_empty(emulator: Emulator, client: httpx.Client):
    """Hiding files does not make an error a success."""
    emulator.fail(empty_page())

    assert client.get("/files", params={"limit": 0}).status_code == 400


class Patience(threading.Event):
    """An event that writes down how long it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return self.is_set()


def test_an_answer_takes_its_time(emulator: Emulator):
    """Latency and a slow answer add up, and a server that stops cuts the wait."""
    patience = Patience()
    caller = werkzeug.test.Client(emulator)
    emulator.latency = 2.0
    emulator.fail(slow(60), at=2)

    for _ in range(2):
        assert caller.get("/v1/files", environ_overrides={STOPPING: patience}).status_code == 200
    patience.set()
    with pytest.raises(ConnectionResetError):
        caller.get("/v1/files", environ_overrides={STOPPING: patience})

    assert patience.waits == [2.0, 62.0, 2.0]


# Serving


class Announced(list[Request]):
    """A log that tells when something came in."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Event()

    def append(self, request: Request) -> None:
        super().append(request)
        self.came.set()


@pytest.mark.parametrize("fault", [hang(), slow(3_600)], ids=lambda fault: fault.name)
def test_closing_ends_what_hangs(emulator: Emulator, fault: Fault):
    """A server that stops leaves no client waiting, no connection open, and none of its threads."""
    log = emulator.requests = Announced()
    emulator.fail(fault)
    others = set(threading.enumerate())
    with emulator.serve() as server:
        waiting, idle = (socket.create_connection(address_of(server), timeout=5) for _ in range(2))
        for connection in (waiting, idle):
            log.came.clear()
            connection.sendall(b"GET /v1/files HTTP/1.1\r\nHost: x\r\n\r\n")
            assert log.came.wait(5)
        answer = b""
        while not answer.endswith(b"}"):
            answer += idle.recv(4096)
        handlers = set(threading.enumerate()) - others
    with waiting, idle:
        assert waiting.recv(1) == idle.recv(1) == b""
    for thread in handlers:
        thread.join(5)
        assert not thread.is_alive()


def test_a_connection_is_used_again(server: Server):
    """Requests, errors and uploads follow each other on one connection."""
    connection = http.client.HTTPConnection(*address_of(server), timeout=5)
    connection.connect()
    used = connection.sock
    for method, path, body in (("GET", "/v1/files", None), ("POST", "/v1/files", b"junk"), ("GET", "/v1/no", None)) * 2:
        connection.request(method, path, body)
        connection.getresponse().read()
        assert connection.sock is used
    connection.close()


def test_an_old_client_gets_its_connection_closed(server: Server):
    """HTTP/1.0 has no other way to end an answer."""
    with socket.create_connection(address_of(server), timeout=5) as old:
        old.sendall(b"GET /v1/files HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: old.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'"has_more":false}')


def test_a_server_is_quiet(emulator: Emulator, capfd: pytest.CaptureFixture[str]):
    """Neither requests nor clients that disappear are anything to write home about."""
    before = set(threading.enumerate())
    with emulator.serve() as server:
        with over_a_socket(server) as client:
            client.get("/files")
            emulator.fail(hang())
            with pytest.raises(httpx.ReadTimeout):
                client.get("/files", timeout=0.05)
        with socket.create_connection(address_of(server)) as leaving:
            leaving.sendall(b"POST /v1/files HTTP/1.1\r\nContent-Length: 100\r\n\r\nsome")
        with socket.create_connection(address_of(server)) as confused:
            confused.sendall(b"what?\r\n\r\n")
            confused.recv(1)
        threads = set(threading.enumerate()) - before
    for thread in threads:
        thread.join(5)
    server.wait()

    assert capfd.readouterr() == ("", "")


def test_a_client_that_leaves_amid_its_request_did_not_ask(emulator: Emulator):
    """A request that was not complete changes nothing and is not in the log."""
    with pytest.raises(ConnectionAbortedError):
        werkzeug.test.Client(emulator).post("/v1/files", data=b"some", environ_overrides={"CONTENT_LENGTH": "100"})

    assert emulator.requests == []


def test_several_clients_may_ask_at_once(emulator: Emulator, server: Server):
    """While some add, others always read a listing in order."""

    def add(seed: int) -> None:
        with over_a_socket(server) as client:
            for number in range(20):
                emulator.add(created_at=NOW - (seed + 3 * number) % 5)
                data = client.get("/files", params={"order": "asc"}).json()["data"]
                seen = [file["created_at"] for file in data]
                assert seen == sorted(seen)
                assert len({file["id"] for file in data}) == len(data)

    threads = [threading.Thread(target=add, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(emulator.ids()), len(emulator.requests)) == (80, 80)


# The official client


@pytest.fixture
def official(emulator: Emulator, server: Server) -> Iterator[openai.OpenAI]:
    emulator.api_key = KEY
    with openai.OpenAI(api_key=KEY, base_url=server.url, max_retries=1, timeout=30) as client:
        yield client


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_official_client_pages(official: openai.OpenAI, emulator: Emulator, order: str):
    """It follows the cursor through every page, in both orders and by purpose."""
    emulator.populate(100, start=NOW - 20 * DAY, end=NOW)
    forward = 1 if order == "asc" else -1

    assert [file.id for file in official.files.list(limit=7, order=order)] == emulator.ids()[::forward]
    assert [file.id for file in official.files.list(order=order, purpose="batch")] == emulator.ids("batch")[::forward]


def test_the_official_client_uploads_downloads_and_deletes(official: openai.OpenAI, emulator: Emulator):
    """The other four calls work as it expects."""
    file = official.files.create(
        file=("requests.jsonl", b"{}\n"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 7_200}
    )

    assert file.to_dict() == emulator.file(file.id) == official.files.retrieve(file.id).to_dict()
    assert file.expires_at == NOW + 7_200
    assert official.files.content(file.id).content == b"{}\n"
    assert official.files.delete(file.id).deleted
    assert len(emulator.ids()) == 0


def test_the_official_client_knows_the_errors(official: openai.OpenAI, emulator: Emulator):
    """Each refusal becomes the exception that it stands for."""
    file = emulator.add(purpose="assistants")

    with pytest.raises(openai.BadRequestError, match="Not allowed to download files of purpose: assistants"):
        official.files.content(file["id"])
    with pytest.raises(openai.NotFoundError):
        official.files.retrieve("file-nobody")
    with pytest.raises(openai.AuthenticationError):
        official.with_options(api_key="wrong").files.list()
    with pytest.raises(openai.BadRequestError) as refused:
        official.files.list(limit=0)
    assert refused.value.param == "limit"


@pytest.mark.parametrize("fault", [FAULTS["429 with retry-after-ms"], cut()], ids=lambda fault: fault.name)
def test_the_official_client_tries_again(
    official: openai.OpenAI, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, fault: Fault
):
    """What passes on a second try passes."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)
    emulator.add()
    emulator.fail(fault)

    assert len(list(official.files.list())) == 1
    assert len(emulator.requests) == 2
