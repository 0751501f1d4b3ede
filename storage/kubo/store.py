"""The block store of an operator who outgrew one machine's disk: its bytes are in a Kubo node."""

from __future__ import annotations

from pathlib import Path

from marina.clock import Clock, SystemClock
from storage.blocks.index import StoreIndex
from storage.blocks.indexed import IndexedBlockStore
from storage.blocks.rendition_file import STAGING
from storage.blocks.threads import DiskThreads
from storage.file_ops import FileOps, PosixFileOps
from storage.kubo.engine import KuboEngine
from storage.kubo.rpc import KuboRpc
from storage.kv import KeyValueStore
from storage.quota import Quota


class KuboBlockStore(IndexedBlockStore):
    """Blocks in a Kubo node, their index in a key-value store of this node."""

    def __init__(
        self,
        *,
        kv: KeyValueStore,
        directory: Path,
        rpc: KuboRpc,
        quota: Quota,
        clock: Clock | None = None,
        ops: FileOps | None = None,
    ) -> None:
        """Wire the parts; no I/O.

        Args:
            kv: the node's state; this store uses tables of its own in it.
            directory: ``<home>/blobs``, where renditions lie while they are being published.
            rpc: the Kubo node. Two Marina nodes do not share one: each would remove blocks of the other.
            quota: the limit on what this store puts there.
            clock: for last access and the end of pins.
            ops: file calls.
        """
        ops = ops or PosixFileOps()
        index, threads, staging = StoreIndex(kv, quota), DiskThreads(), directory / STAGING
        super().__init__(
            index=index,
            engine=KuboEngine(rpc=rpc, index=index, staging=staging, ops=ops, threads=threads),
            staging=staging,
            quota=quota,
            clock=clock or SystemClock(),
            ops=ops,
            threads=threads,
        )
