"""What is believed of the answer to a deletion, and when an account is given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from werkzeug.wrappers import Response

from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.deleting import Way
from files_source.deletions import as_numbers
from files_source.emulator import Emulator, Fault, insufficient_quota, status
from files_source.emulator.delivery import Delivery
from files_source.journal import Journal
from tests.cleanups import DELETE, deleted_by
from tests.conftest import NOW


@pytest.fixture
def way(emulator: Emulator) -> Iterator[Way]:
    account = Account(base_url="http://made-up/v1")
    with FilesClient(account, transport=httpx.WSGITransport(app=emulator), max_retries=0) as client:
        yield Way(client)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "deletions.jsonl")) as journal:
        yield journal


def delete(way: Way, emulator: Emulator, journal: Journal, *, files: int) -> Counter[str | None]:
    """Try to delete so many files, and return how many came to which end; None is not known."""
    emulator.add_many(files, created_at=NOW)
    for file in as_numbers(way.client.page().files).to_pylist():
        way.delete(file, journal)
    return Counter(deletion.outcome for deletion in (*journal.decided(), *journal.undecided()))


@pytest.mark.parametrize(
    "answer",
    [
        status(404),
        status(200, body='{"id": "file-1", "object": "file", "deleted": false}'),
        status(200, body="{}"),
        status(200, body='{"code": 404, "message": "no such route"}'),
        status(200, body='{"error": {"message": "cannot delete"}}'),
        status(200, body='{"id": "file-1", "object": "file"}'),
        status(200, body="<html>"),
        status(204, body=""),
        status(429),
    ],
    ids=[
        "cannot delete",
        "says no",
        "nothing",
        "no such route",
        "an error with status 200",
        "the file",
        "no JSON",
        "no body",
        "too many requests",
    ],
)
def test_a_file_that_is_still_there_is_not_deleted(answer: Fault, way: Way, emulator: Emulator, journal: Journal):
    """Whatever the answer looks like."""
    emulator.fail(answer, times=None, **DELETE)

    assert delete(way, emulator, journal, files=1) == {"failed": 1}
    (failed,) = journal.decided()
    assert failed.error is not None
    assert f"/files/{failed.file_id} " in failed.error


@pytest.mark.parametrize("code", [204, 200])
def test_a_file_that_is_gone_confirms_an_answer_without_a_word(
    code: int, way: Way, emulator: Emulator, journal: Journal
):
    """Nothing is asked for twice, and nobody given up."""

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        call.answer()
        return Delivery(Response(status=code))

    emulator.fail(Fault("done without a word", spoil), times=None, **DELETE)

    assert delete(way, emulator, journal, files=12) == {"deleted": 12}
    assert len(deleted_by(emulator)) == 12


@pytest.mark.parametrize(
    ("answer", "most"),
    [
        (status(403), 8),
        (status(404), 8),
        (status(200, body="{}"), 8),
        (status(429), 8),
        (status(401), 1),
        (insufficient_quota(), 1),
        (status(405), 1),
        (status(501), 1),
        (status(409), 20),
    ],
    ids=[
        "a key that may only read",
        "a server that cannot delete",
        "a server that does nothing",
        "no time",
        "a wrong key",
        "no quota",
        "not allowed",
        "not implemented",
        "in use",
    ],
)
def test_what_every_file_is_refused_is_not_asked_for_again_and_again(
    answer: Fault, most: int, way: Way, emulator: Emulator, journal: Journal
):
    """Unless it may be about each of them. What was refused is known to be there."""
    emulator.fail(answer, times=None, **DELETE)

    assert delete(way, emulator, journal, files=20) == {"failed": most}
    assert len(deleted_by(emulator)) == most
    assert (way.given_up is None) == (most == 20)


def test_a_refusal_after_a_success_is_about_the_file(way: Way, emulator: Emulator, journal: Journal):
    """The key may delete."""
    emulator.fail(status(403), at=2, times=None, **DELETE)

    assert delete(way, emulator, journal, files=20) == {"deleted": 1, "failed": 19}


def test_a_key_that_loses_its_right_is_given_up(way: Way, emulator: Emulator, journal: Journal):
    """Though it could delete: a million refusals would be no news."""
    emulator.fail(status(403), at=2, times=None, **DELETE)

    assert delete(way, emulator, journal, files=90) == {"deleted": 1, "failed": 64}
    assert way.given_up is not None


@pytest.mark.parametrize("answer", [status(404), status(200, body="<html>")], ids=["not found", "no JSON"])
def test_a_server_that_shows_no_file_says_nothing_of_any(answer: Fault, way: Way, emulator: Emulator, journal: Journal):
    """A gateway may know the listing only: then no file is taken for gone because it is not shown."""
    emulator.fail(answer, times=None, **DELETE)
    emulator.fail(status(404), times=None, method="GET", path="/v1/files/*")

    assert delete(way, emulator, journal, files=20) == {None: 8}
    assert len(emulator.ids()) == 20


def test_a_new_file_is_no_proof_that_files_are_shown(way: Way, emulator: Emulator, journal: Journal):
    """Where uploads go on, the listing is another one each time it is asked for."""

    def upload(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        emulator.add(created_at=NOW + len(emulator.ids()))
        return Delivery(call.answer())

    emulator.fail(status(404), times=None, **DELETE)
    emulator.fail(status(404), times=None, method="GET", path="/v1/files/*")
    emulator.fail(Fault("upload", upload), at=2, times=2, method="GET", path="/v1/files")

    assert delete(way, emulator, journal, files=1) == {None: 1}
    assert len(emulator.ids()) == 3


def test_refusals_that_differ_are_about_their_files(way: Way, emulator: Emulator, journal: Journal):
    """Eight of one kind in a row would end it."""
    for number in range(20):
        emulator.fail(status(403 if number % 2 else 404), at=1 + number, **DELETE)

    assert delete(way, emulator, journal, files=20) == {"failed": 20}


def test_a_server_that_fails_is_given_up_though_it_has_deleted(way: Way, emulator: Emulator, journal: Journal):
    """What became of the files is not known then."""
    emulator.fail(status(500), at=2, times=None, **DELETE)

    assert delete(way, emulator, journal, files=20) == {"deleted": 1, None: 8}
    assert [deletion.file_id for deletion in way.unanswered] == deleted_by(emulator)[1:]


def test_what_the_server_does_not_say_is_not_asked_without_end(way: Way, emulator: Emulator, journal: Journal):
    """Once eight questions in a row have got no answer, those that are left stay open."""
    emulator.add_many(20, created_at=NOW)
    files = as_numbers(way.client.page().files).to_pylist()
    begun = [journal.begin(file, account=way.client.account) for file in files]
    emulator.fail(status(500), times=7, path="/v1/files/*")
    emulator.fail(status(500), at=9, times=None, path="/v1/files/*")

    for deletion in begun:
        way.find_out(deletion, journal)

    assert sum(request.path.startswith("/v1/files/") for request in emulator.requests) == 7 + 1 + 8
    assert journal.undecided() == begun
