"""Worker threads of the block store, in separate lanes so that playback never waits for writers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")


class DiskThreads:
    """Runs blocking calls: up to 4 reads, 2 writes and 2 syncs at a time."""

    def __init__(self) -> None:
        self._reads = trio.CapacityLimiter(4)
        self._writes = trio.CapacityLimiter(2)
        self._syncs = trio.CapacityLimiter(2)

    async def read(self, call: Callable[[], T]) -> T:
        """Return what a reading call returns."""
        return await trio.to_thread.run_sync(call, limiter=self._reads)

    async def write(self, call: Callable[[], T]) -> T:
        """Return what a writing call returns."""
        return await trio.to_thread.run_sync(call, limiter=self._writes)

    async def sync(self, call: Callable[[], T]) -> T:
        """Return what a call returns that waits for the disk itself."""
        return await trio.to_thread.run_sync(call, limiter=self._syncs)
