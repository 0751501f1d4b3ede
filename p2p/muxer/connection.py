"""Yamux over one encrypted connection, with the peer held to the protocol.

It speaks /yamux/1.0.0 like py-libp2p's own muxer and takes its place, because that one (0.8.1) lets a
peer send past its window without limit, queues streams without limit, corrupts the connection when a
write is cancelled, waits for window by polling every 10 ms, and cannot tell a killed peer from an
orderly end. ``tests/integration/test_muxer.py`` and docs/decisions/0006 hold the evidence.

One task reads, one writes; streams queue frames and never touch the socket, so cancelling their users
is harmless. Everything queued or buffered is bounded.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.abc import ConnectionType, IMuxedConn
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.security.secure_session import SecureSession
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamError
from multiaddr import Multiaddr

from marina.errors import MalformedError
from p2p.config import HostConfig
from p2p.muxer.frames import HEADER_BYTES, Flag, GoAway, Header, Kind, pack_header, unpack_header
from p2p.muxer.pipe import SecurePipe
from p2p.muxer.stream import YamuxStream

log = logging.getLogger("marina.p2p")

OUTBOX_BYTES_MAX = 256 * 1024
BATCH_BYTES = 256 * 1024
CONTROL_FRAMES_MAX = 4096
"""Control frames waiting for a peer that does not read them; more means it floods us."""
STREAMS_OPENED_MAX = 256
_PROGRESS_BYTES = 16 * 1024
"""Sending this much counts as a sign of life: a slow peer's answer to a probe waits behind it. Less
fits the socket's buffer even when nobody reads."""
_GOODBYE_S = 0.2


class YamuxConnection(IMuxedConn):  # type: ignore[misc]
    """One multiplexed connection.

    Attributes:
        write_stall_timeout_s: how long a stream waits for window.
        event_closed: set once the connection is over.
    """

    def __init__(
        self,
        session: SecureSession,
        peer_id: ID,
        *,
        config: HostConfig,
        on_misbehaviour: Callable[[str], None],
    ) -> None:
        self.secured_conn = session
        self.peer_id = peer_id
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self.event_shutting_down = trio.Event()
        self.on_close: Callable[[], Awaitable[Any]] | None = None
        self.write_stall_timeout_s = config.write_stall_timeout_s
        self._config = config
        self._on_misbehaviour = on_misbehaviour
        self._scope = trio.CancelScope()
        self._pipe = SecurePipe(session)
        self._initiator = session.is_initiator
        self._next_id = 1 if self._initiator else 2
        self._streams: dict[int, YamuxStream] = {}
        self._accepted_send, self._accepted = trio.open_memory_channel[YamuxStream](
            config.streams_in_per_peer_max * 2
        )
        self._inbound_open = 0
        self._control: deque[bytes] = deque()
        self._outbox: deque[bytes] = deque()
        self._outbox_bytes = 0
        self._wake_writer = trio.Event()
        self._room = trio.lowlevel.ParkingLot()
        self._last_sign_s = 0.0
        self._ping_sent_s = math.nan
        self._rtt_s = 0.0

    @property
    def is_initiator(self) -> bool:
        """Whether this side opened the connection."""
        return bool(self._initiator)

    @property
    def is_established(self) -> bool:
        """Whether streams can be opened now."""
        return self.event_started.is_set() and not self.event_shutting_down.is_set()

    @property
    def is_closed(self) -> bool:
        """Whether the connection is over."""
        return self.event_closed.is_set()

    def rtt(self) -> float:
        """Return the last measured round trip in seconds, 0 before the first."""
        return self._rtt_s

    async def start(self) -> None:
        """Run the connection until it ends; every stream is broken off then."""
        self._last_sign_s = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._write_loop)
                nursery.start_soon(self._watch)
                self.event_started.set()
                await self._read_loop()
                nursery.cancel_scope.cancel()
        except* (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as group:
            log.debug("a connection ended", extra={"context": {"cause": str(group.exceptions[0])[:200]}})
        except* MalformedError as group:
            self._on_misbehaviour(str(group.exceptions[0]))
        finally:
            await self._tear_down()

    async def close(self, error_code: int = GoAway.NORMAL) -> None:
        """Say goodbye if the peer still listens, then close the socket."""
        if not self.event_shutting_down.is_set():
            self.queue_control(pack_header(Kind.GO_AWAY, 0, 0, error_code), in_order=True)
            self.event_shutting_down.set()
            with trio.move_on_after(_GOODBYE_S):
                while self._control or self._outbox:
                    await self._room.park()
        await self._tear_down()

    async def open_stream(self) -> YamuxStream:
        """Open a stream.

        Raises:
            MuxedStreamError: the connection is over, or too many streams are open.
        """
        await trio.lowlevel.checkpoint()
        if self.event_shutting_down.is_set():
            raise MuxedStreamError("the connection is over")
        if len(self._streams) - self._inbound_open >= STREAMS_OPENED_MAX:
            raise MuxedStreamError("too many streams are open to this peer")
        stream = YamuxStream(self, self._next_id, window_bytes_max=self._config.window_out_bytes_max)
        self._next_id += 2
        self._streams[stream.stream_id] = stream
        self.queue_control(pack_header(Kind.WINDOW, Flag.SYN, stream.stream_id, 0), in_order=True)
        return stream

    async def accept_stream(self) -> YamuxStream:
        """Return the next stream that the peer opens.

        Raises:
            MuxedConnUnavailable: the connection is over.
        """
        try:
            return await self._accepted.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError) as err:
            raise MuxedConnUnavailable("the connection is over") from err

    def get_transport_addresses(self) -> list[Multiaddr]:
        """Return the peer's address on this connection."""
        return list(self.secured_conn.get_transport_addresses())

    def get_connection_type(self) -> ConnectionType:
        """Return how the peer is reached."""
        return self.secured_conn.get_connection_type()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's IP address and port."""
        address: tuple[str, int] | None = self.secured_conn.get_remote_address()
        return address

    async def wait_for_room(self) -> None:
        """Wait until the outbox takes another frame; first come, first served between streams.

        No checkpoint while there is room: a writer's frames leave in one batch, not one by one.
        """
        while self._outbox_bytes >= OUTBOX_BYTES_MAX and not self.event_shutting_down.is_set():
            await self._room.park()

    def queue_data(self, frame: bytes) -> None:
        """Queue a data frame behind the others."""
        self._outbox.append(frame)
        self._outbox_bytes += len(frame)
        self._wake_writer.set()

    def queue_control(self, frame: bytes, *, in_order: bool = False) -> None:
        """Queue a frame without payload: ahead of all data, or in order with it.

        A peer that makes us answer more than it reads loses the connection.
        """
        if len(self._control) + len(self._outbox) > CONTROL_FRAMES_MAX:
            if not self._scope.cancel_called:
                self._on_misbehaviour("the peer floods the connection and does not read")
                self._scope.cancel()
        elif in_order:
            self.queue_data(frame)
        else:
            self._control.append(frame)
            self._wake_writer.set()

    def forget_if_closed(self, stream: YamuxStream) -> None:
        """Drop a stream's entry once nothing can arrive for it."""
        if (
            stream.is_closed
            and self._streams.pop(stream.stream_id, None) is not None
            and self._is_theirs(stream.stream_id)
        ):
            self._inbound_open -= 1

    async def _write_loop(self) -> None:
        while True:
            if not self._control and not self._outbox:
                self._wake_writer = trio.Event()
                self._room.unpark_all()
                await self._wake_writer.wait()
            batch, size = self._next_batch()
            await self._pipe.send(batch)
            if size >= _PROGRESS_BYTES:
                self._last_sign_s = trio.current_time()

    def _next_batch(self) -> tuple[list[bytes], int]:
        batch = list(self._control)
        self._control.clear()
        size = 0
        while self._outbox and size < BATCH_BYTES:
            frame = self._outbox.popleft()
            size += len(frame)
            batch.append(frame)
        self._outbox_bytes -= size
        self._room.unpark_all()
        return batch, size

    async def _read_loop(self) -> None:
        parser = FrameParser(self._on_frame, self._on_data)
        while (data := await self._pipe.receive()) is not None:
            self._last_sign_s = trio.current_time()
            parser.feed(data)
            if self.event_shutting_down.is_set():
                return

    def _on_frame(self, header: Header) -> None:
        if header.kind is Kind.PING:
            self._on_ping(header)
        elif header.kind is Kind.GO_AWAY:
            self.event_shutting_down.set()
        else:
            if header.flags & Flag.SYN:
                self._on_syn(header)
            stream = self._streams.get(header.stream_id)
            if stream is None:
                return  # reset by us while the peer was still sending
            if header.kind is Kind.WINDOW:
                if stream.send_window + header.length >= 2**32:
                    raise MalformedError("the peer granted an impossible window")
                stream.grant(header.length)
            elif header.length > stream.recv_window:
                raise MalformedError("the peer sent more than its window allows")
            if header.length == 0 or header.kind is Kind.WINDOW:
                self._on_end(stream, header.flags)

    def _on_data(self, header: Header, data: memoryview, *, is_last: bool) -> None:
        stream = self._streams.get(header.stream_id)
        if stream is None:
            return
        if not stream.feed(data):
            raise MalformedError("the peer sent more than its window allows")
        if is_last:
            self._on_end(stream, header.flags)

    def _on_syn(self, header: Header) -> None:
        if not self._is_theirs(header.stream_id) or header.stream_id in self._streams:
            raise MalformedError("the peer opened a stream under an id that is not free")
        if self._inbound_open >= self._config.streams_in_per_peer_max * 2:
            self.queue_control(pack_header(Kind.WINDOW, Flag.RST, header.stream_id, 0))
            return
        stream = YamuxStream(self, header.stream_id, window_bytes_max=self._config.window_bytes_max)
        self._streams[header.stream_id] = stream
        self._inbound_open += 1
        self.queue_control(pack_header(Kind.WINDOW, Flag.ACK, header.stream_id, 0))
        self._accepted_send.send_nowait(stream)

    def _on_end(self, stream: YamuxStream, flags: int) -> None:
        if flags & Flag.RST:
            stream.break_off()
        elif flags & Flag.FIN:
            stream.end_receiving()
        self.forget_if_closed(stream)

    def _on_ping(self, header: Header) -> None:
        if header.flags & Flag.SYN:
            self.queue_control(pack_header(Kind.PING, Flag.ACK, 0, header.length))
        elif header.flags & Flag.ACK and not math.isnan(self._ping_sent_s):
            self._rtt_s = trio.current_time() - self._ping_sent_s
            self._ping_sent_s = math.nan

    async def _watch(self) -> None:
        """Probe a quiet peer; TCP notices a stopped process or a pulled cable only after minutes."""
        while True:
            await trio.sleep(self._config.probe_interval_s)
            asked_s = self._ping_sent_s = trio.current_time()
            self.queue_control(pack_header(Kind.PING, Flag.SYN, 0, int(asked_s) & 0xFFFF))
            await trio.sleep(self._config.probe_timeout_s)
            if self._last_sign_s < asked_s:
                raise MuxedStreamError("the peer gave no sign of life")

    def _is_theirs(self, stream_id: int) -> bool:
        return stream_id % 2 == (0 if self._initiator else 1)

    async def _tear_down(self) -> None:
        self.event_shutting_down.set()
        if self.event_closed.is_set():
            return
        self.event_closed.set()
        self._accepted_send.close()
        for stream in self._streams.values():
            stream.lose_connection()
        self._streams.clear()
        self._control.clear()
        self._outbox.clear()
        self._room.unpark_all()
        with trio.CancelScope(deadline=trio.current_time() + _GOODBYE_S, shield=True):
            await self._pipe.close()
        if self.on_close is not None:
            await self.on_close()


class FrameParser:
    """Cuts plaintext into frames; payload is handed on as it comes, never assembled or kept."""

    def __init__(
        self,
        on_frame: Callable[[Header], None],
        on_data: Callable[..., None],
    ) -> None:
        self._on_frame = on_frame
        self._on_data = on_data
        self._partial = b""
        self._current: Header | None = None
        self._body_left = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Consume plaintext of any length.

        Raises:
            MalformedError: it does not follow yamux.
        """
        view = memoryview(b"".join((self._partial, data)) if self._partial else data)
        self._partial = b""
        position = 0
        while position < len(view):
            if self._current is not None and self._body_left:
                end = min(position + self._body_left, len(view))
                self._body_left -= end - position
                self._on_data(self._current, view[position:end], is_last=self._body_left == 0)
                position = end
                continue
            if len(view) - position < HEADER_BYTES:
                self._partial = bytes(view[position:])
                return
            header = unpack_header(view[position : position + HEADER_BYTES])
            position += HEADER_BYTES
            self._on_frame(header)
            if header.kind is Kind.DATA:
                self._current, self._body_left = header, header.length
