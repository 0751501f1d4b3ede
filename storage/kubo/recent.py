"""Blocks that were read or written last, in memory: what is playing goes on when the node is away."""

from __future__ import annotations

from collections import OrderedDict

from marina.cid import Cid

RECENT_BYTES_MAX = 32 * 1024 * 1024
"""More than a minute of the best tier, and a few seconds of every song of an album."""


class RecentBlocks:
    """The last used blocks, up to ``bytes_max`` of them."""

    def __init__(self, bytes_max: int = RECENT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._blocks: OrderedDict[Cid, bytes] = OrderedDict()

    def get(self, cid: Cid) -> bytes | None:
        """Return a block that was used lately."""
        data = self._blocks.get(cid)
        if data is not None:
            self._blocks.move_to_end(cid)
        return data

    def add(self, cid: Cid, data: bytes) -> None:
        """Note a block; the longest unused ones go."""
        if cid not in self._blocks:
            self._bytes += len(data)
            self._blocks[cid] = data
        self._blocks.move_to_end(cid)
        while self._bytes > self._bytes_max:
            _, dropped = self._blocks.popitem(last=False)
            self._bytes -= len(dropped)

    def drop(self, cid: Cid) -> None:
        """Forget a block."""
        data = self._blocks.pop(cid, None)
        if data is not None:
            self._bytes -= len(data)
