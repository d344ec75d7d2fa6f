"""Tell a resource what dlt does with it: which pipeline runs, what it refreshes, where the rows go, when it stops."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.storages.exceptions import CurrentLoadPackageStateNotAvailable
from dlt.common.storages.load_package import load_package_state
from dlt.extract.items_transform import FilterItem, LimitItem
from dlt.extract.resource import DltResource

from files_source.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Run:
    """The run that a resource is part of.

    Attributes:
        pipeline: what extracts it; None where nothing does, as in `list(source)`, and rows go nowhere.
        load_id: the load that it is part of; empty where no pipeline extracts it.
        refresh: what the run is told to drop (`refresh=`); empty for nothing.
        dropped: the tables that dlt empties or drops for that: those that this pipeline has loaded before.
        resource: the resource.
        selected: the names of all resources of the run.
    """

    pipeline: dlt.Pipeline | None
    load_id: str
    refresh: str
    dropped: frozenset[str]
    resource: DltResource
    selected: frozenset[str]

    @classmethod
    def current(cls) -> Run:
        """Return the run of the resource that calls this."""
        source = dlt.current.source()
        resource = source.resources[dlt.current.resource_name()]
        selected = frozenset(source.selected_resources)
        try:
            package = load_package_state()
        except CurrentLoadPackageStateNotAvailable:
            return cls(None, "", "", frozenset(), resource, selected)
        state = package["state"]
        tables = (*state.get("dropped_tables", ()), *state.get("truncated_tables", ()))
        dropped = frozenset(str(table["name"]) for table in tables)
        return cls(dlt.current.pipeline(), package["load_id"], state.get("refresh") or "", dropped, resource, selected)

    @property
    def table(self) -> str:
        """The table of the resource, as its schema spells it."""
        name = self.resource.table_name
        schema = dlt.current.source_schema()
        return str(schema.naming.normalize_table_identifier(name if isinstance(name, str) else self.resource.name))

    @property
    def refreshes(self) -> bool:
        """Whether dlt drops what the table holds before the run's rows are loaded."""
        return self.table in self.dropped

    @property
    def replaces(self) -> bool:
        """Whether the run was told to replace the table (`write_disposition="replace"`)."""
        disposition: Any = self.resource.write_disposition
        return bool((disposition["disposition"] if isinstance(disposition, dict) else disposition) == "replace")

    @property
    def limit(self) -> Limit | None:
        """When dlt stops the resource early (`add_limit`); None where it does not."""
        steps = [step for step in self._steps() if isinstance(step, LimitItem)]
        return Limit(steps[0]) if steps else None

    def refuse_row_filters(self) -> None:
        """Refuse `add_filter`, which would drop whole tables by one answer.

        Raises:
            ConfigError: the resource has such a filter.
        """
        if any(isinstance(step, FilterItem) for step in self._steps()):
            raise ConfigError(
                f"add_filter cannot be used on {self.resource.name!r}: it yields Arrow tables, not rows, and a filter "
                "would keep or drop a whole table; use purpose=, or add_map(lambda table: table.filter(...))"
            )

    def _steps(self) -> list[object]:
        return list(self.resource._pipe.steps)  # noqa: SLF001 - dlt has no public way to see them


class Limit:
    """Counts what a resource yields as dlt's `add_limit` does, so that nothing is yielded that dlt would drop."""

    def __init__(self, step: LimitItem) -> None:
        self._most = step.max_items
        self._seconds = step.max_time
        self._counts_rows = step.count_rows
        self._began = time.monotonic()
        self._count = 0

    @property
    def is_reached(self) -> bool:
        """Whether dlt drops what comes next."""
        if self._most >= 0 and self._count >= self._most:
            return True
        return bool(self._count and self._seconds and time.monotonic() - self._began > self._seconds)

    def count(self, table: pa.Table) -> None:
        """Count a table that is yielded next."""
        self._count += table.num_rows if self._counts_rows else 1
