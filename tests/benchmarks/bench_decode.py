"""Decoding one page of 10,000 files: every JSON library that was considered."""

from __future__ import annotations

import sys
from typing import Final

import msgspec

from tests.benchmarks.measuring import Bench
from tests.benchmarks.results import Sample
from tests.benchmarks.server import ROOT

SUBJECT: Final = "decode a page"
FILES: Final = 10_000
TIMES: Final = 5
"""How often a page is decoded in a round: that is soon done."""


def bench(bench: Bench) -> None:
    """Measure all of them in one process."""
    bench.record(SUBJECT, FILES, lambda: _decoded(bench))


def _decoded(bench: Bench) -> list[Sample]:
    module = [sys.executable, "-m", "tests.benchmarks.decoding", str(TIMES * bench.rounds)]
    return msgspec.json.decode(bench.ask(["env", f"PYTHONPATH={ROOT}", *module]), type=list[Sample])
