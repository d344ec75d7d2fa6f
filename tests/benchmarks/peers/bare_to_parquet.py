"""The least that loading files into Parquet can take: as bare_to_duckdb, into one file."""

import pyarrow as pa
import pyarrow.parquet
from bare_to_duckdb import FILE, batches

SECONDS = pa.timestamp("s", tz="UTC")
SCHEMA = pa.schema(
    [pa.field(field.name, SECONDS if field.name in ("created_at", "expires_at") else field.type) for field in FILE]
)

if __name__ == "__main__":
    with pyarrow.parquet.ParquetWriter("files.parquet", SCHEMA) as writer:
        for batch in batches():
            writer.write_batch(batch.cast(SCHEMA))
