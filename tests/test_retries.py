"""When a request is sent again: the official clients' rules, one by one."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from unittest import mock

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from files_source import network, retries
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.errors import ApiError, ConfigError, DecodeError, TransportError
from files_source.retries import asked_wait, http_date, rules, upload_rules

FILE = {"id": "file-1", "object": "file", "bytes": 3, "created_at": 1, "filename": "a", "purpose": "batch"}
LISTING = {"object": "list", "data": [FILE], "has_more": False}
CALLS: dict[str, Callable[[FilesClient], object]] = {
    "page": lambda client: client.page().files.num_rows,
    "get": lambda client: client.get("file-1"),
    "delete": lambda client: client.delete("file-1"),
    "content": lambda client: b"".join(client.content("file-1")),
    "create": lambda client: client.create(b"abc", purpose="batch"),
}
AGAIN = (408, 409, 429, 500, 502, 503, 504, 520, 599)
NEVER = (300, 304, 400, 401, 402, 403, 404, 405, 410, 413, 415, 422, 425, 451, 501, 505, 511)


class Server(httpx.MockTransport):
    """Answers with what it is told to, one after the other, the last one ever again; raises what is an error."""

    def __init__(self, *answers: Callable[[], httpx.Response] | Exception) -> None:
        super().__init__(self._answer)
        self.answers = list(answers)
        self.received: list[bytes] = []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.received.append(request.read())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer()


class Cut(httpx.SyncByteStream):
    """A body that ends before it was promised to."""

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"id": "fi'
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


class Unread(httpx.SyncByteStream):
    """A body that nobody has time for."""

    closed = False

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError

    def close(self) -> None:
        self.closed = True


def answer(status: int = 200, **parts: object) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(status, **parts)


GOOD = answer(json=LISTING | FILE)
"""A listing and a File object in one."""
BROKEN = answer(content=b'{"data": [{"id": "fi')
CUT = answer(stream=Cut())


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the waits between tries, none of which takes any time."""
    waits: list[float] = []
    monkeypatch.setattr(retries, "time", SimpleNamespace(sleep=waits.append))
    monkeypatch.setattr(network, "Pause", mock.Mock)
    return waits


def connect(*answers: Callable[[], httpx.Response] | Exception, **settings: object) -> FilesClient:
    return FilesClient(Account(base_url="http://127.0.0.1/v1"), transport=Server(*answers), **settings)


@pytest.mark.parametrize("status", AGAIN)
def test_a_status_that_may_pass_is_asked_again(status: int, waits: list[float]):
    """There is an answer in the end."""
    client = connect(answer(status), answer(status), GOOD)

    assert client.get("file-1")
    assert (client.requests, client.retries, len(waits)) == (3, 2, 2)


@pytest.mark.parametrize("status", NEVER)
def test_a_status_that_will_not_pass_is_not_asked_again(status: int, waits: list[float]):
    """The refusal is told at once."""
    client = connect(answer(status))

    with pytest.raises(ApiError) as caught:
        client.get("file-1")

    assert caught.value.status == status
    assert (client.requests, client.retries, waits) == (1, 0, [])


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_is_asked_again_after_an_answer_that_may_pass(
    call: Callable[[FilesClient], object], waits: list[float]
):
    """An answered 503 did nothing, so a delete and an upload can be repeated, too; a 400 never is."""
    client = connect(answer(503), GOOD, answer(400))

    assert call(client)
    with pytest.raises(ApiError):
        call(client)

    assert (client.requests, client.retries) == (3, 1)


@pytest.mark.parametrize("status", [200, *NEVER])
def test_a_server_can_ask_to_be_asked_again(status: int, waits: list[float]):
    """`x-should-retry: true` stands above any status."""
    client = connect(answer(status, json=FILE, headers={"x-should-retry": "true"}), GOOD)

    client.get("file-1")

    assert client.requests == 2


@pytest.mark.parametrize("status", AGAIN)
def test_a_server_can_ask_not_to_be_asked_again(status: int, waits: list[float]):
    """`x-should-retry: false` stands above any status."""
    client = connect(answer(status, headers={"x-should-retry": "false"}))

    with pytest.raises(ApiError):
        client.get("file-1")

    assert client.requests == 1


@pytest.mark.parametrize(("status", "requests"), [(503, 2), (400, 1)])
@pytest.mark.parametrize("value", ["", "yes", "TRUE", "0"])
def test_any_other_word_of_the_server_leaves_it_to_the_status(
    value: str, status: int, requests: int, waits: list[float]
):
    """The official clients know `true` and `false` only."""
    client = connect(answer(status, headers={"x-should-retry": value}), answer(400))

    with pytest.raises(ApiError):
        client.get("file-1")

    assert client.requests == requests


@pytest.mark.parametrize("max_retries", [0, 1, 2, 7])
def test_a_request_is_sent_again_as_often_as_allowed(max_retries: int, waits: list[float]):
    """The last answer is then the error."""
    client = connect(answer(503, json={"error": "overloaded"}), max_retries=max_retries)

    with pytest.raises(ApiError, match="answered 503: overloaded"):
        client.get("file-1")

    assert (client.requests, client.retries, len(waits)) == (max_retries + 1, max_retries, max_retries)


def test_five_tries_more_are_the_default(waits: list[float]):
    """Enough for a rate limit by the minute to pass."""
    client = connect(answer(429))

    with pytest.raises(ApiError):
        client.page()

    assert client.retries == 5


@pytest.mark.parametrize(
    "make", [rules, upload_rules, lambda number: FilesClient(Account(base_url="http://127.0.0.1"), max_retries=number)]
)
def test_less_than_no_retries_is_refused(make: Callable[[int], object]):
    """The setting is named."""
    with pytest.raises(ConfigError, match="max_retries is -1: give 0 or more"):
        make(-1)


def test_the_wait_doubles_from_half_a_second_to_eight(waits: list[float]):
    """Each wait is up to a quarter shorter, by chance, so that clients do not come back together."""
    client = connect(answer(500), max_retries=12)

    with pytest.raises(ApiError):
        client.get("file-1")

    longest = [0.5, 1, 2, 4, 8, 8, 8, 8, 8, 8, 8, 8]
    assert all(0.75 * most <= wait <= most for wait, most in zip(waits, longest, strict=True))
    assert len(set(waits)) == len(waits)


def test_the_wait_has_no_end_of_doublings():
    """However often a client may ask, the wait can be computed."""
    assert 6 <= rules(10**9).copy_with(attempts_made=10**8).backoff_strategy() <= 8


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        pytest.param({"Retry-After": "7"}, 7, id="seconds"),
        pytest.param({"Retry-After": "0.25"}, 0.25, id="part of a second"),
        pytest.param({"Retry-After": "60"}, 60, id="a minute"),
        pytest.param({"retry-after-ms": "1500"}, 1.5, id="milliseconds"),
        pytest.param({"retry-after-ms": "20.5"}, 0.0205, id="part of a millisecond"),
        pytest.param({"retry-after-ms": "1500", "Retry-After": "7"}, 1.5, id="milliseconds stand first"),
        pytest.param({"retry-after-ms": "soon", "Retry-After": "7"}, 7, id="milliseconds that are none"),
        pytest.param({"retry-after-ms": "60001", "Retry-After": "7"}, None, id="too many milliseconds"),
        pytest.param({"Retry-After": "60.1"}, None, id="more than a minute"),
        pytest.param({"Retry-After": "86400"}, None, id="a day"),
        pytest.param({"Retry-After": "0"}, None, id="nothing"),
        pytest.param({"Retry-After": "-7"}, None, id="negative"),
        pytest.param({"Retry-After": "nan"}, None, id="no number"),
        pytest.param({"Retry-After": "inf"}, None, id="for ever"),
        pytest.param({"Retry-After": ""}, None, id="empty"),
        pytest.param({"Retry-After": "soon"}, None, id="a word"),
        pytest.param({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, None, id="a date gone by"),
        pytest.param({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, None, id="a date far off"),
        pytest.param({"Retry-After": "Fri, 31 Dec 9999 23:59:59 -0100"}, None, id="a date past the last"),
        pytest.param({}, None, id="none"),
    ],
)
def test_a_server_says_how_long_to_wait(headers: dict[str, str], wait: float | None, waits: list[float]):
    """Up to a minute it is obeyed to the letter; else the back-off counts."""
    client = connect(answer(429, headers=headers), GOOD)

    client.get("file-1")

    assert asked_wait(httpx.Headers(headers)) == wait
    assert waits == [wait] if wait else 0.375 <= waits[0] <= 0.5


@pytest.mark.parametrize("zone", ["GMT", "+0000", "-0000"])
def test_a_server_says_by_date_how_long_to_wait(zone: str):
    """An HTTP date half a minute off is half a minute's wait, in UTC where it names no zone."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True).replace("GMT", zone)

    wait = asked_wait(httpx.Headers({"Retry-After": date}))

    assert wait is not None
    assert 25 < wait <= 30


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set this machine's clock to Nepal's, 5:45 before UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "NPT-5:45")
        time.tzset()
        yield
    time.tzset()


def test_a_date_is_understood_in_any_zone(far_from_greenwich: None):
    """What `Date` says is the same instant however it is written, and wherever it is read."""
    instant = datetime(2026, 9, 21, 14, 0, tzinfo=UTC)

    assert http_date("Mon, 21 Sep 2026 14:00:00 GMT") == instant
    assert http_date("Mon, 21 Sep 2026 16:00:00 +0200") == instant
    assert http_date("Mon, 21 Sep 2026 14:00:00 -0000") == instant
    assert http_date(None) is None


def test_who_is_asked_to_wait_makes_the_others_wait_too(monkeypatch: pytest.MonkeyPatch):
    """One limit is for all requests of a key: a request that begins meanwhile waits for the same end."""
    now = [0.0]
    sent: list[object] = []

    def sleep(seconds: float) -> None:
        if not any(sent):  # the other thread's request comes while this one waits
            sent.append("told")
            now[0] += 3
            client.page()
        now[0] += seconds

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(now[0])
        return httpx.Response(429, headers={"Retry-After": "10"}) if len(sent) == 1 else GOOD()

    clock = SimpleNamespace(sleep=sleep, monotonic=lambda: now[0])
    monkeypatch.setattr(retries, "time", clock)
    monkeypatch.setattr(network, "time", clock)
    client = FilesClient(Account(base_url="http://127.0.0.1/v1"), transport=httpx.MockTransport(answer))

    client.page()

    assert sent == [0.0, "told", 10.0, 20.0]


@given(text=st.text())
@example("0 0 0 0:")
@example("Mon, 99 Sep 2026 14:00:00 GMT")
def test_no_header_can_break_the_wait(text: str):
    """Whatever stands in the headers, the wait is a time up to a minute, or left to us."""
    for name in ("retry-after-ms", "retry-after"):
        wait = asked_wait(httpx.Headers([(name, text.encode())]))

        assert wait is None or 0 < wait <= 60


FAILURES = {
    "connection refused": httpx.ConnectError("[Errno 111] Connection refused"),
    "no connection in time": httpx.ConnectTimeout("timed out"),
    "no free connection": httpx.PoolTimeout("timed out"),
    "no answer in time": httpx.ReadTimeout("timed out"),
    "not sent in time": httpx.WriteTimeout("timed out"),
    "reset": httpx.ReadError("[Errno 104] Connection reset by peer"),
    "broken pipe": httpx.WriteError("[Errno 32] Broken pipe"),
    "no answer": httpx.RemoteProtocolError("Server disconnected without sending a response."),
    "cut short": CUT,
    "broken JSON": BROKEN,
    "sign-in page": answer(content=b"<html>Welcome to our Wi-Fi</html>", headers={"content-type": "text/html"}),
    "not JSON's UTF-8": answer(content=b'{"id": "\xff"}'),
    "broken gzip": answer(stream=httpx.ByteStream(b"not gzip"), headers={"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("name", ["page", "get", "delete"])
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failure_that_may_pass_is_asked_again(
    failure: Callable[[], httpx.Response] | Exception, name: str, waits: list[float]
):
    """A connection that fails and a body that is not what was promised cost a wait each."""
    client = connect(failure, failure, GOOD)

    assert CALLS[name](client)
    assert (client.requests, client.retries, len(waits)) == (3, 2, 2)


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failure_that_stays_is_told(failure: Callable[[], httpx.Response] | Exception, waits: list[float]):
    """After the last try there is one clear error of ours."""
    client = connect(failure, max_retries=2)

    with pytest.raises((TransportError, DecodeError), match=r"^GET http://127\.0\.0\.1/v1/files/file-1"):
        client.get("file-1")

    assert client.requests == 3


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(httpx.ProxyError("407 Proxy Authentication Required"), id="proxy"),
        pytest.param(httpx.LocalProtocolError("Too much data"), id="our own mistake"),
        pytest.param(httpx.UnsupportedProtocol("unknown"), id="no such protocol"),
    ],
)
def test_a_failure_that_will_not_pass_is_told_at_once(failure: Exception, waits: list[float]):
    """Asking again would give the same."""
    client = connect(failure)

    with pytest.raises(TransportError):
        client.get("file-1")

    assert (client.requests, waits) == (1, [])


@pytest.mark.parametrize("fields", [{"code": "insufficient_quota"}, {"type": "insufficient_quota", "code": None}])
def test_an_exhausted_quota_is_not_asked_again(fields: dict[str, object], waits: list[float]):
    """No wait fills an account."""
    client = connect(answer(429, json={"error": {"message": "You exceeded your quota"} | fields, "status": 429}))

    with pytest.raises(ApiError, match="billing"):
        client.page()

    assert client.requests == 1


@pytest.mark.parametrize(
    "limited",
    [
        pytest.param(answer(429), id="empty"),
        pytest.param(answer(429, text="slow down"), id="text"),
        pytest.param(answer(429, json={"error": {"code": "rate_limit_exceeded"}}), id="rate limit"),
        pytest.param(answer(429, json={"error": "insufficient_quota is not the matter"}), id="no code"),
        pytest.param(answer(429, stream=Cut()), id="cut short"),
    ],
)
def test_any_other_429_is_asked_again(limited: Callable[[], httpx.Response], waits: list[float]):
    """A rate limit passes, whatever its body looks like."""
    client = connect(limited, GOOD)

    client.page()

    assert client.requests == 2


def test_a_refusal_that_is_cut_short_is_still_a_refusal(waits: list[float]):
    """The status says enough; its body only explains."""
    client = connect(answer(401, stream=Cut()))

    with pytest.raises(ApiError, match="answered 401: Unauthorized"):
        client.page()

    assert client.requests == 1


ARRIVED = {
    name: FAILURES[name]
    for name in FAILURES
    if name not in {"connection refused", "no connection in time", "no free connection"}
}


@pytest.mark.parametrize("failure", ARRIVED.values(), ids=ARRIVED)
def test_an_upload_that_may_have_arrived_is_not_sent_again(
    failure: Callable[[], httpx.Response] | Exception, waits: list[float]
):
    """Nothing tells whether the file is there; a second one would cost and confuse, so the message warns."""
    client = connect(failure)

    with pytest.raises((TransportError, DecodeError)) as caught:
        client.create(b"abc", purpose="batch")

    assert str(caught.value).endswith("; the file may have arrived: look for it before you send it again")
    assert "try again" not in str(caught.value)
    assert (client.requests, waits) == (1, [])


REFUSED = {name: FAILURES[name] for name in FAILURES if name not in ARRIVED} | {
    "busy": answer(503),
    "rate limit, cut short": answer(429, stream=Cut()),
}


@pytest.mark.parametrize("failure", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("file", [b"xyz" * 50_000, io.BytesIO(b"xyz" * 50_000)], ids=["bytes", "open file"])
def test_an_upload_that_did_not_arrive_is_sent_again_whole(
    file: bytes | io.BytesIO, failure: Callable[[], httpx.Response] | Exception, waits: list[float]
):
    """A refused connection has taken nothing, and an answered 503 has said no: the bytes go again from the first."""
    client = connect(failure, failure, GOOD)

    client.create(file, purpose="batch")

    bodies = client._meter._transport.received
    assert [body.count(b"xyz") for body in bodies] == [50_000] * 3
    assert len(waits) == 2


@pytest.mark.parametrize("failure", [FAILURES["connection refused"], httpx.ProxyError("403 Forbidden")])
def test_an_upload_that_never_left_warns_of_nothing(failure: Exception, waits: list[float]):
    """Where no byte was sent, sending again is safe."""
    client = connect(failure, max_retries=1)

    with pytest.raises(TransportError) as caught:
        client.create(b"abc", purpose="batch")

    assert "may have arrived" not in str(caught.value)


def test_a_file_that_is_gone_after_a_second_try_may_have_been_deleted_by_the_first(waits: list[float]):
    """The answer to a delete was lost: the 404 that follows is told with its likely cause."""
    client = connect(FAILURES["no answer"], answer(404, json={"error": "No such file"}))

    with pytest.raises(ApiError, match=r"No such file .*an earlier try may have deleted the file"):
        client.delete("file-1")


@pytest.mark.parametrize("name", ["delete", "get"])
def test_a_file_that_is_not_there_is_just_that(name: str, waits: list[float]):
    """A first 404, and one of another call, says nothing of earlier tries."""
    client = connect(answer(503), answer(404)) if name == "get" else connect(answer(404))

    with pytest.raises(ApiError) as caught:
        CALLS[name](client)

    assert "earlier" not in str(caught.value)


TRIES = {
    "busy": (answer(429, stream=httpx.ByteStream(b"busy")), 4),
    "reset": (FAILURES["reset"], 0),
    "broken": (answer(stream=httpx.ByteStream(b"{")), 1),
}
"""Ways to fail, and the bytes that arrive."""


@given(failures=st.lists(st.sampled_from(sorted(TRIES)), max_size=5), calls=st.integers(1, 3))
def test_the_counters_count_every_try(failures: list[str], calls: int):
    """However the tries go, each request and each byte of an answer is counted once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retries, "time", SimpleNamespace(sleep=lambda _: None))
        patch.setattr(network, "Pause", mock.Mock)
        client = connect(*(TRIES[name][0] for name in failures), answer(stream=httpx.ByteStream(b'{"id": 1}')))
        for _ in range(calls):
            client.get("file-1")

    assert client.requests == len(failures) + calls
    assert client.retries == len(failures)
    assert client.received == sum(TRIES[name][1] for name in failures) + 9 * calls


def test_an_answer_that_is_given_up_is_closed(waits: list[float]):
    """A busy server's page is not read to its end, and its connection is let go."""
    body = Unread()
    client = connect(answer(503, stream=body), GOOD)

    client.get("file-1")

    assert body.closed


def test_a_call_that_never_goes_out_counts_for_nothing():
    """A mistake in the arguments leaves the counters as they are."""
    client = connect(GOOD)

    with pytest.raises(ConfigError):
        client.page(after="\ud800")

    assert (client.requests, client.retries, client.received) == (0, 0, 0)
