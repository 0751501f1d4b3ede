"""The engine in a Kubo node: each segment, tree node and small block is a block there, pinned by itself.

The index stays on this machine, and so do small blocks up to ``INLINE_BYTES_MAX`` in it (manifests,
keyboxes): a node that is away takes neither the library nor what is in memory with it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import trio

from marina.cid import Cid
from storage.blocks.index import Change, StoreIndex
from storage.blocks.rendition_file import check_segments
from storage.blocks.sweep import clear_staging
from storage.blocks.threads import DiskThreads
from storage.blocks.writer import StagedFile
from storage.content.layout import RenditionLayout
from storage.errors import StorageError
from storage.file_ops import Buffer, FileOps, read_whole, translated
from storage.kubo.recent import RecentBlocks
from storage.kubo.rpc import CAR_BYTES_MAX, KuboRpc
from storage.kubo.rubbish import Rubbish

_UPLOADS_MAX = 4
_DROP_MAX = 256
_REMOVE_S = 2.0


class KuboEngine:
    """Blocks in a Kubo node (see the BlobEngine protocol)."""

    name = "kubo"

    def __init__(
        self, *, rpc: KuboRpc, index: StoreIndex, staging: Path, ops: FileOps, threads: DiskThreads
    ) -> None:
        self._rpc = rpc
        self._staging = staging
        self._ops = ops
        self._threads = threads
        self._rubbish = Rubbish(index, rpc)
        self._recent = RecentBlocks()

    def free_bytes(self) -> int:
        """Return more than anybody asks for: the node itself says when its disk is full."""
        return sys.maxsize

    async def open(self, *, is_index_whole: bool) -> int:
        """Remove staging files; the node need not answer yet, and what it holds too much is noted."""
        del is_index_whole
        return await clear_staging(self._staging.parent, self._ops, self._threads)

    async def close(self) -> None:
        """Close the connections."""
        await self._rpc.close()

    async def keep_up(self) -> None:
        """Remove what the index let go of while the node was away."""
        await self._rubbish.remove()

    def holding(self, cids: Sequence[Cid]) -> AbstractAsyncContextManager[None]:
        """Keep blocks from being removed while they get their rows."""
        return self._rubbish.holding(cids)

    def leave(self, change: Change, cids: Sequence[Cid]) -> None:
        """Note blocks that are rubbish from now on."""
        self._rubbish.note(change, cids)
        for cid in cids:
            self._recent.drop(cid)

    async def stage(self, blocks: Mapping[Cid, bytes]) -> StoredBlocks:
        """Store blocks, inline ones too, so that the node can serve whole releases."""
        await self._rubbish.doubt(list(blocks))
        await self._rpc.store(list(blocks.items()))
        return StoredBlocks()

    async def load(self, cid: Cid, size_bytes: int) -> bytes | None:
        """Read a block."""
        del size_bytes
        return await self._load(cid)

    async def remove(self, cid: Cid, *, is_inline: bool) -> None:
        """Remove a block that was noted."""
        del cid, is_inline
        await self._remove_now()

    async def store_tree(self, nodes: Sequence[tuple[Cid, bytes]]) -> None:
        """Store the nodes, so that the node serves whole files."""
        if nodes:
            await self._rubbish.doubt([cid for cid, _ in nodes])
            await self._rpc.store(nodes)

    async def store_segments(self, layout: RenditionLayout, segments: Sequence[tuple[int, Buffer]]) -> None:
        """Store segments; they are durable at once."""
        await self._threads.write(lambda: check_segments(layout, segments))
        blocks = [(layout.cid(index), bytes(data)) for index, data in segments]
        await self._rpc.store(blocks)
        for cid, data in blocks:
            self._recent.add(cid, data)

    async def load_segments(self, layout: RenditionLayout, indices: Sequence[int]) -> list[bytes | None]:
        """Read segments, several at a time."""
        found: dict[int, bytes | None] = {}
        errors: list[StorageError] = []

        async def load(index: int) -> None:
            try:
                found[index] = await self._load(layout.cid(index))
            except StorageError as err:
                errors.append(err)

        async with trio.open_nursery() as nursery:
            for index in indices:
                nursery.start_soon(load, index)
        if errors:
            raise errors[0]
        return [found[index] for index in indices]

    async def sync(self, root: Cid) -> None:
        """Nothing to do: what is stored is durable."""
        del root
        await trio.lowlevel.checkpoint()

    async def upload(self, staged: StagedFile, layout: RenditionLayout) -> None:
        """Store every segment of a staging file, a few megabytes at a time."""
        slots = trio.CapacityLimiter(_UPLOADS_MAX)
        errors: list[StorageError] = []

        async def store(indices: Sequence[int]) -> None:
            async with slots:
                if errors:
                    return
                try:
                    blocks = await self._threads.read(partial(self._read, staged, layout, indices))
                    await self._rpc.store(blocks)
                except StorageError as err:
                    errors.append(err)

        async with trio.open_nursery() as nursery:
            for group in _groups(layout):
                nursery.start_soon(store, group)
        if errors:
            raise errors[0]

    async def install(self, staged: StagedFile, root: Cid) -> None:
        """Nothing to do: the blocks have their places."""
        del staged, root
        await trio.lowlevel.checkpoint()

    async def finish(self, staged: StagedFile) -> None:
        """Remove the staging file."""
        await self._threads.write(staged.discard)

    async def remove_rendition(self, root: Cid) -> None:
        """Remove the blocks that were noted."""
        del root
        await self._remove_now()

    async def vacate(self, _name: Cid, parts: Sequence[Cid]) -> None:
        """Unpin and remove the blocks."""
        for start in range(0, len(parts), _DROP_MAX):
            await self._rpc.drop(parts[start : start + _DROP_MAX])

    async def _remove_now(self) -> None:
        """Remove what was noted if it goes quickly: nobody waits for a node that walks all its pins."""
        with trio.move_on_after(_REMOVE_S):
            await self._rubbish.remove()

    async def _load(self, cid: Cid) -> bytes | None:
        data = self._recent.get(cid)
        if data is None:
            data = await self._rpc.load(cid)
            if data is not None:
                self._recent.add(cid, data)
        return data

    def _read(
        self, staged: StagedFile, layout: RenditionLayout, indices: Sequence[int]
    ) -> list[tuple[Cid, bytes]]:
        blocks = []
        with translated("read a staging file"):
            for index in indices:
                span = layout.plan.ciphertext(index)
                blocks.append(
                    (layout.cid(index), read_whole(self._ops, staged.fileno(), span.length, span.start))
                )
        return blocks


class StoredBlocks:
    """Blocks that have their places already (see the StagedBlocks protocol)."""

    async def install(self) -> None:
        """Nothing to do."""
        await trio.lowlevel.checkpoint()

    async def discard(self) -> None:
        """Nothing to do: they are noted, and kept if the index names them."""
        await trio.lowlevel.checkpoint()


def _groups(layout: RenditionLayout) -> list[list[int]]:
    groups: list[list[int]] = []
    size = 0
    for index, length in enumerate(layout.plan.lengths()):
        if not groups or size + length > CAR_BYTES_MAX:
            groups.append([])
            size = 0
        groups[-1].append(index)
        size += length
    return groups
