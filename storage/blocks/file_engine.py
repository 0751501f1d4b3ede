"""The engine on this machine's disk: sparse files for renditions, a file for each larger small block."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from marina.cid import Cid, cid_text
from storage.blocks.index import Change, StoreIndex
from storage.blocks.rendition_file import STAGING, SparseFiles, load_segments, store_segments
from storage.blocks.rows import INLINE_BYTES_MAX
from storage.blocks.sweep import clear_staging, sweep
from storage.blocks.threads import DiskThreads
from storage.blocks.writer import PART_SUFFIX, StagedFile
from storage.content.layout import RenditionLayout
from storage.errors import StorageError
from storage.file_ops import Buffer, FileOps, read_whole, translated, write_all
from storage.quota import Quota

BLOCK_SUFFIX = ".blk"


class FileEngine:
    """Files below one directory (see the BlobEngine protocol).

    A small block up to ``INLINE_BYTES_MAX`` lies in the index alone.
    """

    name = "embedded"

    def __init__(
        self, *, directory: Path, index: StoreIndex, ops: FileOps, quota: Quota, threads: DiskThreads
    ) -> None:
        self._directory = directory
        self._index = index
        self._ops = ops
        self._quota = quota
        self._threads = threads
        self._files = SparseFiles(directory, ops)
        self._block_files = SparseFiles(directory, ops, suffix=BLOCK_SUFFIX)

    def free_bytes(self) -> int:
        """Return what the file system has left."""
        return self._ops.free_bytes(self._directory)

    async def open(self, *, is_index_whole: bool) -> int:
        """Remove staging files, and files that the index does not name."""
        removed = await clear_staging(self._directory, self._ops, self._threads)
        if is_index_whole:
            files = (self._files, self._block_files)
            removed += await sweep(self._index, files, self._ops, self._threads)
        return removed

    async def close(self) -> None:
        """Close the files."""
        for files in (self._files, self._block_files):
            await self._threads.write(files.close)

    async def keep_up(self) -> None:
        """Nothing waits: files are removed at once."""

    @asynccontextmanager
    async def holding(self, _cids: Sequence[Cid]) -> AsyncIterator[None]:
        """Nothing to do: files are removed under the lock that rows are written under."""
        yield

    def leave(self, change: Change, cids: Sequence[Cid]) -> None:
        """Nothing to note: after a crash the sweep finds files without rows."""

    async def stage(self, blocks: Mapping[Cid, bytes]) -> StagedBlockFiles:
        """Write the larger blocks to synced files under passing names."""
        large = {cid: data for cid, data in blocks.items() if len(data) > INLINE_BYTES_MAX}
        staged = StagedBlockFiles(self._block_files, self._ops, self._threads)
        for cid, data in large.items():
            staged.paths[cid] = await self._threads.sync(partial(self._write_part, data))
        return staged

    async def load(self, cid: Cid, size_bytes: int) -> bytes | None:
        """Read a block's file."""
        return await self._threads.read(lambda: self._read(cid, size_bytes))

    async def remove(self, cid: Cid, *, is_inline: bool) -> None:
        """Remove a block's file."""
        if not is_inline:
            await self._threads.write(lambda: _remove(self._block_files, cid, "remove a block"))

    async def store_tree(self, nodes: Sequence[tuple[Cid, bytes]]) -> None:
        """Nothing to store: the index holds them."""

    async def store_segments(self, layout: RenditionLayout, segments: Sequence[tuple[int, Buffer]]) -> None:
        """Write segments to their places in one thread hop."""

        def store() -> None:
            self._quota.check_disk(sum(len(data) for _, data in segments))
            store_segments(self._files, self._ops, layout, segments)

        await self._threads.write(store)

    async def load_segments(self, layout: RenditionLayout, indices: Sequence[int]) -> list[bytes | None]:
        """Read segments in one thread hop."""
        return await self._threads.read(lambda: load_segments(self._files, self._ops, layout, indices))

    async def sync(self, root: Cid) -> None:
        """Sync a rendition's file."""

        def sync() -> None:
            with translated("make segments durable"):
                self._files.sync(root)

        await self._threads.sync(sync)

    async def upload(self, staged: StagedFile, _layout: RenditionLayout) -> None:
        """Sync the staging file: it is the rendition."""
        await self._threads.sync(staged.sync)

    async def install(self, staged: StagedFile, root: Cid) -> None:
        """Rename the staging file."""

        def install() -> None:
            with translated("give a rendition its place"):
                self._files.install(staged.path, root)

        await self._threads.sync(install)

    async def finish(self, staged: StagedFile) -> None:
        """Close it: its file has a new name."""
        staged.end_adopted()

    async def remove_rendition(self, root: Cid) -> None:
        """Remove a rendition's file."""
        await self._threads.write(lambda: _remove(self._files, root, "remove a rendition"))

    async def vacate(self, name: Cid, _parts: Sequence[Cid]) -> None:
        """Remove the file."""
        for files in (self._files, self._block_files):
            await self._threads.write(partial(_remove, files, name, "remove what was moved"))

    def _write_part(self, data: bytes) -> Path:
        path = self._directory / STAGING / (secrets.token_hex(16) + PART_SUFFIX)
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

    def _read(self, cid: Cid, size_bytes: int) -> bytes | None:
        try:
            with self._block_files.opened(cid) as fd:
                return read_whole(self._ops, fd, size_bytes, 0)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise StorageError(f"block {cid_text(cid)} cannot be read: {err.strerror}") from err


class StagedBlockFiles:
    """Synced files under passing names (see the StagedBlocks protocol)."""

    def __init__(self, files: SparseFiles, ops: FileOps, threads: DiskThreads) -> None:
        self.paths: dict[Cid, Path] = {}
        self._files = files
        self._ops = ops
        self._threads = threads

    async def install(self) -> None:
        """Rename them."""
        for cid, path in self.paths.items():
            await self._threads.sync(partial(self._install, path, cid))

    async def discard(self) -> None:
        """Remove them."""
        for path in self.paths.values():
            await self._threads.write(partial(self._ops.unlink, path))

    def _install(self, path: Path, cid: Cid) -> None:
        with translated("store a block"):
            self._files.install(path, cid)


def _remove(files: SparseFiles, cid: Cid, what: str) -> None:
    with translated(what):
        files.remove(cid)
