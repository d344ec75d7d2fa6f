"""Durations as people give them, in one grammar: a number and a unit, or several, as in `30min 12h 7d 2w 3mo 1y`.

A month is 31 days and a year 366, never less than the calendar's: no file is taken for older than it is.
A bare `m` is refused, for it is read as minutes here and as months there.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final, cast

from files_source.errors import ConfigError, excerpt

Duration = timedelta | str
"""What is taken for a duration: a timedelta, text such as `90d`, `3 months` or `1h 30min`, or ISO 8601: `P90D`."""

EXAMPLES: Final = "30min, 12h, 7d, 2w, 3mo or 1y"

_DAY: Final = timedelta(days=1)
_UNITS: Final = {
    ("s", "sec", "secs", "second", "seconds"): timedelta(seconds=1),
    ("min", "mins", "minute", "minutes"): timedelta(minutes=1),
    ("h", "hr", "hrs", "hour", "hours"): timedelta(hours=1),
    ("d", "day", "days"): _DAY,
    ("w", "wk", "wks", "week", "weeks"): 7 * _DAY,
    ("mo", "mos", "month", "months"): 31 * _DAY,
    ("y", "yr", "yrs", "year", "years"): 366 * _DAY,
}
_LENGTHS: Final = {word: length for words, length in _UNITS.items() for word in words}
_MOST_DIGITS: Final = 18

_PART: Final = r"(\d+) ?([a-z]+)"
_PARTS: Final = re.compile(rf"{_PART}(?: ?{_PART})*", re.ASCII)
_FRACTION: Final = re.compile(r"\d*[.,]\d+ ?[a-z]*", re.ASCII)
_ISO: Final = re.compile(
    r"P(?=.)(?:(?P<y>\d+)Y)?(?:(?P<mo>\d+)M)?(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?"
    r"(?:T(?=.)(?:(?P<h>\d+)H)?(?:(?P<min>\d+)M)?(?:(?P<s>\d+)S)?)?",
    re.ASCII,
)
_LIKE_ONE: Final = re.compile(r"[-+]?[\d.,]+ ?[a-z].*|[-+]?p[\dt].*", re.IGNORECASE)


def duration(length: Duration, *, name: str | None = None) -> timedelta:
    """Return a duration. As text it must be more than 0.

    Args:
        length: the duration; numpy's and pandas' are taken, too.
        name: what it is called in an error.

    Raises:
        ConfigError: it is none, is negative or too long, or says `m`.
    """
    given = _read(length, name) if isinstance(length, str) else plain(length)
    if not isinstance(given, timedelta):
        raise refusal(name, length, f"is no duration: give a timedelta, or text such as {EXAMPLES}")
    if given < timedelta():
        raise refusal(name, str(given), "is negative: give more than 0")
    return timedelta(given.days, given.seconds, given.microseconds)


def seconds(length: int | Duration, *, name: str | None = None) -> int:
    """Return a duration in whole seconds; a number alone is seconds.

    Raises:
        ConfigError: as `duration` does, or it is not a whole number of seconds above 0.
    """
    if isinstance(length, str) and re.fullmatch(rf"\d{{1,{_MOST_DIGITS}}}", length.strip(), re.ASCII):
        length = int(length)
    if isinstance(length, int) and not isinstance(length, bool):
        whole, rest = length, timedelta()
    else:
        whole, rest = divmod(duration(cast(Duration, length), name=name), timedelta(seconds=1))
    if rest or whole < 1:
        raise refusal(name, str(length), "is not a whole number of seconds above 0")
    return whole


def is_like_one(text: str) -> bool:
    """Tell whether text is meant for a duration, even a wrong one."""
    return _LIKE_ONE.fullmatch(text) is not None


def plain(value: object) -> object:
    """Return what numpy's time or duration is to Python, to the microsecond; anything else as it is."""
    numpys: Any = value
    kind = {"M": "datetime64[us]", "m": "timedelta64[us]"}.get(getattr(getattr(value, "dtype", None), "kind", ""))
    if kind is None:
        return value
    return None if numpys.ndim else numpys.astype(kind).item()


def refusal(name: str | None, value: object, why: str) -> ConfigError:
    """Return what tells that a value cannot be taken."""
    shown = excerpt(ascii(value)) if isinstance(value, str) else f"({type(value).__name__})"
    return ConfigError(f"{name} {shown} {why}" if name else f"{shown} {why}")


def _read(text: str, name: str | None) -> timedelta:
    given = " ".join(text.split())
    total, longer = timedelta(), timedelta.max
    if not (parts := _parts(given)):
        raise refusal(name, text, _why_not(given.lower()))
    for count, unit in parts:
        if unit == "m":
            raise refusal(name, text, f"is ambiguous: give {count}min for minutes or {count}mo for months")
        if unit not in _LENGTHS or _LENGTHS[unit] >= longer:
            raise refusal(name, text, f"is no duration: give {EXAMPLES}, the longest unit first")
        longer = _LENGTHS[unit]
        try:
            total += int(count if len(count) <= _MOST_DIGITS else "9" * _MOST_DIGITS) * longer
        except OverflowError:
            raise refusal(name, text, "is longer than a duration can be") from None
    if not total:
        raise refusal(name, text, "is nothing: give more than 0")
    return total


def _parts(text: str) -> list[tuple[str, str]]:
    """Return the numbers of a duration and their units; none of what is no duration."""
    if iso := _ISO.fullmatch(text):
        return [(count, unit) for unit, count in iso.groupdict().items() if count is not None]
    lower = text.lower()
    return re.findall(_PART, lower, re.ASCII) if _PARTS.fullmatch(lower) else []


def _why_not(text: str) -> str:
    if text.startswith("-"):
        return "is negative: give more than 0"
    if _FRACTION.fullmatch(text):
        return "is a fraction: give a whole number of a smaller unit, such as 36h"
    if text.isascii() and text.isdecimal():
        return f"has no unit: give {EXAMPLES}"
    return f"is no duration: give {EXAMPLES}"
