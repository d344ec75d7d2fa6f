"""What a cleanup may delete: the files of an age and a purpose, as they are listed now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from files_source.accounts import Account
from files_source.client import FilesClient
from files_source.coverage import Span
from files_source.errors import AccountsError, FilesSourceError
from files_source.order import Seen
from files_source.parallel import merged
from files_source.progress import OnPage, Progress, Shared, gathered
from files_source.schema import FILES
from files_source.spool import Spool
from files_source.versions import distinct

Connect = Callable[[Account], AbstractContextManager[FilesClient]]
"""Opens the way to an account."""

_Listed = tuple[Account, Spool | FilesSourceError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What some files come to.

    Attributes:
        files: how many they are.
        bytes: the sizes of those whose size is known, together.
        unknown_size: how many are of unknown size.
        oldest, newest: when the first and the last of them were created; None of no files.
        purposes, accounts: how many are of each, most first.
    """

    files: int = 0
    bytes: int = 0
    unknown_size: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    purposes: Mapping[str, int] = field(default_factory=dict)
    accounts: Mapping[str, int] = field(default_factory=dict)


class Shortlist:
    """The files that a cleanup may delete, kept on disk until this is closed.

    Args:
        listed: the files of each account whose listing is complete.
        failures: what went wrong with the others, by their names.

    Attributes:
        accounts: the accounts whose listings are complete.
        failures: as given.
        total: what their files come to.
    """

    def __init__(self, listed: Mapping[Account, Spool], failures: Mapping[str, str]) -> None:
        self.accounts = tuple(listed)
        self.failures = dict(failures)
        self._spools = dict(listed)
        self.total = _total(files for _, files in self.tables())

    @property
    def is_of_many(self) -> bool:
        """Tell whether more than one account was asked."""
        return len(self.accounts) + len(self.failures) > 1

    def tables(self) -> Iterator[tuple[Account, pa.Table]]:
        """Yield the files as FILES, an account after the other, oldest first and each once."""
        for account, spool in self._spools.items():
            for files in distinct(spool):
                yield account, files

    def error(self, *, outcome: str) -> AccountsError | None:
        """Return what tells of the accounts that could not be listed, and of what became of the others."""
        if not self.failures:
            return None
        return AccountsError(self.failures, of=len(self.accounts) + len(self.failures), outcome=outcome)

    def close(self) -> None:
        """Forget the files."""
        for spool in self._spools.values():
            spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def find(
    accounts: Sequence[Account],
    connect: Connect,
    *,
    older_than: timedelta | None,
    purpose: str | None,
    limit: int,
    workers: int,
    on_page: OnPage | None = None,
) -> Shortlist:
    """List the files of each account that are older than an age and of a purpose.

    Raises:
        FilesSourceError: the listing of the only account failed.
        AccountsError: that of every account did.
    """
    shared = Shared(on_page) if on_page else None

    def listing(account: Account, on_page: OnPage | None) -> Generator[_Listed, None, None]:
        spool = Spool(FILES)
        try:
            with connect(account) as client:
                files = old_files(client, older_than=older_than, purpose=purpose, limit=limit, on_page=on_page)
                for table in gathered(filter(len, files)):
                    spool.write(table)
        except FilesSourceError as error:
            spool.close()
            yield account, error
        else:
            yield account, spool

    listings = [listing(account, shared.part() if shared else None) for account in accounts]
    ended = dict(merged(listings, workers=workers, ahead=len(accounts)))
    found = {account: ended[account] for account in accounts}
    errors = {account.name: result for account, result in found.items() if isinstance(result, FilesSourceError)}
    failures = {name: str(error) for name, error in errors.items()}
    if len(failures) == len(accounts):
        raise (
            errors[accounts[0].name]
            if len(accounts) == 1
            else AccountsError(failures, of=len(accounts), outcome="nothing was listed")
        )
    return Shortlist({account: spool for account, spool in found.items() if isinstance(spool, Spool)}, failures)


def old_files(
    client: FilesClient, *, older_than: timedelta | None, purpose: str | None, limit: int, on_page: OnPage | None = None
) -> Iterator[pa.Table]:
    """Yield the files that are older than an age by the server's clock, and of a purpose, oldest first.

    A file is judged by its own `created_at` and `purpose`, whatever the server was asked for. The
    listing ends at the first file that is too young once the server has shown that it lists in order.
    Where this machine's clock is behind the server's, it counts.

    Raises:
        FilesSourceError: as `FilesClient.pages` does; what was yielded is then not all there is.
    """
    progress = Progress(0 if older_than is None else ceil(older_than.total_seconds()), on_page)
    seen = Seen("asc")
    for page in client.pages(order="asc", limit=limit, purpose=purpose):
        progress.take(page)
        wanted = Span(purpose, None, None if older_than is None else progress.settled)
        yield page.files.filter(wanted.holds(page.files))
        seen.add(page.files)
        last = page.files.slice(max(page.files.num_rows - 1, 0))
        if seen.proven and not pc.all(Span(None, None, wanted.until).holds(last), min_count=0).as_py():
            return


def _total(tables: Iterator[pa.Table]) -> Total:
    files = size = unknown = 0
    times: list[datetime] = []
    purposes, accounts = Counter[str](), Counter[str]()
    for table in tables:
        files += table.num_rows
        size += pc.sum(table.column("bytes"), min_count=0).as_py()
        unknown += table.column("bytes").null_count
        for column, counts in (("purpose", purposes), ("account", accounts)):
            found = table.column(column).value_counts()
            counts.update(dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)))
        times += [time for time in pc.min_max(table.column("created_at")).as_py().values() if time is not None]
    return Total(
        files=files,
        bytes=size,
        unknown_size=unknown,
        oldest=min(times, default=None),
        newest=max(times, default=None),
        purposes=dict(purposes.most_common()),
        accounts=dict(accounts.most_common()),
    )
