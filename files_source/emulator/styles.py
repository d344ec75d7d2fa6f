"""How other vendors list files: their parameters, their pages and their rows, as their documents have them in mid 2026.

| style | pages by | says of more | refuses |
|---|---|---|---|
| anthropic | `after_id`, `limit` (20, at most 1,000) | `has_more` | a larger limit |
| anthropic pages | `page` (a token), `limit` (20, at most 1,000) | `next_page` | a larger limit |
| azure 2024 | nothing | nothing | a request without `api-version` |
| fireworks | `pageToken`, `pageSize` (50, at most 200) | `nextPageToken` | a larger page |
| groq | nothing | nothing | nothing |
| links | `page` (from 1), `per_page` (30, at most 100) | a `Link` header | nothing: larger pages are cut |
| maniac | `offset`, `limit` (100) | `total` | a larger limit |
| mistral | `page` (from 0), `page_size` (100) | `total` | a larger page |
| next | `page` (from 1) of 50 files | `count`, and `next`, an address | nothing |
| vlm run | `skip`, `limit` (10, at most 1,000) | nothing: a bare array | a larger limit |
| xai | `pagination_token`, `limit` (100), `order` | `pagination_token` | a larger limit |
| zhipu | `after`, `limit` (20, at most 100) | `has_more` | a larger limit, another `order`, no `purpose` |

Where no order can be asked for, the newest file comes first. A parameter that is not named here is ignored.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from werkzeug import Request, Response
from werkzeug.exceptions import abort

from files_source.emulator.refusals import refusal

List = Callable[[str | None], list[dict[str, Any]]]
"""Gives the files of a purpose, or all, oldest first."""

Style = Callable[[Request, List], Response]
"""Answers a list request."""


def _anthropic(request: Request, files: List) -> Response:
    asked = request.args
    limit = _number(asked, "limit", default=20, most=1_000, refuse=_anthropic_refusal)
    rows = _newest_first(files)
    start = _place(rows, asked["after_id"]) + 1 if "after_id" in asked else 0
    page = [_anthropic_row(row) for row in rows[start : start + limit]]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return _json({"data": page, "has_more": start + limit < len(rows), **ends})


def _anthropic_pages(request: Request, files: List) -> Response:
    limit = _number(request.args, "limit", default=20, most=1_000, refuse=_anthropic_refusal)
    page, token = _by_token(_newest_first(files), request.args.get("page"), limit)
    return _json({"data": [_anthropic_row(row) for row in page], "next_page": token})


def _azure(request: Request, files: List) -> Response:
    if "api-version" not in request.args:
        abort(Response(json.dumps({"error": {"code": "404", "message": "Resource not found"}}), 404))
    return _json({"object": "list", "data": [_without(row, "expires_at") for row in _newest_first(files, request)]})


def _fireworks(request: Request, files: List) -> Response:
    limit = _number(request.args, "pageSize", default=50, most=200)
    page, token = _by_token(_newest_first(files), request.args.get("pageToken"), limit)
    return _json({"data": page, "nextPageToken": token or "", "totalSize": len(files(None))})


def _groq(_: Request, files: List) -> Response:
    return _json({"object": "list", "data": _newest_first(files)})


def _links(request: Request, files: List) -> Response:
    size = min(_number(request.args, "per_page", default=30), 100)
    number = _number(request.args, "page", default=1)
    rows = _newest_first(files, request)
    response = _json({"data": rows[(number - 1) * size : number * size]})
    if number * size < len(rows):
        response.headers["Link"] = f'<{request.base_url}?page={number + 1}&per_page={size}>; rel="next"'
    return response


def _maniac(request: Request, files: List) -> Response:
    limit = _number(request.args, "limit", default=100, most=100)
    start = _number(request.args, "offset", default=0, least=0)
    rows = _newest_first(files, request)
    return _json({"object": "list", "data": rows[start : start + limit], "total": len(rows)})


def _mistral(request: Request, files: List) -> Response:
    size = _number(request.args, "page_size", default=100, most=100, refuse=_pydantic_refusal)
    start = _number(request.args, "page", default=0, least=0, refuse=_pydantic_refusal) * size
    rows = _newest_first(files, request)
    page = [_without(row, "status", "status_details") | {"source": "upload"} for row in rows[start : start + size]]
    return _json({"data": page, "object": "list", "total": len(rows)})


def _next(request: Request, files: List) -> Response:
    size = 50
    number = _number(request.args, "page", default=1)
    rows = _newest_first(files, request)
    following = f"{request.base_url}?page={number + 1}" if number * size < len(rows) else None
    return _json({"count": len(rows), "next": following, "data": rows[(number - 1) * size : number * size]})


def _vlm_run(request: Request, files: List) -> Response:
    limit = _number(request.args, "limit", default=10, most=1_000, refuse=_pydantic_refusal)
    start = _number(request.args, "skip", default=0, least=0, refuse=_pydantic_refusal)
    page = _newest_first(files)[start : start + limit]
    return _json([row | {"created_at": _text(row["created_at"]), "filename": row["filename"] or None} for row in page])


def _xai(request: Request, files: List) -> Response:
    limit = _number(request.args, "limit", default=100, most=100)
    rows = files(None) if request.args.get("order") == "asc" else _newest_first(files)
    page, token = _by_token(rows, request.args.get("pagination_token"), limit)
    shown = [
        {"id": row["id"], "filename": row["filename"], "size": row["bytes"], "created_at": _text(row["created_at"])}
        for row in page
    ]
    return _json({"data": shown, "pagination_token": token})


def _zhipu(request: Request, files: List) -> Response:
    asked = request.args
    if not asked.get("purpose"):
        abort(_chinese_refusal("purpose不能为空"))
    if asked.get("order", "created_at") != "created_at":
        abort(_chinese_refusal("order参数非法"))
    limit = _number(asked, "limit", default=20, most=100, refuse=lambda *_: _chinese_refusal("limit参数非法"))
    rows = _newest_first(files, request)
    start = _place(rows, asked["after"]) + 1 if "after" in asked else 0
    page = [_without(row, "status", "status_details", "expires_at") for row in rows[start : start + limit]]
    return _json({"object": "list", "data": page, "has_more": start + limit < len(rows)})


STYLES: Final[Mapping[str, Style]] = MappingProxyType(
    {
        "anthropic": _anthropic,
        "anthropic pages": _anthropic_pages,
        "azure 2024": _azure,
        "fireworks": _fireworks,
        "groq": _groq,
        "links": _links,
        "maniac": _maniac,
        "mistral": _mistral,
        "next": _next,
        "vlm run": _vlm_run,
        "xai": _xai,
        "zhipu": _zhipu,
    }
)
"""Each style, by name."""


def _newest_first(files: List, request: Request | None = None) -> list[dict[str, Any]]:
    """Return the files, of the purpose that is asked for where the style knows that."""
    return files(request.args.get("purpose") if request else None)[::-1]


def _by_token(rows: list[dict[str, Any]], token: str | None, limit: int) -> tuple[list[dict[str, Any]], str | None]:
    """Return the page after a token, and the next token, which names the page's last file unreadably."""
    start = 0
    if token is not None:
        try:
            start = _place(rows, base64.b64decode(token, validate=True).decode()) + 1
        except (binascii.Error, UnicodeDecodeError):
            abort(refusal(400, "Invalid page token."))
    page = rows[start : start + limit]
    has_more = start + limit < len(rows)
    return page, base64.b64encode(page[-1]["id"].encode()).decode() if has_more else None


def _place(rows: list[dict[str, Any]], file_id: str) -> int:
    try:
        return next(place for place, row in enumerate(rows) if row["id"] == file_id)
    except StopIteration:
        abort(refusal(400, f"No such file: {file_id}"))


def _number(
    asked: Mapping[str, str],
    name: str,
    *,
    default: int,
    least: int = 1,
    most: int | None = None,
    refuse: Callable[[str, int | None], Response] | None = None,
) -> int:
    text = asked.get(name, str(default))
    if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
        abort(refuse(name, most) if refuse else refusal(400, f"Invalid value {text!r}: must be between 1 and {most}"))
    return int(text)


def _pydantic_refusal(name: str, most: int | None) -> Response:
    detail = {"type": "less_than_equal", "loc": ["query", name], "msg": f"Input should be less than or equal to {most}"}
    return Response(json.dumps({"detail": [detail]}), status=422, mimetype="application/json")


def _anthropic_refusal(name: str, most: int | None) -> Response:
    error = {"type": "invalid_request_error", "message": f"{name}: Input should be less than or equal to {most}"}
    return Response(json.dumps({"type": "error", "error": error}), status=400, mimetype="application/json")


def _chinese_refusal(message: str) -> Response:
    error = {"error": {"code": "1214", "message": message}}
    return Response(json.dumps(error, ensure_ascii=False), status=400, mimetype="application/json")


def _anthropic_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "file",
        "id": row["id"],
        "filename": row["filename"],
        "mime_type": "application/octet-stream",
        "size_bytes": row["bytes"],
        "created_at": _text(row["created_at"]),
        "downloadable": False,
    }


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _text(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat().replace("+00:00", "Z")


def _json(answer: object) -> Response:
    return Response(json.dumps(answer), mimetype="application/json")
