from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from files_source import charts, report, usage
from files_source.drawing import DARK, LIGHT, shortened, svg, time_axis
from files_source.emulator import Clock, Emulator, status
from files_source.inventories import Inventory
from tests.commands import Ended, finish, start
from tests.reports import (
    DAY,
    HOSTILE,
    NOW,
    REPORTS,
    SECOND,
    accounts,
    busy,
    held,
    page_of,
    small,
    small_history,
    with_history,
)

Command = Callable[..., Ended]
EMPTY = held().files
VOID = {"meta", "line", "path", "rect", "circle"}


class Read(HTMLParser):
    """A page as a browser reads it: its tags, its texts by heading, its charts' names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.page = page
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def tables(self) -> dict[str, list[list[str]]]:
        """The rows of each section's table, head first, by the section's title."""
        found: dict[str, list[list[str]]] = {}
        for title, section in re.findall(r"<h2>(.*?)</h2>(.*?)</section>", self.page, flags=re.DOTALL):
            rows = re.findall(r"<tr>(.*?)</tr>", section, flags=re.DOTALL)
            found[unescape(title)] = [
                [text(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL)] for row in rows
            ]
        return found

    @property
    def charts(self) -> list[str]:
        """The accessible name of each chart."""
        return [attrs["aria-label"] or "" for _, attrs in self.tags if attrs.get("role") == "img"]


def text(html: str) -> str:
    """Return what a piece of a page says."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def drawn_values(chart: dict[str, Any], layer: int | None = None) -> list[dict[str, Any]]:
    """Return the rows that a chart draws, or one of its layers."""
    data = chart["data"] if layer is None else chart["layer"][layer]["data"]
    values: list[dict[str, Any]] = chart["datasets"][data["name"]] if "name" in data else data["values"]
    return values


def asked_for(page: str) -> list[str]:
    """Return what a page would make a browser ask for, or run."""
    read = Read(page)
    loads = [tag for tag, _ in read.tags if tag in {"script", "link", "img", "image", "iframe", "object", "embed", "a"}]
    points = [
        f"{name}={value}"
        for _, attrs in read.tags
        for name, value in attrs.items()
        if name in {"src", "srcset", "href", "xlink:href", "data", "action", "poster"} or name.startswith("on")
    ]
    styles = [value or "" for _, attrs in read.tags for name, value in attrs.items() if name in {"style", "fill"}]
    sheets = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    return loads + points + [text for text in styles + sheets if re.search(r"url\(|@import", text)]


@pytest.fixture(scope="module", params=REPORTS)
def made(request: pytest.FixtureRequest) -> tuple[str, int]:
    """Make each kind of report once."""
    return page_of(request.param), REPORTS[request.param][1]


class TestPage:
    """Whatever an account holds."""

    def test_it_asks_for_nothing_and_runs_nothing(self, made: tuple[str, int]):
        """No resource, no script, no link; and the browser is told to allow none."""
        page, _ = made

        assert asked_for(page) == []
        assert "default-src 'none'; style-src 'unsafe-inline'" in page

    def test_every_chart_has_a_name(self, made: tuple[str, int]):
        """One that says what it shows and its first figures."""
        page, count = made

        names = Read(page).charts

        assert len(names) == len(set(names)) == count
        assert all(re.match(r"Chart\. [A-Z].*: .*\.$", name) for name in names)

    def test_it_is_one_document_in_a_language(self, made: tuple[str, int]):
        """Title, language, one first heading, and a form for phones, light and dark."""
        page, _ = made

        tags = Read(page).tags
        assert tags[0] == ("html", {"lang": "en"})
        assert [tag for tag, _ in tags].count("h1") == 1
        assert {"title", "main", "header", "footer"} < {tag for tag, _ in tags}
        assert "width=device-width" in page
        assert "prefers-color-scheme: dark" in page

    def test_every_colour_that_is_named_is_one(self, made: tuple[str, int]):
        """In light and in dark; the charts have no colours of their own."""
        page, count = made

        light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]+);", part)) for part in re.split("@media", page)[:2])
        named = set(re.findall(r"var\(--([\w-]+)\)", page))
        drawn = " ".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
        assert named <= {*light, "paper"}
        assert {*light, "paper"} == dark.keys()
        assert (light["card"], dark["card"], dark["series-2"]) == (LIGHT.card, DARK.card, DARK.series[2])
        assert bool(count) == ("var(--ink)" in drawn)
        assert re.findall(r'(?:fill|stroke)="(?:#|rgb|black|white)', drawn) == []

    def test_no_character_commands_what_shows_it(self, made: tuple[str, int]):
        """Control characters and marks of direction are spelled out."""
        page, _ = made

        assert all(character.isprintable() or character == "\n" for character in page)


def test_asked_for_finds_what_a_browser_would_load():
    """The check above can fail."""
    assert asked_for('<script>1</script><p onclick="x">') == ["script", "onclick=x"]
    assert asked_for('<img src="http://a/b"><style>p{background:url(x)}</style>') == [
        "img",
        "src=http://a/b",
        "p{background:url(x)}",
    ]


class TestNames:
    """Chosen by whoever uploads."""

    def test_they_are_shown_as_text(self):
        """In charts, tables and headings, in full up to what has room."""
        read = Read(page_of("hostile"))

        assert {tag for tag, _ in read.tags}.isdisjoint({"script", "img", "a"})
        assert "<script>alert(1)</script>" in read.text
        assert "<script>alert('account')</script>" in read.text
        assert "{{ 7 * 7 }}" in read.text
        assert r"invoice\u202egpj.exe\u2066\u0000\u001b[31m" in read.text
        assert max(map(len, read.texts), default=0) < 5_000  # the style sheet

    @given(st.text(max_size=60) | st.sampled_from(HOSTILE), st.integers(3, 100))
    @example("a" * 500, 10)
    @example("\u202e" * 6, 36)
    def test_a_long_one_keeps_its_ends(self, name: str, most: int):
        """What is left out is in the middle, and nothing invisible stays."""
        shown = shortened(name, most)

        assert shown.isprintable()
        assert len(shown) <= most
        if name.isprintable() and len(name) <= most:
            assert shown == name
        elif name.isprintable():
            head, _, tail = shown.partition("…")
            assert len(shown) == most
            assert name.startswith(head) or "…" in name
            assert name.endswith(tail) or "…" in name

    def test_those_of_one_look_are_counted_together(self):
        """Purposes that differ only where no room is left are one colour."""
        purposes = ["batch " + "x" * 40 + middle + "y" * 40 for middle in "ab"]
        files = held(*({"created_at": SECOND, "purpose": purpose, "size": 5} for purpose in purposes)).files

        drawn = charts.by_month(usage.by_month(files, "purpose"), "purpose").to_dict()

        assert len(drawn["encoding"]["color"]["scale"]["domain"]) == 1


class TestContents:
    """What the page says."""

    def test_a_busy_account_has_every_answer(self):
        """In this order, most important first."""
        page = page_of("busy")

        assert re.findall(r"<h2>(.*?)</h2>", page) == [
            "By purpose",
            "Of the 2.5 TB that a project may hold",
            "By month of creation",
            "Stored over time",
            "By age",
            "Expiring soon",
            "Largest files",
            "Maybe duplicates",
            "What could go",
        ]
        text = Read(page).text
        assert "Files 25,000 created 2020-11-15 to 2023-11-14 Stored 71.7 GB Of the 2.5 TB limit 2.9%" in text
        assert "Limit reached after 2123 at 48.1 MB per day that never expire" in text
        assert "Candidates: the same account, name and size, for the API gives no hash." in text

    def test_a_small_account_has_these_figures(self):
        """Each cell of each table, reckoned by hand, and each chart's name says the same."""
        read = Read(report.report(small(), now=NOW, history=small_history()))

        measures = ["files", "size", "size unknown"]
        tables = read.tables
        assert tables["By purpose"] == [
            ["purpose", *measures, "share"],
            ["fine-tune", "2", "4.0 GB", "0", "75.5%"],
            ["batch", "3", "700.0 MB", "1", "13.2%"],
            ["vision", "3", "600.0 MB", "0", "11.3%"],
        ]
        assert tables["Of the 2.5 TB that a project may hold"] == [
            ["account", "size", "share", "per day", "limit reached"],
            ["default", "5.3 GB", "0.2%", "100.0 MB", "2092-03-03"],
        ]
        assert tables["By month of creation"] == [
            ["month", *measures],
            ["2023-11", "4", "3.7 GB", "1"],
            ["2023-10", "3", "600.0 MB", "0"],
            ["2023-09", "0", "0 B", "0"],
            ["2023-08", "1", "1.0 GB", "0"],
        ]
        assert tables["Stored over time"][0] == ["at", *measures]
        assert [tables["Stored over time"][row] for row in (1, 2, -1)] == [
            ["2023-11-14 22:13", "8", "5.3 GB", "1"],
            ["2023-11-14", "6", "4.8 GB", "0"],
            ["2023-08-07", "1", "1.0 GB", "0"],
        ]
        assert tables["By age"] == [
            ["age", *measures],
            ["under 1 day", "2", "500.0 MB", "1"],
            ["1 to 7 days", "1", "200.0 MB", "0"],
            ["7 to 30 days", "1", "3.0 GB", "0"],
            ["30 to 90 days", "3", "600.0 MB", "0"],
            ["90 days to 1 year", "1", "1.0 GB", "0"],
            ["over 1 year", "0", "0 B", "0"],
        ]
        assert tables["Expiring soon"] == [
            ["expires", *measures],
            ["within 1 day", "0", "0 B", "0"],
            ["within 7 days", "1", "200.0 MB", "0"],
            ["within 30 days", "2", "700.0 MB", "0"],
        ]
        assert [(row[0].split(" ")[0], row[1]) for row in tables["Largest files"][1:]] == [
            ("b.jsonl", "3.0 GB"),
            ("a.jsonl", "1.0 GB"),
            ("f", "500.0 MB"),
            ("c.png", "200.0 MB"),
            ("c.png", "200.0 MB"),
            ("c.png", "200.0 MB"),
            ("e", "200.0 MB"),
        ]
        assert tables["Maybe duplicates"] == [
            ["file", "copies", "of size", "to free"],
            ["c.png newest: file-5", "3", "200.0 MB", "400.0 MB"],
        ]
        assert "To keep only the newest of each would free 400.0 MB." in read.text
        assert tables["What could go"] == [
            ["files that are", *measures],
            ["older than 90 days", "1", "1.0 GB", "0"],
            ["older than 1 year", "0", "0 B", "0"],
            ["results of batches, older than 30 days", "0", "0 B", "0"],
            ["larger than 100 MB, older than 30 days", "4", "1.6 GB", "0"],
            ["maybe copies of a newer file", "2", "400.0 MB", "0"],
        ]
        assert "Never expiring: 6 files, 4.6 GB and 1 of unknown size." in read.text
        assert read.charts[0] == (
            "Chart. By purpose. fine-tune: 2 files, size 4.0 GB, 0 size unknown, share 75.5%; "
            "batch: 3 files, size 700.0 MB, 1 size unknown, share 13.2%; "
            "vision: 3 files, size 600.0 MB, 0 size unknown, share 11.3%."
        )
        assert read.charts[-1].endswith("within 30 days: 2 files, size 700.0 MB, 0 size unknown.")

    def test_of_several_accounts_the_fullest_comes_first(self):
        """The headline says whose limit it is, and what was loaded may be more than what is there."""
        text = Read(report.report(accounts(), now=NOW)).text

        assert "Of the 2.5 TB limit by team-0 96.9% Limit reached by team-0 2023-12-04" in text
        assert "as loaded into lake/; what was deleted since may count: files-source sync --history tells" in text
        assert "8 others" in text

    def test_an_account_without_files_says_so(self):
        """Nothing else is left to say."""
        text = Read(report.report(held(), now=NOW)).text

        assert "Files 0 Stored 0 B No files Nothing is stored" in text

    def test_unknown_sizes_are_counted_not_guessed(self):
        """Charts count files where there are no bytes to see."""
        page = page_of("unknown sizes")

        assert "Stored ? 9 files of unknown size Of the 2.5 TB limit ?" in Read(page).text
        assert page.count(">files</text>") == 6  # each chart but that of the limit, at both widths

    def test_what_is_unknown_is_never_drawn_as_zero(self):
        """Each bar says how many sizes it leaves out; one of which no size is known says nothing else."""
        sizes = {"known": [3, 4], "mixed": [7, None, None], "unknown": [None, None]}
        drafts = [
            {"created_at": SECOND - DAY, "purpose": purpose, "bytes": size}
            for purpose, each in sizes.items()
            for size in each
        ]
        inventory = held(*drafts)

        shown = drawn_values(charts.by(usage.by(inventory.files, "purpose"), "purpose").to_dict())
        text = Read(report.report(inventory, now=NOW)).text

        assert {row["name"]: row["value"] for row in shown} == {
            "known": "7 B, 50.0%",
            "mixed": "7 B, 50.0%, 2 unknown",
            "unknown": "2 of unknown size",
        }
        assert "14 B, 7 files, 4 unknown" in text
        assert "Files of unknown size have no part in the chart; the table counts them." in text
        assert "have no part" not in page_of("one file")
        assert "unknown 2 ? 2 ?" in text

    def test_one_purpose_is_named_and_has_no_limit(self):
        """A project's limit is for all purposes."""
        files = held({"created_at": SECOND, "purpose": "batch", "size": 5}).files

        text = Read(report.report(Inventory(files=files, place="x", basis="live", purpose="batch"), now=NOW)).text

        assert "Stored files of purpose batch" in text
        assert "limit" not in text

    def test_what_has_expired_counts_nowhere(self):
        """As in `usage`."""
        inventory = held({"created_at": SECOND, "purpose": "batch", "size": 5, "expires_at": SECOND + DAY})

        assert "No files" in report.report(inventory, now=NOW + timedelta(days=1))

    def test_nothing_grows_for_ever(self):
        """A limit that is reached in another age has no date."""
        slow = held({"created_at": SECOND - DAY, "purpose": "batch", "size": 12_345})
        still = held({"created_at": SECOND - 40 * DAY, "purpose": "batch", "size": 12_345})

        assert "Limit reached after 2123" in Read(report.report(slow, now=NOW)).text
        assert "Limit reached never" in Read(report.report(still, now=NOW)).text

    def test_more_months_than_have_room_are_the_last_ones(self):
        """Five years of them."""
        inventory = held(*({"created_at": SECOND - 50 * DAY * n, "size": 5, "purpose": "batch"} for n in range(60)))

        page = report.report(inventory, now=NOW)

        assert "the last 60 months of 98" in page

    @pytest.mark.parametrize(
        "place",
        [
            "https://user:s3cret@host/v1",
            "https://s3cret@host/v1",
            "s3://bucket/x?token=s3cret",
            "postgres://user:s3/cret@h/d#s3cret",
        ],
    )
    def test_a_place_is_shown_without_its_secrets(self, place: str):
        """A password or token in a URL does not travel with the page."""
        inventory = Inventory(files=EMPTY, place=place, basis="files", purpose=None)

        page = report.report(inventory, now=NOW)

        assert "cret" not in page
        assert place.split("://", maxsplit=1)[0] in page

    def test_a_hundred_thousand_files_with_history_are_under_two_megabytes(self):
        """The page holds answers, not files."""
        inventory = busy(100_000)

        page = report.report(inventory, now=NOW, history=with_history(inventory))

        assert 100_000 < len(page.encode()) < 500_000

    @pytest.mark.parametrize(("years", "most"), [(0.1, 40), (3, 170), (15, 200), (70, 80)])
    def test_a_history_has_as_many_points_as_can_be_seen(self, years: float, most: int):
        """Days, weeks, months or years."""
        start = SECOND - int(years * 365 * DAY)
        inventory = held(*({"created_at": start + n, "size": 5, "purpose": "batch"} for n in range(3)))

        page = report.report(inventory, now=NOW, history=with_history(inventory))

        rows = page.partition("<h2>Stored over time")[2].partition("</section>")[0].count("<tr>") - 1
        assert most / 2 < rows <= most

    def test_a_history_of_hours_is_what_is_there_now(self):
        """The last instant is that of the report, not the midnight before it."""
        inventory = held({"created_at": SECOND - 60, "size": 5, "purpose": "batch"})

        page = report.report(inventory, now=NOW, history=with_history(inventory))

        assert "Chart. Stored over time. 2023-11-14 22:13: 1 file, size 5 B, 0 size unknown." in Read(page).charts

    def test_before_its_history_only_survivors_are_told_of(self):
        """Nobody knows what was deleted before the first history run, and the page says since when one does."""
        inventory = held(*({"created_at": SECOND - n * DAY, "size": 5, "purpose": "batch"} for n in range(400)))
        began = NOW - timedelta(days=3, hours=2)
        history = with_history(inventory).with_columns(_dlt_valid_from=pl.max_horizontal("created_at", pl.lit(began)))

        late, whole = (
            Read(report.report(inventory, now=NOW, history=versions)).text
            for versions in (history, with_history(inventory))
        )

        assert "The history begins on 2023-11-11 20:13: before, only files that were still there then" in late
        assert "only what was still there all that was stored" in late
        assert "The history begins" not in whole
        assert "only what was still there" not in whole


class TestCharts:
    """Each for itself."""

    @pytest.mark.parametrize(
        ("draw", "answer"),
        [
            (lambda answer: charts.by(answer, "purpose"), usage.by(EMPTY, "purpose")),
            (charts.by_month, usage.by_month(EMPTY)),
            (charts.over_time, usage.over_time(with_history(held()), until=NOW)),
            (charts.quota, usage.quota(EMPTY, now=NOW)),
            (charts.largest, usage.largest(EMPTY)),
            (charts.duplicates, usage.duplicates(EMPTY)),
        ],
        ids=["by", "by_month", "over_time", "quota", "largest", "duplicates"],
    )
    def test_of_nothing_there_is_an_empty_one(self, draw: Callable[[pl.DataFrame], object], answer: pl.DataFrame):
        """Axes without bars."""
        assert svg(draw(answer)).startswith("<svg")

    def test_files_and_copies_can_be_drawn(self):
        """For a notebook; the page has tables of them."""
        inventory = busy(2_000)

        drawn = svg(charts.largest(usage.largest(inventory.files)))
        copies = svg(charts.duplicates(usage.duplicates(inventory.files)))

        assert drawn.count(f'fill="{LIGHT.mark}"') == 12
        assert re.search(r">[\d.]+ [kM]B of \d copies<", copies)
        assert re.search(r">to free, [kM]B<", copies)

    def test_a_chart_stands_on_a_ground_of_its_own(self):
        """In a notebook with a dark theme its texts can be read, too."""
        drawn = svg(charts.ages(usage.ages(busy(1_000).files, now=NOW)))

        assert re.search(rf'<rect width="\d+" height="\d+" fill="{LIGHT.card}"', drawn)

    def test_months_without_a_column_have_one_colour(self):
        """And no legend."""
        drawn = svg(charts.by_month(usage.by_month(busy(1_000).files)))

        assert LIGHT.mark in drawn
        assert ">files</text>" not in drawn

    def test_bars_are_sorted_and_as_long_as_they_say(self):
        """Most bytes first, in the unit of the longest."""
        files = held(*({"created_at": SECOND, "purpose": f"p{n}", "size": n * 10**9} for n in (1, 3, 2))).files

        drawn = charts.by(usage.by(files, "purpose"), "purpose").to_dict()

        (bars,) = (layer for layer in drawn["layer"] if layer["mark"]["type"] == "bar")
        rows = next(iter(drawn["datasets"].values())) if "datasets" in drawn else drawn["data"]["values"]
        assert [(row["name"], row["length"], row["value"]) for row in rows] == [
            ("p3", 3.0, "3.0 GB, 50.0%"),
            ("p2", 2.0, "2.0 GB, 33.3%"),
            ("p1", 1.0, "1.0 GB, 16.7%"),
        ]
        assert bars["encoding"]["x"]["axis"]["title"] == "GB"
        assert bars["encoding"]["x"]["scale"]["domain"] == [0, 3.0]

    def test_each_part_of_a_month_is_as_high_as_it_says(self):
        """A bar for each month and purpose, in the unit of the highest month."""
        months = usage.by_month(small().files, "purpose")

        drawn = charts.by_month(months, "purpose", look=LIGHT).to_dict()

        first = {month: int(datetime(2023, month, 1, tzinfo=UTC).timestamp()) * 1_000 for month in (8, 10, 11)}
        assert drawn_values(drawn) == [
            {"month": first[8], "name": "fine-tune", "length": 1.0},
            {"month": first[10], "name": "vision", "length": 0.6},
            {"month": first[11], "name": "batch", "length": 0.7},
            {"month": first[11], "name": "fine-tune", "length": 3.0},
        ]
        assert drawn["encoding"]["y"]["axis"]["title"] == "GB"
        assert drawn["encoding"]["color"]["scale"] == {
            "domain": ["fine-tune", "batch", "vision"],
            "range": list(LIGHT.series[:3]),
        }

    @pytest.mark.parametrize(
        ("drawn", "rows"),
        [
            pytest.param(
                lambda files: charts.ages(usage.ages(files, now=NOW)),
                [
                    ("under 1 day", 0.5, "500.0 MB, 2 files, 1 unknown"),
                    ("1 to 7 days", 0.2, "200.0 MB, 1 file"),
                    ("7 to 30 days", 3.0, "3.0 GB, 1 file"),
                    ("30 to 90 days", 0.6, "600.0 MB, 3 files"),
                    ("90 days to 1 year", 1.0, "1.0 GB, 1 file"),
                    ("over 1 year", 0.0, "0 B, 0 files"),
                ],
                id="ages",
            ),
            pytest.param(
                lambda files: charts.expiring_soon(usage.expiring_soon(files, now=NOW)),
                [
                    ("within 1 day", 0.0, "0 B, 0 files"),
                    ("within 7 days", 200.0, "200.0 MB, 1 file"),
                    ("within 30 days", 700.0, "700.0 MB, 2 files"),
                ],
                id="expiring_soon",
            ),
            pytest.param(
                lambda files: charts.quota(usage.quota(files, now=NOW)),
                [("default", 0.0053, "5.3 GB, 0.2%, 1 unknown")],
                id="quota",
            ),
            pytest.param(
                lambda files: charts.largest(usage.largest(files, 2)),
                [("b.jsonl", 3.0, "3.0 GB"), ("a.jsonl", 1.0, "1.0 GB")],
                id="largest",
            ),
            pytest.param(
                lambda files: charts.duplicates(usage.duplicates(files)),
                [("c.png", 400.0, "400.0 MB of 3 copies")],
                id="duplicates",
            ),
        ],
    )
    def test_each_bar_is_as_long_as_it_says(
        self, drawn: Callable[[pl.DataFrame], alt.LayerChart], rows: list[tuple[str, float, str]]
    ):
        """In the unit of the longest."""
        values = drawn_values(drawn(small().files).to_dict())

        assert [(row["name"], row["length"], row["value"]) for row in values] == rows

    def test_the_line_of_a_limit_is_across_each_bar(self):
        """Where the limit is on the axis, and no higher than would leave names and values alone."""
        drawn = charts.quota(usage.quota(small().files, now=NOW), look=LIGHT).to_dict()

        *_, line = drawn["layer"]
        assert (line["mark"]["type"], line["mark"]["size"]) == ("tick", 20)
        assert line["encoding"]["x"]["datum"] == 2.5
        assert line["encoding"]["y"]["field"] == "row"

    def test_what_was_stored_is_as_high_as_it_says_until_it_changes(self):
        """A step at each instant; what came before the history is told apart, and reaches up to it."""
        midnight = datetime(2026, 9, 21, tzinfo=UTC)
        stored = [(0, 3, False), (1, 5, False), (2, 4, True), (3, 6, True)]
        points = pl.DataFrame(
            [
                {"at": midnight + timedelta(days=day), "files": 1, "bytes": size * 10**9, "recorded": recorded}
                for day, size, recorded in stored
            ]
        )

        drawn = charts.over_time(points, look=LIGHT).to_dict()

        area = drawn["layer"][0]
        day = [round((midnight + timedelta(days=day)).timestamp()) * 1_000 for day in range(4)]
        survivors, recorded = "only what was still there", "all that was stored"
        assert drawn_values(drawn, 0) == [
            {"at": day[0], "length": 3.0, "part": survivors},
            {"at": day[1], "length": 5.0, "part": survivors},
            {"at": day[2], "length": 5.0, "part": survivors},
            {"at": day[2], "length": 4.0, "part": recorded},
            {"at": day[3], "length": 6.0, "part": recorded},
        ]
        assert area["mark"]["interpolate"] == "step-after"
        assert area["encoding"]["color"]["scale"] == {
            "domain": [survivors, recorded],
            "range": [LIGHT.others, LIGHT.mark],
        }
        assert area["encoding"]["y"]["axis"]["title"] == "GB"
        assert area["encoding"]["y"]["stack"] is None
        assert area["encoding"]["x"]["scale"]["domain"] == [day[0], day[3]]
        assert drawn_values(drawn, 1) == [{"at": day[2]}]
        assert drawn_values(drawn, 2) == [{"at": day[3], "length": 6.0, "part": recorded}]

    @given(
        st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds it
        st.timedeltas(timedelta(days=1), timedelta(days=80_000)),
        st.integers(300, 1_000),
    )
    def test_an_axis_of_time_has_dates_with_room_for_each(self, first: datetime, span: timedelta, width: int):
        """Within its ends, and one at least."""
        axis = time_axis(first, first + span, width=width, title="day")

        start, end = axis["scale"]["domain"]
        ticks = axis["axis"]["values"]
        assert all(start <= tick <= end for tick in ticks)
        assert len(ticks) <= 1 + 1.1 * (width - 60) / 72 + 1


class TestCommand:
    """files-source report."""

    @pytest.fixture
    def clock(self) -> Clock:
        """Tell the real time, as the command does."""
        return Clock(int(time.time()))

    def test_a_loaded_history_becomes_a_page(self, emulator: Emulator, command: Command):
        """From inventory.duckdb into report.html, and nothing on the screen."""
        emulator.populate(500, start=int(emulator.clock()) - 400 * DAY, end=int(emulator.clock()) - 61)
        command("sync", "--history")

        done = command("report")

        assert (done.status, done.out, done.err) == (0, "", "")
        page = Path("report.html").read_text()
        assert len(Read(page).charts) >= 5
        assert "Chart. Stored over time." in page
        assert "as found in inventory.duckdb, checked by a history run at 20" in page
        assert not list(Path().glob(".files-source-*"))

    @pytest.mark.parametrize("place", ["lake/", "only-files.duckdb"])
    def test_without_a_history_there_is_the_rest(self, place: str, emulator: Emulator, command: Command):
        """And a word on how to get one."""
        emulator.add(created_at=int(emulator.clock()) - DAY, purpose="batch", size=5)
        emulator.add(created_at=int(emulator.clock()) - DAY, purpose="vision", size=5)
        command("sync", "--to", place)

        done = command("report", "--from", place, "--purpose", "batch", "-o", "batch.html")

        assert (done.status, done.err) == (0, "")
        text = Read(Path("batch.html").read_text()).text
        assert "Stored files of purpose batch" in text
        assert "Files 1 " in text
        assert "Only a history in a database knows what was stored when" in text

    def test_a_history_of_one_purpose_is_of_that_one(self, emulator: Emulator, command: Command):
        """Others are left out of what was stored over time too."""
        emulator.add(created_at=int(emulator.clock()) - 3 * DAY, purpose="batch", size=5)
        emulator.add(created_at=int(emulator.clock()) - 3 * DAY, purpose="vision", size=7)
        command("sync", "--history")

        command("report", "--purpose", "batch")

        assert re.search(r"Chart\. Stored over time\. [\d :-]+: 1 file,", Path("report.html").read_text())

    def test_an_account_is_listed_on_demand(self, emulator: Emulator, command: Command):
        """--live needs no database."""
        emulator.add(created_at=int(emulator.clock()) - DAY, purpose="batch", size=5)

        done = command("report", "--live")

        assert done.status == 0
        assert "as listed by http://127.0.0.1:" in Path("report.html").read_text()

    def test_a_listing_that_fails_leaves_the_old_page(self, emulator: Emulator, command: Command):
        """Whole or not at all."""
        Path("report.html").write_text("old")
        emulator.add_many(20_000, created_at=int(emulator.clock()) - DAY)
        emulator.fail(status(500), at=2)

        failed = command("--max-retries", "0", "report", "--live")

        assert failed.status == 1
        assert Path("report.html").read_text() == "old"

    @pytest.mark.parametrize("output", ["-", "/dev/stdout"])
    def test_it_can_go_into_a_pipe(self, output: str, emulator: Emulator, command: Command):
        """To whatever mails or uploads it; nothing is written here."""
        emulator.add(created_at=int(emulator.clock()) - DAY, purpose="batch", size=5)
        command("sync")
        before = sorted(Path().iterdir())

        piped = finish(start("report", "-o", output))

        assert (piped.status, piped.err) == (0, "")
        assert piped.out.startswith("<!doctype html>")
        assert piped.out.endswith("</html>")
        assert sorted(Path().iterdir()) == before

    def test_another_pipe_is_written_as_it_is(self, emulator: Emulator, command: Command):
        """Any that has a path, such as the shell's >(...)."""
        emulator.add(created_at=int(emulator.clock()) - DAY, purpose="batch", size=5)
        command("sync")
        reads, writes = os.pipe()

        with os.fdopen(reads) as pipe, ThreadPoolExecutor(1) as reader:
            page = reader.submit(pipe.read)
            try:
                done = command("report", "-o", f"/dev/fd/{writes}")
            finally:
                os.close(writes)

        assert (done.status, done.err) == (0, "")
        assert page.result().startswith("<!doctype html>")

    def test_two_places_at_once_are_refused(self, command: Command):
        """The account or what was loaded."""
        refused = command("report", "--live", "--from", "lake/")

        assert refused.status == 2
        assert refused.error == "--live lists the account, --from reads what was loaded: give one of them"

    @pytest.mark.parametrize("missing", ["altair", "vl_convert", "jinja2"])
    def test_what_is_not_installed_is_said_in_one_line(
        self, missing: str, emulator: Emulator, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """With the words that install it, before anything is asked."""
        for name in [name for name in sys.modules if name.startswith("files_source.")]:
            if name.rpartition(".")[2] in {"report", "sections", "page", "charts", "drawing"}:
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr("files_source.report", raising=False)
        monkeypatch.setitem(sys.modules, missing, None)

        refused = command("report", "--live")

        assert refused.status == 2
        assert refused.error == f"a report needs {missing}: pip install 'openai-files-source[report]'"
        assert emulator.requests == []
        assert not Path("report.html").exists()


def test_other_commands_start_without_it():
    """What draws is imported where it is needed."""
    script = (
        "import sys; import files_source.cli, files_source.usage_tables; print({'altair', 'jinja2'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
