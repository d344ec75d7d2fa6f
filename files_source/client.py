"""FilesClient: the five calls of the Files API over HTTP."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, cast
from urllib.parse import quote

import httpx
import msgspec
from httpx_retries import RetryTransport

from files_source.accounts import Account, proxy_to
from files_source.asking import Refused
from files_source.bodies import ENCODING, MAX_BODY
from files_source.decoding import Page, decode_page
from files_source.durations import Duration, seconds
from files_source.errors import ApiError, ConfigError, DecodeError, Fault, MalformedBody, TransportError, excerpt
from files_source.listing import GONE, MAX_LIMIT, check_purpose, walk
from files_source.network import Meter, route, what_failed
from files_source.order import Order
from files_source.retries import (
    MAX_RETRIES,
    NEVER_ARRIVED,
    Decode,
    Decoded,
    RetryRules,
    decoded,
    http_date,
    rules,
    upload_rules,
)

TIMEOUT: Final = httpx.Timeout(600.0, connect=5.0)
"""The official clients' time-outs, in seconds: a full page may take long."""

FileObject = dict[str, object]
"""A JSON object as the API gave it, such as its File object."""


class FilesClient:
    """The Files API of one account.

    Making a client asks nothing; it holds connections until it is closed. It may be used by several
    threads. Redirects are not followed, so that a key never travels to another server.

    Args:
        account: whose files; by default what the `OPENAI_*` variables say.
        timeout: seconds, or an `httpx.Timeout`; 600 s, and 5 s to connect, by default.
        max_retries: how often a request is sent again; see `retries.RetryRules`.
        ca_bundle: a PEM file of certificate authorities to trust beside the usual ones.
        max_body: how many bytes of JSON an answer may have, unpacked; the content of files has no limit.
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
        max_body: int = MAX_BODY,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if max_body < 1:
            raise ConfigError(f"max_body is {max_body}: give bytes, more than 0")
        self._max_body = max_body
        self._refused = Refused()
        self.account = account or Account.from_environment()
        self._upload_rules = upload_rules(max_retries)
        self._meter = Meter(
            transport or route(self.account.base_url, ca_bundle), self.account.redact, self.account.query
        )
        headers = httpx.Headers({"User-Agent": "openai-files-source", "Accept-Encoding": ENCODING})
        headers.update(self.account.request_headers())
        try:
            self._http = httpx.Client(
                base_url=self.account.base_url,
                headers=headers,
                timeout=_timeout(timeout),
                transport=RetryTransport(self._meter, retry=rules(max_retries)),
            )
        except httpx.InvalidURL as error:
            raise ConfigError(f"base URL {self.account.base_url!r} cannot be used: {error}") from None

    @property
    def requests(self) -> int:
        return self._meter.requests

    @property
    def retries(self) -> int:
        return self._meter.retries

    @property
    def received(self) -> int:
        return self._meter.received

    def page(
        self,
        *,
        after: str | None = None,
        limit: int | None = MAX_LIMIT,
        order: Order | None = "desc",
        purpose: str | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> Page:
        """Return one page of the listing: `GET /files`.

        Args:
            after, limit, order, purpose: as the API takes them; None for what is left out.
            query: further parameters, such as `page` of a server that pages by it.
        """
        check_purpose(purpose)
        wanted = {"after": after, "limit": limit, "order": order, "purpose": purpose}
        given = {name: value for name, value in wanted.items() if value is not None}
        return self._call("GET", "/files", self._decode_page, params={**given, **(query or {})})

    def pages(
        self, *, after: str | None = None, limit: int = MAX_LIMIT, order: Order = "desc", purpose: str | None = None
    ) -> Generator[Page, None, None]:
        """Yield the pages of the listing to its end, each file once; see `listing.walk`.

        An empty listing after a file is believed only if that file exists.

        Raises:
            CursorError: the listing cannot be followed to its end.
        """
        pages = walk(
            self.page,
            after=after,
            limit=limit,
            order=order,
            purpose=purpose,
            refused=self._refused,
            home=f"{self.account.base_url}/files",
        )
        for number, page in enumerate(pages):
            if number == 0 and after is not None and not page.files.num_rows:
                self.get(after)
            yield page

    def _decode_page(self, body: bytes, headers: httpx.Headers) -> Page:
        link = httpx.Response(httpx.codes.OK, headers=headers).links.get("next", {}).get("url")
        return decode_page(body, account=self.account.name, date=http_date(headers.get("date")), link=link)

    def get(self, file_id: str) -> FileObject:
        """Return one File object: `GET /files/{file_id}`."""
        return self._call("GET", _path(file_id), _decode_object)

    def exists(self, file_id: str) -> bool:
        """Tell whether the server has a file: `GET /files/{file_id}`."""
        try:
            self.get(file_id)
        except ApiError as error:
            if error.status not in GONE:
                raise
            return False
        return True

    def delete(self, file_id: str) -> FileObject:
        """Delete one file and return the API's confirmation: `DELETE /files/{file_id}`.

        A server that answers with nothing, as by 204, confirms nothing: the object is empty then.
        """
        return self._call("DELETE", _path(file_id), _decode_confirmation)

    def content(self, file_id: str) -> Iterator[bytes]:
        """Return the bytes of one file, to be taken as they arrive: `GET /files/{file_id}/content`.

        Nothing is asked before the first are. An answer that breaks off raises TransportError after
        what has been yielded: throw that away.
        """
        return self._stream(f"{_path(file_id)}/content")

    def create(
        self,
        file: BinaryIO | PathLike[str] | bytes,
        *,
        purpose: str,
        filename: str | None = None,
        expires_after: int | Duration | None = None,
    ) -> FileObject:
        """Upload a file and return its File object: `POST /files`.

        Args:
            file: a path, bytes, or a file open in binary mode that can seek.
            purpose: what the file is for, such as `batch`.
            filename: its name on the server; by default the path's own.
            expires_after: how long after its creation it expires: seconds, a timedelta, or text such as
                `30d`; 3600 to 2592000 seconds at OpenAI.

        Raises:
            ConfigError: the file cannot be read, or *expires_after* is no duration.
        """
        if expires_after is not None:
            expires_after = seconds(expires_after, name="expires_after")
        if isinstance(file, PathLike):
            path = Path(file)
            try:
                opened = path.open("rb")
            except OSError as error:
                raise ConfigError(f"cannot read {path}: {error.strerror}") from None
            with opened:
                return self.create(opened, purpose=purpose, filename=filename, expires_after=expires_after)
        if isinstance(file, str):
            raise ConfigError("the file is text, which may be a path or what it holds: give a Path, or bytes")
        if not isinstance(file, bytes) and not file.seekable():
            raise ConfigError("cannot upload a stream that cannot seek: give a path, bytes or an open file")
        fields = {"purpose": purpose}
        if expires_after is not None:
            fields |= {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(expires_after)}
        return self._call(
            "POST",
            "/files",
            _decode_object,
            data=fields,
            files={"file": (filename or _name(file), file)},
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
        decode: Decode[Decoded],
        *,
        params: dict[str, str | int] | None = None,
        data: dict[str, str] | None = None,
        files: dict[str, tuple[str, BinaryIO | bytes]] | None = None,
        policy: RetryRules | None = None,
    ) -> Decoded:
        extensions: dict[str, object] = {"decode": decode, "max_body": self._max_body}
        if policy is not None:
            extensions["retry"] = policy
        with (
            self._errors(method, path),
            self._http.stream(method, path, params=params, data=data, files=files, extensions=extensions) as answer,
        ):
            self._check(method, path, answer)
            if "decoded" in answer.extensions:
                return cast(Decoded, answer.extensions.pop("decoded"))
            return decoded(answer, decode)

    def _stream(self, path: str) -> Iterator[bytes]:
        with self._errors("GET", path), self._http.stream("GET", path) as answer:
            self._check("GET", path, answer)
            yield from answer.iter_bytes()

    @contextmanager
    def _errors(self, method: str, path: str) -> Iterator[None]:
        """Turn what httpx and the decoders raise into our errors, which say what was asked."""
        asked = f"{method} {self.account.base_url}{path}"
        doubt = "; the file may have arrived: look for it before you send it again" if method == "POST" else ""
        try:
            yield
        except httpx.HTTPError as error:
            what, advice = what_failed(error, proxy=proxy_to(self.account.base_url))
            if doubt and not isinstance(error, (*NEVER_ARRIVED, httpx.ProxyError)):
                advice = doubt
            raise TransportError(f"{asked} {self.account.redact(what)}{advice}") from None
        except DecodeError as error:
            raise type(error)(
                f"{asked}: {self.account.redact(str(error))}{doubt}",
                file_id=error.file_id and self.account.redact(error.file_id),
                field=error.field,
                value=error.value and self.account.redact(error.value),
            ) from None
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ConfigError(f"{asked} cannot be sent: {error}") from None

    def _check(self, method: str, path: str, answer: httpx.Response) -> None:
        """Raise ApiError unless the answer says yes."""
        if answer.is_success:
            return
        fault = Fault.read(_body(answer))
        reason = fault.reason or answer.reason_phrase or "the answer does not say why"
        if (
            method == "DELETE"
            and answer.status_code == httpx.codes.NOT_FOUND
            and answer.request.extensions["tries"] > 1
        ):
            reason = f"{reason} (it was asked more than once: an earlier try may have deleted the file)"
        raise ApiError(
            f"{method} {self.account.base_url}{path}",
            answer.status_code,
            excerpt(self.account.redact(reason)),
            code=self._shown(fault.code),
            param=self._shown(fault.param),
            request_id=self._shown(answer.headers.get("x-request-id")),
            location=self._shown(self._location(answer)),
        )

    def _location(self, answer: httpx.Response) -> str | None:
        """Return where a redirect points to, without what may be secret."""
        if not answer.has_redirect_location:
            return None
        target = answer.url.join(self.account.redact(answer.headers["location"]))
        return str(target.copy_with(userinfo=b"", query=None, fragment=None))

    def _shown(self, text: str | None) -> str | None:
        return excerpt(self.account.redact(text)) if text else None


def _timeout(timeout: float | httpx.Timeout) -> httpx.Timeout:
    if isinstance(timeout, httpx.Timeout):
        return timeout
    if not timeout > 0:
        raise ConfigError(f"timeout is {timeout}: give seconds, more than 0")
    return httpx.Timeout(timeout, connect=min(timeout, cast(float, TIMEOUT.connect)))


def _path(file_id: str) -> str:
    try:
        quoted = quote(file_id, safe="")
    except UnicodeEncodeError:
        quoted = ""
    if quoted in ("", ".", ".."):
        raise ConfigError(f"{file_id!r} is no file id")
    return f"/files/{quoted}"


def _name(file: BinaryIO | bytes) -> str:
    """Return what an open file is called, or a name for nameless bytes."""
    name = getattr(file, "name", None)
    return Path(name).name if isinstance(name, str) else "upload"


def _decode_object(body: bytes, _: httpx.Headers) -> FileObject:
    try:
        return msgspec.json.decode(body, type=FileObject)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedBody(f"the answer is no JSON object: {excerpt(body)}") from None


def _decode_confirmation(body: bytes, headers: httpx.Headers) -> FileObject:
    return _decode_object(body, headers) if body else {}


def _body(answer: httpx.Response) -> bytes:
    """Return what explains an error; nothing if it broke off or cannot be read: the status says enough."""
    try:
        return answer.read()
    except (httpx.HTTPError, DecodeError):
        return b""
