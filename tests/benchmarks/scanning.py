"""One complete scan of the account in the environment, as a process; it prints its seconds and its files.

Scans with several workers are measured once `files_source.scan.Scan` takes `workers` and `borders` and remembers the
latter: this is the one place that has to know how.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import fields
from pathlib import Path

from files_source.client import FilesClient
from files_source.scan import Scan

OVERLAP = 60
"""Seconds."""


def scan(client: FilesClient, *, workers: int, borders: Path | None) -> int:
    """List everything and return how many files that were.

    Args:
        workers: chains that are followed at once.
        borders: where an earlier scan's borders stand, or are to be written.
    """
    settings: dict[str, object] = {}
    if takes_workers():
        settings["workers"] = workers
    if borders is not None and borders.exists():
        settings["borders"] = json.loads(borders.read_text())
    listing = Scan(client=client, overlap=OVERLAP, **settings)  # type: ignore[arg-type]
    files = sum(table.num_rows for table in listing.batches())
    if borders is not None and not borders.exists():
        borders.write_text(json.dumps(listing.borders))  # type: ignore[attr-defined]
    return files


def takes_workers() -> bool:
    """Tell whether scans can be concurrent yet."""
    return {"workers", "borders"} <= {field.name for field in fields(Scan)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--borders", type=Path)
    parser.add_argument("--takes-workers", action="store_true", help="only tell whether scans can be concurrent")
    asked = parser.parse_args()
    if asked.takes_workers:
        print(takes_workers())
        sys.exit()
    with FilesClient() as client:
        began = time.perf_counter()
        files = scan(client, workers=asked.workers, borders=asked.borders)
        print(json.dumps({"seconds": time.perf_counter() - began, "rows": files}))
