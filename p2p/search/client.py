"""Asks connected peers, all at once, and hands out their answers as they come."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from marina.errors import MalformedError
from marina.ids import PeerId
from p2p.errors import P2PError
from p2p.framing import FrameReader, pack
from p2p.host import Host
from p2p.wire.search import (
    HITS_MAX,
    PROTOCOL,
    QUERY_BYTES_MAX,
    REPLY_BYTES_MAX,
    ReleaseHit,
    SearchRequest,
    decode_reply,
    encode_request,
)

log = logging.getLogger("marina.p2p.search")
PEERS_ASKED_MAX = 32
FRAME_TIMEOUT_S = 8.0


@dataclass(frozen=True, slots=True)
class PeerHits:
    """What one peer answered; empty when it knows nothing or did not answer."""

    peer: PeerId
    hits: tuple[ReleaseHit, ...]


class SearchClient:
    """Searches the peers that are connected."""

    def __init__(self, *, host: Host) -> None:
        self._host = host

    @asynccontextmanager
    async def ask(
        self, query: str, limit: int, *, timeout_s: float
    ) -> AsyncGenerator[trio.MemoryReceiveChannel[PeerHits], None]:
        """Receive a ``PeerHits`` from each peer asked; the channel ends when all answered or time is up.

        Leaving the block gives the others up.
        """
        peers = self._host.connected_peers()[:PEERS_ASKED_MAX]
        text = query.encode()[:QUERY_BYTES_MAX].decode(errors="ignore")
        request = SearchRequest(
            "".join(c if c.isprintable() else " " for c in text) or " ", min(limit, HITS_MAX)
        )
        send, receive = trio.open_memory_channel[PeerHits](PEERS_ASKED_MAX)
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + timeout_s
            async with send:
                for peer in peers:
                    nursery.start_soon(self._ask_one, peer, request, send.clone())
            try:
                yield receive
            finally:
                nursery.cancel_scope.cancel()

    async def _ask_one(
        self, peer: PeerId, request: SearchRequest, send: trio.MemorySendChannel[PeerHits]
    ) -> None:
        async with send:
            hits: tuple[ReleaseHit, ...] = ()
            try:
                async with await self._host.open_stream(peer, PROTOCOL) as stream:
                    await stream.write(pack(encode_request(request)))
                    reader = FrameReader(
                        stream, header_bytes_max=REPLY_BYTES_MAX, frame_timeout_s=FRAME_TIMEOUT_S
                    )
                    header = await reader.header(FRAME_TIMEOUT_S)
                    if header is not None:
                        hits = decode_reply(header, request.limit).hits
            except MalformedError as err:
                self._host.supervisor.misbehaved(peer, PROTOCOL, str(err))
            except P2PError as err:
                log.debug("a peer did not answer a search: %s", err)
            await send.send(PeerHits(peer, hits))
