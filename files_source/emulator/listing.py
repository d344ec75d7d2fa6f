"""One page of the listing: what may be asked, what is answered, and how servers stray from that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from werkzeug.exceptions import abort

from files_source.emulator.index import Order
from files_source.emulator.refusals import refusal

_ORDERS: Final[Mapping[str, Order]] = {"asc": "asc", "desc": "desc"}

WRONG_ID: Final = "file-000000000000000000000000"
"""What `first_id` and `last_id` say where they are wrong."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a list request asks for."""

    after: str | None
    limit: int
    order: Order
    purpose: str | None


@dataclass(frozen=True, slots=True)
class Oddities:
    """How a server's listing strays from the contract; by default it does not.

    Attributes:
        has_more_omitted: the answer does not say whether more files follow.
        first_and_last: what `first_id` and `last_id` are.
        data: where the files are: in `data`, nowhere (`null` or no `data` at all), or in a bare array.
        after_ignored: every page is the first page.
        last_page_repeats: the end promises more, and there the last page comes again.
        order_ignored: every listing is in descending order.
        first_two_transposed: the second file of a listing stands before the first.
        ties_by_id: files of one second stand in ascending order of their ids, in both orders.
        vanished_cursor: what `after` with a file that does not exist gives: an error with this status,
            or a page that looks like the end.
    """

    has_more_omitted: bool = False
    first_and_last: Literal["right", "omitted", "null", "empty", "wrong"] = "right"
    data: Literal["right", "null", "omitted", "bare"] = "right"
    after_ignored: bool = False
    last_page_repeats: bool = False
    order_ignored: bool = False
    first_two_transposed: bool = False
    ties_by_id: bool = False
    vanished_cursor: Literal[400, 404, "end"] = 400


ODDITIES: Final[Mapping[str, Oddities]] = MappingProxyType(
    {
        "no has_more": Oddities(has_more_omitted=True),
        "no first_id and last_id": Oddities(first_and_last="omitted"),
        "null first_id and last_id": Oddities(first_and_last="null"),
        "empty first_id and last_id": Oddities(first_and_last="empty"),
        "wrong first_id and last_id": Oddities(first_and_last="wrong"),
        "null data": Oddities(data="null"),
        "no data": Oddities(data="omitted"),
        "bare array": Oddities(data="bare"),
        "after ignored": Oddities(after_ignored=True),
        "last page repeats": Oddities(last_page_repeats=True),
        "order ignored": Oddities(order_ignored=True),
        "first two transposed": Oddities(first_two_transposed=True),
        "ties by id": Oddities(ties_by_id=True),
        "vanished cursor is 404": Oddities(vanished_cursor=404),
        "vanished cursor is the end": Oddities(vanished_cursor="end"),
    }
)
"""Each way to stray, by name."""


def read_query(asked: Mapping[str, str], default_limit: int, max_limit: int) -> Query:
    """Return what the parameters of a list request ask for, or refuse them with 400."""
    order = asked.get("order", "desc")
    if order not in _ORDERS:
        message = f"Invalid value: {order!r}. Supported values are: 'asc' and 'desc'."
        abort(refusal(400, message, param="order", code="invalid_value"))
    return Query(
        after=asked.get("after"),
        limit=_limit(asked["limit"], max_limit) if "limit" in asked else min(default_limit, max_limit),
        order=_ORDERS[order],
        purpose=asked.get("purpose"),
    )


def write_page(rows: list[bytes], *, more: bool, oddities: Oddities) -> bytes:
    """Return the JSON of a page that holds *rows*."""
    array = b"[" + b",".join(rows) + b"]"
    if oddities.data == "bare":
        return array
    parts = [b'"object":"list"']
    if oddities.data != "omitted":
        parts.append(b'"data":' + (array if oddities.data == "right" else b"null"))
    if oddities.first_and_last != "omitted":
        ends = {"first_id": rows[:1], "last_id": rows[-1:]}
        parts += [b'"%s":%s' % (name.encode(), _id(row, oddities)) for name, row in ends.items()]
    if not oddities.has_more_omitted:
        parts.append(b'"has_more":' + (b"true" if more else b"false"))
    return b"{" + b",".join(parts) + b"}"


def _limit(text: str, maximum: int) -> int:
    try:
        limit = int(text)
    except ValueError:
        message = f"Invalid type for 'limit': expected an integer, but got {text!r} instead."
        abort(refusal(400, message, param="limit", code="invalid_type"))
    if limit < 1:
        message = f"Invalid 'limit': integer below minimum value. Expected a value >= 1, but got {limit} instead."
        abort(refusal(400, message, param="limit", code="integer_below_min_value"))
    if limit > maximum:
        message = (
            f"Invalid 'limit': integer above maximum value. Expected a value <= {maximum}, but got {limit} instead."
        )
        abort(refusal(400, message, param="limit", code="integer_above_max_value"))
    return limit


def _id(row: list[bytes], oddities: Oddities) -> bytes:
    shown = json.loads(row[0]).get("id") if row else None
    value = {"right": shown, "null": None, "empty": "", "wrong": WRONG_ID}[oddities.first_and_last]
    return json.dumps(value).encode()
