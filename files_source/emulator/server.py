"""Serving a WSGI application over HTTP on a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from werkzeug import Response
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from files_source.emulator.delivery import STOPPING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

_POLL: Final = 0.01
"""Seconds that closing may take."""


class Server:
    """A server that is running.

    Attributes:
        url: the base URL of the API that it serves.
    """

    def __init__(self, url: str, thread: threading.Thread) -> None:
        self.url = url
        self._thread = thread

    def wait(self) -> None:
        """Wait until the server stops; Ctrl-C ends the wait as KeyboardInterrupt."""
        self._thread.join()


@contextmanager
def serve(app: WSGIApplication, *, host: str, port: int) -> Iterator[Server]:
    """Serve *app* on a thread until the context ends; then every connection is closed."""
    listener = _Listener(host, port, app, _Handler)
    thread = threading.Thread(target=listener.serve_forever, args=(_POLL,), name="files emulator", daemon=True)
    thread.start()
    try:
        address = f"[{host}]" if ":" in host else host
        yield Server(f"http://{address}:{listener.port}/v1", thread)
    finally:
        listener.shutdown()
        thread.join()


class _Listener(ThreadedWSGIServer):
    """A threaded server that closes its connections when it closes."""

    def __init__(self, host: str, port: int, app: WSGIApplication, handler: type[WSGIRequestHandler]) -> None:
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        super().__init__(host, port, app, handler)

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        self.stopping.set()
        for connection in list(self._connections):
            with suppress(OSError):  # its client may have left already
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


class _Handler(WSGIRequestHandler):
    """Answers on connections that stay open, as the API does and Werkzeug's own handler does not."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise an answer's body waits 40 ms for the client to confirm its head

    def make_environ(self) -> WSGIEnvironment:
        return super().make_environ() | {STOPPING: self.server.stopping}

    def run_wsgi(self) -> None:
        with Response.from_app(self.server.app, self.make_environ()) as response:
            self.send_response_only(response.status_code)
            for name, value in response.headers:
                self.send_header(name, value)
            self.end_headers()
            for part in response.iter_encoded():
                self.wfile.write(part)

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - Werkzeug's name
        """Say nothing: the emulator keeps a log of its own."""
