"""The five calls of the Files API on the files of one account."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NoReturn

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed, abort
from werkzeug.routing import Map, Rule

from files_source.emulator.listing import Oddities, Query, read_query, write_page
from files_source.emulator.refusals import refusal
from files_source.emulator.store import Store
from files_source.emulator.styles import STYLES
from files_source.emulator.uploads import read_upload

LIMIT: Final = 10_000
"""The API's largest page, and its default."""

DOWNLOADABLE: Final = frozenset({"assistants_output", "batch", "batch_output", "fine-tune-results", "vision"})
"""The purposes of files whose content the API gives back."""

_CHUNK: Final = 64 * 1024
_ROUTES: Final = Map(
    [
        Rule("/v1/files", endpoint="list", methods=["GET"]),
        Rule("/v1/files", endpoint="upload", methods=["POST"]),
        Rule("/v1/files/<path:file_id>", endpoint="retrieve", methods=["GET"]),
        Rule("/v1/files/<path:file_id>", endpoint="delete", methods=["DELETE"]),
        Rule("/v1/files/<path:file_id>/content", endpoint="download", methods=["GET"]),
    ],
    merge_slashes=False,
).bind("emulator")


class Api(Store):
    """A store that answers requests; its settings are described at `Emulator`."""

    api_key: str | None = None
    default_limit: int = LIMIT
    max_limit: int = LIMIT
    page_cap: int | None = None
    oddities: Oddities = Oddities()
    style: str | None = None

    def answer(self, request: Request) -> Response:
        """Do what *request* asks for, or refuse it."""
        try:
            if self.api_key is not None and self.api_key not in _keys(request):
                _refuse_key(request)
            endpoint, arguments = _ROUTES.match(request.path, method=request.method)
            match endpoint:
                case "list":
                    return self._listed(request)
                case "upload":
                    return self._upload(request)
                case "retrieve":
                    return _json(self._row(**arguments))
                case "delete":
                    return self._delete(**arguments)
                case _:
                    return self._download(**arguments)
        except HTTPException as error:
            return error.response if isinstance(error.response, Response) else _misdirected(request, error)

    def _listed(self, request: Request) -> Response:
        if self.style is not None:
            return STYLES[self.style](request, self.files)
        return self._list(read_query(request.args, self.default_limit, self.max_limit))

    def _list(self, query: Query) -> Response:
        oddities = self.oddities
        query = replace(
            query,
            after=None if oddities.after_ignored else query.after,
            order="desc" if oddities.order_ignored else query.order,
            limit=query.limit if self.page_cap is None else min(query.limit, self.page_cap),
        )
        try:
            rows, more = self._rows_for(query)
        except KeyError:
            if oddities.vanished_cursor == "end":
                return _json(write_page([], more=False, oddities=oddities))
            return refusal(oddities.vanished_cursor, f"No such File object: {query.after}", param="after")
        return _json(write_page(rows, more=more, oddities=oddities))

    def _rows_for(self, query: Query) -> tuple[list[bytes], bool]:
        rows, more = self._page(query)
        if self.oddities.last_page_repeats and not more:
            if not rows and query.after is not None:
                last, _ = self._page(replace(query, after=None, order="asc" if query.order == "desc" else "desc"))
                rows = last[::-1]
            more = True
        if self.oddities.first_two_transposed and query.after is None:
            rows[:2] = rows[1::-1]
        return rows, more

    def _page(self, query: Query) -> tuple[list[bytes], bool]:
        return self.page(
            after=query.after,
            limit=query.limit,
            order=query.order,
            purpose=query.purpose,
            ties_by_id=self.oddities.ties_by_id,
        )

    def _upload(self, request: Request) -> Response:
        upload = read_upload(request.form, request.files)
        now = math.floor(self.clock())
        file = self.add(
            created_at=now,
            purpose=upload.purpose,
            filename=upload.filename,
            content=upload.content,
            expires_at=None if upload.lifetime is None else now + upload.lifetime,
        )
        return _json(json.dumps(file).encode())

    def _delete(self, file_id: str) -> Response:
        try:
            self.remove(file_id)
        except KeyError:
            _refuse_id(file_id)
        return _json(json.dumps({"object": "file", "id": file_id, "deleted": True}).encode())

    def _download(self, file_id: str) -> Response:
        file = json.loads(self._row(file_id))
        purpose, content = file.get("purpose"), self.content(file_id)
        if purpose not in DOWNLOADABLE:
            abort(refusal(400, f"Not allowed to download files of purpose: {purpose}"))
        if content is not None:
            return Response(content, mimetype="application/octet-stream")
        size = file.get("bytes")
        size = size if isinstance(size, int) and size > 0 else 0
        response = Response(_filler(f"{file.get('filename')}\n", size), mimetype="application/octet-stream")
        response.content_length = size
        return response

    def _row(self, file_id: str) -> bytes:
        try:
            return self.row(file_id)
        except KeyError:
            _refuse_id(file_id)


def _keys(request: Request) -> list[str | None]:
    """Return the keys that a request brings, as OpenAI and as Azure take them."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return [token if scheme.lower() == "bearer" else None, request.headers.get("api-key")]


def _refuse_key(request: Request) -> NoReturn:
    if any(_keys(request)):
        abort(refusal(401, "Incorrect API key provided.", code="invalid_api_key"))
    abort(refusal(401, "You didn't provide an API key. Provide it in an Authorization header: Bearer YOUR_KEY."))


def _refuse_id(file_id: str) -> NoReturn:
    abort(refusal(404, f"No such File object: {file_id}", param="id"))


def _misdirected(request: Request, error: HTTPException) -> Response:
    """Return the API's words for a path or a method that it does not know."""
    if isinstance(error, MethodNotAllowed):
        response = refusal(405, f"Not allowed to {request.method} on {request.path}.", code="method_not_supported")
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        return response
    return refusal(404, f"Invalid URL ({request.method} {request.path})", code="unknown_url")


def _json(text: bytes) -> Response:
    return Response(text, mimetype="application/json")


def _filler(line: str, size: int) -> Iterator[bytes]:
    """Yield *size* bytes of *line* over and over."""
    text = line.encode("utf-8", "replace")
    block = text * (_CHUNK // len(text) + 1)
    for start in range(0, size, len(block)):
        yield block[: size - start]
