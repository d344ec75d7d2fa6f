"""Places as people give them: text, paths, URLs of local files, and the home folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from files_source import Cleanup, read_files, read_inventory, read_table, scan_files, sync
from files_source.cli import main
from files_source.client import FilesClient
from files_source.emulator import Emulator
from files_source.errors import ConfigError
from files_source.inventories import stored
from files_source.places import place_of
from files_source.report import recorded
from files_source.tables import parquet_query, scan_stored
from tests.conftest import NOW

Connect = Callable[..., FilesClient]


class OtherPath(os.PathLike[str]):
    """A path of another library."""

    def __init__(self, text: str | bytes) -> None:
        self._text = text

    def __fspath__(self) -> str:
        return self._text  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"OtherPath({self.__fspath__()!r})"


@pytest.mark.parametrize(
    ("given", "kind", "address"),
    [
        (Path("a.duckdb"), "database", "a.duckdb"),
        (Path("lake"), "lake", "lake/"),
        (Path("lake.v1/"), "lake", "lake.v1/"),
        (Path("/"), "lake", "/"),
        (OtherPath("a.db"), "database", "a.db"),
        (OtherPath("lake/"), "lake", "lake/"),
        (Path("~/a.duckdb"), "database", "{home}/a.duckdb"),
        ("~/a.duckdb", "database", "{home}/a.duckdb"),
        ("~/lake/", "lake", "{home}/lake/"),
        ("parquet:~/lake", "lake", "{home}/lake"),
        ("file:///srv/my%20lake", "lake", "/srv/my lake/"),
        ("file:///srv/a.duckdb", "database", "/srv/a.duckdb"),
        ("parquet:file:///srv/lake.db", "lake", "/srv/lake.db/"),
        ("s3://bucket/~/a%20b.duckdb", "lake", "s3://bucket/~/a%20b.duckdb"),
        ("postgres", "name", "postgres"),
    ],
    ids=ascii,
)
def test_a_place_is_known_by_how_it_is_given(given: str | Path, kind: str, address: str):
    """A path without a database's suffix is a folder; `~` is the home folder, be it text or a path."""
    place = place_of(given)

    assert (place.kind, place.address) == (kind, address.format(home=Path.home()))


@pytest.mark.parametrize(
    ("given", "there"),
    [
        (Path("a.duckdb"), "a.duckdb"),
        (OtherPath("lake"), "lake/openai_files"),
        ("~/lake/", "{home}/lake/openai_files"),
        ("file://{here}/my%20lake", "my lake/openai_files"),
    ],
    ids=ascii,
)
def test_every_function_takes_the_same_place(given: object, there: str, emulator: Emulator, connect: Connect):
    """What is loaded into it is read from it, and lies where it says."""
    home = Path.home()
    home.mkdir()
    place: Path = given.format(here=Path.cwd()) if isinstance(given, str) else given  # type: ignore[assignment]
    ids = sorted(emulator.populate(5, start=NOW - 1_000, end=NOW - 900))

    sync(place, client=connect())
    sync(place, client=connect(), history=True)

    assert Path(there.format(home=home)).exists()
    assert sorted(path.name for path in Path.cwd().iterdir() if "%" in path.name or path.name == "~") == []
    for frame in (read_table(place), read_files(place), scan_files(place).collect(), scan_stored(place).collect()):
        assert sorted(frame["id"]) == ids
    assert sorted(read_inventory(place)["id"]) == ids
    assert stored(place).files.height == 5
    assert recorded(place) is None or recorded(place)["id"].n_unique() == 5  # type: ignore[index]
    cleanup = Cleanup(client=connect())
    with cleanup.into(place) as record, cleanup.candidates() as found:
        assert cleanup.delete(found, record).deleted == 5
    assert sorted(read_table(place, "deletions")["id"]) == ids


def test_a_lake_is_queried_by_its_path():
    """As by its name."""
    assert parquet_query(Path("lake")) == parquet_query("lake/") == parquet_query()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "'' is no place: give a path, a URL or a name"),
        (b"a.duckdb", r"\(bytes\) is no place"),
        (OtherPath(b"a.duckdb"), r"\(OtherPath\) is no place"),
        (5, r"\(int\) is no place"),
        ("a\0.duckdb", r"'a\\x00.duckdb' is no place"),
        (Path("s3://bucket/lake"), "s3:/bucket/lake is no place: give a URL as text, for a path loses one of its"),
        (Path("parquet:s3://bucket/lake"), "give a URL as text"),
    ],
    ids=ascii,
)
def test_what_is_no_place_is_told(given: Path, message: str):
    """By every function, before anything is made."""
    for call in (
        sync,
        read_table,
        read_inventory,
        read_files,
        stored,
        lambda to: Cleanup(api_key="a").into(to).__enter__(),
        lambda place: scan_files(place).collect(),
    ):
        with pytest.raises(ConfigError, match=message):
            call(given)

    assert list(Path.cwd().iterdir()) == []


@pytest.mark.usefixtures("url")
def test_the_command_line_knows_the_home_folder(emulator: Emulator, capsys: pytest.CaptureFixture[str]):
    """A shell does not spell it out behind `--to=`."""
    Path.home().mkdir()
    emulator.populate(3, start=NOW - 1_000, end=NOW - 900)

    for arguments in (["sync", "--to=~/a.duckdb"], ["usage", "--from=~/a.duckdb"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert not end.value.code

    assert f"3 files into {Path.home()}/a.duckdb in " in capsys.readouterr().out
    assert Path.home().joinpath("a.duckdb").exists()
