"""Which files are wanted: whose, for what, and from when to when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Names = frozenset[str] | None
"""The only names that are wanted; None for any."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What every wanted file is; None leaves it open.

    Attributes:
        accounts: names of accounts.
        purposes: purposes.
        since: `created_at` is this or later, in microseconds since 1970.
        until: it is before this.
    """

    accounts: Names = None
    purposes: Names = None
    since: int | None = None
    until: int | None = None

    def __and__(self, other: Bounds) -> Bounds:
        return Bounds(
            _both(self.accounts, other.accounts),
            _both(self.purposes, other.purposes),
            _narrower(max, self.since, other.since),
            _narrower(min, self.until, other.until),
        )

    def __or__(self, other: Bounds) -> Bounds:
        return Bounds(
            _either(self.accounts, other.accounts),
            _either(self.purposes, other.purposes),
            _wider(min, self.since, other.since),
            _wider(max, self.until, other.until),
        )

    def is_empty(self) -> bool:
        """Tell whether no file can be wanted."""
        nobody = frozenset[str]()
        never = self.since is not None and self.until is not None and self.until <= self.since
        return never or nobody in (self.accounts, self.purposes)


ANYTHING: Final = Bounds()
NOTHING: Final = Bounds(purposes=frozenset())


def _both(one: Names, other: Names) -> Names:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _either(one: Names, other: Names) -> Names:
    return None if one is None or other is None else one | other


def _narrower(pick: Callable[[int, int], int], one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return pick(one, other)


def _wider(pick: Callable[[int, int], int], one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else pick(one, other)
