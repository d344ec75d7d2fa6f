"""The inventory of every file behind OpenAI's Files API, as data: a dlt source, Arrow tables, a command line."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from files_source.account_files import read_accounts as read_accounts
    from files_source.accounts import Account as Account
    from files_source.cleanup import CleanedInPart as CleanedInPart
    from files_source.cleanup import Cleanup as Cleanup
    from files_source.client import FilesClient as FilesClient
    from files_source.errors import AccountsError as AccountsError
    from files_source.errors import ApiError as ApiError
    from files_source.errors import ConfigError as ConfigError
    from files_source.errors import CursorError as CursorError
    from files_source.errors import DecodeError as DecodeError
    from files_source.errors import DeletionError as DeletionError
    from files_source.errors import FilesSourceError as FilesSourceError
    from files_source.errors import JournalError as JournalError
    from files_source.errors import LoadError as LoadError
    from files_source.errors import TransportError as TransportError
    from files_source.frames import read_files as read_files
    from files_source.frames import scan_files as scan_files
    from files_source.history import as_of as as_of
    from files_source.history import as_of_snapshots as as_of_snapshots
    from files_source.history import changes as changes
    from files_source.history import current as current
    from files_source.schema import FILES as FILES
    from files_source.source import openai_files as openai_files
    from files_source.stream import FilesStream as FilesStream
    from files_source.syncing import SyncedInPart as SyncedInPart
    from files_source.syncing import sync as sync
    from files_source.tables import read_inventory as read_inventory
    from files_source.tables import read_table as read_table

_HOMES: Final = {
    "Account": "accounts",
    "AccountsError": "errors",
    "ApiError": "errors",
    "CleanedInPart": "cleanup",
    "Cleanup": "cleanup",
    "ConfigError": "errors",
    "CursorError": "errors",
    "DecodeError": "errors",
    "DeletionError": "errors",
    "FILES": "schema",
    "FilesClient": "client",
    "FilesSourceError": "errors",
    "FilesStream": "stream",
    "JournalError": "errors",
    "LoadError": "errors",
    "SyncedInPart": "syncing",
    "TransportError": "errors",
    "as_of": "history",
    "as_of_snapshots": "history",
    "changes": "history",
    "current": "history",
    "openai_files": "source",
    "read_accounts": "account_files",
    "read_files": "frames",
    "read_inventory": "tables",
    "read_table": "tables",
    "scan_files": "frames",
    "sync": "syncing",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: the command line must start fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
