"""Emulator: the Files API as a WSGI application, with faults to order and a log."""

from __future__ import annotations

import gzip as gzip_format
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import werkzeug
from werkzeug.exceptions import ClientDisconnected
from werkzeug.http import http_date

from files_source.emulator.api import LIMIT, Api
from files_source.emulator.delivery import Delivery
from files_source.emulator.faults import Call, Fault, Orders
from files_source.emulator.listing import Oddities
from files_source.emulator.server import Server, serve
from files_source.emulator.styles import STYLES

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came in, and what was answered.

    Attributes:
        status: None where the client saw none: the connection was cut, or the answer hung.
        sent: bytes of the answer's body.
        authorized_by: the names of the headers that brought a key, in small letters.
    """

    method: str
    path: str
    query: dict[str, str]
    status: int | None
    sent: int
    authorized_by: tuple[str, ...]


class Emulator(Api):
    """The Files API of one account in memory, as a WSGI application.

    `Store` describes what may be done to its files.

    Args:
        api_key: the key to ask for; by default any or none will do.
        clock: gives Unix seconds, as a `Clock` does; real time by default.
        seed: what ids and populations are made from.
        default_limit: the page size where a request names none.
        max_limit: a larger `limit` is refused.
        page_cap: no page is larger, whatever `limit` says.
        oddities: how the listing strays from the contract.
        style: list as another vendor does, a name of `STYLES`, to which neither the page sizes nor the oddities apply.
        gzip: compress for clients that accept it.
        latency: seconds that every answer takes.

    Attributes:
        requests: what came in so far; an entry stands here before its answer sets out.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        clock: Callable[[], float] = time.time,
        seed: int = 0,
        default_limit: int = LIMIT,
        max_limit: int = LIMIT,
        page_cap: int | None = None,
        oddities: Oddities = Oddities(),  # noqa: B008 - frozen
        style: str | None = None,
        gzip: bool = False,
        latency: float = 0.0,
    ) -> None:
        if style is not None and style not in STYLES:
            raise ValueError(f"there is no style {style!r}: choose of {', '.join(STYLES)}")
        super().__init__(clock=clock, seed=seed)
        self.api_key = api_key
        self.default_limit = default_limit
        self.max_limit = max_limit
        self.page_cap = page_cap
        self.oddities = oddities
        self.style = style
        self.gzip = gzip
        self.latency = latency
        self.requests: list[Request] = []
        self._orders = Orders()
        self._numbers = itertools.count(1)

    def fail(
        self, fault: Fault, *, at: int = 1, times: int | None = 1, method: str = "GET", path: str = "/v1/files"
    ) -> None:
        """Order *fault* for requests to come.

        Args:
            at: the first request that goes wrong, counted from 1 among those that match from now on.
            times: how many of them go wrong in a row; None for all.
            method: which requests are meant, as a shell pattern; list requests by default.
            path: likewise.
        """
        self._orders.place(fault, at=at, times=times, method=method, path=path)

    def recover(self) -> None:
        """Cancel all faults that were ordered."""
        self._orders.clear()

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> AbstractContextManager[Server]:
        """Serve on a thread while the context lasts, which gives a `Server` with the `url` of the API.

        Args:
            port: 0 for any that is free.
        """
        return serve(self, host=host, port=port)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request as a WSGI application does.

        Raises:
            ConnectionResetError: a fault cut the connection.
            ConnectionAbortedError: the client left before its request was complete.
            TimeoutError: a fault lets the request hang, and there is no connection that its client might leave.
        """
        with _Request(_with_wsgi_path(environ)) as request:
            try:
                request.get_data(parse_form_data=True)
            except (ClientDisconnected, OSError):
                raise ConnectionAbortedError("the client left before its request was complete") from None
            delivery = self._delivery(request)
        self.requests.append(_entry(request, delivery))
        return delivery.deliver(environ, start_response)

    def _delivery(self, request: werkzeug.Request) -> Delivery:
        """Return what *request* is answered, and what is to become of that on its way."""
        fault = self._orders.fault_for(request)
        call = Call(request, answer=lambda: self.answer(request), remove=self._forget)
        delivery = Delivery(call.answer()) if fault is None else fault.spoil(call)
        response = delivery.response
        response.headers.setdefault("Date", http_date(math.floor(self.clock())))
        response.headers.setdefault("openai-version", "2020-10-01")
        response.headers.setdefault("x-request-id", f"req_{next(self._numbers):032x}")
        if self.gzip and response.mimetype == "application/json" and request.accept_encodings.quality("gzip"):
            response.set_data(gzip_format.compress(response.get_data(), compresslevel=1, mtime=0))
            response.headers["Content-Encoding"] = "gzip"
            response.headers["Vary"] = "Accept-Encoding"
        return replace(delivery, delay=delivery.delay + self.latency)

    def _forget(self, file_id: str) -> None:
        with suppress(KeyError):
            self.remove(file_id)


class _Request(werkzeug.Request):
    """A request whose form may be of any size."""

    max_form_memory_size = None
    max_form_parts = sys.maxsize


def _with_wsgi_path(environ: WSGIEnvironment) -> WSGIEnvironment:
    """Repair the path that httpx.WSGITransport gives: text, where WSGI has UTF-8 bytes as Latin-1."""
    path = environ["PATH_INFO"]
    try:
        path.encode("latin-1").decode()
    except UnicodeError:
        return environ | {"PATH_INFO": path.encode().decode("latin-1")}
    return environ


def _entry(request: werkzeug.Request, delivery: Delivery) -> Request:
    return Request(
        method=request.method,
        path=request.path,
        query=request.args.to_dict(),
        status=delivery.status,
        sent=0 if request.method == "HEAD" else delivery.sent,
        authorized_by=tuple(name for name in ("authorization", "api-key") if name in request.headers),
    )
