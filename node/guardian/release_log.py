"""Every release, on disk before the share leaves: by licence and device, so that devices can be counted."""

from __future__ import annotations

from dataclasses import dataclass

from marina.schema import U64, Bytes32, decode_record, encode_record, record
from storage.kv import KeyValueStore, Table

WINDOW_S = 30 * 86_400
"""Devices of a licence are counted over so long (design, security §1.7 step 8)."""
_DEVICES_READ_MAX = 64
_PRUNE_PAGE = 500
_KEEP_S = 2 * WINDOW_S


@record("marina/guardian/release/1")
@dataclass(frozen=True, slots=True)
class _Row:
    licence: Bytes32
    peer: Bytes32
    time_s: U64
    block: U64
    block_hash: Bytes32
    count: U64
    is_lost: bool


@dataclass(frozen=True, slots=True)
class Release:
    """One share or key that was released.

    Attributes:
        licence: id of the licence that it was released for.
        peer: Ed25519 key of the device.
        time_s: Unix seconds.
        block: number of the block in which the licence was seen.
        block_hash: of that block.
        is_lost: a re-organisation took the licence away afterwards.
    """

    licence: bytes
    peer: bytes
    time_s: int
    block: int
    block_hash: bytes
    is_lost: bool = False


class ReleaseLog:
    """One row for each licence and device, the newest release of it."""

    def __init__(self, store: KeyValueStore) -> None:
        self._table = Table(store, "guardian-releases")

    async def may(self, licence: bytes, peer: bytes, *, now_s: int, devices_max: int) -> bool:
        """Return whether a device may be served: it was lately, or fewer than so many others were."""
        others = 0
        for _, value in await self._table.scan(licence, limit=_DEVICES_READ_MAX):
            row = decode_record(_Row, value)
            if row.time_s + WINDOW_S > now_s:
                if row.peer == peer:
                    return True
                others += 1
        return others < devices_max

    async def append(self, release: Release) -> None:
        """Write a release down, durably; StorageError if the disk refuses."""
        old = await self._table.get(release.licence + release.peer)
        await self._put(release, 1 if old is None else decode_record(_Row, old).count + 1)

    async def note(self, release: Release) -> None:
        """Write down what became of a release that is in the log: another block, or a lost licence."""
        old = await self._table.get(release.licence + release.peer)
        if old is not None:
            await self._put(release, decode_record(_Row, old).count)

    async def since(self, block: int, *, limit: int) -> list[Release]:
        """Return releases for licences that were seen at a block or later, lost ones apart."""
        found: list[Release] = []
        after = b""
        while len(found) < limit:
            page = await self._table.scan(after=after, limit=_PRUNE_PAGE)
            for _, value in page:
                row = decode_record(_Row, value)
                if row.block >= block and not row.is_lost:
                    found.append(Release(row.licence, row.peer, row.time_s, row.block, row.block_hash))
            if len(page) < _PRUNE_PAGE:
                break
            after = page[-1][0]
        return found[:limit]

    async def prune(self, now_s: int) -> int:
        """Forget what is older than two windows; return how many rows that were."""
        removed = 0
        after = b""
        while True:
            page = await self._table.scan(after=after, limit=_PRUNE_PAGE)
            old = {key: None for key, value in page if decode_record(_Row, value).time_s + _KEEP_S < now_s}
            if old:
                await self._table.write(old)
                removed += len(old)
            if len(page) < _PRUNE_PAGE:
                return removed
            after = page[-1][0]

    async def totals(self) -> tuple[int, int]:
        """Return (releases, devices) of the rows that are kept."""
        releases = devices = 0
        after = b""
        while True:
            page = await self._table.scan(after=after, limit=_PRUNE_PAGE)
            devices += len(page)
            releases += sum(decode_record(_Row, value).count for _, value in page)
            if len(page) < _PRUNE_PAGE:
                return releases, devices
            after = page[-1][0]

    async def _put(self, each: Release, count: int) -> None:
        row = _Row(each.licence, each.peer, each.time_s, each.block, each.block_hash, count, each.is_lost)
        await self._table.put(each.licence + each.peer, encode_record(row))
