"""One complete scan of the account in the environment, as a process that prints its seconds and its files."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import astuple
from pathlib import Path

from files_source.client import FilesClient
from files_source.coverage import Rung
from files_source.scan import Scan

OVERLAP = 60
"""Seconds."""


def scan(client: FilesClient, *, workers: int, known: tuple[Rung, ...]) -> tuple[int, tuple[Rung, ...]]:
    """List everything on several chains; return how many files that were, and the borders for the next scan.

    This is the one place that has to know how a scan is called.
    """
    listing = Scan(client=client, overlap=OVERLAP, workers=workers, known=known)
    files = sum(table.num_rows for table in listing.batches())
    return files, listing.borders


def recalled(path: Path | None) -> tuple[Rung, ...]:
    """Return the borders that an earlier scan left, if it did."""
    if path is None or not path.exists():
        return ()
    return tuple(Rung(*rung) for rung in json.loads(path.read_text()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--borders", type=Path, help="where an earlier scan left them, and this one leaves them")
    asked = parser.parse_args()
    known = recalled(asked.borders)
    with FilesClient() as client:
        began = time.perf_counter()
        files, borders = scan(client, workers=asked.workers, known=known)
        print(json.dumps({"seconds": time.perf_counter() - began, "rows": files}))
    if asked.borders is not None:
        asked.borders.write_text(json.dumps([astuple(rung) for rung in borders]))
