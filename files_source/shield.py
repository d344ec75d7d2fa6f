"""Hide from our own runs the settings of dlt that are meant for other pipelines and would stop or change them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

from dlt.common import logger
from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import ConfigProvider
from dlt.common.configuration.specs.config_providers_context import ConfigProvidersContainer
from dlt.common.configuration.specs.config_section_context import ConfigSectionContext
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from files_source.holdings import SOURCE

PIPELINE: Final = "openai_files"
"""The name of the pipeline that `sync`, `cleanup` and what reads back run."""

_READABLE: Final = re.compile(r"\{table_name\}/(?:[^/]+/)*[^{}/]*\{load_id\}\.\{file_id\}[^/]*")
"""A layout of Parquet files by which a table's files, and the load of each, can be told."""


def _never(_value: object) -> bool:
    return False


def _is_readable(layout: object) -> bool:
    return _READABLE.fullmatch(str(layout)) is not None


_HIDDEN: Final[Mapping[str, Callable[[object], bool]]] = {
    # columns: dlt cannot add a NOT NULL column to a table that has rows
    "add_dlt_id": _never,
    # names: the tables are read back by the names that they have
    "naming": _never,
    "json_normalizer": _never,
    "use_break_path_on_normalize": _never,
    # places: the rows are read back, and the state is found, where the place says
    "dataset_name_layout": _never,
    "use_single_dataset": _never,
    "layout": _is_readable,
    "staging_type": _never,
    "staging_name": _never,
    # what a run begins with: it would forget or drop what the place holds
    "dev_mode": _never,
    "full_refresh": _never,
    "refresh": _never,
    "restore_from_destination": _never,
    "import_schema_path": _never,
    # values: times are kept to the microsecond, in UTC
    "flavor": _never,
    "coerce_timestamps": _never,
    "allow_truncated_timestamps": _never,
    "timestamp_timezone": _never,
    # failures: rows that were not taken are not counted as loaded
    "raise_on_failed_jobs": _never,
}
"""The settings that are hidden, each with what tells which of its values are not."""


_TOLD_ELSEWHERE: Final = ("staging_type", "staging_name")
"""Those that are given to a run as arguments, where its destination can take them."""


@contextmanager
def shielded() -> Iterator[None]:
    """Hide those settings from our pipeline, and say which of them were set; other pipelines have them still."""
    providers = Container()[PluggableRunContext].providers
    with _LOCK:
        shield = _SHIELDS.get(id(providers)) or _Shield(providers)
        _SHIELDS[id(providers)] = shield
        shield.users += 1
    try:
        yield
    finally:
        with _LOCK:
            shield.users -= 1
            if not shield.users:
                shield.remove()
                del _SHIELDS[id(providers)]


class _Shield:
    """What stands before dlt's sources of settings while any run of ours goes on.

    Attributes:
        users: how many runs do.
    """

    def __init__(self, providers: ConfigProvidersContainer) -> None:
        self.users = 0
        self._providers = providers
        told = set[str]()
        providers.providers = [_Shielded(provider, told) for provider in providers.providers]

    def remove(self) -> None:
        self._providers.providers = [
            provider.inner if isinstance(provider, _Shielded) else provider for provider in self._providers.providers
        ]


class _Shielded(ConfigProvider):
    """A source of settings, without those that are hidden from our pipeline."""

    def __init__(self, inner: ConfigProvider, told: set[str]) -> None:
        self.inner = inner
        self._told = told

    def get_value(self, key: str, hint: type[Any], pipeline_name: str | None, *sections: str) -> tuple[Any | None, str]:
        value, name = self.inner.get_value(key, hint, pipeline_name, *sections)
        passes = _HIDDEN.get(key)
        if value is None or passes is None or passes(value) or not _is_ours():
            return value, name
        if key not in _TOLD_ELSEWHERE and name not in self._told:
            self._told.add(name)
            logger.warning(f"{name} is left to other pipelines: this run keeps dlt's default, on which it depends")
        return None, name

    def get_value_location(self, key: str, pipeline_name: str | None, *sections: str) -> str:
        return self.inner.get_value_location(key, pipeline_name, *sections)

    def set_value(self, key: str, value: Any, pipeline_name: str | None, *sections: str) -> None:
        self.inner.set_value(key, value, pipeline_name, *sections)

    @property
    def supports_secrets(self) -> bool:
        return self.inner.supports_secrets

    @property
    def supports_sections(self) -> bool:
        return self.inner.supports_sections

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def is_empty(self) -> bool:
        return self.inner.is_empty

    @property
    def is_writable(self) -> bool:
        return self.inner.is_writable

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def _is_ours() -> bool:
    """Tell whether a setting is looked up for our pipeline, or for the source that it will run."""
    context = Container()[ConfigSectionContext]
    return context.pipeline_name == PIPELINE or (context.pipeline_name is None and SOURCE in context.sections)


_LOCK: Final = Lock()
_SHIELDS: Final[dict[int, _Shield]] = {}
