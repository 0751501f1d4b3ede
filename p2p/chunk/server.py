"""Serves segments to peers over /marina/chunk/1.0.0.

One stream is served by three tasks in a row: one reads requests into a short queue, one loads what they
want, one writes. So the disk works ahead by one batch while the network sends, and no further: a full
queue stops the reading, and a peer that wants a million segments waits in its own send window. A peer
that stops taking bytes is dropped by the stall timeout of the stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import trio

from marina.cid import Cid
from marina.clock import Clock
from p2p.chunk.pacing import PIECE_BYTES, Pacer
from p2p.config import ChunkConfig
from p2p.errors import PeerStalledError
from p2p.framing import FrameReader, pack
from p2p.metrics import P2PMetrics
from p2p.stream import MarinaStream
from p2p.wire.chunk import (
    PROTOCOL,
    REQUEST_HEADER_BYTES_MAX,
    SEGMENT_BYTES_MAX,
    ChunkReply,
    ChunkRequest,
    Status,
    decode_request,
    encode_have,
    encode_reply,
)

_Reply = tuple[ChunkReply, bytes]


class SegmentSource(Protocol):
    """Where segments come from; every ``BlockStore`` is one."""

    async def get_segments(self, root: Cid, indices: Sequence[int]) -> list[bytes | None]:
        """Return verified ciphertext per index, None where it is missing or damaged."""
        ...

    async def have(self, root: Cid) -> frozenset[int]:
        """Return the indices that are here; empty for an unknown rendition."""
        ...


class ServingHost(Protocol):
    """The part of ``Host`` that a server needs."""

    def serve(
        self,
        protocol: str,
        handler: Callable[[MarinaStream], Awaitable[None]],
        *,
        max_streams_per_peer: int,
    ) -> None:
        """Answer a protocol."""
        ...


class ChunkServer:
    """Answers wants from one source, unless the operator's denylist forbids it."""

    def __init__(
        self,
        *,
        source: SegmentSource,
        clock: Clock,
        is_denied: Callable[[Cid], bool] = lambda _root: False,
        config: ChunkConfig | None = None,
        metrics: P2PMetrics | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        self._source = source
        self._is_denied = is_denied
        self._config = config or ChunkConfig()
        self._metrics = metrics or P2PMetrics()
        self._pacer = pacer or upload_pacer(self._config, clock)

    def attach(self, host: ServingHost) -> None:
        """Start answering on a host."""
        host.serve(PROTOCOL, self.handle, max_streams_per_peer=self._config.streams_per_peer_max)

    async def handle(self, stream: MarinaStream) -> None:
        """Serve one stream until its peer ends it or is idle for too long.

        Raises:
            MalformedError: the peer broke the protocol.
            P2PError: the peer stalled or went away.
        """
        requests_in, requests = trio.open_memory_channel[ChunkRequest](self._config.requests_per_stream_max)
        replies_in, replies = trio.open_memory_channel[list[_Reply]](0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_requests, stream, requests_in)
            nursery.start_soon(self._load, requests, replies_in)
            async with replies:
                async for batch in replies:
                    await self._write(stream, batch)

    async def _read_requests(self, stream: MarinaStream, send: trio.MemorySendChannel[ChunkRequest]) -> None:
        reader = FrameReader(
            stream,
            header_bytes_max=REQUEST_HEADER_BYTES_MAX,
            frame_timeout_s=self._config.frame_timeout_s,
        )
        async with send:
            while True:
                try:
                    header = await reader.header(self._config.idle_timeout_s)
                except PeerStalledError:
                    if reader.is_inside_frame:
                        raise
                    return  # idle between frames is no offence
                if header is None:
                    return
                await send.send(decode_request(header))

    async def _load(
        self,
        requests: trio.MemoryReceiveChannel[ChunkRequest],
        replies_in: trio.MemorySendChannel[list[_Reply]],
    ) -> None:
        async with requests, replies_in:
            async for request in requests:
                root = Cid(request.root)
                if self._is_denied(root):
                    await replies_in.send(_refusals(request, Status.DENIED))
                elif not request.indices:
                    bitmap = encode_have(await self._source.have(root))
                    reply = ChunkReply(request.req_id, 0, Status.HAVE.value, len(bitmap))
                    await replies_in.send([(reply, bitmap)])
                elif self._pacer.backlog_s() > self._config.busy_after_s:
                    await replies_in.send(_refusals(request, Status.BUSY))
                else:
                    await self._load_segments(request, root, replies_in)

    async def _load_segments(
        self, request: ChunkRequest, root: Cid, replies_in: trio.MemorySendChannel[list[_Reply]]
    ) -> None:
        step = max(1, self._config.batch_bytes // SEGMENT_BYTES_MAX)
        for start in range(0, len(request.indices), step):
            indices = request.indices[start : start + step]
            segments = await self._source.get_segments(root, indices)
            batch: list[_Reply] = []
            for index, segment in zip(indices, segments, strict=True):
                status = Status.MISSING if segment is None else Status.OK
                payload = segment or b""
                batch.append((ChunkReply(request.req_id, index, status.value, len(payload)), payload))
            await replies_in.send(batch)

    async def _write(self, stream: MarinaStream, batch: list[_Reply]) -> None:
        if not self._pacer.is_capped:
            await stream.write(
                *(part for reply, payload in batch for part in (pack(encode_reply(reply)), payload))
            )
        for reply, payload in batch:
            if self._pacer.is_capped:
                await self._write_paced(stream, reply, payload)
            self._metrics.chunk_replies.labels(status=Status(reply.status).name.lower()).inc()
            if reply.status == Status.OK:
                self._metrics.bytes_sent.inc(len(payload))

    async def _write_paced(self, stream: MarinaStream, reply: ChunkReply, payload: bytes) -> None:
        await stream.write(pack(encode_reply(reply)))
        for start in range(0, len(payload), PIECE_BYTES):
            piece = payload[start : start + PIECE_BYTES]
            await self._pacer.pass_bytes(stream.peer, len(piece))
            await stream.write(piece)


def upload_pacer(config: ChunkConfig, clock: Clock) -> Pacer:
    """Return the cap on what all protocols together send."""
    return Pacer(clock=clock, bytes_per_s=config.upload_bytes_per_s, burst_s=config.burst_s)


def _refusals(request: ChunkRequest, status: Status) -> list[_Reply]:
    """Answer every index, or a have query, with the same status."""
    return [(ChunkReply(request.req_id, index, status.value, 0), b"") for index in request.indices or (0,)]
