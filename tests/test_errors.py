"""What an error says: the server's own words in every form, one safe line, and what helps."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from files_source import errors
from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.errors import ApiError, ConfigError, DecodeError, Fault, FilesSourceError, TransportError, excerpt

URL = "http://127.0.0.1/v1"


def refusal(status: int = 400, **answer: object) -> ApiError:
    """Return the error for an answer that says no."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, **answer))
    client = FilesClient(Account(base_url=URL), transport=transport, max_retries=0)
    with client, pytest.raises(ApiError) as caught:
        client.get("file-1")
    return caught.value


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(
            {"error": {"message": "No such file", "type": "invalid_request_error", "param": "id", "code": "gone"}},
            "No such file",
            id="openai",
        ),
        pytest.param({"error": {"message": "No such file"}}, "No such file", id="message alone"),
        pytest.param({"error": "No such file"}, "No such file", id="error as text"),
        pytest.param({"error": {"reason": "gone"}}, '{"reason": "gone"}', id="error without message"),
        pytest.param({"error": {"message": {"de": "Weg"}}}, '{"de": "Weg"}', id="message as object"),
        pytest.param(
            {"detail": [{"loc": ["query", "limit"], "msg": "too big"}]},
            '[{"loc": ["query", "limit"], "msg": "too big"}]',
            id="fastapi's list",
        ),
        pytest.param({"detail": "Not Found"}, "Not Found", id="fastapi's text"),
        pytest.param({"message": "Forbidden"}, "Forbidden", id="gateway"),
        pytest.param({"object": "error", "message": "bad", "code": 40401}, "bad", id="vllm"),
        pytest.param({"error": {}, "message": "Forbidden"}, "Forbidden", id="empty error beside a message"),
        pytest.param({}, "{}", id="empty object"),
        pytest.param(["no", "such"], '["no", "such"]', id="array"),
        pytest.param(None, "null", id="null"),
    ],
)
def test_the_reason_is_found_in_every_form_of_json(body: object, reason: str):
    """Whatever object a server wraps its words in, the message shows the words."""
    error = refusal(content=json.dumps(body).encode())

    assert error.reason == reason
    assert str(error) == f"GET {URL}/files/file-1 answered 400: {reason}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"upstream is down\n", "upstream is down", id="plain text"),
        pytest.param(
            b"<html>\r\n<head><title>502 Bad Gateway</title></head>\n</html>",
            "<html> <head><title>502 Bad Gateway</title></head> </html>",
            id="HTML",
        ),
        pytest.param(b'\xef\xbb\xbf{"message": "no"}', "no", id="byte order mark"),
        pytest.param(b'{"error": {"mess', '{"error": {"mess', id="broken JSON"),
        pytest.param(b"\xff\xfe", "��", id="no text"),
        pytest.param(b"[" * 100_000, "[" * 200 + "...", id="endless nesting"),
        pytest.param(b"", "Bad Request", id="empty"),
        pytest.param(b" \r\n\t", "Bad Request", id="blank"),
    ],
)
def test_the_reason_is_the_body_where_it_is_no_json(body: bytes, reason: str):
    """Text and HTML stand in the message as they are, on one line; the status' name stands for nothing."""
    assert refusal(content=body).reason == reason


def test_an_answer_without_any_words_is_still_explained():
    """A status of a server's own, without a phrase and a body, does not end in a colon."""
    assert str(refusal(599)).endswith("answered 599: the answer does not say why")


@pytest.mark.parametrize("wrap", [lambda fault: {"error": fault}, lambda fault: fault], ids=["openai", "vllm"])
def test_the_facts_of_a_refusal_are_attributes(wrap: Callable[[dict[str, str]], object]):
    """What a program may want to know needs no parsing of the message."""
    fault = {"message": "limit is too big", "type": "invalid_request_error", "param": "limit", "code": "too_big"}

    error = refusal(422, json=wrap(fault), headers={"x-request-id": "req-7"})

    assert (error.status, error.reason, error.code, error.param) == (422, "limit is too big", "too_big", "limit")
    assert (error.request_id, error.location) == ("req-7", None)
    assert isinstance(error, FilesSourceError)


@pytest.mark.parametrize("fields", [{"code": 42, "param": ["id"]}, {"code": None, "param": None}, {}])
def test_a_code_that_is_no_text_is_no_code(fields: dict[str, object]):
    """Some servers put a number where the API has a name."""
    error = refusal(json={"error": {"message": "no"} | fields})

    assert (error.code, error.param) == (None, None)


def test_the_request_id_stands_in_the_message():
    """Whoever runs the server asks for it first."""
    error = refusal(json={"error": "no"}, headers={"x-request-id": "req-7"})

    assert str(error).endswith("answered 400: no; request req-7")


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        pytest.param(401, "check the API key (OPENAI_API_KEY) and that it belongs to this server", id="401"),
        pytest.param(403, "check its permissions, organization and project", id="403"),
        pytest.param(429, "the server limits requests: try again later", id="429"),
        pytest.param(500, "the server failed: try again later", id="500"),
        pytest.param(501, "this server does not offer it", id="501"),
        pytest.param(503, "the server failed: try again later", id="503"),
    ],
)
def test_a_status_with_a_known_cure_names_it(status: int, hint: str):
    """The refusals that a user can do something about say what."""
    assert hint in str(refusal(status, json={"error": {"message": "no"}}))


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("GET https://h/v1/files", "check that the base URL ends where the server's API begins"),
        (
            "GET https://h/v1/files?limit=5",
            "check that the base URL ends where the server's API begins, usually in /v1",
        ),
        ("GET https://h/v1/files/file-1", "check the id, and that the file belongs to this key's project"),
        ("DELETE https://h/v1/files/file-1", "check the id, and that the file belongs to this key's project"),
        ("GET https://h/v1/files/file-1/content", "check the id, and that the file belongs to this key's project"),
    ],
)
def test_what_is_not_found_is_an_api_or_a_file(asked: str, hint: str):
    """Advice for the one is no help with the other."""
    assert str(ApiError(asked, 404, "Not found.")).startswith(f"{asked} answered 404: Not found; {hint}")


@pytest.mark.parametrize("field", ["code", "type"])
def test_an_exhausted_quota_asks_for_no_patience(field: str):
    """The 429 that no wait cures sends to the billing page instead, whichever field says it."""
    error = refusal(429, json={"error": {"message": "You exceeded your quota", field: "insufficient_quota"}})

    assert str(error).endswith("; no retry cures this: check the account's plan and billing")
    assert error.code == "insufficient_quota"


HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\nOK\u2028\u202e\x00\x9b\ud800"
"""Clears a screen, names a window, forges a line, turns text around, and cannot be encoded."""


def hostile_errors() -> list[FilesSourceError]:
    return [
        FilesSourceError(HOSTILE),
        ConfigError(f"cannot read {HOSTILE}"),
        TransportError(HOSTILE),
        DecodeError(HOSTILE, file_id=HOSTILE, field="id", value=HOSTILE),
        ApiError(HOSTILE, 400, HOSTILE, code=HOSTILE, param=HOSTILE, request_id=HOSTILE, location=HOSTILE),
    ]


@pytest.mark.parametrize("error", hostile_errors(), ids=lambda error: type(error).__name__)
def test_no_error_can_play_with_a_terminal(error: FilesSourceError):
    """Whatever a message was made of, it is one line of printable characters."""
    message = str(error)

    assert message.isprintable()
    assert message.encode()


@given(body=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_whatever_a_server_answers_is_one_safe_line(body: bytes):
    """No body makes a message that is long, has control characters or breaks."""
    error = refusal(content=body)

    assert str(error).isprintable()
    assert len(error.reason) <= 203


FIELDS = st.sampled_from(["error", "message", "detail", "code", "type", "param", "other"])
EXPLANATIONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=8,
)


@given(body=EXPLANATIONS)
def test_whatever_json_explains_an_error_is_read(body: object):
    """No nesting of the fields that servers use is misread as a failure of ours."""
    fault = Fault.read(json.dumps(body).encode())

    assert isinstance(fault.reason, str)
    assert isinstance(fault.code, str | None)
    assert isinstance(fault.param, str | None)


HARMLESS = st.characters(exclude_characters="@:=", exclude_categories=["Cs"])
"""What neither a password in a URL nor a secret under its name can be written without."""


@given(text=st.text(HARMLESS) | st.text(HARMLESS, min_size=90))
@example(text=199 * "x" + "é")
def test_an_excerpt_is_the_beginning_on_one_line(text: str):
    """However long the text, its first 200 bytes show, whole characters only, and dots where more came."""
    shown = excerpt(text)

    line = "".join(character if character.isprintable() else " " for character in text)
    assert shown.isprintable()
    if len(text.encode()) <= 200:
        assert shown == line
    else:
        assert line.startswith(shown.removesuffix("..."))


@pytest.mark.parametrize("error", hostile_errors(), ids=lambda error: type(error).__name__)
def test_an_error_survives_the_way_to_another_process(error: FilesSourceError):
    """A pool of workers hands errors over by pickle; one that cannot be made again would hang it."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_every_error_is_of_the_one_tree():
    """One except clause is enough for all that this package raises on purpose."""
    raised = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]

    assert all(issubclass(kind, FilesSourceError) for kind in raised)
    assert all(f" {kind.__name__} " in errors.__doc__ for kind in FilesSourceError.__subclasses__())
