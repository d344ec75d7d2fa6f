"""The way to the server: its proxy and certificates, what goes over it, and why it failed."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import cast

import httpx

from files_source.accounts import proxy_to
from files_source.bodies import beginning, limited, unpacked
from files_source.errors import ConfigError, excerpt
from files_source.redaction import without_secrets


def route(base_url: str, ca_bundle: str | Path | None) -> httpx.HTTPTransport:
    """Return the way to *base_url*, through the proxy that the environment names, if any."""
    verify: ssl.SSLContext | bool = False  # reading the authorities takes long, and http needs none
    if base_url.startswith("https:"):
        verify = _trusted(ca_bundle)
    proxy = proxy_to(base_url)
    try:
        return httpx.HTTPTransport(verify=verify, proxy=proxy)
    except ImportError:
        raise ConfigError("the environment names a SOCKS proxy: install httpx[socks] to use it") from None
    except (httpx.InvalidURL, ValueError):  # what they say may show the proxy's password
        raise ConfigError("cannot use the proxy that the environment names: give it as http://host:port") from None


def _trusted(ca_bundle: str | Path | None) -> ssl.SSLContext:
    """Return the usual certificate authorities and those of *ca_bundle*."""
    try:
        context = httpx.create_ssl_context()
    except OSError as error:
        raise ConfigError(f"cannot use the authorities that SSL_CERT_FILE or SSL_CERT_DIR names: {error}") from None
    try:
        if ca_bundle is not None:
            context.load_verify_locations(ca_bundle)
    except OSError as error:
        raise ConfigError(f"cannot use the CA bundle {ca_bundle}: {error}") from None
    return context


def what_failed(error: httpx.HTTPError, *, proxy: str | None = None) -> tuple[str, str]:
    """Return what went wrong, and what helps.

    Args:
        proxy: what the request went through, if anything.
    """
    through = "" if proxy is None else f" {without_secrets(proxy)}"
    reason = excerpt(str(error).rstrip(".") or type(error).__name__)
    match error:
        case httpx.ConnectError() if is_untrusted(error):
            return f"met a certificate that is not trusted: {reason}", "; name your authority's file with --ca-bundle"
        case httpx.ConnectTimeout() | httpx.ConnectError():
            if proxy is not None:
                return f"could not connect through the proxy{through}: {reason}", "; check the network and that proxy"
            return f"could not connect: {reason}", "; check the network, the base URL and the proxy"
        case httpx.ProxyError():
            return f"could not pass the proxy{through}: {reason}", "; check the proxy that the environment names"
        case httpx.TimeoutException():
            return "gave no answer in time", "; try again, or with a longer --timeout"
        case _:
            return f"broke off: {reason}", "; try again"


def is_untrusted(error: BaseException) -> bool:
    """Tell whether a connection failed because nobody we trust vouches for the server's certificate."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


class Pause:
    """How long all requests of a client wait since a server has asked one of them for patience."""

    def __init__(self) -> None:
        self._end = 0.0
        self._lock = Lock()

    def last(self, seconds: float) -> None:
        """Let requests wait for so long from now on."""
        with self._lock:
            self._end = max(self._end, time.monotonic() + seconds)

    def wait(self) -> None:
        """Wait for its end, which may be put off meanwhile."""
        while (left := self._end - time.monotonic()) > 0:
            time.sleep(left)


class Meter(httpx.BaseTransport):
    """A transport that counts what really goes out and comes in, and keeps secrets out of the log.

    It unpacks the bodies of answers, so that none unfolds to more than a request's extension
    `max_body` allows, or than explains an error.

    The parameters of *query* are added to each request here, so that httpx's log does not show them.

    Args:
        transport: the way to the server.
        redact: returns a text without the secrets of whoever asks.
        query: parameters of every request.

    Attributes:
        requests: requests sent, those sent again included.
        retries: how many of them were sent again.
        received: bytes of the answers' bodies, as they travelled.
    """

    def __init__(
        self, transport: httpx.BaseTransport, redact: Callable[[str], str], query: Mapping[str, str] | None = None
    ) -> None:
        self.requests = 0
        self.retries = 0
        self.received = 0
        self._transport = transport
        self._redact = redact
        self._query = dict(query or {})
        self._pause = Pause()
        self._closed = False
        self._lock = Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        tries = request.extensions.get("tries", 0)
        request.extensions |= {"tries": tries + 1, "pause": self._pause}
        self._pause.wait()
        if self._closed:  # a thread may not have learnt yet that nobody waits for its answer
            raise httpx.TransportError("the client is closed")
        with self._lock:
            self.requests += 1
            self.retries += tries > 0
        with self._redacted():
            response = self._transport.handle_request(self._with_query(request))
        phrase = self._redact(response.reason_phrase)  # httpx logs it
        response.extensions["reason_phrase"] = phrase.encode("ascii", errors="replace")
        body = partial(
            self._body,
            encoding=response.headers.pop("Content-Encoding", ""),
            most=request.extensions.get("max_body"),
            explains=not response.is_success,
        )
        response.stream = _Body(cast(httpx.SyncByteStream, response.stream), body)
        return response

    def close(self) -> None:
        self._closed = True
        self._transport.close()

    def _with_query(self, request: httpx.Request) -> httpx.Request:
        if not self._query:
            return request
        url, stream = request.url.copy_merge_params(self._query), request.stream
        return httpx.Request(request.method, url, headers=request.headers, stream=stream, extensions=request.extensions)

    def _body(
        self, stream: httpx.SyncByteStream, *, encoding: str, most: int | None, explains: bool
    ) -> Iterator[bytes]:
        body = unpacked(self._parts(stream), encoding)
        if explains:
            return beginning(body)
        return body if most is None else limited(body, most)

    def _parts(self, stream: httpx.SyncByteStream) -> Iterator[bytes]:
        parts = iter(stream)
        while True:
            with self._redacted():
                part = next(parts, None)
            if part is None:
                return
            with self._lock:
                self.received += len(part)
            yield part

    @contextmanager
    def _redacted(self) -> Iterator[None]:
        """Keep the secrets out of what the transport logs and raises."""
        token = _redact_log.set(self._redact)
        try:
            yield
        except httpx.HTTPError as error:
            error.args = (self._redact(str(error)),)
            raise
        finally:
            _redact_log.reset(token)


@dataclass(frozen=True, slots=True)
class _Body(httpx.SyncByteStream):
    """An answer's body, read through a meter; its connection is let go where it is given up."""

    stream: httpx.SyncByteStream
    read: Callable[[httpx.SyncByteStream], Iterator[bytes]]

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.read(self.stream)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.stream.close()


_redact_log: ContextVar[Callable[[str], str] | None] = ContextVar("redact_log", default=None)


class _WithoutSecrets(logging.Filter):
    """Takes out of httpcore's log what a server repeats of the secrets: it shows every answer's headers."""

    def filter(self, record: logging.LogRecord) -> bool:
        redact = _redact_log.get()
        if redact is not None:
            record.msg, record.args = redact(record.getMessage()), ()
        return True


logging.getLogger("httpcore.http11").addFilter(_WithoutSecrets())
