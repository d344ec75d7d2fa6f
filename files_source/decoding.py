"""A page's bytes become Arrow: a native reader for what the contract says, a tolerant one for the rest.

Both give the same rows on any page that both accept. The native reader takes pages whose fields are
those of the contract; it makes no Python object of a row. Everything else goes through
`files_source.tolerant`, which either understands it or says which file and field it cannot understand.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from files_source import tolerant
from files_source.envelope import NOTHING, Onward, Rest
from files_source.errors import MalformedBody
from files_source.schema import FILES, TIMESTAMP

_TIMES: Final = {"created_at": tolerant.EARLIEST, "expires_at": 1}
"""The columns of times, and the first second that each may hold."""
_SECONDS: Final = pa.timestamp("s", tz="UTC")
_REQUIRED: Final = tuple(field.name for field in FILES if not field.nullable and field.name != "account")
_ROW: Final = pa.struct(
    [
        pa.field(field.name, pa.int64() if field.name in _TIMES else field.type)
        for field in FILES
        if field.name not in ("account", "extra")
    ]
)
_PAGE: Final = pa.schema(
    {
        "object": pa.string(),
        "data": pa.list_(_ROW),
        "first_id": pa.string(),
        "last_id": pa.string(),
        "has_more": pa.bool_(),
    }
)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to `GET /files`.

    Attributes:
        files: the rows as `schema.FILES`, in the order of the answer, at most one chunk a column.
        has_more: what the answer says of more; None where it says nothing.
        last_id: the answer's own `last_id`; None where it has none. Not always the last row's id.
        date: the server's clock when it answered; None where it has none.
        body: the answer's bytes as received, after decompression.
        rest: what else the answer says of the files that are not on the page.
        is_own: whether the page was asked for in a way of the server's own, not by `after`.
    """

    files: pa.Table
    has_more: bool | None
    last_id: str | None
    date: datetime | None
    body: bytes
    rest: Rest = NOTHING
    is_own: bool = False


def decode_page(body: bytes, *, account: str, date: datetime | None = None, link: str | None = None) -> Page:
    """Decode the body of a listing's answer.

    Args:
        body: what was received.
        account: whose files.
        date: the server's clock.
        link: the address that a `Link` header calls the next one.

    Raises:
        MalformedBody: the body is not JSON, or is cut short.
        DecodeError: it is JSON, but no page of files; names the file, the field and the value.
    """
    _check_text(body)
    page = _read_natively(body) or tolerant.read(body)
    files = page.rows
    columns = {name: files.column(name) for name in files.column_names}
    columns["account"] = pa.repeat(pa.scalar(account, pa.string()), files.num_rows)
    table = pa.table([columns[name] for name in FILES.names], schema=FILES)
    rest = page.rest
    if link and rest.onward is None:
        rest = replace(rest, onward=Onward("next", link, is_address=True), is_over=False)
    return Page(table.combine_chunks(), page.has_more, page.last_id, date, body, rest)


def _check_text(body: bytes) -> None:
    """Refuse bytes that are not UTF-8: the native reader would pass them on unseen."""
    ends = pa.py_buffer(struct.pack("=qq", 0, len(body)))
    text = pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(body)])
    try:
        try:
            text.validate(full=True)  # a tenth of the time that Python takes
        except pa.ArrowInvalid:
            body.decode()
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the answer is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _read_natively(body: bytes) -> tolerant.RawPage | None:
    """Return the page, or None where its shape or a value is not quite the contract's."""
    if not body.lstrip(b" \t\r\n").startswith(b"{"):  # pyarrow 26 crashes on a leading null
        return None
    try:
        answers = pyarrow.json.read_json(
            pa.BufferReader(body),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(body) + 1),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=_PAGE, newlines_in_values=True, unexpected_field_behavior="error"
            ),
        )
    except pa.ArrowInvalid:
        return None
    if answers.num_rows != 1:
        return None
    answer = answers.combine_chunks()
    data = answer.column("data").chunk(0)
    if data.null_count:
        return None
    rows = pa.table(data.flatten().flatten(), names=_ROW.names)
    if not _is_plain(rows):
        return None
    for name in _TIMES:
        times = rows.column(name).cast(_SECONDS).cast(TIMESTAMP)
        rows = rows.set_column(rows.column_names.index(name), name, times)
    rows = rows.append_column("extra", pa.nulls(rows.num_rows, pa.string()))
    return tolerant.RawPage(rows, answer.column("has_more")[0].as_py(), answer.column("last_id")[0].as_py() or None)


def _is_plain(rows: pa.Table) -> bool:
    """Tell whether every value stands as the contract says, so that nothing needs a second look."""
    if any(rows.column(name).null_count for name in _REQUIRED):
        return False
    smallest = pc.min(rows.column("bytes")).as_py()
    if smallest is not None and smallest < 0:
        return False
    for name, least in _TIMES.items():
        bounds = pc.min_max(rows.column(name)).as_py()
        if bounds["min"] is not None and not least <= bounds["min"] <= bounds["max"] <= tolerant.LATEST:
            return False
    return not pc.any(pc.equal(rows.column("id"), "")).as_py()
