"""The one shape of every JSON reply, and the id of every request.

::

    {"success": true,  "data": …, "message": null, "timestamp": "2026-01-01T12:00:00.000Z",
     "requestId": "…", "error": null}
    {"success": false, "data": null, "message": "…", "timestamp": …, "requestId": …,
     "error": {"code": "not_found", "message": "…", "details": null, "metadata": {"exitCode": 4, …}}}
"""

from __future__ import annotations

import json
import re
import secrets
from datetime import UTC, datetime

from marina.errors import MarinaError

Json = dict[str, object]
REQUEST_ID_HEADER = b"x-request-id"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def request_id(offered: bytes | None) -> str:
    """Return the caller's request id if it is harmless, else a fresh one of 16 hex digits."""
    if offered is not None and _REQUEST_ID.fullmatch(offered):
        return offered.decode()
    return secrets.token_hex(8)


def success(data: object, *, now_s: float, request: str, message: str | None = None) -> Json:
    """Return the envelope of a result."""
    return _envelope(data=data, message=message, now_s=now_s, request=request, error=None)


def failure(err: MarinaError, *, now_s: float, request: str, data: object = None) -> Json:
    """Return the envelope of an error: its sentence, its code and what a program may need."""
    return _envelope(data=data, message=str(err), now_s=now_s, request=request, error=error_body(err))


def error_body(err: MarinaError) -> Json:
    """Return the ``error`` part of an envelope: code, message, details, metadata."""
    metadata: Json = {"exitCode": err.exit_code, "isRetriable": err.is_retriable}
    scopes = getattr(err, "scopes", None)
    if scopes:
        metadata["scopes"] = list(scopes)
    return {"code": err.code, "message": str(err), "details": None, "metadata": metadata}


def internal_failure(*, now_s: float, request: str) -> Json:
    """Return the envelope of an unexpected error: no stack, no path, only where to look."""
    return failure(InternalError(request), now_s=now_s, request=request)


class InternalError(MarinaError):
    """A defect of the node. The log has the stack under the request's id."""

    code = "internal"

    def __init__(self, request: str) -> None:
        super().__init__(
            f"the node failed to answer: that is a defect. 'marina logs' shows it under {request}"
        )


def dumps(value: object) -> bytes:
    """Return compact UTF-8 JSON; ValueError for NaN and infinity, which JSON does not have."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace"
    )


def _envelope(*, data: object, message: str | None, now_s: float, request: str, error: Json | None) -> Json:
    moment = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "success": error is None,
        "data": data,
        "message": message,
        "timestamp": moment,
        "requestId": request,
        "error": error,
    }
