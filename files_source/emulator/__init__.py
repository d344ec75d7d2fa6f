"""The Files API in memory: for demos, tests and benchmarks."""

from __future__ import annotations

from files_source.emulator.api import DOWNLOADABLE, LIMIT
from files_source.emulator.app import Emulator, Request
from files_source.emulator.clock import Clock
from files_source.emulator.faults import (
    FAULTS,
    Fault,
    broken_json,
    captive_portal,
    cut,
    cut_short,
    empty_page,
    hang,
    insufficient_quota,
    slow,
    status,
    vanish,
)
from files_source.emulator.index import Order
from files_source.emulator.listing import ODDITIES, WRONG_ID, Oddities
from files_source.emulator.server import Server
from files_source.emulator.store import ABSENT, File
from files_source.emulator.styles import STYLES
from files_source.emulator.uploads import PURPOSES

__all__ = [
    "ABSENT",
    "DOWNLOADABLE",
    "FAULTS",
    "LIMIT",
    "ODDITIES",
    "PURPOSES",
    "STYLES",
    "WRONG_ID",
    "Clock",
    "Emulator",
    "Fault",
    "File",
    "Oddities",
    "Order",
    "Request",
    "Server",
    "broken_json",
    "captive_portal",
    "cut",
    "cut_short",
    "empty_page",
    "hang",
    "insufficient_quota",
    "slow",
    "status",
    "vanish",
]
