"""The block store of a node: an index and reasons in LevelDB, over an engine that keeps the bytes.

It joins renditions, small blocks, quota, pins and eviction; which of them holds a block is its own
business. ``open`` first, then ``run`` for group commit and upkeep, ``close`` at the end.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from marina.cid import CID_BYTES, Cid, matches
from marina.clock import Clock
from marina.errors import MalformedError
from storage.blocks.engine import BlobEngine
from storage.blocks.index import StoreIndex, pages
from storage.blocks.neighbours import Neighbours
from storage.blocks.protocol import RenditionWriter, StoreStat
from storage.blocks.renditions import Renditions, held_indices, prepare
from storage.blocks.room import RoomMaker
from storage.blocks.rows import INLINE_BYTES_MAX, HoldingRow, decode_part
from storage.blocks.small import SmallBlocks, check_block
from storage.blocks.threads import DiskThreads
from storage.blocks.writer import StagedFile
from storage.content.layout import RenditionLayout
from storage.errors import BlockDamagedError, BlockNotFoundError, StorageError
from storage.file_ops import Buffer, FileOps
from storage.gc import GarbageCollector
from storage.pins import Pins
from storage.quota import Quota, block_charge, rendition_charge_max
from storage.retention import Retention

if TYPE_CHECKING:
    from trio_typing import TaskStatus

COMMIT_BYTES = 16 * 1024 * 1024
BACKLOG_BYTES_MAX = 64 * 1024 * 1024
"""Putters wait for the disk themselves once the group commit is this far behind."""
COMMIT_INTERVAL_S = 1.0
UPKEEP_INTERVAL_S = 60.0
_PARTS_MAX = 8
log = logging.getLogger("marina.storage")


class IndexedBlockStore:
    """Blocks in an engine, their index in a key-value store (see the BlockStore protocol).

    Attributes:
        pins: reasons to keep blocks.
        quota: the hard limit.
        collector: makes room; the store calls it by itself when something does not fit.
    """

    def __init__(
        self,
        *,
        index: StoreIndex,
        engine: BlobEngine,
        staging: Path,
        quota: Quota,
        clock: Clock,
        ops: FileOps,
        threads: DiskThreads,
    ) -> None:
        """Wire the parts; no I/O.

        Args:
            index: over the node's state.
            engine: where the bytes go.
            staging: a directory on this disk for renditions that are being published.
            quota: the limit; asks the engine for free room unless it has a source of its own.
            clock: for last access and the end of pins.
            ops: file calls.
            threads: for what blocks.
        """
        self._ops = ops
        self._staging = staging
        self._engine = engine
        self.quota = quota
        if quota.free_bytes is None:
            quota.free_bytes = engine.free_bytes
        self._index = index
        self._threads = threads
        self.pins = Pins(index, clock)
        self._neighbours = Neighbours()
        self._renditions = Renditions(index=index, pins=self.pins, engine=engine, threads=threads)
        self._small = SmallBlocks(index=index, pins=self.pins, engine=engine)
        self.collector = GarbageCollector(pins=self.pins, evict=self._evict)
        self._room = RoomMaker(quota, index, self.collector)
        self._commit_wanted = trio.Event()
        self._is_running = False

    async def open(self) -> None:
        """Read the totals and remove what a crash left behind: staging files, bytes without index.

        Behind a repaired index nothing is removed: its row may be what was lost.

        Raises:
            StorageError: directory or index cannot be used, or belong to another engine.
        """
        is_index_whole = await self._index.load(self._engine.name)
        removed = await self._engine.open(is_index_whole=is_index_whole)
        if removed:
            log.info("removed unfinished files", extra={"context": {"files": removed}})

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit every 16 MiB or second, and each minute note reads and end pins; until cancelled.

        On cancellation everything put so far is made durable.
        """
        async with trio.open_nursery() as nursery:
            self._is_running = True
            nursery.start_soon(self._keep_committing)
            nursery.start_soon(self._keep_up)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._is_running = False
                with trio.CancelScope(shield=True):
                    await self._commit_all()
                    await self._upkeep(is_ending=True)

    async def close(self) -> None:
        """Make everything durable and close the files; the key-value store stays open.

        Raises:
            StorageError: the disk refused; what is not durable is lost.
        """
        try:
            await self.commit()
            await self.pins.flush_touches()
        finally:
            await self._engine.close()

    async def commit(self) -> None:
        """Make all segments put so far durable, of every rendition; errors as for ``flush``."""
        await self._renditions.commit(self._renditions.dirty_roots)

    async def declare(self, layout: RenditionLayout) -> None:
        """Reserve a place for a rendition."""
        if await self._renditions.find(layout.root) is not None:
            return
        prepared = await self._threads.write(lambda: prepare(layout))
        charge = prepared.row.charge_bytes
        await self._room.reserve(charge, await self.pins.retention(layout.root))
        try:
            await self._renditions.insert(prepared)
        finally:
            self.quota.release(charge)

    async def layout(self, root: Cid) -> RenditionLayout | None:
        """Return the layout of a declared rendition."""
        state = await self._renditions.find(root)
        return None if state is None else state.layout

    async def put(self, cid: Cid, data: bytes) -> None:
        """Store one block, durably when this returns."""
        check_block(cid, data)
        places = await self._places(cid)
        if any(isinstance(part, bytes) for _, part in places):
            return
        if places:
            for root, index in places:
                if isinstance(index, int):
                    await self.put_segments(root, [(index, data)])
                    await self.flush(root)
            return
        if await self._small.has(cid):
            await self._small.put(cid, data)
            return
        charge = block_charge(len(data))
        await self._room.reserve(charge, await self.pins.retention(cid))
        try:
            await self._small.put(cid, data)
        finally:
            self.quota.release(charge)

    async def put_many(self, blocks: Mapping[Cid, bytes]) -> None:
        """Store blocks, all durably when this returns; small new ones with a single write."""
        new: dict[Cid, bytes] = {}
        known = await self._small.known(list(blocks))
        for cid, data in blocks.items():
            check_block(cid, data)
            if len(data) > INLINE_BYTES_MAX or cid in known or await self._places(cid):
                await self.put(cid, data)
            else:
                new[cid] = data
        retention = min([await self.pins.retention(cid) for cid in new], default=Retention.SWARM)
        charge = sum(block_charge(len(data)) for data in new.values())
        await self._room.reserve(charge, retention)
        try:
            await self._small.put_new(new)
        finally:
            self.quota.release(charge)

    async def put_segments(self, root: Cid, segments: Sequence[tuple[int, Buffer]]) -> None:
        """Store segments of a declared rendition."""
        await self._renditions.put(root, segments)
        unsynced_bytes = self._renditions.unsynced_bytes
        if unsynced_bytes < COMMIT_BYTES:
            return
        self._commit_wanted.set()
        if not self._is_running or unsynced_bytes >= BACKLOG_BYTES_MAX:
            await self.commit()

    async def flush(self, root: Cid) -> None:
        """Make every segment put so far durable."""
        await self._renditions.flush(root)

    async def get(self, cid: Cid, *, is_scrub: bool = False) -> bytes:
        """Return a block's verified bytes; a scrub does not count as a use."""
        near = self._neighbours.find(cid)
        if near is not None and (data := await self._segment(*near)) is not None:
            return data
        is_damaged = False
        try:
            data = await self._small.get(cid)
        except BlockDamagedError:
            data, is_damaged = None, True
        if data is not None:
            if not is_scrub:
                self.pins.touch(cid)
            return data
        for root, part in await self._places(cid):
            if isinstance(part, bytes):
                if matches(cid, part):
                    return part
                is_damaged = True
                continue
            state = await self._renditions.find(root)
            if state is None or not state.has(part):
                continue
            data = await self._segment(root, part)
            if data is not None:
                return data
            is_damaged = True
        if is_damaged:
            raise BlockDamagedError("the block was damaged and counts as missing: fetch it again")
        raise BlockNotFoundError("the block is not in this store")

    async def _segment(self, root: Cid, index: int) -> bytes | None:
        """Return one segment, None unless it is here and sound."""
        state = await self._renditions.find(root)
        if state is None or not state.has(index):
            return None
        (data,) = await self._renditions.get(state, [index])
        if data is not None:
            self.pins.touch(root)
            self._neighbours.read(state.layout, index)
        return data

    async def get_segments(
        self, root: Cid, indices: Sequence[int], *, is_scrub: bool = False
    ) -> list[bytes | None]:
        """Return verified ciphertext per index, None where it is missing or damaged."""
        state = await self._renditions.find(root)
        if state is None:
            return [None] * len(indices)
        if not is_scrub:
            self.pins.touch(root)
        return await self._renditions.get(state, indices)

    async def has(self, cid: Cid) -> bool:
        """Return whether ``get`` would find the block, without reading it."""
        if await self._small.has(cid):
            return True
        for root, part in await self._places(cid):
            if isinstance(part, bytes):
                return True
            state = await self._renditions.find(root)
            if state is not None and state.has(part):
                return True
        return False

    async def have(self, root: Cid) -> frozenset[int]:
        """Return the indices of a rendition's segments that are here."""
        state = await self._renditions.find(root)
        return frozenset() if state is None else held_indices(state)

    async def delete(self, cid: Cid) -> bool:
        """Remove a block, or a whole rendition when given its root's CID.

        A node of a rendition's tree follows from its layout and goes only with the rendition.
        """
        is_gone = await self._renditions.remove(cid) > 0
        is_gone = await self._small.remove(cid) > 0 or is_gone
        if not is_gone:
            for root, part in await self._places(cid):
                if isinstance(part, int):
                    is_gone = await self._renditions.forget_segment(root, part) or is_gone
        return is_gone

    async def cids(self) -> AsyncGenerator[Cid, None]:
        """Yield the CID of every block that is here, in no set order; some may come twice."""
        async with aclosing(self.small_cids()) as small:
            async for cid in small:
                yield cid
        async with aclosing(pages(self._index.part)) as rows:
            async for key, value in rows:
                part = decode_part(value)
                state = None if isinstance(part, bytes) else await self._renditions.find(_root_of(key))
                if isinstance(part, bytes) or (state is not None and state.has(part)):
                    yield Cid(key[:CID_BYTES])

    async def roots(self) -> AsyncGenerator[Cid, None]:
        """Yield the root of every declared rendition, whole or not."""
        async with aclosing(pages(self._index.have)) as rows:
            async for key, _ in rows:
                yield Cid(key)

    async def small_cids(self) -> AsyncGenerator[Cid, None]:
        """Yield the CID of every small block."""
        async with aclosing(pages(self._index.block)) as rows:
            async for key, _ in rows:
                yield Cid(key)

    async def stat(self) -> StoreStat:
        """Return the totals."""
        totals = self._index.totals
        blocks, size_bytes = self._renditions.pending()
        return StoreStat(
            blocks=totals.blocks + blocks,
            renditions=totals.renditions,
            bytes_used=totals.payload_bytes + size_bytes,
            bytes_quota=self.quota.limit_bytes,
            bytes_charged=self.quota.charged_bytes,
        )

    def charged_bytes(self) -> dict[Retention, int]:
        """Return what counts against the quota, by the reason to keep it."""
        return {each: self._index.totals.charged_bytes[each] for each in Retention}

    async def stage(self, ciphertext_bytes: int, *, retention: Retention = Retention.OWN) -> RenditionWriter:
        """Return a writer for a rendition of this node's own, its bytes reserved.

        Args:
            ciphertext_bytes: most bytes that will be written.
            retention: what may be evicted to make room: nothing above this class.
        """
        charge = rendition_charge_max(ciphertext_bytes)
        await self._room.reserve(charge, retention)

        def start() -> StagedFile:
            return StagedFile(
                self._staging,
                self._ops,
                reserved_bytes=charge,
                limit_bytes=ciphertext_bytes,
                release=lambda: self.quota.release(charge),
            )

        try:
            return await self._threads.write(start)
        except BaseException:
            self.quota.release(charge)
            raise

    async def adopt(self, writer: RenditionWriter, layout: RenditionLayout) -> None:
        """Make a writer's bytes the whole rendition of a layout, durably."""
        if not isinstance(writer, StagedFile):
            raise MalformedError("this writer belongs to another store")
        writer.fileno()
        try:
            prepared = await self._threads.write(lambda: prepare(layout))
            await self._renditions.adopt(prepared, writer)
        except BaseException:
            writer.discard()
            raise

    async def _places(self, cid: Cid) -> list[tuple[Cid, int | bytes]]:
        """Return (root, segment index or node bytes) of the renditions that a block is part of."""
        rows = await self._index.part.scan(cid, limit=_PARTS_MAX)
        return [(_root_of(key), decode_part(value)) for key, value in rows]

    async def _evict(self, cid: Cid, up_to: Retention) -> int:
        def allows(row: HoldingRow) -> bool:
            return row.retention <= up_to and not self.pins.is_leased(cid)

        freed = await self._renditions.remove(cid, allows=allows)
        return freed or await self._small.remove(cid, allows=allows)

    async def _keep_committing(self) -> None:
        while True:
            with trio.move_on_after(COMMIT_INTERVAL_S):
                await self._commit_wanted.wait()
            self._commit_wanted = trio.Event()
            await self._commit_all()

    async def _keep_up(self) -> None:
        while True:
            await trio.sleep(UPKEEP_INTERVAL_S)
            await self._upkeep()

    async def _commit_all(self) -> None:
        try:
            await self.commit()
        except StorageError as err:
            # The segments count as missing again, and the next flush of their rendition says so.
            log.error("segments could not be made durable", extra={"context": {"reason": str(err)}})

    async def _upkeep(self, *, is_ending: bool = False) -> None:
        try:
            await self.pins.flush_touches()
            await self.pins.end_pins()
            if not is_ending:
                await self._engine.keep_up()
        except StorageError as err:
            log.warning("upkeep waits", extra={"context": {"reason": str(err)}})


def _root_of(part_key: bytes) -> Cid:
    return Cid(part_key[CID_BYTES:])
