"""Every release, on disk before the share leaves: by licence and device, so that devices can be counted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

import trio

from marina.errors import MalformedError
from marina.schema import U64, Bytes32, decode_record, encode_record, record
from storage.errors import StorageError
from storage.kv import KeyValueStore, Table

WINDOW_S = 30 * 86_400
"""Devices of a licence are counted over so long (design, security §1.7 step 8)."""
_DEVICES_READ_MAX = 64
_PAGE = 500
_KEEP_S = 2 * WINDOW_S
_RECENT_MAX = 4096
_LOCKS = 64


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
        # Two devices of one licence may not both be the sixth.
        self._locks = [trio.Lock() for _ in range(_LOCKS)]
        self._recent: OrderedDict[bytes, Release] | None = None

    async def admit(self, release: Release, *, devices_max: int) -> bool:
        """Write a release down, durably, and return True; False if its licence has enough other devices.

        Raises:
            StorageError: the disk refuses it, or a row is damaged; nothing is written then.
        """
        key = release.licence + release.peer
        async with self._locks[release.licence[0] % _LOCKS]:
            others, count = 0, 0
            for _, value in await self._table.scan(release.licence, limit=_DEVICES_READ_MAX):
                row = _row(value)
                if row.peer == release.peer:
                    count = row.count
                elif row.time_s + WINDOW_S > release.time_s:
                    others += 1
            if others >= devices_max:
                return False
            await self._put(key, release, count + 1)
        return True

    async def note(self, release: Release) -> None:
        """Write down what became of a release that is in the log: another block, or a lost licence."""
        key = release.licence + release.peer
        async with self._locks[release.licence[0] % _LOCKS]:
            old = await self._table.get(key)
            if old is not None and _row(old).time_s == release.time_s:  # no newer one took its place
                await self._put(key, release, _row(old).count)

    async def since(self, time_s: int) -> list[Release]:
        """Return the newest releases from a Unix second on, a few thousand, lost ones apart."""
        if self._recent is None:
            self._recent = await self._newest()
        return [each for each in self._recent.values() if each.time_s >= time_s and not each.is_lost]

    async def prune(self, now_s: int) -> int:
        """Forget what is older than two windows; return how many rows that were."""
        old: list[bytes] = []
        await self._each(lambda key, row: old.append(key) if row.time_s + _KEEP_S < now_s else None)
        for start in range(0, len(old), _PAGE):
            await self._table.write(dict.fromkeys(old[start : start + _PAGE]))
        return len(old)

    async def totals(self) -> tuple[int, int]:
        """Return (releases, devices) of the rows that are kept."""
        releases = devices = 0

        def add(_: bytes, row: _Row) -> None:
            nonlocal releases, devices
            releases, devices = releases + row.count, devices + 1

        await self._each(add)
        return releases, devices

    async def _newest(self) -> OrderedDict[bytes, Release]:
        found: list[tuple[int, bytes, Release]] = []

        def add(key: bytes, row: _Row) -> None:
            found.append((row.time_s, key, _release(row)))
            if len(found) >= 2 * _RECENT_MAX:
                found.sort(key=itemgetter(0))
                del found[:-_RECENT_MAX]

        await self._each(add)
        found.sort(key=itemgetter(0))
        return OrderedDict((key, release) for _, key, release in found[-_RECENT_MAX:])

    async def _each(self, visit: Callable[[bytes, _Row], None]) -> None:
        after = b""
        while True:
            page = await self._table.scan(after=after, limit=_PAGE)
            for key, value in page:
                visit(key, _row(value))
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    async def _put(self, key: bytes, each: Release, count: int) -> None:
        row = _Row(each.licence, each.peer, each.time_s, each.block, each.block_hash, count, each.is_lost)
        await self._table.put(key, encode_record(row))
        if self._recent is not None:
            self._recent[key] = each
            self._recent.move_to_end(key)
            if len(self._recent) > _RECENT_MAX:
                self._recent.popitem(last=False)


def _row(value: bytes) -> _Row:
    try:
        return decode_record(_Row, value)
    except MalformedError as err:
        raise StorageError("the log of released keys is damaged: restore the node's database") from err


def _release(row: _Row) -> Release:
    return Release(row.licence, row.peer, row.time_s, row.block, row.block_hash, row.is_lost)
