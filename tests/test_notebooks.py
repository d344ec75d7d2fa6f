from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from files_source.emulator import Emulator
from tests.conftest import NOW, loaded

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def home() -> None:
    """Give the kernel a home to live in."""
    Path.home().mkdir()


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=4)


def test_no_result_is_committed(notebook: nbformat.NotebookNode):
    """A result is made by whoever runs the notebook; a diff shows what a person wrote."""
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


def test_it_runs_top_to_bottom_without_a_key(notebook: nbformat.NotebookNode):
    """On a made-up account; run once more, it loads nothing and shows the same."""
    notebook.cells += deepcopy(notebook.cells)

    results = results_of(notebook)

    first, again = results[: len(results) // 2], results[len(results) // 2 :]
    assert (first[0], again[0]) == ("'5,000 new files'", "'0 new files'")
    assert first[1:] == again[1:]
    assert len(loaded("made_up.duckdb")) == 5_000


def test_it_runs_on_the_account_of_the_environment(
    notebook: nbformat.NotebookNode, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
):
    """With a key it is that account, unknown sizes included."""
    emulator.api_key = "sk-right"
    emulator.populate(300, start=NOW - 86_400, end=NOW - 61)
    emulator.add(created_at=NOW - 61, bytes=None)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-right")

    with emulator.serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        results_of(notebook)

    assert loaded("inventory.duckdb") == sorted(emulator.ids())
    assert not Path("made_up.duckdb").exists()


def results_of(notebook: nbformat.NotebookNode) -> list[str]:
    """Run a notebook in the working folder, and return its cells' results as text."""
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute(cwd=str(Path.cwd()))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output for output in outputs if output.output_type != "execute_result"] == []
    return [output["data"]["text/plain"] for output in outputs]
