"""Small blocks: manifests, keyboxes, artwork, posts, foreign blocks up to 2 MiB.

Up to 16 KiB lie inside LevelDB; a larger one is a file of its own, written under a passing name,
synced, renamed, and only then named by the index.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import trio

from marina.cid import Cid, cid_text, matches
from marina.errors import MalformedError
from marina.schema import encode_record
from storage.blocks.index import Change, StoreIndex
from storage.blocks.protocol import BLOCK_BYTES_MAX
from storage.blocks.rendition_file import SparseFiles
from storage.blocks.rows import INLINE_BYTES_MAX, BlockRow, HoldingRow, decode_row
from storage.blocks.threads import DiskThreads
from storage.blocks.writer import PART_SUFFIX
from storage.errors import BlockDamagedError, StorageError
from storage.file_ops import FileOps, read_whole, translated, write_all
from storage.pins import Pins
from storage.quota import block_charge

BLOCK_SUFFIX = ".blk"
log = logging.getLogger("marina.storage")


def check_block(cid: Cid, data: bytes) -> None:
    """Return if bytes are a block and have this CID; MalformedError otherwise."""
    if len(data) > BLOCK_BYTES_MAX:
        raise MalformedError(f"a block has at most {BLOCK_BYTES_MAX} bytes, not {len(data)}")
    if not matches(cid, data):
        raise MalformedError(f"the bytes do not hash to {cid_text(cid)}")


class SmallBlocks:
    """All blocks of one store that are not segments of a declared rendition."""

    def __init__(
        self,
        *,
        index: StoreIndex,
        pins: Pins,
        files: SparseFiles,
        staging: Path,
        ops: FileOps,
        threads: DiskThreads,
    ) -> None:
        self._index = index
        self._pins = pins
        self._files = files
        self._staging = staging
        self._ops = ops
        self._threads = threads
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
        is_inline = len(data) <= INLINE_BYTES_MAX
        staged = None if is_inline else await self._threads.sync(lambda: self._stage(data))
        with trio.CancelScope(shield=True):
            async with self._structure_lock, self._index.changing() as change:
                if await self.has(cid):
                    if staged is not None:
                        await self._threads.write(lambda: self._ops.unlink(staged))
                    return
                if staged is not None:
                    await self._threads.sync(lambda: self._install(staged, cid))
                await self._insert(change, cid, BlockRow(len(data), data if is_inline else None))

    async def put_inline(self, blocks: Mapping[Cid, bytes]) -> None:
        """Store verified blocks of at most ``INLINE_BYTES_MAX`` with one durable write.

        Raises:
            DiskFullError, StorageError: the disk refused; none was stored.
        """
        with trio.CancelScope(shield=True):
            async with self._structure_lock, self._index.changing() as change:
                known = await self.known(list(blocks))
                for cid, data in blocks.items():
                    if cid not in known:
                        await self._insert(change, cid, BlockRow(len(data), data))

    async def get(self, cid: Cid) -> bytes | None:
        """Return a block's verified bytes, None if it is not here.

        Raises:
            BlockDamagedError: it is damaged, and gone from now on.
        """
        row_data = await self._index.block.get(cid)
        if row_data is None:
            return None
        row = decode_row(BlockRow, row_data)
        data = row.data if row.data is not None else await self._threads.read(lambda: self._load(cid, row))
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
                    change.totals.blocks -= 1
                    change.totals.payload_bytes -= row.size_bytes
                    charge = await self._pins.dismiss(change, cid)
                if row.data is None:
                    await self._threads.write(lambda: self._unlink(cid))
        return charge

    async def _insert(self, change: Change, cid: Cid, row: BlockRow) -> None:
        change.put(self._index.block, cid, encode_record(row))
        await self._pins.admit(change, cid, block_charge(row.size_bytes), is_rendition=False)
        change.totals.blocks += 1
        change.totals.payload_bytes += row.size_bytes

    def _stage(self, data: bytes) -> Path:
        path = self._staging / (secrets.token_hex(16) + PART_SUFFIX)
        with translated("store a block"):
            fd = self._ops.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                write_all(self._ops, fd, data, 0)
                self._ops.fdatasync(fd)
            except OSError:
                self._ops.unlink(path)
                raise
            finally:
                self._ops.close(fd)
        return path

    def _install(self, staged: Path, cid: Cid) -> None:
        with translated("store a block"):
            self._files.install(staged, cid)

    def _load(self, cid: Cid, row: BlockRow) -> bytes | None:
        try:
            with self._files.opened(cid) as fd:
                return read_whole(self._ops, fd, row.size_bytes, 0)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise StorageError(f"block {cid_text(cid)} cannot be read: {err.strerror}") from err

    def _unlink(self, cid: Cid) -> None:
        with translated("remove a block"):
            self._files.remove(cid)
