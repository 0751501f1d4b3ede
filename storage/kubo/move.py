"""Moving a home's blocks between this machine's disk and a Kubo node, while no daemon runs.

The index stays as it is and names one engine. Everything is copied first, then the name is changed in
one write, then the copies in the old engine go: interrupted anywhere, the same call goes on.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from marina.cid import Cid, cid_text, matches
from storage.blocks.engine import BlobEngine
from storage.blocks.file_engine import FileEngine
from storage.blocks.index import StoreIndex, pages
from storage.blocks.rendition_file import STAGING
from storage.blocks.rendition_state import indices_of
from storage.blocks.renditions import prepare
from storage.blocks.rows import BlockRow, HaveRow, RenditionRow, decode_row
from storage.blocks.threads import DiskThreads
from storage.file_ops import FileOps, PosixFileOps
from storage.kubo.engine import KuboEngine
from storage.kubo.rpc import KuboRpc
from storage.kv import KeyValueStore
from storage.quota import Quota

log = logging.getLogger("marina.storage")
_BATCH = 16
"""Segments in memory at a time: at most 4 MiB."""


@dataclass(frozen=True, slots=True)
class MoveProgress:
    """How far a move has come.

    Attributes:
        blocks: copied so far, segments included.
        bytes: their bytes.
        lost: blocks that were damaged or gone where they should have been; they count as missing.
        total_bytes: what the index says is stored.
    """

    blocks: int
    bytes: int
    lost: int
    total_bytes: int


class Move:
    """One move."""

    def __init__(
        self, *, kv: KeyValueStore, directory: Path, rpc: KuboRpc, to: str, ops: FileOps | None = None
    ) -> None:
        """Wire both engines; no I/O.

        Args:
            kv: the node's state.
            directory: ``<home>/blobs``.
            rpc: the Kubo node, one end of the move.
            to: name of the other end: ``embedded`` or ``kubo``.
            ops: file calls.
        """
        ops = ops or PosixFileOps()
        quota, threads = Quota(1 << 62, disk_reserve_bytes=0), DiskThreads()
        self._index = StoreIndex(kv, quota)
        files = FileEngine(directory=directory, index=self._index, ops=ops, quota=quota, threads=threads)
        quota.free_bytes = files.free_bytes
        kubo = KuboEngine(rpc=rpc, index=self._index, staging=directory / STAGING, ops=ops, threads=threads)
        self._from: BlobEngine
        self._to: BlobEngine
        self._from, self._to = (files, kubo) if to == kubo.name else (kubo, files)
        self._blocks = self._bytes = self._lost = self._total_bytes = 0

    async def run(self) -> AsyncGenerator[MoveProgress, None]:
        """Copy, switch, remove; yield the progress now and then, and at the end.

        Raises:
            StorageError: one end failed; the blocks count where they counted before.
        """
        try:
            if await self._index.engine() != self._to.name:
                await self._index.load(self._from.name)
                self._total_bytes = self._index.totals.payload_bytes
                await self._to.open(is_index_whole=False)
                async with aclosing(self._copy()) as steps:
                    async for _ in steps:
                        yield self._progress()
                await self._index.note_engine(self._to.name)
            await self._vacate()
            yield self._progress()
        finally:
            await self._from.close()
            await self._to.close()

    async def _copy(self) -> AsyncGenerator[None, None]:
        async with aclosing(pages(self._index.block)) as rows:
            async for key, data in rows:
                await self._copy_block(Cid(key), decode_row(BlockRow, data))
                yield
        async with aclosing(pages(self._index.rendition)) as rows:
            async for key, data in rows:
                layout = decode_row(RenditionRow, data).layout(Cid(key))
                have = await self._index.have.get(key)
                bits = 0 if have is None else int.from_bytes(decode_row(HaveRow, have).bits, "little")
                present = [index for index in indices_of(bits) if index < layout.plan.count]
                await self._to.store_tree(prepare(layout).nodes)
                for start in range(0, len(present), _BATCH):
                    indices = present[start : start + _BATCH]
                    loaded = await self._from.load_segments(layout, indices)
                    found = [(i, each) for i, each in zip(indices, loaded, strict=True) if each is not None]
                    if found:
                        await self._to.store_segments(layout, found)
                    self._count(len(found), sum(len(each) for _, each in found), len(indices) - len(found))
                    yield
                if present:
                    await self._to.sync(layout.root)

    async def _copy_block(self, cid: Cid, row: BlockRow) -> None:
        data = row.data if row.data is not None else await self._from.load(cid, row.size_bytes)
        if data is None or not matches(cid, data):
            log.warning("a damaged block is not moved", extra={"context": {"cid": cid_text(cid)}})
            self._count(0, 0, 1)
            return
        staged = await self._to.stage({cid: data})
        await staged.install()
        self._count(1, len(data), 0)

    async def _vacate(self) -> None:
        async with aclosing(pages(self._index.block)) as rows:
            async for key, _ in rows:
                await self._from.vacate(Cid(key), [Cid(key)])
        async with aclosing(pages(self._index.rendition)) as rows:
            async for key, data in rows:
                prepared = prepare(decode_row(RenditionRow, data).layout(Cid(key)))
                await self._from.vacate(Cid(key), [cid for cid, _ in prepared.parts])

    def _count(self, blocks: int, size_bytes: int, lost: int) -> None:
        self._blocks += blocks
        self._bytes += size_bytes
        self._lost += lost

    def _progress(self) -> MoveProgress:
        return MoveProgress(self._blocks, self._bytes, self._lost, self._total_bytes)
