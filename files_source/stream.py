"""FilesStream: the files that a server lists, as an Arrow stream that may be read as often as wanted."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn, TypedDict, get_args

import pyarrow as pa

from files_source.accounts import DEFAULT_NAME, Account, Authentication, distinct
from files_source.bounds import ANYTHING, Bounds, Names
from files_source.client import TIMEOUT, FilesClient
from files_source.coverage import Span
from files_source.errors import AccountsError, ConfigError, FilesSourceError
from files_source.listing import MAX_LIMIT, check_purpose
from files_source.merging import interleaved
from files_source.order import Order
from files_source.parallel import merged
from files_source.retries import MAX_RETRIES
from files_source.scan import WORKERS
from files_source.schema import FILES
from files_source.times import Time, instant, window
from files_source.window import Window, first

_MOST_PURPOSES: Final = 4
"""More than so many are not listed one by one, but with everything else."""

_WHOSE: Final = ("account", "api_key", "base_url", "organization", "project", "headers", "query", "authentication")
_HOW: Final = ("timeout", "max_retries", "ca_bundle")


class Listing(TypedDict, total=False):
    """The keywords that say which files are listed, and how; `FilesStream` says what each means."""

    api_key: str | None
    base_url: str | None
    organization: str | None
    project: str | None
    headers: Mapping[str, str] | None
    query: Mapping[str, str] | None
    authentication: Authentication | None
    account: str | None
    accounts: Sequence[Account] | None
    client: FilesClient | None
    purpose: str | None
    since: Time | None
    until: Time | None
    order: Order
    limit: int | None
    max_items: int | None
    workers: int | None
    timeout: float | None
    max_retries: int | None
    ca_bundle: str | Path | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilesStream:
    """The files of one account or many, by the Arrow PyCapsule interface.

    DuckDB, polars, pandas and pyarrow read it as they would a table of their own, with the columns
    and types of FILES. Each time it is read, the files are listed anew; making it asks nothing. For
    an error on the way the reader raises one of its own, with our message.

    The files stand in *order* of `created_at`, whosever they are, as far as the servers keep to it;
    those of one second stand in any order.

    Args:
        api_key, base_url, organization, project, headers, query, authentication: whose files; see
            `accounts.Account`. What is not given comes from the `OPENAI_*` variables.
        account: the name in the column `account`.
        accounts: several accounts instead, which are listed at once.
        client: a client to use instead. It stays open.
        purpose: only files of this purpose.
        since: only files created at or after this time: a datetime, a date or ISO 8601 text, in UTC
            where it names no zone, or how long ago, such as `7d`, by this machine's clock.
        until: only files created before this time.
        order: `desc`, newest first, or `asc`.
        limit: files a page, 1 to 10,000; 10,000 by default.
        max_items: no more files than so many, the first ones in *order*.
        workers: requests at once, 8 by default.
        timeout, max_retries, ca_bundle: as `FilesClient` takes them.

    Raises:
        ConfigError: a setting is missing or cannot be used.
    """

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    query: Mapping[str, str] | None = field(default=None, repr=False)
    authentication: Authentication | None = None
    account: str | None = None
    accounts: Sequence[Account] | None = None
    client: FilesClient | None = None
    purpose: str | None = None
    since: Time | None = None
    until: Time | None = None
    order: Order = "desc"
    limit: int | None = None
    max_items: int | None = None
    workers: int | None = None
    timeout: float | None = None
    max_retries: int | None = None
    ca_bundle: str | Path | None = None
    _accounts: tuple[Account, ...] = field(init=False, repr=False)
    _wanted: Bounds = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_wanted", wanted(self.purpose, self.since, self.until, self.order, self.max_items))
        _check("limit", self.limit, most=MAX_LIMIT)
        _check("workers", self.workers)
        object.__setattr__(self, "_accounts", self._whose())

    def tables(
        self, bounds: Bounds = ANYTHING, *, at_most: int | None = None, in_order: bool = True
    ) -> Iterator[pa.Table]:
        """Yield the files as tables of FILES.

        Args:
            bounds: what the reader will keep; the rest may be left out.
            at_most: no more files than so many, the first ones. The reader is taken to filter after
                that, so then nothing is left out.
            in_order: False for the files as fast as they come, where not only some are wanted.

        Raises:
            ApiError, TransportError, DecodeError, CursorError: the listing failed; what was yielded
                is not all there is.
            AccountsError: that of one of several accounts did.
        """
        limits = [limit for limit in (self.max_items, at_most) if limit is not None]
        asked = self._wanted if limits else self._wanted & bounds
        if asked.is_empty():
            return
        most, workers = min(limits, default=None), self.workers or WORKERS
        spans = [
            (account, Span(purpose, asked.since, asked.until))
            for account in self._accounts
            if asked.accounts is None or account.name in asked.accounts
            for purpose in _by_name(asked.purposes)
        ]
        if in_order or most is not None:
            listings = [self._listing(*span, most, workers=1) for span in spans]
            found = interleaved(listings, order=self.order, workers=workers)
        else:
            listings = [self._listing(*span, None, workers=workers if len(spans) == 1 else 1) for span in spans]
            found = merged(listings, workers=workers, ahead=workers)
        with closing(found) as tables:
            yield from tables if most is None else first(tables, most)

    def __arrow_c_schema__(self) -> object:
        return FILES.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return pa.RecordBatchReader.from_batches(FILES, self._batches()).__arrow_c_stream__(requested_schema)

    def __reduce__(self) -> NoReturn:
        raise TypeError("this may hold a key, which must not end up in a file: make it anew where it is read")

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for table in self.tables():
                yield from table.to_batches()
        except FilesSourceError as error:
            raise error.with_traceback(None) from None  # readers show the trace, which helps nobody

    def _listing(
        self, account: Account, span: Span, at_most: int | None, *, workers: int
    ) -> Generator[pa.Table, None, None]:
        """Yield the files of one listing; of several accounts, say whose it is that failed."""
        try:
            with self._connected(account) as client:
                yield from Window(
                    client=client,
                    span=span,
                    order=self.order,
                    limit=self.limit or MAX_LIMIT,
                    at_most=at_most,
                    workers=workers,
                    by_purpose=self.purpose is not None,
                ).tables()
        except FilesSourceError as error:
            if len(self._accounts) == 1:
                raise
            raise AccountsError(
                {account.name: str(error)}, of=len(self._accounts), outcome="the others were not waited for"
            ) from None

    def _connected(self, account: Account) -> AbstractContextManager[FilesClient]:
        if self.client is not None:
            return nullcontext(self.client)
        return FilesClient(
            account,
            timeout=TIMEOUT if self.timeout is None else self.timeout,
            max_retries=MAX_RETRIES if self.max_retries is None else self.max_retries,
            ca_bundle=self.ca_bundle,
        )

    def _whose(self) -> tuple[Account, ...]:
        if self.client is not None:
            self._refuse("client", "accounts", *_WHOSE, *_HOW)
            return (self.client.account,)
        if self.accounts is not None:
            self._refuse("accounts", *_WHOSE)
            return distinct(self.accounts)
        account = Account.from_environment(
            name=self.account or DEFAULT_NAME,
            api_key=self.api_key,
            base_url=self.base_url,
            organization=self.organization,
            project=self.project,
            headers=self.headers,
            query=self.query,
            authentication=self.authentication or "bearer",
        )
        return (account,)

    def _refuse(self, given: str, *others: str) -> None:
        """Refuse settings that would be ignored, as another one is given."""
        ignored = [name for name in others if getattr(self, name) is not None]
        if ignored:
            raise ConfigError(f"{given} says whose files: leave out {', '.join(ignored)} beside it")


def wanted(purpose: str | None, since: Time | None, until: Time | None, order: Order, max_items: int | None) -> Bounds:
    """Return what is asked for by name.

    Raises:
        ConfigError: that cannot be meant.
    """
    if purpose is not None and not isinstance(purpose, str):
        raise ConfigError(f"purpose is {purpose!r}: name one, or filter a frame of all by several")
    check_purpose(purpose)
    if order not in get_args(Order):
        raise ConfigError(f"order is {order!r}: give 'asc' or 'desc'")
    _check("max_items", max_items)
    begin, end = window(since, until)
    return Bounds(
        purposes=None if purpose is None else frozenset([purpose]),
        since=None if begin is None else instant(begin),
        until=None if end is None else instant(end),
    )


def _by_name(purposes: Names) -> list[str] | list[None]:
    """Return the purposes to ask for one by one; None alone, where everything has to be asked for."""
    if purposes is None or "" in purposes or len(purposes) > _MOST_PURPOSES:
        return [None]
    return sorted(purposes)


def _check(name: str, number: object, *, most: int | None = None) -> None:
    """Refuse a number that is out of range.

    Raises:
        ConfigError: it is.
    """
    if number is not None and (not isinstance(number, int) or number < 1 or (most is not None and number > most)):
        raise ConfigError(f"{name} is {number!r}: give {'1 or more' if most is None else f'1 to {most}'}")
