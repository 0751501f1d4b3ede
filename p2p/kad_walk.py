"""One iterative Kademlia lookup: workers always ask the nearest peer that was not asked yet.

A slow peer holds up one worker, not a round. The lookup ends when the ``width`` nearest living peers
have answered, or after ``queries_max`` questions. Source: Maymounkov and Mazières, "Kademlia", 2002, §2.3.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio
from libp2p.kad_dht.utils import sort_peer_ids_by_distance

from marina.ids import PeerId
from p2p.kad_rpc import Known, ProvidersReply
from p2p.peerid import from_libp2p, to_libp2p

Ask = Callable[[Known, bytes], Awaitable[ProvidersReply | None]]
Heard = Callable[[Iterable[Known]], Awaitable[bool]]


class Walk:
    """The state of one lookup.

    Args:
        key: what is looked for.
        start: peers known already.
        own: this node, never asked.
        ask: puts the question to one peer; None when it gave no answer.
        heard: is handed the providers of each answer; True from it ends the lookup.
        width: how many nearest peers must have answered.
        queries_max: questions in all.
    """

    def __init__(
        self,
        *,
        key: bytes,
        start: Sequence[Known],
        own: PeerId,
        ask: Ask,
        heard: Heard | None,
        width: int,
        queries_max: int,
    ) -> None:
        self._key = key
        self._own = own
        self._ask = ask
        self._heard = heard
        self._width = width
        self._queries_left = queries_max
        self._candidates = {each.peer: each for each in start if each.peer != own}
        self._asked: set[PeerId] = set()
        self._answered: list[PeerId] = []
        self._is_over = False
        self._busy = 0
        self._changed = trio.Event()

    async def run(self, workers: int) -> list[Known]:
        """Look up and return the peers that answered, nearest first; put a deadline around it."""
        async with trio.open_nursery() as nursery:
            for _ in range(workers):
                nursery.start_soon(self._work, nursery.cancel_scope)
        return [self._candidates[peer] for peer in self._sorted(self._answered)]

    async def _work(self, lookup: trio.CancelScope) -> None:
        while not self._is_over:
            target = self._next()
            if target is None:
                if not self._busy:
                    self._is_over = True
                    self._wake()
                    return
                await self._changed.wait()
                continue
            self._asked.add(target.peer)
            self._queries_left -= 1
            self._busy += 1
            try:
                await self._visit(target, lookup)
            finally:
                self._busy -= 1
                self._wake()

    async def _visit(self, target: Known, lookup: trio.CancelScope) -> None:
        reply = await self._ask(target, self._key)
        if reply is None:
            del self._candidates[target.peer]  # the dead do not count among the nearest
            return
        self._answered.append(target.peer)
        for each in reply.closer:
            if each.peer != self._own and each.peer not in self._asked:
                self._candidates.setdefault(each.peer, each)
        if self._heard is not None and await self._heard(reply.providers):
            self._is_over = True
            lookup.cancel()

    def _next(self) -> Known | None:
        if self._queries_left <= 0:
            return None
        for peer in self._sorted(self._candidates)[: self._width]:
            if peer not in self._asked:
                return self._candidates[peer]
        return None

    def _sorted(self, peers: Iterable[PeerId]) -> list[PeerId]:
        ids = [to_libp2p(peer) for peer in peers]
        return [from_libp2p(each) for each in sort_peer_ids_by_distance(self._key, ids)]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
