"""Times as people give them, in one place: in UTC where they name no zone, and a day as its beginning."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from files_source.durations import EXAMPLES, Duration, duration, is_like_one, plain, refusal
from files_source.errors import ConfigError

Time = date | Duration
"""What is taken for a time: a datetime, a date, ISO 8601 text, or how long ago: a Duration, `today` or `yesterday`."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_MICROSECOND: Final = timedelta(microseconds=1)
_ISO: Final = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d|\d{8}|\d{4}-?W\d\d(?:-?\d)?)"
    r"(?:[T ](?P<clock>\d\d(?::?\d\d(?::?\d\d(?:[.,]\d+)?)?)?) ?(?P<zone>Z|UTC|[-+]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
"""What `datetime.fromisoformat` reads rightly: it takes an offset after a day for a time of that day."""


def utc(at: Time, *, name: str | None = None, now: datetime | None = None) -> datetime:
    """Return a time in UTC.

    Args:
        at: the time; pandas' and numpy's are taken, too, to the microsecond.
        name: what it is called in an error.
        now: what it is counted from where it says how long ago; by default this machine's clock.

    Raises:
        ConfigError: it is no time, or not one of the years 1 to 9999.
    """
    now = now or datetime.now(UTC)
    given = _read(at, name, now) if isinstance(at, str) else plain(at)
    try:
        if isinstance(given, timedelta):
            return now - duration(given, name=name)
        if isinstance(given, datetime):
            return _exact(given).astimezone(UTC)
        if isinstance(given, date):
            return datetime(given.year, given.month, given.day, tzinfo=UTC)
    except OverflowError:
        raise refusal(name, str(at), "is not between the years 1 and 9999") from None
    except (TypeError, ValueError):  # of pandas' NaT
        pass
    raise refusal(name, at, f"is no time: give a datetime, a date, ISO 8601 text or how long ago, such as {EXAMPLES}")


def instant(at: Time, *, name: str | None = None, now: datetime | None = None) -> int:
    """Return a time in microseconds since 1970.

    Raises:
        ConfigError: as `utc` does.
    """
    return (utc(at, name=name, now=now) - _EPOCH) // _MICROSECOND


def window(
    since: Time | None, until: Time | None, *, names: tuple[str, str] = ("since", "until")
) -> tuple[datetime | None, datetime | None]:
    """Return from when and until when, how long ago being counted from one moment.

    Raises:
        ConfigError: one is no time, or the first is not before the second.
    """
    now = datetime.now(UTC)
    begin = None if since is None else utc(since, name=names[0], now=now)
    end = None if until is None else utc(until, name=names[1], now=now)
    if begin is not None and end is not None and begin >= end:
        raise ConfigError(
            f"{names[0]} is not before {names[1]}: no file can be meant, from {begin} on and before {end}"
        )
    return begin, end


def _exact(at: datetime) -> datetime:
    """Return a datetime as one of Python's own, with a zone."""
    zone = UTC if at.utcoffset() is None else at.tzinfo
    clock = (at.hour, at.minute, at.second, at.microsecond)
    return datetime(at.year, at.month, at.day, *clock, tzinfo=zone, fold=at.fold)


def _read(text: str, name: str | None, now: datetime) -> date | timedelta:
    """Read a time; of one that says how long ago, the duration."""
    given = " ".join(text.split())
    today = now.astimezone(UTC).date()
    words: dict[str, date] = {"now": now, "today": today, "yesterday": today - _DAY}
    if given.lower() in words:
        return words[given.lower()]
    if iso := _ISO.fullmatch(given.upper()):
        zone = "Z" if iso["zone"] == "UTC" else iso["zone"] or ""
        try:
            return datetime.fromisoformat(f"{iso['day']}T{iso['clock'] or '00'}{zone}")
        except ValueError as error:
            raise refusal(name, text, f"is no time: {error}") from None
    if is_like_one(given):
        return duration(given.removesuffix(" ago"), name=name)
    raise refusal(
        name,
        text,
        f"is no time: give ISO 8601, such as 2026-01-31 or 2026-01-31T12:00Z, or how long ago, such as {EXAMPLES}",
    )
