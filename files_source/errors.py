"""What can go wrong, as a tree.

FilesSourceError
├── ConfigError      a setting is missing or cannot be used
├── TransportError   no answer, or one that broke off
├── ApiError         an answer that says no
├── DecodeError      an answer that cannot be understood
├── CursorError      a listing that cannot be followed to its end
├── LoadError        the destination did not take the rows
├── AccountsError    some of several accounts could not be listed
└── DeletionError    some files could not be deleted
    └── JournalError what is deleted cannot be noted: no more is
"""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from files_source.redaction import redacted

OUT_OF_QUOTA: Final = "insufficient_quota"
"""The code of the 429 that no wait cures."""

_SHOWN: Final = 200
_READ: Final = 10 * _SHOWN
"""How much of a text is looked at for what must not be shown: all that may be, and more."""
_HINTS: Final = {
    401: "check the API key (OPENAI_API_KEY) and that it belongs to this server",
    403: "the key is not allowed to do this: check its permissions, organization and project",
    429: "the server limits requests: try again later, or with more --max-retries",
    501: "this server does not offer it",
    **dict.fromkeys((500, 502, 503, 504), "the server failed: try again later, or ask whoever runs it"),
}


_NOT_FOUND: Final = 404
_NO_API: Final = "check that the base URL ends where the server's API begins, usually in /v1"
_NO_FILE: Final = "check the id, and that the file belongs to this key's project"


class FilesSourceError(Exception):
    """Base of every error that this package raises on purpose; as text it is one line, safe to print.

    What looks like a password in it, such as one in a URL, is left out when it is made: no log can show it.
    """

    def __init__(self, *about: object) -> None:
        super().__init__(*(redacted(part) if isinstance(part, str) else part for part in about))

    def __str__(self) -> str:
        return _printable(super().__str__())


class ConfigError(FilesSourceError):
    """A setting is missing or cannot be used."""


class TransportError(FilesSourceError):
    """The server gave no answer, or one that broke off."""


class ApiError(FilesSourceError):
    """The server answered with an error.

    Attributes:
        status: HTTP status.
        reason: what the server says is wrong, shortened.
        code: the API's own code, such as `invalid_api_key`, where it gave one.
        param: the parameter that the API named, where it named one.
        request_id: `x-request-id` of the answer, for the server's support.
        location: where a redirect points to; it is not followed.
        advice: what helps, where whoever asked knows more than the status says.
    """

    def __init__(
        self,
        asked: str,
        status: int,
        reason: str,
        *,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        location: str | None = None,
    ) -> None:
        super().__init__(asked, status, reason)
        self.asked = asked
        self.status = status
        self.reason = reason
        self.code = code
        self.param = param
        self.request_id = request_id
        self.location = location
        self.advice: str | None = None

    def __str__(self) -> str:
        parts = [f"{self.asked} answered {self.status}: {self.reason.rstrip('.')}"]
        if self.request_id:
            parts.append(f"request {self.request_id}")
        if self.location:
            parts.append(f"redirects are not followed: if {self.location} is the same API, set the base URL to it")
        elif self.code == OUT_OF_QUOTA:
            parts.append("no retry cures this: check the account's plan and billing")
        elif hint := self.advice or self._hint():
            parts.append(hint)
        return _printable("; ".join(parts))

    def _hint(self) -> str | None:
        if self.status != _NOT_FOUND:
            return _HINTS.get(self.status)
        is_listing = self.asked.partition("?")[0].endswith("/files")
        return _NO_API if is_listing else _NO_FILE


class DecodeError(FilesSourceError):
    """An answer cannot be understood.

    Attributes:
        file_id: the file whose record is wrong, where the record names one.
        field: the field that is wrong.
        value: the field's value as JSON, shortened.
    """

    def __init__(
        self,
        message: str,
        *,
        file_id: str | None = None,
        field: str | None = None,
        value: str | None = None,
    ) -> None:
        self.file_id = file_id
        self.field = field
        self.value = value
        super().__init__(message)


class MalformedBody(DecodeError):
    """The body is not the JSON that was promised: asking again may help."""


class CursorError(FilesSourceError):
    """A listing cannot be followed to its end."""


class LoadError(FilesSourceError):
    """The destination did not take the rows; what it held before is still there."""


class AccountsError(FilesSourceError):
    """Some of several accounts could not be listed.

    Attributes:
        failures: what went wrong, by the accounts' names.
    """

    def __init__(self, failures: Mapping[str, str], *, of: int, outcome: str) -> None:
        self.failures = dict(failures)
        told = "; ".join(f"{name!r}: {reason}" for name, reason in self.failures.items())
        super().__init__(f"{len(failures)} of {of} accounts failed, {outcome}: {told}")


class DeletionError(FilesSourceError):
    """Some files could not be deleted."""


class JournalError(DeletionError):
    """The journal of deletions cannot be read or written; what it noted before is still there."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What the body of an answer says is wrong, in whichever of the servers' forms.

    Attributes:
        reason: the server's words, all of them; empty where there are none.
        code: the API's own code, where it gave one.
        param: the parameter that it named, where it named one.
    """

    reason: str
    code: str | None = None
    param: str | None = None

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Read `{"error": {...}}`, `{"error": ...}`, `{"message": ...}`, `{"detail": ...}`, text or HTML."""
        text = body.decode("utf-8-sig", errors="replace")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            return cls(" ".join(text.split()))
        whole = answer if isinstance(answer, dict) else {}
        error = whole.get("error")
        named = error if isinstance(error, dict) else whole
        said = named.get("message") or error or whole.get("message") or whole.get("detail") or text
        code, param = named.get("code"), named.get("param")
        if named.get("type") == OUT_OF_QUOTA:
            code = OUT_OF_QUOTA
        return cls(
            " ".join((said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)).split()),
            code if isinstance(code, str) else None,
            param if isinstance(param, str) else None,
        )


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was made of, the first cause last."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def excerpt(text: bytes | str) -> str:
    """Return the beginning of what a server sent, on one line and safe to print."""
    sent = redacted(text[:_READ]).encode(errors="replace") if isinstance(text, str) else text
    whole = len(sent) <= _SHOWN
    line = _printable(getincrementaldecoder("utf-8")("replace").decode(sent[:_SHOWN], final=whole))
    return line if whole else f"{line}..."


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
