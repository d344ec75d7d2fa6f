from __future__ import annotations

import csv
import io
import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from files_source.cli import main
from files_source.emulator import ABSENT, Emulator, cut_short, status
from tests.commands import PROGRAM, Ended, finish, run, start
from tests.conftest import NOW

Command = Callable[..., Ended]

NASTY = "\x1b]0;owned\x07\x9b31m\u202egpj.exe\r\n=cmd\t\u2028\ud800é製"


class TestHelp:
    """What the program says of itself."""

    def test_without_a_command_it_explains_itself(self, capsys: pytest.CaptureFixture[str]):
        """Nothing to do is no mistake: the help, and status 0."""
        nothing, asked = run(capsys), run(capsys, "--help")

        assert nothing == asked
        assert asked.status == 0
        assert asked.out.startswith("Usage: files-source [OPTIONS] COMMAND [ARGS]...")

    def test_no_line_of_help_is_cut_off(self, capsys: pytest.CaptureFixture[str]):
        """Every command says in one line what it does."""
        shown = run(capsys, "--help")

        assert "..." not in shown.out.partition("Commands:")[2]

    def test_it_can_be_called_where_output_is_no_stream_of_bytes(self):
        """As in a notebook."""
        with redirect_stdout(io.StringIO()) as shown, pytest.raises(SystemExit) as end:
            main(["--help"])

        assert end.value.code == 0
        assert shown.getvalue().startswith("Usage: files-source")

    def test_it_starts_fast(self):
        """The help takes less than 0.3 s of CPU in a process of its own, at best of three."""
        spent = [cpu_seconds([str(PROGRAM), "--help"]) for _ in range(3)]

        assert min(spent) < 0.3

    @pytest.mark.usefixtures("url")
    def test_commands_that_load_nothing_import_no_loader(self, emulator: Emulator):
        """Neither dlt nor polars nor DuckDB costs time where nothing needs it."""
        emulator.add(file_id="file-1", content=b"x")
        Path("a.txt").write_text("a")
        commands = [
            "--help",
            "list",
            "list --format table",
            "get file-1",
            "content file-1",
            "upload a.txt --purpose batch",
            "delete --yes file-1",
        ]
        script = (
            "import sys\n"
            "from files_source.cli import main\n"
            "for command in sys.argv[1:]:\n"
            "    try: main(command.split())\n"
            "    except SystemExit as end: status = end.code\n"
            "    print(command, status, {'dlt', 'polars', 'duckdb'} & set(sys.modules), file=sys.stderr)\n"
        )

        done = subprocess.run([sys.executable, "-c", script, *commands], capture_output=True, text=True, check=True)

        assert done.stderr.splitlines() == [f"{command} 0 set()" for command in commands]


class TestList:
    """`files-source list`."""

    def test_a_file_is_a_line_just_as_the_api_gave_it(self, emulator: Emulator, command: Command):
        """Unknown fields, spelling of numbers, order of fields and text stay; line breaks between them go."""
        emulator.fail(status(200, body=PRETTY))

        listed = command("list")

        assert listed == Ended(0, COMPACT, "")

    def test_every_file_is_listed_once_newest_first(self, emulator: Emulator, command: Command):
        """However many pages there are."""
        emulator.populate(2_500, start=NOW - 86_400, end=NOW)

        listed = command("list", "--limit", "1000")

        assert [json.loads(line) for line in listed.lines] == emulator.files()[::-1]
        assert len(emulator.requests) == 3

    @pytest.mark.parametrize(
        ("flags", "asked", "expected"),
        [
            pytest.param([], {}, [4, 3, 2, 1, 0], id="nothing"),
            pytest.param(["--after", "file-2"], {"after": "file-2"}, [1, 0], id="after"),
            pytest.param(["--order", "asc"], {"order": "asc"}, [0, 1, 2, 3, 4], id="order"),
            pytest.param(
                ["--order", "asc", "--after", "file-2"], {"order": "asc", "after": "file-2"}, [3, 4], id="both"
            ),
            pytest.param(["--purpose", "vision"], {"purpose": "vision"}, [3, 1], id="purpose"),
            pytest.param(["--purpose", "no such"], {"purpose": "no such"}, [], id="another purpose"),
            pytest.param(["--limit", "7"], {"limit": "7"}, [4, 3, 2, 1, 0], id="limit"),
        ],
    )
    def test_flags_are_the_parameters_of_the_api(
        self, flags: list[str], asked: dict[str, str], expected: list[int], emulator: Emulator, command: Command
    ):
        """`--after`, `--limit`, `--order` and `--purpose` reach the server under those names."""
        for number in range(5):
            emulator.add(file_id=f"file-{number}", created_at=NOW + number, purpose="vision" if number % 2 else "batch")

        listed = command("list", *flags)

        assert [json.loads(line)["id"] for line in listed.lines] == [f"file-{number}" for number in expected]
        assert emulator.requests[0].query == {"limit": "10000", "order": "desc"} | asked

    @pytest.mark.parametrize("form", ["jsonl", "table", "csv"])
    @pytest.mark.parametrize(
        ("most", "limit", "asked"),
        [
            pytest.param(3, None, ["3"], id="less than a page"),
            pytest.param(3, 2, ["2", "2"], id="more than a page"),
            pytest.param(4, 2, ["2", "2"], id="whole pages"),
            pytest.param(99, None, ["99"], id="more than there are"),
            pytest.param(20_000, None, ["10000"], id="more than the API gives"),
        ],
    )
    def test_no_more_is_asked_for_than_is_shown(
        self, *, most: int, limit: int | None, asked: list[str], form: str, emulator: Emulator, command: Command
    ):
        """`--max-items` makes a page no larger than needed, and asks for none after the last."""
        emulator.add_many(10, created_at=NOW)
        size = [] if limit is None else ["--limit", str(limit)]

        listed = command("list", "--format", form, "--max-items", str(most), *size)

        assert len(listed.lines) == min(most, 10) + (form != "jsonl")
        assert [request.query["limit"] for request in emulator.requests] == asked

    def test_a_page_is_shown_before_the_next_is_asked_for(self, emulator: Emulator, command: Command):
        """What has come is printed, whatever goes wrong later."""
        emulator.add_many(5, created_at=NOW)
        emulator.fail(status(400), at=2)

        listed = command("list", "--limit", "3")

        assert listed.status == 1
        assert len(listed.lines) == 3
        assert "answered 400" in listed.error

    def test_a_table_has_a_line_for_each_file_under_one_header(self, emulator: Emulator, command: Command):
        """Columns stand in line from page to page, and the filename, of any length, comes last."""
        long = "x" * 300
        emulator.add(file_id="file-1", created_at=NOW, filename="a.jsonl", expires_at=NOW + 60)
        emulator.add(file_id="file-2", created_at=NOW + 1, filename=long, size=512_000_000, status=ABSENT)

        listed = command("list", "--format", "table", "--limit", "1")

        assert [line.split() for line in listed.lines] == [
            ["id", "bytes", "created_at", "purpose", "status", "expires_at", "filename"],
            ["file-2", "512000000", "2023-11-14", "22:13:21Z", "batch", long],
            ["file-1", "1000", "2023-11-14", "22:13:20Z", "batch", "processed", "2023-11-14", "22:14:20Z", "a.jsonl"],
        ]
        assert (
            len({line.find(name) for line, name in zip(listed.lines, ["filename", long, "a.jsonl"], strict=True)}) == 1
        )

    def test_a_table_makes_room_for_what_is_long(self, emulator: Emulator, command: Command):
        """An id is never cut: it is there to be copied."""
        emulator.add(file_id="assistant-file-" + "x" * 60, filename="a.jsonl")

        listed = command("list", "--format", "table")

        assert "assistant-file-" + "x" * 60 in listed.lines[1]
        assert listed.lines[0].find("filename") == listed.lines[1].find("a.jsonl")

    def test_csv_has_all_columns_and_gives_every_value_back(self, emulator: Emulator, command: Command):
        """Quotes, commas and line breaks in a filename, unknown fields, and nothing for null."""
        emulator.add(file_id="file-1", created_at=NOW, filename='a,"b"\r\nc\rd', shelf=[1], size=7)

        listed = command("list", "--format", "csv")

        assert list(csv.DictReader(io.StringIO(listed.out, newline=""))) == [
            {
                "id": "file-1",
                "bytes": "7",
                "created_at": "2023-11-14 22:13:20Z",
                "purpose": "batch",
                "status": "processed",
                "expires_at": "",
                "filename": 'a,"b"\r\nc\rd',
                "status_details": "",
                "extra": '{"shelf":[1]}',
            }
        ]

    def test_csv_has_one_header_over_all_pages(self, emulator: Emulator, command: Command):
        """Two pages are one table."""
        emulator.add_many(4, created_at=NOW)

        listed = command("list", "--format", "csv", "--limit", "2")

        assert [row["id"] for row in csv.DictReader(listed.lines)] == emulator.ids()[::-1]

    @pytest.mark.parametrize("prefix", list("=+-@\t\r\n"))
    def test_csv_holds_no_formula(self, prefix: str, emulator: Emulator, command: Command):
        """A filename that a spreadsheet would run is text."""
        emulator.add(filename=f"{prefix}HYPERLINK(1)", status_details=f"{prefix}1")

        listed = command("list", "--format", "csv")

        (row,) = csv.DictReader(io.StringIO(listed.out, newline=""))
        assert row["filename"] == f"'{prefix}HYPERLINK(1)"
        assert row["status_details"] == f"'{prefix}1"

    def test_a_table_shows_no_raw_control_character(self, emulator: Emulator, command: Command):
        """Terminal escapes, line breaks and right-to-left marks in any field are spelled out."""
        emulator.add(file_id="file-\x1b1", filename=NASTY, purpose="\x1b[31mred", status="\x07")

        listed = command("list", "--format", "table")

        assert len(listed.lines) == 2
        assert listed.lines[1].isprintable()
        assert listed.lines[1].endswith(r"\u001b]0;owned\u0007\u009b31m\u202egpj.exe\r\n=cmd\t\u2028\ud800é製")

    @pytest.mark.parametrize("form", ["jsonl", "csv"])
    def test_a_pipe_gets_the_very_characters(self, form: str, emulator: Emulator, command: Command):
        """Data is not changed on its way to a program."""
        emulator.add(filename="a\x7f\x9b\u202eb")

        listed = command("list", "--format", form)

        assert "a\x7f\x9b\u202eb" in listed.out

    @pytest.mark.parametrize("form", ["jsonl", "csv"])
    def test_a_terminal_gets_no_raw_control_character(
        self, form: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """Where a person looks at the data, it is spelled out as JSON does; the data stays the same to JSON."""
        emulator.add(filename="a\x7f\x9b\x1b\u202eb", shelf="\x1b\n")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

        listed = command("list", "--format", form)

        assert all(line.isprintable() for line in listed.out.split("\n"))
        if form == "jsonl":
            assert json.loads(listed.out) == emulator.files()[0]

    @pytest.mark.parametrize(("form", "lines"), [("jsonl", 0), ("table", 1), ("csv", 1)])
    def test_no_files_are_no_lines(self, form: str, lines: int, command: Command):
        """An empty account is listed without a word, but for the names of columns."""
        listed = command("list", "--format", form)

        assert (listed.status, len(listed.lines), listed.err) == (0, lines, "")

    @pytest.mark.parametrize("form", ["table", "csv"])
    def test_an_empty_page_among_others_changes_nothing(self, form: str, emulator: Emulator, command: Command):
        """A page without files, such as some servers send at the end, is no line and no error."""
        emulator.add_many(2, created_at=NOW)
        emulator.fail(status(200, body='{"data": [], "has_more": false}'), at=3)

        listed = command("list", "--format", form, "--limit", "1")

        assert len(listed.lines) == 3


@pytest.mark.usefixtures("url")
class TestPipes:
    """What becomes of output that nobody reads to its end."""

    @pytest.mark.parametrize(
        "flags",
        [pytest.param([], id="many pages"), pytest.param(["--max-items", "1"], id="less than a buffer")],
    )
    def test_a_reader_that_has_seen_enough_is_no_error(self, flags: list[str], emulator: Emulator):
        """`list | head -1` ends quietly."""
        emulator.add_many(3_000, created_at=NOW)
        reader, writer = os.pipe()
        os.close(reader)

        ended = finish(start("list", "--limit", "1000", *flags, stdout=writer))
        os.close(writer)

        assert (ended.status, ended.err) == (0, "")

    @pytest.mark.parametrize("arguments", [["list"], ["--help"], []], ids=str)
    def test_output_that_cannot_be_written_is_an_error(self, arguments: list[str], emulator: Emulator):
        """A disk that is full is told in one line."""
        emulator.add(file_id="file-1")
        with Path("/dev/full").open("w") as full:
            ended = finish(start(*arguments, stdout=full))

        assert (ended.status, ended.error) == (1, "No space left on device")

    def test_any_text_can_be_written_in_any_locale(self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch):
        """JSON is UTF-8, whatever the terminal's language."""
        emulator.add(filename="製品é")
        monkeypatch.setenv("PYTHONIOENCODING", "latin-1")

        ended = finish(start("list", encoding="utf-8"))

        assert (ended.status, json.loads(ended.out)["filename"]) == (0, "製品é")


class TestGet:
    """`files-source get`."""

    @pytest.mark.parametrize(
        "file_id", ["file-1", "a b/../c?d#e", "日本語", "-"], ids=["plain", "odd", "foreign", "dash"]
    )
    def test_a_file_object_is_printed(self, file_id: str, emulator: Emulator, command: Command):
        """Whatever its id is made of."""
        file = emulator.add(file_id=file_id, filename="ü\x1b", shelf={"row": 1})

        shown = command("get", "--", file_id)

        assert (shown.status, json.loads(shown.out), shown.err) == (0, file, "")


class TestContent:
    """`files-source content`."""

    BYTES = bytes(range(256)) * 1000

    @pytest.mark.usefixtures("url")
    def test_the_bytes_go_to_standard_output_as_they_are(
        self, emulator: Emulator, capsysbinary: pytest.CaptureFixture[bytes]
    ):
        """No text, no line ends, nothing else."""
        emulator.add(file_id="file-1", content=self.BYTES)

        shown = run(capsysbinary, "content", "file-1")  # type: ignore[arg-type]

        assert (shown.status, shown.out, shown.err) == (0, self.BYTES, b"")

    @pytest.mark.parametrize("flag", ["-o", "--output"])
    def test_a_file_is_written_where_the_user_says(self, flag: str, emulator: Emulator, command: Command):
        """The name on the server has no say in it, and nothing else is left there."""
        emulator.add(file_id="file-1", filename="../../evil", content=self.BYTES)

        written = command("content", "file-1", flag, "here.bin")

        assert written == Ended(0, "", "")
        assert Path("here.bin").read_bytes() == self.BYTES
        assert [path.name for path in Path().iterdir()] == ["here.bin"]
        assert stat.S_IMODE(Path("here.bin").stat().st_mode) == 0o666 & ~umask()

    @pytest.mark.parametrize("earlier", [None, b"earlier"], ids=["nothing there", "a file there"])
    def test_a_download_that_breaks_off_leaves_what_was_there(
        self, earlier: bytes | None, emulator: Emulator, command: Command
    ):
        """A file is written whole or not at all."""
        emulator.add(file_id="file-1", content=self.BYTES)
        emulator.fail(cut_short(), path="*/content")
        if earlier is not None:
            Path("here.bin").write_bytes(earlier)

        broken = command("content", "file-1", "--output", "here.bin")

        assert broken.status == 1
        assert "broke off" in broken.error
        assert {path.name: path.read_bytes() for path in Path().iterdir()} == ({"here.bin": earlier} if earlier else {})

    def test_a_link_stays_and_what_it_points_to_is_written(self, emulator: Emulator, command: Command):
        """A link is a place that the user chose."""
        emulator.add(file_id="file-1", content=b"new")
        Path("data").mkdir()
        Path("link").symlink_to("data/here.bin")

        command("content", "file-1", "-o", "link")

        assert Path("link").is_symlink()
        assert Path("data/here.bin").read_bytes() == b"new"

    def test_a_device_is_written_to_and_not_replaced(self, emulator: Emulator, command: Command):
        """`--output /dev/null` must leave /dev/null a device."""
        emulator.add(file_id="file-1", content=b"new")

        written = command("content", "file-1", "-o", "/dev/null")

        assert written == Ended(0, "", "")
        assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)

    @pytest.mark.parametrize(
        ("place", "status", "said"),
        [
            ("folder", 2, "folder is a folder: name the file to write"),
            ("nowhere/here.bin", 1, "nowhere/here.bin: No such file or directory"),
        ],
        ids=["a folder", "a folder that is missing"],
    )
    def test_a_place_that_cannot_be_written_is_named_before_anything_is_asked(
        self, place: str, status: int, said: str, emulator: Emulator, command: Command
    ):
        """No download is thrown away."""
        Path("folder").mkdir()

        refused = command("content", "file-1", "-o", place)

        assert (refused.status, refused.error) == (status, said)
        assert emulator.requests == []


class TestUpload:
    """`files-source upload`."""

    def test_a_file_is_uploaded_under_its_own_name(self, emulator: Emulator, command: Command):
        """Its folder stays here; what is printed is the new File object."""
        Path("data").mkdir()
        Path("data/questions.jsonl").write_bytes(b"\x00\xff")

        sent = command("upload", "data/questions.jsonl", "--purpose", "vision")

        file = json.loads(sent.out)
        assert (sent.status, sent.err) == (0, "")
        assert file == emulator.file(file["id"])
        assert (file["filename"], file["purpose"], file["expires_at"]) == ("questions.jsonl", "vision", None)
        assert emulator.content(file["id"]) == b"\x00\xff"

    def test_it_may_expire(self, command: Command):
        """`--expires-after` counts from now on the server's clock."""
        Path("a.txt").write_text("a")

        sent = command("upload", "a.txt", "--purpose", "user_data", "--expires-after", "3600")

        assert json.loads(sent.out)["expires_at"] == NOW + 3600

    @pytest.mark.parametrize(
        ("path", "flags", "status", "said"),
        [
            ("missing.txt", ["--purpose", "batch"], 2, "cannot read missing.txt: No such file or directory"),
            ("a.txt", [], 2, "Missing option '--purpose'; see files-source upload --help"),
            ("a.txt", ["--purpose", "nonsense"], 1, "'nonsense' is not one of"),
            ("a.txt", ["--purpose", "batch", "--expires-after", "1"], 1, "expected 3600 to 2592000, but got 1"),
        ],
        ids=["no file", "no purpose", "a purpose unknown to the server", "a life too short for the server"],
    )
    def test_a_mistake_is_told_in_one_line(
        self, *, path: str, flags: list[str], status: int, said: str, emulator: Emulator, command: Command
    ):
        """Nothing is uploaded."""
        Path("a.txt").write_text("a")

        refused = command("upload", path, *flags)

        assert refused.status == status
        assert said in refused.error
        assert emulator.ids() == []


class TestDelete:
    """`files-source delete`."""

    @pytest.mark.parametrize("yes", ["y\n", "Y\n", "yes\n", " YES "])
    def test_it_asks_and_deletes_when_told_so(
        self, yes: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """The question goes to standard error: standard output is for data."""
        emulator.add(file_id="file-1")
        monkeypatch.setattr("sys.stdin", io.StringIO(yes))

        done = command("delete", "file-1")

        assert json.loads(done.out) == {"id": "file-1", "object": "file", "deleted": True}
        assert (done.status, done.err) == (0, "Delete 'file-1' for good? [y/N] ")
        assert emulator.ids() == []

    @pytest.mark.parametrize("answer", ["n\n", "\n", "", "nyes\n"], ids=["no", "nothing", "the end", "a slip"])
    def test_it_deletes_nothing_otherwise(
        self, answer: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """Whatever is not yes is no: nothing is asked of the server, and the status is 1."""
        emulator.add(file_id="file-1")
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))

        done = command("delete", "file-1")

        assert (done.status, done.out) == (1, "")
        assert done.err.endswith("error: nothing was deleted: answer y, or give --yes\n")
        assert emulator.requests == []

    @pytest.mark.parametrize("flag", ["--yes", "-y"])
    def test_it_can_be_told_not_to_ask(self, flag: str, emulator: Emulator, command: Command):
        """For scripts."""
        emulator.add(file_id="file-1")

        done = command("delete", flag, "file-1")

        assert (done.status, done.err) == (0, "")
        assert emulator.ids() == []

    def test_the_question_cannot_command_a_terminal(self, command: Command, monkeypatch: pytest.MonkeyPatch):
        """An id that was copied from somewhere is shown as it is."""
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

        done = command("delete", "file-\x1b[2J\u202e")

        assert all(line.isprintable() for line in done.err.splitlines())


def cpu_seconds(arguments: list[str]) -> float:
    """Return the CPU time that a program takes, user's and system's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(arguments, stdout=subprocess.DEVNULL, check=True, env=without_coverage())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def without_coverage() -> dict[str, str]:
    """Return the environment without what measures coverage in subprocesses: that takes time of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


PRETTY = """{
  "object": "list",
  "data": [
    {
      "id": "file-2", "bytes": 1e3, "created_at": 1790000000, "filename": "\\u00fc \\"  a\\n.jsonl",
      "object": "file", "purpose": "batch",
      "score": 1.50, "large": 123456789012345678901234567890, "nested": { "b": [ 1, 2.0 ], "a": null }
    },
    {"purpose":"vision","object":"file","filename":"é","created_at":1790000000,"bytes":null,"id":"file-1"}
  ],
  "has_more": false
}
"""
COMPACT = (
    '{"id":"file-2","bytes":1e3,"created_at":1790000000,"filename":"\\u00fc \\"  a\\n.jsonl",'
    '"object":"file","purpose":"batch",'
    '"score":1.50,"large":123456789012345678901234567890,"nested":{"b":[1,2.0],"a":null}}\n'
    '{"purpose":"vision","object":"file","filename":"é","created_at":1790000000,"bytes":null,"id":"file-1"}\n'
)
