"""Reasons to keep blocks: pins with an optional end, leases of running playback, last access.

A pin may be set before its block is here, and ends by itself when it has an end (a pledge). What
has no pin is cache. The order in which room is made is an index of its own, so that making room
costs as much as it evicts.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace

from marina.cid import Cid
from marina.clock import Clock
from marina.schema import encode_record
from storage.blocks.index import Change, StoreIndex, pages
from storage.blocks.rows import (
    HoldingRow,
    PinRow,
    decode_row,
    evict_key,
    pin_end_key,
    pin_key,
    split_evict_key,
    split_pin_end_key,
)
from storage.retention import PROTECTED, Retention

TOUCHES_MAX = 8192
_TOUCH_BATCH = 512
_PAGE = 64
_CLASS_BYTES = 1


@dataclass(frozen=True, slots=True)
class Pin:
    """One reason to keep a CID; ``until_s`` None is for good."""

    retention: Retention
    until_s: int | None


@dataclass(frozen=True, slots=True)
class Holding:
    """What is kept or evicted as a whole.

    Attributes:
        cid: a rendition's root or a small block.
        retention: the highest reason to keep it.
        last_access_s: Unix seconds of the last read, a minute late at most.
        charge_bytes: what it counts against the quota.
        is_rendition: whether it is a rendition.
    """

    cid: Cid
    retention: Retention
    last_access_s: int
    charge_bytes: int
    is_rendition: bool


class Pins:
    """Pins, leases and the order of eviction of one store."""

    def __init__(self, index: StoreIndex, clock: Clock) -> None:
        self._index = index
        self._clock = clock
        self._leases: Counter[Cid] = Counter()
        self._touched: OrderedDict[Cid, int] = OrderedDict()

    async def pin(self, cids: Iterable[Cid], retention: Retention, *, until_s: int | None = None) -> None:
        """Keep blocks or whole renditions for a reason; a second pin of a class replaces the first.

        Args:
            cids: roots of renditions and CIDs of small blocks, here or still to come.
            retention: the reason.
            until_s: Unix seconds at which the reason ends, None for never.
        """
        async with self._index.changing() as change:
            for cid in dict.fromkeys(cids):
                known = await self._rows(cid)
                self._remove(change, cid, known.get(retention), retention)
                known[retention] = PinRow(until_s)
                change.put(self._index.pin, pin_key(cid, retention), encode_record(PinRow(until_s)))
                if until_s is not None:
                    change.put(self._index.pin_end, pin_end_key(until_s, cid, retention), b"")
                await self._reclass(change, cid, self._highest(known))

    async def unpin(self, cid: Cid, retention: Retention) -> bool:
        """End one reason to keep a CID; return whether there was one."""
        async with self._index.changing() as change:
            known = await self._rows(cid)
            row = known.pop(retention, None)
            if row is None:
                return False
            self._remove(change, cid, row, retention)
            await self._reclass(change, cid, self._highest(known))
        return True

    async def reasons(self, cid: Cid) -> list[Pin]:
        """Return the pins of a CID that have not ended, the strongest first."""
        rows = await self._rows(cid)
        now_s = self._clock.now_s()
        live = [Pin(retention, row.until_s) for retention, row in rows.items() if _lives(row, now_s)]
        return sorted(live, key=lambda pin: pin.retention, reverse=True)

    async def retention(self, cid: Cid) -> Retention:
        """Return the class of a CID, here or still to come."""
        return self._highest(await self._rows(cid))

    async def holding(self, cid: Cid) -> Holding | None:
        """Return what is known of something that is kept as a whole."""
        data = await self._index.holding.get(cid)
        return None if data is None else _holding(cid, decode_row(HoldingRow, data))

    async def holdings(self) -> AsyncGenerator[Holding, None]:
        """Yield everything that is kept as a whole, in no meaningful order."""
        async with aclosing(pages(self._index.holding)) as rows:
            async for key, data in rows:
                yield _holding(Cid(key), decode_row(HoldingRow, data))

    async def promised(self) -> AsyncGenerator[Cid, None]:
        """Yield what must be here whole: pledged, licensed, pinned and own CIDs, here or missing."""
        now_s = self._clock.now_s()
        last: Cid | None = None
        async with aclosing(pages(self._index.pin)) as rows:
            async for key, data in rows:
                cid = Cid(key[:-_CLASS_BYTES])
                if cid != last and key[-1] >= Retention.PLEDGED and _lives(decode_row(PinRow, data), now_s):
                    last = cid
                    yield cid

    @contextmanager
    def lease(self, cid: Cid) -> Iterator[None]:
        """Keep a rendition while it plays; leases end with the process."""
        self._leases[cid] += 1
        try:
            yield
        finally:
            self._leases[cid] -= 1
            if not self._leases[cid]:
                del self._leases[cid]

    def is_leased(self, cid: Cid) -> bool:
        """Return whether a rendition plays right now."""
        return cid in self._leases

    def touch(self, cid: Cid) -> None:
        """Note a read; ``flush_touches`` makes it count for eviction after a restart too."""
        self._touched[cid] = self._clock.now_s()
        self._touched.move_to_end(cid)
        if len(self._touched) > TOUCHES_MAX:
            self._touched.popitem(last=False)

    async def flush_touches(self) -> None:
        """Write down all reads noted so far."""
        while self._touched:
            batch = [self._touched.popitem(last=False) for _ in range(min(len(self._touched), _TOUCH_BATCH))]
            await self._settle(batch)

    async def end_pins(self) -> int:
        """Remove pins whose end has come; return how many. Costs as much as it removes."""
        ended = 0
        while True:
            now_s = self._clock.now_s()
            rows = await self._index.pin_end.scan(limit=_PAGE)
            due = [key for key, _ in rows if split_pin_end_key(key)[0] <= now_s]
            for key in due:
                _, cid, retention = split_pin_end_key(key)
                ended += await self.unpin(cid, retention)
            if len(due) < _PAGE:
                return ended

    async def evictable(self, retention: Retention) -> AsyncGenerator[Holding, None]:
        """Yield what may be evicted of one class, the longest unread first, except what is leased."""
        after = b""
        while True:
            rows = await self._index.evict.scan(bytes((retention,)), after=after, limit=_PAGE)
            for key, _ in rows:
                after = key
                _, at_s, cid = split_evict_key(key)
                found = await self.holding(cid)
                if found is None or self.is_leased(cid):
                    continue
                if self._touched.get(cid, 0) > at_s:
                    await self._settle([(cid, self._touched.pop(cid))])
                    continue  # read since; the scan meets it again in its new place
                yield found
            if len(rows) < _PAGE:
                return

    async def admit(self, change: Change, cid: Cid, charge_bytes: int, *, is_rendition: bool) -> None:
        """Add a new holding to a change, in the class that its pins give it."""
        retention = await self.retention(cid)
        row = HoldingRow(int(retention), self._clock.now_s(), charge_bytes, is_rendition)
        change.totals.charged_bytes[retention] += charge_bytes
        self._rewrite(change, cid, None, row)

    async def dismiss(self, change: Change, cid: Cid) -> int:
        """Remove a holding in a change; return its charge. Its pins stay, for when it comes back."""
        data = await self._index.holding.get(cid)
        if data is None:
            return 0
        row = decode_row(HoldingRow, data)
        change.totals.charged_bytes[row.retention] -= row.charge_bytes
        self._rewrite(change, cid, row, None)
        return row.charge_bytes

    async def _settle(self, touches: Iterable[tuple[Cid, int]]) -> None:
        async with self._index.changing() as change:
            for cid, at_s in touches:
                data = await self._index.holding.get(cid)
                if data is not None:
                    row = decode_row(HoldingRow, data)
                    self._rewrite(change, cid, row, replace(row, last_access_s=at_s))

    async def _rows(self, cid: Cid) -> dict[Retention, PinRow]:
        rows = await self._index.pin.scan(cid, limit=len(Retention))
        return {Retention(key[-_CLASS_BYTES]): decode_row(PinRow, data) for key, data in rows}

    def _highest(self, rows: dict[Retention, PinRow]) -> Retention:
        now_s = self._clock.now_s()
        live = [retention for retention, row in rows.items() if _lives(row, now_s)]
        return max(live, default=Retention.SWARM)

    def _remove(self, change: Change, cid: Cid, row: PinRow | None, retention: Retention) -> None:
        if row is None:
            return
        change.delete(self._index.pin, pin_key(cid, retention))
        if row.until_s is not None:
            change.delete(self._index.pin_end, pin_end_key(row.until_s, cid, retention))

    async def _reclass(self, change: Change, cid: Cid, retention: Retention) -> None:
        data = await self._index.holding.get(cid)
        if data is None:
            return
        row = decode_row(HoldingRow, data)
        if row.retention != retention:
            change.totals.charged_bytes[row.retention] -= row.charge_bytes
            change.totals.charged_bytes[retention] += row.charge_bytes
            self._rewrite(change, cid, row, replace(row, retention=int(retention)))

    def _rewrite(self, change: Change, cid: Cid, old: HoldingRow | None, new: HoldingRow | None) -> None:
        """Put a holding row and its place in the order of eviction in step."""
        if old is not None and old.retention not in PROTECTED:
            key = evict_key(Retention(old.retention), old.last_access_s, cid)
            change.delete(self._index.evict, key)
        if new is None:
            change.delete(self._index.holding, cid)
            return
        change.put(self._index.holding, cid, encode_record(new))
        if new.retention not in PROTECTED:
            key = evict_key(Retention(new.retention), new.last_access_s, cid)
            change.put(self._index.evict, key, b"")


def _lives(row: PinRow, now_s: int) -> bool:
    return row.until_s is None or row.until_s > now_s


def _holding(cid: Cid, row: HoldingRow) -> Holding:
    return Holding(cid, Retention(row.retention), row.last_access_s, row.charge_bytes, row.is_rendition)
