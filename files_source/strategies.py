"""How a dlt destination can merge rows into a table and replace it, as far as that depends on its kind alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from dlt.common.destination import Destination
from dlt.common.destination.capabilities import MergeStrategySelector, ReplaceStrategySelector
from dlt.common.schema.typing import TTableSchema

AT_ONCE: Final = "insert-from-staging"
"""How dlt replaces a table in one transaction. By default it empties the table first, which a run that dies leaves."""


def merge_strategies(destination: Destination[Any, Any]) -> Sequence[str]:
    """Return how the destination can merge rows into a table of its preferred format; nothing where it only appends."""
    capabilities = destination.capabilities()
    supported = capabilities.supported_merge_strategies or ()
    select = cast("MergeStrategySelector | None", capabilities.merge_strategies_selector)
    return select(supported, table_schema=_table(destination)) if select is not None else supported


def replace_strategy(destination: Destination[Any, Any]) -> str | None:
    """Return how a table is best replaced: at once where the destination can; None where it cannot replace at all."""
    capabilities = destination.capabilities()
    supported = capabilities.supported_replace_strategies or ()
    select = cast("ReplaceStrategySelector | None", capabilities.replace_strategies_selector)
    possible = select(supported, table_schema=_table(destination)) if select is not None else supported
    return AT_ONCE if AT_ONCE in possible else next(iter(possible), None)


def _table(destination: Destination[Any, Any]) -> TTableSchema:
    """Return a table without hints, in the format that the destination prefers."""
    return cast(TTableSchema, {"table_format": destination.capabilities().preferred_table_format})
