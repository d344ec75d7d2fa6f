"""Whether a server lists in the order that was asked for, by the pages that have come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from files_source.errors import CursorError

Order = Literal["asc", "desc"]


class OutOfOrder(CursorError):
    """A listing is not in the order that it was in at its beginning."""

    def __init__(self) -> None:
        super().__init__("the listing is not in the order of created_at that its beginning was in")


@dataclass(slots=True)
class Seen:
    """What the pages of a listing say of its order.

    Args:
        order: the order that was asked for.

    Attributes:
        ordered: whether they stand in that order so far.
        proven: whether that is so and two files were not created at the same time, which alone prove none.
        tied: whether a whole page was created in the second in which the page before it ended, so that a
            server may give a file of that second on two pages that are not compared.
    """

    order: Order
    ordered: bool = True
    proven: bool = False
    tied: bool = False
    _edge: pa.Array | None = field(default=None, init=False)

    def add(self, files: pa.Table) -> None:
        """Look at the next page."""
        times = microseconds(files)
        if not len(times):
            return
        joined = times if self._edge is None else pa.concat_arrays([self._edge, times])
        self.tied = self.tied or (self._edge is not None and joined[0].equals(joined[-1]))
        self._edge = times[-1:]
        self.ordered = self.ordered and _stand_in(joined, self.order)
        self.proven = self.ordered and (self.proven or not joined[0].equals(joined[-1]))


def is_ordered(files: pa.Table, order: Order) -> bool:
    """Tell whether *files* stand in *order* of `created_at`, ties in any order."""
    return _stand_in(microseconds(files), order)


def microseconds(files: pa.Table) -> pa.Array:
    """Return `created_at` in microseconds since 1970."""
    return files.column("created_at").combine_chunks().cast(pa.int64())


def _stand_in(times: pa.Array, order: Order) -> bool:
    earlier, later = times[:-1], times[1:]
    in_order = pc.less_equal(earlier, later) if order == "asc" else pc.greater_equal(earlier, later)
    return bool(pc.all(in_order, min_count=0).as_py())
