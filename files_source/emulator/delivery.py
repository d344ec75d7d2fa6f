"""How an answer travels: at once, late, in part, or not at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NoReturn

from werkzeug import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

STOPPING: Final = "files_source.emulator.stopping"
"""Where the environment holds the event that the server sets when it stops."""

_NEVER: Final = threading.Event()


@dataclass(frozen=True, slots=True)
class Delivery:
    """An answer and what becomes of it on its way.

    Attributes:
        delay: seconds until it sets out.
        fate: it is cut before its first byte or amid its body, or the client waits for it until it gives up.
    """

    response: Response
    delay: float = 0.0
    fate: Literal["arrives", "cut", "cut short", "hangs"] = "arrives"

    @property
    def status(self) -> int | None:
        """The status that the client sees, if any."""
        return self.response.status_code if self.fate in ("arrives", "cut short") else None

    @property
    def sent(self) -> int:
        """The bytes of the body that go out."""
        length = self.response.content_length or 0
        return {"arrives": length, "cut short": length // 2}.get(self.fate, 0)

    def deliver(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer as a WSGI application does.

        Raises:
            ConnectionResetError: the connection is cut.
            TimeoutError: the answer hangs, and there is no connection that its client might leave.
        """
        if environ.get(STOPPING, _NEVER).wait(self.delay):
            _cut(environ)
        if self.fate == "cut":
            _cut(environ)
        if self.fate == "hangs":
            _hang(environ)
        if self.fate == "cut short":
            body = self.response.get_data()
            self.response.response = _torn(body[: self.sent], environ)
        return self.response(environ, start_response)


def _torn(part: bytes, environ: WSGIEnvironment) -> Iterator[bytes]:
    yield part
    _cut(environ)


def _cut(environ: WSGIEnvironment) -> NoReturn:
    connection: socket.socket | None = environ.get("werkzeug.socket")
    if connection is not None:
        with suppress(OSError):  # the client may have left already
            connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("the emulator cut the connection, as ordered")


def _hang(environ: WSGIEnvironment) -> NoReturn:
    connection: socket.socket | None = environ.get("werkzeug.socket")
    if connection is None:
        raise TimeoutError("the emulator does not answer, as ordered")
    connection.recv(1, socket.MSG_PEEK)  # returns when either side closes the connection
    _cut(environ)
