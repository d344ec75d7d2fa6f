from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from threading import Event

import httpx
import pytest

from files_source import exits
from files_source.emulator import Emulator, status
from files_source.exits import Interrupted, status_of
from tests.commands import PROGRAM, Ended, finish, hang_and_tell, run, start
from tests.conftest import NOW

Command = Callable[..., Ended]


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_is_no_failure(closed: str):
    """Daemons are started so; what would be said there is said to nobody."""
    shell = ["sh", "-c", f'exec "$0" --help {">&-" if closed == "stdout" else "2>&-"}', str(PROGRAM)]

    ended = subprocess.run(shell, capture_output=True, text=True, check=False)

    assert ended.returncode == 0
    assert ended.stderr == ""
    assert (ended.stdout == "") == (closed == "stdout")


class TestWrongUsage:
    """Status 2: the user can mend it before anything happens."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["nonsense"], r"No such command 'nonsense'; see files-source --help"),
            (["--nonsense"], r"No such option: --nonsense; see files-source --help"),
            (["list", "--nonsense"], r"No such option: --nonsense.*; see files-source list --help"),
            (["get"], r"Missing argument 'ID'; see files-source get --help"),
            (["list", "--limit"], r"'--limit' requires an argument; see files-source"),
            (["list", "--limit", "0"], r"'--limit'.*1; see files-source list --help"),
            (["list", "--limit", "10001"], r"'--limit'.*10000; see files-source list --help"),
            (["list", "--limit", "many"], r"'--limit'.*integer"),
            (["list", "--max-items", "0"], r"'--max-items'.*1"),
            (["list", "--order", "up"], r"'--order'.*'asc'.*'desc'"),
            (["list", "--format", "xml"], r"'--format'.*'jsonl'"),
            (["--timeout", "0", "list"], r"timeout is 0\.0: give seconds, more than 0"),
            (["--timeout", "inf", "list"], r"'--timeout'.*86400"),
            (["--timeout", "nan", "list"], r"'--timeout'"),
            (["--max-retries", "-1", "list"], r"'--max-retries'.*0"),
            (["--ca-bundle", "missing.pem", "--base-url", "https://localhost/v1", "list"], r"missing\.pem"),
            (["--base-url", "nonsense", "list"], r"base URL"),
            (["sync", "--since", "lately"], r"'--since': 'lately' is no time: give ISO 8601, such as 2026-01-31"),
            (["sync", "--since", "3m"], r"'--since': '3m' is ambiguous: give 3min for minutes or 3mo for months"),
            (["sync", "--since", "1d", "--until", "24h"], r"--since is not before --until"),
            (["sync", "--until", "\x1b[2J"], r"'--until': '\\x1b\[2J' is no time"),
            (["sync", "--since", "2026-02-01", "--until", "2026-02-01T00:00Z"], r"--since is not before --until"),
            (["sync", "--overlap", "-1"], r"'--overlap'.*0"),
            (["demo", "--files", "1"], r"'--files'.*1000"),
            (["serve", "--port", "65536"], r"'--port'.*65535"),
        ],
        ids=lambda given: " ".join(given).replace("\x1b", "ESC") if isinstance(given, list) else "",
    )
    def test_a_mistake_is_told_in_one_line(self, arguments: list[str], said: str, emulator: Emulator, command: Command):
        """It names the flag and what would be right, and nothing is asked of the server."""
        refused = command(*arguments)

        assert (refused.status, refused.out) == (2, "")
        assert re.search(said, refused.error)
        assert refused.error.isprintable()
        assert emulator.requests == []

    @pytest.mark.parametrize("name", ["list", "get file-1", "delete file-1", "sync"])
    def test_a_missing_key_is_told_where_to_give_it(self, name: str, capsys: pytest.CaptureFixture[str]):
        """OpenAI's own server is not even asked."""
        refused = run(capsys, *name.split())

        assert refused.status == 2
        assert "set OPENAI_API_KEY" in refused.error


class TestFailures:
    """Status 1: it was asked for rightly, and did not work."""

    @pytest.mark.parametrize("name", ["list", "get file-1", "content file-1", "delete -y file-1", "sync"])
    def test_a_wrong_key_is_tried_once(
        self, name: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """One clear line and one request: no retry can mend it."""
        emulator.api_key = "sk-right"
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")

        failed = command(*name.split())

        assert (failed.status, failed.out) == (1, "")
        assert "answered 401: Incorrect API key provided" in failed.error
        assert "check the API key (OPENAI_API_KEY)" in failed.error
        assert len(emulator.requests) == 1

    @pytest.mark.parametrize("name", ["list", "sync"])
    def test_a_server_that_is_not_there_is_named(self, name: str, capsys: pytest.CaptureFixture[str]):
        """With what to check."""
        nobody = f"http://127.0.0.1:{free_port()}/v1"

        failed = run(capsys, "--base-url", nobody, "--max-retries", "0", name)

        assert (failed.status, failed.out) == (1, "")
        assert failed.error.startswith(f"GET {nobody}/files could not connect: ")
        assert failed.error.endswith("check the network, the base URL and the proxy")

    def test_what_a_server_says_cannot_command_a_terminal(self, emulator: Emulator, command: Command):
        """Escapes, line breaks and right-to-left marks of an error stay out of the line."""
        emulator.fail(status(400, body=json.dumps({"error": {"message": "a\x1b[31m\nb\u202ec\x9b"}})), times=None)

        failed = command("list")

        assert failed.status == 1
        assert failed.error.isprintable()

    def test_a_path_cannot_command_a_terminal(self, command: Command):
        """Nor can the name of a file that is not there."""
        failed = command("content", "file-1", "-o", "no\x1b[31m\nwhere/x")

        assert failed.status == 1
        assert failed.error.isprintable()

    @pytest.mark.usefixtures("url")
    def test_a_configuration_that_dlt_cannot_read_is_one_line(self):
        """What is wrong, without a traceback, although dlt fails before anything of ours has begun."""
        Path(".dlt").mkdir()
        Path(".dlt/config.toml").write_text("[sources")

        failed = finish(start("sync"))

        assert failed.status == 1
        assert "config.toml" in failed.error
        assert "FILES_SOURCE_TRACEBACK=1 shows where it comes from" in failed.error


class TestStatusOf:
    """How any end becomes a status."""

    @pytest.mark.parametrize(
        ("error", "status", "said"),
        [
            (KeyboardInterrupt(), 130, "error: interrupted\n"),
            (Interrupted("all is well"), 130, "error: interrupted: all is well\n"),
            (BrokenPipeError(), 0, ""),
            (OSError("no number, no name"), 1, "error: OSError: no number, no name; "),
            (OSError(28, "No space left on device"), 1, "error: No space left on device\n"),
            (OSError(2, "No such file or directory", "a.txt"), 1, "error: a.txt: No such file or directory\n"),
            (OSError(2, "No such file or directory", Path("a.txt")), 1, "error: a.txt: No such file or directory\n"),
            (ValueError("a\n\x1b" + "x" * 500), 1, "error: ValueError: a xxx"),
        ],
        ids=lambda given: type(given).__name__ if isinstance(given, BaseException) else "",
    )
    def test_an_error_is_one_line_and_a_status(
        self, error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
    ):
        """Foreseen or not."""

        def fail() -> None:
            raise error

        ended = status_of(fail)

        shown = capsys.readouterr().err
        assert ended == status
        assert shown.startswith(said)
        assert shown.count("\n") == (1 if said else 0)
        assert len(shown) < 400

    def test_who_looks_for_a_bug_gets_the_traceback(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ):
        """FILES_SOURCE_TRACEBACK shows where what was not foreseen comes from, but no password that it quotes."""
        monkeypatch.setenv("FILES_SOURCE_TRACEBACK", "1")

        def fail() -> None:
            raise ZeroDivisionError("postgresql://me:hunter2@localhost/db")

        ended = status_of(fail)

        shown = capsys.readouterr().err
        assert ended == 1
        assert shown.startswith("Traceback")
        assert "in fail" in shown
        assert shown.endswith("ZeroDivisionError: postgresql://localhost/db\n")

    def test_the_statuses_are_those_of_the_documentation(self):
        """Scripts rely on them."""
        assert (exits.FAILED, exits.WRONG_USAGE, exits.INTERRUPTED) == (1, 2, 130)


class TestInterrupted:
    """Ctrl-C."""

    @pytest.mark.usefixtures("url")
    def test_what_has_come_is_shown_and_the_rest_given_up(self, emulator: Emulator):
        """A listing that waits for its second page has printed its first; one line, status 130."""
        emulator.add_many(5, created_at=NOW)
        asked = Event()
        emulator.fail(hang_and_tell(asked), at=2)
        process = start("list", "--limit", "3")

        assert process.stdout
        first = [process.stdout.readline() for _ in range(3)]
        assert asked.wait(30)
        process.send_signal(SIGINT)
        ended = finish(process)

        assert [json.loads(line)["id"] for line in first] == emulator.ids()[:1:-1]
        assert (ended.status, ended.out, ended.error) == (130, "", "interrupted")


class TestServe:
    """`files-source serve`."""

    @pytest.mark.parametrize("number", [SIGINT, SIGTERM], ids=lambda number: number.name)
    def test_it_answers_until_it_is_told_to_stop(self, number: Signals):
        """It says where it is; the end is quiet, and status 0."""
        process = start("serve", "--port", "0", "--files", "12")
        assert process.stdout
        told, export = process.stdout.readline(), process.stdout.readline()

        url = export.removeprefix("  export OPENAI_BASE_URL=").strip()
        files = httpx.get(f"{url}/files").json()["data"]
        process.send_signal(number)
        ended = finish(process)

        assert told == f"12 files at {url} until Ctrl-C; to use them:\n"
        assert len(files) == 12
        assert ended == Ended(0, "", "")

    def test_a_port_that_is_taken_is_one_line(self, url: str, capsys: pytest.CaptureFixture[str]):
        """It says what to do."""
        port = httpx.URL(url).port

        refused = run(capsys, "serve", "--port", str(port), "--files", "0")

        assert (refused.status, refused.out) == (1, "")
        assert refused.error == f"port {port}: address already in use; name another with --port, or 0 for any free one"


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
