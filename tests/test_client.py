"""The five calls on the wire, over good and bad connections, and what must never show."""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import ssl
import struct
import subprocess
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from unittest import mock
from urllib.parse import unquote_to_bytes

import httpx
import pytest
import respx
from hypothesis import example, given
from hypothesis import strategies as st

from files_source import retries
from files_source.accounts import Account
from files_source.client import TIMEOUT, FilesClient
from files_source.errors import ApiError, ConfigError, DecodeError, FilesSourceError, TransportError
from files_source.retries import RetryRules

API = "https://api.openai.com/v1"
KEY = "sk-proj-Zq9+x/7Lw==_secret"
TOKEN = "gateway-token-41d8"
FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 3,
    "created_at": 1_790_000_000,
    "filename": "a.jsonl",
    "purpose": "batch",
    "status": "processed",
}
LISTING = {"object": "list", "data": [FILE], "first_id": "file-1", "last_id": "file-1", "has_more": False}
CALLS: dict[str, Callable[[FilesClient], object]] = {
    "page": lambda client: client.page(),
    "pages": lambda client: list(client.pages()),
    "get": lambda client: client.get("file-1"),
    "delete": lambda client: client.delete("file-1"),
    "content": lambda client: b"".join(client.content("file-1")),
    "create": lambda client: client.create(b"abc", purpose="batch"),
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the retries follow one another at once, and trust the usual authorities."""
    monkeypatch.setattr(retries, "time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@pytest.fixture
def api() -> Iterator[respx.MockRouter]:
    """Stand in for OpenAI; a route that is not used fails the test."""
    with respx.mock(base_url=API) as router:
        yield router


@pytest.fixture
def client() -> Iterator[FilesClient]:
    with FilesClient(Account(api_key=KEY)) as client:
        yield client


def told(error: BaseException) -> str:
    """Return all that a user or a log may see of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


def test_a_page_asks_for_what_is_given_and_no_more(api: respx.MockRouter, client: FilesClient):
    """The API's defaults for order and limit are spelled out, since servers differ in theirs."""
    route = api.get("/files").respond(json=LISTING, headers={"Date": "Mon, 21 Sep 2026 14:13:20 GMT"})

    page = client.page()

    assert route.calls.last.request.url == f"{API}/files?limit=10000&order=desc"
    assert page.files.column("id").to_pylist() == ["file-1"]
    assert page.files.column("account").to_pylist() == ["default"]
    assert page.date.timestamp() == 1_790_000_000


def test_a_page_passes_every_parameter_on(api: respx.MockRouter, client: FilesClient):
    """The names are the API's own."""
    route = api.get("/files").respond(json=LISTING)

    client.page(after="file-0", limit=7, order="asc", purpose="fine-tune")

    assert route.calls.last.request.url == f"{API}/files?after=file-0&limit=7&order=asc&purpose=fine-tune"


@pytest.mark.parametrize("date", [None, "", "yesterday", "Fri, 31 Dec 9999 23:59:59 -0100"], ids=str)
def test_a_page_without_a_readable_date_has_none(date: str | None, api: respx.MockRouter, client: FilesClient):
    """The server's clock is a help, never a condition."""
    api.get("/files").respond(json=LISTING, headers={} if date is None else {"Date": date})

    assert client.page().date is None


def test_pages_keep_their_parameters_to_the_end(api: respx.MockRouter, client: FilesClient):
    """Only the cursor changes from page to page: it is the last row's id."""
    more = LISTING | {"has_more": True, "last_id": "misleading"}
    following = LISTING | {"data": [FILE | {"id": "file-2"}]}
    route = api.get("/files").mock(side_effect=[httpx.Response(200, json=page) for page in (more, following)])

    pages = list(client.pages(limit=1, order="asc", purpose="batch"))

    assert [page.files.column("id").to_pylist() for page in pages] == [["file-1"], ["file-2"]]
    assert [str(call.request.url) for call in route.calls] == [
        f"{API}/files?limit=1&order=asc&purpose=batch",
        f"{API}/files?after=file-1&limit=1&order=asc&purpose=batch",
    ]


def test_a_file_is_asked_for_by_its_id(api: respx.MockRouter, client: FilesClient):
    """The answer is the API's own object, vendors' fields included."""
    api.get("/files/file-1", params={}).respond(json=FILE | {"vendor": [1]})

    assert client.get("file-1") == FILE | {"vendor": [1]}


def test_a_file_is_deleted_by_its_id(api: respx.MockRouter, client: FilesClient):
    """The answer is the API's confirmation."""
    confirmation = {"id": "file-1", "object": "file", "deleted": True}
    api.delete("/files/file-1", params={}).respond(json=confirmation)

    assert client.delete("file-1") == confirmation


def test_a_server_that_answers_a_deletion_with_nothing_is_asked_once(api: respx.MockRouter, client: FilesClient):
    """As 204 says; what it has not confirmed is not made up."""
    route = api.delete("/files/file-1", params={}).respond(204)

    assert client.delete("file-1") == {}
    assert route.call_count == 1


def test_content_is_the_files_bytes(api: respx.MockRouter, client: FilesClient):
    """Nothing is decoded, whatever type the server says it is."""
    api.get("/files/file-1/content", params={}).respond(content=b"\xff\x00{", headers={"Content-Type": "text/plain"})

    assert b"".join(client.content("file-1")) == b"\xff\x00{"


def form(request: httpx.Request) -> dict[str, tuple[str | None, bytes]]:
    """Return the parts of an upload: filename and bytes by name."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + request.content, policy=policy.HTTP).iter_parts()
    return {
        part.get_param("name", header="content-disposition"): (part.get_filename(), part.get_payload(decode=True))
        for part in parts
    }


def an_open_file(path: Path) -> io.BufferedReader:
    """Return it read to its end already."""
    opened = path.open("rb")
    opened.read()
    return opened


@pytest.mark.parametrize(
    ("give", "filename"),
    [
        pytest.param(lambda path: path, "a.jsonl", id="path"),
        pytest.param(an_open_file, "a.jsonl", id="open file"),
        pytest.param(lambda path: path.read_bytes(), "upload", id="bytes"),
        pytest.param(lambda path: io.BytesIO(path.read_bytes()), "upload", id="bytes as a file"),
    ],
)
def test_an_upload_is_a_form(
    give: Callable[[Path], object], filename: str, api: respx.MockRouter, client: FilesClient, tmp_path: Path
):
    """A file goes whole, under its own name, with its purpose, and with nothing that was not given."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"custom_id": "\xff"}\r\n\n')
    route = api.post("/files", params={}).respond(json=FILE)
    file = give(path)

    created = client.create(file, purpose="batch")

    assert created == FILE
    assert form(route.calls.last.request) == {
        "purpose": (None, b"batch"),
        "file": (filename, b'{"custom_id": "\xff"}\r\n\n'),
    }
    if hasattr(file, "close"):
        file.close()


def test_an_upload_can_expire_and_be_renamed(api: respx.MockRouter, client: FilesClient, tmp_path: Path):
    """The expiry counts from the creation, the one anchor that the API has."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"abc")
    route = api.post("/files").respond(json=FILE)

    client.create(path, purpose="batch", filename="b.jsonl", expires_after=3600)

    assert form(route.calls.last.request) == {
        "purpose": (None, b"batch"),
        "expires_after[anchor]": (None, b"created_at"),
        "expires_after[seconds]": (None, b"3600"),
        "file": ("b.jsonl", b"abc"),
    }


def test_a_file_is_named_by_any_path_but_not_by_text(client: FilesClient):
    """Text may be a name or what the file holds."""
    with pytest.raises(ConfigError, match="give a Path, or bytes"):
        client.create("a.jsonl", purpose="batch")  # type: ignore[arg-type]
    with (
        os.scandir(Path(__file__).parent) as found,
        pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"),
    ):
        client.create(next(entry for entry in found if entry.name == "benchmarks"), purpose="batch")


def test_a_file_that_cannot_be_read_is_a_setting(client: FilesClient, tmp_path: Path):
    """The message says which, and why."""
    with pytest.raises(ConfigError, match=r"cannot read .*missing: No such file or directory"):
        client.create(tmp_path / "missing", purpose="batch")

    assert client.requests == 0


def test_a_stream_that_cannot_seek_is_refused(client: FilesClient):
    """Its length is not known, and it could not be sent again."""
    reading, writing = socket.socketpair()
    with (
        reading,
        writing,
        reading.makefile("rb") as stream,
        pytest.raises(ConfigError, match="cannot seek: give a path, bytes or an open file"),
    ):
        client.create(stream, purpose="batch")

    assert client.requests == 0


def test_every_request_says_who_asks(api: respx.MockRouter):
    """Key, organization, project and extra headers go with each of the calls."""
    account = Account(api_key=KEY, organization="org-1", project="proj-2", headers={"X-Gateway": TOKEN})
    api.route().respond(json=LISTING)

    with FilesClient(account) as client:
        for call in CALLS.values():
            call(client)

    for call in api.calls:
        sent = call.request.headers
        assert sent["Authorization"] == f"Bearer {KEY}"
        assert (sent["OpenAI-Organization"], sent["OpenAI-Project"]) == ("org-1", "proj-2")
        assert (sent["X-Gateway"], sent["User-Agent"]) == (TOKEN, "openai-files-source")
        assert sent["Host"] == "api.openai.com"


def test_azures_key_goes_in_azures_header():
    """And in no other."""
    base_url = "https://me.openai.azure.com/openai/v1"
    with respx.mock(base_url=base_url) as azure:
        azure.get("/files/file-1").respond(json=FILE)

        with FilesClient(Account(api_key=KEY, base_url=base_url, authentication="api-key")) as client:
            client.get("file-1")

        assert azure.calls.last.request.headers["api-key"] == KEY
        assert "Authorization" not in azure.calls.last.request.headers


def test_a_header_of_the_account_stands_alone(api: respx.MockRouter):
    """An extra header replaces ours of the same name, in any case, instead of standing beside it."""
    api.get("/files/file-1").respond(json=FILE)

    with FilesClient(Account(api_key=KEY, headers={"user-agent": "mine/1", "AUTHORIZATION": "Basic x"})) as client:
        client.get("file-1")

    sent = api.calls.last.request.headers
    assert sent.get_list("User-Agent") == ["mine/1"]
    assert sent.get_list("Authorization") == ["Basic x"]


def test_the_environment_is_enough(api: respx.MockRouter, monkeypatch: pytest.MonkeyPatch):
    """A client without an account takes what the official clients take."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    api.get("/files/file-1").respond(json=FILE)

    with FilesClient() as client:
        client.get("file-1")

    assert api.calls.last.request.headers["Authorization"] == f"Bearer {KEY}"


def echo(request: httpx.Request) -> httpx.Response:
    """Answer with the path and the cursor as they came over the wire."""
    return httpx.Response(200, json={"path": request.url.raw_path.decode("latin-1")})


TEXT = st.text(st.sampled_from("/?#%&+=.\\ ") | st.characters(codec="utf-8"))


@given(file_id=TEXT.filter(lambda text: text not in {"", ".", ".."}))
@example(file_id="../models")
def test_any_id_is_one_part_of_the_path(file_id: str):
    """Spaces, slashes, question marks and other alphabets arrive as the id, and nowhere else."""
    with FilesClient(Account(base_url="http://127.0.0.1/v1"), transport=httpx.MockTransport(echo)) as client:
        path = str(client.get(file_id)["path"])
        content = b"".join(client.content(file_id)).decode()

    head, files, quoted = path.rpartition("/files/")
    assert (head, files) == ("/v1", "/files/")
    assert unquote_to_bytes(quoted) == file_id.encode()
    assert not set(quoted) & set("/?#")
    assert f"{path}/content" in content


@given(after=TEXT, purpose=TEXT.filter(bool))
def test_any_cursor_and_purpose_arrive_as_they_are(after: str, purpose: str):
    """Ids and purposes are any strings."""
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, json=LISTING)

    with FilesClient(Account(base_url="http://127.0.0.1/v1"), transport=httpx.MockTransport(answer)) as client:
        client.page(after=after, purpose=purpose)

    assert dict(asked[0].params) == {"after": after, "limit": "10000", "order": "desc", "purpose": purpose}


@pytest.mark.parametrize("file_id", ["", ".", "..", "\ud800"], ids=ascii)
@pytest.mark.parametrize("name", ["get", "delete", "content"])
def test_an_id_that_would_be_another_path_is_refused(name: str, file_id: str, client: FilesClient):
    """`DELETE /files/..` is not what anybody meant; the refusal comes with the call, before any request."""
    with pytest.raises(ConfigError, match="is no file id"):
        getattr(client, name)(file_id)

    assert client.requests == 0


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda client: client.page(after="\udcff"), id="cursor"),
        pytest.param(lambda client: client.create(b"", purpose="\udcff"), id="purpose"),
        pytest.param(lambda client: client.create(b"", purpose="batch", filename="\udcff"), id="filename"),
        pytest.param(lambda client: client.get("x" * 100_000), id="too long"),
    ],
)
def test_what_no_request_can_carry_is_a_setting(call: Callable[[FilesClient], object], client: FilesClient):
    """Half a character from a broken file name, or an endless id, is told as one line."""
    with pytest.raises(ConfigError, match=r"^(GET|POST) https://api.openai.com/v1/files\S* cannot be sent"):
        call(client)

    assert client.requests == 0


def test_making_a_client_asks_nothing():
    """Not even a connection is opened before the first call."""
    with FilesClient(Account(base_url="http://127.0.0.1:9/v1")) as client:
        client.content("file-1")
        client.pages()

    assert (client.requests, client.retries, client.received) == (0, 0, 0)


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        pytest.param(TIMEOUT, {"connect": 5, "read": 600, "write": 600, "pool": 600}, id="default"),
        pytest.param(30, {"connect": 5, "read": 30, "write": 30, "pool": 30}, id="seconds"),
        pytest.param(0.5, {"connect": 0.5, "read": 0.5, "write": 0.5, "pool": 0.5}, id="less than to connect"),
        pytest.param(
            httpx.Timeout(1, read=None), {"connect": 1, "read": None, "write": 1, "pool": 1}, id="httpx.Timeout"
        ),
    ],
)
def test_a_time_out_leaves_the_one_for_connecting_short(timeout: float | httpx.Timeout, expected: dict[str, float]):
    """A page may take minutes; a server that is not there should not."""
    limits: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        limits.append(request.extensions["timeout"])
        return httpx.Response(200, json=FILE)

    account = Account(base_url="http://127.0.0.1/v1")
    with FilesClient(account, timeout=timeout, transport=httpx.MockTransport(answer)) as client:
        client.get("file-1")

    assert limits == [expected]


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_time_out_of_nothing_is_refused(timeout: float):
    """No answer could ever come in time."""
    with pytest.raises(ConfigError, match=r"timeout is \S+: give seconds, more than 0"):
        FilesClient(Account(base_url="http://127.0.0.1/v1"), timeout=timeout)


def test_a_base_url_that_httpx_refuses_is_a_setting():
    """The message shows it on one line."""
    with pytest.raises(ConfigError, match=r"base URL .* cannot be used") as caught:
        FilesClient(Account(base_url="http://127.0.0.1/\x1b[2J"))

    assert str(caught.value).isprintable()


def test_leaving_the_block_closes_the_way_to_the_server():
    """Connections do not outlive the client."""

    class Way(httpx.MockTransport):
        closed = False

        def close(self) -> None:
            self.closed = True

    way = Way(echo)
    with FilesClient(Account(base_url="http://127.0.0.1/v1"), transport=way) as client:
        client.get("file-1")
        assert not way.closed

    assert way.closed


class Server(ThreadingHTTPServer):
    """Answers over a socket as it is told: one after the other, the last one ever again.

    Attributes:
        asked: method and target of each request, with its headers and body.
        url: where the API begins.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.over = Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        """Take a client that has gone for nothing."""


class Handler(BaseHTTPRequestHandler):
    """One connection: one request, one answer."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((f"{self.command} {self.path}", dict(self.headers), body))
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    do_POST = do_DELETE = do_CONNECT = do_GET  # noqa: N815 - http.server's own names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


Answer = Callable[[Handler], None]


def says(head: str, body: bytes = b"", length: int | None = None) -> Answer:
    """Answer with these bytes, which may be fewer than promised."""
    promised = len(body) if length is None else length

    def answer(handler: Handler) -> None:
        handler.wfile.write(
            f"HTTP/1.1 {head}\r\nContent-Length: {promised}\r\nConnection: close\r\n\r\n".encode("latin-1") + body
        )

    return answer


def resets(handler: Handler) -> None:
    """Drop the connection before any byte."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RD)
    handler.rfile.close()
    handler.wfile.close()
    handler.connection.close()


def hangs(handler: Handler) -> None:
    """Say nothing for as long as the test goes on."""
    handler.server.over.wait(10)


@contextmanager
def serving(*answers: Answer, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    with Server(*answers) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.url = server.url.replace("http:", "https:")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


GOOD = says("200 OK", b'{"id": "file-1", "data": []}')
HALF = says("200 OK", b'{"id": "file-1", "da', length=28)


@pytest.mark.parametrize("name", ["page", "get", "delete"])
@pytest.mark.parametrize("failure", [HALF, resets, says("200 OK", b'{"id": "fi'), says("503 Busy")])
def test_a_bad_connection_is_tried_again(failure: Answer, name: str):
    """A body cut short, a reset, broken JSON and a busy server each cost another try, over a real socket."""
    with serving(failure, failure, GOOD) as server, FilesClient(Account(base_url=server.url)) as client:
        CALLS[name](client)

    assert (client.requests, client.retries, len(server.asked)) == (3, 2, 3)


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        pytest.param(HALF, TransportError, r"broke off: peer closed connection .*; try again$", id="cut short"),
        pytest.param(resets, TransportError, r"broke off: .*reset by peer; try again$", id="reset"),
        pytest.param(
            hangs, TransportError, r"gave no answer in time; try again, or with a longer --timeout$", id="hang"
        ),
        pytest.param(
            says("200 OK", b"<html>\nWelcome to our Wi-Fi"),
            DecodeError,
            r"the answer is no JSON object: <html> Welcome to our Wi-Fi",
            id="captive portal",
        ),
    ],
)
def test_a_bad_connection_that_stays_bad_is_told(failure: Answer, kind: type[FilesSourceError], message: str):
    """The message says what was asked, what happened and what helps."""
    with (
        serving(failure) as server,
        FilesClient(Account(base_url=server.url), max_retries=1, timeout=0.1) as client,
        pytest.raises(kind, match=message) as caught,
    ):
        client.get("file-1")

    assert str(caught.value).startswith(f"GET {server.url}/files/file-1")
    assert client.requests == 2


def test_a_captive_portals_page_is_no_listing():
    """A sign-in page's 200 is refused, not taken for an account without files."""
    with (
        serving(says("200 OK", b"<!DOCTYPE html><title>Sign in</title>")) as server,
        FilesClient(Account(base_url=server.url), max_retries=0) as client,
        pytest.raises(DecodeError, match="is not JSON, or is cut short: <!DOCTYPE html><title>Sign in"),
    ):
        client.page()


def test_a_server_that_is_not_there_is_told():
    """A refused connection is tried again, then told with what to look at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        base_url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"

    with FilesClient(Account(base_url=base_url), max_retries=2) as client, pytest.raises(TransportError) as caught:
        client.page()

    assert re.fullmatch(
        rf"GET {base_url}/files could not connect: .*refused; check the network, the base URL and the proxy",
        str(caught.value),
    )
    assert client.requests == 3


def test_a_host_name_that_is_none_is_a_setting():
    """An empty part of a name fails before any request leaves."""
    with (
        FilesClient(Account(base_url="http://a..b/v1")) as client,
        pytest.raises(ConfigError, match=r"GET http://a\.\.b/v1/files cannot be sent"),
    ):
        client.page()


def test_received_counts_what_travelled():
    """Bodies of every try count, as do refusals and content; headers do not."""
    with (
        serving(HALF, says("429 Slow", b"wait"), GOOD, says("404 Gone", b"no"), says("200 OK", b"x" * 100)) as server,
        FilesClient(Account(base_url=server.url)) as client,
    ):
        client.get("file-1")
        with pytest.raises(ApiError):
            client.get("file-2")
        b"".join(client.content("file-3"))

    assert client.received == 20 + 4 + 28 + 2 + 100


def test_several_threads_may_share_a_client():
    """No request, retry or byte is lost from the count."""
    busy = says("503 Busy", b"")
    with (
        mock.patch.object(RetryRules, "sleep"),
        serving(*[busy] * 20, GOOD) as server,
        FilesClient(Account(base_url=server.url), max_retries=20) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        list(threads.map(client.get, [f"file-{number}" for number in range(40)]))

    assert (client.requests, client.retries, client.received) == (60, 20, 40 * 28)


def test_an_upload_goes_again_whole_after_a_busy_answer(tmp_path: Path):
    """The second body is the first one, byte for byte."""
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 1024)
    with serving(says("503 Busy"), GOOD) as server, FilesClient(Account(base_url=server.url)) as client:
        client.create(path, purpose="batch")

    (_, _, first), (_, _, second) = server.asked
    assert path.read_bytes() in first
    assert first == second


@pytest.mark.parametrize("failure", [hangs, HALF, resets])
def test_an_upload_that_may_have_arrived_is_sent_once(failure: Answer):
    """The connection broke after the file was sent: another try could make a second one."""
    with (
        serving(failure, GOOD) as server,
        FilesClient(Account(base_url=server.url), timeout=0.1) as client,
        pytest.raises(TransportError, match="the file may have arrived: look for it before you send it again"),
    ):
        client.create(b"abc", purpose="batch")

    assert len(server.asked) == 1


def test_content_arrives_as_it_is_sent():
    """The first bytes are there while the server still holds the others back."""
    halfway = Event()

    def in_two_parts(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfile")
        assert halfway.wait(10)
        handler.wfile.write(b" end")

    with serving(in_two_parts) as server, FilesClient(Account(base_url=server.url)) as client:
        parts = client.content("file-1")

        first = next(parts)
        halfway.set()
        rest = b"".join(parts)

    assert (first, rest) == (b"file", b" end")


def test_content_is_never_held_whole():
    """However large the file, it goes through in pieces."""
    size = 32 * 1024 * 1024

    def large(handler: Handler) -> None:
        handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(32):
            handler.wfile.write(bytes(1024 * 1024))

    with serving(large) as server, FilesClient(Account(base_url=server.url)) as client:
        sizes = [len(part) for part in client.content("file-1")]

    assert sum(sizes) == size
    assert max(sizes) <= 1024 * 1024


def test_content_that_breaks_off_is_no_file():
    """What came is followed by an error, and nothing is asked again behind the reader's back."""
    received = []
    with (
        serving(says("200 OK", b"half", length=8)) as server,
        FilesClient(Account(base_url=server.url)) as client,
        pytest.raises(TransportError, match=r"GET .*/files/file-1/content broke off: .*; try again$"),
    ):
        received.extend(client.content("file-1"))

    assert (received, client.requests) == ([b"half"], 1)


def test_content_left_unread_leaves_no_connection():
    """Whoever has seen enough can stop: the connection is closed with the iterator."""
    gone = Event()

    def endless(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        try:
            while True:
                handler.wfile.write(bytes(65536))
        except OSError:
            gone.set()

    with serving(endless) as server, FilesClient(Account(base_url=server.url)) as client:
        parts = client.content("file-1")
        next(parts)
        parts.close()

        assert gone.wait(10)


def test_content_that_is_refused_says_why():
    """The API's reason is the error's."""
    refusal = says("400 Bad", b'{"error": {"message": "Not allowed to download files of purpose: assistants"}}')
    with (
        serving(refusal) as server,
        FilesClient(Account(base_url=server.url)) as client,
        pytest.raises(ApiError, match="answered 400: Not allowed to download files of purpose: assistants"),
    ):
        next(client.content("file-1"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("name", CALLS)
def test_no_redirect_is_followed(name: str, status: int):
    """A key never travels to another server; the message says where the answer points to."""
    elsewhere = "https://elsewhere.example/v1/files"
    answer = httpx.Response(status, headers={"Location": elsewhere})
    with (
        FilesClient(Account(api_key=KEY), transport=httpx.MockTransport(lambda _: answer)) as client,
        pytest.raises(ApiError) as caught,
    ):
        CALLS[name](client)

    assert client.requests == 1
    assert caught.value.location == elsewhere
    assert f"redirects are not followed: if {elsewhere} is the same API, set the base URL to it" in str(caught.value)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        pytest.param("/v2/files", "https://api.openai.com/v2/files", id="relative"),
        pytest.param("//other.example/v1", "https://other.example/v1", id="another host"),
        pytest.param(f"https://h.example/?key={KEY}#x", "https://h.example/", id="query"),
        pytest.param("https://user:hunter2-@h.example/", "https://h.example/", id="password"),
        pytest.param(f"https://h.example/{TOKEN}/v1", "https://h.example/***/v1", id="secret in the path"),
    ],
)
def test_where_a_redirect_points_to_is_shown_whole_and_safe(location: str, shown: str):
    """A relative address is completed; what may be secret is left out."""
    answer = httpx.Response(302, headers={"Location": location})
    account = Account(api_key=KEY, headers={"X-Gateway": TOKEN})
    with (
        FilesClient(account, transport=httpx.MockTransport(lambda _: answer)) as client,
        pytest.raises(ApiError) as caught,
    ):
        client.page()

    assert caught.value.location == shown
    assert not any(secret in told(caught.value) for secret in (KEY, TOKEN, "hunter2-"))


@pytest.mark.parametrize("location", [f"https://h.example:{TOKEN}/", "http://[", "https://\x1b[2J/"], ids=ascii)
def test_a_redirect_to_nowhere_is_told(location: str):
    """An address that is none makes one line, without what a server may have put there."""
    answer = httpx.Response(302, headers={"Location": location})
    with (
        FilesClient(Account(api_key=TOKEN), transport=httpx.MockTransport(lambda _: answer)) as client,
        pytest.raises(FilesSourceError) as caught,
    ):
        client.page()

    assert str(caught.value).isprintable()
    assert TOKEN not in told(caught.value)
    assert client.requests == 1


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a private authority's certificate for 127.0.0.1, with its key."""
    path = tmp_path_factory.mktemp("authority") / "authority.pem"
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=private"
    extensions = "-addext subjectAltName=IP:127.0.0.1 -addext keyUsage=critical,digitalSignature,keyCertSign"
    written = ["-keyout", path, "-out", path.with_suffix(".crt")]
    subprocess.run([*request.split(), *extensions.split(), *written], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_private_authority_can_be_trusted(tls: ssl.SSLContext, certificate: Path):
    """Its file beside the usual ones is enough, as a path or as text."""
    bundle = certificate.with_suffix(".crt")
    with serving(GOOD, context=tls) as server:
        for ca_bundle in (bundle, str(bundle)):
            with FilesClient(Account(base_url=server.url, api_key=KEY), ca_bundle=ca_bundle) as client:
                assert client.get("file-1")["id"] == "file-1"


def test_a_private_authority_can_be_trusted_by_the_environment(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    """`SSL_CERT_FILE` means what it means to other programs."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))

    with serving(GOOD, context=tls) as server, FilesClient(Account(base_url=server.url)) as client:
        assert client.get("file-1")["id"] == "file-1"


def test_a_certificate_that_nobody_vouches_for_is_told_at_once(tls: ssl.SSLContext):
    """No request leaves, no try is repeated, and the message names the option."""
    with (
        serving(GOOD, context=tls) as server,
        FilesClient(Account(base_url=server.url, api_key=KEY)) as client,
        pytest.raises(TransportError) as caught,
    ):
        client.get("file-1")

    assert "met a certificate that is not trusted" in str(caught.value)
    assert str(caught.value).endswith("; name your authority's file with --ca-bundle")
    assert (client.requests, server.asked) == (1, [])


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["missing", "empty", "text"])
def test_a_bundle_that_holds_no_certificate_is_a_setting(content: bytes | None, tmp_path: Path):
    """It is told when the client is made."""
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)

    with pytest.raises(ConfigError, match=r"cannot use the CA bundle .*ca\.pem"):
        FilesClient(Account(base_url="https://127.0.0.1/v1"), ca_bundle=bundle)


def test_authorities_that_the_environment_names_wrongly_are_a_setting(monkeypatch: pytest.MonkeyPatch):
    """The message names the variables."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")

    with pytest.raises(ConfigError, match="cannot use the authorities that SSL_CERT_FILE or SSL_CERT_DIR names"):
        FilesClient(Account(base_url="https://127.0.0.1/v1"))


def test_plain_http_goes_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    """The proxy is asked for the whole address."""
    with serving(GOOD) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.server_port}")
        with FilesClient(Account(base_url="http://files.example/v1")) as client:
            client.get("file-1")

    assert proxy.asked[0][0] == "GET http://files.example/v1/files/file-1"


def test_a_proxy_never_sees_the_key(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """It is asked for a tunnel only, and its refusal is told without its password."""
    caplog.set_level(logging.DEBUG)
    with serving(says("403 No tunnels")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2-@127.0.0.1:{proxy.server_port}")
        with (
            FilesClient(Account(base_url="https://files.example/v1", api_key=KEY)) as client,
            pytest.raises(TransportError) as caught,
        ):
            client.get("file-1")

    (asked, headers, _) = proxy.asked[0]
    assert asked == "CONNECT files.example:443"
    assert KEY not in str(headers)
    assert str(caught.value) == (
        "GET https://files.example/v1/files/file-1 could not pass the proxy "
        f"http://127.0.0.1:{proxy.server_port}: 403 No tunnels; "
        "check the proxy that the environment names"
    )
    assert "hunter2-" not in told(caught.value) + caplog.text


def test_a_proxy_that_is_not_there_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch):
    """The server may be well."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:1")

    with (
        FilesClient(Account(base_url="https://files.example/v1", api_key=KEY), max_retries=0) as client,
        pytest.raises(TransportError) as caught,
    ):
        client.get("file-1")

    assert str(caught.value) == (
        "GET https://files.example/v1/files/file-1 could not connect through the proxy http://127.0.0.1:1: "
        "[Errno 111] Connection refused; check the network and that proxy"
    )


def test_a_loopback_server_is_reached_past_the_proxy(monkeypatch: pytest.MonkeyPatch):
    """The key that may go to this machine in plain http may go nowhere else."""
    with serving(GOOD) as proxy, serving(GOOD) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        with FilesClient(Account(base_url=server.url, api_key=KEY)) as client:
            client.get("file-1")

    assert (len(proxy.asked), len(server.asked)) == (0, 1)


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        pytest.param("foo://user:hunter2-@proxy", "give it as http://host:port", id="scheme"),
        pytest.param("http://user:hunter2-/x@proxy", "give it as http://host:port", id="port"),
        pytest.param("http://[::1", "give it as http://host:port", id="IPv6"),
        pytest.param("socks5://user:hunter2-@proxy", "install httpx[socks]", id="SOCKS"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_setting(proxy: str, message: str, monkeypatch: pytest.MonkeyPatch):
    """It is told when the client is made, and its password is not."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)

    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        FilesClient(Account(base_url="https://files.example/v1"))

    assert "hunter2-" not in told(caught.value)


ECHOES = {
    "error": says("401 No", b'{"error": {"message": "bad key SECRET", "code": "SECRET", "param": "SECRET"}}'),
    "detail": says("422 No", b'{"detail": [{"input": "SECRET"}]}'),
    "text": says("400 No", b"you sent SECRET"),
    "cut by our excerpt": says("400 No", b"x" * 190 + b"SECRET"),
    "headers": says("400 No\r\nX-Request-Id: SECRET\r\nX-Echo: Bearer SECRET", b"no"),
    "status line": says("400 SECRET"),
    "redirect": says("302 Found\r\nLocation: https://SECRET@h.example/SECRET?SECRET"),
    "no JSON": says("200 OK", b"<html>SECRET"),
    "no JSON, cut by our excerpt": says("200 OK", b"<html>" + b"x" * 184 + b"SECRET"),
    "no object": says("200 OK", b'["SECRET"]'),
    "no file": says("200 OK", b'{"data": [{"id": "SECRET", "created_at": "SECRET"}]}'),
    "no HTTP": lambda handler: handler.wfile.write(b"SECRET\r\n\r\n"),
}


def repeating(answer: Answer, secret: str) -> Answer:
    """Put the secret where the answer says so."""

    def repeat(handler: Handler) -> None:
        written = io.BytesIO()
        answer(SimpleNamespace(wfile=written))
        head, blank, body = written.getvalue().replace(b"SECRET", secret.encode()).partition(b"\r\n\r\n")
        head = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), head)
        handler.wfile.write(head + blank + body)

    return repeat


@pytest.mark.parametrize("secret", [KEY, TOKEN], ids=["key", "header"])
@pytest.mark.parametrize("answer", ECHOES.values(), ids=ECHOES)
def test_no_secret_shows_even_if_the_server_repeats_it(answer: Answer, secret: str, caplog: pytest.LogCaptureFixture):
    """Whatever a server echoes, no message, attribute, traceback, repr or log of any library holds it."""
    caplog.set_level(logging.DEBUG)
    with serving(repeating(answer, secret)) as server:
        account = Account(base_url=server.url, api_key=KEY, headers={"X-Gateway": TOKEN})
        with FilesClient(account, max_retries=1) as client:
            for call in CALLS.values():
                try:
                    call(client)
                except FilesSourceError as error:
                    shown = told(error)
                    assert secret not in shown
                    assert secret[:8] not in shown

    assert secret not in caplog.text
    assert secret not in repr(client) + repr(account) + repr(vars(client))
    assert [secret in str(headers) for _, headers, _ in server.asked] == [True] * client.requests


def test_a_log_keeps_what_is_not_ours(caplog: pytest.LogCaptureFixture):
    """Other users of httpx in the process see their log as it was."""
    caplog.set_level(logging.DEBUG)
    with serving(says(f"200 OK\r\nX-Echo: {KEY}")) as server:
        FilesClient(Account(base_url=server.url, api_key=KEY)).close()

        httpx.get(server.url)

    assert KEY in caplog.text


@given(phrase=st.binary(max_size=40), request_id=st.binary(max_size=40), body=st.binary(max_size=400))
def test_nothing_that_a_server_says_can_break_a_message(phrase: bytes, request_id: bytes, body: bytes):
    """Status line, headers and body may hold anything: the message is one printable line."""
    answer = httpx.Response(
        400, headers=[(b"x-request-id", request_id)], content=body, extensions={"reason_phrase": phrase}
    )
    transport = httpx.MockTransport(lambda _: answer)
    with (
        FilesClient(Account(base_url="http://127.0.0.1/v1"), transport=transport) as client,
        pytest.raises(ApiError) as caught,
    ):
        client.page()

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
