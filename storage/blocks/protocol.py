"""The one interface to blocks: embedded disk store, memory twin, and later a Kubo node.

A block is verified when it comes in and whenever it goes out. Segments of a declared rendition lie
in one sparse file per rendition; every other block (manifests, keyboxes, UnixFS nodes, artwork) is
a small block. Callers need not know which.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from marina.cid import Cid
from storage.content.layout import RenditionLayout
from storage.file_ops import Buffer

BLOCK_BYTES_MAX = 2 * 1024 * 1024
"""Largest single block, as everywhere in IPFS."""


@dataclass(frozen=True, slots=True)
class StoreStat:
    """What a store holds.

    Attributes:
        blocks: blocks that are here, segments included.
        renditions: declared renditions, whole or not.
        bytes_used: payload bytes of the blocks that are here.
        bytes_quota: the hard limit.
        bytes_charged: what counts against the limit: payload, what declared renditions still wait
            for, and an estimate for metadata.
    """

    blocks: int
    renditions: int
    bytes_used: int
    bytes_quota: int
    bytes_charged: int = 0

    @property
    def bytes_free(self) -> int:
        """What may still be declared or put without evicting anything."""
        return max(0, self.bytes_quota - self.bytes_charged)


class RenditionWriter(Protocol):
    """Takes the ciphertext of one new rendition, in order, before its root is known.

    Synchronous, for a worker thread. Leaving the ``with`` block by an exception discards the bytes;
    after a clean exit they wait for ``adopt``.
    """

    @property
    def bytes_written(self) -> int:
        """Bytes taken so far."""
        ...

    def append(self, segment: Buffer) -> None:
        """Take the next segment.

        Raises:
            QuotaExceededError: more bytes than were reserved.
            DiskFullError: the disk refused the bytes.
        """
        ...

    def sync(self) -> None:
        """Make all bytes so far durable; ``adopt`` does it otherwise."""
        ...

    def discard(self) -> None:
        """Drop the bytes and the reservation; idempotent, and nothing after ``adopt``."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class BlockStore(Protocol):
    """Content-addressed blocks with declared renditions."""

    async def declare(self, layout: RenditionLayout) -> None:
        """Reserve a place for a rendition, so that its segments are stored together. Idempotent.

        The nodes of its UnixFS tree follow from the layout and are blocks of the store from now on.

        Raises:
            MalformedError: the root is not the root of these segments.
            QuotaExceededError: the whole rendition does not fit what is left of the quota.
            DiskFullError: the disk has less room than that and its reserve.
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

    async def put_many(self, blocks: Mapping[Cid, bytes]) -> None:
        """Store blocks, all durably when this returns; small new ones with a single write.

        Errors as for ``put``; some blocks may be stored then.
        """
        ...

    async def put_segments(self, root: Cid, segments: Sequence[tuple[int, Buffer]]) -> None:
        """Store segments of a declared rendition; ``have`` and ``get`` show them at once.

        They are durable after ``flush`` or the store's own group commit. All of them are verified
        before one is written; a call of up to 4 MiB costs one thread hop. Errors as for ``put``.

        Raises:
            BlockNotFoundError: the rendition was not declared, or was deleted meanwhile.
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

    async def stage(self, ciphertext_bytes: int) -> RenditionWriter:
        """Return a writer for a rendition of this node's own, its bytes reserved.

        Raises:
            QuotaExceededError: no room is left for them.
            DiskFullError: the disk has less room than that and its reserve.
        """
        ...

    async def adopt(self, writer: RenditionWriter, layout: RenditionLayout) -> None:
        """Make a writer's bytes the whole rendition of a layout, durably. Idempotent for the root.

        The caller hashed the bytes while writing them; a read checks them again.

        Raises:
            MalformedError: the layout does not fit the bytes or its own root; nothing was kept.
            DiskFullError: the disk refused; nothing was kept.
        """
        ...
