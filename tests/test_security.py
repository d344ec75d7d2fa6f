"""What must never happen, line by line of the design's list, through the command line and the library."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pty
import re
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import duckdb
import pytest
from werkzeug import Response

from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.emulator import Emulator, Fault, cut_short, empty_page, status
from files_source.emulator.delivery import Delivery
from files_source.errors import DecodeError
from files_source.source import openai_files
from files_source.syncing import sync
from tests.commands import Ended, finish, run, start
from tests.conftest import NOW
from tests.test_bodies import MB, bomb
from tests.test_client import GOOD, serving
from tests.test_keys import KEY, everything_below, traces_of

Command = Callable[..., Ended]
Connect = Callable[..., FilesClient]

COMMANDS = {
    "list": ["list"],
    "get": ["get", "file-1"],
    "content": ["content", "file-1"],
    "upload": ["upload", __file__, "--purpose", "batch"],
    "delete": ["delete", "file-1", "--yes"],
    "sync": ["sync"],
}
FILENAMES = [
    *("../" * depth + "escaped" for depth in range(1, 5)),
    *("/escaped", "//escaped", "~/escaped", "..\\escaped", "C:\\escaped", "\\\\server\\escaped", "file:///escaped"),
    *("escaped\0.jsonl", "\0", "/dev/full", "CON", "nul.jsonl", ".", "..", "", " ", "-o", "--output=escaped"),
    *("$(touch escaped)", "`touch escaped`", "|touch escaped", "%s%n%x", "{0.__class__}", "'; DROP TABLE files; --"),
    *("\x1b[2J\x1b[H", "\x1b]52;c;ZXNjYXBlZA==\x07", "\x1b]0;escaped\x1b\\", "\x9b31m", "\x08\x7f\x0c\x0b"),
    *("a\rb", "a\nerror: b", "a\r\nb", "\u2028\u2029\x85", "a\tb", '"', "'", '""",', "a,b;c"),
    *(
        "\u202egpj.exe",
        "\u2066\u2069\u200e\u200f",
        "in\u200bvo\u200d\ufeffice",
        "\U000e0041",
        "e\u0301",
        "\ufffe\U0010ffff",
    ),
    *(f"{character}1+1" for character in "=+-@\t\r\n"),
    *("\ud800", "\udc00\ud83d", "\ud83d\ude00", "x" * 10_000, "🙂" * 2_500),
]
"""Names that would be something else than text to a path, a shell, a query, a terminal or a spreadsheet."""


@pytest.fixture
def files(emulator: Emulator) -> dict[str, str]:
    """Return a file for each of FILENAMES: ids, with the names as they are to arrive."""
    return {str(emulator.add(created_at=NOW - 3_600, filename=name)["id"]): as_text(name) for name in FILENAMES}


def as_text(name: str) -> str:
    """Return a name with half of a surrogate pair, which no text can hold, as the escape that it came in."""
    whole = name.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", whole)


def unfolding() -> Fault:
    """Answer with a page that is small on its way and has no end once it is unpacked."""
    headers = {"Content-Encoding": "gzip", "Connection": "close"}
    return Fault("bomb", lambda _: Delivery(Response(bomb(), headers=headers, mimetype="application/json")))


class TestKeys:
    """A key in a log, a message, a repr, the state, a trace or a file; or on its way to anybody else."""

    @pytest.mark.usefixtures("url")
    def test_no_run_leaves_one_however_it_ends(
        self, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """All output at DEBUG, dlt's folder, the tables with the ledger, after refusals that repeat the key."""
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("RUNTIME__LOG_LEVEL", "DEBUG")
        emulator.add_many(3, created_at=NOW - 3_600)
        error = {"message": f"Incorrect API key provided: {KEY}", "code": KEY, "param": KEY}
        refusal = status(401, body=json.dumps({"error": error}), headers={"x-request-id": KEY, "WWW-Authenticate": KEY})

        done = finish(start("sync"))
        emulator.fail(refusal, times=None)
        failed = [finish(start("sync", *flags)) for flags in ([], ["--history", "--to", "lake/"])]
        ledger = finish(start("scans"))

        assert (done.status, [ended.status for ended in failed]) == (0, [1, 1])
        for ended in (*failed, ledger):
            assert "answered 401: Incorrect API key provided: ***; request ***" in ended.out + ended.err
        ends = [done, *failed, ledger]
        said = Ended(0, "".join(ended.out for ended in ends), "".join(ended.err for ended in ends))
        assert "[DEBUG]" in said.err
        assert traces_of("Incorrect API key", said, tmp_path) != ["output"]
        assert traces_of(KEY, said, tmp_path) == []

    @pytest.mark.parametrize("name", COMMANDS)
    def test_none_goes_over_plain_http_to_another_machine(
        self, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ):
        """It is refused before anything is sent, even to the proxy on the way."""
        with serving(GOOD) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
            monkeypatch.setenv("OPENAI_BASE_URL", "http://files.example/v1")
            monkeypatch.setenv("OPENAI_API_KEY", KEY)
            refused = run(capsys, *COMMANDS[name])

        assert refused.status == 2
        assert refused.error.startswith("refused to send a key over plain http to http://files.example/v1")
        assert proxy.asked == []

    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("name", COMMANDS)
    def test_none_follows_a_redirect_to_another_server(
        self, name: str, code: int, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """Nothing at all reaches the other server, and the error says where the answer points to."""
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        other = Emulator()
        with other.serve() as elsewhere:
            location = f"{elsewhere.url}/files"
            emulator.fail(status(code, headers={"Location": location}), method="*", path="*", times=None)
            refused = command(*COMMANDS[name])

        assert refused.status == 1
        assert f"redirects are not followed: if {location} is the same API, set the base URL to it" in refused.error
        assert other.requests == []
        assert len(emulator.requests) == 1


class TestEnds:
    """A silent end, and a partial scan taken for a complete one."""

    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param(empty_page(), id="promised, and nothing comes"),
            pytest.param(cut_short(), id="connection cut"),
            pytest.param(status(200, body='{"object": "list", "data": ['), id="JSON cut"),
            pytest.param(status(200, body='{"object": "list", "has_more": false}'), id="no data"),
            pytest.param(status(200, body='{"error": {"message": "overloaded"}}'), id="an error, and 200"),
            pytest.param(status(200, body='{"data": null, "has_more": true}'), id="null"),
            pytest.param(status(200, body=""), id="nothing at all"),
            pytest.param(status(204, body=""), id="no content"),
        ],
    )
    @pytest.mark.parametrize("form", ["jsonl", "table", "csv"])
    def test_a_listing_that_breaks_off_never_looks_complete(
        self, form: str, fault: Fault, emulator: Emulator, command: Command
    ):
        """What came is printed, and then one line and a status that no script takes for success."""
        emulator.add_many(6, created_at=NOW - 3_600)
        emulator.fail(fault, at=2, times=None)

        listed = command("--max-retries", "0", "list", "--limit", "2", "--format", form)

        assert listed.status == 1
        assert listed.error
        assert len(listed.lines) == 2 + (form != "jsonl")

    def test_a_compressed_page_that_is_cut_short_is_no_page(self, emulator: Emulator, command: Command):
        """What is left may unpack to JSON that is whole, as here: the rest of the answer is missing all the same."""
        page = gzip.compress(b'{"data": [], "has_more": false}' + b" " * 9_000)[:-8]
        answer = Response(page, headers={"Content-Encoding": "gzip"}, mimetype="application/json")
        emulator.fail(Fault("cut gzip", lambda _: Delivery(answer)), times=None)

        listed = command("--max-retries", "0", "list")

        assert listed.status == 1
        assert "gzip ends too early" in listed.error

    def test_a_scan_that_met_a_page_too_large_retires_nothing(self, emulator: Emulator, connect: Connect):
        """The ledger calls it incomplete, with the reason; the next complete one retires what is gone."""
        ids = emulator.add_many(6, created_at=NOW - 3_600)
        sync(history=True, client=connect())
        for file_id in ids[:4]:
            emulator.remove(file_id)
        emulator.fail(unfolding(), at=2, times=None)

        with pytest.raises(DecodeError, match="the answer is larger than 100,000 bytes"):
            sync(history=True, limit=1, client=connect(max_body=100_000))

        assert valid_and_complete() == (6, [True, False])
        emulator.recover()
        sync(history=True, limit=1, client=connect())
        assert valid_and_complete() == (2, [True, False, True])


class TestFilenames:
    """A path made from a filename; and names that play with whoever looks at them."""

    @pytest.mark.parametrize("place", ["inventory.duckdb", "lake/"], ids=["duckdb", "parquet"])
    def test_they_are_loaded_unharmed(self, place: str, files: dict[str, str], tmp_path: Path, connect: Connect):
        """Each arrives to the last character, and none is the name of anything on disk."""
        sync(place, client=connect())

        assert dict(rows_in(place)) == files
        assert not any("escaped" in name for name in everything_below(tmp_path))

    def test_a_download_never_asks_them(
        self, files: dict[str, str], tmp_path: Path, emulator: Emulator, command: Command
    ):
        """Content goes where the user says or to standard output, whatever the file or the answer calls itself."""
        attachment = {"Content-Disposition": "attachment; filename=../escaped; filename*=UTF-8''..%2Fescaped"}
        emulator.fail(status(200, body="content", headers=attachment), path="*/content", times=None)

        for file_id in files:
            assert command("content", file_id, "-o", "here.bin") == Ended(0, "", "")
            assert command("content", file_id) == Ended(0, "content", "")

        assert Path("here.bin").read_text() == "content"
        assert everything_below(tmp_path) == [str(tmp_path / "work" / "here.bin")]

    def test_no_csv_file_breaks_or_runs(self, files: dict[str, str], command: Command):
        """Every row has its columns and its name, which stands behind an apostrophe where it would be a formula."""
        listed = command("list", "--format", "csv")

        rows = list(csv.DictReader(io.StringIO(listed.out, newline=""), strict=True))
        assert {row["id"]: row["filename"] for row in rows} == {
            file_id: f"'{name}" if name[:1] in tuple("=+-@\t\r\n") else name for file_id, name in files.items()
        }
        assert all(set(row) == set(listed.lines[0].split(",")) for row in rows)

    @pytest.mark.usefixtures("url")
    @pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
    def test_no_terminal_is_commanded(self, form: str, files: dict[str, str]):
        """A real one gets visible characters and line breaks, and in a table a line for each file."""
        shown = on_terminal("list", "--format", form)

        lines = shown.split("\n")
        assert all(line.isprintable() for line in lines)
        assert all(any(file_id in line for line in lines) for file_id in files)
        if form != "csv":
            assert len(lines) == len(files) + 1 + (form == "table")


class TestBuilding:
    """A network call while a source is being built."""

    def test_nothing_is_asked_of_the_network(self, monkeypatch: pytest.MonkeyPatch):
        """Not a name is looked up and not a connection opened, until somebody wants a page."""

        def refuse(*asked: object, **_: object) -> None:
            raise AssertionError(asked)

        for name in ("connect", "connect_ex", "sendto"):
            monkeypatch.setattr(socket.socket, name, refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)

        account = Account.from_environment()
        with FilesClient(account) as client:
            pages = client.pages()
            client.content("file-1")
            for options in ({}, {"client": client}, {"accounts": [account]}, {"history": True, "purpose": "batch"}):
                openai_files(**options)

            with pytest.raises(AssertionError, match=r"api\.openai\.com"):
                next(pages)


class TestBombs:
    """An answer that is small on its way and has no end once it is unpacked."""

    @pytest.mark.parametrize("name", ["list", "sync", "get"])
    def test_one_takes_bounded_memory_and_one_line(self, name: str, emulator: Emulator, command: Command):
        """By default, without a flag."""
        emulator.fail(unfolding(), path="*", times=None)

        tracemalloc.start()
        refused = command(*COMMANDS[name])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert refused.status == 1
        assert "the answer is larger than 268,435,456 bytes: ask for fewer files a page" in refused.error
        assert len(emulator.requests) == 1
        assert peak < 320 * MB


def rows_in(place: str) -> list[tuple[str, str]]:
    """Return id and filename of all that was loaded."""
    if place.endswith(".duckdb"):
        with duckdb.connect(place, read_only=True) as database:
            return database.execute("SELECT id, filename FROM openai_files.files").fetchall()
    return duckdb.sql(f"SELECT id, filename FROM '{place}openai_files/files/*.parquet'").fetchall()


def valid_and_complete() -> tuple[int, list[bool]]:
    """Return how many files the history holds to be there, and of each scan whether it was complete."""
    with duckdb.connect("inventory.duckdb", read_only=True) as database:
        valid = database.execute("FROM openai_files.files_history WHERE _dlt_valid_to IS NULL").fetchall()
        scans = database.execute("SELECT complete FROM openai_files.scans ORDER BY started_at").fetchall()
    return len(valid), [complete for (complete,) in scans]


def on_terminal(*arguments: str) -> str:
    """Run a command with standard output on a terminal, and return what that showed."""
    leader, follower = pty.openpty()
    process = start(*arguments, stdout=follower)
    os.close(follower)
    shown = bytearray()
    reader = Thread(target=lambda: shown.extend(b"".join(iter(lambda: read(leader), b""))))
    reader.start()
    ended = finish(process)
    reader.join()
    os.close(leader)
    assert (ended.status, ended.err) == (0, "")
    return shown.decode().replace("\r\n", "\n")


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux's way to say that nobody writes any more
        return b""
