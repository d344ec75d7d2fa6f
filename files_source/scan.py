"""A complete listing of an account: every file that is there, so that what is not there is gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import pyarrow as pa

from files_source.client import FilesClient
from files_source.listing import MAX_LIMIT
from files_source.progress import OnPage, Progress, gathered


@dataclass(slots=True, kw_only=True)
class Scan:
    """One complete listing.

    Args:
        client: whose files.
        purpose: only files of this purpose.
        overlap: as `progress.Progress` takes it.
        limit: files a page.
        on_page: what is told of progress.
    """

    client: FilesClient
    purpose: str | None = None
    overlap: int
    limit: int = MAX_LIMIT
    on_page: OnPage | None = None
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.progress = Progress(self.overlap, self.on_page)

    def batches(self) -> Iterator[pa.Table]:
        """Yield the files, oldest first, so that those created meanwhile are seen too.

        A file may come twice where a server gives it twice, pages apart.

        Raises:
            FilesSourceError: as `FilesClient.pages` does; what was yielded is then not all there is.
        """
        return gathered(filter(len, self._pages()))

    @property
    def until(self) -> int:
        """Return the instant before which every file was seen, in microseconds since 1970."""
        return cast(int, self.progress.settled)

    def _pages(self) -> Iterator[pa.Table]:
        for page in self.client.pages(order="asc", limit=self.limit, purpose=self.purpose):
            self.progress.take(page)
            yield page.files
