from __future__ import annotations

import pyarrow as pa
import pytest

from files_source.schema import FILES, descriptions

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")
CONTRACT = [
    ("account", pa.string(), False),
    ("id", pa.string(), False),
    ("bytes", pa.int64(), True),
    ("created_at", UTC_MICROSECONDS, False),
    ("filename", pa.string(), False),
    ("object", pa.string(), False),
    ("purpose", pa.string(), False),
    ("status", pa.string(), True),
    ("expires_at", UTC_MICROSECONDS, True),
    ("status_details", pa.string(), True),
    ("extra", pa.string(), True),
]


def test_the_schema_is_the_one_that_tables_downstream_were_made_with():
    """Names, order, types and nullability are a promise: to change one is to change every table."""
    assert [(field.name, field.type, field.nullable) for field in FILES] == CONTRACT


@pytest.mark.parametrize("column", FILES.names)
def test_each_column_says_what_it_means(column: str):
    """The meaning is one line, without a full stop, as dlt and the warehouses show it."""
    meaning = descriptions(FILES)[column]

    assert meaning
    assert meaning.isprintable()
    assert not meaning.endswith(".")
