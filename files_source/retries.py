"""When a request is sent again, and after how long: the official clients' rules."""

from __future__ import annotations

import time
from typing import Final

import httpx
import msgspec
from httpx_retries import Retry

from files_source.errors import MalformedBody

MAX_RETRIES: Final = 5
"""Waits of 0.5, 1, 2, 4 and 8 seconds: enough for a rate limit by the minute to let a page through."""

_STATUSES: Final = frozenset({408, 409, 429})
_LONGEST_OBEYED: Final = 60.0
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 8.0


class AnswerToRetry(httpx.HTTPError):
    """An answer that the rules say to ask for again."""


class RetryRules(Retry):
    """The official clients' rules as a policy of httpx-retries.

    A request is sent again after 408, 409, 429 and 5xx, after a connection that failed or broke
    off, and after a body that is cut short or not the JSON promised. `x-should-retry` overrides the
    status. `retry-after-ms`, then `Retry-After` (seconds or a date) set the wait up to a minute;
    a longer one is not obeyed. Without them it doubles from 0.5 s to 8 s, less up to a quarter.
    """

    def is_retryable_status_code(self, status_code: int) -> bool:  # noqa: ARG002 - check_answer decides: it sees the headers
        """Leave every status to `check_answer`."""
        return False

    def sleep(self, response: httpx.Response | Exception) -> None:
        """Wait for as long as the server asks, or the back-off says."""
        asked = asked_wait(response.headers) if isinstance(response, httpx.Response) else None
        time.sleep(self.backoff_strategy() if asked is None else asked)


def rules(max_retries: int = MAX_RETRIES) -> RetryRules:
    """Return the rules for calls that may be repeated without harm."""
    return _rules(max_retries, httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, MalformedBody)


def upload_rules(max_retries: int = MAX_RETRIES) -> RetryRules:
    """Return the rules for an upload: once it may have arrived, only an answer asks for it again."""
    return _rules(max_retries, httpx.ConnectError, httpx.ConnectTimeout)


def _rules(max_retries: int, *failures: type[Exception]) -> RetryRules:
    return RetryRules(
        total=max_retries,
        allowed_methods=("GET", "POST", "DELETE"),
        retry_on_exceptions=(*failures, AnswerToRetry),
        backoff_factor=_FIRST_WAIT / 2,  # httpx-retries doubles it once before the first wait
        backoff_jitter=0.25,
        max_backoff_wait=_LONGEST_WAIT,
        validate_response=check_answer,
    )


def check_answer(response: httpx.Response) -> None:
    """Read and decode the answer, where the request says how, so that what fails is asked again.

    Raises:
        AnswerToRetry: the status and headers say to try again.
        MalformedBody, httpx.TransportError: the body is not what was promised, or is cut short.
    """
    told = response.headers.get("x-should-retry")
    if told == "true" or (told != "false" and _says_again(response)):
        raise AnswerToRetry(f"status {response.status_code}")
    decode = response.request.extensions.get("decode")
    if decode is not None and response.is_success:
        response.read()
        response.extensions["decoded"] = decode(response)


def asked_wait(headers: httpx.Headers) -> float | None:
    """Return the seconds that the server asks to wait, where it asks for no more than a minute."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers[name]) * scale
        except KeyError:
            continue
        except ValueError:
            wait = _until_date(headers[name])
        if 0 < wait <= _LONGEST_OBEYED:
            return wait
    return None


def _until_date(text: str) -> float:
    try:
        return Retry().parse_retry_after(text)
    except ValueError:
        return 0.0


def _says_again(response: httpx.Response) -> bool:
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return not _is_out_of_quota(response.read())
    return response.status_code in _STATUSES or response.is_server_error


def _is_out_of_quota(body: bytes) -> bool:
    """Tell the 429 that no wait cures from the one that asks for patience."""
    try:
        answer = msgspec.json.decode(body, type=dict[str, dict[str, object]])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return answer.get("error", {}).get("code") == "insufficient_quota"
