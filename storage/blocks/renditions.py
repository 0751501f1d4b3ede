"""Declared renditions: their rows in the index, their segments in the engine, their durability.

Order of every write: bytes to the engine, its sync, then one index batch with the bitmap. The bitmap
in memory shows segments at once; the one in the index never names a segment whose bytes could still
be lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from marina.cid import Cid, cid_text
from marina.errors import MalformedError
from marina.schema import encode_record
from storage.blocks.engine import BlobEngine
from storage.blocks.index import Change, StoreIndex
from storage.blocks.rendition_state import RenditionState, StateCache, indices_of
from storage.blocks.rows import HaveRow, HoldingRow, RenditionRow, decode_row, encode_part
from storage.blocks.threads import DiskThreads
from storage.blocks.writer import StagedFile
from storage.content.layout import RenditionLayout
from storage.content.unixfs import check_layout
from storage.errors import BlockNotFoundError, StorageError
from storage.file_ops import Buffer
from storage.pins import Pins
from storage.quota import rendition_charge

log = logging.getLogger("marina.storage")


@dataclass(frozen=True, slots=True)
class PreparedRendition:
    """Everything about a layout that costs computation: its row, its parts and its nodes by CID."""

    layout: RenditionLayout
    row: RenditionRow
    parts: tuple[tuple[Cid, bytes], ...]
    nodes: tuple[tuple[Cid, bytes], ...]


def prepare(layout: RenditionLayout) -> PreparedRendition:
    """Return a layout ready for the index; MalformedError if its root is not that of its segments."""
    nodes = check_layout(layout).nodes
    plan = layout.plan
    node_bytes = sum(len(data) for _, data in nodes)
    charge = rendition_charge(plan.ciphertext_bytes, plan.count, node_bytes)
    row = RenditionRow(layout.plaintext_bytes, layout.digests, charge, len(nodes), node_bytes)
    parts = {layout.cid(index): encode_part(index) for index in reversed(range(plan.count))}
    parts.update((cid, encode_part(data)) for cid, data in nodes)
    return PreparedRendition(layout, row, tuple(parts.items()), tuple(nodes))


class Renditions:
    """All declared renditions of one store."""

    def __init__(self, *, index: StoreIndex, pins: Pins, engine: BlobEngine, threads: DiskThreads) -> None:
        self._index = index
        self._pins = pins
        self._engine = engine
        self._threads = threads
        self._states = StateCache()
        self._structure_lock = trio.Lock()
        self._commit_lock = trio.Lock()
        self._deletions = 0

    @property
    def unsynced_bytes(self) -> int:
        """Bytes written but not committed yet."""
        return sum(state.unsynced_bytes for state in self._states.dirty.values())

    @property
    def dirty_roots(self) -> list[Cid]:
        """Renditions whose bitmap in the index lags behind."""
        return list(self._states.dirty)

    def pending(self) -> tuple[int, int]:
        """Return (blocks, bytes) by which the index's totals lag behind; negative after damage."""
        blocks = size = 0
        for state in self._states.dirty.values():
            gained, lost = state.have & ~state.recorded, state.recorded & ~state.have
            blocks += gained.bit_count() - lost.bit_count()
            size += state.byte_count(gained) - state.byte_count(lost)
        return blocks, size

    async def find(self, root: Cid) -> RenditionState | None:
        """Return the state of a declared rendition."""
        while True:
            state = self._states.get(root)
            if state is not None:
                return state
            deletions = self._deletions
            row_data, have_data = await self._index.store.get_many(
                [self._index.rendition.key(root), self._index.have.key(root)]
            )
            if deletions == self._deletions:
                break  # otherwise the rows may be of a rendition that is gone by now
        if row_data is None:
            return None
        row = decode_row(RenditionRow, row_data)
        state = RenditionState(row.layout(root), row.charge_bytes)
        if have_data is not None:
            bits = int.from_bytes(decode_row(HaveRow, have_data).bits, "little")
            state.have = bits & state.full
            state.settle(state.have)
        return self._states.add(state)

    async def insert(self, prepared: PreparedRendition) -> None:
        """Declare a rendition; nothing happens if it is declared."""
        async with self._engine.holding([cid for cid, _ in prepared.nodes]):
            await self._engine.store_tree(prepared.nodes)
            async with self._structure_lock, self._index.changing() as change:
                if await self.find(prepared.layout.root) is None:
                    await self._add_rows(change, prepared, have=0)

    async def put(self, root: Cid, segments: Sequence[tuple[int, Buffer]]) -> None:
        """Verify and write segments in one thread hop; they are here when this returns."""
        state = await self._need(root)

        fresh = [(index, data) for index, data in segments if not (index >= 0 and state.has(index))]
        if fresh:
            await self._engine.store_segments(state.layout, fresh)
        if state.is_deleted:
            await self._drop_stray(state.layout)
            raise BlockNotFoundError(f"rendition {cid_text(root)} was removed meanwhile")
        for index, data in segments:
            if not state.has(index):
                state.have |= 1 << index
                state.unsynced_bytes += len(data)
        if state.is_dirty:
            self._states.dirty[root] = state

    async def get(self, state: RenditionState, indices: Sequence[int]) -> list[bytes | None]:
        """Return verified segments; damaged ones count as missing from now on."""
        wanted = [index for index in indices if 0 <= index < state.plan.count and state.has(index)]
        if not wanted:
            return [None] * len(indices)
        layout = state.layout
        loaded = await self._engine.load_segments(layout, wanted)
        found = dict(zip(wanted, loaded, strict=True))
        damaged = [index for index, data in found.items() if data is None]
        if damaged:
            context = {"root": cid_text(layout.root), "segments": damaged}
            log.warning("damaged segments count as missing now", extra={"context": context})
            self.lose(state, damaged)
        return [found.get(index) for index in indices]

    def lose(self, state: RenditionState, indices: Sequence[int]) -> None:
        """Let segments count as missing; the next commit writes it down."""
        for index in indices:
            state.have &= ~(1 << index)
            state.durable &= ~(1 << index)
            state.lost |= 1 << index
        if state.is_dirty and not state.is_deleted:
            self._states.dirty[state.layout.root] = state

    async def commit(self, roots: Sequence[Cid]) -> None:
        """Make everything put into these renditions durable.

        Raises:
            DiskFullError: the disk has no room; what is not durable counts as missing.
            StorageError: the disk failed; likewise.
        """
        async with self._commit_lock:
            dirty = [state for root in roots if (state := self._states.dirty.get(root)) is not None]
            synced = []
            try:
                for state in dirty:
                    if state.is_behind:
                        state.lost = 0
                        snapshot = (state, state.have, state.unsynced_bytes)
                        if await self._sync(state):
                            synced.append(snapshot)
            finally:
                if synced:
                    with trio.CancelScope(shield=True):
                        await self._record(synced)

    async def flush(self, root: Cid) -> None:
        """Make everything put into a rendition so far durable.

        Raises:
            BlockNotFoundError: it is not declared.
            DiskFullError: the disk has no room; what is not durable counts as missing.
            StorageError: the disk failed, now or in a commit since the last flush; likewise.
        """
        state = await self._need(root)
        await self.commit([root])
        if state.is_write_lost:
            state.is_write_lost = False
            if not state.is_dirty:
                self._states.dirty.pop(root, None)
            raise StorageError(
                "the disk failed to keep segments that were written: they count as missing and can be "
                "fetched again. Check the disk"
            )

    async def adopt(self, prepared: PreparedRendition, staged: StagedFile) -> None:
        """Make a staging file a whole rendition, durably."""
        root = prepared.layout.root
        if staged.bytes_written != prepared.layout.plan.ciphertext_bytes:
            raise MalformedError(
                f"the layout has {prepared.layout.plan.ciphertext_bytes} bytes, not {staged.bytes_written}"
            )
        async with self._engine.holding([cid for cid, _ in prepared.parts]):
            await self._engine.store_tree(prepared.nodes)
            await self._engine.upload(staged, prepared.layout)
            with trio.CancelScope(shield=True):
                async with self._structure_lock:
                    known = await self.find(root)
                    if known is not None and known.durable == known.full:
                        staged.discard()
                        return
                    await self._engine.install(staged, root)
                    try:
                        await self._record_whole(prepared)
                    except StorageError:
                        if known is None:
                            await self._engine.remove_rendition(root)
                        raise
                    finally:
                        await self._engine.finish(staged)

    async def remove(self, root: Cid, *, allows: Callable[[HoldingRow], bool] | None = None) -> int:
        """Remove a rendition: index first, then the file. Return its charge, 0 if it is not here.

        Args:
            root: the rendition.
            allows: looks at the holding as it is at that moment; False leaves everything as it is.
        """
        with trio.CancelScope(shield=True):
            async with self._structure_lock:
                async with self._index.changing() as change:
                    state = await self.find(root)
                    data = await self._index.holding.get(root)
                    if state is None or data is None:
                        return 0
                    if allows is not None and not allows(decode_row(HoldingRow, data)):
                        return 0
                    prepared = await self._threads.write(lambda: prepare(state.layout))
                    charge = await self._delete_rows(change, prepared, state)
                state.is_deleted = True
                self._deletions += 1
                self._states.discard(root)
                await self._engine.remove_rendition(root)
        return charge

    async def forget_segment(self, root: Cid, index: int) -> bool:
        """Let one segment count as missing, durably; return whether it was here."""
        state = await self.find(root)
        if state is None or not state.has(index):
            return False
        self.lose(state, [index])
        await self.commit([root])
        return True

    async def _need(self, root: Cid) -> RenditionState:
        state = await self.find(root)
        if state is None:
            raise BlockNotFoundError(f"rendition {cid_text(root)} is not declared in this store")
        return state

    async def _sync(self, state: RenditionState) -> bool:
        """Sync a file; return False for a rendition that is gone. On failure, unsynced is missing."""
        if not state.have & ~state.durable:
            return True  # only losses to write down
        try:
            await self._engine.sync(state.layout.root)
        except StorageError:
            if state.is_deleted:
                return False
            # The kernel may have dropped the pages and will not say so twice: trust none of them.
            state.have &= state.durable
            state.unsynced_bytes = 0
            state.is_write_lost = True
            raise
        return True

    async def _record(self, synced: list[tuple[RenditionState, int, int]]) -> None:
        async with self._index.changing() as change:
            for state, have, _ in synced:
                if not state.is_deleted:
                    row = state.have_row(have)
                    change.put(self._index.have, state.layout.root, encode_record(row))
                    self._count(change, state, have)
        for state, have, unsynced_bytes in synced:
            state.recorded = have
            state.durable = have & ~state.lost
            state.unsynced_bytes = max(0, state.unsynced_bytes - unsynced_bytes)
            if not state.is_dirty:
                self._states.dirty.pop(state.layout.root, None)

    async def _record_whole(self, prepared: PreparedRendition) -> None:
        root = prepared.layout.root
        async with self._index.changing() as change:
            state = await self.find(root)
            if state is None:
                await self._add_rows(change, prepared, have=(1 << prepared.layout.plan.count) - 1)
            else:
                change.put(self._index.have, root, encode_record(state.have_row(state.full)))
                self._count(change, state, state.full)
        if state is not None:
            state.have = state.full
            state.settle(state.full)
            state.unsynced_bytes = 0
            self._states.dirty.pop(root, None)

    async def _add_rows(self, change: Change, prepared: PreparedRendition, *, have: int) -> None:
        layout, row = prepared.layout, prepared.row
        state = RenditionState(layout, row.charge_bytes)
        change.put(self._index.rendition, layout.root, encode_record(row))
        change.put(self._index.have, layout.root, encode_record(state.have_row(have)))
        for cid, value in prepared.parts:
            change.put(self._index.part, cid + layout.root, value)
        await self._pins.admit(change, layout.root, row.charge_bytes, is_rendition=True)
        change.totals.renditions += 1
        change.totals.blocks += row.nodes
        change.totals.payload_bytes += row.node_bytes
        self._count(change, state, have)

    async def _delete_rows(self, change: Change, prepared: PreparedRendition, state: RenditionState) -> int:
        root, row = prepared.layout.root, prepared.row
        self._count(change, state, 0)
        change.totals.renditions -= 1
        change.totals.blocks -= row.nodes
        change.totals.payload_bytes -= row.node_bytes
        change.delete(self._index.rendition, root)
        change.delete(self._index.have, root)
        for cid, _ in prepared.parts:
            change.delete(self._index.part, cid + root)
        self._engine.leave(change, [cid for cid, _ in prepared.parts])
        return await self._pins.dismiss(change, root)

    def _count(self, change: Change, state: RenditionState, bits: int) -> None:
        """Move the totals from the recorded bitmap of a state to another one."""
        gained, lost = bits & ~state.recorded, state.recorded & ~bits
        change.totals.blocks += gained.bit_count() - lost.bit_count()
        change.totals.payload_bytes += state.byte_count(gained) - state.byte_count(lost)

    async def _drop_stray(self, layout: RenditionLayout) -> None:
        """Remove what a write stored again behind a removal."""
        async with self._structure_lock:
            if await self.find(layout.root) is None:
                async with self._index.changing() as change:
                    self._engine.leave(change, [layout.cid(index) for index in range(layout.plan.count)])
                await self._engine.remove_rendition(layout.root)


def held_indices(state: RenditionState) -> frozenset[int]:
    """Return the indices of the segments that are here."""
    return frozenset(indices_of(state.have))
