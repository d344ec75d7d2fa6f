"""How much an answer may unfold to, over real sockets: refused, cut off, or streamed, but never held whole."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from files_source import retries
from files_source.accounts import Account
from files_source.bodies import MAX_VALUES, unpacked
from files_source.client import FilesClient
from files_source.errors import ApiError, ConfigError, DecodeError, FilesSourceError, MalformedBody
from files_source.retries import RetryRules
from tests.test_client import CALLS, GOOD, KEY, Answer, Handler, says, serving

MB = 1024 * 1024
ZEROS = bytes(MB)
JSON_CALLS = {name: CALLS[name] for name in ("page", "get", "delete", "create")}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the retries follow one another at once."""
    monkeypatch.setattr(retries, "time", SimpleNamespace(sleep=lambda _: None))


def endless(status: str, parts: Iterable[bytes], encoding: str = "identity") -> Answer:
    """Answer with a body that goes on until the client has had enough, or *parts* end."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(f"HTTP/1.1 {status}\r\nContent-Encoding: {encoding}\r\n\r\n".encode())
        try:
            for part in parts:
                handler.wfile.write(part)
        except OSError:
            handler.server.over.set()

    return answer


def for_ever(part: bytes) -> Iterator[bytes]:
    while True:
        yield part


def bomb() -> Iterator[bytes]:
    """Yield gzip without an end, each kilobyte of which unfolds to a megabyte of zeros."""
    pack = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    yield pack.compress(ZEROS) + pack.flush(zlib.Z_FULL_FLUSH)
    yield from for_ever(pack.compress(ZEROS) + pack.flush(zlib.Z_FULL_FLUSH))


def packed(body: bytes) -> Answer:
    return says("200 OK\r\nContent-Encoding: gzip", gzip.compress(body))


def peak_of(call: Callable[[], object]) -> tuple[FilesSourceError, int]:
    """Return the error that a call ends with, and the most memory that it took."""
    tracemalloc.start()
    try:
        with pytest.raises(FilesSourceError) as caught:
            call()
        return caught.value, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", JSON_CALLS)
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: endless("200 OK", for_ever(b" " * 65_536)), id="endless"),
        pytest.param(lambda: endless("200 OK", bomb(), "gzip"), id="endless when unpacked"),
    ],
)
def test_an_endless_answer_is_refused_as_soon_as_it_is_too_large(answer: Callable[[], Answer], name: str):
    """One request, one clear line, a connection that is let go, and little more memory than the limit."""
    with (
        serving(answer()) as server,
        FilesClient(Account(base_url=server.url), max_body=MB) as client,
    ):
        error, peak = peak_of(lambda: JSON_CALLS[name](client))

        assert server.over.wait(10)

    method, path = server.asked[0][0].split("?")[0].split(" ")
    assert isinstance(error, DecodeError)
    assert not isinstance(error, MalformedBody)
    assert str(error).startswith(
        f"{method} {server.url}{path.removeprefix('/v1')}: the answer is larger than 1,048,576 "
    )
    assert "ask for fewer files a page (limit) or allow more (max_body)" in str(error)
    assert ("it may have" in str(error) or "may have arrived" in str(error)) == (name == "create")
    assert (client.requests, len(server.asked)) == (1, 1)
    assert peak < 4 * MB


def test_by_default_an_answer_may_have_256_mib():
    """Far more than any page, and little enough for any machine; it is not read any further."""
    with serving(endless("200 OK", bomb(), "gzip")) as server, FilesClient(Account(base_url=server.url)) as client:
        error, peak = peak_of(client.page)

    assert "larger than 268,435,456 bytes" in str(error)
    assert peak < 280 * MB
    assert client.received < 2 * MB


@pytest.mark.parametrize("answer", [GOOD, packed(b'{"id": "file-1", "data": []}')], ids=["plain", "gzip"])
def test_the_limit_counts_what_is_unpacked_to_the_byte(answer: Answer):
    """28 bytes are no more than 28, and more than 27."""
    with serving(answer) as server:
        with FilesClient(Account(base_url=server.url), max_body=28) as client:
            assert client.get("file-1")["id"] == "file-1"
        with FilesClient(Account(base_url=server.url), max_body=27) as client, pytest.raises(DecodeError):
            client.get("file-1")


@pytest.mark.parametrize("max_body", [0, -1])
def test_a_limit_of_nothing_is_refused(max_body: int):
    """No answer would do."""
    with pytest.raises(ConfigError, match=rf"max_body is {max_body}: give bytes, more than 0"):
        FilesClient(Account(base_url="http://127.0.0.1/v1"), max_body=max_body)


@pytest.mark.parametrize("name", JSON_CALLS)
def test_an_answer_of_countless_small_values_is_refused(name: str):
    """A few megabytes of `{},` would take a hundred times that once they were read."""
    body = b'{"data":[' + b"{}," * (MAX_VALUES + 1) + b"{}]}"
    with serving(packed(body)) as server, FilesClient(Account(base_url=server.url)) as client:
        error, peak = peak_of(lambda: JSON_CALLS[name](client))

    assert "the answer holds more than 2,000,000 values: ask for fewer files a page (limit)" in str(error)
    assert client.requests == 1
    assert peak < 2 * len(body)


@pytest.mark.parametrize("status", ["401 No", "302 Elsewhere", "429 Slow", "503 Busy"])
@pytest.mark.parametrize("name", CALLS)
def test_an_endless_refusal_is_cut_off(name: str, status: str):
    """Its status and its first words say enough; the rest is not read."""
    parts = [b"no, and this is why: ", *[b"x" * 65_536] * 10_000]
    with serving(endless(status, parts)) as server, FilesClient(Account(base_url=server.url), max_retries=0) as client:
        error, peak = peak_of(lambda: CALLS[name](client))

        assert server.over.wait(10)

    assert isinstance(error, ApiError)
    assert error.status == int(status[:3])
    assert error.reason.startswith("no, and this is why: xxx")
    assert peak < 2 * MB


def test_a_refusal_that_unfolds_is_cut_off():
    """A compressed one, too."""
    with serving(endless("404 Gone", bomb(), "gzip")) as server, FilesClient(Account(base_url=server.url)) as client:
        error, peak = peak_of(lambda: client.get("file-1"))

    assert isinstance(error, ApiError)
    assert peak < 2 * MB


def test_a_quota_is_read_out_of_a_refusal_of_any_usual_size():
    """What is cut off is far behind what a server has to say."""
    fault = {"message": "x" * 10_000, "code": "insufficient_quota"}
    with (
        serving(says("429 Slow", json.dumps({"error": fault}).encode())) as server,
        FilesClient(Account(base_url=server.url)) as client,
        pytest.raises(ApiError, match="check the account's plan and billing"),
    ):
        client.page()

    assert client.requests == 1


def test_no_part_of_a_key_shows_where_a_refusal_is_cut_off():
    """A server that repeats the key behind much white space cannot place it so that a part remains."""
    for shown in range(4, len(KEY)):
        body = b" " * (16_384 - shown) + KEY.encode() + b"x" * 100_000
        with (
            serving(says("401 No", body)) as server,
            FilesClient(Account(base_url=server.url, api_key=KEY)) as client,
            pytest.raises(ApiError) as caught,
        ):
            client.page()

        assert caught.value.reason == "***..."


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_the_content_of_a_file_has_no_limit(encoding: str):
    """However large it is, it comes in pieces."""
    body = ZEROS * 32
    answer = packed(body) if encoding == "gzip" else says("200 OK", body)
    with serving(answer) as server, FilesClient(Account(base_url=server.url), max_body=1) as client:
        sizes = [len(part) for part in client.content("file-1")]

    assert sum(sizes) == len(body)
    assert max(sizes) <= 64 * 1024


def test_only_gzip_is_asked_for():
    """Other compressions can unfold to anything in one piece."""
    with serving(GOOD) as server, FilesClient(Account(base_url=server.url)) as client:
        for call in CALLS.values():
            call(client)

    assert {headers["Accept-Encoding"] for _, headers, _ in server.asked} == {"gzip"}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "compress", "gzip, gzip", "GZip,\tBR"])
def test_a_compression_that_was_not_asked_for_is_refused(encoding: str, name: str):
    """By name, and only once; the bytes are never given out as a file's content."""
    answer = says(f"200 OK\r\nContent-Encoding: {encoding}", gzip.compress(gzip.compress(b"{}")))
    with (
        serving(answer) as server,
        FilesClient(Account(base_url=server.url)) as client,
        pytest.raises(DecodeError, match=r": the answer is compressed with .*, and only gzip was asked for"),
    ):
        CALLS[name](client)

    assert client.requests == 1


@pytest.mark.parametrize("status", ["401 No", "429 Slow", "503 Busy"])
def test_a_refusal_in_another_compression_is_still_a_refusal(status: str):
    """The status says enough."""
    with (
        mock.patch.object(RetryRules, "sleep"),
        serving(says(f"{status}\r\nContent-Encoding: br", b"\xff")) as server,
        FilesClient(Account(base_url=server.url)) as client,
        pytest.raises(ApiError, match=f"answered {status.replace(' ', ': ')}"),
    ):
        client.page()

    assert client.requests == (1 if status.startswith("401") else 6)


def test_what_goes_on_behind_the_end_of_gzip_is_not_waited_for():
    """The answer is whole, and its connection is let go."""
    parts = itertools.chain([gzip.compress(b'{"id": "file-1"}')], for_ever(bytes(65_536)))
    with serving(endless("200 OK", parts, "gzip")) as server, FilesClient(Account(base_url=server.url)) as client:
        assert client.get("file-1") == {"id": "file-1"}

        assert server.over.wait(10)


@pytest.mark.parametrize("encoding", ["identity", "", "utf-8", "aws-chunked", "none"])
def test_an_encoding_that_is_no_compression_is_left_alone(encoding: str):
    """Servers put all sorts of things there."""
    answer = says(f"200 OK\r\nContent-Encoding: {encoding}", b'{"id": "file-1"}')
    with serving(answer) as server, FilesClient(Account(base_url=server.url)) as client:
        assert client.get("file-1") == {"id": "file-1"}


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "identity, gzip"])
def test_gzip_by_any_name_is_unpacked(encoding: str):
    """As servers spell it."""
    answer = says(f"200 OK\r\nContent-Encoding: {encoding}", gzip.compress(b'{"id": "file-1"}'))
    with serving(answer) as server, FilesClient(Account(base_url=server.url)) as client:
        assert client.get("file-1") == {"id": "file-1"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(gzip.compress(b'{"id": "file-1"}')[:-9], "gzip ends too early", id="cut short"),
        pytest.param(b"not gzip", "is not the gzip that it claims to be", id="none"),
        pytest.param(gzip.compress(b'{"id": "file-1"}')[:-8] + bytes(8), "is not the gzip", id="wrong checksum"),
    ],
)
def test_broken_gzip_is_asked_for_again_and_then_told(body: bytes, said: str):
    """As is any answer that is not what was promised."""
    broken = says("200 OK\r\nContent-Encoding: gzip", body)
    with serving(broken, GOOD) as server, FilesClient(Account(base_url=server.url)) as client:
        assert client.get("file-1")["id"] == "file-1"
    with (
        serving(broken) as server,
        FilesClient(Account(base_url=server.url), max_retries=1) as client,
        pytest.raises(MalformedBody, match=f"^GET {re.escape(server.url)}/files/file-1: the answer.*{said}"),
    ):
        client.get("file-1")

    assert client.requests == 2


def test_content_whose_gzip_is_cut_short_is_no_file():
    """The connection ended as promised, and the file did not: it is not taken for whole."""
    cut = says("200 OK\r\nContent-Encoding: gzip", gzip.compress(b"0123456789")[:-9])
    with (
        serving(cut) as server,
        FilesClient(Account(base_url=server.url)) as client,
        pytest.raises(DecodeError, match="gzip ends too early"),
    ):
        list(client.content("file-1"))


@pytest.mark.parametrize("head", ["204 No Content", "401 No"])
def test_no_body_at_all_is_no_broken_gzip(head: str):
    """Servers name the compression of a body that they do not send."""
    with (
        serving(says(f"{head}\r\nContent-Encoding: gzip")) as server,
        FilesClient(Account(base_url=server.url), max_retries=0) as client,
        pytest.raises(FilesSourceError) as caught,
    ):
        client.get("file-1")

    assert "gzip" not in str(caught.value)


@given(body=st.binary(max_size=300), cuts=st.lists(st.integers(1, 40)), behind=st.binary(max_size=5))
def test_a_body_is_the_same_in_whatever_parts_it_comes(body: bytes, cuts: list[int], behind: bytes):
    """Gzip may be cut anywhere, and what follows its end is no part of it."""
    sent = gzip.compress(body, mtime=0) + behind
    parts = []
    for cut in cuts:
        parts.append(sent[:cut])
        sent = sent[cut:]

    assert b"".join(unpacked([*parts, sent], "gzip")) == body
