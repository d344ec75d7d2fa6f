"""A busy account's files: purposes, names, sizes and bulk uploads in realistic proportion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import Final

Draft = tuple[int, str, str, int, str, str | None, int | None]
"""`created_at`, `purpose`, `filename`, `bytes`, `status`, `status_details` and `expires_at` of a file to come."""

BATCH_LIFETIME: Final = 30 * 86_400
"""Seconds until a file of purpose `batch` expires by default."""

_HOUR: Final = 3_600
_LARGEST: Final = 512 * 1024 * 1024
_BULK_UPLOAD: Final = 500

# One draw between 0 and 1 decides what is special about a file.
_FAILED: Final = 0.01
_NOT_YET_PROCESSED: Final = 0.02
_COPIED: Final = 0.05
_EXPIRES_EARLY: Final = 0.95


@dataclass(frozen=True, slots=True)
class _Profile:
    """What the files of one purpose look like; sizes are log-normal."""

    share: int
    median: int
    spread: float
    names: tuple[str, ...]
    number_bits: int = 17


_PROFILES: Final = {
    "batch": _Profile(34, 400_000, 1.8, ("requests_%06d.jsonl", "embeddings_part_%06d.jsonl", "eval_%06d.jsonl")),
    "batch_output": _Profile(
        34, 600_000, 1.9, ("batch_68e1c4%012x_output.jsonl",) * 9 + ("batch_68e1c4%012x_error.jsonl",), number_bits=48
    ),
    "user_data": _Profile(12, 250_000, 1.4, ("invoice_%d.pdf", "contract %d (signed).pdf", "Übersicht_%d.pdf")),
    "assistants": _Profile(9, 120_000, 1.9, ("handbook-%d.pdf", "notes_%d.md", "faq-%d.docx", "製品%d.txt")),
    "vision": _Profile(5, 900_000, 0.8, ("IMG_%06d.jpg", "scan_%06d.png")),
    "fine-tune": _Profile(2, 5_000_000, 1.5, ("train_%d.jsonl", "validation_%d.jsonl")),
    "fine-tune-results": _Profile(2, 30_000, 0.7, ("step_metrics.csv%.0s",)),
    "assistants_output": _Profile(2, 40_000, 1.2, ("chart_%d.png", "output.csv%.0s")),
}


def population(count: int, *, start: int, end: int, now: float, random: Random) -> Iterator[Draft]:
    """Yield *count* files in order of creation, none of which expires within an hour of *now*.

    Where a batch's input would have expired, there is another output. Some files are copies of others by name and
    size.
    """
    soon = now + _HOUR
    deviation = NormalDist().inv_cdf
    latest: dict[str, tuple[str, int]] = {}
    purposes = random.choices(list(_PROFILES), [profile.share for profile in _PROFILES.values()], k=count)
    for second, drawn in zip(_seconds(count, start, end, random), purposes, strict=True):
        expires_at = second + BATCH_LIFETIME if drawn == "batch" else None
        purpose = drawn
        if expires_at and expires_at <= soon:
            purpose, expires_at = "batch_output", None
        chance = random.random()
        if purpose not in latest or not _NOT_YET_PROCESSED < chance < _COPIED:
            profile = _PROFILES[purpose]
            number = random.getrandbits(profile.number_bits)
            size = profile.median * math.exp(profile.spread * deviation(random.random() or 0.5))
            name = profile.names[number % len(profile.names)] % number
            latest[purpose] = (name, int(size) if size < _LARGEST else _LARGEST)
        filename, size = latest[purpose]
        status, details = ("processed", None) if chance > _NOT_YET_PROCESSED else _trouble(chance)
        if chance > _EXPIRES_EARLY:
            expires_at = _early_expiry(second, soon, chance) or expires_at
        yield second, purpose, filename, size, status, details, expires_at


def _seconds(count: int, start: int, end: int, random: Random) -> list[int]:
    """Return times in order; a third of them fall into the seconds of bulk uploads."""
    in_bulk = count // 3
    bulk = random.choices(range(start, end), k=1 + in_bulk // _BULK_UPLOAD)
    return sorted(random.choices(range(start, end), k=count - in_bulk) + random.choices(bulk, k=in_bulk))


def _trouble(chance: float) -> tuple[str, str | None]:
    if chance > _FAILED:
        return "uploaded", None
    return "error", "The file could not be processed: invalid format on line 1."


def _early_expiry(second: int, soon: float, chance: float) -> int | None:
    """Return an expiry that an uploader asked for, unless that would be over."""
    share = (chance - _EXPIRES_EARLY) / (1 - _EXPIRES_EARLY)
    expires_at = second + _HOUR + int(share * (BATCH_LIFETIME - _HOUR))
    return expires_at if expires_at > soon else None
