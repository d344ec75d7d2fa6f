from __future__ import annotations

import ast
import re
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from files_source import read_table
from files_source.emulator import Emulator
from tests.conftest import NOW, loaded

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CHARTS = {"files_inventory": 0, "storage_usage": 8, "files_history": 10}
LOGIC = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.For, ast.AsyncFor, ast.While, ast.comprehension, ast.Try, ast.Match),
)
SUMS = {"group_by", "group_by_dynamic", "agg", "over", "rolling"}
"""What gathers rows, which takes care of sizes that are not known."""
SVG = "image/svg+xml"
MARK = re.compile(r'<path[^>]* d="M[^"]+"[^>]*(fill|stroke)="#0072b2"')
"""A bar, an area or a line in the first colour of every chart."""


@pytest.fixture(autouse=True)
def home() -> None:
    """Give the kernel a home to live in."""
    Path.home().mkdir()


@pytest.fixture
def account(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """Name an account and its key in the environment; its sizes are not all known."""
    emulator.api_key = "sk-right"
    emulator.populate(300, start=NOW - 86_400, end=NOW - 61)
    emulator.add(created_at=NOW - 61, bytes=None)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
    return emulator


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_result_is_committed(path: Path):
    """A result is made by whoever runs the notebook; a diff shows what a person wrote."""
    notebook = nbformat.read(path, as_version=4)

    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_only_calls_what_the_package_can_do(path: Path):
    """Whatever has logic belongs into the package, where it is tested."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]

    logic = [ast.unparse(node) for cell in cells for node in ast.walk(ast.parse(cell)) if is_logic(node)]

    assert cells != []
    assert logic == []


def test_the_inventory_runs_top_to_bottom_without_a_key():
    """On a made-up account; run once more, it loads nothing and shows the same."""
    first, again = run_twice("files_inventory")

    assert (first[0], again[0]) == ("'5,000 new files'", "'0 new files'")
    assert first[1:] == again[1:]
    assert len(loaded("made_up.duckdb")) == 5_000


def test_storage_usage_runs_top_to_bottom_without_a_key():
    """On made-up accounts that are the same when they are listed again, as is every figure and chart."""
    first, again = run_twice("storage_usage")

    assert first == again
    assert "20000" in first[1]
    assert drawn_in(first) == CHARTS["storage_usage"]
    assert list(Path.cwd().iterdir()) == []


def test_the_history_runs_top_to_bottom_without_a_key():
    """On a made-up account that changes between three runs; run once more, it begins anew."""
    first, again = run_twice("files_history")

    assert first[0] == again[0] == "'5,000 files'"
    assert drawn_in(first) == drawn_in(again) == CHARTS["files_history"]
    assert ">created</text>" in first[4]
    assert ">changed</text>" in first[4]
    assert ">deleted</text>" in first[4]
    assert ">expires_at</text>" in first[8]
    assert first[3] != first[2]  # what was there then, and what is there now
    assert read_table("made_up_history.duckdb", "scans")["mode"].to_list() == ["history"] * 3
    assert not Path("inventory.duckdb").exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_on_the_account_of_the_environment(path: Path, account: Emulator, monkeypatch: pytest.MonkeyPatch):
    """With a key it is that account, unknown sizes included, and it is only listed."""
    ids = account.ids()

    with account.serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        results = results_of(nbformat.read(path, as_version=4))

    assert charts_of(results) == CHARTS[path.stem]
    assert {(request.method, request.path) for request in account.requests} == {("GET", "/v1/files")}
    assert account.ids() == ids
    assert not list(Path.cwd().glob("made_up*"))


def test_with_a_key_what_was_made_up_before_stays(account: Emulator, monkeypatch: pytest.MonkeyPatch):
    """The notebook has nothing to make room for."""
    Path("made_up_history.duckdb").write_text("mine")

    with account.serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        results_of(nbformat.read(FOLDER / "files_history.ipynb", as_version=4))

    assert Path("made_up_history.duckdb").read_text() == "mine"


def test_with_a_key_the_inventory_and_the_history_are_kept(account: Emulator, monkeypatch: pytest.MonkeyPatch):
    """Both notebooks load into one database; a run of either makes one run."""
    with account.serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        results_of(nbformat.read(FOLDER / "files_inventory.ipynb", as_version=4))
        results_of(nbformat.read(FOLDER / "files_history.ipynb", as_version=4))

    assert loaded("inventory.duckdb") == sorted(account.ids())
    assert sorted(read_table("inventory.duckdb", "files_history")["id"]) == sorted(account.ids())
    assert sorted(read_table("inventory.duckdb", "scans")["mode"]) == ["history", "incremental"]


def is_logic(node: ast.AST) -> bool:
    return isinstance(node, LOGIC) or (isinstance(node, ast.Attribute) and node.attr in SUMS)


def run_twice(name: str) -> tuple[list[str], list[str]]:
    """Run a notebook's cells and then the same again, and return the results of each time."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    notebook.cells += deepcopy(notebook.cells)
    results = results_of(notebook)
    return results[: len(results) // 2], results[len(results) // 2 :]


def results_of(notebook: nbformat.NotebookNode) -> list[str]:
    """Run a notebook in the working folder, and return its cells' results: of a chart its SVG, of others their text."""
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute(cwd=str(Path.cwd()))
    for cell in notebook.cells:
        drawn = [SVG for output in cell.get("outputs", []) if SVG in output["data"]]
        assert drawn == [SVG] * ("\ncharts." in f"\n{cell.source}")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output for output in outputs if output.output_type != "execute_result"] == []
    return [output["data"].get(SVG, output["data"]["text/plain"]) for output in outputs]


def charts_of(results: list[str]) -> int:
    """Return how many results are charts."""
    return sum(result.startswith("<svg") for result in results)


def drawn_in(results: list[str]) -> int:
    """Return how many results are charts with something to see."""
    return sum(result.startswith("<svg") and bool(MARK.search(result)) for result in results)
