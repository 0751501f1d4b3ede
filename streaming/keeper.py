"""Verifies what peers sent and keeps it: on the disk, or in memory when the disk refuses."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence

import trio

from marina.errors import MalformedError, MarinaError, NotFoundError
from storage.blocks.protocol import BlockStore
from storage.content.layout import RenditionLayout
from storage.errors import StorageError
from storage.file_ops import Buffer

log = logging.getLogger("marina.streaming")
RECENT_BYTES = 8 * 1024 * 1024
"""Ciphertext kept at hand beside the disk while fetching: several peers deliver out of order, and a reader
that follows them closely needs no read."""
MEMORY_BYTES = 16 * 1024 * 1024
"""Ciphertext kept where the disk refuses: minutes of sound, and never the whole file."""


class SegmentKeeper:
    """The segments of one rendition on this node.

    When quota or disk refuse, or somebody deletes the rendition under a player, the song goes on from
    memory and ``refusal`` says why.
    """

    def __init__(self, layout: RenditionLayout, blocks: BlockStore) -> None:
        self._layout = layout
        self._blocks = blocks
        self._recent: OrderedDict[int, Buffer] = OrderedDict()
        self._recent_bytes = 0
        self._only_in_memory: set[int] = set()
        self.refusal: MarinaError | None = None

    async def open(self) -> frozenset[int]:
        """Reserve the room and return which segments are here already.

        Raises:
            MalformedError: the root is not the root of these segments.
        """
        try:
            await self._blocks.declare(self._layout)
        except StorageError as err:
            self._play_from_memory(err)
        return await self._blocks.have(self._layout.root)

    async def keep(self, segments: Sequence[tuple[int, Buffer]]) -> list[bool]:
        """Store segments and return which are sound; the others are thrown away.

        A batch without a corrupt segment costs one thread hop, in which the store verifies it.
        """
        flags = [True] * len(segments)
        if not await self._store(segments):
            flags = await trio.to_thread.run_sync(self._are_sound, segments)
            sound = [each for each, is_sound in zip(segments, flags, strict=True) if is_sound]
            if not all(flags) and sound and not await self._store(sound):
                log.debug("the sound part of a batch stays in memory")
        for (index, data), is_sound in zip(segments, flags, strict=True):
            if is_sound:
                self._remember(index, data)
        return flags

    def forgotten(self) -> list[int]:
        """Return segments that were only in memory and had to go since the last call."""
        gone = [index for index in self._only_in_memory if index not in self._recent]
        self._only_in_memory.difference_update(gone)
        return gone

    def relax(self) -> None:
        """Let go what is at hand when all of it is on the disk too."""
        if self.refusal is None:
            self._recent.clear()
            self._recent_bytes = 0

    async def read(self, index: int) -> Buffer | None:
        """Return a verified segment, None where it is missing or damaged."""
        recent = self._recent.get(index)
        if recent is not None:
            self._recent.move_to_end(index)
            return recent
        try:
            (data,) = await self._blocks.get_segments(self._layout.root, [index])
        except StorageError as err:
            log.warning("a stored segment cannot be read and is fetched anew: %s", err)
            return None
        return data

    async def flush(self) -> None:
        """Make durable what was kept.

        Raises:
            StorageError, NotFoundError: the store refused something, now or earlier.
        """
        if self.refusal is not None:
            raise self.refusal
        await self._blocks.flush(self._layout.root)

    async def close(self) -> None:
        """Make durable what can be; never fails, because playing is over."""
        if self.refusal is None:
            try:
                await self._blocks.flush(self._layout.root)
            except (StorageError, NotFoundError) as err:
                log.warning("the last segments of a song may be lost: %s", err)

    async def _store(self, segments: Sequence[tuple[int, Buffer]]) -> bool:
        """Return whether the store took, and so verified, all of them."""
        if self.refusal is not None:
            return False
        try:
            await self._blocks.put_segments(self._layout.root, segments)
        except MalformedError:
            return False
        except (StorageError, NotFoundError) as err:
            self._play_from_memory(err)
            return False
        return True

    def _are_sound(self, segments: Sequence[tuple[int, Buffer]]) -> list[bool]:
        return [hashlib.sha256(data).digest() == self._layout.digest(index) for index, data in segments]

    def _play_from_memory(self, err: MarinaError) -> None:
        self.refusal = err
        log.warning("playing from memory: %s", err)

    def _remember(self, index: int, data: Buffer) -> None:
        if self.refusal is not None:
            self._only_in_memory.add(index)
        if index in self._recent:
            return
        self._recent[index] = data
        self._recent_bytes += len(data)
        limit = RECENT_BYTES if self.refusal is None else MEMORY_BYTES
        while self._recent_bytes > limit:
            _, dropped = self._recent.popitem(last=False)
            self._recent_bytes -= len(dropped)
