"""Rows kept aside until their listing is complete: a part of one is never shown to anybody."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.ipc


class Spool:
    """Rows on disk, in a file that has no name and goes when it is closed or the process ends.

    Rows are written first, then read as often as wanted.

    Raises:
        OSError: the disk is full.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the spool
        self._writer: pa.RecordBatchStreamWriter | None = pyarrow.ipc.new_stream(
            self._file, schema, options=pyarrow.ipc.IpcWriteOptions(compression="lz4")
        )

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        assert self._writer is not None
        self._writer.write_table(table)
        self.rows += table.num_rows

    def reader(self) -> pa.RecordBatchReader:
        """Return the rows from their beginning; nothing can be written any more."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._file.flush()
        return pyarrow.ipc.open_stream(pa.py_buffer(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)))

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows as they were written."""
        for batch in self.reader():
            yield pa.Table.from_batches([batch])

    def close(self) -> None:
        """Forget the rows."""
        self._file.close()
