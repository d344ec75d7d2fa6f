from __future__ import annotations

import json
import string
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from files_source.decoding import Page, decode_page
from files_source.printing import Format, counted, listing, one_line, printable, size, summary
from files_source.syncing import Synced

DONE = Synced(
    to="inventory.duckdb",
    rows=25_000,
    pages=3,
    requests=5,
    retries=2,
    received=5_600_000,
    seconds=1.44,
    accounts=1,
    discarded=False,
    query="duckdb inventory.duckdb",
)


class TestPrintable:
    """Text that cannot command a terminal."""

    @given(text=st.text())
    def test_nothing_is_left_that_is_no_visible_character(self, text: str):
        """Whatever the text is made of, lone surrogates included."""
        assert printable(text).isprintable()

    @given(text=st.text(string.printable + "é製🙂"))
    def test_what_is_visible_stays(self, text: str):
        """Text without control characters is unchanged."""
        visible = "".join(character for character in text if character.isprintable())

        assert printable(visible) == visible

    @given(value=st.lists(st.text() | st.integers()))
    def test_json_stays_the_same_to_json(self, value: object):
        """What is spelled out is spelled as JSON would."""
        written = json.dumps(value, ensure_ascii=False)

        assert json.loads(printable(written)) == value

    @pytest.mark.parametrize(
        ("character", "spelled"),
        [
            ("\x1b", r"\u001b"),
            ("\n", r"\n"),
            ("\x9b", r"\u009b"),
            ("\u202e", r"\u202e"),
            ("\U000e0001", r"\udb40\udc01"),
        ],
        ids=["escape", "line break", "one-byte escape", "right to left", "tag"],
    )
    def test_each_is_spelled_out(self, character: str, spelled: str):
        """The reader sees that there is something, and what."""
        assert printable(f"a{character}b") == f"a{spelled}b"


@given(
    value=st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False)),
    indent=st.integers(0, 4),
)
def test_json_on_one_line_is_the_same_json(value: object, indent: int):
    """However it was laid out, it means the same, without a line break."""
    pretty = json.dumps(value, indent=indent).encode()

    line = one_line(pretty)

    assert json.loads(line) == value
    assert "\n" not in line


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "?"),
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (1_550_000, "1.6 MB"),
        (2_500_000_000, "2.5 GB"),
        (2_500_000_000_000, "2.5 TB"),
        (10**18, "1.0 EB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (999_999_999_999, "1.0 TB"),
        (2_700_000_000_000_000, "2.7 PB"),
        (10**21, "1000.0 EB"),
    ],
)
def test_sizes_are_in_powers_of_ten(count: int | None, shown: str):
    """As disks and the API's own limits are."""
    assert size(count) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (25_000, "25,000 files")])
def test_one_is_not_many(count: int, shown: str):
    """A number with what it counts."""
    assert counted(count, "file") == shown


class TestSummary:
    """What a run did, in a few lines."""

    def test_it_says_what_went_where_and_how(self):
        """And the next step."""
        assert summary(DONE).splitlines() == [
            "25,000 files into inventory.duckdb in 1.4 s (3 pages, 5 requests, 2 of them again, 5.6 MB)",
            "look at it: duckdb inventory.duckdb",
        ]

    def test_it_leaves_out_what_did_not_happen(self):
        """No retries, and a destination without a command of its own."""
        done = replace(DONE, rows=0, pages=1, requests=1, retries=0, query=None)

        assert summary(done) == "0 files into inventory.duckdb in 1.4 s (1 page, 1 request, 5.6 MB)"

    def test_it_says_that_an_earlier_run_had_died(self):
        """Its rows count for that run, not for this one."""
        done = replace(DONE, discarded=True)

        assert summary(done).startswith("what an earlier run that had died had left was dropped first\n25,000 files ")

    def test_a_place_cannot_command_a_terminal(self):
        """A path may hold anything."""
        done = replace(DONE, to="a\x1b[31m.duckdb", query="duckdb a\x1b[31m.duckdb")

        assert all(line.isprintable() for line in summary(done).splitlines())


class TestListing:
    """Pages as text."""

    @pytest.mark.parametrize("form", ["jsonl", "table", "csv"])
    def test_a_page_is_text_as_soon_as_it_has_come(self, form: Format):
        """The second page is not asked for before the first has been taken."""
        asked: list[int] = []

        next(listing(pages(asked), form=form))

        assert asked == [0]

    @pytest.mark.parametrize("form", ["jsonl", "table", "csv"])
    def test_no_page_is_asked_for_after_the_last_that_is_shown(self, form: Format):
        """Not even to see that it is not wanted."""
        asked: list[int] = []

        list(listing(pages(asked), form=form, most=2))

        assert asked == [0, 1]

    def test_of_an_id_that_comes_twice_on_a_page_the_first_is_shown(self):
        """As `walk` keeps the first."""
        twice = page(1, 1)
        walked = replace(twice, files=twice.files.slice(0, 1), body=twice.body.replace(b'"n":1}]', b'"n":2}]'))

        (text,) = listing([walked], form="jsonl")

        assert json.loads(text)["n"] == 1


def pages(asked: list[int]) -> Iterator[Page]:
    """Yield pages of one file, and note which were asked for."""
    for number in range(3):
        asked.append(number)
        yield page(number)


def page(*numbers: int) -> Page:
    files = [
        {"id": f"file-{number}", "created_at": 1, "filename": "a", "object": "file", "purpose": "batch", "n": number}
        for number in numbers
    ]
    body = json.dumps({"object": "list", "data": files, "has_more": False}, separators=(",", ":"))
    return decode_page(body.encode(), account="default")
