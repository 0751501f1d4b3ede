"""Small blocks between peers: manifests, keyboxes, UnixFS nodes, artwork.

Segments travel over the chunk protocol, by place; everything else by CID over this one. The client
checks every block against its CID, so any peer will do.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from marina.cid import Cid, check_cid, cid_text, matches
from marina.clock import Clock
from marina.errors import DamagedError, NotFoundError
from marina.ids import PeerId
from marina.ratelimit import TokenBucket
from marina.schema import decode_record, encode_record
from p2p.errors import PeerGoneError, PeerMisbehavedError, PeerStalledError
from p2p.framing import FrameReader, pack
from p2p.host import Host
from p2p.peerid import short
from p2p.stream import MarinaStream
from p2p.wire.block import (
    BLOCK_BYTES_MAX,
    CIDS_MAX,
    PROTOCOL,
    REPLY_HEADER_BYTES_MAX,
    REQUEST_HEADER_BYTES_MAX,
    STATUS_BUSY,
    STATUS_DENIED,
    STATUS_MISSING,
    STATUS_OK,
    BlockReply,
    BlockRequest,
)

log = logging.getLogger("marina.p2p")
FRAME_TIMEOUT_S = 8.0
IDLE_TIMEOUT_S = 60.0
STREAMS_PER_PEER_MAX = 2
_BLOCKS_PER_S = 200.0
_BLOCKS_BURST = 1000.0
_PEERS_TRACKED_MAX = 1024
_STREAMS_KEPT_MAX = 64
_PIPELINED_MAX = 256
"""Blocks asked for ahead: their requests fit any stream window, and answers are read as they come."""


class BlockSource(Protocol):
    """Where blocks come from; every ``BlockStore`` is one."""

    async def get(self, cid: Cid) -> bytes:
        """Return a block; BlockNotFoundError or BlockDamagedError if it is not here."""
        ...


class BlockServer:
    """Answers block requests, at most 200 blocks a second and peer on average."""

    def __init__(
        self, *, source: BlockSource, clock: Clock, is_denied: Callable[[Cid], bool] = lambda _cid: False
    ) -> None:
        self._source = source
        self._clock = clock
        self._is_denied = is_denied
        self._buckets: dict[PeerId, TokenBucket] = {}

    def attach(self, host: Host) -> None:
        """Start answering on a host."""
        host.serve(PROTOCOL, self.handle, max_streams_per_peer=STREAMS_PER_PEER_MAX)

    async def handle(self, stream: MarinaStream) -> None:
        """Serve one stream until its peer ends it or is idle.

        Raises:
            MalformedError, P2PError: the peer broke the protocol, stalled or went away.
        """
        reader = FrameReader(
            stream, header_bytes_max=REQUEST_HEADER_BYTES_MAX, frame_timeout_s=FRAME_TIMEOUT_S
        )
        while True:
            try:
                header = await reader.header(IDLE_TIMEOUT_S)
            except PeerStalledError:
                if reader.is_inside_frame:
                    raise
                return
            if header is None:
                return
            for cid in decode_record(BlockRequest, header).cids:
                await self._answer(stream, check_cid(cid))

    async def _answer(self, stream: MarinaStream, cid: Cid) -> None:
        status, data = STATUS_OK, b""
        if self._is_denied(cid):
            status = STATUS_DENIED
        elif not self._bucket(stream.peer).try_take(1, self._clock.monotonic_s()):
            status = STATUS_BUSY
        else:
            try:
                data = await self._source.get(cid)
            except (NotFoundError, DamagedError):
                status = STATUS_MISSING
        if len(data) > BLOCK_BYTES_MAX:
            status, data = STATUS_MISSING, b""
        await stream.write(pack(encode_record(BlockReply(status, len(data)))) + data)

    def _bucket(self, peer: PeerId) -> TokenBucket:
        if peer not in self._buckets:
            if len(self._buckets) >= _PEERS_TRACKED_MAX:
                self._buckets.pop(next(iter(self._buckets)))
            self._buckets[peer] = TokenBucket(_BLOCKS_PER_S, _BLOCKS_BURST, self._clock.monotonic_s())
        return self._buckets[peer]


class BlockClient:
    """Fetches blocks from connected peers; a stream that ended in good order serves the next fetch."""

    def __init__(self, *, host: Host) -> None:
        self._host = host
        self._idle: OrderedDict[PeerId, _Session] = OrderedDict()

    async def fetch(self, peer: PeerId, cids: Sequence[Cid], *, timeout_s: float) -> dict[Cid, bytes]:
        """Return the verified blocks that a connected peer has, of those asked for.

        Raises:
            P2PError: it does not speak the protocol, stalled or went away.
            PeerMisbehavedError: it sent bytes that do not hash to their CID.
        """
        found: dict[Cid, bytes] = {}
        with trio.move_on_after(timeout_s) as scope:
            session = await self._session(peer)
            try:
                await session.fetch(cids, found, timeout_s)
            except BaseException:
                await session.stream.reset()
                raise
            await self._keep(peer, session)
        if scope.cancelled_caught and not found:
            raise PeerStalledError("the peer did not send the blocks in time")
        return found

    async def close(self) -> None:
        """Close the kept streams."""
        while self._idle:
            _, session = self._idle.popitem()
            await session.stream.close()

    async def _session(self, peer: PeerId) -> _Session:
        session = self._idle.pop(peer, None)
        if session is not None and session.stream.is_usable:
            return session
        return _Session(await self._host.open_stream(peer, PROTOCOL, is_lazy=True))

    async def _keep(self, peer: PeerId, session: _Session) -> None:
        other = self._idle.pop(peer, None)
        self._idle[peer] = session
        if other is None and len(self._idle) > _STREAMS_KEPT_MAX:
            _, other = self._idle.popitem(last=False)
        if other is not None:
            await other.stream.close()


class _Session:
    """One stream to one peer."""

    def __init__(self, stream: MarinaStream) -> None:
        self.stream = stream
        self._reader = FrameReader(
            stream, header_bytes_max=REPLY_HEADER_BYTES_MAX, frame_timeout_s=FRAME_TIMEOUT_S
        )

    async def fetch(self, cids: Sequence[Cid], found: dict[Cid, bytes], timeout_s: float) -> None:
        """Ask for all blocks before the first answer is read, a few hundred at a time: one round trip."""
        for start in range(0, len(cids), _PIPELINED_MAX):
            part = cids[start : start + _PIPELINED_MAX]
            frames = [
                pack(encode_record(BlockRequest(tuple(part[at : at + CIDS_MAX]))))
                for at in range(0, len(part), CIDS_MAX)
            ]
            await self.stream.write(b"".join(frames))
            for cid in part:
                data = await self._read(cid, timeout_s)
                if data is not None:
                    found[cid] = data

    async def _read(self, cid: Cid, timeout_s: float) -> bytes | None:
        header = await self._reader.header(timeout_s)
        if header is None:
            raise PeerGoneError("the peer ended the stream with blocks outstanding")
        reply = decode_record(BlockReply, header)
        if reply.status in (STATUS_MISSING, STATUS_DENIED, STATUS_BUSY):
            if reply.length:
                raise PeerMisbehavedError("the peer sent bytes with a refusal")
            if reply.status == STATUS_DENIED:
                context = {"peer": short(self.stream.peer), "cid": cid_text(cid)}
                log.info("a peer's denylist forbids a block", extra={"context": context})
            return None
        data = await self._reader.payload(reply.length)
        if not matches(cid, data):
            raise PeerMisbehavedError("the peer sent a block that does not hash to its CID")
        return data
