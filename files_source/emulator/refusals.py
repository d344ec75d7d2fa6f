"""The API's errors."""

from __future__ import annotations

import json

from werkzeug import Response


def refusal(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
) -> Response:
    """Return an error in the API's form."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return Response(json.dumps({"error": error}), status=status, mimetype="application/json")
