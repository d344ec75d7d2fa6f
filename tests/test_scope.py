"""The scope of a history is said by rows: on no dialect is there SQL that depends on a name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dlt
import duckdb
import pytest
import sqlglot
from dlt.common.destination.client import JobClientBase
from dlt.destinations.job_client_impl import SqlLoadJob
from dlt.destinations.sql_client import SqlClientBase, WithSqlClient
from dlt.destinations.sql_jobs import SqlMergeFollowupJob
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from files_source.errors import ConfigError
from files_source.scope import MARK, marks, version_hints
from files_source.versions import ROW_VERSION, VERSIONS

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.sampled_from(
    ["id", "0) OR (1=1", "it's {one}", "{table}", "a:b", "100%s", "\\' OR 1=1 --", ";\n", "\x00", "\u2028", MARK]
)
DESTINATIONS = sorted(
    name
    for name in set(dlt.destinations.__all__) - {"destination", "lance"}
    if "scd2" in (getattr(dlt.destinations, name)().capabilities().supported_merge_strategies or ())
)


class Spelling(SqlClientBase[Any]):
    """How a destination spells names, without a connection."""

    __init__ = SqlClientBase.__init__


Spelling.__abstractmethods__ = frozenset()


class Client(WithSqlClient):
    """As much of a destination's client as there is without its library."""

    def __init__(self, destination: Any, naming: str = "snake_case") -> None:
        relational = {"module": "dlt.common.normalizers.json.relational"}
        self.schema = dlt.Schema("openai_files", normalizers={"names": naming, "json": relational})
        capabilities = destination.capabilities(naming=self.schema.naming)
        self.sql_client = Spelling("database", "openai_files", "openai_files_staging", capabilities)

    sql_client = None  # set for each
    sql_client_class = Spelling


Client.__abstractmethods__ = frozenset()


def statements(client: Client, *, of_purpose: bool = True) -> list[str]:
    """Return what dlt makes of the hints: it writes statements to a file, and takes that apart."""
    hints = version_hints(SimpleNamespace(destination_client=lambda: client), of_purpose=of_purpose)
    disposition = hints["write_disposition"]
    named = {**{name: {} for name in VERSIONS.names}, ROW_VERSION: {"x-row-version": True}}
    valid = {
        "_dlt_valid_from": {"x-valid-from": True},
        "_dlt_valid_to": {"x-valid-to": True, "x-active-record-timestamp": None},
    }
    table: Any = {
        "name": "files_history",
        "columns": {name: {"name": name, "data_type": "text", **hints} for name, hints in (named | valid).items()},
        "x-merge-source-filter": disposition["source_filter"],
        "x-merge-destination-scope": disposition["destination_scope"],
        "x-boundary-timestamp": "2026-01-01T00:00:00Z",
    }
    made = SqlMergeFollowupJob.gen_scd2_sql([table], client.sql_client)
    return SqlLoadJob._split_fragments(None, "\n".join(" ".join(one.splitlines()) for one in made))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated")  # Fabric, in dlt
@pytest.mark.parametrize("naming", ["snake_case", "sql_cs_v1", "direct"])
@pytest.mark.parametrize("of_purpose", [True, False], ids=["purpose", "all"])
@pytest.mark.parametrize("name", DESTINATIONS)
def test_on_every_destination_the_only_text_in_the_sql_is_our_own(name: str, of_purpose: bool, naming: str):
    """The statements are two, which the dialect's parser takes, with no text in them but the mark and times."""
    destination = getattr(dlt.destinations, name)()
    dialect = destination.capabilities().sqlglot_dialect

    update, insert = statements(Client(destination, naming), of_purpose=of_purpose)

    parsed = [sqlglot.parse_one(statement, dialect=dialect) for statement in (update, insert)]
    texts = {literal.this for tree in parsed for literal in tree.find_all(exp.Literal) if literal.is_string}
    assert {text for text in texts if not text.startswith("2026-01-01")} - {"UTC"} == {MARK}
    scoped = {found.this.name.lower() for found in parsed[0].find_all(exp.In) if not isinstance(found.parent, exp.Not)}
    assert scoped == ({"account", "purpose"} if of_purpose else {"account"})


@pytest.mark.parametrize("of_purpose", [True, False], ids=["purpose", "all"])
@given(listed=st.sets(TEXT, min_size=1, max_size=3), others=st.sets(TEXT, max_size=3), purpose=TEXT, another=TEXT)
def test_any_text_as_a_name_means_itself(
    of_purpose: bool, listed: set[str], others: set[str], purpose: str, another: str
):
    """Of accounts that held two purposes, of which nothing was found, rows of those that were listed are retired."""
    update, insert = statements(Client(dlt.destinations.duckdb()), of_purpose=of_purpose)
    held = {(account, of) for account in listed | others for of in (purpose, another)}
    named = marks(sorted(listed), purpose if of_purpose else None)
    with duckdb.connect() as database:
        rows = database.from_arrow(named)
        for schema in ("openai_files", "openai_files_staging"):
            database.execute(f"CREATE SCHEMA {schema}")
            rows.limit(0).create(f"{schema}.files_history")
        rows.insert_into("openai_files_staging.files_history")
        database.execute("ALTER TABLE openai_files.files_history ADD COLUMN _dlt_valid_from TIMESTAMPTZ")
        database.execute("ALTER TABLE openai_files.files_history ADD COLUMN _dlt_valid_to TIMESTAMPTZ")
        insert_row = "INSERT INTO openai_files.files_history (account, purpose, _row_version) VALUES (?, ?, 'abc')"
        database.executemany(insert_row, sorted(held))

        database.execute(update)
        database.execute(insert)

        query = "SELECT account, purpose FROM openai_files.files_history WHERE _dlt_valid_to IS NULL"
        valid = database.execute(query).fetchall()
    assert sorted(valid) == sorted(
        (account, of) for account, of in held if account not in listed or (of_purpose and of != purpose)
    )


def test_a_destination_without_sql_is_refused():
    """One line says what helps; it would retire the rows of others."""

    class Vectors(JobClientBase):
        """A destination that has no SQL."""

    Vectors.__abstractmethods__ = frozenset()
    client = Vectors(dlt.Schema("openai_files"), None, None)

    with pytest.raises(ConfigError, match="Vectors has no SQL") as refused:
        version_hints(SimpleNamespace(destination_client=lambda: client), of_purpose=False)

    assert "\n" not in str(refused.value)
