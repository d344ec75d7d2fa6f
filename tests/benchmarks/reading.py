"""Every file of the account in the environment as a frame, or only fetched and decoded; prints seconds and files."""

from __future__ import annotations

import argparse
import json
import time

from peers.bare_to_duckdb import batches

from files_source.frames import read_files

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bare", action="store_true", help="one page after the other, and keep none")
    bare = parser.parse_args().bare
    began = time.perf_counter()
    rows = sum(batch.num_rows for batch in batches()) if bare else read_files().height
    print(json.dumps({"seconds": time.perf_counter() - began, "rows": rows}))
