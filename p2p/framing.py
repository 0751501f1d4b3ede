"""Frames: ``u32be header length ‖ msgpack header ‖ payload``.

The length in front counts the header alone. How many payload bytes follow stands inside the header,
where the protocol's own record bounds it; a frame without that field has no payload. So a reader knows
every limit before it waits for a byte. See docs/protocol/chunk.md.
"""

from __future__ import annotations

from typing import Protocol

import trio

from marina.errors import MalformedError
from p2p.errors import PeerGoneError, PeerStalledError

LENGTH_BYTES = 4


class ByteSource(Protocol):
    """What a reader reads from; ``MarinaStream`` is one."""

    async def read_some(self, max_bytes: int) -> bytes:
        """Return 1 to ``max_bytes`` bytes, or b"" at the end."""
        ...

    async def read_into(self, target: memoryview) -> int:
        """Put 1 to ``len(target)`` bytes into a buffer and return how many, 0 at the end."""
        ...


def pack(header: bytes) -> bytes:
    """Return the header with its length in front; the payload, if any, follows on the wire."""
    return len(header).to_bytes(LENGTH_BYTES, "big") + header


class FrameReader:
    """Reads frames of one protocol from one stream under its limits and deadlines.

    Reads ahead no more than a header, so that payload is copied once, from the stream to the caller.

    Attributes:
        is_inside_frame: whether a header has begun and not ended; tells an idle peer from a slow one.
        received_bytes: read so far, headers included.
    """

    def __init__(self, source: ByteSource, *, header_bytes_max: int, frame_timeout_s: float) -> None:
        self._source = source
        self._header_bytes_max = header_bytes_max
        self._frame_timeout_s = frame_timeout_s
        self._buffer = bytearray()
        self.is_inside_frame = False
        self.received_bytes = 0

    async def header(self, idle_timeout_s: float) -> bytes | None:
        """Return the next frame's header, None when the stream ended between frames.

        Args:
            idle_timeout_s: how long the first byte may take. The whole header must follow it within
                the reader's frame timeout, however slowly it trickles.

        Raises:
            MalformedError: the announced header is empty or larger than the protocol allows.
            PeerStalledError: a deadline passed.
            PeerGoneError: the stream ended inside the frame, or broke.
        """
        if not self._buffer and not await self._more(idle_timeout_s, "sent nothing"):
            return None
        self.is_inside_frame = True
        deadline = trio.current_time() + self._frame_timeout_s
        length = int.from_bytes(await self._take(LENGTH_BYTES, deadline), "big")
        if not 0 < length <= self._header_bytes_max:
            raise MalformedError(f"frame header of {length} bytes, allowed 1 to {self._header_bytes_max}")
        header = await self._take(length, deadline)
        self.is_inside_frame = False
        return header

    async def payload(self, size_bytes: int) -> bytes:
        """Return the payload that the header announced; the caller has checked the size.

        Errors as for ``bulk``.
        """
        return bytes(await self.bulk(size_bytes))

    async def bulk(self, size_bytes: int) -> bytearray:
        """Return a large payload in the buffer that the stream filled, one copy less than ``payload``.

        Every wait for a byte is bounded by the frame timeout; the whole is the caller's to bound.

        Raises:
            PeerStalledError: nothing came for the frame timeout.
            PeerGoneError: the stream ended inside the payload, or broke.
        """
        payload = bytearray(size_bytes)
        filled = min(size_bytes, len(self._buffer))
        payload[:filled] = self._buffer[:filled]
        del self._buffer[:filled]
        with memoryview(payload) as view:
            while filled < size_bytes:
                with trio.move_on_after(self._frame_timeout_s) as scope:
                    size = await self._source.read_into(view[filled:])
                if scope.cancelled_caught:
                    raise PeerStalledError(
                        f"the peer stopped inside a frame for {self._frame_timeout_s:.3g} s"
                    )
                if not size:
                    raise PeerGoneError("the peer ended the stream inside a frame")
                self.received_bytes += size
                filled += size
        return payload

    async def _take(self, size_bytes: int, deadline: float | None) -> bytes:
        while len(self._buffer) < size_bytes:
            left_s = self._frame_timeout_s if deadline is None else deadline - trio.current_time()
            if not await self._more(left_s, "stopped inside a frame"):
                raise PeerGoneError("the peer ended the stream inside a frame")
        with memoryview(self._buffer) as view:
            taken = bytes(view[:size_bytes])
        del self._buffer[:size_bytes]
        return taken

    async def _more(self, timeout_s: float, what: str) -> bool:
        with trio.move_on_after(timeout_s) as scope:
            data = await self._source.read_some(LENGTH_BYTES + self._header_bytes_max)
            self._buffer += data
            self.received_bytes += len(data)
            return bool(data)
        if scope.cancelled_caught:
            raise PeerStalledError(f"the peer {what} for {max(timeout_s, 0.0):.3g} s")
        return False
