"""The audio endpoint: exact 200, 206, 304 and 416, HEAD and entity tags, over a play session."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from marina.cid import cid_text
from streaming.ranges import ByteRange, UnsatisfiableRangeError, is_fresh, parse_range, range_applies
from streaming.session import PlaySession


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
        if range_applies(request.headers.get("if-range"), etag):
            wanted = parse_range(request.headers.get("range"), total)
    except UnsatisfiableRangeError:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{total}"})
    part = wanted or ByteRange(0, total - 1)
    headers["content-length"] = str(part.length)
    if wanted:
        headers["content-range"] = wanted.content_range(total)
    status = 206 if wanted else 200
    if request.method == "HEAD":
        return _HeadResponse(status_code=status, headers=headers)
    return StreamingResponse(_body(session, part), status_code=status, headers=headers)


async def _body(session: PlaySession, part: ByteRange) -> AsyncIterator[bytes]:
    async with session.reading(part.first) as reader:
        async for block in reader.blocks(part.first, part.last + 1):
            yield block


class _HeadResponse(Response):
    """An answer without a body that keeps the Content-Length of the one with a body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the status and headers as they are."""
        del scope, receive
        raw = [(key.encode(), value.encode()) for key, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status_code, "headers": raw})
        await send({"type": "http.response.body", "body": b""})
