"""FilesClient: the five calls of the Files API over HTTP."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NoReturn, Self, TypeVar, cast
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import msgspec
from httpx_retries import RetryTransport

from files_source.accounts import Account
from files_source.decoding import Page, decode_page
from files_source.errors import ApiError, ConfigError, DecodeError, MalformedBody, TransportError, excerpt
from files_source.listing import MAX_LIMIT, Order, walk
from files_source.retries import MAX_RETRIES, AnswerToRetry, RetryRules, rules, upload_rules

TIMEOUT: Final = httpx.Timeout(600.0, connect=5.0)
"""The official clients' time-outs, in seconds: a full page may take long."""

FileObject = dict[str, object]
"""A JSON object as the API gave it, such as its File object."""

_Decoded = TypeVar("_Decoded")


class FilesClient:
    """The Files API of one account.

    Making a client asks nothing; it holds connections until it is closed. It may be used by several
    threads. Redirects are not followed, so that a key never travels to another server.

    Args:
        account: whose files; by default what the `OPENAI_*` variables say.
        timeout: seconds, or an `httpx.Timeout`; 600 s, and 5 s to connect, by default.
        max_retries: how often a request is sent again; see `retries.RetryRules`.
        ca_bundle: a PEM file of certificate authorities to trust beside the usual ones.
        transport: another way to the server, for tests.

    Attributes:
        requests: requests sent so far, those sent again included.
        retries: how many of them were sent again.
        received: bytes of answers received so far, as they travelled.

    Raises (every call):
        ApiError: the server answered with an error.
        TransportError: it gave no answer, or one that broke off, however often it was asked.
        DecodeError: its answer cannot be understood.
    """

    def __init__(
        self,
        account: Account | None = None,
        *,
        timeout: float | httpx.Timeout = TIMEOUT,
        max_retries: int = MAX_RETRIES,
        ca_bundle: str | Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.account = account or Account.from_environment()
        self.received = 0
        self._calls = 0
        self._meter = _Meter(transport or _network(self.account.base_url, ca_bundle))
        self._upload_rules = upload_rules(max_retries)
        self._http = httpx.Client(
            base_url=self.account.base_url,
            headers={"User-Agent": "openai-files-source", **self.account.request_headers()},
            timeout=timeout
            if isinstance(timeout, httpx.Timeout)
            else httpx.Timeout(timeout, connect=min(timeout, 5.0)),
            transport=RetryTransport(self._meter, retry=rules(max_retries)),
        )

    @property
    def requests(self) -> int:
        return self._meter.requests

    @property
    def retries(self) -> int:
        return self.requests - self._calls

    def page(
        self, *, after: str | None = None, limit: int = MAX_LIMIT, order: Order = "desc", purpose: str | None = None
    ) -> Page:
        """Return one page of the listing: `GET /files`."""
        wanted = {"after": after, "limit": limit, "order": order, "purpose": purpose}
        return self._call(
            "GET",
            "/files",
            lambda answer: decode_page(answer.content, account=self.account.name, date=_date(answer)),
            params={name: value for name, value in wanted.items() if value is not None},
        )

    def pages(
        self, *, after: str | None = None, limit: int = MAX_LIMIT, order: Order = "desc", purpose: str | None = None
    ) -> Iterator[Page]:
        """Yield the pages of the listing to its end, each file once; see `listing.walk`.

        Raises:
            CursorError: the listing cannot be followed to its end.
        """
        return walk(self.page, after=after, limit=limit, order=order, purpose=purpose)

    def get(self, file_id: str) -> FileObject:
        """Return one File object: `GET /files/{file_id}`."""
        return self._call("GET", _path(file_id), _decode_object)

    def delete(self, file_id: str) -> FileObject:
        """Delete one file and return the API's confirmation: `DELETE /files/{file_id}`."""
        return self._call("DELETE", _path(file_id), _decode_object)

    def content(self, file_id: str) -> Iterator[bytes]:
        """Yield the bytes of one file as they arrive: `GET /files/{file_id}/content`.

        An answer that breaks off raises TransportError after what has been yielded: throw that away.
        """
        asked = f"GET {self.account.base_url}{_path(file_id)}/content"
        self._calls += 1
        with (
            self._errors(asked),
            self._http.stream("GET", f"{_path(file_id)}/content") as answer,
        ):
            if not answer.is_success:
                answer.read()
                self._refuse(asked, answer)
            yield from answer.iter_bytes()

    def create(
        self,
        file: BinaryIO | Path | bytes,
        *,
        purpose: str,
        filename: str | None = None,
        expires_after: int | None = None,
    ) -> FileObject:
        """Upload a file and return its File object: `POST /files`.

        Args:
            file: a path, bytes, or a file open in binary mode that can seek.
            purpose: what the file is for, such as `batch`.
            filename: its name on the server; by default the path's own.
            expires_after: seconds from its creation until it expires, 3600 to 2592000 at OpenAI.
        """
        if isinstance(file, Path):
            try:
                opened = file.open("rb")
            except OSError as error:
                raise ConfigError(f"cannot read {file}: {error.strerror}") from None
            with opened:
                return self.create(opened, purpose=purpose, filename=filename or file.name, expires_after=expires_after)
        fields = {"purpose": purpose}
        if expires_after is not None:
            fields |= {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(expires_after)}
        return self._call(
            "POST",
            "/files",
            _decode_object,
            data=fields,
            files={"file": (filename or "upload", file)},
            policy=self._upload_rules,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(
        self,
        method: str,
        path: str,
        decode: Callable[[httpx.Response], _Decoded],
        *,
        params: dict[str, str | int] | None = None,
        data: dict[str, str] | None = None,
        files: dict[str, tuple[str, BinaryIO | bytes]] | None = None,
        policy: RetryRules | None = None,
    ) -> _Decoded:
        asked = f"{method} {self.account.base_url}{path}"
        extensions: dict[str, object] = {"decode": decode} | ({"retry": policy} if policy else {})
        self._calls += 1
        with self._errors(asked):
            answer = self._http.request(method, path, params=params, data=data, files=files, extensions=extensions)
            self.received += answer.num_bytes_downloaded
            if not answer.is_success:
                self._refuse(asked, answer)
            decoded = answer.extensions.get("decoded")
            return cast(_Decoded, decoded) if decoded is not None else decode(answer)

    @contextmanager
    def _errors(self, asked: str) -> Iterator[None]:
        """Turn what httpx and the decoders raise into our errors, which say what was asked."""
        try:
            yield
        except AnswerToRetry as error:  # pragma: no cover - the last answer is returned, not raised
            raise TransportError(f"{asked} failed: {error}") from None
        except httpx.HTTPError as error:
            raise TransportError(f"{asked} {_what_failed(error)}") from None
        except DecodeError as error:
            raise type(error)(
                f"{asked}: {error}", file_id=error.file_id, field=error.field, value=error.value
            ) from None

    def _refuse(self, asked: str, answer: httpx.Response) -> NoReturn:
        reason, code, param = _reason(answer)
        secrets = [self.account.api_key, *self.account.headers.values()]
        for secret in filter(None, secrets):
            reason = reason.replace(secret, "***")
        raise ApiError(
            asked,
            answer.status_code,
            reason,
            code=code,
            param=param,
            request_id=answer.headers.get("x-request-id"),
            location=answer.headers.get("location", "").partition("?")[0] or None,
        )


class _Meter(httpx.BaseTransport):
    """Counts the requests that really go out."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self.requests = 0
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        return self._transport.handle_request(request)

    def close(self) -> None:
        self._transport.close()


def _network(base_url: str, ca_bundle: str | Path | None) -> httpx.HTTPTransport:
    """Return the way to *base_url*, through the proxy that the environment names, if any."""
    parts = urlsplit(base_url)
    proxies = {} if proxy_bypass(parts.hostname or "") else getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    verify: ssl.SSLContext | bool = parts.scheme == "https"  # reading the authorities takes long, and http needs none
    if verify and ca_bundle is not None:
        verify = httpx.create_ssl_context()
        try:
            verify.load_verify_locations(ca_bundle)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"cannot use the CA bundle {ca_bundle}: {error}") from None
    try:
        return httpx.HTTPTransport(verify=verify, proxy=proxy)
    except (ImportError, ValueError) as error:
        shown = urlsplit(proxy or "").hostname
        raise ConfigError(f"cannot use the proxy {shown!r} that the environment names: {error}") from None


def _path(file_id: str) -> str:
    if file_id in ("", ".", ".."):
        raise ConfigError(f"{file_id!r} is no file id")
    return f"/files/{quote(file_id, safe='')}"


def _decode_object(answer: httpx.Response) -> FileObject:
    try:
        return msgspec.json.decode(answer.content, type=FileObject)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedBody(f"the answer is no JSON object: {excerpt(answer.content)}") from None


def _date(answer: httpx.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None


class _Fault(msgspec.Struct):
    """The forms in which servers explain an error."""

    error: dict[str, object] | str | None = None
    detail: object = None
    message: str | None = None


def _reason(answer: httpx.Response) -> tuple[str, str | None, str | None]:
    """Return what the server says is wrong, its code and the parameter it names."""
    try:
        fault = msgspec.json.decode(answer.content, type=_Fault)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return excerpt(answer.content) or answer.reason_phrase, None, None
    error = fault.error if isinstance(fault.error, dict) else {"message": fault.error}
    code, param = error.get("code"), error.get("param")
    detail = None if fault.detail is None else msgspec.json.encode(fault.detail)
    reason = error.get("message") or fault.message or detail or answer.content
    return (
        excerpt(reason if isinstance(reason, bytes) else str(reason).encode()),
        code if isinstance(code, str) else None,
        param if isinstance(param, str) else None,
    )


def _what_failed(error: httpx.HTTPError) -> str:
    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError() if "CERTIFICATE" in str(error).upper():
            return f"met a certificate that is not trusted: {error}; name your authority's file with --ca-bundle"
        case httpx.ConnectTimeout() | httpx.ConnectError():
            return f"could not connect: {str(error) or 'timed out'}; check the network, the base URL and the proxy"
        case httpx.TimeoutException():
            return "gave no answer in time; try again, or with a longer --timeout"
        case httpx.ProxyError() | httpx.UnsupportedProtocol():
            return f"could not be sent: {error}; check the proxy and the base URL"
        case _:
            return f"broke off: {error}; try again"
