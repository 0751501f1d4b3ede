"""Fetches segments from a peer over /marina/chunk/1.0.0.

A session is one stream with wants in flight; replies come in the order of the wants, which the session
checks one by one. No background task is involved, so cancelling the caller cancels everything: the
stream is reset and its peer stops sending. Sessions that ended in good order are kept for the next
fetch from the same peer. Bytes are not verified here: the caller knows the digests.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import trio

from marina.cid import Cid
from marina.clock import Clock
from marina.ids import PeerId
from p2p.chunk.pacing import Pacer
from p2p.config import ChunkConfig
from p2p.errors import PeerGoneError, PeerMisbehavedError, PeerStalledError
from p2p.framing import FrameReader, pack
from p2p.metrics import P2PMetrics
from p2p.stream import MarinaStream
from p2p.wire.chunk import (
    INDICES_MAX,
    PROTOCOL,
    REPLY_HEADER_BYTES_MAX,
    ChunkReply,
    ChunkRequest,
    Status,
    decode_have,
    decode_reply,
    encode_request,
)

_U32 = 2**32
SESSIONS_KEPT_MAX = 64


@dataclass(frozen=True, slots=True)
class Want:
    """One segment to fetch: its index and its exact ciphertext length in bytes."""

    index: int
    length: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """The answer to one want.

    Attributes:
        index: the segment.
        status: OK, MISSING, BUSY or DENIED.
        data: the unverified bytes, of exactly the length wanted; None unless OK.
    """

    index: int
    status: Status
    data: bytes | bytearray | None


@dataclass(frozen=True, slots=True)
class _Pending:
    req_id: int
    want: Want


class DialledHost(Protocol):
    """The part of ``Host`` that a client needs."""

    async def open_stream(
        self, peer: PeerId, protocol: str, timeout_s: float | None = None, *, is_lazy: bool = False
    ) -> MarinaStream:
        """Open a stream to a connected peer."""
        ...


class ChunkSession:
    """One stream to one provider; used by one task at a time."""

    def __init__(
        self, stream: MarinaStream, *, config: ChunkConfig, pacer: Pacer, metrics: P2PMetrics
    ) -> None:
        self._stream = stream
        self._config = config
        self._pacer = pacer
        self._metrics = metrics
        self._reader = FrameReader(
            stream, header_bytes_max=REPLY_HEADER_BYTES_MAX, frame_timeout_s=config.frame_timeout_s
        )
        self._pending: deque[_Pending] = deque()
        self._next_id = 0

    @property
    def peer(self) -> PeerId:
        """The provider."""
        return self._stream.peer

    @property
    def is_agreed(self) -> bool:
        """Whether the provider has answered on this stream before."""
        return self._stream.is_agreed

    @property
    def is_usable(self) -> bool:
        """Whether the provider has not ended the stream."""
        return self._stream.is_usable

    @property
    def outstanding(self) -> int:
        """Wants without an answer yet."""
        return len(self._pending)

    @property
    def received_bytes(self) -> int:
        """Bytes read so far, those of an unfinished segment included."""
        return self._reader.received_bytes

    async def want(self, root: Cid, wants: Sequence[Want]) -> None:
        """Ask for segments; their deliveries come from ``next`` in this order, after earlier wants.

        Raises:
            ValueError: none or more than 64 wants at once, or more in flight than the session allows.
            P2PError: the peer stalled or went away.
        """
        if not 0 < len(wants) <= INDICES_MAX or len(wants) + self.outstanding > self._config.in_flight_max:
            raise ValueError("too many wants in flight")
        req_id = self._take_id()
        request = ChunkRequest(req_id, root, tuple(want.index for want in wants))
        self._pending.extend(_Pending(req_id, want) for want in wants)
        await self._stream.write(pack(encode_request(request)))

    async def next(self) -> Delivery:
        """Return the answer to the oldest want.

        Raises:
            PeerMisbehavedError: an answer that nobody asked for, or of another length.
            MalformedError: bytes that are no reply.
            PeerStalledError: no reply within the reply timeout, or a stop inside one.
            PeerGoneError: the stream ended or broke first.
        """
        pending = self._pending[0]
        reply = await self._read_reply()
        if (reply.req_id, reply.index) != (pending.req_id, pending.want.index):
            raise PeerMisbehavedError("the peer answered something that was not asked")
        self._pending.popleft()
        status = Status(reply.status)
        if status is Status.HAVE:
            raise PeerMisbehavedError("the peer answered a want with a bitmap")
        if status is not Status.OK:
            return Delivery(reply.index, status, None)
        if reply.length != pending.want.length:
            raise PeerMisbehavedError(
                f"the peer sent {reply.length} bytes for a segment of {pending.want.length}"
            )
        data = await self._reader.bulk(reply.length)
        self._metrics.bytes_received.inc(len(data))
        await self._pacer.pass_bytes(self.peer, len(data))
        return Delivery(reply.index, status, data)

    async def have(self, root: Cid) -> frozenset[int]:
        """Return which segments the provider says it has; empty when it denies or knows nothing.

        Raises:
            ValueError: wants are outstanding.
            P2PError, MalformedError: as for ``next``.
        """
        if self._pending:
            raise ValueError("a have query waits until no want is outstanding")
        req_id = self._take_id()
        await self._stream.write(pack(encode_request(ChunkRequest(req_id, root, ()))))
        reply = await self._read_reply()
        if (reply.req_id, reply.index) != (req_id, 0) or reply.status not in (Status.HAVE, Status.DENIED):
            raise PeerMisbehavedError("the peer answered something that was not asked")
        return decode_have(await self._reader.payload(reply.length))

    async def close(self) -> None:
        """End the stream in good order."""
        await self._stream.close()

    async def reset(self) -> None:
        """Break the stream off, outstanding wants with it."""
        await self._stream.reset()

    async def _read_reply(self) -> ChunkReply:
        header = await self._reader.header(self._config.reply_timeout_s)
        if header is None:
            raise PeerGoneError("the peer ended the stream with wants outstanding")
        return decode_reply(header)

    def _take_id(self) -> int:
        self._next_id = (self._next_id + 1) % _U32
        return self._next_id


class ChunkClient:
    """Fetches from connected peers, reusing streams."""

    def __init__(
        self,
        *,
        host: DialledHost,
        clock: Clock,
        config: ChunkConfig | None = None,
        metrics: P2PMetrics | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        self._host = host
        self._config = config or ChunkConfig()
        self._metrics = metrics or P2PMetrics()
        self._pacer = pacer or download_pacer(self._config, clock)
        self._idle: OrderedDict[ChunkSession, float] = OrderedDict()

    @property
    def in_flight_max(self) -> int:
        """Most segments that one session may have outstanding."""
        return self._config.in_flight_max

    @asynccontextmanager
    async def session(self, peer: PeerId) -> AsyncIterator[ChunkSession]:
        """Use a session with a connected peer; kept for the next user when nothing is outstanding.

        Raises:
            P2PError: the peer is not connected, refuses the protocol or does not answer.
        """
        session = await self._take_idle(peer) or await self._open(peer)
        try:
            yield session
        except BaseException:
            await session.reset()
            raise
        if session.outstanding or not session.is_agreed:
            await session.reset()
        else:
            await self._keep(session)

    @asynccontextmanager
    async def fetch(
        self, peer: PeerId, root: Cid, wants: Iterable[Want], *, deadline: float = float("inf")
    ) -> AsyncIterator[AsyncIterator[Delivery]]:
        """Fetch segments of one rendition; iterate over deliveries in the order of the wants.

        ``async with client.fetch(peer, root, wants) as deliveries: async for delivery in deliveries: …``

        Args:
            peer: a connected provider.
            root: the rendition.
            wants: segments with their exact lengths.
            deadline: trio time by which everything must be there.

        Raises:
            PeerStalledError: the deadline, or one of the stream's own, passed.
            P2PError, MalformedError: as for ``ChunkSession.next``.
        """
        with trio.CancelScope(deadline=deadline) as scope:
            async with self.session(peer) as session:
                yield _Fetch(session, root, deque(wants), self._config.in_flight_max)
        if scope.cancelled_caught:
            raise PeerStalledError("the peer did not deliver in time")

    async def have(self, peer: PeerId, root: Cid) -> frozenset[int]:
        """Return which segments a connected peer says it has. Errors as for ``ChunkSession.have``."""
        async with self.session(peer) as session:
            return await session.have(root)

    async def close(self) -> None:
        """Close every kept session."""
        while self._idle:
            session, _ = self._idle.popitem()
            await session.close()

    async def _open(self, peer: PeerId) -> ChunkSession:
        stream = await self._host.open_stream(peer, PROTOCOL, is_lazy=True)
        return ChunkSession(stream, config=self._config, pacer=self._pacer, metrics=self._metrics)

    async def _take_idle(self, peer: PeerId) -> ChunkSession | None:
        """Return a kept session that its peer has not ended; close those kept for too long."""
        now_s = trio.current_time()
        stale = [
            session
            for session, kept_s in self._idle.items()
            if not session.is_usable or now_s - kept_s > self._config.session_idle_s
        ]
        for session in stale:
            del self._idle[session]
        taken = next((session for session in self._idle if session.peer == peer), None)
        if taken is not None:
            del self._idle[taken]
        for session in stale:
            await session.close()
        return taken

    async def _keep(self, session: ChunkSession) -> None:
        self._idle[session] = trio.current_time()
        if len(self._idle) > SESSIONS_KEPT_MAX:
            oldest, _ = self._idle.popitem(last=False)
            await oldest.close()


def download_pacer(config: ChunkConfig, clock: Clock) -> Pacer:
    """Return the cap on what all protocols together receive."""
    return Pacer(clock=clock, bytes_per_s=config.download_bytes_per_s, burst_s=config.burst_s)


class _Fetch:
    """Keeps the window of a session full and hands out its deliveries."""

    def __init__(self, session: ChunkSession, root: Cid, wants: deque[Want], in_flight_max: int) -> None:
        self._session = session
        self._root = root
        self._wants = wants
        self._in_flight_max = in_flight_max

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        if self._wants and self._session.outstanding <= self._in_flight_max // 2:
            room = min(self._in_flight_max - self._session.outstanding, INDICES_MAX, len(self._wants))
            await self._session.want(self._root, [self._wants.popleft() for _ in range(room)])
        if not self._session.outstanding:
            raise StopAsyncIteration
        return await self._session.next()
