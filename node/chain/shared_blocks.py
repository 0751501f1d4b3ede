"""Small blocks that the chain names by their CIDs: texts of proposals, moderation lists, keyboxes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from marina.cid import Cid, cid_text
from marina.clock import Clock
from marina.errors import NotFoundError, NotPermittedError
from storage.blocks.protocol import BlockStore
from storage.pins import Pins
from storage.retention import Retention

log = logging.getLogger("marina.node.chain")

_LEASE_S = 30 * 86_400

Fetch = Callable[[Cid, Cid], Awaitable[bytes]]
"""Brings the block of the second CID from this node or from peers that provide the first."""
Announce = Callable[[Sequence[Cid]], Awaitable[None]]


class SharedBlocks:
    """Keeps such blocks and brings those of others."""

    def __init__(
        self, *, blocks: BlockStore, pins: Pins, fetch: Fetch, announce: Announce, clock: Clock
    ) -> None:
        self._clock = clock
        self._blocks = blocks
        self._pins = pins
        self._fetch = fetch
        self._announce = announce

    async def publish(self, cid: Cid, data: bytes) -> None:
        """Keep a block of this owner for good, and let everybody find it here.

        Raises:
            MalformedError: the bytes do not hash to the CID.
            StorageError: the disk or the quota is full.
        """
        await self._blocks.put(cid, data)
        await self._pins.pin([cid], Retention.OWN)
        try:
            await self._announce([cid])
        except NotPermittedError as err:  # connected peers are served all the same
            log.warning("a block that the DAO names is not announced: %s", err)

    async def get(self, cid: Cid, what: str) -> bytes:
        """Return a block, from peers if it is not here.

        Args:
            cid: of the block.
            what: what it is, with its article, for the message.

        Raises:
            NotFoundError: nobody who is reachable has it.
        """
        try:
            return await self._fetch(cid, cid)
        except NotFoundError as err:
            raise NotFoundError(
                f"{what} ({cid_text(cid)}) is not here and nobody who is reachable has it: try again later, "
                "or connect to the node that made it (marina peers connect)"
            ) from err

    async def stored(self, cid: Cid) -> bytes:
        """Return a block of this node's disk; BlockNotFoundError, BlockDamagedError if it is not there."""
        return await self._blocks.get(cid)

    async def hold(self, cid: Cid) -> None:
        """Keep a block of others until ``release``."""
        await self._pins.pin([cid], Retention.PINNED)

    async def lease(self, cid: Cid) -> None:
        """Keep a block of others for a month."""
        await self._pins.pin([cid], Retention.PLEDGED, until_s=self._clock.now_s() + _LEASE_S)

    async def release(self, cid: Cid) -> None:
        """Let a held block go when room is needed."""
        await self._pins.unpin(cid, Retention.PINNED)
