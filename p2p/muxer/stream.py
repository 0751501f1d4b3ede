"""One multiplexed stream: two windows, a receive buffer, half-closing."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import (
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)

from p2p.muxer.frames import WINDOW_BYTES_START, Flag, Kind, pack_header
from p2p.muxer.pipe import PLAINTEXT_BYTES_MAX

if TYPE_CHECKING:
    from p2p.muxer.connection import YamuxConnection

DATA_BYTES_MAX = PLAINTEXT_BYTES_MAX - 12
"""Payload of a data frame that fills exactly one Noise message."""
_NOWHERE = memoryview(bytearray())
_SMALL_BYTES = 4 * 1024
"""Smaller pieces are copied together: kept one by one, each byte could cost a hundred."""


class StalledError(MuxedStreamError):  # type: ignore[misc]
    """The peer granted no window for the stall timeout."""


class YamuxStream(IMuxedStream):  # type: ignore[misc]
    """A byte stream; used by one reading and one writing task at a time."""

    def __init__(self, connection: YamuxConnection, stream_id: int, *, window_bytes_max: int) -> None:
        """Make one side of a stream.

        Args:
            connection: that it belongs to.
            stream_id: odd if the side that opened the connection opened it.
            window_bytes_max: how far its receive window may grow.
        """
        self.muxed_conn = connection
        self.stream_id = stream_id
        self.send_window = WINDOW_BYTES_START
        self.recv_window = WINDOW_BYTES_START
        self.is_reset = False
        self.has_sent_fin = False
        self.has_received_fin = False
        self._connection = connection
        self._window_max = WINDOW_BYTES_START
        self._limit = window_bytes_max
        self._consumed = 0
        self._chunks: deque[bytes | memoryview | bytearray] = deque()
        self._target = _NOWHERE
        self._filled = 0
        self._readable = trio.Event()
        self._writable = trio.Event()

    @property
    def is_closed(self) -> bool:
        """Whether neither side can send any more."""
        return self.is_reset or (self.has_sent_fin and self.has_received_fin)

    async def read(self, n: int | None = None) -> bytes:
        """Return up to ``n`` bytes as soon as there are any; all there are without ``n``.

        Raises:
            MuxedStreamEOF: the peer ended its side and everything was read.
            MuxedStreamReset: the stream was reset or its connection is gone.
        """
        if n == 0:
            return b""
        limit = self._limit if n is None or n < 0 else n
        while not self._chunks:
            self._check_readable()
            self._readable = trio.Event()
            await self._readable.wait()
        data = self._take(limit)
        self._credit(len(data))
        return data

    async def read_into(self, target: memoryview) -> int:
        """Put received bytes into a buffer and return how many, at least one; errors as for ``read``.

        What arrives during the call is copied once, from the cipher's buffer to this one.
        """
        if not self._chunks:
            await self._wait_for(target)
        filled, self._filled = self._filled, 0
        while self._chunks and filled < len(target):
            data = self._take(len(target) - filled)
            target[filled : filled + len(data)] = data
            filled += len(data)
        self._credit(filled)
        return filled

    async def write(self, data: bytes) -> None:
        """Queue bytes for sending; see ``write_parts``."""
        await self.write_parts((data,))

    async def write_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Queue bytes for sending, waiting for the peer's window and for room in the connection.

        Frames run across the borders of the parts: many small ones cost as much as one long one.

        Raises:
            MuxedStreamClosed: this side was ended before.
            MuxedStreamReset: the stream was reset or its connection is gone.
            StalledError: the peer granted no window for the stall timeout.
        """
        await trio.lowlevel.checkpoint()
        views = deque(memoryview(part) for part in parts if part)
        left = sum(map(len, views))
        while left:
            self._check_writable()
            if self.send_window == 0:
                await self._wait_for_window()
                continue
            await self._connection.wait_for_room()
            self._check_writable()
            size = min(self.send_window, DATA_BYTES_MAX, left)
            self.send_window -= size
            left -= size
            header = pack_header(Kind.DATA, Flag.NONE, self.stream_id, size)
            self._connection.queue_data(b"".join((header, *_take_views(views, size))))

    async def close(self) -> None:
        """End this side; what was queued still goes out."""
        if not self.has_sent_fin and not self.is_reset:
            self.has_sent_fin = True
            self._connection.queue_control(
                pack_header(Kind.WINDOW, Flag.FIN, self.stream_id, 0), in_order=True
            )
            self._connection.forget_if_closed(self)
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        """Break both sides off and forget what was received.

        Nothing happens to a stream that both sides have ended: its last bytes can still be read, also
        when the library resets every stream of a connection that is gone.
        """
        if not self.is_closed:
            self._connection.queue_control(pack_header(Kind.WINDOW, Flag.RST, self.stream_id, 0))
            self.break_off()
            self._connection.forget_if_closed(self)
        await trio.lowlevel.checkpoint()

    def set_deadline(self, ttl: int) -> None:
        """Deadlines are cancel scopes around the calls.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("put a cancel scope around the call")

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's IP address and port."""
        return self._connection.get_remote_address()

    async def __aenter__(self) -> Self:
        return self

    def feed(self, data: memoryview) -> bool:
        """Copy received bytes; False when the peer sent more than its window allows."""
        self.recv_window -= len(data)
        if self.recv_window < 0:
            return False
        if not self.is_reset:
            room = len(self._target) - self._filled
            if room and not self._chunks:
                data, rest = data[:room], data[room:]
                self._target[self._filled : self._filled + len(data)] = data
                self._filled += len(data)
                data = rest
            if data:
                self._keep(data)
            self._readable.set()
        return True

    def end_receiving(self) -> None:
        """Note the peer's FIN."""
        self.has_received_fin = True
        self._readable.set()

    def grant(self, increment: int) -> None:
        """Note a window increment from the peer."""
        self.send_window += increment
        self._writable.set()

    def break_off(self) -> None:
        """Note a reset, the peer's or the end of the connection."""
        self.is_reset = True
        self._chunks.clear()
        self._readable.set()
        self._writable.set()

    def lose_connection(self) -> None:
        """Note the end of the connection: what a finished peer had sent can still be read."""
        if self.has_received_fin:
            self.has_sent_fin = True
            self._writable.set()
        else:
            self.break_off()

    def _keep(self, data: memoryview) -> None:
        last = self._chunks[-1] if self._chunks else None
        if len(data) >= _SMALL_BYTES:
            self._chunks.append(bytes(data))
        elif isinstance(last, bytearray) and len(last) < DATA_BYTES_MAX:
            last += data
        else:
            self._chunks.append(bytearray(data))

    async def _wait_for(self, target: memoryview) -> None:
        """Wait until received bytes were put into a buffer."""
        self._target = target
        try:
            while not self._filled:
                self._check_readable()
                self._readable = trio.Event()
                await self._readable.wait()
        except trio.Cancelled:
            if self._filled:
                self._chunks.appendleft(bytes(target[: self._filled]))
                self._filled = 0
            raise
        finally:
            self._target = _NOWHERE

    async def _wait_for_window(self) -> None:
        self._writable = trio.Event()
        with trio.move_on_after(self._connection.write_stall_timeout_s) as scope:
            await self._writable.wait()
        if scope.cancelled_caught:
            raise StalledError("the peer took no bytes within the stall timeout")

    def _check_readable(self) -> None:
        if self.is_reset:
            raise MuxedStreamReset("the stream was reset")
        if self.has_received_fin:
            raise MuxedStreamEOF("the peer ended the stream")

    def _check_writable(self) -> None:
        if self.is_reset:
            raise MuxedStreamReset("the stream was reset")
        if self.has_sent_fin:
            raise MuxedStreamClosed("the stream was ended before")

    def _take(self, limit: int) -> bytes:
        first = self._chunks[0]
        if len(first) > limit:
            self._chunks[0] = memoryview(first)[limit:]
            return bytes(first[:limit])
        parts = [self._chunks.popleft()]
        total = len(first)
        while self._chunks and total + len(self._chunks[0]) <= limit:
            total += len(self._chunks[0])
            parts.append(self._chunks.popleft())
        return b"".join(parts)

    def _credit(self, size: int) -> None:
        """Give window back once a quarter was read; a reader that keeps up gets a larger window."""
        self._consumed += size
        if self._consumed < self._window_max // 4 or self.has_received_fin or self.is_reset:
            return
        increment = self._consumed
        self._consumed = 0
        larger = min(2 * self._window_max, self._limit)
        increment += larger - self._window_max
        self._window_max = larger
        self.recv_window += increment
        self._connection.queue_control(pack_header(Kind.WINDOW, Flag.NONE, self.stream_id, increment))


def _take_views(views: deque[memoryview], size: int) -> list[memoryview]:
    """Cut the first ``size`` bytes off."""
    taken: list[memoryview] = []
    while size:
        first = views.popleft()
        if len(first) > size:
            views.appendleft(first[size:])
            first = first[:size]
        taken.append(first)
        size -= len(first)
    return taken
