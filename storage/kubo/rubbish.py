"""Blocks that the index let go of and the Kubo node still pins: noted first, removed in its own time.

A row is written in the same batch that takes a block's rows away, so that nothing is pinned for ever
when either program dies in between. Before a block is removed the index is asked once more.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from marina.cid import CODECS, Cid, cid_from_digest, digest_of
from storage.blocks.index import Change, StoreIndex
from storage.kubo.errors import KuboError
from storage.kubo.rpc import KuboRpc

log = logging.getLogger("marina.storage")
_PAGE = 256


class Rubbish:
    """What is to be removed from one node."""

    def __init__(self, index: StoreIndex, rpc: KuboRpc) -> None:
        self._index = index
        self._rpc = rpc
        self._table = index.kubo_drop
        self._lock = trio.Lock()
        self._held: Counter[Cid] = Counter()
        self._going: frozenset[Cid] = frozenset()
        self._gone = trio.Event()

    def note(self, change: Change, cids: Sequence[Cid]) -> None:
        """Note blocks in the change that takes their rows away."""
        for cid in cids:
            change.put(self._table, cid, b"")

    async def doubt(self, cids: Sequence[Cid]) -> None:
        """Note blocks that have no rows yet: if they never get any, they are rubbish."""
        await self._index.store.write([(self._table.key(cid), b"") for cid in cids])

    @asynccontextmanager
    async def holding(self, cids: Sequence[Cid]) -> AsyncIterator[None]:
        """Keep blocks that are on their way into the index from being removed."""
        while not self._going.isdisjoint(cids):
            await self._gone.wait()
        self._held.update(cids)
        try:
            yield
        finally:
            self._held.subtract(cids)
            self._held += Counter()  # drops the zeros

    async def remove(self) -> None:
        """Remove what was noted; what is held waits, and so does all of it while nobody answers."""
        async with self._lock:
            after = b""
            while rows := await self._table.scan(after=after, limit=_PAGE):
                after = rows[-1][0]
                cids = [Cid(key) for key, _ in rows if Cid(key) not in self._held]
                self._going, self._gone = frozenset(cids), trio.Event()
                try:
                    await self._remove_page(cids)
                except KuboError as err:
                    log.info("blocks wait to be removed", extra={"context": {"reason": str(err)}})
                    return
                finally:
                    self._going = frozenset()
                    self._gone.set()

    async def _remove_page(self, cids: Sequence[Cid]) -> None:
        rubbish = [cid for cid in cids if not await self._is_named(cid)]
        if rubbish:
            await self._rpc.drop(rubbish)
        await self._index.store.write([(self._table.key(cid), None) for cid in cids])

    async def _is_named(self, cid: Cid) -> bool:
        """Return whether the index names these bytes, under any codec: Kubo files them by hash alone."""
        names = [cid_from_digest(digest_of(cid), codec) for codec in CODECS]
        if any(row is not None for row in await self._index.block.get_many(names)):
            return True
        return any([await self._index.part.scan(each, limit=1) for each in names])
