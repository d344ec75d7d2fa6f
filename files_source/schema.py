"""The one Arrow schema of a file: its columns, their types and what they mean."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")


def column(name: str, kind: pa.DataType, description: str, *, nullable: bool = False) -> pa.Field:
    """Return a column that says what it means."""
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


FILES: Final = pa.schema(
    [
        column("account", pa.string(), "Name of the account, as configured here; not part of the API"),
        column("id", pa.string(), "File id; unique within an account's server"),
        column("bytes", pa.int64(), "Size in bytes; null where the server does not know it", nullable=True),
        column("created_at", TIMESTAMP, "When the file was created, UTC; whole seconds on most servers"),
        column("filename", pa.string(), "Name given by the uploader; any characters, never a safe path"),
        column("object", pa.string(), "Object type; always 'file' in the API"),
        column("purpose", pa.string(), "Intended use, such as 'batch' or 'fine-tune'; any string"),
        column("status", pa.string(), "Processing status, such as 'processed'; deprecated", nullable=True),
        column("expires_at", TIMESTAMP, "When the file will expire, UTC; null for never", nullable=True),
        column("status_details", pa.string(), "Why processing failed; deprecated", nullable=True),
        column("extra", pa.string(), "JSON object of all that no other column holds", nullable=True),
    ]
)
"""Arrow schema of every resource and frame, one row a file. Source: the API's File object."""


def descriptions(schema: pa.Schema) -> dict[str, str]:
    """Return what each column of *schema* means, in one line."""
    return {field.name: str(field.metadata[b"description"], "utf-8") for field in schema}
