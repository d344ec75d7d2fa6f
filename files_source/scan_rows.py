"""Hand rows of the ledger `scans` to dlt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import dlt
import pyarrow as pa
from dlt.extract.source import DltSource

from files_source.bookkeeping import filled
from files_source.dlt_run import Run
from files_source.extraction import Extraction
from files_source.holdings import SCANS_TABLE, SOURCE, merges
from files_source.ledger import SCANS, ScanRecord, ledger
from files_source.schema import descriptions

SCAN_KEY: Final = ("account", "started_at")
"""The columns that tell scans apart."""


def ledger_item(records: Sequence[ScanRecord], run: Run) -> object:
    """Return rows of the ledger as the resource `scans` yields them."""
    disposition: Any = "merge" if run.pipeline is not None and merges(run.pipeline) else "append"
    return dlt.mark.with_hints(ledger(records), dlt.mark.make_hints(write_disposition=disposition))


def ledger_beside(extraction: Extraction, run: Run) -> Iterator[object]:
    """Yield the rows of the ledger where no resource `scans` runs beside this one, as in a decomposed source."""
    if run.pipeline is None or SCANS_TABLE in run.selected or not (records := extraction.take_records()):
        return
    hints = dlt.mark.make_hints(
        table_name=SCANS_TABLE,
        primary_key=SCAN_KEY,
        write_disposition="merge" if merges(run.pipeline) else "append",
        columns=described(SCANS),
    )
    yield dlt.mark.with_hints(ledger(records), hints, create_table_variant=True)


def scan_log(rows: pa.Table, *, merging: bool) -> DltSource:
    """Return rows of the ledger as a source of their own."""
    resource = dlt.resource(
        [rows],
        name=SCANS_TABLE,
        primary_key=SCAN_KEY,
        write_disposition="merge" if merging else "append",
        columns=described(SCANS),
    )
    return DltSource(dlt.Schema(SOURCE), SOURCE, [filled(resource)])


def described(schema: pa.Schema) -> Any:
    """Return what each column means, as dlt takes it."""
    return {name: {"description": text} for name, text in descriptions(schema).items()}
