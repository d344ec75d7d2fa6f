"""A journal of deletions holds what was written to it, whatever became of whoever wrote it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from files_source.accounts import Account
from files_source.deletions import Deletion, Outcome
from files_source.errors import JournalError
from files_source.journal import Journal

ACCOUNT = Account(base_url="http://127.0.0.1/v1")
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
                begun = journal.begin(file(number, text), account=ACCOUNT)
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

    journal.drop([journal.end(journal.begin(file(1), account=ACCOUNT), "deleted")])

    assert not journal.path.exists()


def test_what_is_begun_is_on_disk(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    """Before anybody can act on it, and safe from a power failure: the lines and the name of their file."""
    synced = spied(monkeypatch)

    begun = journal.begin(file(1, "ü\n"), account=ACCOUNT)

    assert held(Journal(journal.path)) == {"file-1": begun}
    assert synced == {journal.path: journal.path.read_bytes(), journal.path.parent: None}


def test_what_is_left_is_on_disk_when_others_are_dropped(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    """All of it, before it takes the place of what was there."""
    done, begun = (journal.begin(file(number), account=ACCOUNT) for number in (1, 2))
    synced = spied(monkeypatch)

    journal.drop([journal.end(done, "deleted")])

    assert held(Journal(journal.path)) == {"file-2": begun}
    assert synced == {journal.path.with_suffix(".new"): journal.path.read_bytes(), journal.path.parent: None}


def test_only_its_owner_can_read_it(journal: Journal):
    """Not after something was dropped, either."""
    done, _ = (journal.begin(file(number), account=ACCOUNT) for number in (1, 2))
    assert journal.path.stat().st_mode & 0o077 == 0

    journal.drop([done])

    assert journal.path.stat().st_mode & 0o077 == 0


def test_two_servers_may_use_one_id(journal: Journal):
    """Neither's deletion takes the place of the other's."""
    other = Account(base_url="http://127.0.0.2/v1")
    begun = journal.begin(file(1), account=ACCOUNT)

    journal.drop([journal.end(journal.begin(file(1), account=other), "deleted")])

    assert journal.undecided() == [begun]
    assert held(Journal(journal.path)) == {"file-1": begun}


@pytest.mark.parametrize(
    ("now", "is_of"),
    [
        (Account(api_key="sk-one"), True),
        (Account(api_key="sk-two"), False),
        (Account(api_key="sk-one", headers={"x-team": "other"}), False),
        (Account(api_key="sk-one", name="other"), False),
        (Account(api_key="sk-one", project="other"), False),
    ],
    ids=["the same", "another key", "another header", "another name", "another project"],
)
def test_a_deletion_is_of_the_account_and_the_key_that_asked(now: Account, is_of: bool, journal: Journal):
    """The journal shows no key, and no two of its lines show that they are of one."""
    first, second = (journal.begin(file(number), account=Account(api_key="sk-one")) for number in (1, 2))

    assert first.is_of(now) is second.is_of(now) is is_of
    assert b"sk-one" not in journal.path.read_bytes()
    assert first.asked_by != second.asked_by


def test_what_failed_has_no_time_of_deletion(journal: Journal):
    """The file is still there."""
    ended = journal.end(journal.begin(file(1), account=ACCOUNT), "failed", error="no")

    assert (ended.outcome, ended.deleted_at, ended.error) == ("failed", None, "no")


def test_once_closed_nothing_begins_or_ends(journal: Journal):
    """What is under way stays so, for whoever opens it next."""
    begun = journal.begin(file(1), account=ACCOUNT)
    journal.close()

    with pytest.raises(JournalError, match="is closed: nothing more can be deleted"):
        journal.begin(file(2), account=ACCOUNT)
    journal.end(begun, "deleted")

    assert journal.undecided() == [begun]
    assert held(Journal(journal.path)) == {"file-1": begun}


def test_a_full_disk_is_told_and_nothing_is_joined_to_half_a_line(journal: Journal):
    """What can still be read is what was whole."""
    begun = journal.begin(file(1), account=ACCOUNT)

    with (
        no_file_larger_than(journal.path.stat().st_size + 20),
        pytest.raises(JournalError, match="cannot be written: File too large"),
    ):
        journal.begin(file(2), account=ACCOUNT)
    with pytest.raises(JournalError, match="is closed"):
        journal.begin(file(3), account=ACCOUNT)

    assert not journal.path.read_bytes().endswith(b"\n")
    assert journal.undecided() == [begun]
    assert held(Journal(journal.path)) == {"file-1": begun}


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def spied(monkeypatch: pytest.MonkeyPatch) -> dict[Path, bytes | None]:
    """Return what is made safe on disk from now on: a file's bytes, or a folder."""
    synced: dict[Path, bytes | None] = {}
    sync = os.fsync

    def spy(descriptor: int) -> None:
        sync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced[path] = path.read_bytes() if path.is_file() else None

    monkeypatch.setattr(os, "fsync", spy)
    return synced
