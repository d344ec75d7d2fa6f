"""Reading a page that strays from the contract: every value is understood, kept as it came, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Annotated, Any, Final

import msgspec
import pyarrow as pa

from files_source.envelope import NOTHING, Rest, promise, rest
from files_source.errors import DecodeError, MalformedBody, excerpt
from files_source.schema import FILES, TIMESTAMP

EARLIEST: Final = -62_135_596_800
"""Unix seconds of the year 1, the first that a Python datetime can hold."""
LATEST: Final = 253_402_300_799
"""Unix seconds of the end of the year 9999."""

_LARGEST: Final = 2**63 - 1
_DIGITS: Final = 30
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FINEST: Final = Decimal("0.000001")
_NULL: Final = b"null"
_EMPTY: Final = (_NULL, b'""')
_MISSING: Final = msgspec.Raw(_NULL)
_IN_SECONDS: Final = pa.timestamp("s", tz="UTC")
_NEVER: Final = (b"false", b'"never"', b'"none"', b'"null"')
_UNITS: Final = (1_000, 1_000_000, 1_000_000_000)
"""Of a second, that servers count in by mistake."""
_PLAUSIBLE: Final = (946_684_800, 7_258_118_400)
"""Unix seconds between which a time in another unit lies: the years 2000 to 2200."""
_SURROGATE: Final = re.compile(
    rb"(?<!\\)(\\+)u(?:[dD][89abAB][0-9a-fA-F]{2}(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|[dD][c-fC-F][0-9a-fA-F]{2})"
)
"""Half of a surrogate pair, or both, and all backslashes before it: of two, the second is text."""


@dataclass(frozen=True, slots=True)
class RawPage:
    """Rows without account, beside what the answer says of more."""

    rows: pa.Table
    has_more: bool | None
    last_id: str | None
    rest: Rest = NOTHING


class _Refused(Exception):
    """A value that no rule understands."""


_Object = dict[str, msgspec.Raw]


def read(body: bytes) -> RawPage:
    r"""Read the body of a listing's answer, however far it strays.

    Taken as meant: a bare array instead of the envelope, `data: null` where nothing speaks of
    files, numbers as strings, times as floats or ISO 8601 text (UTC where it names no zone), a
    missing `object`, half of a surrogate pair (it stands as its escape, such as `\ud800`). A vendor's
    other name for a column counts where the column's own is missing, such as `size_bytes`, and stays in
    `extra`. A filename or purpose that a vendor does not have is empty text.

    What only says that there is none is null in its column and kept as it came in `extra`: an expiry of
    zero, below zero or beyond the year 9999, a size below zero or of 2**63 and more. So is every field
    without a column kept. Of a field that a file has twice the last counts, as in any JSON reader.

    Raises:
        MalformedBody: the body is not JSON, or is cut short.
        DecodeError: it is JSON, but no page of files; names the file, the field and the value.
    """
    text = body.removeprefix(b"\xef\xbb\xbf")
    answer = _parse(text)
    envelope, files = (answer, _files(_data(answer))) if isinstance(answer, dict) else ({}, _files(answer))
    columns: dict[str, pa.Array] = {}
    for name in _COLUMNS:
        columns[name] = _column(name, files, columns.get("id"))
    columns["extra"] = pa.array([msgspec.json.encode(left).decode() if left else None for left in files], pa.string())
    has_more = _has_more(envelope)
    return RawPage(
        pa.table(columns),
        has_more=has_more,
        last_id=_name(bytes(envelope.get("last_id", _NULL))),
        rest=rest(envelope, len(files), has_more=has_more),
    )


def file_objects(body: bytes) -> list[tuple[str, bytes]]:
    """Return id and JSON of each file on a page that has been decoded before, as the API gave it."""
    answer = _parse(body.removeprefix(b"\xef\xbb\xbf"))
    data = _data(answer) if isinstance(answer, dict) else answer
    items = msgspec.json.decode(data, type=list[msgspec.Raw] | None) or []
    files = [msgspec.json.decode(item, type=_Object) for item in items]
    return [(_identifier(bytes(_taken(file, "id"))), bytes(item)) for file, item in zip(files, items, strict=True)]


def _parse(text: bytes) -> _Object | msgspec.Raw:
    """Return the fields of the envelope, or the array that stands without one."""
    try:
        answer = msgspec.json.decode(text, type=_Object | list[msgspec.Raw])
    except msgspec.ValidationError:
        raise DecodeError(f"the answer is no listing of files: {excerpt(text)}") from None
    except (msgspec.DecodeError, RecursionError):
        readable = _with_halves_spelt_out(text)
        if readable != text:
            return _parse(readable)
        raise MalformedBody(f"the answer is not JSON, or is cut short: {excerpt(text) or 'it is empty'}") from None
    return answer if isinstance(answer, dict) else msgspec.Raw(text)


def _with_halves_spelt_out(text: bytes) -> bytes:
    """Turn each escape of half a surrogate pair, which no UTF-8 can hold, into its own spelling."""
    readable = bytearray()
    here = 0
    for found in _SURROGATE.finditer(text):
        is_escape = len(found[1]) % 2 == 1
        if is_escape is (found[2] is None):
            half = found.end(1) if is_escape else found.start(2)
            readable += text[here:half] + b"\\"
            here = half
    return bytes(readable + text[here:])


def _data(answer: _Object) -> msgspec.Raw:
    if "data" not in answer:
        shown = excerpt(msgspec.json.encode(answer))
        raise DecodeError(f"the answer has no 'data', so it is no listing of files: {shown}", field="data")
    if bytes(answer["data"]) == _NULL and _names_files(answer):
        shown = excerpt(msgspec.json.encode(answer))
        raise DecodeError(f"'data' of the answer is null, but there are files: {shown}", field="data", value="null")
    return answer["data"]


def _names_files(answer: _Object) -> bool:
    """Tell whether the envelope speaks of files, on this page or after it."""
    has_more = _has_more(answer)
    if has_more or rest(answer, 0, has_more=has_more).at_least:
        return True
    return any(_name(bytes(answer.get(name, _NULL))) for name in ("first_id", "last_id"))


def _files(data: msgspec.Raw) -> list[_Object]:
    try:
        return msgspec.json.decode(data, type=list[_Object] | None) or []
    except msgspec.ValidationError:
        pass
    try:
        items = msgspec.json.decode(data, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        shown = excerpt(bytes(data))
        raise DecodeError(f"'data' of the answer is no list: {shown}", field="data", value=shown) from None
    position, item = next((number, item) for number, item in enumerate(map(bytes, items), 1) if item[:1] != b"{")
    raise DecodeError(f"file {position} of the page is no object: {excerpt(item)}", value=excerpt(item))


def _column(name: str, files: list[_Object], ids: pa.Array | None) -> pa.Array:
    """Take a column out of *files*: all at once where every value is as promised, else value by value."""
    promised, read_value = _COLUMNS[name]
    kind = FILES.field(name).type
    taken = [_taken(file, name) for file in files]
    try:
        plain = promised.decode(b"[" + b",".join(taken) + b"]")
    except msgspec.ValidationError:
        values = []
    else:
        return pa.array(plain, _IN_SECONDS).cast(kind) if kind == TIMESTAMP else pa.array(plain, kind)
    for position, (file, raw) in enumerate(zip(files, taken, strict=True)):
        json = bytes(raw)
        try:
            value = read_value(json)
        except _Refused as reason:
            file_id = None if ids is None else ids[position].as_py()
            shown = None if raw is _MISSING else excerpt(json)
            raise _refusal(name, shown, str(reason), file_id, position) from None
        if value is None and json not in _EMPTY:
            file[name] = raw
        values.append(value)
    return pa.array(values, kind)


def _taken(file: _Object, name: str) -> msgspec.Raw:
    """Take a column's value out of a file, or find it under a vendor's name, where it can be read there."""
    if name in file:
        return file.pop(name)
    for other in _SYNONYMS.get(name, ()):
        try:
            if other in file and _COLUMNS[name][1](bytes(file[other])) is not None:
                return file[other]
        except _Refused:
            continue
    return _MISSING


def _refusal(name: str, shown: str | None, reason: str, file_id: str | None, position: int) -> DecodeError:
    file = f"file {position + 1} of the page" if file_id is None else f"file {excerpt(file_id.encode())!r}"
    found = f"has no {name}" if shown is None else f"has {name} = {shown}"
    return DecodeError(f"{file} {found}: {reason}", file_id=file_id, field=name, value=shown)


def _text(json: bytes) -> str:
    if json.removeprefix(b"-").isdigit():
        return json.decode()
    if not json.startswith(b'"'):
        raise _Refused("the API promises text here")
    return msgspec.json.decode(json, type=str)


def _identifier(json: bytes) -> str:
    value = _text(json)
    if not value:
        raise _Refused("a file cannot be told apart by this")
    return value


def _text_if_any(json: bytes) -> str:
    return "" if json == _NULL else _text(json)


def _object_type(json: bytes) -> str:
    return "file" if json == _NULL else _text(json)


def _optional_text(json: bytes) -> str | None:
    if json == _NULL:
        return None
    return _text(json) if json.startswith(b'"') else json.decode()


def _size(json: bytes) -> int | None:
    if json in _EMPTY:
        return None
    number = _number(json)
    if number != int(number):
        raise _Refused("a size is a whole number of bytes")
    return int(number) if 0 <= number <= _LARGEST else None


def _moment(json: bytes) -> int:
    return _microseconds(_seconds(json))


def _microseconds(seconds: Decimal) -> int:
    if not EARLIEST <= seconds < LATEST + 1:
        raise _Refused("a time is in Unix seconds; is this in milliseconds?")
    return int(seconds.quantize(_FINEST, ROUND_DOWN) * 1_000_000)


def _optional_moment(json: bytes) -> int | None:
    """Return when a file goes; None where the value says that it stays."""
    if json in _EMPTY or json.lower() in _NEVER:
        return None
    seconds = _seconds(json)
    is_finer = any(_PLAUSIBLE[0] <= seconds / unit <= _PLAUSIBLE[1] for unit in _UNITS)
    return _microseconds(seconds) if 0 < seconds < LATEST + 1 or is_finer else None


def _seconds(json: bytes) -> Decimal:
    try:
        return _number(json)
    except _Refused:
        pass
    try:
        moment = datetime.fromisoformat(_text(json))
    except (_Refused, ValueError):
        raise _Refused("the API promises a time here, in Unix seconds") from None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return Decimal(since // _MICROSECOND) / 1_000_000


def _number(json: bytes) -> Decimal:
    try:
        number = Decimal(json.decode().strip('"'))
    except InvalidOperation:
        raise _Refused("the API promises a number here") from None
    if not number.is_finite() or abs(number.adjusted()) > _DIGITS:
        raise _Refused("no file has a number like this")
    return number


def _has_more(envelope: _Object) -> bool | None:
    """Return what the answer says of more, in whichever words; where it says both, that there is."""
    flag, promised = _flag(bytes(envelope.get("has_more", _NULL))), promise(envelope)
    return promised if flag is None else flag or bool(promised)


def _flag(json: bytes) -> bool | None:
    if json not in _FLAGS:
        shown = excerpt(json)
        raise DecodeError(f"'has_more' of the answer is neither true nor false: {shown}", field="has_more", value=shown)
    return _FLAGS[json]


def _name(json: bytes) -> str | None:
    """Return an id where there is one to go on from."""
    try:
        return _identifier(json)
    except _Refused:
        return None


_FLAGS: Final = {_NULL: None, b"true": True, b"false": False}

_Seconds = Annotated[int, msgspec.Meta(ge=EARLIEST, le=LATEST)]
_Expiry = Annotated[int, msgspec.Meta(ge=1, le=LATEST)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
_Identifier = Annotated[str, msgspec.Meta(min_length=1)]

_COLUMNS: Final[dict[str, tuple[msgspec.json.Decoder[Any], Callable[[bytes], object]]]] = {
    "id": (msgspec.json.Decoder(list[_Identifier]), _identifier),
    "bytes": (msgspec.json.Decoder(list[_Size | None]), _size),
    "created_at": (msgspec.json.Decoder(list[_Seconds]), _moment),
    "filename": (msgspec.json.Decoder(list[str]), _text_if_any),
    "object": (msgspec.json.Decoder(list[str]), _object_type),
    "purpose": (msgspec.json.Decoder(list[str]), _text_if_any),
    "status": (msgspec.json.Decoder(list[str | None]), _optional_text),
    "expires_at": (msgspec.json.Decoder(list[_Expiry | None]), _optional_moment),
    "status_details": (msgspec.json.Decoder(list[str | None]), _optional_text),
}
"""For each column: what reads all values of a page that keeps the promise, and what reads any one value."""

_SYNONYMS: Final = {
    "id": ("file_id",),
    "bytes": ("size_bytes", "size", "file_size", "sizeBytes"),
    "created_at": ("created", "createdAt", "create_time", "created_time", "uploaded_at"),
    "filename": ("name", "file_name", "fileName"),
    "expires_at": ("expiresAt", "expire_time", "expires"),
}
"""What vendors call a column, where they do not call it by its own name."""
