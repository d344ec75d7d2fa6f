"""Where deletions are recorded: in a journal on this machine first, then in a table of a place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import dlt
import pyarrow as pa
from dlt.extract.source import DltSource
from filelock import FileLock, Timeout

from files_source.deletions import DELETIONS, KEY, rows, unrecorded
from files_source.destinations import Target, target
from files_source.errors import ConfigError, LoadError
from files_source.holdings import DELETIONS_TABLE, SOURCE, merges
from files_source.journal import Journal
from files_source.resources import described
from files_source.syncing import opened
from files_source.tables import read_table

JOURNAL: Final = "deletions.jsonl"
"""The journal's name in the working folder of a place."""


class Record:
    """The record of deletions in one place.

    Args:
        to: the place as it was named.
        place: the place.
        journal: what the place's table has not yet.

    Attributes:
        earlier: how many deletions of a cleanup that was stopped have been recorded by this one.
    """

    def __init__(self, to: str, place: Target, journal: Journal) -> None:
        self.place = place
        self.journal = journal
        self.earlier = 0
        self._to = to
        self._pipeline: dlt.Pipeline | None = None

    @property
    def query(self) -> str | None:
        """A command that looks at the table; None where that depends on the destination."""
        return self.place.query(DELETIONS_TABLE)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep other runs out of the place, which has shown that it takes rows.

        Raises: as `syncing.opened` does.
        """
        promise = f"the next cleanup into it records what {self.journal.path} holds"
        with opened(self.place, after_failure=promise) as (pipeline, _):
            self._pipeline = pipeline
            if not _has_table(pipeline):
                self._run(pipeline, DELETIONS.empty_table())
            yield

    def load(self, *, again: bool = False) -> None:
        """Take the deletions whose outcome is known from the journal to the table of the place, which is open.

        Args:
            again: they may have been loaded before.

        Raises:
            LoadError: the place did not take them, or the journal cannot be written; it has them still.
        """
        assert self._pipeline is not None
        decided = self.journal.decided()
        found = rows(decided)
        if any(deletion.outcome == "gone" for deletion in decided) or (again and not merges(self._pipeline)):
            found = unrecorded(found, self._recorded())
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
        pipeline.run(DltSource(dlt.Schema(SOURCE), SOURCE, [resource]))

    def _recorded(self) -> pa.Table:
        """Return what the table holds, and nothing where it cannot be read back."""
        try:
            return read_table(self._to, DELETIONS_TABLE).to_arrow()
        except ConfigError:
            return DELETIONS.empty_table()


def _has_table(pipeline: dlt.Pipeline) -> bool:
    if pipeline.default_schema_name is None:
        return False
    return DELETIONS_TABLE in pipeline.default_schema.data_table_names()


@contextmanager
def recording(to: str) -> Iterator[Record]:
    """Give the record of deletions in the place *to*, which no other cleanup of this machine uses meanwhile.

    Raises:
        ConfigError: as `destinations.target` does.
        LoadError: another cleanup is going on, or the journal cannot be read.
    """
    place = target(to)
    place.working_folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            FileLock(place.working_folder / "cleanup.lock", timeout=0),
            closing(Journal(place.working_folder / JOURNAL)) as journal,
        ):
            yield Record(to, place, journal)
    except Timeout:
        raise LoadError(f"another cleanup into {place.name} is going on: wait for its end, and run again") from None
