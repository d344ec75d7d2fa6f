from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from files_source.decoding import Page
from files_source.envelope import Onward, Rest
from files_source.errors import ApiError, CursorError, TransportError
from files_source.listing import MAX_LIMIT, walk
from files_source.order import Order, is_ordered
from files_source.schema import FILES

NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)
Gone = Literal["400", "404", "empty", "beginning"]
Change = tuple[Literal["delete", "delete cursor", "add"], int]


@dataclass(slots=True)
class Server:
    """A listing in memory that keeps `after`, `limit`, `order` and `purpose`, with a switch for each oddity.

    Attributes:
        files: id, second of creation and purpose.
        gone: the answer where `after` does not exist: an error, an empty last page or the first page.
        tells: whether it says `has_more` at all.
        promises: whether it promises more after a full page, though it was the last one.
        sizes: the most rows on one page after another, whatever the limit.
        most: the largest limit that it takes.
        default: its page size where none is asked for.
        ignores: parameters that it overlooks.
        hidden: files that count for the limit but are not shown.
        last_id: what it says about its last row.
        changes: what happens before one request after another.
    """

    files: list[tuple[str, int, str]]
    gone: Gone = "404"
    tells: bool = True
    promises: bool = False
    sizes: Sequence[int] = ()
    most: int = MAX_LIMIT
    default: int = MAX_LIMIT
    ignores: Sequence[str] = ()
    hidden: frozenset[str] = frozenset()
    last_id: Callable[[str | None], str | None] = lambda last: last
    changes: Sequence[Sequence[Change]] = ()
    asked: list[dict[str, object]] = field(default_factory=list)
    queries: list[dict[str, str | int]] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    added: int = 0

    def __call__(
        self,
        *,
        after: str | None,
        limit: int | None,
        order: Order | None,
        purpose: str | None,
        query: Mapping[str, str | int] | None = None,
    ) -> Page:
        number = len(self.asked)
        self.queries.append(dict(query or {}))
        self.asked.append({"after": after, "limit": limit, "order": order, "purpose": purpose})
        assert number < 40 + 12 * len(self.files), "the walk does not come to an end"
        for change in self.changes[number] if number < len(self.changes) else ():
            self._change(*change, after)
        limit = self.default if limit is None else limit
        if limit > self.most:
            raise ApiError("GET /files", 400, f"Invalid 'limit': at most {self.most}", param="limit")
        files = self.listing(order or "desc", purpose)
        if after is None or "after" in self.ignores or (self.gone == "beginning" and after not in files):
            rest = files
        elif after in files:
            rest = files[files.index(after) + 1 :]
        elif self.gone == "empty":
            return page([], has_more=False if self.tells else None)
        else:
            raise ApiError("GET /files", int(self.gone), f"No such File object: {after}")
        size = len(rest) if "limit" in self.ignores else limit
        size = min(size, self.sizes[number]) if number < len(self.sizes) else size
        taken = rest[:size]
        has_more = len(taken) == size if self.promises else len(rest) > size
        shown = [file for file in self.files if file[0] in taken and file[0] not in self.hidden]
        return page(
            sorted(shown, key=lambda file: taken.index(file[0])),
            has_more=has_more if self.tells else None,
            last_id=self.last_id(taken[-1] if taken else None),
        )

    def listing(self, order: Order, purpose: str | None = None) -> list[str]:
        """List the ids that there are, hidden ones included; equal seconds by id."""
        files = sorted(self.files, key=lambda file: (file[1], file[0]))
        ids = [file_id for file_id, _, its_purpose in files if purpose in (None, its_purpose)]
        return ids if order == "asc" or "order" in self.ignores else ids[::-1]

    def _change(self, what: str, count: int, after: str | None) -> None:
        if what == "add":
            latest = max((second for _, second, _ in self.files), default=0)
            for _ in range(count):
                self.added += 1
                self.files.append((f"new-{self.added}", latest + self.added % 2, "batch"))
        elif what == "delete" and self.files:
            self._delete(self.files[count % len(self.files)][0])
        elif what == "delete cursor" and after is not None:
            ids = self.listing("asc")
            end = ids.index(after) + 1 if after in ids else 0
            for file_id in ids[max(0, end - count) : end]:
                self._delete(file_id)

    def _delete(self, file_id: str) -> None:
        self.deleted.add(file_id)
        self.files = [file for file in self.files if file[0] != file_id]


def page(files: Iterable[tuple[str, int, str]], *, has_more: bool | None, last_id: str | None = None) -> Page:
    rows = [
        {"account": "a", "id": file_id, "created_at": NOON + timedelta(seconds=second), "purpose": purpose}
        | {"filename": "a.txt", "object": "file"}
        for file_id, second, purpose in files
    ]
    return Page(pa.Table.from_pylist(rows, schema=FILES), has_more, last_id, NOON, b"")


def numbered(count: int, *, to_a_second: int = 3) -> list[tuple[str, int, str]]:
    """Return *count* files, several to a second, ids in order of creation."""
    return [(f"file-{number:03d}", number // to_a_second, "batch") for number in range(count)]


def script(*pages: Page) -> Callable[..., Page]:
    """Answer one request after another with *pages*, and the last of them for ever."""
    left: Iterator[Page] = iter(pages)
    return lambda **_: next(left, pages[-1])


def ids(pages: Iterable[Page]) -> list[str]:
    return [file_id for page in pages for file_id in page.files.column("id").to_pylist()]


orders: st.SearchStrategy[Order] = st.sampled_from(["asc", "desc"])
last_ids = st.sampled_from([lambda last: last, lambda _: None, lambda _: "file-000", lambda _: "nonsense"])
ways_to_be_gone: st.SearchStrategy[Gone] = st.sampled_from(["400", "404", "empty"])
changes = st.lists(
    st.lists(
        st.tuples(st.just("delete"), st.integers(0, 40))
        | st.tuples(st.just("delete cursor"), st.integers(1, 5))
        | st.tuples(st.just("add"), st.integers(1, 3)),
        max_size=3,
    ),
    max_size=12,
)


@settings(max_examples=200)
@given(
    count=st.integers(0, 30),
    limit=st.integers(1, 35),
    order=orders,
    gone=ways_to_be_gone,
    tells=st.booleans(),
    promises=st.booleans(),
    sizes=st.lists(st.integers(1, 6), max_size=20),
    last_id=last_ids,
)
def test_pages_hold_every_file_once_and_in_order(
    *,
    count: int,
    limit: int,
    order: Order,
    gone: Gone,
    tells: bool,
    promises: bool,
    sizes: list[int],
    last_id: Callable[[str | None], str | None],
):
    """However a listing is cut into pages, joining them gives the listing back.

    Short pages, no `has_more`, a `has_more` that is wrong after a full last page, and a `last_id`
    that is missing or wrong make no difference.
    """
    server = Server(numbered(count), gone, tells=tells, promises=promises, sizes=sizes, last_id=last_id)

    pages = list(walk(server, limit=limit, order=order))

    assert ids(pages) == server.listing(order)
    assert all(page.files.num_rows for page in pages[1:])


@settings(max_examples=200)
@example(
    count=0,
    limit=3,
    order="desc",
    gone="400",
    tells=False,
    sizes=[3, 1, 1, 1],
    hidden=set(),
    changes=[[("add", 3)], [("delete", 1), ("add", 3)]],
)
@given(
    count=st.integers(0, 25),
    limit=st.integers(1, 12),
    order=orders,
    gone=ways_to_be_gone,
    tells=st.booleans(),
    sizes=st.lists(st.integers(1, 6), max_size=20),
    hidden=st.sets(st.integers(0, 24), max_size=10),
    changes=changes,
)
def test_files_that_live_throughout_are_given_once_whatever_comes_and_goes(
    *,
    count: int,
    limit: int,
    order: Order,
    gone: Gone,
    tells: bool,
    sizes: list[int],
    hidden: set[int],
    changes: list[list[Change]],
):
    """Files may be deleted and added before any request, the cursor among them: nothing is missed, nothing doubled.

    Where too much is deleted at once, the walk may give up with an error, but never end without one.
    """
    unseen = frozenset(f"file-{number:03d}" for number in hidden) if tells else frozenset()
    server = Server(numbered(count), gone, tells=tells, sizes=sizes, hidden=unseen, changes=changes)
    at_first = set(server.listing(order))

    try:
        given = ids(walk(server, limit=limit, order=order))
    except CursorError:
        assert server.deleted or unseen or (server.added and order == "desc")
        return

    lived = [file_id for file_id in server.listing(order) if file_id in at_first - unseen]
    assert len(set(given)) == len(given)
    assert [file_id for file_id in given if file_id in lived] == lived


@given(
    count=st.integers(2, 25),
    limit=st.integers(1, 12),
    order=orders,
    gone=st.sampled_from(["400", "404", "empty", "beginning"]),
    request=st.integers(1, 12),
)
def test_a_single_cursor_that_vanishes_is_no_obstacle(count: int, limit: int, order: Order, gone: Gone, request: int):
    """When just the file to start after is deleted, the walk goes on from the one before it."""
    server = Server(numbered(count), gone, changes=[[]] * request + [[("delete cursor", 1)]])
    at_first = server.listing(order)

    given = ids(walk(server, limit=limit, order=order))

    assert given == at_first


def test_the_walk_goes_back_as_far_as_it_must():
    """With the last two files of a page gone and the one before it too, the page's first is still a place to go on."""
    server = Server(numbered(12), changes=[[], [], [("delete cursor", 2), ("delete", 3)]])

    given = ids(walk(server, limit=4, order="asc"))

    assert given == [f"file-{number:03d}" for number in range(12)]
    assert [request["after"] for request in server.asked[2:5]] == ["file-007", "file-006", "file-004"]


@pytest.mark.parametrize("tells", [True, False], ids=["has_more", "no has_more"])
@pytest.mark.parametrize("gone", ["400", "404", "empty"])
def test_a_page_whose_files_are_all_deleted_is_an_error(gone: Gone, tells: bool):
    """With no file left to go on from, the end cannot be told from a gap: the walk says so and stops."""
    server = Server(numbered(9), gone, tells=tells, changes=[[], [], [("delete cursor", 6)]])

    with pytest.raises(CursorError, match=r"breaks off after 'file-005'.*try again"):
        ids(walk(server, limit=3, order="asc"))


def test_an_account_that_turns_empty_is_an_error():
    """Files were promised, and now the server shows none at all: that is not taken for the end."""
    server = Server(numbered(6), "empty", changes=[[], [("delete cursor", 3)] + [("delete", 0)] * 3])

    with pytest.raises(CursorError, match="although more was promised"):
        ids(walk(server, limit=3, order="asc"))


def test_the_rest_of_a_listing_may_be_deleted():
    """If all that was promised is deleted meanwhile, but the last file given is still there, that is the end."""
    server = Server(numbered(6), "empty", changes=[[], [("delete", 3)] * 3])

    given = ids(walk(server, limit=3, order="asc"))

    assert given == ["file-000", "file-001", "file-002"]


@pytest.mark.parametrize("gone", ["400", "404", "empty"])
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_smallest_accounts_need_no_has_more(count: int, limit: int, gone: Gone):
    """An account with no file or one, on a server that never says whether there is more, is no special case."""
    server = Server(numbered(count), gone, tells=False)

    pages = list(walk(server, limit=limit))

    assert ids(pages) == server.listing("desc")
    assert len(pages) >= 1


def test_the_listing_of_one_purpose_stays_that_on_every_page():
    """Purpose, order and limit stand on each request, the cursor is the last row, and no request is wasted."""
    server = Server(
        [(f"{purpose}-{second}", second, purpose) for second in range(4) for purpose in ("batch", "vision")]
    )

    given = ids(walk(server, after="batch-0", limit=2, order="asc", purpose="batch"))

    always = {"limit": 2, "order": "asc", "purpose": "batch"}
    assert given == ["batch-1", "batch-2", "batch-3"]
    assert server.asked == [{"after": "batch-0", **always}, {"after": "batch-2", **always}]


def test_a_walk_asks_only_as_far_as_it_is_followed():
    """Nothing is asked before the first page is wanted, and no page before its turn."""
    server = Server(numbered(6))

    pages = walk(server, limit=2)
    asked_at_first = len(server.asked)
    next(pages)

    assert asked_at_first == 0
    assert len(server.asked) == 1


def test_the_last_row_is_the_cursor_whatever_the_page_says():
    """The official clients never use `last_id`, so servers may have it wrong."""
    server = Server(numbered(4), last_id=lambda _: "file-000")

    ids(walk(server, limit=2, order="asc"))

    assert [request["after"] for request in server.asked] == [None, "file-001"]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_an_order_that_is_ignored_loses_nothing(order: Order):
    """A server with an order of its own gives all its files in that order."""
    server = Server(numbered(10), ignores=["order"])

    given = ids(walk(server, limit=3, order=order))

    assert given == server.listing("asc")


def test_first_rows_that_are_transposed_lose_nothing():
    """A page whose first rows stand the wrong way round is still a page."""
    first, second, third, *rest = numbered(6)
    pages = script(page([second, first, third], has_more=True), page(rest, has_more=False))

    given = ids(walk(pages, limit=3, order="asc"))

    assert given == ["file-001", "file-000", "file-002", "file-003", "file-004", "file-005"]


def test_a_file_that_comes_twice_is_given_once():
    """A file is dropped where it stands again on its page, or on the next one; the first place counts."""
    one, two, three, four = numbered(4)
    pages = script(page([one, two, one, two], has_more=True), page([two, three, three, one, four], has_more=False))

    given = list(walk(pages, limit=5, order="asc"))

    assert [page.files.column("id").to_pylist() for page in given] == [
        ["file-000", "file-001"],
        ["file-002", "file-003"],
    ]


def test_a_page_without_repeats_is_handed_on_as_it_is():
    """Nothing is copied where nothing has to be dropped."""
    only = page(numbered(3), has_more=False)

    (given,) = walk(script(only))

    assert given is only


def test_an_after_that_is_inclusive_loses_nothing():
    """A server whose page starts with the cursor itself gives each file once all the same."""
    files = numbered(5)
    pages = script(
        page(files[:2], has_more=True),
        page(files[1:3], has_more=True),
        page(files[2:4], has_more=True),
        page(files[3:], has_more=False),
    )

    given = ids(walk(pages, limit=2, order="asc"))

    assert given == [file_id for file_id, _, _ in files]


@pytest.mark.parametrize("count", [3, 10], ids=["the last page again", "the first page again"])
def test_a_page_that_comes_again_and_promises_more_is_an_error(count: int):
    """A server that ignores `after`, or whose last page repeats, is tried once in all other ways."""
    server = Server(numbered(count), promises=True, ignores=["after"])

    with pytest.raises(CursorError, match="'file-002' for the second time"):
        ids(walk(server, limit=3, order="asc"))

    assert len(server.asked) == 3
    assert set(server.queries[2]) > {"after_id", "offset", "skip", "page"}


def test_a_listing_that_runs_in_circles_is_an_error():
    """Two pages that point to each other are not followed for ever."""
    files = numbered(4)
    circle = {None: files[:2], "file-001": files[2:], "file-003": files[:2]}

    with pytest.raises(CursorError):
        ids(walk(lambda *, after, **_: page(circle.get(after, []), has_more=True), limit=2, order="asc"))


@pytest.mark.parametrize(
    ("count", "limit", "requests"),
    [(5, 10, 3), (10, 5, 3), (5, 5, 4)],
    ids=["fewer than the limit", "more than the limit", "as many as the limit"],
)
def test_a_server_that_does_not_page_gives_everything_at_once(count: int, limit: int, requests: int):
    """All files in one answer, and again whatever is asked for: the right rows, no error."""
    server = Server(numbered(count), tells=False, ignores=["after", "limit"])

    given = ids(walk(server, limit=limit))

    assert given == server.listing("desc")
    assert len(server.asked) == requests


@pytest.mark.parametrize("count", [20, 100, 1_000])
def test_a_page_of_a_usual_size_that_comes_again_is_not_taken_for_everything(count: int):
    """As many files as servers put on a page, whatever was asked for: there may be more."""
    server = Server(numbered(count), tells=False, ignores=["after", "limit"])

    with pytest.raises(CursorError, match=f"full page of {count:,} files"):
        ids(walk(server))


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(Rest(total=5, at_least=5), id="total"),
        pytest.param(Rest(at_least=5), id="count"),
        pytest.param(Rest(onward=Onward("next_page", "abc")), id="a token"),
        pytest.param(Rest(onward=Onward("next_page", "2")), id="the number of a page"),
        pytest.param(
            Rest(onward=Onward("next", "https://other.example/v1/files?cursor=x", is_address=True)), id="a link"
        ),
    ],
)
@pytest.mark.parametrize("has_more", [None, False], ids=["no has_more", "has_more false"])
@pytest.mark.parametrize("rows", [2, 0])
def test_an_end_that_the_answer_contradicts_is_an_error(rows: int, has_more: bool | None, rest: Rest):
    """Whatever says that there is more than was read makes the listing incomplete."""
    only = replace(page(numbered(rows), has_more=has_more), rest=rest)

    with pytest.raises(CursorError):
        ids(walk(lambda **_: only, home="https://api.example/v1/files"))


def test_a_total_that_is_reached_is_the_end_though_the_page_is_full():
    """Exactly as many files as asked for, and as many as there are by the server's count."""
    only = replace(page(numbered(20), has_more=None), rest=Rest(total=20, at_least=20))

    assert len(ids(walk(lambda **_: only, limit=20))) == 20


def test_a_total_that_counts_the_page_breaks_no_listing():
    """A server that heeds `after` is followed to its end, whatever it counts."""
    server = Server(numbered(10), tells=False)

    def fetch(**asked: Any) -> Page:
        found = server(**asked)
        return replace(found, rest=Rest(total=found.files.num_rows, at_least=found.files.num_rows))

    assert ids(walk(fetch, limit=3)) == server.listing("desc")


def test_a_total_that_counts_all_purposes_breaks_no_listing_of_one():
    """The server counts what it has, and gives what was asked for."""
    server = Server([*numbered(5), ("other", 9, "vision")])

    def fetch(**asked: Any) -> Page:
        return replace(server(**asked), rest=Rest(total=6, at_least=6))

    assert ids(walk(fetch, purpose="batch")) == server.listing("desc", "batch")


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_total_that_changes_while_files_come_and_go_breaks_no_listing(order: Order):
    """The count of the moment is no promise to who began to list before."""
    changes: list[list[Change]] = [[], [("add", 3), ("delete", 8)], [("delete", 0)], [("add", 1)]]
    server = Server(numbered(9), changes=changes)

    def fetch(**asked: Any) -> Page:
        found = server(**asked)
        return replace(found, rest=Rest(total=len(server.files), at_least=len(server.files)))

    given = ids(walk(fetch, limit=3, order=order))

    assert {file_id for file_id, _, _ in numbered(9)} - server.deleted <= set(given)


@pytest.mark.parametrize("way", ["after_id", "starting_after", "offset", "skip", "page from 0", "page from 1"])
@pytest.mark.parametrize("total", [True, False], ids=["total", "no total"])
@settings(max_examples=60)
@example(count=9, most=8, changes=[[], [("add", 1)], [("add", 1), ("add", 3)], [("add", 1), ("add", 3)]])
@given(
    count=st.integers(0, 40),
    most=st.sampled_from([20, 8, 10]),
    changes=st.lists(
        st.lists(
            st.tuples(st.just("delete"), st.integers(0, 40)) | st.tuples(st.just("add"), st.integers(1, 3)), max_size=2
        ),
        max_size=8,
    ),
)
def test_a_server_that_pages_its_own_way_loses_nothing_while_files_come_and_go(
    way: str, total: bool, count: int, most: int, changes: list[list[Change]]
):
    """Each page shares a file with the last one, or the walk gives up with an error; it never ends too early."""
    server = Server(numbered(count), changes=changes)
    at_first = set(server.listing("desc"))

    def fetch(*, query: Mapping[str, str | int] | None = None, **_: Any) -> Page:
        found = server(after=None, limit=MAX_LIMIT, order="desc", purpose=None)
        asked, rows = dict(query or {}), sorted(server.files, key=lambda file: file[:2], reverse=True)
        size = min(int(asked.get("page_size", most)), most)
        if way.startswith("page"):
            start = (int(asked["page"]) - int(way[-1])) * size if "page" in asked else 0
        elif way in ("offset", "skip"):
            start = int(asked.get(way, 0))
        else:
            names = [file_id for file_id, _, _ in rows]
            if asked.get(way, names[:1]) not in (names[:1], *names):
                raise ApiError("GET /files", 404, "no such file")
            start = names.index(str(asked[way])) + 1 if way in asked else 0
        counted = Rest(total=len(rows), at_least=len(rows)) if total else Rest()
        return replace(page(rows[max(start, 0) :][:size], has_more=None), date=found.date, rest=counted)

    try:
        given = ids(walk(fetch))
    except (CursorError, ApiError):
        assert server.deleted or server.added or (count == most and not total)
        return

    assert len(set(given)) == len(given)
    assert at_first - server.deleted <= set(given)


def test_a_full_page_that_comes_again_without_a_word_is_an_error():
    """Exactly as many files as asked for, twice the same: there may be more that cannot be reached."""
    server = Server(numbered(10), tells=False, ignores=["after"])

    with pytest.raises(CursorError, match=r"ignores 'after'.*another limit"):
        ids(walk(server, limit=5))


def test_an_empty_page_that_promises_more_is_gone_on_from():
    """Pages whose files are all hidden say where they end, and the walk goes on from there."""
    server = Server(numbered(9), hidden=frozenset(f"file-{number:03d}" for number in range(2, 7)))

    given = ids(walk(server, limit=2, order="asc"))

    assert given == ["file-000", "file-001", "file-007", "file-008"]


@pytest.mark.parametrize(
    "hidden", [range(4, 6), range(2, 6), range(6)], ids=["the last page", "the last pages", "all pages"]
)
def test_files_may_be_hidden_up_to_the_end(hidden: Iterable[int]):
    """A listing that ends with files it does not show ends without an error."""
    server = Server(numbered(6), promises=True, hidden=frozenset(f"file-{number:03d}" for number in hidden))

    given = ids(walk(server, limit=2, order="asc"))

    assert given == [file_id for file_id in server.listing("asc") if file_id not in server.hidden]


@pytest.mark.parametrize("last_id", [None, "file-001"], ids=["no cursor", "the same cursor"])
def test_an_empty_page_that_promises_more_and_leads_nowhere_is_an_error(last_id: str | None):
    """More is promised, but no file is named to go on from."""
    pages = script(page(numbered(2), has_more=True), page([], has_more=True, last_id=last_id))

    with pytest.raises(CursorError, match="names none to go on from"):
        ids(walk(pages, limit=2, order="asc"))


def test_a_hidden_cursor_that_vanishes_is_not_taken_for_the_end():
    """The cursor of an empty page may be deleted too: the walk goes on from the page before."""
    hidden = frozenset(["file-002", "file-003"])
    server = Server(numbered(6), "empty", hidden=hidden, changes=[[], [], [("delete cursor", 1)]])

    given = ids(walk(server, limit=2, order="asc"))

    assert given == ["file-000", "file-001", "file-004", "file-005"]


def test_the_beginning_again_in_place_of_a_vanished_cursor_doubles_nothing():
    """A server that answers an unknown cursor with its first page is asked again with a known one."""
    server = Server(numbered(9), "beginning", changes=[[], [], [("delete cursor", 2)]])

    given = ids(walk(server, limit=4, order="asc"))

    assert given == [f"file-{number:03d}" for number in range(9)]


def test_a_limit_that_is_refused_is_halved_until_it_is_taken():
    """A server that takes at most 100 is found out once, and asked for no more from then on."""
    server = Server(numbered(200), most=100)

    given = ids(walk(server, limit=1000))

    assert given == server.listing("desc")
    assert [request["limit"] for request in server.asked] == [1000, 500, 250, 125, 62, 62, 62, 62]


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(ApiError("GET /files", 400, "must be <= 10", param="limit"), id="named"),
        pytest.param(ApiError("GET /files", 422, "Input should be less than 11: query.limit"), id="in words"),
    ],
)
def test_a_server_may_refuse_a_limit_in_its_own_words(refusal: ApiError):
    """The parameter that the error names counts, or its words where it names none."""
    server = Server(numbered(20))

    def fetch(*, limit: int, **parameters: object) -> Page:
        if limit > 10:
            raise refusal
        return server(limit=limit, **parameters)

    given = ids(walk(fetch, limit=20))

    assert given == server.listing("desc")


def test_a_server_that_takes_no_limit_at_all_is_believed_at_last():
    """Down to a single file a page, and with no limit at all, the server's own error is raised."""
    server = Server(numbered(3), most=0)

    with pytest.raises(ApiError, match="Invalid 'limit'"):
        ids(walk(server, limit=10))

    assert [request["limit"] for request in server.asked] == [10, 5, 2, 1, None]


@pytest.mark.parametrize(
    ("error", "pages"),
    [
        pytest.param(ApiError("GET /files", 400, "Unknown purpose, limit it", param="purpose"), 0, id="another 400"),
        pytest.param(ApiError("GET /files", 404, "No such File object"), 0, id="404 at first"),
        pytest.param(ApiError("GET /files", 429, "Rate limit reached"), 0, id="429 at first"),
        pytest.param(ApiError("GET /files", 429, "Rate limit reached"), 1, id="429 later"),
        pytest.param(ApiError("GET /files", 401, "Invalid API key"), 1, id="401"),
        pytest.param(TransportError("no answer"), 1, id="no answer"),
    ],
)
def test_other_errors_are_raised_at_once(error: Exception, pages: int):
    """What has nothing to do with the limit or a vanished cursor is not asked again in another way."""
    asked = []

    def fetch(*, after: str | None, **_: object) -> Page:
        asked.append(after)
        if len(asked) > pages:
            raise error
        return page(numbered(2), has_more=True)

    with pytest.raises(type(error)) as raised:
        ids(walk(fetch, limit=2))

    assert raised.value is error
    assert len(asked) == pages + 1


def test_a_refused_cursor_that_is_still_there_is_the_servers_own_error():
    """A 400 is only taken for a vanished file once that file is no longer shown: here `after` itself is refused."""
    server = Server(numbered(6), tells=False)
    refusal = ApiError("GET /files", 400, "Unknown parameter: 'after'", param="after")

    def fetch(*, after: str | None, **parameters: object) -> Page:
        if after is not None:
            raise refusal
        return server(after=after, **parameters)

    with pytest.raises(ApiError) as raised:
        ids(walk(fetch, limit=5))

    assert raised.value is refusal


def test_a_vanished_file_with_limit_in_its_name_does_not_shrink_the_pages():
    """What stands in an id says nothing of the limit."""
    files = [(f"no-limit-{number}", number, "batch") for number in range(12)]
    server = Server(files, "400", changes=[[], [("delete cursor", 1)]])

    given = ids(walk(server, limit=4, order="asc"))

    assert given == [file_id for file_id, _, _ in files]
    assert [request["limit"] for request in server.asked] == [4, 4, 4, 4]


@given(seconds=st.lists(st.integers(0, 5), max_size=8), order=orders)
def test_files_are_ordered_when_their_times_are(seconds: list[int], order: Order):
    """Ties count as ordered either way, and so do a single file and none."""
    files = page([(str(second), second, "batch") for second in seconds], has_more=False).files

    ordered = is_ordered(files, order)

    pairs = pairwise(seconds if order == "asc" else seconds[::-1])
    assert ordered == all(earlier <= later for earlier, later in pairs)
