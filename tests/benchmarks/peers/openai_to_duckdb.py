"""The official client, its models as a polars frame, and that as a table of DuckDB."""

import duckdb
import openai
import polars as pl

if __name__ == "__main__":
    with openai.OpenAI() as client:
        files = pl.DataFrame(
            [file.model_dump() for file in client.files.list(limit=10_000, order="asc")], infer_schema_length=None
        )
    files = files.with_columns(pl.from_epoch(name) for name in ("created_at", "expires_at"))
    with duckdb.connect("inventory.duckdb") as database:
        database.execute("CREATE SCHEMA openai_files")
        database.execute("CREATE TABLE openai_files.files AS FROM files")
