"""Values that a destination cannot hold are put into a form that it can, and turned back into what they were."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import dlt
import pyarrow as pa
import pytest
import sqlalchemy as sa
from dlt.destinations.impl.mssql.factory import MsSqlTypeMapper
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import mssql, mysql
from sqlalchemy.schema import CreateTable

from files_source.handover import prepared
from files_source.sql_server_types import MsSqlCaseSensitive
from files_source.sqlalchemy_types import MssqlCaseSensitive, MysqlLongText
from files_source.storable import KEYS, limits_of, original, storable

DIALECTS = [None, "duckdb", "sqlite", "postgres", "redshift", "mysql", "tsql", "fabric", "snowflake", "oracle", "none"]
TEXT = (
    st.none()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(
        ["", " ", "a ", "\x00", "a\x00b", 'json:"', 'json:"a"', "json:", 'json:"\\u0000"', "json:1", "plain"]
    )
)
LONG = "LONGTEXT CHARACTER SET utf8mb4"
PLAIN = ["file-abc123", "it's {one}", " leading", "two words", "\u00e4\U0001f4a9", "json", "a\n\t\\", "json:[1]"]


def one_column(name: str, values: list[str | None]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.string())}, schema=pa.schema([pa.field(name, pa.string())]))


@pytest.mark.parametrize("dialect", DIALECTS)
@given(values=st.lists(TEXT), name=st.sampled_from(["id", "filename"]), cut=st.integers(0, 3))
def test_any_text_comes_back(dialect: str | None, values: list[str | None], name: str, cut: int):
    """However the rows are cut; and what is stored holds nothing that the destination does not."""
    table = pa.concat_tables([one_column(name, values), one_column(name, values).slice(cut)])
    limits = limits_of(dialect)

    stored = table if limits is None else storable(table, limits)

    texts = stored.column(name).to_pylist()
    assert [text and original(text) if limits else text for text in texts] == table.column(name).to_pylist()
    assert stored.schema == table.schema
    if limits is not None:
        given_texts = [text for text in texts if text is not None]
        assert limits.nul or not any("\x00" in text for text in given_texts)
        assert limits.empty == "always" or all(given_texts)
        assert limits.trailing_spaces or name not in KEYS or not any(text.endswith(" ") for text in given_texts)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_rows_that_need_nothing_are_handed_over_as_they_are(dialect: str | None):
    """Not so much as copied."""
    table = one_column("id", PLAIN)
    limits = limits_of(dialect)

    assert limits is None or storable(table, limits) is table


def test_text_that_only_looks_like_json_text_is_left_alone():
    """Somebody may have written it before there was such a form."""
    for text in ['json:"', 'json:"a" and more', "json:[1]", "json:1", "json:", "json"]:
        assert original(text) == text


@pytest.mark.parametrize(
    ("dialect", "mapper", "key", "other"),
    [
        (mysql.dialect(), MysqlLongText, f"{LONG} COLLATE utf8mb4_bin", LONG),
        (
            mssql.dialect(deprecate_large_types=True),
            MssqlCaseSensitive,
            "NVARCHAR(max) COLLATE Latin1_General_100_BIN2",
            "NVARCHAR(max)",
        ),
    ],
    ids=["mysql", "mssql"],
)
def test_columns_made_by_sqlalchemy_hold_any_text(dialect, mapper, key: str, other: str):  # noqa: ANN001
    """Keys compare each character; what is no table of ours is left as dlt makes it."""
    types = mapper(dlt.destinations.sqlalchemy().capabilities(), dialect)

    def made(name: str, table: str) -> str:
        column = {"name": name, "data_type": "text"}
        kind = types.to_destination_type(column, {"name": table, "columns": {}})
        statement = CreateTable(sa.Table("t", sa.MetaData(), sa.Column("c", kind)))
        _, _, rest = str(statement.compile(dialect=dialect)).partition("\tc ")
        return rest.partition(" NULL")[0].partition("\n")[0].strip()

    assert (made("id", "files"), made("account", "scans"), made("purpose", "files_history")) == (key, key, key)
    assert (made("filename", "files"), made("id", "others")) == (other, other)


def test_columns_of_sql_server_tell_keys_apart():
    """Only the keys of our tables."""
    types = MsSqlCaseSensitive(dlt.destinations.mssql().capabilities())
    table = {"name": "files", "columns": {}}

    assert types.to_destination_type({"name": "id", "data_type": "text"}, table) == (
        "nvarchar(max) COLLATE Latin1_General_100_BIN2"
    )
    assert types.to_destination_type({"name": "filename", "data_type": "text"}, table) == "nvarchar(max)"
    assert types.to_destination_type({"name": "id", "data_type": "bigint"}, table) == "bigint"
    theirs = {"name": "others", "columns": {}}
    assert types.to_destination_type({"name": "id", "data_type": "text"}, theirs) == "nvarchar(max)"


def test_a_type_mapper_of_somebody_else_stays():
    """The user's own mapping of types is stronger; dlt's is replaced by one that another process can take."""

    class Theirs(MsSqlTypeMapper):
        """A mapping of types."""

    def prepare(**given: object) -> object:
        destination = dlt.destinations.mssql(**given)
        client = SimpleNamespace(capabilities=destination.capabilities())
        prepared(SimpleNamespace(destination=destination, destination_client=lambda: client))  # type: ignore[arg-type]
        return destination.capabilities().type_mapper

    assert prepare(type_mapper=Theirs) is Theirs
    assert pickle.loads(pickle.dumps(prepare())) is MsSqlCaseSensitive  # noqa: S301 - of our own
