"""Reading a page that strays from the contract: every value is understood, kept as it came, or refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec
import pyarrow as pa

from files_source.errors import DecodeError, MalformedBody, excerpt

EARLIEST: Final = -62_135_596_800
"""Unix seconds of the year 1, the first that a Python datetime can hold."""
LATEST: Final = 253_402_300_799
"""Unix seconds of the end of the year 9999."""

_LARGEST: Final = 2**63 - 1
_DIGITS: Final = 30
_NULL: Final = b"null"
_EMPTY: Final = (_NULL, b'""')
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class RawPage:
    """Rows without account, times as microseconds since 1970, beside what the answer says of more."""

    rows: pa.Table
    has_more: bool | None
    last_id: str | None


class _Refused(Exception):
    """A value that no rule understands."""


_Object = dict[str, msgspec.Raw]


def read(body: bytes) -> RawPage:
    r"""Read the body of a listing's answer, however far it strays.

    Taken as meant: a bare array instead of the envelope, `data: null` for no files, numbers as
    strings, times as floats or ISO 8601 text (UTC where it names no zone), a missing `object`,
    half of a surrogate pair (it stands as its escape, such as `\ud800`). A size that its column
    cannot hold (a negative one) is null there and kept as it came in `extra`, as is every field
    without a column.

    Raises:
        MalformedBody: the body is not JSON, or is cut short.
        DecodeError: it is JSON, but no page of files; names the file, the field and the value.
    """
    text = body.removeprefix(b"\xef\xbb\xbf")
    answer = _parse(text)
    items, envelope = (answer, {}) if isinstance(answer, list) else (_items(answer, text), answer)
    rows = [_row(item, position) for position, item in enumerate(items)]
    columns = [pa.array([row[name] for row in rows], kind) for name, kind in _KINDS.items()]
    return RawPage(
        pa.table(columns, names=list(_KINDS)),
        has_more=_flag(bytes(envelope.get("has_more", _NULL))),
        last_id=_name(bytes(envelope.get("last_id", _NULL))),
    )


def _parse(text: bytes) -> _Object | list[msgspec.Raw]:
    try:
        return msgspec.json.decode(text, type=_Object | list[msgspec.Raw])
    except msgspec.ValidationError:
        raise DecodeError(f"the answer is no listing of files: {excerpt(text)}") from None
    except (msgspec.DecodeError, RecursionError):
        readable = _ESCAPE.sub(_spell_out, text)
        if readable != text:
            return _parse(readable)
        raise MalformedBody(f"the answer is not JSON, or is cut short: {excerpt(text)}") from None


def _spell_out(escape: re.Match[bytes]) -> bytes:
    """Turn the escape of half a surrogate pair, which no UTF-8 can hold, into its own spelling."""
    return b"\\" + escape[0] if escape["half"] else escape[0]


def _items(answer: _Object, text: bytes) -> list[msgspec.Raw]:
    if "data" not in answer:
        raise DecodeError(f"the answer has no 'data', so it is no listing of files: {excerpt(text)}")
    try:
        return msgspec.json.decode(answer["data"], type=list[msgspec.Raw] | None) or []
    except msgspec.DecodeError:
        raise DecodeError(f"'data' of the answer is no list: {excerpt(bytes(answer['data']))}") from None


def _row(item: msgspec.Raw, position: int) -> dict[str, object]:
    try:
        fields = msgspec.json.decode(item, type=_Object)
    except msgspec.DecodeError:
        shown = excerpt(bytes(item))
        raise DecodeError(f"file {position + 1} of the page is no object: {shown}", value=shown) from None
    row: dict[str, object] = {}
    kept = {name: bytes(raw) for name, raw in fields.items() if name not in _READERS}
    for name, read_value in _READERS.items():
        raw = bytes(fields.get(name, _NULL))
        try:
            row[name] = value = read_value(raw)
        except _Refused as reason:
            raise _error(fields, name, str(reason), position) from None
        if value is None and raw not in _EMPTY:
            kept[name] = raw
    row["extra"] = _joined(kept) if kept else None
    return row


def _error(fields: _Object, name: str, reason: str, position: int) -> DecodeError:
    file_id = _name(bytes(fields.get("id", _NULL)))
    value = excerpt(bytes(fields[name])) if name in fields else None
    file = f"file {file_id!r}" if file_id else f"file {position + 1} of the page"
    found = f"has no {name}" if value is None else f"has {name} = {value}"
    return DecodeError(f"{file} {found}: {reason}", file_id=file_id, field=name, value=value)


def _text(raw: bytes) -> str:
    value = _loaded(raw)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _Refused("the API promises text here")
    return value


def _identifier(raw: bytes) -> str:
    value = _text(raw)
    if not value:
        raise _Refused("a file cannot be told apart by this")
    return value


def _object_type(raw: bytes) -> str:
    return "file" if raw == _NULL else _text(raw)


def _optional_text(raw: bytes) -> str | None:
    if raw == _NULL:
        return None
    return _text(raw) if raw.startswith(b'"') else raw.decode()


def _size(raw: bytes) -> int | None:
    if raw in _EMPTY:
        return None
    number = int(raw) if raw.isdigit() else _number(raw)
    if number != int(number) or number > _LARGEST:
        raise _Refused("a size is a whole number of bytes")
    return int(number) if number >= 0 else None


def _moment(raw: bytes) -> int:
    seconds = int(raw) if raw.isdigit() else _seconds(raw)
    if not EARLIEST <= seconds <= LATEST:
        raise _Refused("a time is in Unix seconds; is this in milliseconds?")
    return int(seconds * 1_000_000)


def _optional_moment(raw: bytes) -> int | None:
    return None if raw in _EMPTY else _moment(raw)


def _seconds(raw: bytes) -> Decimal:
    try:
        return _number(raw)
    except _Refused:
        value = _loaded(raw)
        try:
            moment = datetime.fromisoformat(value if isinstance(value, str) else "")
        except ValueError:
            raise _Refused("the API promises a time here, in Unix seconds") from None
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        since = aware - datetime.fromtimestamp(0, UTC)
        return Decimal(since.days * 86_400 + since.seconds) + Decimal(since.microseconds) / 1_000_000


def _number(raw: bytes) -> Decimal:
    try:
        number = Decimal(raw.decode().strip('"').strip())
    except InvalidOperation:
        raise _Refused("the API promises a number here") from None
    if not number.is_finite() or abs(number.adjusted()) > _DIGITS:
        raise _Refused("the API promises a number here")
    return number


def _loaded(raw: bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        raise _Refused("the API promises something else here") from None


def _flag(raw: bytes) -> bool | None:
    if raw not in _FLAGS:
        raise DecodeError(f"'has_more' of the answer is neither true nor false: {excerpt(raw)}")
    return _FLAGS[raw]


def _name(raw: bytes) -> str | None:
    """Return an id where there is one to show or to go on from."""
    try:
        return _identifier(raw)
    except _Refused:
        return None


def _joined(fields: dict[str, bytes]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{raw.decode()}" for name, raw in fields.items()) + "}"


_FLAGS: Final = {_NULL: None, b"true": True, b"false": False}
_READERS: Final[dict[str, Callable[[bytes], object]]] = {
    "id": _identifier,
    "bytes": _size,
    "created_at": _moment,
    "filename": _text,
    "object": _object_type,
    "purpose": _text,
    "status": _optional_text,
    "expires_at": _optional_moment,
    "status_details": _optional_text,
}
_KINDS: Final = {
    name: pa.int64() if name in ("bytes", "created_at", "expires_at") else pa.string() for name in (*_READERS, "extra")
}
