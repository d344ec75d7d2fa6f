"""Write a row as one text, so that rows can be compared and hashed without becoming Python objects."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from files_source.schema import FILES, TIMESTAMP


def row_texts(files: pa.Table) -> pa.ChunkedArray:
    """Return one text for each row of FILES; two rows have the same text only if all their values are the same.

    The texts are part of what a warehouse holds, as versions are made of them: another form would make
    a new version of every file.
    """
    texts = [pc.cast(_as_number(files.column(name)), pa.string()) for name in FILES.names]
    return pc.binary_join_element_wise(*map(_delimited, texts), "")


def _as_number(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.cast(pa.int64()) if values.type == TIMESTAMP else values


def _delimited(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return each text after its length, and null as a dash, so that no two rows read the same when joined."""
    lengths = pc.cast(pc.binary_length(texts), pa.string())
    return pc.fill_null(pc.binary_join_element_wise(lengths, texts, ":"), "-")
