"""The files to ask about: what a place holds, or what an account holds now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

import polars as pl
import pyarrow as pa

from files_source.client import FilesClient
from files_source.history import checked_at
from files_source.listing import MAX_LIMIT
from files_source.places import AnyPlace, place_of
from files_source.progress import OnPage
from files_source.scan import Scan
from files_source.schema import FILES
from files_source.stored import opened
from files_source.tables import known_files

Basis = Literal["history", "files", "live"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Files, and how far they can be believed to be all that is there.

    Attributes:
        files: the columns of FILES, one row a file.
        place: where they were read, or the server's base URL.
        basis: 'history' where complete scans have covered all of them, 'files' where what was
            deleted by others may count among them, 'live' for what the account lists now.
        purpose: the only one they are of; None for all.
        checked_at: since when scans have covered all of them; None where the basis is no history.
    """

    files: pl.DataFrame
    place: str
    basis: Basis
    purpose: str | None
    checked_at: datetime | None = None


def stored(place: AnyPlace, *, purpose: str | None = None) -> Inventory:
    """Return what is still there of what was loaded into a place, as far as that knows; see `tables.known_files`.

    Raises:
        ConfigError: the place is not there, or holds no files.
        LoadError: it cannot be read.
    """
    with opened(place) as read:
        known = known_files(place, read)
        files = (known if purpose is None else known.filter(pl.col("purpose") == purpose)).collect()
        scans = read("scans")
        checked = None if scans is None else checked_at(files, scans.collect(), purpose=purpose).item()
    basis: Basis = "files" if checked is None else "history"
    return Inventory(files=files, place=place_of(place).name, basis=basis, purpose=purpose, checked_at=checked)


def listed(
    client: FilesClient, *, purpose: str | None = None, limit: int = MAX_LIMIT, on_page: OnPage | None = None
) -> Inventory:
    """Return what an account holds, listed completely.

    Raises:
        FilesSourceError: as `scan.Scan.pages` does.
    """
    scan = Scan(client=client, purpose=purpose, overlap=0, limit=limit, on_page=on_page)
    files = cast(pl.DataFrame, pl.from_arrow(pa.concat_tables([FILES.empty_table(), *scan.batches()])))
    return Inventory(files=files, place=client.account.base_url, basis="live", purpose=purpose)
