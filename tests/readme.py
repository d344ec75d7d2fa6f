"""The parts of the README that are made from the program: `make readme` writes them, tests compare them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from files_source.deletions import OUTCOMES
from files_source.ledger import SCANS
from files_source.schema import FILES, descriptions
from files_source.tables import parquet_query
from tests import fault_matrix

README = Path(__file__).parent.parent / "README.md"


def written(text: str) -> str:
    """Return *text* with its made parts as they should be, but for the table of faults, which takes minutes."""
    made = {
        "columns": columns(FILES),
        "scans": columns(SCANS),
        "deletions": columns(OUTCOMES),
        "parquet": f"```sql\n{parquet_query()}```\n",
        "help": usage(),
    }
    for name, part in made.items():
        text = _with(text, name, part)
    return text


def _with(text: str, name: str, made: str) -> str:
    part = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    return re.sub(part, lambda found: found[1] + made + found[2], text, flags=re.DOTALL)


def columns(schema: pa.Schema) -> str:
    """Return the columns of a schema as a table."""
    meanings = descriptions(schema)
    rows = ["| column | type | null | meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{field.name}` | {field.type} | {'yes' if field.nullable else ''} | {meanings[field.name]} |"
        for field in schema
    ]
    return "\n".join(rows) + "\n"


def usage() -> str:
    """Return what the command line says of itself."""
    program = Path(sys.executable).with_name("files-source")
    environment = os.environ | {"COLUMNS": "100", "TERM": "dumb"}
    printed = subprocess.run([program, "--help"], env=environment, check=True, capture_output=True, text=True).stdout
    lines = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    return f"```text\n$ files-source --help\n{lines}\n```\n"


if __name__ == "__main__":
    README.write_text(_with(written(README.read_text()), "faults", fault_matrix.table(fault_matrix.measured())))
