"""Whose files: what an account takes, what it refuses, and that its secrets stay with it."""

from __future__ import annotations

import html
import json
import traceback
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from files_source.accounts import OPENAI_BASE_URL, Account, proxy_to
from files_source.errors import ConfigError

KEY = "sk-proj-Zq9+x/7Lw==_secret"
LOCAL = "http://127.0.0.1:8000/v1"
PRINTABLE = st.characters(min_codepoint=33, max_codepoint=126)
SECRETS = st.text(PRINTABLE, min_size=8, max_size=40)


def refused(**settings: object) -> str:
    """Return the message, and see that nothing of the error shows the key."""
    with pytest.raises(ConfigError) as caught:
        Account(**settings)
    told = "".join(traceback.format_exception(caught.value))
    assert KEY not in told
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_an_account_is_openais_by_default():
    """A key is all that OpenAI's own server needs."""
    account = Account(api_key=KEY)

    assert account.base_url == "https://api.openai.com/v1"
    assert account.request_headers() == {"Authorization": f"Bearer {KEY}"}


def test_an_account_says_whose_files_are_meant():
    """Organization and project travel as OpenAI's headers, extra ones as they are."""
    account = Account(api_key=KEY, organization="org-1", project="proj-2", headers={"X-Gateway": "eu 1"})

    assert account.request_headers() == {
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "proj-2",
        "Authorization": f"Bearer {KEY}",
        "X-Gateway": "eu 1",
    }


def test_a_key_can_travel_in_azures_header():
    """Azure reads the header `api-key`, and nothing else carries the key then."""
    account = Account(api_key=KEY, base_url="https://me.openai.azure.com/openai/v1", authentication="api-key")

    assert account.request_headers() == {"api-key": KEY}


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_an_extra_header_stands_in_place_of_ours(name: str):
    """A gateway's own Authorization is sent alone, however it is spelled."""
    account = Account(api_key=KEY, headers={name: "Basic abc"})

    assert account.request_headers() == {name: "Basic abc"}


def test_a_local_server_needs_no_key():
    """Nothing is sent that was not given."""
    assert Account(base_url=LOCAL).request_headers() == {}


@pytest.mark.parametrize("base_url", [OPENAI_BASE_URL, "https://API.OpenAI.com/v1/", "https://api.openai.com"])
@pytest.mark.parametrize("api_key", [None, "", " \n"], ids=["none", "empty", "blank"])
def test_openai_without_a_key_is_refused_at_once(base_url: str, api_key: str | None):
    """No request is wasted on what can only be answered 401, and the message names the variables."""
    message = refused(base_url=base_url, api_key=api_key, name="work")

    assert "no API key for account 'work'" in message
    assert "OPENAI_API_KEY" in message
    assert "SOURCES__OPENAI_FILES__API_KEY" in message


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "  {}\t", "\n{}"], ids=repr)
def test_white_space_around_a_value_is_dropped(around: str):
    """A key read from a file ends with a line's end, which no header can carry."""
    account = Account(
        api_key=around.format(KEY),
        organization=around.format("org-1"),
        project=around.format(""),
        headers={"X-Gateway": around.format("token")},
    )

    assert account.request_headers() == {
        "Authorization": f"Bearer {KEY}",
        "OpenAI-Organization": "org-1",
        "X-Gateway": "token",
    }


@pytest.mark.parametrize("inside", ["\n", "\r\nX-Evil: 1", "\x00", "\x1b", "é", "“", "\u200b", "\ud800"], ids=ascii)
@pytest.mark.parametrize("where", ["api_key", "organization", "project", "header"])
def test_a_value_that_no_header_can_carry_is_refused_unseen(inside: str, where: str):
    """A key that was pasted with a quotation mark or across two lines is told of, not shown."""
    value = f"{KEY[:10]}{inside}{KEY[10:]}"

    message = refused(**{"api_key": KEY} | ({"headers": {"X-Key": value}} if where == "header" else {where: value}))

    assert "holds characters that HTTP cannot carry" in message
    assert KEY[:10] not in message
    assert KEY[10:] not in message


@pytest.mark.parametrize("name", ["", "X Key", f"Authorization: Bearer {KEY}", "X-Schlüssel", "X-Key\n"], ids=ascii)
def test_a_header_name_that_http_cannot_carry_is_refused_unseen(name: str):
    """A whole header pasted as a name may hold the key."""
    message = refused(api_key="other", headers={name: "value"}, name="work")

    assert message == "a header of account 'work' has a name that HTTP cannot carry: give {name: value}"


def test_an_unknown_authentication_is_refused():
    """The message names the two that there are."""
    assert refused(api_key=KEY, authentication="basic") == "authentication is 'basic': use 'bearer' or 'api-key'"


def test_an_account_needs_a_name():
    """An empty name would make rows that nothing can be told by."""
    assert refused(api_key=KEY, name="") == "an account needs a name"


@pytest.mark.parametrize(
    ("given_url", "base_url"),
    [
        pytest.param("https://example.com/v1/", "https://example.com/v1", id="slash at the end"),
        pytest.param("https://example.com/v1///", "https://example.com/v1", id="slashes at the end"),
        pytest.param(" https://example.com/v1\n", "https://example.com/v1", id="white space around"),
        pytest.param("https://example.com", "https://example.com", id="no path"),
        pytest.param("https://example.com/", "https://example.com", id="root"),
        pytest.param("HTTPS://Example.COM/API/v1", "https://example.com/API/v1", id="upper case"),
        pytest.param("https://example.com:8443/v1?#", "https://example.com:8443/v1", id="empty query and fragment"),
        pytest.param("http://[::1]:8000/v1", "http://[::1]:8000/v1", id="IPv6"),
    ],
)
def test_one_server_has_one_base_url(given_url: str, base_url: str):
    """Ways to write the same address become one: the state compares them as text."""
    assert Account(base_url=given_url).base_url == base_url


@pytest.mark.parametrize(
    "base_url",
    [
        pytest.param("ftp://example.com/v1", id="another scheme"),
        pytest.param("https://", id="no host"),
        pytest.param("https:///v1", id="path only"),
        pytest.param("https://:443/v1", id="port only"),
        pytest.param("https://example.com:0/v1", id="port 0"),
        pytest.param("https://example.com:65536/v1", id="port too large"),
        pytest.param("https://example.com:https/v1", id="port by name"),
        pytest.param("https://[::1/v1", id="half an IPv6 address"),
    ],
)
def test_a_base_url_that_is_none_is_refused(base_url: str):
    """The message shows what was given and what is wanted."""
    message = refused(api_key=KEY, base_url=base_url)

    assert message == f"base URL {base_url!r} is no http(s) address, such as https://api.openai.com/v1"


@pytest.mark.parametrize("base_url", [KEY, "", " ", "api.openai.com/v1", "localhost:8000", f"https:{KEY}"])
def test_a_base_url_without_a_scheme_is_refused_unseen(base_url: str):
    """Whoever mixes up the two settings has put the key there."""
    message = refused(api_key="https://api.openai.com/v1", base_url=base_url)

    assert message.startswith("the base URL begins with neither http:// nor https://")


@pytest.mark.parametrize(
    "base_url",
    [
        *("https://user@example.com", "https://user:{}@example.com", "https://:{}@example.com", "https://@example.com"),
        *("https://user:{}#a@example.com", "https://user:{}?a@example.com", "https://{}/a@example.com"),
    ],
)
def test_a_base_url_with_a_user_is_refused(base_url: str):
    """The address is shown in messages and kept in state, so no key may stand in it."""
    message = refused(api_key=KEY, base_url=base_url.format("hunter2-"))

    assert message == "base URL 'https://example.com' holds a user or password: give the key as api_key"


@pytest.mark.parametrize("tail", ["?api-version=hunter2-", "#hunter2-", "?a#hunter2-"])
def test_a_base_url_with_a_query_is_refused(tail: str):
    """What follows the path would end up before the call's own path."""
    message = refused(api_key=KEY, base_url=f"https://example.com/v1{tail}")

    assert message == (
        "base URL 'https://example.com/v1' must end before '?' and '#': give what follows '?' as query, such as "
        '{"api-version": "2024-10-21"}'
    )


@given(
    secret=SECRETS, form=st.sampled_from(["{}", "ftp://{}@h", "https://{}@h/v1", "https://h:x/?{}", "https://h/#{}"])
)
def test_no_message_about_a_base_url_shows_what_may_be_secret(secret: str, form: str):
    """A user, password, query or fragment, or a key in place of the address, is never repeated."""
    assume("://" not in secret)
    told = ""

    try:
        Account(api_key="key", base_url=form.format(secret))
    except ConfigError as error:
        told = "".join(traceback.format_exception(error))

    assert secret not in told


@pytest.mark.parametrize(
    "host",
    ["example.com", "10.0.0.1", "0.0.0.0", "127.0.0.1.example.com", "localhost.example.com", "[::]", "[fe80::1]"],  # noqa: S104 - refused
)
@pytest.mark.parametrize("secret", [{"api_key": KEY}, {"headers": {"X-Key": KEY}}], ids=["key", "header"])
def test_a_key_over_plain_http_to_another_machine_is_refused(host: str, secret: dict[str, object]):
    """Everybody on the way could read it."""
    message = refused(base_url=f"http://{host}/v1", **secret)

    assert message == f"refused to send a key over plain http to http://{host}/v1: use https, or a loopback address"


@pytest.mark.parametrize(
    "base_url",
    [
        "https://example.com/v1",
        "http://localhost/v1",
        "http://LOCALHOST:8000",
        "http://127.0.0.1/v1",
        "http://127.8.9.1:80",
        "http://[::1]/v1",
    ],
)
def test_a_key_over_https_or_within_this_machine_is_sent(base_url: str):
    """TLS and loopback are private."""
    assert Account(api_key=KEY, base_url=base_url).request_headers() == {"Authorization": f"Bearer {KEY}"}


def test_plain_http_without_secrets_is_nobodys_business():
    """A server that asks for no key can be anywhere."""
    assert Account(base_url="http://example.com/v1", organization="org-1").request_headers() != {}


ENVIRONMENT = {
    "OPENAI_API_KEY": KEY,
    "OPENAI_BASE_URL": "https://example.com/v1",
    "OPENAI_ORG_ID": "org-1",
    "OPENAI_PROJECT_ID": "proj-2",
}


def test_the_environment_fills_what_is_not_given(monkeypatch: pytest.MonkeyPatch):
    """The variables are the official clients' own."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    account = Account.from_environment()

    assert account == Account(
        api_key=KEY, base_url="https://example.com/v1", organization="org-1", project="proj-2", name="default"
    )


def test_what_is_given_stands_before_the_environment(monkeypatch: pytest.MonkeyPatch):
    """A variable that is set for another program changes nothing that was said."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    given_settings = {
        "name": "work",
        "api_key": "given",
        "base_url": "https://given.example",
        "organization": "org-given",
        "project": "proj-given",
        "headers": {"X-Given": "yes"},
        "authentication": "api-key",
    }

    assert Account.from_environment(**given_settings) == Account(**given_settings)


@pytest.mark.parametrize("nothing", ["", " ", "\n"], ids=repr)
def test_an_empty_variable_counts_as_not_set(nothing: str, monkeypatch: pytest.MonkeyPatch):
    """Containers and CI pass on variables that hold nothing."""
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, nothing)

    assert Account.from_environment(api_key=KEY) == Account(api_key=KEY)
    with pytest.raises(ConfigError, match="no API key"):
        Account.from_environment()


@given(key=SECRETS, header=SECRETS)
def test_a_repr_shows_no_secret(key: str, header: str):
    """An account can be printed, logged or shown by a debugger."""
    without = repr(Account(base_url="https://h"))
    assume(not any(secret in without for secret in (key, header)))

    shown = repr(Account(api_key=key, base_url="https://h", headers={"X-Key": header}))

    assert key not in shown
    assert header not in shown


def test_an_account_is_a_value():
    """It can be a key of a dictionary, compared and varied, never changed."""
    account = Account(api_key=KEY, headers={"X-Key": "1"})

    assert {account: 1}[Account(api_key=KEY, headers={"X-Key": "1"})] == 1
    assert replace(account, name="work").request_headers() == account.request_headers()
    with pytest.raises(FrozenInstanceError):
        account.api_key = "other"
    with pytest.raises(TypeError):
        account.headers["X-Key"] = "other"


SPELLINGS = {
    "as it is": str,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON with slashes escaped": lambda secret: json.dumps(secret)[1:-1].replace("/", r"\/"),
    "HTML": html.escape,
    "URL": lambda secret: quote(secret, safe=""),
    "repr": lambda secret: repr(secret.encode())[2:-1],
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@given(secret=SECRETS, before=st.text(), after=st.text())
@example(secret="quote\"back\\slash/'&<>", before="", after="")
def test_a_secret_is_hidden_however_it_is_spelled(spell: Callable[[str], str], secret: str, before: str, after: str):
    """JSON, HTML and addresses write some characters in another way; the secret is gone in each."""
    account = Account(api_key=secret, base_url=LOCAL)

    hidden = account.redact(f"{before}{spell(secret)}{after}")

    assert "***" in hidden
    assert spell(secret) not in hidden.replace("***", "\n")


@given(secret=SECRETS, length=st.integers(4, 40))
def test_an_excerpt_that_ends_within_a_secret_hides_the_part(secret: str, length: int):
    """Half a key is worth something, too."""
    account = Account(api_key=secret, base_url=LOCAL)
    assume(secret[:length] not in "the answer is no JSON: *** and so on")

    hidden = account.redact(f"the answer is no JSON: {secret[:length]}... and so on")

    assert secret[:length] not in hidden


def test_the_values_of_extra_headers_are_hidden():
    """A gateway's token shows neither with its scheme nor alone."""
    account = Account(api_key=KEY, base_url=LOCAL, headers={"Proxy": "Basic dXNlcjpwYXNz", "X-Tenant": "tenant-7"})

    hidden = account.redact(f"{KEY}, Basic dXNlcjpwYXNz, dXNlcjpwYXNz and tenant-7")

    assert hidden == "***, ***, *** and ***"


def test_a_text_without_secrets_stays_as_it_is():
    """Values of three characters and fewer are no secrets, and hiding them would garble every message."""
    account = Account(api_key="x", base_url=LOCAL, headers={"X-Region": "eu", "X-Version": "1", "X-Empty": ""})

    assert account.redact("the maximum is 1 in eu...") == "the maximum is 1 in eu..."


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128", id="by scheme"),
        pytest.param({"https_proxy": "http://proxy:3128"}, "http://proxy:3128", id="lower case"),
        pytest.param({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128", id="without a scheme"),
        pytest.param({"ALL_PROXY": "socks5://proxy:1080"}, "socks5://proxy:1080", id="for all"),
        pytest.param({"HTTP_PROXY": "http://proxy:3128"}, None, id="for another scheme"),
        pytest.param({"HTTPS_PROXY": ""}, None, id="empty"),
        pytest.param({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example.com"}, None, id="excepted"),
        pytest.param({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example.com:8443"}, None, id="excepted by port"),
        pytest.param({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, None, id="all excepted"),
        pytest.param({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.com"}, "http://p:1", id="another excepted"),
    ],
)
def test_the_proxy_is_the_one_that_the_environment_names(
    variables: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
):
    """The variables mean what they mean to every other program."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert proxy_to("https://example.com:8443/v1") == proxy


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_no_proxy_stands_before_a_loopback_address(host: str, monkeypatch: pytest.MonkeyPatch):
    """A key may travel in plain http within this machine only, which a proxy is not."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("ALL_PROXY", "http://proxy:3128")

    assert proxy_to(f"http://{host}:8000/v1") is None
