"""Room for what is about to be stored: evict what matters less, then reserve, or say why not."""

from __future__ import annotations

from storage.blocks.index import StoreIndex
from storage.errors import QuotaExceededError
from storage.gc import GarbageCollector
from storage.quota import Quota, size_text
from storage.retention import EVICTABLE, HIGHEST_EVICTABLE, Retention


class RoomMaker:
    """Decides whether bytes of some class may come in."""

    def __init__(self, quota: Quota, index: StoreIndex, collector: GarbageCollector) -> None:
        self._quota = quota
        self._index = index
        self._collector = collector

    async def reserve(self, needed_bytes: int, retention: Retention) -> None:
        """Reserve bytes; the caller gives them back with ``quota.release``.

        Evicts what has no higher reason to stay than ``retention``, and nothing at all if even that
        would not be enough.

        Raises:
            QuotaExceededError: too much is protected.
            DiskFullError: the disk lacks the room.
        """
        up_to = min(retention, HIGHEST_EVICTABLE)
        self._quota.check_disk(needed_bytes)
        shortfall = self._quota.shortfall(needed_bytes)
        if shortfall and self._evictable_bytes(up_to) >= shortfall:
            await self._collector.collect(shortfall, up_to=up_to)
        try:
            self._quota.reserve(needed_bytes)
        except QuotaExceededError as err:
            protected_bytes = self._quota.charged_bytes - self._evictable_bytes(up_to)
            raise QuotaExceededError(
                f"quota cannot be met: {size_text(protected_bytes)} protected of "
                f"{size_text(self._quota.limit_bytes)} — {size_text(needed_bytes)} more do not fit. Raise "
                "storage.quota, or unpin or remove something (marina repo stat --why)"
            ) from err

    def _evictable_bytes(self, up_to: Retention) -> int:
        charged = self._index.totals.charged_bytes
        return sum(charged[each] for each in EVICTABLE if each <= up_to)
