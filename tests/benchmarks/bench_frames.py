"""An eager frame of a whole account, beside fetching and decoding its pages and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tests.benchmarks.measuring import Bench, Way
from tests.benchmarks.processes import script

SIZES: Final = (1_000_000,)
SMALL_SIZES: Final = (100_000,)

SUBJECT: Final = "a frame of all files"
OURS: Final = "read_files"
BARE: Final = "fetched and decoded alone"


def bench(bench: Bench, sizes: Sequence[int]) -> None:
    """Measure frames of accounts of some sizes."""
    for files in sizes:
        ours = Way(name=OURS, command=script("reading.py"), rows=files, files=files)
        bench.compare(SUBJECT, files, [ours, replace(ours, name=BARE, command=script("reading.py", "--bare"))])
