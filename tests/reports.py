"""Accounts to report on: a busy one, a hostile one, and next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache

import httpx
import polars as pl

from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.demo import made_up
from files_source.emulator import Clock, Emulator
from files_source.inventories import Inventory, listed
from files_source.report import report

SECOND = 1_700_000_000
NOW = datetime.fromtimestamp(SECOND, UTC)
DAY = 86_400
HOSTILE = (
    "<script>alert(1)</script>",
    "</style></svg><img src=http://evil.example/x onerror=alert(1)>",
    "'\"><svg onload=alert(1)>{{ 7 * 7 }}{% raw %}",
    "invoice\u202egpj.exe\u2066\u0000\u001b[31m",
    "javascript:alert(1)//url(http://evil.example/)",
    "#0072b2 var(--ink) datum.name ${alert(1)}",
    "שלום עולם 製品データ ü",
    "x" * 10_000 + ".jsonl",
)


def held(*drafts: dict[str, object], name: str = "default") -> Inventory:
    """Return the inventory of an account that holds these files."""
    emulator = Emulator(clock=Clock(SECOND))
    for draft in drafts:
        emulator.add(**draft)  # type: ignore[arg-type]
    served = Account(name=name, base_url="http://made-up/v1")
    with FilesClient(served, transport=httpx.WSGITransport(app=emulator)) as client:
        return listed(client)


def busy(count: int) -> Inventory:
    """Return the inventory of the demo's account."""
    with made_up(count) as client:
        return listed(client)


def with_history(inventory: Inventory) -> pl.DataFrame:
    """Return a history in which every fifth file is gone after 40 days, or after two if that is later."""
    gone = pl.when(pl.int_range(pl.len()) % 5 == 0).then(
        pl.max_horizontal(pl.col("created_at") + timedelta(days=40), pl.lit(NOW - timedelta(days=300)))
    )
    files = inventory.files.sort("created_at", "id")  # pages come in any order, and the picture is the same each time
    return files.with_columns(
        pl.col("created_at").alias("_dlt_valid_from"), pl.when(gone < NOW).then(gone).alias("_dlt_valid_to")
    )


def late_history(inventory: Inventory) -> pl.DataFrame:
    """Return a history that was begun 100 days ago, when what had been deleted by then was not there to be seen."""
    begun = NOW - timedelta(days=100)
    recorded = with_history(inventory).filter(pl.col("_dlt_valid_to").is_null() | (pl.col("_dlt_valid_to") > begun))
    return recorded.with_columns(pl.max_horizontal("_dlt_valid_from", pl.lit(begun)).alias("_dlt_valid_from"))


def over_the_limit() -> Inventory:
    """Return the inventory of two accounts with long names, of which one holds far more than it may."""
    files = busy(2_000).files
    of = pl.when(pl.int_range(pl.len()) % 3 == 0)
    names = of.then(pl.lit("customer-support-transcripts")).otherwise(pl.lit("research-and-evaluations"))
    return Inventory(
        files=files.with_columns(account=names, bytes=pl.col("bytes") * of.then(14_000).otherwise(400)),
        place="lake/",
        basis="files",
        purpose=None,
    )


def small() -> Inventory:
    """Return the inventory of an account whose figures can be reckoned by hand."""
    million = 10**6
    files: list[tuple[str, str, int, int | None, int | None]] = [
        ("fine-tune", "a.jsonl", 100 * DAY, 1_000 * million, None),
        ("fine-tune", "b.jsonl", 10 * DAY, 3_000 * million, None),
        ("vision", "c.png", 40 * DAY, 200 * million, None),
        ("vision", "c.png", 39 * DAY, 200 * million, None),
        ("vision", "c.png", 38 * DAY, 200 * million, None),
        ("batch", "d", 3_600, None, None),
        ("batch", "e", 2 * DAY, 200 * million, SECOND + 5 * DAY),
        ("batch", "f", 3_600, 500 * million, SECOND + 29 * DAY),
    ]
    return held(
        *(
            {"file_id": f"file-{number}", "created_at": SECOND - age, "purpose": purpose, "filename": filename}
            | {"bytes": size, "expires_at": expires_at}
            for number, (purpose, filename, age, size, expires_at) in enumerate(files, start=1)
        )
    )


def small_history() -> pl.DataFrame:
    """Return the history of `small`, each file of which was seen when it was created."""
    return with_history(small()).with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias("_dlt_valid_to"))


def mostly_unknown() -> Inventory:
    """Return the inventory of an account of which one file in fifty has a size that is known."""
    files = busy(2_000).files
    return Inventory(
        files=files.with_columns(pl.when(pl.int_range(pl.len()) % 50 == 0).then("bytes").alias("bytes")),
        place="lake/",
        basis="files",
        purpose=None,
    )


def hostile() -> Inventory:
    """Return the inventory of an account whose names attack whatever shows them."""
    drafts = [
        {"created_at": SECOND - 40 * DAY - number, "purpose": name, "filename": name, "size": 10**6 * (number + 1)}
        for number, name in enumerate(HOSTILE)
        for _ in range(2)
    ]
    return held(*drafts, name="<script>alert('account')</script>")


def accounts() -> Inventory:
    """Return the inventory of twenty accounts, one of which is almost full."""
    of_one = busy(4_000)
    sizes = pl.when(pl.int_range(pl.len()) % 20 == 0).then(pl.col("bytes") * 4_000).otherwise("bytes")
    names = pl.format("team-{}", pl.int_range(pl.len()) % 20)
    files = of_one.files.reverse().with_columns(account=names, bytes=sizes)
    return Inventory(files=files, place="lake/", basis="files", purpose=None)


REPORTS: dict[str, tuple[Callable[[], str], int]] = {
    "busy": (lambda: report(busy(25_000), now=NOW, history=with_history(busy(25_000))), 6),
    "late history": (lambda: report(busy(2_000), now=NOW, history=late_history(busy(2_000))), 6),
    "accounts": (lambda: report(accounts(), now=NOW), 6),
    "hostile": (lambda: report(hostile(), now=NOW), 4),
    "empty": (lambda: report(held(), now=NOW), 0),
    "one file": (lambda: report(held({"created_at": SECOND - DAY, "purpose": "batch", "size": 12_345}), now=NOW), 4),
    "unknown sizes": (
        lambda: report(
            held(*({"created_at": SECOND - n * DAY, "purpose": "batch", "bytes": None} for n in range(9))), now=NOW
        ),
        4,
    ),
    "over the limit": (lambda: report(over_the_limit(), now=NOW), 6),
    "mostly unknown sizes": (lambda: report(mostly_unknown(), now=NOW), 5),
}
"""Each report by its name, and how many charts it has."""


@cache
def page_of(name: str) -> str:
    """Return a report, made once."""
    return REPORTS[name][0]()
