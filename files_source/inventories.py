"""The files to ask about: what a place holds, or what an account holds now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import polars as pl
import pyarrow as pa

from files_source.client import FilesClient
from files_source.errors import ConfigError
from files_source.progress import OnPage
from files_source.scan import Scan
from files_source.schema import FILES
from files_source.tables import read_inventory, read_table

Basis = Literal["history", "files", "live"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Files, and how far they can be believed to be all that is there.

    Attributes:
        files: the columns of FILES, one row a file.
        place: where they were read, or the server's base URL.
        basis: 'history' for what the last complete scan found, 'files' for all that was ever listed,
            deleted or not, 'live' for what the account lists now.
        purpose: the only one they are of; None for all.
    """

    files: pl.DataFrame
    place: str
    basis: Basis
    purpose: str | None


def stored(place: str, *, purpose: str | None = None) -> Inventory:
    """Return what was loaded into a place, as `read_table` takes it: what its history says, or else its `files`.

    Raises:
        ConfigError: the place is not there, or holds neither.
        LoadError: it cannot be read.
    """
    basis: Basis = "history"
    try:
        files = read_inventory(place)
    except ConfigError:
        files, basis = read_table(place), "files"
    if purpose is not None:
        files = files.filter(pl.col("purpose") == purpose)
    return Inventory(files=files, place=place, basis=basis, purpose=purpose)


def listed(client: FilesClient, *, purpose: str | None = None, on_page: OnPage | None = None) -> Inventory:
    """Return what an account holds, listed completely.

    Raises:
        FilesSourceError: as `scan.Scan.pages` does.
    """
    scan = Scan(client=client, purpose=purpose, overlap=0, on_page=on_page)
    files = cast(pl.DataFrame, pl.from_arrow(pa.concat_tables([FILES.empty_table(), *scan.batches()])))
    return Inventory(files=files, place=client.account.base_url, basis="live", purpose=purpose)
