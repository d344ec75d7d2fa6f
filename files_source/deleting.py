"""Deleting one file for good, and finding out what became of one whose deletion has no answer."""

from __future__ import annotations

import time
from typing import Final

from files_source.client import FilesClient
from files_source.deletions import Deletion, Row
from files_source.errors import OUT_OF_QUOTA, ApiError, ConfigError, DecodeError, FilesSourceError, TransportError
from files_source.journal import Journal
from files_source.progress import MICROSECONDS

_NOT_FOUND: Final = 404
_ABOUT_ALL: Final = (401, 408, 429)
"""Statuses from 400 to 499 that are not about the one file that was asked for."""
_UNDER_WAY: Final = 3_600 * MICROSECONDS
"""How long a server may still carry out a deletion whose answer nobody waits for."""

TROUBLE: Final = (ApiError, TransportError, DecodeError)
"""What leaves open whether a file is deleted."""


def delete_file(client: FilesClient, file: Row, journal: Journal) -> Deletion:
    """Delete a file, noted before and after, and return what became of it.

    A file that the server says is not there is asked for once more: some servers answer so because
    they cannot delete. What it refuses of this file alone has failed.

    Raises:
        ApiError, TransportError, DecodeError: it is not known what became of the file.
        LoadError: the journal cannot be written; where that was before, nothing was asked.
    """
    deletion = journal.begin(file, server=client.account.server)
    try:
        answer = client.delete(deletion.file_id)
    except ApiError as error:
        if error.status == _NOT_FOUND and _is_gone(client, deletion):
            return journal.end(deletion, "gone")
        if not _is_about_file(error):
            raise
        return journal.end(deletion, "failed", error=str(error))
    except ConfigError as error:
        return journal.end(deletion, "failed", error=str(error))
    if answer.get("deleted") is not True and not _is_gone(client, deletion):
        return journal.end(deletion, "failed", error="the server answered, but the file is still there")
    return journal.end(deletion, "deleted")


def find_out(client: FilesClient, deletion: Deletion, journal: Journal) -> Deletion | None:
    """Note a deletion without an outcome as done where the file is gone, and return it; None where it is not.

    One that is still there may be about to go; after an hour its deletion is forgotten. Where the
    server does not say, all stays as it is.

    Raises:
        LoadError: the journal cannot be written.
    """
    try:
        is_gone = _is_gone(client, deletion)
    except TROUBLE:
        return None
    if is_gone:
        return journal.end(deletion, "gone", at=deletion.attempted_at)
    if time.time_ns() // 1_000 - deletion.attempted_at > _UNDER_WAY:
        journal.drop([deletion])
    return None


def is_hopeless(trouble: FilesSourceError) -> bool:
    """Tell whether what went wrong with one file goes wrong with every other, too."""
    return isinstance(trouble, ApiError) and (trouble.status == 401 or trouble.code == OUT_OF_QUOTA)  # noqa: PLR2004


def _is_gone(client: FilesClient, deletion: Deletion) -> bool:
    try:
        client.get(deletion.file_id)
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        return True
    return False


def _is_about_file(error: ApiError) -> bool:
    return 400 <= error.status < 500 and error.status not in _ABOUT_ALL  # noqa: PLR2004 - the client's own mistakes
