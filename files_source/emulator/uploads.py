"""What an upload must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import abort

from files_source.emulator.population import BATCH_LIFETIME
from files_source.emulator.refusals import refusal

PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
"""The purposes that a file can be uploaded for."""

_SHORTEST_LIFE: Final = 3_600
_LONGEST_LIFE: Final = 2_592_000


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to come; *lifetime* in seconds."""

    filename: str
    content: bytes
    purpose: str
    lifetime: int | None


def read_upload(form: Mapping[str, str], files: Mapping[str, FileStorage]) -> Upload:
    """Return what a multipart form uploads, or refuse it with 400."""
    file, purpose = files.get("file"), form.get("purpose")
    if file is None:
        abort(refusal(400, "'file' is a required property", param="file"))
    if purpose is None:
        abort(refusal(400, "'purpose' is a required property", param="purpose"))
    if purpose not in PURPOSES:
        abort(refusal(400, f"{purpose!r} is not one of {list(PURPOSES)} - 'purpose'", param="purpose"))
    lifetime = _lifetime(form)
    if lifetime is None and purpose == "batch":
        lifetime = BATCH_LIFETIME
    return Upload(filename=file.filename or "upload", content=file.read(), purpose=purpose, lifetime=lifetime)


def _lifetime(form: Mapping[str, str]) -> int | None:
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        message = f"Invalid value: {anchor!r}. Supported values are: 'created_at'."
        abort(refusal(400, message, param="expires_after[anchor]", code="invalid_value"))
    if seconds is None or not seconds.isdecimal() or not _SHORTEST_LIFE <= int(seconds) <= _LONGEST_LIFE:
        message = f"Invalid 'expires_after[seconds]': expected {_SHORTEST_LIFE} to {_LONGEST_LIFE}, but got {seconds}."
        abort(refusal(400, message, param="expires_after[seconds]", code="invalid_value"))
    return int(seconds)
