"""The body of an answer: unpacked in small pieces, and refused or cut off where it grows too large."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from files_source.errors import DecodeError, MalformedBody, excerpt

MAX_BODY: Final = 256 * 1024 * 1024
"""The most bytes of JSON that an answer may have: a full page of 10,000 files takes about 2.4 MB, and 100 MB where
each of them has a name of 10 kB."""

MAX_VALUES: Final = 2_000_000
"""The most values that they may be, by their commas: a value can take 300 bytes of memory, however short it is. A file
has about ten."""

ENCODING: Final = "gzip"
"""The one compression that is asked for: it can be unpacked in small pieces, whatever it may unfold to."""

_GZIP: Final = zlib.MAX_WBITS | 16
_COMPRESSIONS: Final = frozenset({"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd"})
_PIECE: Final = 64 * 1024
_EXPLANATION: Final = 16 * 1024


def unpacked(parts: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield a body without the compression that its `Content-Encoding` names; other encodings are left alone.

    Raises:
        MalformedBody: what came is not gzip, or is cut short.
        DecodeError: it is compressed in a way that was not asked for.
    """
    used = [name for name in (name.strip().lower() for name in encoding.split(",")) if name in _COMPRESSIONS]
    if not used:
        yield from parts
    elif used in (["gzip"], ["x-gzip"]):
        try:
            yield from _unzipped(parts)
        except zlib.error as error:
            raise MalformedBody(f"the answer is not the {ENCODING} that it claims to be: {error}") from None
    else:
        raise DecodeError(f"the answer is compressed with {excerpt(encoding)}, and only {ENCODING} was asked for")


def limited(parts: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Yield a body of at most so many bytes, and of no more than `MAX_VALUES`.

    Raises:
        DecodeError: it has more.
    """
    size = values = 0
    uncounted: list[bytes] = []
    for part in parts:
        size += len(part)
        if size > most:
            raise DecodeError(
                f"the answer is larger than {most:,} bytes: ask for fewer files a page (limit) or allow more (max_body)"
            )
        uncounted.append(part)
        if size > 2 * MAX_VALUES:  # with its comma a value takes two bytes, so few bytes need not be counted
            values += sum(waiting.count(b",") for waiting in uncounted)
            uncounted.clear()
        if values > MAX_VALUES:
            raise DecodeError(f"the answer holds more than {MAX_VALUES:,} values: ask for fewer files a page (limit)")
        yield part


def beginning(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield as much of a body as is needed to explain an error, and dots where more came."""
    left = _EXPLANATION
    for part in parts:
        yield part[:left]
        left -= len(part)
        if left < 0:
            yield b"..."
            return


def _unzipped(parts: Iterable[bytes]) -> Iterator[bytes]:
    unzip = zlib.decompressobj(_GZIP)
    part = b""
    for part in parts:
        if unzip.eof:  # what follows is no part of the answer, as in a browser
            return
        rest = part
        while rest:
            yield unzip.decompress(rest, _PIECE)
            rest = unzip.unconsumed_tail
    if part and not unzip.eof:
        raise MalformedBody(f"the answer's {ENCODING} ends too early")
