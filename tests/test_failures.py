"""The reason of a failure is the right one, and what to do is said."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from files_source.destinations import target
from files_source.emulator import Emulator
from tests.commands import PROGRAM, Ended
from tests.conftest import NOW

Command = Callable[..., Ended]
DAY = 86_400
POSTGRES = "DESTINATION__POSTGRES__CREDENTIALS"
FILESYSTEM = "DESTINATION__FILESYSTEM__CREDENTIALS"


@pytest.fixture(autouse=True)
def one_file(emulator: Emulator) -> None:
    emulator.add(created_at=NOW - DAY)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no folder that takes no files")
def test_a_place_that_takes_no_lock_is_not_taken_for_one_that_is_locked(command: Command):
    """Nobody else is there."""
    failed = command("sync", "--to", "/proc/x.duckdb")

    assert failed.status == 1
    assert failed.error.startswith("/proc/x.duckdb cannot be opened: /proc takes no new file, such as the lock .x.")


@pytest.mark.parametrize("lock", ["place", "folder"])
def test_another_run_is_told_where_there_is_one(lock: str, command: Command):
    """Whichever of the two locks it holds."""
    place = target("inventory.duckdb")
    place.working_folder.mkdir(parents=True)
    path = place.lock if lock == "place" else place.working_folder / "lock"

    with FileLock(str(path)):
        failed = command("sync")

    assert failed.error == "another run into inventory.duckdb is going on: wait for its end, and run again"


@pytest.mark.parametrize("blocked", ["dlt", "dlt/files-source", "dlt/files-source/{digest}/lock/x"])
def test_a_working_folder_that_cannot_be_used_names_its_variable(
    blocked: str, command: Command, monkeypatch: pytest.MonkeyPatch
):
    """The database is well: it is not there that the run fails."""
    monkeypatch.setenv("DLT_DATA_DIR", str(Path("dlt").resolve()))
    folder = target("inventory.duckdb").working_folder
    path = Path(blocked.format(digest=folder.name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()

    failed = command("sync")

    assert failed.status == 1
    assert failed.error.startswith(f"the folder {folder}, which a run into inventory.duckdb needs, cannot be used: ")
    assert failed.error.endswith("; set DLT_DATA_DIR to a folder that can be written, and run again")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file/x.duckdb", "Not a directory"),
        ("file/lake/", "Not a directory"),
        ("file/", "File exists"),
        ("missing/x.duckdb", "No such file or directory"),
    ],
)
def test_a_place_that_is_not_where_it_should_be_is_told_with_its_path(place: str, said: str, command: Command):
    """A file in place of a folder, or a folder that is missing."""
    Path("file").touch()

    failed = command("sync", "--to", place)

    assert failed.status == 1
    assert re.fullmatch(rf"{place} cannot be opened: .*{said}.*; fix this and run again", failed.error)


@pytest.mark.parametrize(
    ("place", "variables"),
    [
        ("postgres", "DESTINATION__POSTGRES__CREDENTIALS=postgresql://user:password@host:5432/database"),
        ("redshift", "DESTINATION__REDSHIFT__CREDENTIALS=postgresql://user:password@host:5439/database"),
        ("sqlalchemy", "DESTINATION__SQLALCHEMY__CREDENTIALS=mysql+pymysql://user:password@host:3306/database"),
        ("motherduck", "DESTINATION__MOTHERDUCK__CREDENTIALS__PASSWORD"),
        ("filesystem", "DESTINATION__FILESYSTEM__BUCKET_URL=s3://bucket/folder"),
        (
            "parquet:s3://bucket/x",
            f"{FILESYSTEM}__AWS_ACCESS_KEY_ID and {FILESYSTEM}__AWS_SECRET_ACCESS_KEY",
        ),
        ("postgresql://me@h/db", "DESTINATION__POSTGRES__CREDENTIALS__PASSWORD"),
        ("postgresql://h/db", f"{POSTGRES}__PASSWORD and {POSTGRES}__USERNAME"),
    ],
)
@pytest.mark.parametrize("arguments", ["sync --to", "usage --from"])
def test_a_destination_that_is_not_configured_names_what_to_set(
    arguments: str, place: str, variables: str, command: Command
):
    """The variable, its form, and one page."""
    refused = command(*arguments.split(), place)

    kind = "filesystem" if "s3" in place else place.partition("://")[0].replace("postgresql", "postgres")
    shown = place.removeprefix("parquet:").replace("me@", "")
    page = f"https://dlthub.com/docs/dlt-ecosystem/destinations/{kind}"
    assert refused.status == 2
    assert refused.error.removeprefix("parquet:") == (
        f"{shown} is not configured as dlt needs it: set {variables}; see {page}"
    )


def test_credentials_of_another_form_are_not_shown(command: Command, monkeypatch: pytest.MonkeyPatch):
    """What was given may be a password; what is right is said."""
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", "hunter2")

    refused = command("sync", "--to", "postgres")

    assert refused.status == 2
    assert (
        "DESTINATION__POSTGRES__CREDENTIALS: set it to postgresql://user:password@host:5432/database; see"
        in refused.error
    )
    assert "hunter2" not in refused.error


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("databricks", "needs the package databricks, which is not installed: pip install 'dlt[databricks]'"),
        ("mssql", "needs the package pyodbc, which is not installed: pip install pyodbc"),
        ("oracle://me@h/db", "needs the package"),
        ("trino://me@h/db", "needs a dialect of SQLAlchemy that is not installed: Can't load plugin"),
    ],
)
def test_a_package_that_is_missing_is_named(place: str, said: str, command: Command):
    """With what installs it."""
    refused = command("sync", "--to", place)

    assert refused.status == 2
    assert said in refused.error


@pytest.mark.usefixtures("url")
def test_a_reader_that_has_seen_enough_of_tables_is_no_failure(command: Command):
    """Rich, which draws them, ends a program with status 1 then."""
    command("sync")
    reader, writer = os.pipe()
    os.close(reader)

    with os.fdopen(writer, "w") as closed:
        ended = subprocess.run([PROGRAM, "usage"], stdout=closed, stderr=subprocess.PIPE, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
