"""The one interface to blocks: embedded disk store, memory twin, and later a Kubo node.

A block is verified when it comes in and whenever it goes out. Segments of a declared rendition lie
in one sparse file per rendition; every other block (manifests, keyboxes, UnixFS nodes, artwork) is
a small block. Callers need not know which.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from marina.cid import Cid
from storage.content.layout import RenditionLayout


@dataclass(frozen=True, slots=True)
class StoreStat:
    """What a store holds: numbers of blocks and renditions, payload bytes, and the hard limit."""

    blocks: int
    renditions: int
    bytes_used: int
    bytes_quota: int


class BlockStore(Protocol):
    """Content-addressed blocks with declared renditions."""

    async def declare(self, layout: RenditionLayout) -> None:
        """Reserve a place for a rendition, so that its segments are stored together. Idempotent.

        Raises:
            QuotaExceededError: the whole rendition does not fit what is left of the quota.
        """
        ...

    async def layout(self, root: Cid) -> RenditionLayout | None:
        """Return the layout of a declared rendition."""
        ...

    async def put(self, cid: Cid, data: bytes) -> None:
        """Store one block, durably when this returns. Idempotent.

        Raises:
            MalformedError: the bytes do not hash to the CID.
            QuotaExceededError: no room is left.
            DiskFullError: the disk refused the bytes; nothing was stored.
        """
        ...

    async def put_segments(self, root: Cid, segments: Sequence[tuple[int, bytes]]) -> None:
        """Store segments of a declared rendition; ``have`` and ``get`` show them at once.

        They are durable after ``flush`` or the store's own group commit. Errors as for ``put``.
        """
        ...

    async def flush(self, root: Cid) -> None:
        """Make every segment put so far durable; after this a crash cannot lose them."""
        ...

    async def get(self, cid: Cid) -> bytes:
        """Return a block's verified bytes.

        Raises:
            BlockNotFoundError: not here.
            BlockDamagedError: here but damaged; it counts as missing from now on.
        """
        ...

    async def get_segments(self, root: Cid, indices: Sequence[int]) -> list[bytes | None]:
        """Return verified ciphertext per index, None where it is missing or damaged."""
        ...

    async def has(self, cid: Cid) -> bool:
        """Return whether ``get`` would find the block, without reading it."""
        ...

    async def have(self, root: Cid) -> frozenset[int]:
        """Return the indices of a rendition's segments that are here; empty if not declared."""
        ...

    async def delete(self, cid: Cid) -> bool:
        """Remove a block, or a whole rendition when given its root's CID; return whether it was here."""
        ...

    def cids(self) -> AsyncIterator[Cid]:
        """Yield the CID of every block that is here, segments included, in no set order."""
        ...

    async def stat(self) -> StoreStat:
        """Return the totals."""
        ...
