"""What a command asks, prints and writes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from files_source.errors import ConfigError

_STANDARD_OUTPUT: Final = ("-", "/dev/stdout")


def agreed(question: str, *, count: int | None = None) -> bool:
    """Ask on standard error, as standard output is for data, and return whether the answer is yes.

    Args:
        question: what to ask. What was typed before is no answer; what a pipe holds is, as it was put there for this.
        count: a number that must be typed in place of y.
    """
    _forget_what_was_typed()
    wanted = "[y/N]" if count is None else f"Type {count} to confirm:"
    print(f"{question} {wanted} ", end="", file=sys.stderr, flush=True)
    answer = "" if sys.stdin is None else sys.stdin.readline()
    if not answer:
        print(file=sys.stderr)
    if count is None:
        return answer.strip().lower() in ("y", "yes")
    return answer.strip() in (f"{count}", f"{count:,}")


def _forget_what_was_typed() -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        return
    if sys.platform == "win32":
        import msvcrt

        while msvcrt.kbhit():
            msvcrt.getwch()
    else:
        import termios

        termios.tcflush(sys.stdin, termios.TCIFLUSH)


def write_whole(output: Path, chunks: Iterable[bytes]) -> None:
    """Write a file whole, or leave what was there; `-` is standard output."""
    if str(output) in _STANDARD_OUTPUT:
        sys.stdout.buffer.writelines(chunks)
        sys.stdout.buffer.flush()
        return
    if output.is_dir():
        raise ConfigError(f"{output} is a folder: name the file to write")
    place = output.resolve()  # a link stays, and what it points to is replaced
    unfinished = place.with_name(f".files-source-{os.getpid()}")
    try:
        if output.exists() and not output.is_file():  # a device or a pipe, of which a resolved path may be no path
            with output.open("wb") as file:
                file.writelines(chunks)
            return
        with unfinished.open("wb") as file:
            file.writelines(chunks)
        unfinished.replace(place)
    except OSError as error:
        raise OSError(error.errno, error.strerror, output) from None
    finally:
        unfinished.unlink(missing_ok=True)


def print_object(value: object) -> None:
    """Print a value as one line of JSON."""
    from files_source import printing

    printing.show(f"{msgspec.json.encode(value).decode()}\n")
