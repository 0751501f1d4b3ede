"""Where the bytes of a store lie: on this disk, or in a Kubo node.

The index says what counts, an engine keeps bytes. Whatever an engine holds beyond the index is
rubbish that it removes in its own time; what the index names must be in the engine, durably.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from marina.cid import Cid
from storage.blocks.index import Change
from storage.blocks.writer import StagedFile
from storage.content.layout import RenditionLayout
from storage.file_ops import Buffer


class StagedBlocks(Protocol):
    """Blocks that are durable and have no place yet."""

    async def install(self) -> None:
        """Give them their places; StorageError if the disk refuses."""
        ...

    async def discard(self) -> None:
        """Give up what has no place; StorageError if the disk refuses."""
        ...


class BlobEngine(Protocol):
    """Keeps the bytes of renditions and small blocks. Every call may raise StorageError.

    Attributes:
        name: which engine it is, as the setting ``storage.backend`` and the index say it.
    """

    name: str

    def free_bytes(self) -> int:
        """Return the room that is left where the bytes go, as far as that is known here."""
        ...

    async def open(self, *, is_index_whole: bool) -> int:
        """Remove what a crash left behind; return how many leftovers there were.

        Behind a repaired index nothing that might have a place is removed.
        """
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...

    async def keep_up(self) -> None:
        """Do what could not be done at once; called each minute."""
        ...

    def holding(self, cids: Sequence[Cid], /) -> AbstractAsyncContextManager[None]:
        """Keep the engine from removing these blocks while they get their rows in the index."""
        ...

    def leave(self, change: Change, cids: Sequence[Cid]) -> None:
        """Note, in the change that takes their rows away, that blocks are rubbish from now on."""
        ...

    async def stage(self, blocks: Mapping[Cid, bytes]) -> StagedBlocks:
        """Store small blocks durably."""
        ...

    async def load(self, cid: Cid, size_bytes: int) -> bytes | None:
        """Return the bytes of a small block that the index does not hold, None if they are gone."""
        ...

    async def remove(self, cid: Cid, *, is_inline: bool) -> None:
        """Remove a small block that the index named until now."""
        ...

    async def store_tree(self, nodes: Sequence[tuple[Cid, bytes]]) -> None:
        """Store the nodes of a rendition's tree, where others read them from the engine itself."""
        ...

    async def store_segments(self, layout: RenditionLayout, segments: Sequence[tuple[int, Buffer]]) -> None:
        """Verify segments and store them, durably after ``sync``; MalformedError if one is wrong."""
        ...

    async def load_segments(self, layout: RenditionLayout, indices: Sequence[int]) -> list[bytes | None]:
        """Return verified segments, None for one that is damaged or gone."""
        ...

    async def sync(self, root: Cid) -> None:
        """Make all segments of a rendition durable; when it raises, none since the last sync is."""
        ...

    async def upload(self, staged: StagedFile, layout: RenditionLayout, /) -> None:
        """Make the bytes of a whole rendition durable."""
        ...

    async def install(self, staged: StagedFile, root: Cid) -> None:
        """Give them their place."""
        ...

    async def finish(self, staged: StagedFile) -> None:
        """End a staging file that was installed, or whose bytes have their place already."""
        ...

    async def remove_rendition(self, root: Cid) -> None:
        """Remove the segments of a rendition that the index named until now."""
        ...

    async def vacate(self, name: Cid, parts: Sequence[Cid], /) -> None:
        """Remove what lives in another engine from now on: a rendition by its root, or a small block."""
        ...
