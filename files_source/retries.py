"""When a request is sent again, and after how long: the official clients' rules."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import httpx
from httpx_retries import Retry

from files_source.errors import OUT_OF_QUOTA, ConfigError, DecodeError, Fault, MalformedBody
from files_source.network import is_untrusted

MAX_RETRIES: Final = 5
"""Waits of 0.5, 1, 2, 4 and 8 seconds: enough for a rate limit by the minute to let a page through."""

_STATUSES: Final = frozenset({408, 409, 429})
_HOPELESS: Final = frozenset({501, 505, 511})
"""Of the server's failures those that no repetition cures: it cannot do this, or somebody must sign in first."""
_LIMITED: Final = frozenset({429, 503})
"""What a server says who has too much to do: then the client's other requests wait, too."""
_LONGEST_OBEYED: Final = 60.0
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 8.0
_DOUBLINGS: Final = 10


Decoded = TypeVar("Decoded")
Decode = Callable[[bytes, httpx.Headers], Decoded]
"""Makes something of an answer's body and headers."""


class AnswerToRetry(httpx.HTTPError):
    """An answer that the rules say to ask for again."""


class RetryRules(Retry):
    """The official clients' rules as a policy of httpx-retries.

    A request is sent again after 408, 409, 429 and 5xx but for 501, 505 and 511, after a connection
    that failed or broke off, and after a body that is cut short or not the JSON promised.
    `x-should-retry` overrides the status. `retry-after-ms`, then `Retry-After` (seconds or a date)
    set the wait up to a minute; a longer one is not obeyed. Without them it doubles from 0.5 s to
    8 s, less up to a quarter.
    What no repetition cures is not sent again: an exhausted quota, an untrusted certificate.
    """

    def is_retryable_status_code(self, status_code: int) -> bool:  # noqa: ARG002 - check_answer decides: it sees the headers
        """Leave every status to `check_answer`."""
        return False

    def is_retryable_exception(self, exception: Exception) -> bool:
        """Tell whether a failure may pass."""
        return super().is_retryable_exception(exception) and not is_untrusted(exception)

    def backoff_strategy(self) -> float:
        """Return the seconds before the next try where the server asks for none."""
        wait = _FIRST_WAIT * 2.0 ** min(self.attempts_made - 1, _DOUBLINGS)
        return min(wait, _LONGEST_WAIT) * random.uniform(0.75, 1)  # noqa: S311 - so that clients do not return together

    def sleep(self, response: httpx.Response | Exception) -> None:
        """Wait for as long as the server asks, or the back-off says."""
        asked = asked_wait(response.headers) if isinstance(response, httpx.Response) else None
        wait = self.backoff_strategy() if asked is None else asked
        if isinstance(response, httpx.Response) and response.status_code in _LIMITED:
            response.request.extensions["pause"].last(wait)
        time.sleep(wait)


def rules(max_retries: int = MAX_RETRIES) -> RetryRules:
    """Return the rules for calls that may be repeated without harm.

    Raises:
        ConfigError: *max_retries* is negative.
    """
    return _rules(
        max_retries,
        httpx.TimeoutException,
        httpx.NetworkError,
        httpx.RemoteProtocolError,
        httpx.DecodingError,
        MalformedBody,
    )


def upload_rules(max_retries: int = MAX_RETRIES) -> RetryRules:
    """Return the rules for an upload: once it may have arrived, only an answer asks for it again.

    Raises:
        ConfigError: *max_retries* is negative.
    """
    return _rules(max_retries, *NEVER_ARRIVED)


NEVER_ARRIVED: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Failures before the first byte was sent."""


def _rules(max_retries: int, *failures: type[Exception]) -> RetryRules:
    if max_retries < 0:
        raise ConfigError(f"max_retries is {max_retries}: give 0 or more")
    return RetryRules(
        total=max_retries,
        allowed_methods=("GET", "POST", "DELETE"),
        retry_on_exceptions=(*failures, AnswerToRetry),
        validate_response=check_answer,
    )


def check_answer(response: httpx.Response) -> None:
    """Read and decode the answer, where the request says how, so that what fails is asked again.

    Raises:
        AnswerToRetry: the status and headers say to try again.
        MalformedBody, httpx.HTTPError: the body is not what was promised, or is cut short.
    """
    told = response.headers.get("x-should-retry")
    if told == "true" or (told != "false" and _says_again(response)):
        raise AnswerToRetry(f"status {response.status_code}")
    decode: Decode[object] | None = response.request.extensions.get("decode")
    if decode is not None and response.is_success:
        response.extensions["decoded"] = decoded(response, decode)


def decoded(response: httpx.Response, decode: Decode[Decoded]) -> Decoded:
    """Return what an answer holds. Its body is not kept: httpx's answers live until garbage is collected.

    Raises:
        DecodeError, httpx.HTTPError: as `check_answer` does.
    """
    return decode(b"".join(response.iter_bytes()), response.headers)


def asked_wait(headers: httpx.Headers) -> float | None:
    """Return the seconds that the server asks to wait, where it asks for no more than a minute."""
    wait = _number(headers.get("retry-after-ms")) / 1000 or _number(headers.get("retry-after"))
    if not wait and (date := http_date(headers.get("retry-after"))):
        wait = (date - datetime.now(UTC)).total_seconds()
    return wait if 0 < wait <= _LONGEST_OBEYED else None


def http_date(text: str | None) -> datetime | None:
    """Return the instant that a header names, in UTC where it names no zone; None where it names none."""
    try:
        date = parsedate_to_datetime(text or "")
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _says_again(response: httpx.Response) -> bool:
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return not _is_out_of_quota(response)
    is_hopeless = response.status_code in _HOPELESS
    return response.status_code in _STATUSES or (response.is_server_error and not is_hopeless)


def _is_out_of_quota(response: httpx.Response) -> bool:
    """Tell the 429 that no wait cures from the one that asks for patience."""
    try:
        return Fault.read(response.read()).code == OUT_OF_QUOTA
    except (httpx.HTTPError, DecodeError):
        return False
