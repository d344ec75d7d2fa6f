"""Where deletions are recorded: in a journal on this machine first, then in a table of a place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import dlt
import polars as pl
import pyarrow as pa
from dlt.extract.source import DltSource

from files_source.bookkeeping import filled
from files_source.deletions import DELETIONS, KEY, rows, unrecorded
from files_source.destinations import Target, target
from files_source.errors import ConfigError, JournalError
from files_source.holdings import DELETIONS_TABLE, SOURCE, merges
from files_source.journal import Journal
from files_source.resources import described
from files_source.stored import opened as opened_for_reading
from files_source.syncing import opened

_JOURNAL: Final = ".deletions.jsonl"
"""How a journal's name ends."""
_READ: Final = (*KEY, "deleted_at")
"""What of the table tells what need not be recorded again."""


class Record:
    """The record of deletions in one place.

    Args:
        to: the place, as `sync` takes it.

    Attributes:
        place: the place.
        path: the journal: beside a database or in a local lake, so that it stays where they do; else in
            the working folder of the place.
        earlier: how many deletions of a cleanup that was stopped have been recorded by this one.
        open: of how many it was not known what came of them when the place was last open.

    Raises:
        ConfigError: as `destinations.target` does.
        JournalError: there is a journal for a database that is not there any more.
    """

    def __init__(self, to: str) -> None:
        self.place = place = target(to)
        self.path = place.lock.with_suffix(_JOURNAL) if place.lock else place.working_folder / _JOURNAL.lstrip(".")
        self.earlier = 0
        self.open = 0
        self._to = to
        self._pipeline: dlt.Pipeline | None = None
        self._journal: Journal | None = None
        if place.lock is not None:
            _refuse_orphans(self.path, place)

    @property
    def query(self) -> str | None:
        """A command that looks at the table; None where that depends on the destination."""
        return self.place.query(DELETIONS_TABLE)

    @property
    def journal(self) -> Journal:
        """The journal of the place, which is open."""
        assert self._journal is not None
        return self._journal

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep other runs out of the place, which has shown that it takes rows, and give the journal.

        Raises: as `syncing.opened` does, and
            JournalError: the journal cannot be read.
        """
        promise = f"the next cleanup into it records what {self.path} holds"
        with opened(self.place, after_failure=promise) as (pipeline, _), closing(Journal(self.path)) as journal:
            self._pipeline, self._journal = pipeline, journal
            if not _has_table(pipeline):
                self._run(pipeline, DELETIONS.empty_table())
            try:
                yield
            finally:
                self.open = len(journal.undecided())

    def load(self, *, again: bool = False) -> None:
        """Take the deletions whose outcome is known from the journal to the table of the place, which is open.

        Args:
            again: they may have been loaded before.

        Raises:
            LoadError: the place did not take them; the journal has them still.
            JournalError: that cannot be written.
        """
        assert self._pipeline is not None
        decided = self.journal.decided()
        if not decided:
            return
        found = rows(decided)
        if any(deletion.outcome == "gone" for deletion in decided) or (again and not merges(self._pipeline)):
            found = unrecorded(found, self._recorded({deletion.file_id for deletion in decided}))
        if found.num_rows:
            self._run(self._pipeline, found)
        self.journal.drop(decided)
        if again:
            self.earlier += found.num_rows

    def _run(self, pipeline: dlt.Pipeline, deletions: pa.Table) -> None:
        disposition: Any = "merge" if merges(pipeline) else "append"
        resource = dlt.resource(
            [deletions],
            name=DELETIONS_TABLE,
            primary_key=KEY,
            write_disposition=disposition,
            columns=described(DELETIONS),
        )
        pipeline.run(DltSource(dlt.Schema(SOURCE), SOURCE, [filled(resource)]))

    def _recorded(self, ids: set[str]) -> pa.Table:
        """Return what the table holds of some files, and nothing where it cannot be read back."""
        try:
            with opened_for_reading(self._to) as read:
                recorded = read(DELETIONS_TABLE)
                if recorded is not None:
                    return recorded.select(_READ).filter(pl.col("id").is_in(ids)).collect().to_arrow()
        except ConfigError:
            pass
        return DELETIONS.empty_table()


def _has_table(pipeline: dlt.Pipeline) -> bool:
    if pipeline.default_schema_name is None:
        return False
    return DELETIONS_TABLE in pipeline.default_schema.data_table_names()


def _refuse_orphans(path: Path, place: Target) -> None:
    for other in path.parent.glob(f".*{_JOURNAL}"):
        owner = other.with_name(other.name.removeprefix(".").removesuffix(_JOURNAL))
        if other != path and other.stat().st_size and not owner.exists():
            raise JournalError(
                f"{other} notes deletions that {owner.name} should have recorded, which is not there: if that is now "
                f"{place.name}, rename the journal to {path.name}; if it is given up, remove the journal"
            )
