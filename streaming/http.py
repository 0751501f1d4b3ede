"""The audio endpoint: exact 200, 206, 304 and 416, HEAD and entity tags, over a play session."""

from __future__ import annotations

import logging

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from marina.cid import cid_text
from marina.errors import MarinaError
from streaming.ranges import ByteRange, UnsatisfiableRangeError, is_fresh, parse_range, range_applies
from streaming.session import PlaySession

log = logging.getLogger("marina.streaming")


def stream_response(session: PlaySession, request: Request) -> Response:
    """Return the answer to a GET or HEAD of a session's audio."""
    etag = f'"{cid_text(session.rendition.layout.root)}"'
    total = session.size_bytes
    headers = {
        "accept-ranges": "bytes",
        "etag": etag,
        "cache-control": "private, no-transform",
        "content-type": session.rendition.mime,
    }
    if is_fresh(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    try:
        wanted = None
        # Ranges are defined for GET alone (RFC 9110 §14.2): HEAD tells of the whole.
        if request.method == "GET" and range_applies(request.headers.get("if-range"), etag):
            wanted = parse_range(request.headers.get("range"), total)
    except UnsatisfiableRangeError:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{total}"})
    part = wanted or ByteRange(0, total - 1)
    headers["content-length"] = str(part.length)
    if wanted:
        headers["content-range"] = wanted.content_range(total)
    return AudioResponse(
        session,
        part,
        status_code=206 if wanted else 200,
        headers=headers,
        has_body=request.method != "HEAD",
    )


class AudioResponse(Response):
    """Sends a part of a session's audio, and stops fetching for it as soon as the player hangs up."""

    def __init__(
        self,
        session: PlaySession,
        part: ByteRange,
        *,
        status_code: int,
        headers: dict[str, str],
        has_body: bool,
    ) -> None:
        super().__init__(status_code=status_code, headers=headers)
        self._session = session
        self._part = part
        self._has_body = has_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; its head only once the first bytes are there, so that failures have a status.

        Raises:
            MarinaError: a segment did not come. If that is the first, nothing was sent; otherwise the
                server must cut the connection, which players notice.
        """
        del scope
        failure: MarinaError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, receive, nursery.cancel_scope)
            try:
                await self._send_all(send)
            except MarinaError as err:
                failure = err  # raised outside the nursery, which would wrap it in a group
            nursery.cancel_scope.cancel()
        if failure is not None:
            log.warning("a stream broke off: %s", failure)
            raise failure

    async def _watch(self, receive: Receive, scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _send_all(self, send: Send) -> None:
        if self._has_body:
            await self._send_body(send)
        else:
            await self._send_head(send)
        await send({"type": "http.response.body", "body": b""})

    async def _send_head(self, send: Send) -> None:
        raw = [(key.encode(), value.encode()) for key, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status_code, "headers": raw})

    async def _send_body(self, send: Send) -> None:
        at, end = self._part.first, self._part.last + 1
        with self._session.reading(at) as reader:
            while at < end:
                block = await reader.read(at, end)
                if at == self._part.first:
                    await self._send_head(send)
                await send({"type": "http.response.body", "body": block, "more_body": True})
                self._session.delivered(at, len(block))
                at += len(block)
