"""Frames of bitswap: a varint length and as many bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from marina.errors import MalformedError
from marina.protowire import varint
from p2p.errors import PeerGoneError, PeerStalledError
from p2p.framing import ByteSource
from storage.file_ops import Buffer

_READ_BYTES = 4 * 1024
_SKIP_BYTES = 64 * 1024
_LENGTH_BYTES_MAX = 4


def framed(parts: Sequence[Buffer]) -> list[Buffer]:
    """Return a message's parts with their length in front."""
    return [varint(sum(map(len, parts))), *parts]


class VarintReader:
    """Reads frames from one stream under a limit and deadlines.

    A frame that is larger than what is wanted from this peer right now is read and dropped in small
    pieces, so that no peer makes this node hold megabytes that nobody asked for.
    """

    def __init__(
        self,
        source: ByteSource,
        *,
        frame_bytes_max: int,
        pause_s: float,
        on_bytes: Callable[[int], None] = lambda _size_bytes: None,
    ) -> None:
        """Take the source.

        Args:
            source: a stream.
            frame_bytes_max: what the protocol allows.
            pause_s: the longest wait for a byte inside a frame.
            on_bytes: told of the bytes of a frame as they come.
        """
        self._on_bytes = on_bytes
        self._source = source
        self._frame_bytes_max = frame_bytes_max
        self._pause_s = pause_s
        self._buffer = bytearray()

    async def begin(self, idle_s: float) -> int | None:
        """Return the length of the next frame; None at the stream's end, and after ``idle_s`` of silence.

        Raises:
            MalformedError: the length is larger than the protocol allows.
            PeerStalledError, PeerGoneError: the peer stopped inside it.
        """
        if not self._buffer and not await self._more(idle_s):
            return None
        value = 0
        for at in range(_LENGTH_BYTES_MAX):
            while len(self._buffer) <= at:
                if not await self._more(self._pause_s):
                    raise PeerStalledError("the peer stopped inside the length of a frame")
            byte = self._buffer[at]
            value |= (byte & 0x7F) << (7 * at)
            if byte < 0x80:
                del self._buffer[: at + 1]
                if value > self._frame_bytes_max:
                    raise MalformedError(f"a frame of {value} bytes, allowed {self._frame_bytes_max}")
                return value
        raise MalformedError("the length of a frame is too long")

    async def take(self, size_bytes: int) -> bytearray:
        """Return the frame that ``begin`` announced.

        Raises:
            PeerStalledError: nothing came for the longest pause.
            PeerGoneError: the stream ended inside the frame.
        """
        frame = bytearray(size_bytes)
        filled = min(size_bytes, len(self._buffer))
        frame[:filled] = self._buffer[:filled]
        del self._buffer[:filled]
        with memoryview(frame) as view:
            while filled < size_bytes:
                filled += await self._read_into(view[filled:])
        return frame

    async def skip(self, size_bytes: int) -> None:
        """Drop the frame that ``begin`` announced; errors as for ``take``."""
        held = min(size_bytes, len(self._buffer))
        del self._buffer[:held]
        left = size_bytes - held
        scratch = bytearray(min(left, _SKIP_BYTES))
        with memoryview(scratch) as view:
            while left:
                left -= await self._read_into(view[: min(left, _SKIP_BYTES)])

    async def _read_into(self, target: memoryview) -> int:
        size = 0
        with trio.move_on_after(self._pause_s) as scope:
            size = await self._source.read_into(target)
        if scope.cancelled_caught:
            raise PeerStalledError(f"the peer stopped inside a frame for {self._pause_s:.3g} s")
        if not size:
            raise PeerGoneError("the peer ended the stream inside a frame")
        self._on_bytes(size)
        return size

    async def _more(self, timeout_s: float) -> bool:
        with trio.move_on_after(timeout_s):
            data = await self._source.read_some(_READ_BYTES)
            self._buffer += data
            return bool(data)
        return False
