"""Lets streaming fetch from the swarm: adapts peers and the chunk client to its protocols."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Protocol

from marina.cid import Cid
from marina.ids import PeerId
from node.bitswap_segments import BitswapSegments
from p2p.bitswap import messages as bitswap_messages
from p2p.bitswap.client import BitswapClient
from p2p.chunk.client import ChunkClient, ChunkSession, Want
from p2p.errors import StreamRefusedError
from p2p.host import Host
from p2p.peer_blocks import is_foreign
from p2p.wire.chunk import INDICES_MAX, PROTOCOL, Status
from storage.content.layout import RenditionLayout
from streaming.providers import Delivery, Outcome, ProviderSession

_OUTCOMES = {
    Status.OK: Outcome.OK,
    Status.MISSING: Outcome.MISSING,
    Status.BUSY: Outcome.BUSY,
    Status.DENIED: Outcome.DENIED,
}


class PeerFinder(Protocol):
    """Finds peers that may have a root."""

    def candidates(self, root: Cid) -> AsyncGenerator[tuple[PeerId, tuple[str, ...]], None]:
        """Yield (peer, addresses), connected ones first, each once."""
        ...


class SwarmProviders:
    """Providers of renditions among the peers of this node."""

    def __init__(
        self,
        *,
        host: Host,
        client: ChunkClient,
        bitswap: BitswapClient,
        finder: PeerFinder,
        release_of: Callable[[Cid], Cid | None],
    ) -> None:
        """Take the collaborators.

        Args:
            host: dials.
            client: speaks the chunk protocol.
            bitswap: speaks to peers that are no Marina nodes.
            finder: names peers.
            release_of: the release that a rendition belongs to, whose providers also count.
        """
        self._host = host
        self._client = client
        self._bitswap = bitswap
        self._finder = finder
        self._release_of = release_of

    async def providers(self, root: Cid) -> AsyncGenerator[SwarmProvider, None]:
        """Yield providers of a rendition, nearest first."""
        seen: set[PeerId] = set()
        for key in dict.fromkeys((root, self._release_of(root) or root)):
            async with aclosing(self._finder.candidates(key)) as candidates:
                async for peer, addresses in candidates:
                    if peer not in seen and peer != self._host.peer_id and not self._host.is_banned(peer):
                        seen.add(peer)
                        yield SwarmProvider(self._host, self._client, self._bitswap, peer, addresses)


class SwarmProvider:
    """One peer."""

    def __init__(
        self,
        host: Host,
        client: ChunkClient,
        bitswap: BitswapClient,
        peer: PeerId,
        addresses: tuple[str, ...],
    ) -> None:
        self._host = host
        self._client = client
        self._bitswap = bitswap
        self._peer = peer
        self._addresses = addresses

    @property
    def peer(self) -> PeerId:
        """Who it is."""
        return self._peer

    @asynccontextmanager
    async def session(self, layout: RenditionLayout) -> AsyncIterator[ProviderSession]:
        """Dial if need be and open a session, over bitswap with a peer that is no Marina node.

        Raises:
            P2PError: it cannot be reached or refuses.
        """
        await self._host.dial(self._peer, self._addresses)
        other = BitswapSegments(host=self._host, client=self._bitswap, peer=self._peer, layout=layout)
        async with other.open():
            if is_foreign(self._host, self._peer, PROTOCOL):
                yield other
                return
            async with self._client.session(self._peer) as session:
                own = _Session(self._host, session, layout, self._client.in_flight_max)
                yield _Either(own, other, self._speaks_bitswap)

    def _speaks_bitswap(self) -> bool:
        return bitswap_messages.PROTOCOL in self._host.protocols_of(self._peer)

    def report_corrupt(self) -> None:
        """Ban it for a day: it served bytes that it cannot have checked."""
        self._host.supervisor.corrupt(self._peer, "chunk", "a segment does not hash to its digest")


class _Session:
    """A chunk session of one rendition, with the peer's conduct kept in the score book."""

    def __init__(
        self, host: Host, session: ChunkSession, layout: RenditionLayout, in_flight_max: int
    ) -> None:
        self._host = host
        self._in_flight_max = in_flight_max
        self._session = session
        self._layout = layout
        self._plan = layout.plan
        self._queue: deque[int] = deque()
        self._waiting_s = 0.0

    @property
    def outstanding(self) -> int:
        """Wants without an answer."""
        return self._session.outstanding + len(self._queue)

    @property
    def received_bytes(self) -> int:
        """Bytes that came, those of an unfinished segment included."""
        return self._session.received_bytes

    async def want(self, indices: Sequence[int]) -> None:
        """Ask for segments, as many at once as the session takes; the others wait their turn."""
        if not self.outstanding:
            self._waiting_s = time.monotonic()
        self._queue.extend(indices)
        await self._fill()

    async def next(self) -> Delivery:
        """Return the oldest answer."""
        await self._fill()
        answer = await self._session.next()
        now_s = time.monotonic()
        if answer.data is not None:
            elapsed_s = now_s - self._waiting_s
            self._host.scores.delivered(self._session.peer, len(answer.data), elapsed_s, elapsed_s)
        self._waiting_s = now_s
        return Delivery(answer.index, _OUTCOMES[answer.status], answer.data)

    async def _fill(self) -> None:
        room = min(self._in_flight_max - self._session.outstanding, INDICES_MAX, len(self._queue))
        if room > 0 and self._session.outstanding <= self._in_flight_max // 2:
            wants = [self._want(self._queue.popleft()) for _ in range(room)]
            await self._session.want(self._layout.root, wants)

    def _want(self, index: int) -> Want:
        return Want(index, self._plan.ciphertext(index).length)


class _Either:
    """Marina's own session, until it turns out that the peer speaks bitswap only.

    The first request travels with the negotiation of its stream, so a refusal comes with the first answer.
    """

    def __init__(self, own: _Session, other: BitswapSegments, speaks_bitswap: Callable[[], bool]) -> None:
        self._used: ProviderSession = own
        self._other = other
        self._speaks_bitswap = speaks_bitswap
        self._unanswered: deque[int] = deque()

    @property
    def outstanding(self) -> int:
        """Wants without an answer."""
        return self._used.outstanding

    @property
    def received_bytes(self) -> int:
        """Bytes that came."""
        return self._used.received_bytes

    async def want(self, indices: Sequence[int]) -> None:
        """Ask for segments."""
        self._unanswered.extend(indices)
        await self._used.want(indices)

    async def next(self) -> Delivery:
        """Return the oldest answer."""
        try:
            answer = await self._used.next()
        except StreamRefusedError:
            if self._used is self._other or not self._speaks_bitswap():
                raise
            self._used = self._other
            await self._other.want(tuple(self._unanswered))
            answer = await self._other.next()
        self._unanswered.popleft()
        return answer
