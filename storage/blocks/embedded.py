"""The block store on this machine's disk: the default implementation of the BlockStore protocol."""

from __future__ import annotations

from pathlib import Path

from marina.clock import Clock, SystemClock
from storage.blocks.file_engine import FileEngine
from storage.blocks.index import StoreIndex
from storage.blocks.indexed import IndexedBlockStore
from storage.blocks.rendition_file import STAGING
from storage.blocks.threads import DiskThreads
from storage.file_ops import FileOps, PosixFileOps
from storage.kv import KeyValueStore
from storage.quota import Quota


class EmbeddedBlockStore(IndexedBlockStore):
    """Blocks in ``directory``, their index in a key-value store."""

    def __init__(
        self,
        *,
        kv: KeyValueStore,
        directory: Path,
        quota: Quota,
        clock: Clock | None = None,
        ops: FileOps | None = None,
    ) -> None:
        """Wire the parts; no I/O.

        Args:
            kv: the node's state; this store uses tables of its own in it.
            directory: ``<home>/blobs``.
            quota: the limit; asks this disk for free room unless it has a source of its own.
            clock: for last access and the end of pins.
            ops: file calls.
        """
        ops = ops or PosixFileOps()
        index, threads = StoreIndex(kv, quota), DiskThreads()
        super().__init__(
            index=index,
            engine=FileEngine(directory=directory, index=index, ops=ops, quota=quota, threads=threads),
            staging=directory / STAGING,
            quota=quota,
            clock=clock or SystemClock(),
            ops=ops,
            threads=threads,
        )
