"""Times and durations as people give them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from files_source.durations import duration, seconds
from files_source.errors import ConfigError
from files_source.times import instant, utc, window

NOW = datetime(2026, 5, 31, 12, tzinfo=UTC)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 31, tzinfo=UTC)
EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("30min", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("3mo", timedelta(days=93)),
        ("1y", timedelta(days=366)),
        ("90 days", timedelta(days=90)),
        (" 1 Month ", timedelta(days=31)),
        ("12H", timedelta(hours=12)),
        ("7\u00a0d", timedelta(days=7)),
        ("1h30min", timedelta(minutes=90)),
        ("1y 6mo 2w", timedelta(days=366 + 6 * 31 + 14)),
        ("P90D", timedelta(days=90)),
        ("P1Y2M", timedelta(days=366 + 62)),
        ("PT3M", timedelta(minutes=3)),
        ("999999w", timedelta(weeks=999_999)),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, expected: timedelta):
    """A month and a year are never less than the calendar's."""
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["3m", "3M", "3 m", " 3m ", "1h 3m", "3m ago"])
def test_a_bare_m_is_refused_with_both_readings(text: str):
    """As a duration, as a time that long ago, and in whichever case."""
    for read in (duration, utc, seconds):
        if read is utc or not text.endswith("ago"):
            with pytest.raises(ConfigError, match="is ambiguous: give 3min for minutes or 3mo for months"):
                read(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "'' is no duration: give 30min, 12h, 7d, 2w, 3mo or 1y"),
        ("90", "'90' has no unit: give 30min"),
        ("d", "'d' is no duration"),
        ("0d", "'0d' is nothing: give more than 0"),
        ("P0D", "'P0D' is nothing: give more than 0"),
        ("-1d", "'-1d' is negative: give more than 0"),
        ("1.5d", "'1.5d' is a fraction: give a whole number of a smaller unit, such as 36h"),
        ("1,5 d", "is a fraction"),
        ("9999999999d", "'9999999999d' is longer than a duration can be"),
        ("9" * 5_000 + "d", "9... is longer than a duration can be"),
        ("٣d", r"'\\u0663d' is no duration"),
        ("1d 2w", "the longest unit first"),
        ("1d1d", "the longest unit first"),
        ("3 moons", "'3 moons' is no duration"),
        ("3d; rm", "'3d; rm' is no duration"),
        ("P", "'P' is no duration"),
        ("p3m", "'p3m' is no duration"),
        (timedelta(days=-1), "is negative: give more than 0"),
        (90, r"\(int\) is no duration: give a timedelta, or text such as 30min"),
        (b"90d", r"\(bytes\) is no duration"),
        (np.timedelta64("NaT", "D"), r"\(timedelta64\) is no duration"),
    ],
)
def test_what_is_no_duration_is_told(given: object, message: str):
    """In one line, with what it is called."""
    with pytest.raises(ConfigError, match=message) as refused:
        duration(given, name="age")  # type: ignore[arg-type]

    assert str(refused.value).startswith("age ")
    assert str(refused.value).isprintable()


def test_durations_of_other_libraries_are_taken():
    """numpy's, pandas' and pendulum's."""
    assert duration(np.timedelta64(90, "D")) == timedelta(days=90)
    assert type(duration(pd.Timedelta(90, "D"))) is timedelta
    assert duration(pendulum.duration(hours=3)) == timedelta(hours=3)


@pytest.mark.parametrize("given", [7_200, "7200", "2h", "PT2H", timedelta(hours=2)])
def test_a_number_alone_is_seconds_where_the_api_counts_them(given: int | timedelta | str):
    """A unit may be given, too."""
    assert seconds(given) == 7_200


@pytest.mark.parametrize("given", [0, "0", -1, True, "0h", timedelta(seconds=1.5), timedelta(), 1.5, "1.5"])
def test_what_is_no_number_of_seconds_is_told(given: object):
    """Nothing is rounded."""
    with pytest.raises(ConfigError, match=r"^expires_after .* (give|is not a whole number of seconds above 0)"):
        seconds(given, name="expires_after")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-01-31T12:00Z", NOON),
        ("2026-01-31t12:00:00z", NOON),
        ("2026-01-31 12:00:00.000000", NOON),
        ("2026-01-31T14:00+02:00", NOON),
        ("2026-01-31 14:00:00 +02", NOON),
        ("20260131T1200", NOON),
        ("2026-01-31 12:00:00 UTC", NOON),
        ("2026-01-31", MIDNIGHT),
        ("20260131", MIDNIGHT),
        ("2026-W05-6", MIDNIGHT),
        ("2026W05", MIDNIGHT - timedelta(days=5)),
        (NOON.replace(tzinfo=None), NOON),
        (NOON.astimezone(EAST), NOON),
        (MIDNIGHT.date(), MIDNIGHT),
        (np.datetime64("2026-01-31T12:00:00.000000001"), NOON),
        (np.datetime64("2026-01-31"), MIDNIGHT),
        (pd.Timestamp("2026-01-31T12:00:00.000000001"), NOON),
        (pd.Timestamp("2026-01-31T13:00", tz="Europe/Berlin"), NOON),
        (pendulum.datetime(2026, 1, 31, 12), NOON),
        ("now", NOW),
        ("today", datetime(2026, 5, 31, tzinfo=UTC)),
        ("Yesterday", datetime(2026, 5, 30, tzinfo=UTC)),
        ("7d", NOW - timedelta(days=7)),
        ("7 days ago", NOW - timedelta(days=7)),
        ("P1D", NOW - timedelta(days=1)),
        (timedelta(hours=1), NOW - timedelta(hours=1)),
    ],
    ids=str,
)
def test_a_time_is_in_utc(given: date | str, expected: datetime):
    """However it is given."""
    found = utc(given, now=NOW)

    assert found == expected
    assert (type(found), found.tzinfo) == (datetime, UTC)
    assert instant(given, now=NOW) == expected.timestamp() * 1_000_000


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "'' is no time: give ISO 8601, such as 2026-01-31"),
        ("2026", "'2026' is no time"),
        ("1700000000", "'1700000000' is no time"),
        ("2026-02-30", "'2026-02-30' is no time: day is out of range for month"),
        ("2026-01-31+02:00", r"'2026-01-31\+02:00' is no time"),
        ("2026-01-31T12,5", "is no time"),
        ("\uff12\uff10\uff12\uff16-01-31", r"\\uff12.* is no time"),
        ("9999-12-31T23:00-05:00", "is not between the years 1 and 9999"),
        ("0001-01-01T00:00+05:00", "is not between the years 1 and 9999"),
        ("999999w", "is not between the years 1 and 9999"),
        ("0d", "'0d' is nothing"),
        ("-7d", "'-7d' is negative"),
        ("last week", "'last week' is no time"),
        ("\x1b[2J", r"'\\x1b\[2J' is no time"),
        (timedelta(days=-1), "is negative"),
        (1_700_000_000, r"\(int\) is no time: give a datetime, a date, ISO 8601 text or how long ago"),
        (b"2026-01-31", r"\(bytes\) is no time"),
        (pd.NaT, r"\(NaTType\) is no time"),
        (np.datetime64("NaT"), r"\(datetime64\) is no time"),
        (np.int64(5), r"\(int64\) is no time"),
        (Path("2026-01-31"), r"\(PosixPath\) is no time"),
    ],
    ids=repr,
)
def test_what_is_no_time_is_told(given: object, message: str):
    """In one line, with what it is called."""
    with pytest.raises(ConfigError, match=message) as refused:
        utc(given, name="since")  # type: ignore[arg-type]

    assert str(refused.value).startswith("since ")
    assert str(refused.value).isprintable()


@given(st.datetimes(), st.integers(-14, 14))
def test_a_time_is_the_same_as_text(at: datetime, hours: int):
    """With a zone or without."""
    zoned = at.replace(year=max(2, min(at.year, 9_998)), tzinfo=timezone(timedelta(hours=hours)))

    assert utc(at.isoformat()) == utc(str(at)) == at.replace(tzinfo=UTC)
    assert utc(zoned.isoformat()) == utc(str(zoned)) == zoned


@given(st.text(max_size=12) | st.from_regex(r"[-+]?[0-9.,]{1,4} ?[A-Za-z]{0,3}|[0-9T:Z+W-]{4,24}", fullmatch=True))
def test_any_text_is_a_time_or_refused_in_one_line(text: str):
    """Nothing else can come of it."""
    for read in (utc, duration, seconds):
        try:
            read(text)
        except ConfigError as refused:
            assert str(refused).isprintable()  # noqa: PT017 - most texts raise, some do not


def test_a_window_begins_before_it_ends():
    """Both are counted from one moment."""
    begin, end = window("2d", timedelta(days=1))

    assert begin is not None
    assert end is not None
    assert end - begin == timedelta(days=1)
    assert window(None, None) == (None, None)
    for since, until in (("1d", "1d"), ("now", "1h"), ("2026-02-01", date(2026, 2, 1))):
        with pytest.raises(ConfigError, match="since is not before until: no file can be meant"):
            window(since, until)
