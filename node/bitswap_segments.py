"""A rendition's segments from a peer that speaks bitswap and nothing of Marina's: a Kubo, a Helia."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from marina.cid import Cid, cid_from_digest
from marina.ids import PeerId
from p2p.bitswap.client import BitswapClient
from p2p.bitswap.messages import Want, WantKind
from p2p.errors import PeerStalledError
from p2p.host import Host
from storage.content.layout import RenditionLayout
from storage.file_ops import Buffer
from streaming.providers import Delivery, Outcome

IN_FLIGHT_MAX = 16
REPLY_TIMEOUT_S = 10.0


class BitswapSegments:
    """One conversation with one peer about one rendition; a ``ProviderSession``."""

    def __init__(self, *, host: Host, client: BitswapClient, peer: PeerId, layout: RenditionLayout) -> None:
        """Take whom to ask for what; nothing is asked yet."""
        self._host = host
        self._client = client
        self._peer = peer
        self._layout = layout
        self._order: deque[int] = deque()
        self._unasked: deque[int] = deque()
        self._asked: set[Cid] = set()
        self._answers: dict[Cid, Buffer | None] = {}
        self._news = trio.Event()
        self._waiting_s = 0.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[BitswapSegments]:
        """Take the peer's blocks while the block runs; what is asked for then is called off."""
        with self._client.taking_part(self, (self._peer,)):
            try:
                yield self
            finally:
                await self._client.cancel(self._peer, self._asked)

    @property
    def outstanding(self) -> int:
        """Wants without an answer."""
        return len(self._order)

    @property
    def received_bytes(self) -> int:
        """Bytes that came, those of an unfinished message included."""
        return self._client.received_bytes(self._peer)

    def wanted(self) -> set[Cid]:
        """Return what was asked for and is not here yet."""
        return self._asked

    def arrived(self, peer: PeerId, cid: Cid, data: Buffer) -> None:  # noqa: ARG002 - whoever sent it
        """Take a segment."""
        self._answer(cid, data)

    def told(self, peer: PeerId, cid: Cid, *, is_here: bool) -> None:
        """Take the word of the peer that it lacks a segment."""
        if peer == self._peer and not is_here:
            self._client.forget(self, (cid,))
            self._answer(cid, None)

    async def want(self, indices: Sequence[int]) -> None:
        """Ask for segments, sixteen at a time; errors as for ``BitswapClient.ask``."""
        if not self._order:
            self._waiting_s = time.monotonic()
        self._order.extend(indices)
        self._unasked.extend(indices)
        await self._ask()

    async def next(self) -> Delivery:
        """Return the answer to the oldest want.

        Raises:
            PeerStalledError: nothing of it came for ten seconds.
            P2PError: the peer went away.
        """
        await self._ask()
        index = self._order[0]
        cid = self._cid(index)
        seen = -1
        while cid not in self._answers:
            if self.received_bytes == seen:
                raise PeerStalledError(f"the peer sent nothing over bitswap for {REPLY_TIMEOUT_S:g} s")
            seen = self.received_bytes
            self._news = trio.Event()
            with trio.move_on_after(REPLY_TIMEOUT_S) as scope:
                await self._news.wait()
            if not scope.cancelled_caught:
                seen = -1
        self._order.popleft()
        data = self._answers[cid] if cid in map(self._cid, self._order) else self._answers.pop(cid)
        now_s = time.monotonic()
        if data is not None:
            elapsed_s = now_s - self._waiting_s
            self._host.scores.delivered(self._peer, len(data), elapsed_s, elapsed_s)
        self._waiting_s = now_s
        return Delivery(index, Outcome.MISSING if data is None else Outcome.OK, data)

    async def _ask(self) -> None:
        wants = []
        while self._unasked and len(self._asked) < IN_FLIGHT_MAX:
            cid = self._cid(self._unasked.popleft())
            if cid not in self._asked and cid not in self._answers:
                self._asked.add(cid)
                self._client.want(self, (cid,))
                wants.append(Want(bytes(cid), WantKind.BLOCK, tells_absence=True))
        if wants:
            await self._client.ask(self._peer, wants)

    def _answer(self, cid: Cid, data: Buffer | None) -> None:
        self._asked.discard(cid)
        self._answers[cid] = data
        self._news.set()

    def _cid(self, index: int) -> Cid:
        return cid_from_digest(self._layout.digests[32 * index : 32 * index + 32])
