"""The least that loading files into DuckDB can take: no dlt, no checks, no second try, one thread for everything."""

import os
from collections.abc import Iterator

import duckdb
import httpx
import pyarrow as pa
import pyarrow.json

FILE = pa.struct(
    {
        "object": pa.string(),
        "id": pa.string(),
        "purpose": pa.string(),
        "filename": pa.string(),
        "bytes": pa.int64(),
        "created_at": pa.int64(),
        "expires_at": pa.int64(),
        "status": pa.string(),
        "status_details": pa.string(),
    }
)
PAGE = pa.schema({"data": pa.list_(FILE), "has_more": pa.bool_()})


def batches() -> Iterator[pa.RecordBatch]:
    """Yield the files, oldest first, as pyarrow reads them."""
    key = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    asked: dict[str, str | int] = {"order": "asc", "limit": 10_000}
    with httpx.Client(base_url=os.environ["OPENAI_BASE_URL"], headers=key) as http:
        while True:
            body = http.get("/files", params=asked).content
            page = pyarrow.json.read_json(
                pa.BufferReader(body),
                read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(body) + 1),
                parse_options=pyarrow.json.ParseOptions(explicit_schema=PAGE, unexpected_field_behavior="ignore"),
            )
            files = pa.RecordBatch.from_struct_array(page["data"].chunk(0).flatten())
            yield files
            if not page["has_more"][0].as_py():
                return
            asked["after"] = files["id"][-1].as_py()


if __name__ == "__main__":
    pages = pa.RecordBatchReader.from_batches(pa.schema(list(FILE)), batches())
    with duckdb.connect("inventory.duckdb", config={"threads": 1}) as database:
        database.execute("CREATE SCHEMA openai_files")
        database.register("pages", pages)
        database.execute("""
            CREATE TABLE openai_files.files AS
            SELECT * REPLACE (to_timestamp(created_at) AS created_at, to_timestamp(expires_at) AS expires_at) FROM pages
        """)
