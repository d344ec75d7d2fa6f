"""What can go wrong, as a tree.

FilesSourceError
├── ConfigError      a setting is missing or cannot be used
├── TransportError   no answer, or one that broke off
├── ApiError         an answer that says no
├── DecodeError      an answer that cannot be understood
├── CursorError      a listing that cannot be followed to its end
└── LoadError        the destination did not take the rows
"""

from __future__ import annotations

from typing import Final

_SHOWN: Final = 200
_HINTS: Final = {
    401: "check the API key (OPENAI_API_KEY) and that it belongs to this server",
    403: "the key is not allowed to do this: check its permissions, organization and project",
    404: "check the id, and that the base URL ends where the server's API begins, usually in /v1",
    429: "the server limits requests: try again later, or with more --max-retries",
}


class FilesSourceError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(FilesSourceError):
    """A setting is missing or cannot be used."""


class TransportError(FilesSourceError):
    """The server gave no answer, or one that broke off."""


class ApiError(FilesSourceError):
    """The server answered with an error.

    Attributes:
        status: HTTP status.
        code: the API's own code, such as `invalid_api_key`, where it gave one.
        param: the parameter that the API named, where it named one.
        request_id: `x-request-id` of the answer, for the server's support.
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
        self.status = status
        self.reason = reason
        self.code = code
        self.param = param
        self.request_id = request_id
        hint = f"set the base URL to where it sends you: {location}" if location else _HINTS.get(status)
        if code == "insufficient_quota":
            hint = "no retry cures this: check the account's plan and billing"
        parts = [f"{asked} answered {status}: {reason}"]
        parts += [f"request {request_id}"] if request_id else []
        parts += [hint] if hint else []
        super().__init__("; ".join(parts))


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


def excerpt(text: bytes) -> str:
    """Return the beginning of what a server sent, on one line and safe to print."""
    start = text[:_SHOWN].decode(errors="replace")
    line = "".join(character if character.isprintable() else " " for character in start)
    return f"{line}..." if len(text) > _SHOWN else line
