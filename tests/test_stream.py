from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from files_source import FILES, FilesStream
from files_source.emulator import Emulator, status
from tests.conftest import NOW
from tests.test_tables import TYPES

Rows = list[tuple[object, ...]]
Read = Callable[[FilesStream], Rows]


@pytest.fixture
def account(emulator: Emulator, url: str) -> Emulator:
    """Serve 25 files, with all that a column may hold, where the OPENAI_ variables look for them."""
    for number in range(24):
        emulator.add(created_at=NOW - number, size=number)
    emulator.add(created_at=NOW - 24, expires_at=NOW + 9, filename="ü\n", shelf=1, bytes=None, status_details="no")
    return emulator


def by_pyarrow(stream: FilesStream) -> Rows:
    return rows_of(pa.table(stream))


def by_pyarrow_in_batches(stream: FilesStream) -> Rows:
    return rows_of(pa.RecordBatchReader.from_stream(stream).read_all())


def by_polars(stream: FilesStream) -> Rows:
    return pl.DataFrame(stream).rows()


def by_pandas(stream: FilesStream) -> Rows:
    frame = pd.DataFrame.from_arrow(stream).astype(object)
    return list(frame.where(frame.notna(), None).itertuples(index=False, name=None))


def by_duckdb(stream: FilesStream) -> Rows:
    with in_utc() as database:
        return rows_of(database.sql("FROM stream").to_arrow_table())


def by_a_table_of_duckdb(stream: FilesStream) -> Rows:
    with in_utc() as database:
        database.register("listing", stream)
        database.sql("CREATE TABLE files AS FROM listing")
        return rows_of(database.sql("FROM files").to_arrow_table())


@contextmanager
def in_utc() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        yield database


def rows_of(table: pa.Table) -> Rows:
    return [tuple(row.values()) for row in table.to_pylist()]


READERS = pytest.mark.parametrize(
    "read", [by_pyarrow, by_pyarrow_in_batches, by_polars, by_pandas, by_duckdb, by_a_table_of_duckdb]
)


def listed(emulator: Emulator) -> Rows:
    """Return the emulator's files as rows of FILES, newest first."""
    return [
        (
            "default",
            file["id"],
            file["bytes"],
            datetime.fromtimestamp(int(str(file["created_at"])), UTC),
            file["filename"],
            "file",
            file["purpose"],
            file["status"],
            datetime.fromtimestamp(int(str(file["expires_at"])), UTC) if file["expires_at"] else None,
            file["status_details"],
            '{"shelf":1}' if "shelf" in file else None,
        )
        for file in reversed(emulator.files())
    ]


@READERS
def test_whoever_takes_arrow_reads_the_files(read: Read, account: Emulator):
    """Every file, every column, newest first; and again each time, with what came meanwhile."""
    stream = FilesStream(limit=10)
    assert account.requests == []

    assert read(stream) == listed(account)
    account.add(created_at=NOW, filename="later.jsonl")

    assert read(stream) == listed(account)
    assert len(account.requests) == 6


@READERS
def test_an_account_without_files_has_no_rows(read: Read, url: str):
    """Rather than an error, or no columns."""
    assert read(FilesStream()) == []


def test_the_types_are_those_of_files(account: Emulator):
    """In every reader's own words; none of them turns texts into views or large ones."""
    stream = FilesStream()
    times = {"created_at", "expires_at"}

    assert pa.table(stream).schema.equals(FILES, check_metadata=True)
    assert pl.DataFrame(stream).schema == TYPES
    assert {str(kind) for name, kind in pd.DataFrame.from_arrow(stream).dtypes.items() if name in times} == {
        "datetime64[us, UTC]"
    }
    with duckdb.connect() as database:
        named = dict(database.sql("SELECT column_name, column_type FROM (DESCRIBE FROM stream)").fetchall())
    assert named == {
        name: "TIMESTAMP WITH TIME ZONE" if name in times else "BIGINT" if name == "bytes" else "VARCHAR"
        for name in FILES.names
    }


def test_the_schema_is_known_without_asking(account: Emulator):
    """Whoever wants to know what will come lists nothing."""
    assert pa.schema(FilesStream()).equals(FILES)
    assert account.requests == []


def test_a_reader_may_ask_for_other_types(account: Emulator):
    """As the interface has it, for those that know only large texts."""
    large = pa.schema([field.with_type(pa.large_string()) if field.type == pa.string() else field for field in FILES])

    reader = pa.RecordBatchReader.from_stream(FilesStream(), schema=large)

    assert reader.schema == large
    assert reader.read_all().num_rows == 25


def test_pages_are_handed_on_as_they_come(account: Emulator):
    """The first is read before the second is asked for; what is not read is not asked for."""
    reader = pa.RecordBatchReader.from_stream(FilesStream(limit=10))
    assert account.requests == []

    assert reader.read_next_batch().num_rows == 10
    assert len(account.requests) == 1
    assert reader.read_next_batch().num_rows == 10
    assert len(account.requests) == 2
    del reader
    gc.collect()
    assert len(account.requests) == 2


@READERS
def test_an_error_on_the_way_says_what_is_wrong(read: Read, account: Emulator):
    """The reader's own error has our message, and no rows are taken for all of them."""
    for page in (1, 2):
        account.fail(status(401), at=page)

        with pytest.raises((pa.ArrowInvalid, pl.exceptions.ComputeError, duckdb.Error)) as failed:
            read(FilesStream(limit=10))

        assert "/v1/files answered 401: Incorrect API key provided." in str(failed.value)
    assert len(read(FilesStream(limit=10))) == 25


def test_a_query_of_duckdb_finds_it_by_its_name(account: Emulator):
    """A variable that holds it is a table."""
    files = FilesStream(purpose="batch")

    with duckdb.connect() as database:
        (counted,) = database.sql("SELECT count(*), sum(bytes) FROM files WHERE created_at IS NOT NULL").fetchall()

    assert counted == (25, sum(range(24)))
    assert files.purpose == "batch"
    assert [request.query["purpose"] for request in account.requests] == ["batch"]


def test_a_key_does_not_show():
    """Not in its repr, nor in that of its headers."""
    shown = repr(FilesStream(api_key="sk-recognisable", headers={"x-key": "recognisable"}, purpose="batch"))

    assert "recognisable" not in shown
    assert "purpose='batch'" in shown
