"""Trouble to order: which request goes wrong, and how."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final

from werkzeug import Request, Response

from files_source.emulator.delivery import Delivery
from files_source.emulator.refusals import refusal

_MESSAGES: Final = {
    401: "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
    429: "Rate limit reached for requests. Please slow down.",
    500: "The server had an error while processing your request. Sorry about that!",
    503: "The engine is currently overloaded, please try again later.",
}
_KINDS: Final = {429: "requests", 500: "server_error", 503: "server_error"}

_GATEWAY_PAGE: Final = "<html><head><title>503 Service Temporarily Unavailable</title></head><body>nginx</body></html>"
_PORTAL_PAGE: Final = "<!DOCTYPE html><html><body><h1>Welcome to Hotel Wi-Fi</h1><p>Please sign in.</p></body></html>"


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is to go wrong.

    Attributes:
        answer: gives what the emulator would answer, and does what the request asks for.
        remove: deletes a file, if there is such a file.
    """

    request: Request
    answer: Callable[[], Response]
    remove: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way for a request to go wrong."""

    name: str
    spoil: Callable[[Call], Delivery] = field(repr=False)


def status(
    code: int, *, headers: Mapping[str, str] | None = None, body: str | None = None, mimetype: str = "application/json"
) -> Fault:
    """Answer with a status and not do what was asked; without a *body*, with an error in the API's form."""

    def spoil(_: Call) -> Delivery:
        if body is None:
            message = _MESSAGES.get(code, f"The emulator answered {code}, as ordered.")
            response = refusal(code, message, kind=_KINDS.get(code, "invalid_request_error"))
        else:
            response = Response(body, status=code, mimetype=mimetype)
        response.headers.update(headers or {})
        return Delivery(response)

    return Fault(f"status {code}", spoil)


def insufficient_quota() -> Fault:
    """Answer with the 429 that no retry cures."""
    message = "You exceeded your current quota, please check your plan and billing details."
    error = {"message": message, "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}
    return status(429, body=json.dumps({"error": error}))


def broken_json() -> Fault:
    """Answer 200 with JSON that ends too early, in a body that is complete."""
    return status(200, body='{"object":"list","data":[{"object":"file","id":"file-')


def captive_portal() -> Fault:
    """Answer 200 with a page that asks people to sign in."""
    return status(200, body=_PORTAL_PAGE, mimetype="text/html")


def cut(*, done: bool = False) -> Fault:
    """Cut the connection before the first byte; where *done*, the request has been carried out."""
    return Fault("cut", lambda call: Delivery(call.answer() if done else Response(), fate="cut"))


def cut_short() -> Fault:
    """Cut the connection in the middle of the body."""
    return Fault("cut short", lambda call: Delivery(call.answer(), fate="cut short"))


def hang() -> Fault:
    """Do not answer until the client goes away or the server stops; in one process, raise TimeoutError."""
    return Fault("hang", lambda _: Delivery(Response(), fate="hangs"))


def slow(seconds: float) -> Fault:
    """Answer *seconds* later."""
    return Fault("slow", lambda call: Delivery(call.answer(), delay=seconds))


def vanish() -> Fault:
    """Delete the file that `after` names, just before the answer."""

    def spoil(call: Call) -> Delivery:
        call.remove(call.request.args.get("after", ""))
        return Delivery(call.answer())

    return Fault("vanish", spoil)


def empty_page(*, named: bool = False) -> Fault:
    """Leave out the files of a page, as if access rules hid them, and promise more.

    Args:
        named: `first_id` and `last_id` still name the files left out. A client can go on after those, but never
            gets them, which is why this one is not in `FAULTS`.
    """

    def spoil(call: Call) -> Delivery:
        response = call.answer()
        if response.status_code == 200:  # noqa: PLR2004 - OK
            listing = json.loads(response.get_data())
            page = (listing if isinstance(listing, dict) else {}) | {"data": [], "has_more": True}
            if not named:
                page |= {"first_id": None, "last_id": None}
            response.set_data(json.dumps(page))
        return Delivery(response)

    return Fault("empty page", spoil)


FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        "401": status(401),
        "408": status(408),
        "429": status(429),
        "429 with Retry-After": status(429, headers={"Retry-After": "1"}),
        "429 with retry-after-ms": status(429, headers={"retry-after-ms": "5"}),
        "429 insufficient quota": insufficient_quota(),
        "500": status(500),
        "500 not to retry": status(500, headers={"x-should-retry": "false"}),
        "400 to retry": status(400, headers={"x-should-retry": "true"}),
        "503 with HTML": status(503, body=_GATEWAY_PAGE, mimetype="text/html"),
        "cut": cut(),
        "cut short": cut_short(),
        "hang": hang(),
        "slow": slow(0.01),
        "broken JSON": broken_json(),
        "captive portal": captive_portal(),
        "vanish": vanish(),
        "empty page": empty_page(),
    }
)
"""Each fault, ready to order, by name."""


@dataclass(slots=True)
class _Order:
    fault: Fault
    first: int
    last: float
    method: str
    path: str
    seen: int = 0

    def counts(self, request: Request) -> bool:
        """Count a request if it is one of those meant, and tell whether it is to go wrong."""
        if not (fnmatchcase(request.method, self.method) and fnmatchcase(request.path, self.path)):
            return False
        self.seen += 1
        return self.first <= self.seen <= self.last


class Orders:
    """The faults that have been ordered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[_Order] = []

    def place(self, fault: Fault, *, at: int, times: int | None, method: str, path: str) -> None:
        """Order *fault*; see `Emulator.fail`."""
        last = math.inf if times is None else at + times - 1
        with self._lock:
            self._orders.append(_Order(fault, at, last, method, path))

    def clear(self) -> None:
        """Forget all orders."""
        with self._lock:
            self._orders.clear()

    def fault_for(self, request: Request) -> Fault | None:
        """Return what is to go wrong with *request*: of several faults, the one ordered first."""
        with self._lock:
            due = [order.fault for order in self._orders if order.counts(request)]
        return due[0] if due else None
