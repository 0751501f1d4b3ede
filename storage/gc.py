"""Making room: evict what matters least and was read longest ago, and say what went and why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from marina.cid import Cid
from storage.pins import Holding, Pins
from storage.retention import EVICTABLE, HIGHEST_EVICTABLE, Retention


@dataclass(frozen=True, slots=True)
class Collection:
    """What one run freed, or would free.

    Attributes:
        needed_bytes: what was asked for.
        evicted: what went, in the order in which it went.
        is_dry_run: nothing went; ``evicted`` is what would.
    """

    needed_bytes: int
    evicted: tuple[Holding, ...]
    is_dry_run: bool

    @property
    def freed_bytes(self) -> int:
        """Bytes that count against the quota no more."""
        return sum(each.charge_bytes for each in self.evicted)

    @property
    def is_enough(self) -> bool:
        """Whether as much was freed as was needed."""
        return self.freed_bytes >= self.needed_bytes

    def lines(self) -> list[str]:
        """Return one line for each class: what went and why it was the first to go."""
        lines = []
        for retention in EVICTABLE:
            group = [each for each in self.evicted if each.retention is retention]
            if group:
                oldest = min(each.last_access_s for each in group)
                verb = "would go" if self.is_dry_run else "went"
                lines.append(
                    f"{len(group)} {retention.name.lower()} items of "
                    f"{sum(each.charge_bytes for each in group)} bytes {verb}: "
                    f"the least protected class, longest unread first (since {oldest})"
                )
        return lines


class GarbageCollector:
    """Evicts whole renditions and small blocks in the order of storage/pins.py.

    Its cost grows with what it evicts and with what plays right now, not with what is kept. It can
    be cancelled between two evictions.
    """

    def __init__(self, *, pins: Pins, evict: Callable[[Cid, Retention], Awaitable[int]]) -> None:
        """Collect with the help of a store.

        Args:
            pins: the order of eviction.
            evict: removes one holding if its class is still at most the given one; returns the bytes
                it was charged, 0 if it was not removed.
        """
        self._pins = pins
        self._evict = evict

    async def collect(
        self, needed_bytes: int, *, dry_run: bool = False, up_to: Retention = HIGHEST_EVICTABLE
    ) -> Collection:
        """Free at least ``needed_bytes`` if that is possible without touching what is protected.

        Args:
            needed_bytes: stop as soon as that much is free.
            dry_run: only say what would go.
            up_to: evict no class above this one.
        """
        await self._pins.end_pins()
        evicted: list[Holding] = []
        freed_bytes = 0
        for retention in EVICTABLE:
            if retention > up_to or freed_bytes >= needed_bytes:
                break
            async with aclosing(self._pins.evictable(retention)) as holdings:
                async for holding in holdings:
                    if freed_bytes >= needed_bytes:
                        break
                    is_gone = dry_run or await self._evict(holding.cid, retention) > 0
                    if is_gone:
                        evicted.append(holding)
                        freed_bytes += holding.charge_bytes
        return Collection(needed_bytes, tuple(evicted), dry_run)
