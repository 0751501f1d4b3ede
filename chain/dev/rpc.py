"""JSON-RPC 2.0 over bytes: single calls and batches, bounded, with the right error codes."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from chain.dev.engine import Engine
from chain.dev.faults import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    TIMED_OUT,
    RpcFault,
)
from chain.dev.methods import WRITING, Methods
from marina.errors import MarinaError
from marina.jsontext import load_json

BODY_BYTES_MAX = 1 << 20
BATCH_MAX = 100
REPLY_BYTES_MAX = 48 << 20
REQUEST_TIMEOUT_S = 10.0
"""Time of one request with all calls of its batch; what has not begun by then is not executed."""
_WRITING = tuple(name.encode() for name in sorted(WRITING))
_ID_CHARS_MAX = 256
log = logging.getLogger("marina.chain.dev")


class DevRpc:
    """Answers requests. Synchronous; the caller lets one request in at a time."""

    def __init__(self, engine: Engine) -> None:
        """Take an open engine."""
        self._methods = Methods(engine)

    @staticmethod
    def may_change(body: bytes) -> bool:
        """Return whether a request may change the chain; for the order of waiting requests only."""
        return any(name in body for name in _WRITING)

    def handle(self, body: bytes) -> bytes:
        """Return the answer to one HTTP body; empty if it has notifications alone.

        Never raises for anything a client can send. What changed the chain is on the disk when this returns.
        """
        if len(body) > BODY_BYTES_MAX:
            fault = RpcFault(INVALID_REQUEST, f"content length too large: {BODY_BYTES_MAX} bytes are allowed")
            return _encoded(_failed(None, fault))
        try:
            request = load_json(body)
        except ValueError:
            return _encoded(_failed(None, RpcFault(PARSE_ERROR, "parse error: the body is not JSON")))
        deadline_s = time.monotonic() + REQUEST_TIMEOUT_S
        if not isinstance(request, list):
            answer = self._answer(request, deadline_s)
            return b"" if answer is None else _encoded(answer)
        return self._batch(request, deadline_s)

    def _batch(self, requests: list[Any], deadline_s: float) -> bytes:
        if not requests:
            return _encoded(_failed(None, RpcFault(INVALID_REQUEST, "empty batch")))
        if len(requests) > BATCH_MAX:
            fault = RpcFault(INVALID_REQUEST, f"batch too large: at most {BATCH_MAX} calls are allowed")
            return _encoded(_failed(None, fault))
        parts: list[bytes] = []
        left_bytes = REPLY_BYTES_MAX
        for request in requests:
            answer = self._answer(request, deadline_s if left_bytes > 0 else 0.0)
            if answer is not None:
                parts.append(_encoded(answer))
                left_bytes -= len(parts[-1])
        return b"[" + b",".join(parts) + b"]" if parts else b""

    def _answer(self, request: Any, deadline_s: float) -> dict[str, Any] | None:
        """Return the answer to one call, None to a notification."""
        if not isinstance(request, dict):
            return _failed(None, RpcFault(INVALID_REQUEST, "invalid request: an object is needed"))
        identity = request.get("id")
        if not _is_id(identity) or request.get("jsonrpc") != "2.0":
            return _failed(
                None, RpcFault(INVALID_REQUEST, 'invalid request: "jsonrpc": "2.0" and an id are needed')
            )
        method = request.get("method")
        if not isinstance(method, str):
            return _failed(identity, RpcFault(INVALID_REQUEST, "invalid request: a method is needed"))
        try:
            result = self._run(method, request.get("params"), deadline_s)
            answer = {"jsonrpc": "2.0", "id": identity, "result": result}
        except RpcFault as fault:
            answer = _failed(identity, fault)
        return answer if "id" in request else None

    def _run(self, method: str, given: Any, deadline_s: float) -> Any:
        run = self._methods.table.get(method)
        if run is None:
            raise RpcFault(METHOD_NOT_FOUND, f"the method {method[:80]} does not exist/is not available")
        if time.monotonic() >= deadline_s:
            raise RpcFault(TIMED_OUT, "request timed out: ask for less in one batch")
        self._methods.deadline_s = deadline_s
        try:
            return run(given)
        except MarinaError as err:
            log.error("the chain's database failed", extra={"context": {"why": str(err)}})
            raise RpcFault(INTERNAL_ERROR, str(err)) from err
        except RpcFault:
            raise
        except Exception as err:
            # The boundary that keeps one request's failure from ending the chain; a fault of ours, so logged.
            log.exception("a method failed", extra={"context": {"method": method}})
            raise RpcFault(INTERNAL_ERROR, "internal error: the chain's log has the details") from err


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _ID_CHARS_MAX
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _failed(identity: object, fault: RpcFault) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, "error": fault.to_json()}


def _encoded(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
