"""One fetch of many blocks from several peers at once.

Every block is asked of one peer at a time; who lacks it, stalls or goes away loses it to the next. So
nothing comes twice but what was late, and what is outstanding bounds the memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field

import trio

from marina.cid import Cid
from marina.ids import PeerId
from p2p.bitswap.client import BitswapClient
from p2p.bitswap.messages import Want, WantKind
from p2p.errors import P2PError
from storage.file_ops import Buffer

OUTSTANDING_MAX = 32
"""Blocks asked for and not here yet, over all peers; at most 2 MiB each."""
STALL_S = 5.0
"""A peer that completes no block for so long loses what it was asked for."""
STALLS_MAX = 3
"""A peer that stalled so often is asked no more in this session."""


@dataclass(eq=False, slots=True)
class _Peer:
    id: PeerId
    asked: set[Cid] = field(default_factory=set)
    progress_s: float = 0.0
    stalls: int = 0
    blocks: int = 0


class Session:
    """Fetches blocks; used by one task, once.

    Attributes:
        missing: what no peer gave, once ``fetch`` has ended.
    """

    def __init__(self, client: BitswapClient, peers: Sequence[PeerId]) -> None:
        self._client = client
        self._peers = {peer: _Peer(peer) for peer in dict.fromkeys(peers)}
        self._todo: deque[Cid] = deque()
        self._lacking: dict[Cid, set[PeerId]] = {}
        self._here: deque[tuple[Cid, Buffer]] = deque()
        self._news = trio.Event()
        self.missing: list[Cid] = []

    async def fetch(self, cids: Iterable[Cid]) -> AsyncGenerator[tuple[Cid, Buffer], None]:
        """Yield blocks as they arrive, each verified; what did not come stands in ``missing``.

        Close the generator (``aclosing``) when leaving early. More may be asked for with ``add``
        while it runs.
        """
        self.add(cids)
        with self._client.taking_part(self, list(self._peers)):
            try:
                while self._todo or self._here or self.wanted():
                    while self._here:
                        yield self._here.popleft()
                    self._drop_stalled()
                    await self._assign()
                    if not self._here and self.wanted():
                        await self._wait()
            finally:
                await self._cancel()

    def add(self, cids: Iterable[Cid]) -> None:
        """Ask for more blocks."""
        self._todo.extend(cids)
        self._news.set()

    def wanted(self) -> set[Cid]:
        """Return what was asked for and is not here yet."""
        return set().union(*(peer.asked for peer in self._peers.values()))

    def arrived(self, peer: PeerId, cid: Cid, data: Buffer) -> None:
        """Take a block that was wanted; called by the client."""
        for each in self._peers.values():
            each.asked.discard(cid)
        sender = self._peers.get(peer)
        if sender is not None:
            sender.progress_s = trio.current_time()
            sender.blocks += 1
        self._lacking.pop(cid, None)
        self._here.append((cid, data))
        self._news.set()

    def told(self, peer: PeerId, cid: Cid, *, is_here: bool) -> None:
        """Take what a peer says of a block; called by the client."""
        found = self._peers.get(peer)
        if found is None or is_here or cid not in found.asked:
            return
        self._take_back(found, cid)
        self._news.set()

    async def _assign(self) -> None:
        """Give what is to do to peers that have room, the least loaded first."""
        wants: dict[PeerId, list[Want]] = {}
        room = OUTSTANDING_MAX - len(self.wanted())
        while self._todo and room > 0:
            cid = self._todo.popleft()
            lacking = self._lacking.get(cid, set())
            able = [p for p in self._peers.values() if p.id not in lacking and p.stalls < STALLS_MAX]
            if not able:
                self.missing.append(cid)
                self._lacking.pop(cid, None)
                continue
            peer = min(able, key=lambda each: (each.stalls, len(each.asked), -each.blocks))
            if not peer.asked:
                peer.progress_s = trio.current_time()
            peer.asked.add(cid)
            wants.setdefault(peer.id, []).append(Want(bytes(cid), WantKind.BLOCK, 1, False, True))
            self._client.want(self, (cid,))
            room -= 1
        for peer_id, entries in wants.items():
            try:
                await self._client.ask(peer_id, entries)
            except P2PError:
                self._give_up(self._peers[peer_id])

    def _drop_stalled(self) -> None:
        now_s = trio.current_time()
        for peer in self._peers.values():
            if peer.asked and now_s - peer.progress_s >= STALL_S:
                peer.stalls += 1
                peer.progress_s = now_s
                for cid in list(peer.asked):
                    self._take_back(peer, cid)

    def _give_up(self, peer: _Peer) -> None:
        peer.stalls = STALLS_MAX
        for cid in list(peer.asked):
            self._take_back(peer, cid)

    def _take_back(self, peer: _Peer, cid: Cid) -> None:
        peer.asked.discard(cid)
        self._client.forget(self, (cid,))
        self._lacking.setdefault(cid, set()).add(peer.id)
        self._todo.appendleft(cid)

    async def _wait(self) -> None:
        """Sleep until something arrives or the next peer counts as stalled."""
        next_s = min(peer.progress_s for peer in self._peers.values() if peer.asked) + STALL_S
        self._news = trio.Event()
        with trio.move_on_at(next_s):
            await self._news.wait()

    async def _cancel(self) -> None:
        """Tell the peers that what is outstanding is not wanted any more."""
        for peer in self._peers.values():
            cids, peer.asked = peer.asked, set()
            self._client.forget(self, cids)
            await self._client.cancel(peer.id, cids)
