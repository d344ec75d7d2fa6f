"""Count what incremental runs have missed: files that a complete listing shows and the table of files lacks."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Final

import duckdb
import pyarrow as pa

from files_source.coverage import Coverage
from files_source.schema import FILES
from files_source.spool import Spool
from files_source.versions import IN_LITTLE_MEMORY

_IDS: Final = pa.schema([FILES.field("id")])


def missed(listed: Spool, loaded: Iterable[pa.Array], coverage: Coverage) -> int:
    """Return how many files of a complete listing should have been loaded and are not.

    Args:
        listed: rows of FILES, of one account.
        loaded: ids of the account's files in the table; they are taken only if needed.
        coverage: what increments have come past.
    """
    with closing(Spool(_IDS)) as expected, closing(Spool(_IDS)) as found:
        for files in listed.tables():
            expected.write(files.filter(coverage.holds(files)).select(_IDS.names))
        if not expected.rows:
            return 0
        for ids in loaded:
            found.write(pa.table([ids], schema=_IDS))
        with duckdb.connect(config=IN_LITTLE_MEMORY) as database:
            database.register("expected", expected.reader())
            database.register("found", found.reader())
            query = "SELECT count(DISTINCT id) FROM expected ANTI JOIN found USING (id)"
            return int(database.sql(query).fetchall()[0][0])
