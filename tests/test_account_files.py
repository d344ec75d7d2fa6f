"""Several accounts, each with its own key: what a file may say, what is refused, and that no secret is told."""

from __future__ import annotations

import json
import logging
import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import dlt
import pytest
import tomlkit
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs import PluggableRunContext
from dlt.pipeline.exceptions import PipelineStepFailed
from hypothesis import given, settings
from hypothesis import strategies as st

from files_source.account_files import accounts_from, read_accounts
from files_source.accounts import OPENAI_BASE_URL, Account
from files_source.errors import ConfigError
from files_source.settings import configured_accounts
from tests.commands import Ended
from tests.test_keys import everything_below, traces_of

KEY = "sk-proj-Zq7/recognisable+key=0123456789"
OTHER_KEY = "sk-proj-another-recognisable-key-987654"
LOCAL = "http://127.0.0.1:8000/v1"
FILE = "accounts.toml"
CONFIGURED = "sources.openai_files.accounts"
VARIABLE = "SOURCES__OPENAI_FILES__ACCOUNTS"
WHERE = f"account 'work' in {FILE}"
KNOWN = "known are api_key, api_key_env, base_url, organization, project, headers, query, authentication"


def read(text: str | bytes, **settings: str) -> tuple[Account, ...]:
    Path(FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_accounts(FILE, **settings)


def one(body: str, **settings: str) -> Account:
    """Read the only account of a file, whose table holds *body*."""
    (account,) = read(f"[accounts.work]\n{body}", **settings)
    return account


def described(table: object, **settings: str) -> Account:
    (account,) = accounts_from({"work": table}, source=FILE, **settings)
    return account


def refused(ask: Callable[[], object]) -> str:
    """Return the message, and see that neither the error nor what it came from tells a key."""
    with pytest.raises(ConfigError) as caught:
        ask()
    assert caught.value.__context__ is None
    told = "".join(traceback.format_exception(caught.value))
    assert KEY not in told
    assert OTHER_KEY not in told
    assert str(caught.value).isprintable()
    return str(caught.value)


class TestWhatAFileSays:
    """Each table is an account."""

    def test_every_setting_of_an_account_can_be_given(self):
        """Accounts come in the file's order, each with what its table holds."""
        accounts = read(f"""
            [accounts.work]
            api_key = "{KEY}"
            organization = "org-1"
            project = "proj-2"

            [accounts."an azure one"]
            api_key = "{OTHER_KEY}"
            base_url = "https://me.openai.azure.com/openai/v1"
            authentication = "api-key"
            headers = {{ X-Gateway = "eu", X-Tenant = "7" }}

            [accounts.at-home]
            base_url = "{LOCAL}"
        """)

        assert accounts == (
            Account(name="work", api_key=KEY, organization="org-1", project="proj-2"),
            Account(
                name="an azure one",
                api_key=OTHER_KEY,
                base_url="https://me.openai.azure.com/openai/v1",
                authentication="api-key",
                headers={"X-Gateway": "eu", "X-Tenant": "7"},
            ),
            Account(name="at-home", base_url=LOCAL),
        )

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(f'accounts.work.api_key = "{KEY}"\naccounts.work.headers.X-A = "1"', id="dotted"),
            pytest.param(f'accounts = {{work = {{api_key = "{KEY}", headers = {{X-A = "1"}}}}}}', id="inline"),
            pytest.param(f'[accounts.work.headers]\nX-A = "1"\n[accounts.work]\napi_key = "{KEY}"', id="tables"),
            pytest.param(f"[accounts.work]\r\napi_key='{KEY}'\r\nheaders.X-A='1'\r\n", id="Windows"),
            pytest.param(f'\ufeff[accounts.work]\napi_key="{KEY}"\nheaders.X-A="1"', id="byte order mark"),
            pytest.param(f'[accounts.work]\napi_key="""\n{KEY}\n"""\nheaders.X-A="1\\n"', id="line ends in a value"),
        ],
    )
    def test_a_table_can_be_written_in_any_way_that_toml_has(self, text: str):
        """Each way to write the same account makes the same account."""
        assert read(text) == (Account(name="work", api_key=KEY, headers={"X-A": "1"}),)

    def test_a_file_can_be_named_by_text_or_path(self):
        """Both name the same file."""
        Path(FILE).write_text(f'[accounts.work]\napi_key = "{KEY}"')

        assert read_accounts(FILE) == read_accounts(Path(FILE)) == (Account(name="work", api_key=KEY),)

    @given(
        accounts=st.lists(
            st.tuples(
                st.text(st.characters(codec="utf-8"), max_size=9).filter(str.strip),
                st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
            ),
            min_size=1,
            max_size=5,
            unique_by=(lambda account: account[0], lambda account: account[1]),
        )
    )
    def test_whatever_names_and_keys_are_they_are_read_back(self, accounts: list[tuple[str, str]]):
        """Names of any characters, and keys of any that a header can carry, arrive as they are and in their order."""
        tables = {name: {"api_key": key} for name, key in accounts}

        found = read(tomlkit.dumps({"accounts": tables}))

        assert [(account.name, account.api_key) for account in found] == accounts

    @pytest.mark.parametrize(
        ("body", "argument", "variable", "base_url"),
        [
            pytest.param("https://table/v1", "https://argument", "https://variable", "https://table/v1", id="table"),
            pytest.param(None, "https://argument", "https://variable", "https://argument", id="argument"),
            pytest.param(None, None, " https://variable/\n", "https://variable", id="variable"),
            pytest.param(None, None, None, OPENAI_BASE_URL, id="none of them"),
            pytest.param(" ", "", " ", OPENAI_BASE_URL, id="all of them empty"),
        ],
    )
    def test_a_server_is_the_tables_then_the_arguments_then_the_variables(
        self,
        body: str | None,
        argument: str | None,
        variable: str | None,
        base_url: str,
        monkeypatch: pytest.MonkeyPatch,
    ):
        """OpenAI's own is the last that is left."""
        if variable is not None:
            monkeypatch.setenv("OPENAI_BASE_URL", variable)
        table = {"api_key": KEY} | ({} if body is None else {"base_url": body})

        assert described(table, **({} if argument is None else {"base_url": argument})).base_url == base_url

    def test_no_other_variable_of_openais_counts(self, monkeypatch: pytest.MonkeyPatch):
        """One key under several names would list the same files several times."""
        for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
            monkeypatch.setenv(name, OTHER_KEY)

        assert one(f'base_url = "{LOCAL}"') == Account(name="work", base_url=LOCAL)
        assert one(f'api_key = "{KEY}"') == Account(name="work", api_key=KEY)

    def test_a_key_can_stand_in_a_variable(self, monkeypatch: pytest.MonkeyPatch):
        """The file can then be kept with the code; a line's end at the key's is dropped."""
        monkeypatch.setenv("WORK_KEY", f"{KEY}\n")

        assert one('api_key_env = " WORK_KEY"') == Account(name="work", api_key=KEY)

    def test_what_is_empty_counts_as_not_given(self):
        """As with variables: a template that was filled with nothing."""
        body = 'api_key = ""\norganization = " "\nproject = ""\nauthentication = ""\nheaders = {}'

        assert one(body, base_url=LOCAL) == Account(name="work", base_url=LOCAL)


class TestWhatIsRefused:
    """The file, the account and the key are named; no value is."""

    @pytest.mark.parametrize("key", ["", 'api_key = ""', 'api_key = " \\n"'], ids=["no key", "empty", "blank"])
    @pytest.mark.parametrize(
        "base_url",
        ["", 'base_url = "https://API.OpenAI.com/v1/"', 'base_url = " https://api.openai.com:443"'],
        ids=["by default", "in the table", "with a port"],
    )
    def test_openai_without_a_key(self, base_url: str, key: str, monkeypatch: pytest.MonkeyPatch):
        """The message says which keys of the table help; the variable of a single account would not."""
        monkeypatch.setenv("OPENAI_API_KEY", KEY)

        message = refused(lambda: one(f"{key}\n{base_url}"))

        assert message == (
            f"no key for {WHERE}: set api_key to it, or api_key_env to the name of the variable that holds it"
        )

    @pytest.mark.parametrize("by", ["argument", "variable"])
    def test_openai_without_a_key_where_the_table_names_no_server(self, by: str, monkeypatch: pytest.MonkeyPatch):
        """The fallback is looked at as well."""
        if by == "variable":
            monkeypatch.setenv("OPENAI_BASE_URL", OPENAI_BASE_URL)

        message = refused(lambda: one("", **({"base_url": OPENAI_BASE_URL} if by == "argument" else {})))

        assert message.startswith(f"no key for {WHERE}: set api_key")

    @pytest.mark.parametrize(
        "value",
        ["", KEY, "schlüssel", "\0", "\ud800", "A=B", "hunter2", "AKIAIOSFODNN7EXAMPLE", "GEZDGNBVGY3TQOJQ", "A" * 16],
    )
    def test_what_may_be_a_key_in_place_of_a_variable(self, value: str):
        """It is not shown."""
        message = refused(lambda: described({"api_key_env": value, "base_url": LOCAL}))

        assert message == (
            f"api_key_env of {WHERE} names no variable that is set: it takes a variable's name, api_key the key itself"
        )

    @pytest.mark.parametrize("name", ["WORK_KEY", "EMPTY_KEY", "BLANK_KEY", "OPENAI_API_KEY_2", "KEY1"])
    def test_a_variable_that_holds_no_key_is_named(self, name: str, monkeypatch: pytest.MonkeyPatch):
        """Words in capitals are no key."""
        monkeypatch.setenv("EMPTY_KEY", "")
        monkeypatch.setenv("BLANK_KEY", " \n")

        message = refused(lambda: described({"api_key_env": name, "base_url": LOCAL}))

        assert message == f"api_key_env of {WHERE} names {name}, which is not set or empty: set it to the key"

    @pytest.mark.parametrize("key", [KEY, ""], ids=["a key", "an empty one"])
    def test_a_key_and_a_variable(self, key: str, monkeypatch: pytest.MonkeyPatch):
        """Which of the two is meant cannot be told."""
        monkeypatch.setenv("WORK_KEY", OTHER_KEY)

        message = refused(lambda: one(f'api_key = "{key}"\napi_key_env = "WORK_KEY"'))

        assert message == f"{WHERE} has both api_key and api_key_env: leave one of them out"

    @pytest.mark.parametrize(
        ("key", "hint"),
        [
            ("apikey", " (is api_key meant?)"),
            ("API_KEY", " (is api_key meant?)"),
            ("api_key_environment", " (is api_key_env meant?)"),
            ("organisation", " (is organization meant?)"),
            ("header", " (is headers meant?)"),
            ("purpose", ""),
            (KEY, ""),
            ("", ""),
        ],
        ids=["apikey", "API_KEY", "api_key_environment", "organisation", "header", "purpose", "a key", "empty"],
    )
    def test_an_unknown_key(self, key: str, hint: str):
        """It may be a pasted secret: what is known is told, and what may be meant."""
        message = refused(lambda: one(f'api_key = "{OTHER_KEY}"\n"{key}" = "{KEY}"'))

        assert message == f"{WHERE} has an unknown key{hint}: {KNOWN}"

    @pytest.mark.parametrize("value", ["1", "true", "[]", "{}", "1979-05-27", f'["{KEY}"]'])
    @pytest.mark.parametrize("key", ["api_key", "api_key_env", "base_url", "organization", "project", "authentication"])
    def test_a_value_that_is_no_text(self, key: str, value: str):
        """A number is not made into text: what it was meant to be cannot be known."""
        rest = "" if key.startswith("api_key") else f'api_key = "{KEY}"\n'

        message = refused(lambda: one(f"{rest}{key} = {value}"))

        assert message == f"{key} of {WHERE} is no text: put it in quotation marks"

    @pytest.mark.parametrize("value", [1, True, KEY, [KEY], None, {"X-A": 1}, {"X-A": "1", "X-B": [KEY]}], ids=repr)
    def test_headers_that_are_no_table_of_texts(self, value: object):
        """JSON's null is none either."""
        message = refused(lambda: described({"api_key": KEY, "headers": value}))

        assert message == f'headers of {WHERE} is no table of texts: give {{ NAME = "value" }}'

    def test_null_is_no_text(self):
        """JSON has it, in dlt's variable."""
        message = refused(lambda: described({"api_key": None}))

        assert message == f"api_key of {WHERE} is no text: put it in quotation marks"

    @pytest.mark.parametrize("value", [KEY, "basic", "Bearer"])
    def test_an_authentication_that_there_is_not(self, value: str):
        """The two that there are, are named."""
        message = refused(lambda: one(f'api_key = "{OTHER_KEY}"\nauthentication = "{value}"'))

        assert message == f"authentication of {WHERE} is neither 'bearer' nor 'api-key'"

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            pytest.param(
                'base_url = "http://example.com/v1"',
                "refused to send a key over plain http to http://example.com/v1: use https, or a loopback address",
                id="plain http",
            ),
            pytest.param(
                f'base_url = "{OTHER_KEY}"',
                "the base URL begins with neither http:// nor https://: give one such as https://api.openai.com/v1",
                id="a key as the server",
            ),
            pytest.param(
                'base_url = "https://[::1/v1"',
                "base URL 'https://[::1/v1' is no http(s) address, such as https://api.openai.com/v1",
                id="no address",
            ),
            pytest.param(
                f'headers = {{ "{OTHER_KEY}: 1" = "1" }}',
                "a header of account 'work' has a name that HTTP cannot carry: give {name: value}",
                id="a header's name",
            ),
            pytest.param(
                'headers = { sk-proj-another-recognisable-key-987654 = "“" }',
                "a header of account 'work' holds characters that HTTP cannot carry: "
                "was the key or header pasted whole?",
                id="a header's value",
            ),
            pytest.param(
                'project = "proj\\n1"',
                "header 'OpenAI-Project' of account 'work' holds characters that HTTP cannot carry: "
                "was the key or header pasted whole?",
                id="a project",
            ),
        ],
    )
    def test_what_an_account_refuses_by_itself(self, body: str, message: str):
        """The file is named before it, and the name of a header, which may be a pasted key, is left out."""
        assert refused(lambda: one(f'api_key = "{KEY}"\n{body}')) == f"{WHERE}: {message}"

    def test_an_address_that_is_none_without_a_key(self):
        """The address is what is told of."""
        assert "is no http(s) address" in refused(lambda: one('base_url = "https://[::1/v1"'))

    @pytest.mark.parametrize("name", ['""', '" "', '"\\n"'], ids=["empty", "blank", "line's end"])
    def test_an_account_without_a_name(self, name: str):
        """Its rows could not be told from others."""
        message = refused(lambda: read(f'[accounts.{name}]\napi_key = "{KEY}"'))

        assert message == f"an account in {FILE} has an empty name: call its table [accounts.NAME]"

    @pytest.mark.parametrize(
        "name", [KEY, f" {KEY}", f"{KEY[:9]}\\n{KEY[9:]}"], ids=["whole", "a space before", "two lines"]
    )
    def test_an_account_that_is_named_by_its_key(self, name: str):
        """Names stand in the data and in messages."""
        message = refused(lambda: read(f'[accounts."{name}"]\napi_key = "{OTHER_KEY}"'))

        assert message == f"the name of an account in {FILE} looks like a key: names are shown, so choose another"

    @pytest.mark.parametrize("name", ["sk-bratislava", "task-force-of-the-twenty-second-century"])
    def test_a_name_that_only_begins_or_goes_on_like_a_key(self, name: str):
        """It is a name as any other."""
        assert [account.name for account in read(f'[accounts.{name}]\napi_key = "{KEY}"')] == [name]

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(f'[accounts]\napi_key = "{KEY}"', id="a key without an account"),
            pytest.param(f'[[accounts.api_key]]\nbase_url = "{KEY}"', id="a list of tables"),
            pytest.param("accounts.api_key = 1", id="a number"),
        ],
    )
    def test_an_account_that_is_no_table(self, text: str):
        """The account's own name was forgotten, or one bracket is too many."""
        message = refused(lambda: read(text))

        assert message == f"account 'api_key' in {FILE} is no table: give [accounts.NAME] with api_key or api_key_env"

    @pytest.mark.parametrize("text", ["", "# nothing\n", "[accounts]\n"], ids=["empty", "a comment", "an empty table"])
    def test_no_accounts(self, text: str):
        """To load nothing is not what was asked for."""
        assert refused(lambda: read(text)) == (
            f"no accounts in {FILE}: give each one a table of its own, [accounts.NAME]"
        )

    @pytest.mark.parametrize("text", [f'accounts = "{KEY}"', f'[[accounts]]\napi_key = "{KEY}"'], ids=["text", "list"])
    def test_accounts_that_are_no_table(self, text: str):
        """Accounts need names."""
        assert refused(lambda: read(text)) == (
            f"accounts in {FILE} is no table: give each account one of its own, [accounts.NAME]"
        )

    @pytest.mark.parametrize("more", [f'[account.lab]\napi_key = "{KEY}"', f'"{KEY}" = 1'], ids=["a table", "a key"])
    def test_something_beside_the_accounts(self, more: str):
        """An account whose table is misspelled would be left out in silence."""
        message = refused(lambda: read(f'{more}\n[accounts.work]\napi_key = "{OTHER_KEY}"'))

        assert message == f"{FILE} holds something beside the tables [accounts.NAME]: is a name misspelled there?"


DOUBLES = {
    "the same table": f'api_key = "{KEY}"',
    "the key from a variable": 'api_key_env = "WORK_KEY"',
    "white space around the key": f'api_key = " {KEY} "',
    "the server spelled in another way": f'api_key = "{KEY}"\nbase_url = "https://API.openai.com/v1/"',
    "the key sent in another way": f'api_key = "{KEY}"\nauthentication = "api-key"',
}
SINGLES = {
    "another key": f'api_key = "{OTHER_KEY}"',
    "another server": f'api_key = "{KEY}"\nbase_url = "https://example.com/v1"',
    "another organization": f'api_key = "{KEY}"\norganization = "org-2"',
    "another project": f'api_key = "{KEY}"\nproject = "proj-2"',
    "another header": f'api_key = "{KEY}"\nheaders.X-Tenant = "2"',
}


class TestDoubles:
    """Two names for one account would list the same files twice."""

    @pytest.mark.parametrize("body", DOUBLES.values(), ids=DOUBLES)
    def test_the_same_account_under_two_names_is_refused(self, body: str, monkeypatch: pytest.MonkeyPatch):
        """Both are named, and another account between them does not hide it."""
        monkeypatch.setenv("WORK_KEY", KEY)
        text = f'[accounts.work]\napi_key="{KEY}"\n[accounts.lab]\nbase_url="{LOCAL}"\n[accounts."new work"]\n{body}'

        assert refused(lambda: read(text)) == (
            f"accounts 'work' and 'new work' in {FILE} have the same server, key, organization and project: "
            "the same files would be loaded twice"
        )

    def test_headers_of_one_name_are_the_same_however_it_is_spelled(self):
        """HTTP does not tell them apart."""
        tables = {
            name: {"base_url": LOCAL, "headers": {header: "1"}}
            for name, header in [("a", "X-Tenant"), ("b", "x-tenant")]
        }

        assert "accounts 'a' and 'b'" in refused(lambda: accounts_from(tables, source=FILE))

    @pytest.mark.parametrize("body", SINGLES.values(), ids=SINGLES)
    def test_whatever_may_mean_other_files_is_another_account(self, body: str):
        """A gateway may tell by a header whose files are meant."""
        accounts = read(f'[accounts.work]\napi_key = "{KEY}"\n[accounts.lab]\n{body}')

        assert [account.name for account in accounts] == ["work", "lab"]


class TestFilesThatAreNone:
    """What is wrong with a file is told with its name."""

    def test_a_file_that_is_missing(self):
        """The system's own words say why."""
        assert refused(lambda: read_accounts("folder/missing.toml")) == (
            "folder/missing.toml cannot be read: No such file or directory"
        )

    def test_a_folder(self):
        """It is no file."""
        assert refused(lambda: read_accounts(Path.cwd())) == f"{Path.cwd()} cannot be read: Is a directory"

    @pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
    def test_a_file_in_another_encoding(self, encoding: str):
        """Some editors and shells write others."""
        text = f'[accounts.work] # ä\napi_key = "{KEY}"'

        assert refused(lambda: read(text.encode(encoding))) == f"{FILE} is not in UTF-8: save it so"

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            pytest.param(f"[accounts.work]\napi_key = {KEY}", " at line 2, column 11", id="no quotation marks"),
            pytest.param(f"[accounts.work]\n{KEY}", " at line 2, column 12", id="a key alone"),
            pytest.param(f'["{KEY}"]\n["{KEY}"]', f" at line 2, column {len(KEY) + 4}", id="a table twice"),
            pytest.param(f'a = {{"{KEY}"=1, "{KEY}"=2}}', f" at line 1, column {2 * len(KEY) + 16}", id="a key twice"),
            pytest.param(f'a = {{"{KEY}"=[]}}\n[[a."{KEY}"]]', f" at line 2, column {len(KEY) + 7}", id="frozen"),
            pytest.param(f'[accounts.work]\napi_key = "{KEY}', " at end of document", id="no end"),
            pytest.param('["(at line 8, column 8)"]\n' * 2, " at line 2, column 25", id="a place in a name"),
            pytest.param(f"a = {'9' * 5000}", "", id="a number that is too long"),
            pytest.param(f"a = {'[' * 100_000}", "", id="lists that are too deep"),
        ],
    )
    def test_a_file_that_is_no_toml(self, text: str, place: str):
        """The place is told; the reader's own words may quote what stands there."""
        assert refused(lambda: read(text)) == (
            f"{FILE} is no TOML{place}: is each text in quotation marks, and each name there once?"
        )


SECRETS = st.text("abcdefghijkABCDEFGHIJK0123456789-_+/=", min_size=24, max_size=60).map("sk-{}".format)
NAMES = ("work", "lab", "home")
SLIPS = st.sampled_from("\"'[]{}=.,\n\\ \0é9")


def tables_around(secret: str, *names: str) -> st.SearchStrategy[tuple[str, dict[str, dict[str, object]]]]:
    """Make a secret and tables of accounts in which it may stand wherever something can be put."""
    forms = ("{}", "{}\n", "“{}”", "https://{}@h", "https://h/?{}")
    texts = st.sampled_from([*(form.format(secret) for form in forms), LOCAL, "bearer", ""])
    keys = st.sampled_from([*KNOWN.removeprefix("known are ").split(", ") * 2, "apikey", secret, f"{secret}: 1"])
    values = texts | st.lists(texts, max_size=2) | st.dictionaries(keys, texts, max_size=2)
    tables = st.builds(
        lambda right, wrong: right | wrong,
        st.sampled_from([{}, {"base_url": LOCAL}, {"api_key": secret, "base_url": LOCAL}]),
        st.dictionaries(keys, values, max_size=2),
    )
    return st.tuples(st.just(secret), st.dictionaries(st.sampled_from([*NAMES, *names]), tables, max_size=3))


def told_by(ask: Callable[[], object]) -> str:
    """Return all that an error, and those that it came from, say; nothing where there is none."""
    try:
        ask()
    except ConfigError as error:
        chain = [error]
        while chain[-1].__context__ is not None:
            chain.append(chain[-1].__context__)
        return "".join(text for each in chain for text in (str(each), repr(each), *traceback.format_exception(each)))
    return ""


@settings(max_examples=200)
@given(made=SECRETS.flatmap(lambda secret: tables_around(secret, secret)))
def test_no_secret_of_any_tables_stands_in_a_message(made: tuple[str, dict[str, object]]):
    """Wherever a key was put by mistake: as a name, a key, a value, in a list or in a header."""
    secret, tables = made

    told = told_by(lambda: accounts_from(tables, source=FILE))

    assert secret not in told


@settings(max_examples=200)
@given(made=SECRETS.flatmap(tables_around), where=st.floats(0, 1), slip=SLIPS)
def test_no_secret_of_a_file_with_a_slip_stands_in_a_message(
    made: tuple[str, dict[str, object]], where: float, slip: str
):
    """A character or a line that is too many makes other tables, or no TOML; half a key is worth something, too."""
    secret, tables = made
    text = tomlkit.dumps({"accounts": tables})
    place = int(where * len(text))
    line = text[text.rfind("\n", 0, place) + 1 :].partition("\n")[0]

    told = told_by(lambda: read(f"{text[:place]}{slip}{text[place:]}")) + told_by(lambda: read(f"{text}\n{line}"))

    assert secret[:12] not in told
    assert secret[-12:] not in told


@pytest.fixture
def secrets_file() -> Iterator[Callable[[str], None]]:
    """Write `.dlt/secrets.toml` as if it had been there when dlt started."""
    context = Container()[PluggableRunContext]

    def write(text: str) -> None:
        Path(".dlt").mkdir()
        Path(".dlt/secrets.toml").write_text(text)
        context.reload_providers()

    yield write
    shutil.rmtree(".dlt", ignore_errors=True)
    context.reload_providers()


class TestDltConfiguration:
    """`sources.openai_files.accounts`, looked up as dlt's secrets are."""

    def test_none_are_configured(self):
        """Then there is the single account."""
        assert configured_accounts() is None

    @pytest.mark.parametrize("nothing", ["", " ", "\n"], ids=repr)
    def test_an_empty_variable_counts_as_not_set(self, nothing: str, monkeypatch: pytest.MonkeyPatch):
        """Containers and CI pass on variables that hold nothing."""
        monkeypatch.setenv(VARIABLE, nothing)

        assert configured_accounts() is None

    def test_a_variable_holds_a_json_object(self, monkeypatch: pytest.MonkeyPatch):
        """It says what a file says."""
        tables = {"work": {"api_key": KEY, "headers": {"X-A": "1"}}, "lab": {"base_url": LOCAL}}
        monkeypatch.setenv(VARIABLE, json.dumps(tables))

        assert configured_accounts() == (
            Account(name="work", api_key=KEY, headers={"X-A": "1"}),
            Account(name="lab", base_url=LOCAL),
        )

    def test_the_secrets_file_holds_tables(self, secrets_file: Callable[[str], None]):
        """Their order stays, and another source's table may stand between them."""
        secrets_file(f"""
            [sources.openai_files.accounts.work]
            api_key = "{KEY}"
            [sources.another.accounts.other]
            api_key = "{OTHER_KEY}"
            [sources.openai_files.accounts.lab]
            base_url = "{LOCAL}"
            [sources.openai_files.accounts.work.headers]
            X-A = "1"
        """)

        assert configured_accounts() == (
            Account(name="work", api_key=KEY, headers={"X-A": "1"}),
            Account(name="lab", base_url=LOCAL),
        )

    def test_a_variable_stands_in_place_of_the_file(
        self, secrets_file: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ):
        """All of it, as dlt's order has it: accounts of both do not mix."""
        secrets_file(f'[sources.openai_files.accounts.work]\napi_key = "{KEY}"')
        monkeypatch.setenv(VARIABLE, json.dumps({"lab": {"base_url": LOCAL}}))

        assert configured_accounts() == (Account(name="lab", base_url=LOCAL),)

    def test_values_that_a_program_sets_become_plain(self, secrets_file: Callable[[str], None]):
        """What tomlkit made, which keeps comments and quotation marks, stays out of an account."""
        secrets_file("")
        dlt.secrets[CONFIGURED] = {
            "work": tomlkit.parse(f'api_key = "{KEY}" # a comment\norganization = "org-1"\n[headers]\nX-A = "1"')
        }

        (account,) = configured_accounts() or ()

        assert account == Account(name="work", api_key=KEY, organization="org-1", headers={"X-A": "1"})
        values = [account.name, account.api_key, account.organization, *account.headers, *account.headers.values()]
        assert {type(value) for value in values} == {str}

    def test_variables_of_single_values_make_no_account(self, monkeypatch: pytest.MonkeyPatch):
        """Dlt finds a variable by its whole name only, and a NAME is not known beforehand."""
        monkeypatch.setenv(f"{VARIABLE}__WORK__API_KEY", KEY)

        assert configured_accounts() is None

    @pytest.mark.parametrize(
        "text",
        ["many", "[]", "7", f'["{KEY}"]', f'{{"work": {{"api_key": "{KEY}"', '{"work": {}, "work": {}}'],
        ids=["text", "list", "number", "list of a key", "half an object", "a name twice"],
    )
    def test_a_variable_that_is_no_json_object_is_told_unseen(self, text: str, monkeypatch: pytest.MonkeyPatch):
        """Of two accounts with one name, the first would be left out in silence."""
        monkeypatch.setenv(VARIABLE, text)

        assert refused(configured_accounts) == f"{VARIABLE} cannot be read: give a JSON object, each name in it once"

    @pytest.mark.parametrize(
        ("tables", "message"),
        [
            ({}, f"no accounts in {CONFIGURED}: give each one a table of its own, [accounts.NAME]"),
            ({"work": {KEY: 1}}, f"account 'work' in {CONFIGURED} has an unknown key: {KNOWN}"),
        ],
        ids=["no accounts", "an unknown key"],
    )
    def test_what_is_refused_names_the_place(self, tables: object, message: str, monkeypatch: pytest.MonkeyPatch):
        """The rules are a file's own."""
        monkeypatch.setenv(VARIABLE, json.dumps(tables))

        assert refused(configured_accounts) == message

    def test_a_server_is_the_arguments_then_dlts_then_the_official_variables(self, monkeypatch: pytest.MonkeyPatch):
        """As for a single account."""
        monkeypatch.setenv(VARIABLE, json.dumps({"work": {"api_key": KEY}}))
        found = [configured_accounts()]
        monkeypatch.setenv("OPENAI_BASE_URL", "https://official")
        found.append(configured_accounts())
        monkeypatch.setenv("SOURCES__OPENAI_FILES__BASE_URL", "https://dlt")
        found += [configured_accounts(), configured_accounts(base_url="https://argument")]

        assert [account.base_url for accounts in found for account in accounts or ()] == [
            OPENAI_BASE_URL,
            "https://official",
            "https://dlt",
            "https://argument",
        ]


class TestDltTrace:
    """What stays of a run of dlt: its output, its logs, its trace, its state and the data."""

    @pytest.fixture
    def output(self, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], Ended]:
        """Return what was printed and logged."""
        caplog.set_level(logging.DEBUG)

        def ended() -> Ended:
            said = capfd.readouterr()
            return Ended(0, said.out, said.err + caplog.text)

        return ended

    @staticmethod
    def pipeline() -> dlt.Pipeline:
        return dlt.pipeline("several", destination=dlt.destinations.duckdb("accounts.duckdb"), dataset_name="several")

    @pytest.mark.parametrize("by", ["variable", "file"])
    def test_a_run_leaves_no_trace_of_the_keys(
        self,
        by: str,
        output: Callable[[], Ended],
        secrets_file: Callable[[str], None],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ):
        """They are looked up before and during the run; only the secrets file holds them."""
        tables = {"recognisable-name": {"api_key": KEY}, "lab": {"headers": {"X-Key": OTHER_KEY}, "base_url": LOCAL}}
        if by == "file":
            secrets_file(tomlkit.dumps({"sources": {"openai_files": {"accounts": tables}}}))
        else:
            monkeypatch.setenv(VARIABLE, json.dumps(tables))

        @dlt.resource
        def names() -> Iterator[dict[str, str]]:
            yield from ({"name": account.name} for account in configured_accounts() or ())

        configured_accounts()
        self.pipeline().run(names())

        said = output()
        kept = ["secrets.toml"] if by == "file" else []
        assert [Path(name).name for name in traces_of(KEY, said, tmp_path)] == kept
        assert [Path(name).name for name in traces_of(OTHER_KEY, said, tmp_path)] == kept
        assert "accounts.duckdb" in {Path(name).name for name in traces_of("recognisable-name", said, tmp_path)}
        assert "trace.pickle" in {Path(name).name for name in everything_below(tmp_path)}
        assert "accounts" in {value.key for value in self.pipeline().last_trace.resolved_config_values}

    @pytest.mark.parametrize("ask", ["a file", "the variable"])
    def test_a_run_that_fails_leaves_no_trace_of_the_keys(
        self, ask: str, output: Callable[[], Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """A trace also keeps what an error came from, which may quote what it was given."""
        file = tmp_path.parent / f"{tmp_path.name}-{FILE}"
        file.write_text(f'["{KEY}"]\n["{KEY}"]')
        monkeypatch.setenv(VARIABLE, json.dumps({"work": {"api_key": KEY, "headers": {OTHER_KEY: "“"}}}))

        @dlt.resource
        def names() -> Iterator[object]:
            yield read_accounts(file) if ask == "a file" else configured_accounts()

        with pytest.raises(PipelineStepFailed):
            self.pipeline().run(names())

        said = output()
        assert traces_of(KEY, said, tmp_path) == []
        assert traces_of(OTHER_KEY, said, tmp_path) == []
        message = "is no TOML" if ask == "a file" else "holds characters that HTTP cannot carry"
        assert "trace.pickle" in {Path(name).name for name in traces_of(message, said, tmp_path)}
