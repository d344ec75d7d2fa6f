"""Whatever a server may send: rows as the schema says or an error of ours, never anything else, and never a hang.

`FUZZ_EXAMPLES` says how many answers each test makes up.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from files_source import retries
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.decoding import Page, decode_page
from files_source.emulator import ODDITIES, Clock, Emulator, Oddities
from files_source.errors import FilesSourceError
from files_source.printing import listing
from files_source.retries import RetryRules
from files_source.schema import FILES
from tests.conftest import NOW
from tests.test_decoding import natively_or_refused, tolerantly

Json = Any
Answer = Callable[[httpx.Request], httpx.Response]

fuzz = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "200")),
    deadline=20_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

ODD = [
    *(b"null", b"true", b"false", b"0", b"-0", b"-1", b"1.5", b"1e3", b"1E+2", b"1e400", b"-1e400", b"1e-400"),
    *(b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"9" * 400, b"0." + b"3" * 400),
    *(b"1700000000", b"1700000000.25", b"1700000000000", b"-62135596800", b"-62135596801", b"253402300800"),
    *(b"253402300799." + b"9" * 30, b"1e30", b"1e-30", b"0e99", b"0e" + b"9" * 30, b"1." + b"0" * 40 + b"1"),
    *(b'"17"', b'"1.5e1"', b'"-3"', b'"1_000"', b'" 1 "', b'"NaN"', b'"sNaN"', b'"Infinity"', '"١٢"'.encode()),
    *(b'"2026-01-31"', b'"2026-01-31T12:00:00.123456789Z"', b'"0001-01-01T00:00+23:59"', b'"9999-12-31T23:59-23:59"'),
    *(b'"2026-W01-1"', b'"0001-W01-1"', b'"9999-W53-7"', b'"20260131T1200"', b'"2026-01-31T24:00"'),
    *(b'""', b'"x"', b'"true"', b'"null"', rb'"\u0000"', rb'"\u202e\u001b[2J"', b'"' + b"x" * 10_000 + b'"'),
    *(rb'"\ud800"', rb'"\udc00\ud83d"', rb'"\ud83d\ude00"', rb'"\\\ud83d\ude00"', rb'"\\ud83d\ude00"'),
    *(b"[]", b"{}", b"[null]", b"[[]]", b'{"a": 1, "a": 2}', b'{"id": "a", "id": 5}', b'["x", {"": [0]}]'),
    *(b"[" * 99 + b"]" * 99, b"[" * 5_000 + b"]" * 5_000, b'{"a":' * 999 + b"1" + b"}" * 999),
]
"""Values as servers are said to spell them, and at the bounds of what they can be."""
BROKEN = [
    *(b"NaN", b"-Infinity", b"Infinity", b"nul", b"01", b"1.", b"+1", b".5", b"0x10", b"'x'", b"undefined", b"", b","),
    *(b'"\xff"', b'"\xed\xa0\x80"', b'"\0"', b'"\x1f"', b'"', b'"\\"', rb'"\u12"', rb'"\x41"', b"/*x*/1", b"1//x\n"),
    b'[{"a":' * 99_999,
]
"""Values as no JSON may have them."""
VALUES = [*ODD, *BROKEN]
NAMES = [*FILES.names, "data", "first_id", "last_id", "has_more", "error", "", "x", "\ud800"]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the retries follow one another at once."""
    monkeypatch.setattr(retries, "time", SimpleNamespace(sleep=lambda _: None))


@cache
def real_pages() -> list[bytes]:
    """Return pages as a server writes them: without files, of usual ones and of odd ones, with every oddity it has."""
    emulator = Emulator(clock=Clock(NOW))
    empty = pages_of(emulator)
    emulator.populate(3, start=NOW - 9_000, end=NOW)
    usual = pages_of(emulator)
    emulator.add(size=0, filename="../é\u202e\n🙂", shelf={"row": [1, 2.50, None]}, status_details="torn")
    emulator.add(filename="\ud800", bytes=None)
    emulator.add(bytes="12", expires_at=NOW + 9_000.5)
    return [*empty, *usual, *pages_of(emulator)]


def pages_of(emulator: Emulator) -> list[bytes]:
    bodies = []
    with httpx.Client(transport=httpx.WSGITransport(emulator), base_url="http://emulator/v1") as client:
        for emulator.oddities in (Oddities(), *ODDITIES.values()):
            bodies += [client.get("/files", params={"limit": limit}).content for limit in (1, 100)]
    return list(dict.fromkeys(bodies))


@st.composite
def torn_pages(draw: st.DrawFn) -> bytes:
    """Real pages with bytes flipped, set, put in, taken out, cut off, copied from elsewhere on the page, or twice."""
    body = bytearray(draw(st.sampled_from(real_pages())))
    for _ in range(draw(st.integers(1, 4))):
        here, there = (draw(st.integers(0, len(body))) for _ in range(2))
        match draw(st.sampled_from(["flip", "set", "insert", "insert value", "remove", "cut", "copy", "twice"])):
            case "flip" if here < len(body):
                body[here] ^= 1 << draw(st.integers(0, 7))
            case "set" if here < len(body):
                body[here] = draw(st.integers(0, 255))
            case "insert":
                body[here:here] = draw(st.binary(max_size=4))
            case "insert value":
                body[here:here] = draw(st.sampled_from(VALUES))
            case "remove":
                del body[here : here + draw(st.integers(1, 20))]
            case "cut":
                del body[here:]
            case "twice":
                body += b"\n" + body
            case _:
                body[here:here] = body[there : there + draw(st.integers(1, 90))]
    return bytes(body)


class Name(str):
    """A field's name that may stand in an object more than once."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


@st.composite
def bent_pages(draw: st.DrawFn) -> bytes:
    """Real pages with values replaced or wrapped, and fields and rows left out, added, renamed, doubled or moved."""
    page = draw(st.sampled_from(real_pages()))
    answer = json.loads(page, object_pairs_hook=lambda pairs: {Name(name): value for name, value in pairs})
    for _ in range(draw(st.integers(1, 3))):
        files = [file for file in files_of(answer) if isinstance(file, dict) and file]
        if files and draw(st.booleans()):
            file = draw(st.sampled_from(files))
            file[draw(st.sampled_from(list(file)))] = other_value(draw)
        else:
            answer = bent(draw, answer)
    text = json.dumps(answer, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, None, 1])))
    body = text.encode(errors="surrogatepass")
    for number, value in enumerate(VALUES):
        body = body.replace(b'"value %d"' % number, value)
    return body


def files_of(answer: Json) -> list[Json]:
    """Return what stands in place of the files, as far as it is a list."""
    data = answer
    if isinstance(answer, dict):
        data = next((value for name, value in answer.items() if str(name) == "data"), [])
    return data if isinstance(data, list) else []


def other_value(draw: st.DrawFn) -> str:
    """Return a stand-in for one of VALUES: `value 7` for the seventh."""
    return f"value {draw(st.integers(0, len(ODD) - 1) | st.integers(0, len(VALUES) - 1))}"


def bent(draw: st.DrawFn, value: Json) -> Json:
    """Go down into a value at random, and change what is there."""
    other, name = other_value(draw), Name(draw(st.sampled_from(NAMES)))
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([other, [value], [value, value], {name: value}, {name: [value, other]}]))
    place = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
    if draw(st.integers(0, 2)):
        value[place] = bent(draw, value[place])
        return value
    rearrange(draw(st.sampled_from(["drop", "double", "add", "move"])), value, place, name, other)
    return value


def rearrange(change: str, value: Json, place: Json, name: Name, other: str) -> None:
    """Change which fields an object has, or which items a list."""
    match change, value:
        case "drop", _:
            del value[place]
        case "double", dict():
            value[Name(place)] = other
        case "double", list():
            value.append(value[place])
        case "add", dict():
            value[name] = other
        case "add", list():
            value.insert(place, other)
        case _, dict():
            value[name] = value.pop(place)
        case _:
            value.reverse()


def outcome(body: bytes) -> Page | FilesSourceError:
    """Decode any bytes; what is neither rows as the schema says nor an error fit to print fails the test."""
    try:
        page = decode_page(body, account="acme")
    except FilesSourceError as error:
        return printable(error)
    page.files.validate(full=True)
    assert page.files.schema.equals(FILES, check_metadata=True)
    rows = page.files.to_pylist()
    assert all(row[field.name] is not None for row in rows for field in FILES if not field.nullable)
    assert all(row["id"] for row in rows)
    return page


def printable(error: FilesSourceError) -> FilesSourceError:
    """Check that an error is one line that any terminal can show."""
    assert str(error).isprintable()
    assert len(str(error)) < 1_000
    return error


def test_the_pages_to_spoil_are_sound():
    """What is spoilt below was understood before, but for the two oddities that are refused, and by either reader."""
    outcomes = [outcome(body) for body in real_pages()]

    refused = {str(error) for error in outcomes if isinstance(error, FilesSourceError)}
    assert len(outcomes) - len(refused) > 20
    assert all(" data" in said or "'data'" in said for said in refused)
    assert {natively_or_refused(body) is None for body in real_pages()} == {True, False}


@fuzz
@given(torn_pages() | bent_pages())
def test_a_spoilt_page_is_rows_or_an_error(body: bytes):
    """Rows of the schema with no null where none may be, or an error that can be printed."""
    outcome(body)


@fuzz
@given(torn_pages() | bent_pages())
def test_both_readers_agree_on_a_spoilt_page(body: bytes):
    """What the native reader takes is what the tolerant one makes of it, to the last value."""
    page = natively_or_refused(body)

    if page is not None:
        assert page == tolerantly(body)


@fuzz
@given(bent_pages())
def test_a_spoilt_page_that_is_understood_can_be_shown(body: bytes):
    """Where there are rows, each of them has its line in every form of the command line."""
    page = outcome(body)

    if isinstance(page, Page):
        rows = page.files.num_rows
        lines = {form: "".join(listing([page], form=form)).count("\n") for form in ("jsonl", "table", "csv")}
        assert (lines["jsonl"], lines["table"]) == (rows, rows + 1)
        assert lines["csv"] >= rows + 1


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=4),
)
pieces = st.sampled_from([*VALUES, b"{", b"}", b"[", b"]", b":", b"\n", b'"data":', b'"id":', b"\xef\xbb\xbf"])


@fuzz
@given(
    st.binary()
    | st.text(st.characters()).map(lambda text: text.encode(errors="surrogatepass"))
    | anything.map(lambda value: json.dumps(value).encode())
    | st.lists(pieces, max_size=12).map(b"".join)
)
def test_anything_at_all_is_rows_or_an_error(body: bytes):
    """Arbitrary bytes, text and JSON, and pieces of JSON in any order."""
    outcome(body)


CALLS: list[Callable[[FilesClient], object]] = [
    lambda client: client.page(),
    lambda client: list(client.pages(limit=3)),
    lambda client: list(client.pages(after="file-1", order="asc")),
    lambda client: client.get("file-1"),
    lambda client: client.delete("file-1"),
    lambda client: list(client.content("file-1")),
    lambda client: client.create(b"abc", purpose="batch"),
]
STATUSES = [200, 200, 200, 201, 204, 301, 307, 400, 401, 404, 408, 422, 429, 500, 503]
HEADERS = [
    *(b"content-encoding", b"content-length", b"content-type", b"transfer-encoding", b"date", b"location"),
    *(b"retry-after", b"retry-after-ms", b"x-should-retry", b"x-request-id", b"set-cookie", b"x-other"),
]
HEADER_VALUES = [
    *(b"", b"gzip", b"gzip, gzip", b"x-gzip", b"br", b"identity", b"deflate", b"chunked", b"true", b"false"),
    *(b"7", b"-1", b"1e400", b"nan", b"text/html", b"application/json; charset=x", b"\xff\x00\x1b[2J", b"http://["),
    *(b"//:0", b"/v1/files", b"https://elsewhere.example/v1", b"Fri, 31 Dec 9999 23:59:59 -2359", b"yesterday"),
]


@st.composite
def any_answers(draw: st.DrawFn) -> Answer:
    """Answers of any status, headers and body, compressed or not, whatever they say of themselves."""
    status = draw(st.sampled_from(STATUSES) | st.integers(100, 999))
    values = st.sampled_from(HEADER_VALUES) | st.binary(max_size=20)
    headers = draw(st.lists(st.tuples(st.sampled_from(HEADERS), values), max_size=4))
    body = draw(torn_pages() | bent_pages() | st.sampled_from(real_pages()) | st.binary())
    if draw(st.booleans()):
        packed = bytearray(gzip.compress(body, mtime=0))
        for place in draw(st.lists(st.integers(0, len(packed) - 1), max_size=2)):
            packed[place] = draw(st.integers(0, 255))
        headers.append((b"content-encoding", b"gzip"))
        body = bytes(packed)
    end = draw(st.none() | st.integers(0, len(body)))
    return lambda _: httpx.Response(status, headers=headers, stream=httpx.ByteStream(body[:end]))


@fuzz
@given(any_answers())
def test_no_answer_breaks_a_call(answer: Answer):
    """Whatever comes back, each of the calls has its result, or ends with an error of ours that can be printed."""
    account = Account(base_url="http://127.0.0.1/v1", api_key="sk-1234")
    with (
        mock.patch.object(RetryRules, "sleep"),
        FilesClient(account, transport=httpx.MockTransport(answer), max_retries=1) as client,
    ):
        for call in CALLS:
            try:
                call(client)
            except FilesSourceError as error:
                printable(error)
