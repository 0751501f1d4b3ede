"""Asks connected peers what their indexes find and hands the answers on as they arrive.

An answer is a claim: a CID, an account and a signature that the release manifest carries too. Whoever
shows it fetches the manifest and checks it (``storage.content.release.open_release``).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import trio

from marina.errors import MalformedError
from marina.ids import PeerId
from p2p.errors import P2PError, PeerGoneError, PeerStalledError, StreamRefusedError
from p2p.framing import FrameReader, pack
from p2p.host import Host
from p2p.peerid import short
from p2p.wire.search import (
    HITS_MAX,
    PROTOCOL,
    REPLY_BYTES_MAX,
    ReleaseHit,
    SearchRequest,
    decode_reply,
    encode_request,
)

log = logging.getLogger("marina.p2p")

_WAITING_MAX = 64


@dataclass(frozen=True, slots=True)
class SwarmHit:
    """A release that a peer found.

    Attributes:
        hit: CID, account and signature.
        peer: who says so.
        rank: its place in that peer's answer, from 0.
        is_new: whether no peer had named this release before in this search.
    """

    hit: ReleaseHit
    peer: PeerId
    rank: int
    is_new: bool


class SwarmSearch:
    """The asking side."""

    def __init__(self, *, host: Host, rng: Random, peers_max: int = 24, parallel: int = 8) -> None:
        """Prepare.

        Args:
            host: the running host.
            rng: chooses whom to ask when more peers are connected than are asked.
            peers_max: peers asked in one search.
            parallel: peers asked at once.
        """
        self._host = host
        self._rng = rng
        self._peers_max = peers_max
        self._parallel = parallel

    @asynccontextmanager
    async def search(
        self,
        query: str,
        *,
        limit: int = 20,
        timeout_s: float = 5.0,
        peer_timeout_s: float = 3.0,
        peers: Sequence[PeerId] | None = None,
    ) -> AsyncIterator[AsyncIterator[SwarmHit]]:
        """Search while the block runs.

        ``async with swarm.search("…") as hits: async for hit in hits: …``. Every peer's answer is handed
        on as it arrives, each naming its peer; the iterator ends when all have answered or time is up.

        Args:
            query: 1 to 512 bytes of the user's words.
            limit: releases wanted of each peer, at most 64.
            timeout_s: for the whole search.
            peer_timeout_s: for one peer.
            peers: whom to ask; up to 24 random connected peers by default.

        Raises:
            ValueError: the query is empty or too long, or the limit is not 1 to 64.
        """
        request = SearchRequest(query, min(limit, HITS_MAX))
        header = pack(encode_request(request))
        send, receive = trio.open_memory_channel[SwarmHit](_WAITING_MAX)
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            asking = _Asking(self._host, header, request.limit, peer_timeout_s, send)
            nursery.start_soon(self._ask_all, asking, self._choose(peers), timeout_s)
            async with receive:
                try:
                    yield receive
                except Exception as err:  # noqa: BLE001 - raised again below, not in a group
                    failure = err
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _ask_all(self, asking: _Asking, peers: Sequence[PeerId], timeout_s: float) -> None:
        async with asking.send:
            with trio.move_on_after(timeout_s):
                slots = trio.CapacityLimiter(self._parallel)
                async with trio.open_nursery() as nursery:
                    for peer in peers:
                        nursery.start_soon(asking.ask, peer, slots)

    def _choose(self, peers: Sequence[PeerId] | None) -> list[PeerId]:
        chosen = list(peers) if peers is not None else self._host.connected_peers()
        if len(chosen) > self._peers_max:
            chosen = self._rng.sample(chosen, self._peers_max)
        return chosen


class _Asking:
    """One search under way."""

    def __init__(
        self,
        host: Host,
        header: bytes,
        limit: int,
        peer_timeout_s: float,
        send: trio.MemorySendChannel[SwarmHit],
    ) -> None:
        self.send = send
        self._host = host
        self._header = header
        self._limit = limit
        self._peer_timeout_s = peer_timeout_s
        self._named: set[bytes] = set()

    async def ask(self, peer: PeerId, slots: trio.CapacityLimiter) -> None:
        """Ask one peer and hand its hits on; its failure is its own."""
        async with slots:
            try:
                hits = await self._hits_of(peer)
            except StreamRefusedError:
                return  # it does not offer search
            except MalformedError as err:
                self._host.supervisor.misbehaved(peer, PROTOCOL, str(err))
                return
            except P2PError as err:
                log.debug("no search answer from %s: %s", short(peer), err)
                return
        for rank, hit in enumerate(hits):
            is_new = hit.release not in self._named
            self._named.add(hit.release)
            try:
                await self.send.send(SwarmHit(hit, peer, rank, is_new))
            except trio.BrokenResourceError:
                return  # the user has seen enough

    async def _hits_of(self, peer: PeerId) -> tuple[ReleaseHit, ...]:
        with trio.move_on_after(self._peer_timeout_s):
            async with await self._host.open_stream(peer, PROTOCOL) as stream:
                await stream.write(self._header)
                reader = FrameReader(
                    stream, header_bytes_max=REPLY_BYTES_MAX, frame_timeout_s=self._peer_timeout_s
                )
                reply = await reader.header(self._peer_timeout_s)
                if reply is None:
                    raise PeerGoneError("the peer ended the stream without an answer")
                return decode_reply(reply, self._limit).hits
        raise PeerStalledError(f"the peer did not answer the query within {self._peer_timeout_s:g} s")
