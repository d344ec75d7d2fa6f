"""A journal of deletions holds what was written to it, whatever became of whoever wrote it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from files_source.deletions import Deletion, Outcome
from files_source.errors import LoadError
from files_source.journal import Journal

SERVER = "http://127.0.0.1/v1"
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, 4), NAMES),
        st.tuples(st.sampled_from(["deleted", "gone", "failed"]), st.integers(0, 4), NAMES),
        st.tuples(st.just("drop"), st.just(0), st.just("")),
        st.tuples(st.just("reopen"), st.integers(0, 60), st.just("")),
    ),
    max_size=25,
)


def file(number: int, name: str = "a.jsonl") -> dict[str, str | int | None]:
    return {"account": "default", "id": f"file-{number}", "bytes": None, "created_at": -1, "filename": name}


def held(journal: Journal) -> dict[str, Deletion]:
    return {deletion.file_id: deletion for deletion in (*journal.decided(), *journal.undecided())}


@given(steps=STEPS)
@example([("begin", 0, ""), ("reopen", 9, ""), ("begin", 1, "")])
def test_it_holds_the_last_that_was_written_about_each_file(steps: list[tuple[str, int, str]]):
    """Begun, ended and dropped, the journal left by one who dies, with half a line at its end: those and no others."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "deletions.jsonl"
        journal, expected = Journal(path), dict[str, Deletion]()
        for step, number, text in [*steps, ("reopen", 0, "")]:
            if step == "begin":
                begun = journal.begin(file(number, text), server=SERVER)
                expected[begun.file_id] = begun
            elif step == "drop":
                journal.drop(journal.decided())
                expected = {key: deletion for key, deletion in expected.items() if deletion.outcome is None}
            elif step == "reopen":
                journal.close()
                if path.exists():
                    whole = path.read_bytes()
                    path.write_bytes(whole + whole[: min(number, whole.index(b"\n"))])
                journal = Journal(path)
            elif f"file-{number}" in expected:
                ended = journal.end(expected[f"file-{number}"], cast(Outcome, step), error=text or None)
                expected[ended.file_id] = ended

            assert held(journal) == expected
        journal.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "deletions.jsonl")) as journal:
        yield journal


def test_a_journal_of_nothing_is_no_file(journal: Journal):
    """Neither before the first deletion, nor after the last one is dropped."""
    assert not journal.path.exists()

    journal.drop([journal.end(journal.begin(file(1), server=SERVER), "deleted")])

    assert not journal.path.exists()


def test_what_is_begun_is_on_disk(journal: Journal):
    """Before anybody can act on it; only its owner can read it."""
    begun = journal.begin(file(1, "ü\n"), server=SERVER)

    assert held(Journal(journal.path)) == {"file-1": begun}
    assert journal.path.stat().st_mode & 0o077 == 0


def test_what_failed_has_no_time_of_deletion(journal: Journal):
    """The file is still there."""
    ended = journal.end(journal.begin(file(1), server=SERVER), "failed", error="no")

    assert (ended.outcome, ended.deleted_at, ended.error) == ("failed", None, "no")


def test_once_closed_nothing_begins_or_ends(journal: Journal):
    """What is under way stays so, for whoever opens it next."""
    begun = journal.begin(file(1), server=SERVER)
    journal.close()

    with pytest.raises(LoadError, match="is closed: nothing more can be deleted"):
        journal.begin(file(2), server=SERVER)
    journal.end(begun, "deleted")

    assert journal.undecided() == [begun]
    assert held(Journal(journal.path)) == {"file-1": begun}


def test_a_full_disk_is_told_and_nothing_is_joined_to_half_a_line(journal: Journal):
    """What can still be read is what was whole."""
    begun = journal.begin(file(1), server=SERVER)

    with (
        no_file_larger_than(journal.path.stat().st_size + 20),
        pytest.raises(LoadError, match="cannot be written: File too large"),
    ):
        journal.begin(file(2), server=SERVER)
    with pytest.raises(LoadError, match="is closed"):
        journal.begin(file(3), server=SERVER)

    assert not journal.path.read_bytes().endswith(b"\n")
    assert held(Journal(journal.path)) == {"file-1": begun}


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
