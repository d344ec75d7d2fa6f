from __future__ import annotations

import json
import re
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from files_source import decoding, tolerant
from files_source.decoding import Page, decode_page
from files_source.envelope import Onward, Rest
from files_source.errors import DecodeError, MalformedBody
from files_source.schema import FILES
from files_source.tolerant import file_objects

NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)
CREATED = int(NOON.timestamp())
FILE: dict[str, object] = {
    "id": "file-abc",
    "object": "file",
    "bytes": 120_000,
    "created_at": CREATED,
    "expires_at": CREATED + 86_400,
    "filename": "requests.jsonl",
    "purpose": "batch",
    "status": "processed",
    "status_details": None,
}

Json = Any


def moment(at: int | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(0, UTC) + timedelta(seconds=at)


def listing(*files: Json, **envelope: Json) -> bytes:
    """Return an answer as the contract has it, with *files*, and with fields of the envelope set or replaced."""
    ids = [file["id"] for file in files if isinstance(file, dict) and "id" in file] or [None]
    answer = {"object": "list", "data": files, "first_id": ids[0], "last_id": ids[-1], "has_more": False}
    return json.dumps(answer | envelope).encode()


def spelt(field: str, value: str) -> bytes:
    """Return an answer with one file, in which a field's value is spelt in exactly these characters."""
    fields = {name: json.dumps(known) for name, known in FILE.items()} | {field: value}
    return ('{"data": [{' + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}]}").encode()


def decode(body: bytes) -> Page:
    """Decode a page that must be understood, and check that its rows are what the schema says."""
    page = decode_page(body, account="acme")
    page.files.validate(full=True)
    assert page.files.schema.equals(FILES, check_metadata=True)
    assert all(column.num_chunks <= 1 for column in page.files.columns)
    return page


def row(body: bytes) -> dict[str, Json]:
    """Decode a page of one file, and return that."""
    (only,) = decode(body).files.to_pylist()
    return only


def refusal(body: bytes) -> DecodeError:
    """Decode a page that must be refused, and return the error, which must be fit to print."""
    with pytest.raises(DecodeError) as raised:
        decode_page(body, account="acme")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1_000
    return raised.value


def outcome(body: bytes) -> Page | DecodeError:
    """Decode any bytes: rows as the schema says, or an error fit to print; anything else fails the test."""
    try:
        return decode(body)
    except DecodeError:
        return refusal(body)


def natively(body: bytes) -> Page | None:
    """Decode a page by the native reader alone; None where that leaves it to the tolerant one."""
    with patch.object(tolerant, "read", side_effect=LookupError):
        try:
            return decode(body)
        except LookupError:
            return None


def natively_or_refused(body: bytes) -> Page | None:
    try:
        return natively(body)
    except DecodeError:
        return None


def tolerantly(body: bytes) -> Page:
    with patch.object(decoding, "_read_natively", return_value=None):
        return decode(body)


numbers = st.integers(0, 2**63 - 1)
seconds = st.integers(tolerant.EARLIEST, tolerant.LATEST)
texts = st.text(max_size=12) | st.sampled_from(
    ["../etc/passwd", "\u200fgnp.exe", "a\0b", "a\nb", "\x1b[2J", "", "x" * 10_000]
)
contract_files = st.fixed_dictionaries(
    {"id": texts.filter(bool), "created_at": seconds, "filename": texts, "object": st.just("file"), "purpose": texts},
    optional={
        "bytes": st.none() | numbers,
        "status": st.none() | texts,
        "expires_at": st.none() | st.integers(1, tolerant.LATEST),
        "status_details": st.none() | texts,
    },
)
contract_pages = st.builds(
    lambda files, envelope, ascii_only, indent: json.dumps(
        {"data": files} | envelope, ensure_ascii=ascii_only, indent=indent
    ).encode(),
    st.lists(contract_files, max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            "object": st.just("list"),
            "first_id": st.none() | texts,
            "last_id": st.none() | texts,
            "has_more": st.none() | st.booleans(),
        },
    ),
    st.booleans(),
    st.sampled_from([None, 1]),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
strange_files = st.dictionaries(st.sampled_from([*FILE, "metadata", "extra", "account"]), anything, max_size=4).map(
    lambda strange: FILE | strange
)
strange_pages = st.builds(
    lambda files, envelope: listing(*files, **envelope),
    st.lists(strange_files, max_size=3),
    st.dictionaries(
        st.sampled_from(
            ["object", "data", "last_id", "has_more", "code", "total", "next", "next_page", "paging", "hasMore"]
        ),
        anything,
        max_size=2,
    ),
)


@st.composite
def damaged_pages(draw: st.DrawFn) -> bytes:
    """Real pages with bytes flipped, cut off, taken out, put in or repeated."""
    body = bytearray(draw(contract_pages | strange_pages))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        match draw(st.sampled_from(["flip", "cut", "remove", "insert", "repeat"])):
            case "flip" if at < len(body):
                body[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del body[at:]
            case "remove":
                del body[at : at + draw(st.integers(1, 9))]
            case "insert":
                body[at:at] = draw(st.binary(max_size=3) | st.sampled_from(TOKENS))
            case _:
                body[at:at] = body[: draw(st.integers(0, 60))]
    return bytes(body)


TOKENS = [
    *(b"null", b"true", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"-", b"1e400", b"NaN", b"9" * 5_000),
    *(b'"id":', b'"data":', b'"bytes":', b"\\u0000", b"\\ud800", b"\\udc00", b"\0", b"\xff", b"\xef\xbb\xbf"),
]
token_soups = st.lists(st.sampled_from(TOKENS), max_size=20).map(b"".join)


def test_a_page_of_the_contract_becomes_rows_of_the_schema():
    """Each field stands in its column, times in UTC, and what the answer says of more beside them."""
    page = decode_page(listing(FILE, has_more=True), account="acme", date=NOON)

    assert page.files.to_pylist() == [
        {
            "account": "acme",
            "id": "file-abc",
            "bytes": 120_000,
            "created_at": NOON,
            "filename": "requests.jsonl",
            "object": "file",
            "purpose": "batch",
            "status": "processed",
            "expires_at": NOON + timedelta(days=1),
            "status_details": None,
            "extra": None,
        }
    ]
    assert (page.has_more, page.last_id, page.date) == (True, "file-abc", NOON)
    assert page.body == listing(FILE, has_more=True)


@given(contract_pages)
def test_pages_of_the_contract_never_leave_the_native_reader(body: bytes):
    """The fast way takes every page that keeps the contract, whatever is optional in it."""
    assert natively(body) is not None


@given(st.lists(contract_files, max_size=4))
def test_every_value_of_every_file_arrives_unchanged(files: list[dict[str, Json]]):
    """Rows come in the order of the answer, a field that is absent is null, and any second is exact."""
    rows = decode(listing(*files)).files.to_pylist()

    assert rows == [
        dict.fromkeys(FILES.names)
        | {"account": "acme"}
        | file
        | {name: moment(file.get(name)) for name in ("created_at", "expires_at")}
        for file in files
    ]


@pytest.mark.parametrize(
    ("answer", "has_more", "last_id"),
    [
        pytest.param('{"data": [], "has_more": true, "last_id": "a"}', True, "a", id="both"),
        pytest.param('{"data": [], "has_more": false, "last_id": "a"}', False, "a", id="no more"),
        pytest.param('{"data": []}', None, None, id="both missing"),
        pytest.param('{"data": [], "has_more": null, "last_id": null}', None, None, id="both null"),
        pytest.param('{"data": [], "has_more": true, "last_id": ""}', True, None, id="last_id empty"),
        pytest.param('{"data": [], "has_more": true, "last_id": "", "x": 1}', True, None, id="empty, and one unknown"),
        pytest.param('{"data": [], "last_id": 17}', None, "17", id="last_id a number"),
        pytest.param('{"data": [], "last_id": {}}', None, None, id="last_id no id"),
        pytest.param('{"data": [], "code": 0, "has_more": true}', True, None, id="code beside data"),
        pytest.param('{"data": null, "has_more": false}', False, None, id="data null"),
        pytest.param('{"data": [], "object": 5, "first_id": {}}', None, None, id="others of any type"),
        pytest.param("[]", None, None, id="bare array"),
        pytest.param('{"data": [], "hasMore": true}', True, None, id="in capitals"),
        pytest.param('{"data": [], "page_info": {"has_next_page": true}}', True, None, id="in an object of its own"),
        pytest.param('{"data": [], "is_last": false}', True, None, id="not the last"),
        pytest.param('{"data": [], "remaining": 3}', True, None, id="so many left"),
        pytest.param('{"data": [], "remaining": 0, "isLastPage": true}', False, None, id="none left"),
        pytest.param('{"data": [], "has_more": false, "hasNext": true}', True, None, id="two that contradict"),
        pytest.param('{"data": [], "more": {}, "done": 1, "truncated": "?"}', None, None, id="no flags"),
        pytest.param('\ufeff{"data": []}', None, None, id="byte order mark"),
        pytest.param(' \r\n\t{"data": []}\n', None, None, id="white space around"),
    ],
)
def test_what_an_answer_says_of_more(answer: str, has_more: bool | None, last_id: str | None):
    """`has_more` and `last_id` are taken where they are there; where they are not, nothing is made up."""
    page = decode(answer.encode())

    assert page.files.num_rows == 0
    assert (page.has_more, page.last_id) == (has_more, last_id)


@pytest.mark.parametrize(
    ("envelope", "rest"),
    [
        pytest.param({}, Rest(), id="nothing"),
        pytest.param({"total": 5}, Rest(total=5, at_least=5), id="a total"),
        pytest.param({"total_count": "5"}, Rest(total=5, at_least=5), id="a total as text"),
        pytest.param({"meta": {"totalCount": 5}}, Rest(total=5, at_least=5), id="a total in an object of its own"),
        pytest.param({"count": 5}, Rest(at_least=5), id="a count, which may be of the page"),
        pytest.param({"total": -1}, Rest(), id="no total"),
        pytest.param({"total_pages": 3}, Rest(at_least=3), id="pages: the last one holds a file"),
        pytest.param({"total_pages": 1}, Rest(), id="one page"),
        pytest.param({"next_page": "abc"}, Rest(onward=Onward("next_page", "abc")), id="a token"),
        pytest.param({"pagination_token": "abc"}, Rest(onward=Onward("pagination_token", "abc")), id="another token"),
        pytest.param({"nextPageToken": "abc"}, Rest(onward=Onward("nextPageToken", "abc")), id="a token in capitals"),
        pytest.param(
            {"next": "/v1/files?x=1"}, Rest(onward=Onward("next", "/v1/files?x=1", is_address=True)), id="an address"
        ),
        pytest.param(
            {"links": {"next": "?x=1"}}, Rest(onward=Onward("next", "?x=1", is_address=True)), id="among links"
        ),
        pytest.param(
            {"_links": {"next": {"href": "?x=1"}}}, Rest(onward=Onward("next", "?x=1", is_address=True)), id="HAL"
        ),
        pytest.param(
            {"@odata.nextLink": "?x=1"}, Rest(onward=Onward("@odata.nextLink", "?x=1", is_address=True)), id="OData"
        ),
        pytest.param({"next_page": 2}, Rest(onward=Onward("next_page", "2")), id="a number"),
        pytest.param({"next_page": None}, Rest(is_over=True), id="null: the end"),
        pytest.param({"pagination_token": ""}, Rest(is_over=True), id="empty: the end"),
        pytest.param({"next_page": -1}, Rest(is_over=True), id="minus one: the end"),
        pytest.param({"next": False}, Rest(), id="a flag"),
        pytest.param({"has_more": False, "end_cursor": "x"}, Rest(), id="the cursor of the last page"),
        pytest.param({"has_more": True, "end_cursor": "x"}, Rest(onward=Onward("end_cursor", "x")), id="a cursor"),
        pytest.param({"previous_page": "abc", "first_page": "x"}, Rest(), id="the way back"),
    ],
)
def test_what_an_answer_says_of_the_rest(envelope: dict[str, Json], rest: Rest):
    """Counts, tokens and addresses are heard in whichever words; a place where none stands is the end."""
    page = decode(json.dumps({"data": [FILE]} | envelope).encode())

    assert page.rest == rest


def test_a_link_header_leads_to_the_next_page():
    """An address in a header is as good as one in the body."""
    page = decode_page(json.dumps({"data": [FILE]}).encode(), account="acme", link="https://h/v1/files?x=1")

    assert page.rest == Rest(onward=Onward("next", "https://h/v1/files?x=1", is_address=True))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(listing(FILE | {"metadata": {}}), id="unknown field of a file"),
        pytest.param(listing(FILE, FILE | {"metadata": None}), id="unknown field of the last file"),
        pytest.param(listing(FILE, code=0), id="unknown field of the envelope"),
        pytest.param(json.dumps([FILE]).encode(), id="bare array"),
        pytest.param(listing(FILE, last_id=5), id="last_id a number"),
        pytest.param(listing(FILE | {"created_at": 1.5}), id="time a float"),
        pytest.param(listing(FILE | {"bytes": "5"}), id="size as text"),
        pytest.param(listing(FILE | {"bytes": -1}), id="size negative"),
        pytest.param(listing({name: FILE[name] for name in FILE if name != "object"}), id="field missing"),
        pytest.param(spelt("filename", r'"\ud800"'), id="half a surrogate pair"),
        pytest.param(spelt("status", '"uploaded", "status": "processed"'), id="field twice"),
    ],
)
def test_a_page_that_strays_goes_through_the_tolerant_reader_once(body: bytes):
    """What the native reader does not know it leaves alone, and the page is read again from its beginning."""
    with patch.object(tolerant, "read", wraps=tolerant.read) as read:
        page = decode(body)

    read.assert_called_once_with(body)
    assert page.files.num_rows >= 1


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("12345678901234567890123", id="big integer"),
        pytest.param("1e400", id="number beyond any float"),
        pytest.param("1.10", id="number with its zeros"),
        pytest.param("-0", id="minus zero"),
        pytest.param("null", id="null"),
        pytest.param('{ "a" : [1,  {"b": {}}] }', id="nested, with its spaces"),
        pytest.param('{"a": 1, "a": 2}', id="the same name twice inside"),
        pytest.param(r'"\u00e9\ud83d\ude00\u0000\/"', id="escapes"),
        pytest.param('"é😀\u200f\x7f"', id="no escapes"),
    ],
)
def test_a_field_without_a_column_is_kept_byte_for_byte(value: str):
    """`extra` holds the value in the very characters of the answer, so that nothing is lost or rounded."""
    kept = row(spelt("metadata", value))["extra"]

    assert kept == f'{{"metadata":{value}}}'


@given(st.dictionaries(texts.filter(lambda name: name not in FILE), anything, min_size=1, max_size=4))
@example({"account": "mine", "extra": {"a": 1}})
def test_extra_is_the_json_of_all_that_has_no_column(unknown: dict[str, Json]):
    """Whatever a vendor adds, under whatever name, can be read back; our own columns are not overwritten."""
    only = row(listing(FILE | unknown))

    assert json.loads(only["extra"]) == unknown
    assert only | {"extra": None} == row(listing(FILE))


def test_of_a_field_that_comes_twice_the_last_counts():
    """As in any JSON reader; for known fields as for unknown ones."""
    only = row(spelt("status", '"uploaded", "x": 1, "status": "processed", "x": 2'))

    assert (only["status"], only["extra"]) == ("processed", '{"x":2}')


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("1790000000", "2026-09-21T14:13:20+00:00", id="seconds"),
        pytest.param("1790000000.0", "2026-09-21T14:13:20+00:00", id="float"),
        pytest.param("1790000000.123456", "2026-09-21T14:13:20.123456+00:00", id="float with microseconds"),
        pytest.param("1790000000.1234569", "2026-09-21T14:13:20.123456+00:00", id="finer than microseconds"),
        pytest.param("1.79e9", "2026-09-21T14:13:20+00:00", id="exponent"),
        pytest.param('"1790000000"', "2026-09-21T14:13:20+00:00", id="number as text"),
        pytest.param('" 1790000000.5 "', "2026-09-21T14:13:20.500000+00:00", id="float as text, with spaces"),
        pytest.param('"2026-09-21T14:13:20Z"', "2026-09-21T14:13:20+00:00", id="ISO 8601 with Z"),
        pytest.param('"2026-09-21T14:13:20.5Z"', "2026-09-21T14:13:20.500000+00:00", id="ISO 8601 with a fraction"),
        pytest.param('"2026-09-21T14:13:20.1234567Z"', "2026-09-21T14:13:20.123456+00:00", id="ISO 8601 from .NET"),
        pytest.param('"2026-09-21T16:13:20+02:00"', "2026-09-21T14:13:20+00:00", id="ISO 8601 with a zone"),
        pytest.param('"2026-09-21T14:13:20"', "2026-09-21T14:13:20+00:00", id="ISO 8601 without a zone"),
        pytest.param('"2026-09-21 14:13:20"', "2026-09-21T14:13:20+00:00", id="a space in place of T"),
        pytest.param('"2026-09-21"', "2026-09-21T00:00:00+00:00", id="a date"),
        pytest.param("0", "1970-01-01T00:00:00+00:00", id="zero"),
        pytest.param("-1.5", "1969-12-31T23:59:58.500000+00:00", id="before 1970"),
        pytest.param("-62135596800", "0001-01-01T00:00:00+00:00", id="the first second"),
        pytest.param('"9999-12-31T23:59:59.9999999Z"', "9999-12-31T23:59:59.999999+00:00", id="never, in .NET"),
        pytest.param("253402300799." + "9" * 30, "9999-12-31T23:59:59.999999+00:00", id="never, in many digits"),
    ],
)
@pytest.mark.parametrize("field", ["created_at", "expires_at"])
def test_a_time_is_understood_as_meant(field: str, value: str, expected: str):
    """Seconds, floats, text: what is finer than a microsecond is cut off, and without a zone it is UTC."""
    only = row(spelt(field, value))

    if field == "expires_at" and expected < "1970-01-01T00:00:00.000001":
        assert (only[field], only["extra"]) == (None, f'{{"expires_at":{value}}}')
    else:
        assert (only[field].isoformat(), only["extra"]) == (expected, None)


@given(
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)),  # noqa: DTZ001 - a zone is added below
    st.integers(-23 * 60, 23 * 60),
)
def test_any_time_as_text_is_exact_to_the_microsecond(local: datetime, minutes: int):
    """ISO 8601 with any offset is that instant."""
    moment = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))

    only = row(spelt("created_at", f'"{moment.isoformat()}"'))

    assert only["created_at"] == moment


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("0", 0, id="zero"),
        pytest.param("9223372036854775807", 2**63 - 1, id="the largest"),
        pytest.param("null", None, id="null: not known yet"),
        pytest.param('""', None, id="empty text"),
        pytest.param('"120"', 120, id="number as text"),
        pytest.param("120.0", 120, id="float"),
        pytest.param("1.2e2", 120, id="exponent"),
        pytest.param("-0", 0, id="minus zero"),
        pytest.param("-0.0", 0, id="minus zero, a float"),
    ],
)
def test_a_size_is_understood_as_meant(value: str, expected: int | None):
    """A whole number however it is spelt, or null where the server does not know it."""
    only = row(spelt("bytes", value))

    assert only["bytes"] == expected
    assert only["extra"] is None


@given(st.integers(max_value=-1, min_value=-(10**30)), st.booleans())
def test_a_negative_size_is_null_and_kept_as_it_came(size: int, as_text: bool):
    """No file is smaller than nothing, so the column does not claim it; `extra` still has it."""
    value = f'"{size}"' if as_text else str(size)

    only = row(spelt("bytes", value))

    assert only["bytes"] is None
    assert only["extra"] == f'{{"bytes":{value}}}'


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        pytest.param("id", "17", "17", id="id a number"),
        pytest.param("id", '" ü / ?#"', " ü / ?#", id="id of any characters"),
        pytest.param("filename", "-20260921", "-20260921", id="name a number"),
        pytest.param("filename", '""', "", id="name empty"),
        pytest.param("filename", "null", "", id="name null"),
        pytest.param("purpose", "null", "", id="purpose null"),
        pytest.param("object", "null", "file", id="object null"),
        pytest.param("object", '"container.file"', "container.file", id="object of another kind"),
        pytest.param("purpose", '"responses"', "responses", id="purpose nobody knows"),
        pytest.param("status", '"running"', "running", id="status nobody knows"),
        pytest.param("status", '""', "", id="status empty"),
        pytest.param("status", "3", "3", id="status a number"),
        pytest.param("status", "true", "true", id="status a boolean"),
        pytest.param("status_details", '{"reason": [1e400]}', '{"reason": [1e400]}', id="details an object"),
        pytest.param("expires_at", "null", None, id="expiry null"),
        pytest.param("expires_at", '""', None, id="expiry empty"),
    ],
)
def test_an_odd_value_is_understood_as_meant(field: str, value: str, expected: str | None):
    """Any string is kept, numbers stand as they are spelt, and details may be JSON."""
    only = row(spelt(field, value))

    assert only == row(listing(FILE)) | {field: expected}


MISSING = {"object": "file", "filename": "", "purpose": ""}
"""What stands in a column that must hold something, where a file does not have it."""


@pytest.mark.parametrize(
    "optional", ["bytes", "filename", "object", "purpose", "status", "expires_at", "status_details"]
)
def test_a_field_may_be_missing_where_a_file_can_do_without(optional: str):
    """Vendors leave fields out: they are null, or empty where a column must hold text; an object can only be one."""
    only = row(listing({name: value for name, value in FILE.items() if name != optional}))

    assert only == row(listing(FILE)) | {optional: MISSING.get(optional)}


@pytest.mark.parametrize(
    ("field", "other", "value"),
    [
        pytest.param("bytes", "size", 5, id="xAI's size"),
        pytest.param("bytes", "size_bytes", 5, id="Anthropic's size"),
        pytest.param("id", "file_id", "file-5", id="DashScope's id"),
        pytest.param("filename", "name", "a.txt", id="a name"),
        pytest.param("created_at", "created", CREATED + 5, id="a time of creation"),
    ],
)
def test_a_vendors_name_for_a_column_counts_where_the_columns_own_is_missing(field: str, other: str, value: Json):
    """The value is read as the column's own would be, and stays in `extra` under the name that it came with."""
    renamed = {name: known for name, known in FILE.items() if name != field} | {other: value}

    only = row(listing(renamed))

    assert only == row(listing(FILE | {field: value})) | {"extra": json.dumps({other: value}, separators=(",", ":"))}
    assert [file_id for file_id, _ in file_objects(listing(renamed))] == [only["id"]]


@pytest.mark.parametrize(
    ("field", "other", "value"),
    [
        pytest.param("bytes", "size", '"12 kB"', id="size in words"),
        pytest.param("bytes", "size", "-1", id="size below zero"),
        pytest.param("expires_at", "expires", '"soon"', id="expiry in words"),
    ],
)
def test_another_name_that_means_something_else_is_left_alone(field: str, other: str, value: str):
    """What cannot be the column's value is a field of the vendor's own."""
    only = row(spelt(other, value).replace(f'"{field}":'.encode(), b'"x":'))

    assert only[field] is None
    assert f'"{other}":{value}' in only["extra"]


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "-1",
        "0.0",
        '"0"',
        '"-1"',
        "-0",
        "false",
        '"never"',
        '"None"',
        '"0001-01-01T00:00:00Z"',
        '"1970-01-01T00:00:00Z"',
        "253402300800",
        "9007199254740991",
        "9223372036854775807",
        "18446744073709551615",
        "1e20",
    ],
)
def test_an_expiry_that_says_never_is_null_and_kept_as_it_came(value: str):
    """Zero is not 1970: the file stays, and so does what its server said."""
    only = row(spelt("expires_at", value))

    assert only["expires_at"] is None
    assert only["extra"] == f'{{"expires_at":{value}}}'


@pytest.mark.parametrize("value", ["9223372036854775808", "18446744073709551615", "1e25"])
def test_a_size_that_no_file_can_have_is_null_and_kept_as_it_came(value: str):
    """The largest number of 64 bits, or more, stands for a size that is not known."""
    only = row(spelt("bytes", value))

    assert only["bytes"] is None
    assert only["extra"] == f'{{"bytes":{value}}}'


def test_a_page_with_one_expiry_of_zero_is_read_tolerantly():
    """The native reader leaves it alone; the other files of the page are what they are."""
    body = listing(FILE, FILE | {"id": "file-never", "expires_at": 0})

    assert natively(body) is None
    assert decode(body).files.column("expires_at").null_count == 1


@given(st.lists(contract_files, max_size=3), strange_files)
def test_one_strange_file_changes_nothing_for_the_others(files: list[dict[str, Json]], strange: dict[str, Json]):
    """The rows beside a file that strays are those of a page without it."""
    page = outcome(listing(*files, strange))

    if isinstance(page, Page):
        assert page.files.slice(0, len(files)).equals(decode(listing(*files)).files)


@given(contract_pages | strange_pages | damaged_pages())
def test_both_readers_agree_on_any_page_that_both_take(body: bytes):
    """The native reader is a short cut, never another opinion."""
    page = natively_or_refused(body)

    if page is not None:
        assert page == tolerantly(body)


@settings(max_examples=300)
@given(
    st.binary(max_size=60) | anything.map(json.dumps).map(str.encode) | token_soups | strange_pages | damaged_pages()
)
@example(b"null")  # a leading null brings pyarrow 26 down, and the interpreter with it
@example(b" \n null")
@example(b"\xef\xbb\xbfnull")
@example(b'{"data": null}')
@example(b'{"data": [null]}')
@example(b"[null]")
@example(b"[" * 100_000)
@example(b'{"data": ' * 100_000)
@example(spelt("x", "[" * 900 + "]" * 900))
@example(spelt("x", "[" * 100_000 + "]" * 100_000))
def test_any_bytes_are_rows_or_an_error_that_can_be_printed(body: bytes):
    """Nothing that a server can send crashes, hangs, breaks the schema or raises anything but DecodeError."""
    outcome(body)


@given(contract_pages | strange_pages, st.data())
def test_a_body_that_is_cut_short_is_never_taken_for_a_page(body: bytes, data: st.DataObject):
    """Wherever an answer breaks off, the error is the one that says to ask again."""
    error = refusal(body[: data.draw(st.integers(0, len(body.rstrip()) - 1))])

    assert isinstance(error, MalformedBody)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "it is empty", id="empty"),
        pytest.param(b"\xef\xbb\xbf", "it is empty", id="a byte order mark alone"),
        pytest.param(b"<!DOCTYPE html>\n<title>Sign in</title>", "<!DOCTYPE html> <title>", id="captive portal"),
        pytest.param(b"upstream connect error", "upstream connect error", id="plain text"),
        pytest.param(b'{"data": [}', '{"data": [}', id="broken JSON"),
        pytest.param(b'{"data": [NaN]}', "NaN", id="NaN"),
        pytest.param(b'{"data": []}{"data": []}', '{"data": []}{"data": []}', id="two answers"),
        pytest.param(b'{"data": []}\n{"data": []}', '{"data": []} {"data": []}', id="two lines"),
        pytest.param(b'{"data": []}\0', '{"data": []}', id="NUL behind it"),
        pytest.param(spelt("filename", '"a\0b"'), "filename", id="NUL in a name"),
        pytest.param(spelt("filename", '"a\x1bb"'), "a b", id="control character in a name"),
        pytest.param(spelt("filename", r'"\uZZZZ"'), r"\uZZZZ", id="no escape"),
        pytest.param(b'{"data": [], "x": "\xff"}', "not UTF-8 text: invalid start byte at byte 19", id="not UTF-8"),
        pytest.param('{"data": []}'.encode("utf-16"), "not UTF-8 text", id="UTF-16"),
    ],
)
def test_what_is_not_json_says_so(body: bytes, said: str):
    """The error shows the beginning of what came instead, and asking again may help."""
    error = refusal(body)

    assert isinstance(error, MalformedBody)
    assert said in str(error)


@pytest.mark.parametrize(
    ("body", "said", "field"),
    [
        pytest.param(b"null", "no listing of files: null", None, id="null"),
        pytest.param(b'"files"', 'no listing of files: "files"', None, id="text"),
        pytest.param(b"1e400", "no listing of files: 1e400", None, id="number"),
        pytest.param(b"{}", "no 'data'", "data", id="empty object"),
        pytest.param(b'{"error": {"message": "nope"}}', "nope", "data", id="error with status 200"),
        pytest.param(
            b'{"data": {"id": 1}}', "'data' of the answer is no list: {\"id\": 1}", "data", id="data an object"
        ),
        pytest.param(b'{"data": null, "has_more": true}', "null, but there are files", "data", id="null, and more"),
        pytest.param(b'{"data": null, "first_id": "a"}', "null, but there are files", "data", id="null, and a first"),
        pytest.param(b'{"data": null, "last_id": "a"}', "null, but there are files", "data", id="null, and a last"),
        pytest.param(b'{"data": "none"}', "'data' of the answer is no list", "data", id="data text"),
        pytest.param(listing(FILE, None), "file 2 of the page is no object: null", None, id="a file null"),
        pytest.param(b'[[{"id": "a"}]]', 'file 1 of the page is no object: [{"id": "a"}]', None, id="a file a list"),
        pytest.param(listing(FILE, has_more="yes"), 'neither true nor false: "yes"', "has_more", id="has_more text"),
        pytest.param(listing(FILE, has_more=1), "neither true nor false: 1", "has_more", id="has_more a number"),
    ],
)
def test_json_that_is_no_page_says_so(body: bytes, said: str, field: str | None):
    """What can be read but is no listing of files is another error: asking again would not help."""
    error = refusal(body)

    assert not isinstance(error, MalformedBody)
    assert said in str(error)
    assert error.field == field


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        pytest.param("id", "null", "text", id="id null"),
        pytest.param("id", '""', "told apart", id="id empty"),
        pytest.param("id", "1.5", "text", id="id a float"),
        pytest.param("id", "true", "text", id="id a boolean"),
        pytest.param("filename", '["a"]', "text", id="filename a list"),
        pytest.param("object", "{}", "text", id="object an object"),
        pytest.param("purpose", "false", "text", id="purpose a boolean"),
        pytest.param("bytes", "true", "a number", id="size a boolean"),
        pytest.param("bytes", "1.5", "whole number", id="half a byte"),
        pytest.param("bytes", "1e400", "no file has", id="size beyond any float"),
        pytest.param("bytes", "9" * 5_000, "no file has", id="size of 5,000 digits"),
        pytest.param("bytes", '"12 kB"', "a number", id="size with a unit"),
        pytest.param("bytes", '"NaN"', "no file has", id="size not a number"),
        pytest.param("bytes", "[]", "a number", id="size a list"),
        pytest.param("created_at", "null", "a time", id="time null"),
        pytest.param("created_at", '""', "a time", id="time empty"),
        pytest.param("created_at", "true", "a time", id="time a boolean"),
        pytest.param("created_at", "{}", "a time", id="time an object"),
        pytest.param("created_at", '"yesterday"', "a time", id="time in words"),
        pytest.param("created_at", "1790000000000", "milliseconds?", id="time in milliseconds"),
        pytest.param("created_at", '"1790000000000"', "milliseconds?", id="milliseconds as text"),
        pytest.param("created_at", "253402300800", "milliseconds?", id="the year 10000"),
        pytest.param("created_at", "-62135596801", "milliseconds?", id="before the year 1"),
        pytest.param("created_at", '"0001-01-01T00:00:00+01:00"', "Unix seconds", id="before the year 1 in UTC"),
        pytest.param("created_at", "1e400", "a time", id="time beyond any float"),
        pytest.param("created_at", "9" * 5_000, "a time", id="time of 5,000 digits"),
        pytest.param("expires_at", "true", "a time", id="expiry a boolean"),
        pytest.param("expires_at", '"soon"', "a time", id="expiry in words"),
        pytest.param("expires_at", "1790000000000000", "milliseconds?", id="expiry in microseconds"),
        pytest.param("expires_at", "1790000000000", "milliseconds?", id="expiry in milliseconds"),
    ],
)
def test_a_value_that_cannot_be_understood_is_refused_by_name(field: str, value: str, reason: str):
    """The error names the file, the field and the value, and says what is promised; nothing is guessed."""
    error = refusal(spelt(field, value))

    assert (error.file_id, error.field) == (None if field == "id" else "file-abc", field)
    assert error.value is not None
    assert value.startswith(error.value.removesuffix("..."))
    assert f"{field} = {error.value}: " in str(error)
    assert ("file 1 of the page" if field == "id" else "file 'file-abc'") in str(error)
    assert reason in str(error)


@pytest.mark.parametrize("required", ["id", "created_at"])
def test_a_file_that_lacks_what_it_cannot_do_without_is_refused(required: str):
    """A missing field is called missing, not null, and the file is named by its place where it has no id."""
    error = refusal(listing(FILE, {name: value for name, value in FILE.items() if name != required}))

    whose = "file 2 of the page" if required == "id" else "file 'file-abc'"
    assert f"{whose} has no {required}: " in str(error)
    assert (error.field, error.value) == (required, None)


@pytest.mark.parametrize("field", ["filename", "id"])
@pytest.mark.parametrize(
    "text", ["x" * 10_000, "\u202e\u200f\u2066", "a\nb\tc\0", "\x1b[31m", "\ufeff\u2028", "'\"\\"], ids=ascii
)
def test_an_error_is_one_printable_line_whatever_a_file_is_called(field: str, text: str):
    """Neither a name nor an id can break the line, turn it round, colour it or flood it."""
    error = refusal(listing(FILE | {"id": "i"} | {field: text, "created_at": "yesterday"}))

    assert error.file_id == (text if field == "id" else "i")


@given(st.text(st.characters(), max_size=20), st.booleans())
@example("\ud800", True)
@example("\udc00\ud800\ud801", True)
@example("\\\ud83d\ude00\ud83d", True)
def test_any_text_arrives_whole(text: str, ascii_only: bool):
    """Every character that UTF-8 can hold arrives as it is; half of a surrogate pair as its escape."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    expected = re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", whole)

    only = row(spelt("filename", json.dumps(whole, ensure_ascii=ascii_only or expected != whole)))

    assert only["filename"] == expected


@pytest.mark.parametrize("escape", [r"\n", r"\\", r"\ud83d\ude00", r"\ud800"], ids=["line", "slash", "pair", "half"])
def test_text_that_is_all_escapes_takes_little_memory(escape: str):
    """Halves of surrogate pairs are looked for in broken JSON, too, without an object for each of its escapes."""
    body = b'{"data": ["' + escape.encode() * 300_000
    tracemalloc.start()

    refusal(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 6 * len(body)


@given(st.lists(strange_files, max_size=3), st.sampled_from([b"", b"\xef\xbb\xbf"]), st.booleans())
def test_file_objects_are_those_of_the_answer(files: list[dict[str, Json]], mark: bytes, bare: bool):
    """A page that was decoded gives the File objects back in the API's own bytes, with the ids of its rows."""
    spelt_out = [json.dumps(file, ensure_ascii=False).encode() for file in files]
    data = b"[" + b" , ".join(spelt_out) + b"]"
    body = mark + (data if bare else b'{"data": ' + data + b"}")
    page = outcome(body)

    if isinstance(page, Page):
        ids = page.files.column("id").to_pylist()
        assert file_objects(body) == list(zip(ids, spelt_out, strict=True))


def test_a_page_of_no_files_has_no_file_objects():
    """`data: null` is a page like any other."""
    assert file_objects(b'{"data": null}') == []
