"""What the README says is true: its examples run, its made parts are current, its targets exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import dlt
import pytest

from files_source import cli
from files_source.emulator import Emulator
from tests.conftest import NOW
from tests.readme import README, written

TEXT = README.read_text()
MAKEFILE = README.with_name("Makefile").read_text()


def blocks(language: str) -> list[str]:
    """Return the README's examples in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def account(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Serve an account that holds what the examples name, to a key in the environment."""
    emulator.api_key = "sk-readme"
    emulator.populate(300, start=NOW - 365 * 86_400, end=NOW - 61)
    emulator.add(file_id="file-abc123", created_at=NOW - 120, purpose="batch", content=b'{"custom_id":"1"}\n')
    Path("requests.jsonl").write_text('{"custom_id":"1"}\n')
    with emulator.serve() as server, Emulator(api_key="sk-gateway").serve() as gateway:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-readme")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("RESEARCH_KEY", "sk-readme")
        monkeypatch.setenv("GATEWAY_KEY", "sk-gateway")
        (accounts,) = blocks("toml")
        Path("accounts.toml").write_text(accounts.replace("https://gateway.example/v1", gateway.url))
        yield emulator


def test_every_example_runs(account: Emulator, capsys: pytest.CaptureFixture[str]):
    """The shell commands, then the Python ones, in the README's order and in one folder, as a reader would."""
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("files-source ")]
    for command in commands:
        arguments, _, redirected = command.partition(" #")[0].partition(" > ")
        with pytest.raises(SystemExit) as end:
            cli.main(shlex.split(arguments)[1:])
        assert end.value.code == 0, (command, capsys.readouterr().err)
        if redirected:
            Path(redirected.strip()).write_text(capsys.readouterr().out)
    for example in blocks("python"):
        exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - what the README tells a reader to run

    assert len(commands) >= 11
    assert dlt.pipeline("files").last_trace.last_normalize_info.row_counts["files"] > 0
    assert "file-abc123" not in account.ids()
    assert all(request.status == 200 for request in account.requests)


def test_its_made_parts_are_current():
    """The table of columns and the block of --help are what `make readme` would write."""
    assert written(TEXT) == TEXT


def test_the_make_targets_it_names_exist():
    """Every `make TARGET` of the README is one."""
    named = set(re.findall(r"\bmake ([a-z-]+)", TEXT))

    assert {"demo", "test"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))


def test_the_files_it_names_exist():
    """Every module, folder and picture that the README names is there."""
    package = README.parent / "files_source"
    for name in re.findall(r"`([a-z_]+(?:\.py|/))`", TEXT):
        assert (package / name).exists() or (README.parent / name).exists(), name
    for target in re.findall(r"\]\((\.\w[^)]*)\)", TEXT):
        assert (README.parent / target).exists(), target


def test_the_environment_of_its_settings_is_read():
    """Every OPENAI_ variable of the README stands in the code."""
    code = "".join(path.read_text() for path in (README.parent / "files_source").rglob("*.py"))

    for name in set(re.findall(r"\bOPENAI_[A-Z_]+\b", TEXT)):
        assert name in code, name
