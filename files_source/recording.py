"""Where deletions are recorded: noted before they are asked for, then in a table of a place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import dlt
import polars as pl
import pyarrow as pa
from dlt.extract.source import DltSource

from files_source.accounts import Account
from files_source.bookkeeping import filled
from files_source.deletions import DELETIONS, KEY, RECORDED, Deletion, Row, rows, unrecorded
from files_source.destinations import Target, target
from files_source.errors import FilesSourceError, JournalError
from files_source.handover import within_limits
from files_source.holdings import DELETIONS_TABLE, PENDING_TABLE, SOURCE, merges
from files_source.journal import Journal
from files_source.noting import Notes
from files_source.pending import PENDING, SETTLED, typed
from files_source.places import AnyPlace, named
from files_source.scan_rows import described
from files_source.stored import opened as opened_for_reading
from files_source.syncing import opened

_JOURNAL: Final = ".deletions.jsonl"
"""How a journal's name ends."""
_COLUMNS: Final[dict[str, Any]] = {
    DELETIONS_TABLE: described(DELETIONS),
    PENDING_TABLE: described(PENDING) | {SETTLED: {**described(PENDING)[SETTLED], "hard_delete": True}},
}
"""What dlt is told of the columns. Where it merges, it removes what is settled."""


class Record:
    """The record of deletions in one place.

    A journal notes each deletion before it is asked for. Where it is not beside the data, a machine
    may take it along when it goes: then the place itself notes them, too.

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

    def __init__(self, to: AnyPlace) -> None:
        self.place = place = target(to)
        self.path = place.lock.with_suffix(_JOURNAL) if place.lock else place.working_folder / _JOURNAL.lstrip(".")
        self.earlier = 0
        self.open = 0
        self._to = to
        self._pipeline: dlt.Pipeline | None = None
        self._journal: Journal | None = None
        self._notes = Notes(named(to), self.path)
        self._is_in_doubt = False
        if place.lock is not None:
            _refuse_orphans(self.path, place)

    @property
    def query(self) -> str | None:
        """A command that looks at the table; None where that depends on the destination."""
        return self.place.query(DELETIONS_TABLE)

    @property
    def may_be_open(self) -> bool:
        """Tell whether an earlier cleanup may have left something, which only a look into the place shows."""
        return self.place.lock is None or self.path.exists()

    @property
    def journal(self) -> Journal:
        """The journal of the place, which is open."""
        assert self._journal is not None
        return self._journal

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep other runs out of the place, which has shown that it takes rows, and record what the journal knows.

        Raises: as `syncing.opened` does, and
            JournalError: the journal cannot be read.
        """
        promise = f"the next cleanup into it records what {self.path} holds"
        with opened(self.place, after_failure=promise) as (pipeline, _), closing(Journal(self.path)) as journal:
            self._pipeline, self._journal, self._is_in_doubt = pipeline, journal, False
            if not _has_table(pipeline):
                self._run(DELETIONS_TABLE, DELETIONS.empty_table())
            self.load(again=True)
            if self.place.lock is None:
                self._notes.read()
            try:
                yield
            finally:
                self._notes.close_unasked(journal)
                self.open = len(self.undecided())
                if not self._is_in_doubt:
                    self._notes.settle(self._note)

    def undecided(self) -> list[Deletion]:
        """Return the deletions that were begun, here or elsewhere, and whose outcome is not known."""
        return self._notes.undecided(self.journal)

    def note(self, files: Iterable[tuple[Account, Row]]) -> int | None:
        """Note in the place that files are going to be deleted, if the journal may be lost, and return when.

        Raises:
            LoadError: the place did not take the rows.
        """
        self._notes.close_unasked(self.journal)
        return self._notes.write(files, self._note)

    def forget(self, deletions: Sequence[Deletion]) -> None:
        """Forget deletions of which nothing has come.

        Raises:
            JournalError: that cannot be written.
        """
        if deletions:
            self.journal.drop(deletions)
            self._notes.close(deletions, settles=True)

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
            self._run(DELETIONS_TABLE, found)
        self.journal.drop(decided)
        self._notes.close(decided, settles=merges(self._pipeline))
        if again:
            self.earlier += found.num_rows

    def _note(self, pending: pa.Table) -> None:
        self._run(PENDING_TABLE, pending)

    def _run(self, table: str, found: pa.Table) -> None:
        assert self._pipeline is not None
        disposition: Any = "merge" if merges(self._pipeline) else "append"
        rows = within_limits(found, self._pipeline)
        resource = dlt.resource(
            [rows], name=table, primary_key=KEY, write_disposition=disposition, columns=_COLUMNS[table]
        )
        self._is_in_doubt = True
        self._pipeline.run(DltSource(dlt.Schema(SOURCE), SOURCE, [filled(resource)]))
        self._is_in_doubt = False

    def _recorded(self, ids: set[str]) -> pa.Table:
        """Return what the table holds of some files, and nothing where it cannot be read back."""
        try:
            with opened_for_reading(self._to) as read:
                recorded = read(DELETIONS_TABLE)
                if recorded is not None:
                    found = typed(recorded, RECORDED).filter(pl.col("id").is_in(ids))
                    return found.collect().to_arrow().cast(RECORDED)
        except FilesSourceError as failed:
            if self.place.lock is not None:
                raise
            self._notes.warn(failed)
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
