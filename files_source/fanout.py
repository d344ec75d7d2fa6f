"""Several accounts at once, with a bound: each ends with all of its rows, or with its failure and none."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from files_source.attempts import Attempt, Listed
from files_source.parallel import merged
from files_source.schema import FILES
from files_source.spool import Spool

Ended = tuple[Attempt[Listed], Spool | None]
"""An attempt, and its rows; None where its account failed."""


@contextmanager
def fan_out(attempts: Sequence[Attempt[Listed]], *, workers: int) -> Iterator[Iterator[Ended[Listed]]]:
    """Give an iterator over the attempts as they end.

    The spools are closed with it. An attempt that has not ended by then stops after its current
    batch; it is not waited for for long, as an answer may take minutes.

    Raises (while it is iterated over):
        Exception: what went wrong in an attempt other than its account's failure, such as a full disk.
    """
    with ExitStack() as opened:
        listings = (_listed(attempt, opened) for attempt in attempts)
        with closing(merged(listings, workers=workers, ahead=workers)) as results:
            yield filter(None, results)


def _listed(attempt: Attempt[Listed], opened: ExitStack) -> Generator[Ended[Listed] | None, None, None]:
    """Yield nothing after each batch, then the attempt and its rows, which are *opened* from then on."""
    spool = Spool(FILES)
    try:
        with closing(attempt.tables()) as tables:
            for table in tables:
                spool.write(table)
                yield None
    except BaseException as error:
        spool.close()
        if error is not attempt.error:
            raise
        yield attempt, None
    else:
        opened.callback(spool.close)  # nobody may ever take it
        yield attempt, spool
