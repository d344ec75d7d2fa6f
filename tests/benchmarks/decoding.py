"""Decoding one page into the columns of `schema.FILES`, as a process that prints what each library took."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import Final

import arro3.core
import arro3.io
import msgspec
import openai.pagination
import openai.types
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.json
import simdjson

from files_source.decoding import decode_page
from files_source.emulator.listing import Oddities, write_page
from files_source.schema import FILES
from tests.benchmarks.account import BLOCK, Files
from tests.benchmarks.results import Sample

SECONDS: Final = pa.timestamp("s", tz="UTC")
TIMES: Final = ("created_at", "expires_at")
KINDS: Final = {
    field.name: pa.int64() if field.name in TIMES else field.type
    for field in FILES
    if field.name not in ("account", "extra")
}
PAGE: Final = pa.schema({"data": pa.list_(pa.struct(list(KINDS.items()))), "has_more": pa.bool_()})
ARRO3_PAGE: Final = arro3.core.Schema.from_arrow(PAGE)
POLARS_FILE: Final = {name: pl.Int64 if kind == pa.int64() else pl.String for name, kind in KINDS.items()}


class File(msgspec.Struct, gc=False):
    """A File object for msgspec."""

    id: str
    created_at: int
    filename: str
    object: str
    purpose: str
    bytes: int | None = None
    status: str | None = None
    expires_at: int | None = None
    status_details: str | None = None


class Listing(msgspec.Struct):
    """A page for msgspec."""

    data: list[File]
    has_more: bool


LISTING: Final = msgspec.json.Decoder(Listing)


def ours(body: bytes) -> pa.Table:
    return decode_page(body, account="default").files


def by_pyarrow(body: bytes) -> pa.Table:
    page = pyarrow.json.read_json(
        pa.BufferReader(body),
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(body) + 1),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=PAGE, unexpected_field_behavior="ignore"),
    )
    return completed(pa.Table.from_struct_array(page["data"].chunk(0).flatten()))


def by_arro3(body: bytes) -> pa.Table:
    page = pa.table(arro3.io.read_json(io.BytesIO(body), ARRO3_PAGE))
    return completed(pa.Table.from_struct_array(page["data"].chunk(0).flatten()))


def by_polars(body: bytes) -> pa.Table:
    page = pl.read_json(body, schema={"data": pl.List(pl.Struct(POLARS_FILE)), "has_more": pl.Boolean})
    return completed(page["data"].explode().struct.unnest().to_arrow())


def by_msgspec(body: bytes) -> pa.Table:
    files = LISTING.decode(body).data
    return completed(pa.table({name: pa.array([getattr(file, name) for file in files], KINDS[name]) for name in KINDS}))


def by_orjson(body: bytes) -> pa.Table:
    return completed(pa.Table.from_pylist(orjson.loads(body)["data"], schema=pa.schema(list(KINDS.items()))))


def completed(files: pa.Table) -> pa.Table:
    """Return the columns of the API as those of FILES."""
    columns = {name: files[name].cast(KINDS[name]) for name in KINDS}
    columns |= {name: columns[name].cast(SECONDS).cast(FILES.field(name).type) for name in TIMES}
    columns["account"] = pa.repeat(pa.scalar("default"), len(files))
    columns["extra"] = pa.nulls(len(files), pa.string())
    return pa.table([columns[name] for name in FILES.names], schema=FILES)


INTO_ARROW: Final[dict[str, Callable[[bytes], pa.Table]]] = {
    "files-source": ours,
    "pyarrow.json": by_pyarrow,
    "arro3-io": by_arro3,
    "polars": by_polars,
    "msgspec": by_msgspec,
    "orjson and from_pylist": by_orjson,
}

OTHERWISE: Final[dict[str, Callable[[bytes], object]]] = {
    "simdjson's parse alone": lambda body: simdjson.Parser().parse(body),
    "openai client's models": lambda body: openai.pagination.SyncCursorPage[openai.types.FileObject].construct(
        **orjson.loads(body)
    ),
}


def page() -> bytes:
    """Return the body of a full page."""
    files = Files(before=time.time())
    files.resize(2 * BLOCK)
    rows, more = files.page(after=None, limit=BLOCK, order="asc", purpose=None)
    return write_page(rows, more=more, oddities=Oddities())


def timed(way: str, decode: Callable[[bytes], object], body: bytes) -> Sample:
    """Decode once."""
    began = time.perf_counter()
    decoded = decode(body)
    seconds = time.perf_counter() - began
    del decoded
    return Sample(way=way, seconds=seconds, rows=BLOCK, received=len(body))


def main() -> None:
    """Decode as many rounds as asked for, after one that checks the result, and print the samples as JSON."""
    body = page()
    wanted = ours(body)
    for way, decode in INTO_ARROW.items():
        if not decode(body).equals(wanted):
            sys.exit(f"{way} does not decode as the others do")
    rounds = range(int(sys.argv[1]))
    ways = INTO_ARROW | OTHERWISE
    samples = [timed(way, decode, body) for _ in rounds for way, decode in ways.items()]
    sys.stdout.buffer.write(msgspec.json.encode(samples))


if __name__ == "__main__":
    main()
