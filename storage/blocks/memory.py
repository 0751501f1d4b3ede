"""The memory twin of the embedded store: the same behaviour, gone with the object.

For tests of everything above storage and for simulations; a hard quota, no pins, no eviction.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import trio

from marina.cid import Cid, cid_text, matches
from marina.errors import MalformedError
from storage.blocks.protocol import RenditionWriter, StoreStat
from storage.blocks.renditions import PreparedRendition, prepare
from storage.blocks.rows import decode_part
from storage.blocks.small import check_block
from storage.content.layout import RenditionLayout
from storage.errors import BlockDamagedError, BlockNotFoundError, QuotaExceededError, StorageError
from storage.file_ops import Buffer
from storage.quota import Quota, block_charge, rendition_charge_max


class _Rendition:
    def __init__(self, prepared: PreparedRendition) -> None:
        self.layout = prepared.layout
        self.charge_bytes = prepared.row.charge_bytes
        self.segments: dict[int, bytes] = {}
        self.parts = {cid: decode_part(value) for cid, value in prepared.parts}


class MemoryBlockStore:
    """Blocks in dictionaries."""

    def __init__(self, quota_bytes: int) -> None:
        self._quota = Quota(quota_bytes)
        self._small: dict[Cid, bytes] = {}
        self._renditions: dict[Cid, _Rendition] = {}
        self._charged_bytes = 0

    async def declare(self, layout: RenditionLayout) -> None:
        """Reserve a place for a rendition."""
        await trio.lowlevel.checkpoint()
        if layout.root not in self._renditions:
            prepared = prepare(layout)
            self._charge(prepared.row.charge_bytes)
            self._renditions[layout.root] = _Rendition(prepared)

    async def layout(self, root: Cid) -> RenditionLayout | None:
        """Return the layout of a declared rendition."""
        await trio.lowlevel.checkpoint()
        rendition = self._renditions.get(root)
        return None if rendition is None else rendition.layout

    async def put(self, cid: Cid, data: bytes) -> None:
        """Store one block."""
        await trio.lowlevel.checkpoint()
        check_block(cid, data)
        places = self._places(cid)
        for rendition, part in places:
            if isinstance(part, int):
                rendition.segments[part] = bytes(data)
        if not places and cid not in self._small:
            self._charge(block_charge(len(data)))
            self._small[cid] = bytes(data)

    async def put_many(self, blocks: Mapping[Cid, bytes]) -> None:
        """Store blocks."""
        for cid, data in blocks.items():
            await self.put(cid, data)

    async def put_segments(self, root: Cid, segments: Sequence[tuple[int, Buffer]]) -> None:
        """Store segments of a declared rendition."""
        await trio.lowlevel.checkpoint()
        rendition = self._need(root)
        layout = rendition.layout
        for index, data in segments:
            if not 0 <= index < layout.plan.count or not matches(layout.cid(index), data):
                raise MalformedError(f"segment {index} does not hash to its CID")
        rendition.segments.update((index, bytes(data)) for index, data in segments)

    async def flush(self, root: Cid) -> None:
        """Nothing outlives the object; only an undeclared rendition is an error."""
        await trio.lowlevel.checkpoint()
        self._need(root)

    async def get(self, cid: Cid) -> bytes:
        """Return a block's verified bytes."""
        await trio.lowlevel.checkpoint()
        is_damaged = False
        data = self._small.get(cid)
        if data is not None:
            if matches(cid, data):
                return data
            self._drop_small(cid)
            is_damaged = True
        for rendition, part in self._places(cid):
            found = part if isinstance(part, bytes) else rendition.segments.get(part)
            if found is not None and matches(cid, found):
                return found
            if found is not None and isinstance(part, int):
                del rendition.segments[part]
                is_damaged = True
        if is_damaged:
            raise BlockDamagedError("the block was damaged and counts as missing: fetch it again")
        raise BlockNotFoundError("the block is not in this store")

    async def get_segments(self, root: Cid, indices: Sequence[int]) -> list[bytes | None]:
        """Return verified ciphertext per index, None where it is missing or damaged."""
        await trio.lowlevel.checkpoint()
        rendition = self._renditions.get(root)
        if rendition is None:
            return [None] * len(indices)
        found: list[bytes | None] = []
        for index in indices:
            data = rendition.segments.get(index)
            if data is not None and not matches(rendition.layout.cid(index), data):
                del rendition.segments[index]
                data = None
            found.append(data)
        return found

    async def has(self, cid: Cid) -> bool:
        """Return whether ``get`` would find the block."""
        await trio.lowlevel.checkpoint()
        return cid in self._small or any(
            isinstance(part, bytes) or part in rendition.segments for rendition, part in self._places(cid)
        )

    async def have(self, root: Cid) -> frozenset[int]:
        """Return the indices of a rendition's segments that are here."""
        await trio.lowlevel.checkpoint()
        rendition = self._renditions.get(root)
        return frozenset() if rendition is None else frozenset(rendition.segments)

    async def delete(self, cid: Cid) -> bool:
        """Remove a block, or a whole rendition when given its root's CID."""
        await trio.lowlevel.checkpoint()
        rendition = self._renditions.pop(cid, None)
        if rendition is not None:
            self._charge(-rendition.charge_bytes)
        is_gone = self._drop_small(cid) or rendition is not None
        if not is_gone:
            for place, part in self._places(cid):
                is_gone = (isinstance(part, int) and place.segments.pop(part, None) is not None) or is_gone
        return is_gone

    async def cids(self) -> AsyncGenerator[Cid, None]:
        """Yield the CID of every block that is here."""
        await trio.lowlevel.checkpoint()
        for cid in list(self._small):
            yield cid
        for rendition in list(self._renditions.values()):
            for cid, part in rendition.parts.items():
                if isinstance(part, bytes) or part in rendition.segments:
                    yield cid

    async def stat(self) -> StoreStat:
        """Return the totals."""
        await trio.lowlevel.checkpoint()
        blocks, used = len(self._small), sum(map(len, self._small.values()))
        for rendition in self._renditions.values():
            nodes = [part for part in rendition.parts.values() if isinstance(part, bytes)]
            blocks += len(nodes) + len(rendition.segments)
            used += sum(map(len, nodes)) + sum(map(len, rendition.segments.values()))
        return StoreStat(
            blocks=blocks,
            renditions=len(self._renditions),
            bytes_used=used,
            bytes_quota=self._quota.limit_bytes,
            bytes_charged=self._quota.charged_bytes,
        )

    async def stage(self, ciphertext_bytes: int) -> RenditionWriter:
        """Return a writer for a rendition of this node's own, its bytes reserved."""
        await trio.lowlevel.checkpoint()
        charge = rendition_charge_max(ciphertext_bytes)
        self._quota.reserve(charge)
        return MemoryWriter(limit_bytes=ciphertext_bytes, release=lambda: self._quota.release(charge))

    async def adopt(self, writer: RenditionWriter, layout: RenditionLayout) -> None:
        """Make a writer's bytes the whole rendition of a layout."""
        if not isinstance(writer, MemoryWriter):
            raise MalformedError("this writer belongs to another store")
        data = writer.take()
        plan = layout.plan
        if len(data) != plan.ciphertext_bytes:
            raise MalformedError(f"the layout has {plan.ciphertext_bytes} bytes, not {len(data)}")
        await self.declare(layout)
        spans = [plan.ciphertext(index) for index in range(plan.count)]
        self._renditions[layout.root].segments = {
            index: data[span.start : span.end] for index, span in enumerate(spans)
        }

    def _charge(self, charge_bytes: int) -> None:
        if charge_bytes > 0:
            self._quota.reserve(charge_bytes)
            self._quota.release(charge_bytes)
        self._charged_bytes += charge_bytes
        self._quota.set_charged(self._charged_bytes)

    def _drop_small(self, cid: Cid) -> bool:
        data = self._small.pop(cid, None)
        if data is not None:
            self._charge(-block_charge(len(data)))
        return data is not None

    def _need(self, root: Cid) -> _Rendition:
        rendition = self._renditions.get(root)
        if rendition is None:
            raise BlockNotFoundError(f"rendition {cid_text(root)} is not declared in this store")
        return rendition

    def _places(self, cid: Cid) -> list[tuple[_Rendition, int | bytes]]:
        return [(each, each.parts[cid]) for each in self._renditions.values() if cid in each.parts]


class MemoryWriter:
    """A RenditionWriter over a bytearray (see the protocol)."""

    def __init__(self, *, limit_bytes: int, release: Callable[[], None]) -> None:
        self._data = bytearray()
        self._limit_bytes = limit_bytes
        self._release: Callable[[], None] | None = release

    @property
    def bytes_written(self) -> int:
        """Bytes taken so far."""
        return len(self._data)

    def append(self, segment: Buffer) -> None:
        """Take the next segment; errors as the protocol says."""
        self._check_open()
        if len(self._data) + len(segment) > self._limit_bytes:
            raise QuotaExceededError(f"more than the {self._limit_bytes} bytes that were reserved")
        self._data += segment

    def sync(self) -> None:
        """Nothing to make durable."""
        self._check_open()

    def take(self) -> bytes:
        """Return all bytes and end the reservation; StorageError a second time."""
        self._check_open()
        data = bytes(self._data)
        self.discard()
        return data

    def discard(self) -> None:
        """Drop the bytes and the reservation; idempotent."""
        release, self._release = self._release, None
        if release is not None:
            release()
            self._data.clear()

    def _check_open(self) -> None:
        if self._release is None:
            raise StorageError("this writer was adopted or discarded already")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.discard()
