"""Small blocks: manifests, keyboxes, artwork, posts, foreign blocks up to 2 MiB.

Up to 16 KiB lie inside LevelDB; the bytes of a larger one are in the engine, durable before the index
names them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import trio

from marina.cid import Cid, cid_text, matches
from marina.errors import MalformedError
from marina.schema import encode_record
from storage.blocks.engine import BlobEngine
from storage.blocks.index import Change, StoreIndex
from storage.blocks.protocol import BLOCK_BYTES_MAX
from storage.blocks.rows import INLINE_BYTES_MAX, BlockRow, HoldingRow, decode_row
from storage.errors import BlockDamagedError
from storage.pins import Pins
from storage.quota import block_charge

log = logging.getLogger("marina.storage")


def check_block(cid: Cid, data: bytes) -> None:
    """Return if bytes are a block and have this CID; MalformedError otherwise."""
    if len(data) > BLOCK_BYTES_MAX:
        raise MalformedError(f"a block has at most {BLOCK_BYTES_MAX} bytes, not {len(data)}")
    if not matches(cid, data):
        raise MalformedError(f"the bytes do not hash to {cid_text(cid)}")


class SmallBlocks:
    """All blocks of one store that are not segments of a declared rendition."""

    def __init__(self, *, index: StoreIndex, pins: Pins, engine: BlobEngine) -> None:
        self._index = index
        self._pins = pins
        self._engine = engine
        self._structure_lock = trio.Lock()

    async def has(self, cid: Cid) -> bool:
        """Return whether a small block is here."""
        return await self._index.block.get(cid) is not None

    async def known(self, cids: Sequence[Cid]) -> set[Cid]:
        """Return those of the blocks that are here."""
        rows = await self._index.block.get_many(cids)
        return {cid for cid, row in zip(cids, rows, strict=True) if row is not None}

    async def put(self, cid: Cid, data: bytes) -> None:
        """Store a verified block durably; idempotent, and a damaged one is replaced.

        Raises:
            DiskFullError: the disk has no room; nothing was stored.
            StorageError: the disk refused; nothing was stored.
        """
        try:
            if await self.get(cid) is not None:
                return
        except BlockDamagedError:
            log.warning("a damaged block is written again", extra={"context": {"cid": cid_text(cid)}})
        await self._insert_all({cid: data})

    async def put_new(self, blocks: Mapping[Cid, bytes]) -> None:
        """Store verified blocks, of which those are left alone that are here; inline ones in one write.

        Raises:
            DiskFullError, StorageError: the disk refused; none was stored.
        """
        await self._insert_all(blocks)

    async def get(self, cid: Cid) -> bytes | None:
        """Return a block's verified bytes, None if it is not here.

        Raises:
            BlockDamagedError: it is damaged, and gone from now on.
        """
        row_data = await self._index.block.get(cid)
        if row_data is None:
            return None
        row = decode_row(BlockRow, row_data)
        data = row.data if row.data is not None else await self._engine.load(cid, row.size_bytes)
        if data is None or not matches(cid, data):
            await self.remove(cid)
            raise BlockDamagedError(f"block {cid_text(cid)} was damaged on disk: fetch it again")
        return data

    async def remove(self, cid: Cid, *, allows: Callable[[HoldingRow], bool] | None = None) -> int:
        """Remove a block: index first, then the file. Return its charge, 0 if it is not here.

        Args:
            cid: the block.
            allows: looks at the holding as it is at that moment; False leaves everything as it is.
        """
        with trio.CancelScope(shield=True):
            async with self._structure_lock:
                async with self._index.changing() as change:
                    row_data = await self._index.block.get(cid)
                    holding = await self._index.holding.get(cid)
                    if row_data is None:
                        return 0
                    if allows is not None and (
                        holding is None or not allows(decode_row(HoldingRow, holding))
                    ):
                        return 0
                    row = decode_row(BlockRow, row_data)
                    change.delete(self._index.block, cid)
                    self._engine.leave(change, [cid])
                    change.totals.blocks -= 1
                    change.totals.payload_bytes -= row.size_bytes
                    charge = await self._pins.dismiss(change, cid)
                await self._engine.remove(cid, is_inline=row.data is not None)
        return charge

    async def _insert_all(self, blocks: Mapping[Cid, bytes]) -> None:
        async with self._engine.holding(list(blocks)):
            staged = await self._engine.stage(blocks)
            with trio.CancelScope(shield=True):
                async with self._structure_lock, self._index.changing() as change:
                    known = await self.known(list(blocks))
                    if len(known) == len(blocks):
                        await staged.discard()
                        return
                    await staged.install()
                    for cid, data in blocks.items():
                        if cid not in known:
                            inline = data if len(data) <= INLINE_BYTES_MAX else None
                            await self._insert(change, cid, BlockRow(len(data), inline))

    async def _insert(self, change: Change, cid: Cid, row: BlockRow) -> None:
        change.put(self._index.block, cid, encode_record(row))
        await self._pins.admit(change, cid, block_charge(row.size_bytes), is_rendition=False)
        change.totals.blocks += 1
        change.totals.payload_bytes += row.size_bytes
