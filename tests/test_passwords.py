"""A password may be in a place, and is shown nowhere."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from files_source import FilesClient, LoadError, read_table, sync, syncing
from files_source.destinations import target
from files_source.emulator import Emulator
from files_source.errors import ConfigError, FilesSourceError
from files_source.places import place_of
from files_source.redaction import redacted
from files_source.servers import server
from tests.commands import Ended
from tests.conftest import NOW
from tests.engines import Engine

Command = Callable[..., Ended]
Connect = Callable[..., FilesClient]
DAY = 86_400
SECRET = "hunter2"
NOBODY = f"127.0.0.1:1/db?sslmode=disable&sslpassword={SECRET}"


@pytest.fixture(params=["postgres", "sqlite"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Give an empty database that nothing but its URL names."""
    engine: Engine = request.getfixturevalue(request.param)
    for name in ("POSTGRES", "SQLALCHEMY"):
        monkeypatch.delenv(f"DESTINATION__{name}__CREDENTIALS", raising=False)
    return engine


class TestUrls:
    """A database is named by its URL."""

    def test_files_are_loaded_once_into_the_database_that_a_url_names(
        self, database: Engine, emulator: Emulator, command: Command
    ):
        """Nothing else is configured; who runs it again adds what is new."""
        emulator.add_many(20, created_at=NOW - DAY)
        first = command("sync", "--to", database.url)
        emulator.add_many(5, created_at=NOW - 30)

        second = command("sync", "--to", database.url)

        assert (first.status, second.status) == (0, 0)
        found = [file_id for (file_id,) in database.rows("SELECT id FROM openai_files.files")]
        assert sorted(map(str, found)) == sorted(emulator.ids())

    def test_what_a_url_names_is_read_back(self, postgres: Engine, emulator: Emulator, command: Command):
        """As a frame, as usage, as scans."""
        emulator.add_many(3, created_at=NOW - DAY)
        command("sync", "--to", postgres.url)

        scans = command("scans", "--to", postgres.url, "--json")
        usage = command("usage", "--from", postgres.url)

        assert sorted(read_table(postgres.url)["id"]) == sorted(emulator.ids())
        assert (scans.status, len(scans.lines)) == (0, 1)
        assert usage.lines[0].startswith("3 files, ")

    def test_a_password_may_come_from_the_environment(
        self, postgres: Engine, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """From dlt's variable or from that of PostgreSQL's own tools; then there is nothing to warn of."""
        emulator.add_many(3, created_at=NOW - DAY)
        url = postgres.url.replace(":none@", "@")
        monkeypatch.delenv("DESTINATION__POSTGRES__CREDENTIALS")

        refused = command("sync", "--to", url)
        monkeypatch.setenv("PGPASSWORD", "p@ss:w/rd")
        first = command("sync", "--to", url)
        monkeypatch.delenv("PGPASSWORD")
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS__PASSWORD", SECRET)
        second = command("sync", "--to", url)

        assert refused.status == 2
        assert "set DESTINATION__POSTGRES__CREDENTIALS__PASSWORD; see https://dlthub.com/" in refused.error
        assert [(ended.status, ended.err) for ended in (first, second)] == [(0, ""), (0, "")]

    def test_a_password_on_the_command_line_is_warned_of(self, postgres: Engine, emulator: Emulator, command: Command):
        """One line that says what to do in its place, when the work is done."""
        emulator.add_many(3, created_at=NOW - DAY)

        ended = command("sync", f"--to={postgres.url}")

        assert ended.status == 0
        assert ended.err == (
            "warning: a password on the command line can be read by others on this machine, and stays in the shell's "
            "history: leave it out, and set DESTINATION__POSTGRES__CREDENTIALS__PASSWORD\n"
        )

    @pytest.mark.parametrize(
        ("url", "destination", "credentials"),
        [
            ("postgres://me:x@h/db", "postgres", "postgresql://me:x@h/db"),
            ("postgresql+psycopg2://me:x@h/db", "postgres", "postgresql://me:x@h/db"),
            ("redshift://me:x@h/db", "redshift", "redshift://me:x@h/db"),
            ("snowflake://me:x@account/db?warehouse=w", "snowflake", "snowflake://me:x@account/db?warehouse=w"),
            ("mssql://me:x@h/db", "mssql", "mssql://me:x@h/db"),
            ("clickhouse://me:x@h/db", "clickhouse", "clickhouse://me:x@h/db"),
            ("mysql+pymysql://me:x@h/db", "sqlalchemy", "mysql+pymysql://me:x@h/db"),
            ("sqlite:////a/b.db", "sqlalchemy", "sqlite:////a/b.db"),
            ("md:db", "motherduck", "md:db"),
            ("motherduck://db", "motherduck", "md:db"),
        ],
    )
    def test_dlt_has_a_destination_for_each_kind_of_url(self, url: str, destination: str, credentials: str):
        """Whatever driver it names."""
        found = server(url)

        assert (found.destination, found.credentials) == (destination, credentials)

    def test_duckdb_may_be_named_by_a_url_too(self, emulator: Emulator, command: Command):
        """It is the database of that path, with its lock."""
        emulator.add_many(3, created_at=NOW - DAY)

        assert command("sync", "--to", "duckdb:///inventory.duckdb").status == 0
        assert read_table("inventory.duckdb").height == 3

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            (f"postgresql://me:{SECRET}@x@h/db", "an @ too many"),
            (f"postgresql://me:{SECRET}/x@h/db", "the port .* is no number"),
            (f"postgresql://me:1/{SECRET}@h/db", "an @ too many"),
            (f"postgresql://me:1#{SECRET}@h/db", "an @ too many"),
            (f"postgresql://me:{SECRET}@h:port/db", "the port .* is no number"),
            ("sqlite://", "names no file: give sqlite:///PATH"),
            ("sqlite:///:memory:", "names no file: give sqlite:///PATH"),
        ],
    )
    def test_what_would_be_misread_in_a_url_is_refused(self, url: str, said: str, command: Command):
        """A password that is cut in two would be looked up as a host, and shown."""
        refused = command("sync", "--to", url)

        assert refused.status == 2
        with pytest.raises(ConfigError, match=said):
            target(url)
        assert SECRET not in refused.err

    def test_the_same_database_is_the_same_place_whoever_logs_in(self):
        """A new password finds what an earlier run has left on this machine."""
        first, second, other = (
            target(f"postgres{scheme}://{user}@h{port}/{name}?sslmode={mode}")
            for scheme, user, port, name, mode in [
                ("ql", "me:one", ":5432", "db", "require"),
                ("", "you:two", "", "db", "disable"),
                ("ql", "me:one", "", "another", "require"),
            ]
        )

        assert first.working_folder == second.working_folder != other.working_folder


class TestHidden:
    """What is secret in a place is in no message, result or file."""

    @pytest.mark.parametrize(
        "arguments",
        [
            ["sync", "--to", f"postgresql://me:{SECRET}@{NOBODY}"],
            ["sync", f"postgresql://me:{SECRET}@{NOBODY}"],
            ["sync", "--to", f"mysql+pymysql://me:{SECRET}@{NOBODY}"],
            ["sync", "--to", f"mysql://me:{SECRET}@{NOBODY}"],
            ["sync", "--to", f"nonsense://me:{SECRET}@{NOBODY}"],
            ["sync", "--to", f"me:{SECRET}@localhost/db"],
            ["sync", "--to", f"parquet:az://bucket/x?sv=2020&sig={SECRET}"],
            ["sync", "--to", f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={SECRET}==;"],
            ["sync", "--to", f"Server=h;Database=db;UID=me;PWD={SECRET}"],
            ["cleanup", "--older-than", "12h", "--delete", "--yes", "--to", f"postgresql://me:{SECRET}@{NOBODY}"],
            ["usage", "--from", f"postgresql://me:{SECRET}@{NOBODY}"],
            ["scans", "--to", f"redshift://me:{SECRET}@{NOBODY}"],
            ["report", "--from", f"postgresql://me:{SECRET}@{NOBODY}"],
        ],
        ids=" ".join,
    )
    def test_no_failure_shows_it(
        self, arguments: list[str], emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """Of ours, of dlt, of a driver, of the parser of the command line; nor does a traceback."""
        emulator.add_many(3, created_at=NOW - DAY)
        monkeypatch.setenv("FILES_SOURCE_TRACEBACK", "1")

        failed = command(*arguments)

        assert failed.status in {1, 2}
        assert SECRET not in failed.out + failed.err

    def test_no_result_shows_it(self, postgres: Engine, emulator: Emulator, command: Command):
        """Neither a summary, nor JSON, nor what dlt keeps on this machine."""
        emulator.add_many(3, created_at=NOW - DAY)
        url = f"{postgres.url.replace(':none@', f':{SECRET}@')}?application_name=x"

        told = [
            command("sync", "--to", url),
            command("sync", "--to", url, "--json"),
            command("scans", "--to", url, "--json"),
            command("usage", "--from", url),
            command("usage", "--from", url, "--json"),
            command("report", "--from", url, "-o", "report.html"),
        ]

        assert [ended.status for ended in told] == [0] * len(told)
        assert not [ended for ended in told if SECRET in ended.out + ended.err]
        files = [path for folder in (Path(), target(url).working_folder.parent) for path in folder.rglob("*")]
        assert not [path for path in files if path.is_file() and SECRET.encode() in path.read_bytes()]

    @pytest.mark.parametrize("cause", ["the driver", "what quotes the URL"])
    def test_no_exception_and_no_repr_shows_it(self, cause: str, connect: Connect, monkeypatch: pytest.MonkeyPatch):
        """A log of a program that calls this has the whole chain of causes in it."""
        url = f"postgresql://me:{SECRET}@{NOBODY}"
        if cause != "the driver":

            def fail(_: object) -> bool:
                raise OSError(f"cannot reach {url}")

            monkeypatch.setattr(syncing, "discard_pending", fail)

        with pytest.raises(LoadError) as failed:
            sync(url, client=connect())

        shown = "".join(traceback.format_exception(failed.value)) + repr(failed.value)
        assert SECRET not in shown + repr(target(url)) + repr(place_of(url)) + repr(server(url))

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("no postgresql://me:a b@h/db", "no postgresql://me:a b@h/db"),
            ("no postgresql://me:a/b@c@h/db here", "no postgresql://h/db here"),
            ("sqlite:///a@b.db", "sqlite:///a@b.db"),
            ("https://h/x?a=1&X-Amz-Signature=abc&b=2", "https://h/x?a=1&X-Amz-Signature=***&b=2"),
            ("""{"password": "a b", 'token': 'c'}""", """{"password": ***, 'token': ***}"""),
            ("https://h/files?pagination_token=abc", "https://h/files?pagination_token=abc"),
            ("set X=postgresql://user:password@host:5432/db", "set X=postgresql://user:password@host:5432/db"),
            ("see https://h/a and mail me@h", "see https://h/a and mail me@h"),
        ],
    )
    def test_what_looks_like_a_secret_is_left_out_of_every_error(self, text: str, shown: str):
        """And nothing else; blanks in a password are known where a text is a URL alone."""
        assert redacted(text) == shown
        assert str(FilesSourceError(text)) == shown


@pytest.mark.parametrize("part", ["a", "a:", "://", "a://b:", "password", "?a=", "@", "a.b-", "'password' "])
def test_a_long_text_is_read_in_a_moment(part: str):
    """Whoever sends one cannot keep this machine busy: the time limit of a test would end this one."""
    assert redacted(part * 100_000)


def test_a_missing_driver_is_named_with_what_installs_it(command: Command):
    """`mysql://` asks for one that is seldom installed."""
    failed = command("sync", "--to", "mysql://me@localhost/db")

    assert failed.status == 2
    assert failed.error == (
        "mysql://localhost/db needs the package MySQLdb, which is not installed: pip install mysqlclient, or pip "
        "install pymysql and write mysql+pymysql://"
    )
