"""Calls the handler of a request that the guard let in, and writes its reply."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import trio
from starlette.types import Receive, Scope, Send

from marina.clock import Clock
from marina.errors import MarinaError
from node.api.envelope import InternalError, dumps, error_body, failure, success
from node.api.errors import BodyTooLargeError, RequestTimeoutError
from node.api.fields import parse_body, parse_query
from node.api.reply import NO_STORE, Reply, select_fields
from node.api.router import ApiContext, Match
from node.api.tokens import AccessToken

BODY_BYTES_MAX = 1 << 20
BODY_TIMEOUT_S = 10.0
_GZIP_FROM_BYTES = 1024
_GZIP_LEVEL = 4
PASSED = "marina.passed"
"""Key of the ASGI scope under which the guard leaves its verdict."""
Headers = list[tuple[bytes, bytes]]
log = logging.getLogger("marina.node.api")


@dataclass(frozen=True, slots=True)
class Passed:
    """The guard's verdict on a request.

    Attributes:
        match: the route.
        token: who asks; None on open routes.
        request: id of the request.
        headers: lower-case names and values.
        base_url: scheme and host as the caller wrote them.
    """

    match: Match
    token: AccessToken | None
    request: str
    headers: dict[str, str]
    base_url: str


class ClientGoneError(Exception):
    """The caller closed the connection before the request was whole; nobody reads an answer."""


class Dispatcher:
    """ASGI app behind the guard. A request without the guard's verdict is a defect, not a request."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request.

        Raises:
            MarinaError: what the handler or the reading of the request declared; the guard answers it.
        """
        passed: Passed = scope[PASSED]
        route = passed.match.route
        has_body = route.method != "GET"
        body = await _read_body(receive) if has_body else b""
        ctx = ApiContext(
            method=route.method,
            path=scope["path"],
            params=passed.match.params,
            query=parse_query(scope["query_string"]),
            body=parse_body(body),
            headers=passed.headers,
            token=passed.token,
            request=passed.request,
            base_url=passed.base_url,
        )
        reply = await route.handler(ctx)
        if reply.app is not None:
            await reply.app(scope, receive, send)
        elif reply.events is not None:
            await _send_events(reply.events, passed.request, receive, send)
        else:
            await self._send_whole(reply, ctx, send)

    async def _send_whole(self, reply: Reply, ctx: ApiContext, send: Send) -> None:
        content_type, payload, identity = self._payload(reply, ctx)
        headers: Headers = [
            (b"content-type", content_type.encode()),
            (b"cache-control", reply.cache.encode()),
            *((name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers),
        ]
        status = reply.status
        if reply.cache != NO_STORE and status == 200:
            etag = f'W/"{hashlib.sha256(identity).hexdigest()[:32]}"'
            headers.append((b"etag", etag.encode()))
            if etag_matches(ctx.headers.get("if-none-match", ""), etag):
                status, payload = 304, b""
        headers.append((b"vary", b"Accept-Encoding"))
        if len(payload) >= _GZIP_FROM_BYTES and _accepts_gzip(ctx.headers.get("accept-encoding", "")):
            payload = gzip.compress(payload, _GZIP_LEVEL, mtime=0)
            headers.append((b"content-encoding", b"gzip"))
        if status != 304:
            headers.append((b"content-length", str(len(payload)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": payload})

    def _payload(self, reply: Reply, ctx: ApiContext) -> tuple[str, bytes, bytes]:
        """Return content type, bytes, and the bytes that decide whether it changed."""
        if reply.body is not None:
            return reply.content_type, reply.body, reply.body
        fields = ctx.query.texts("fields", items_max=64, bytes_max=64)
        data = select_fields(reply.data, fields) if fields else reply.data
        now_s = self._clock.now_s()
        if reply.error is not None:
            envelope = failure(reply.error, now_s=now_s, request=ctx.request, data=data)
        else:
            envelope = success(data, now_s=now_s, request=ctx.request, message=reply.message)
        return "application/json", dumps(envelope), dumps([data, reply.message])


def etag_matches(if_none_match: str, etag: str) -> bool:
    """Return whether an If-None-Match header covers a weak ETag (RFC 9110 §13.1.2)."""
    if if_none_match.strip() == "*":
        return True
    bare = etag.removeprefix("W/")
    return any(each.strip().removeprefix("W/") == bare for each in if_none_match.split(","))


def _accepts_gzip(header: str) -> bool:
    for each in header.split(","):
        coding, _, weight = each.strip().lower().partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    with trio.move_on_after(BODY_TIMEOUT_S):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            body += message.get("body", b"")
            if len(body) > BODY_BYTES_MAX:
                raise BodyTooLargeError(f"the body is larger than {BODY_BYTES_MAX} bytes")
            if not message.get("more_body", False):
                return bytes(body)
    raise RequestTimeoutError(f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s")


async def _send_events(
    events: AsyncIterator[dict[str, Any]], request: str, receive: Receive, send: Send
) -> None:
    """Send the events as lines until they end or the caller goes away."""
    headers: Headers = [
        (b"content-type", b"application/x-ndjson"),
        (b"cache-control", NO_STORE.encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_gone, receive, nursery.cancel_scope)
        await _send_lines(events, request, send)
        nursery.cancel_scope.cancel()
    await send({"type": "http.response.body", "body": b""})


async def _send_lines(events: AsyncIterator[dict[str, Any]], request: str, send: Send) -> None:
    async with aclosing(cast("Any", events)):
        try:
            async for event in events:
                await _send_line(event, send)
        except MarinaError as err:
            await _send_line(_error_event(err, request), send)
        except Exception:
            # The reply has begun: the stack goes to the log, the caller gets an honest last line.
            log.exception("a stream of events failed", extra={"context": {"request": request}})
            await _send_line(_error_event(InternalError(request), request), send)


def _error_event(err: MarinaError, request: str) -> dict[str, Any]:
    return {"event": "error", "error": error_body(err), "requestId": request}


async def _send_line(event: dict[str, Any], send: Send) -> None:
    line = json.dumps(event, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"
    await send({"type": "http.response.body", "body": line, "more_body": True})


async def _cancel_when_gone(receive: Receive, cancel_scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
    cancel_scope.cancel()
