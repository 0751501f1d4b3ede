"""The latest time that this node has ever seen, so that setting the clock back prolongs no licence.

A rule for honest clients only: whoever changes the program gets around it (design, security §1.10).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from marina.clock import Clock
from storage.errors import StorageError
from storage.kv import Table

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.node.keys")
BEHIND_S_MAX = 600
"""A clock that is further behind the latest time seen is not believed offline."""
_STEP_S = 300
"""The mark is written when it has grown by so much: a crash loses no more of it."""
_EVERY_S = 60.0
_KEY = b"latest"
_TIME_S_MAX = 2**38
"""About the year 10,680."""


class HighWater:
    """Remembers the maximum of this machine's clock and of every block time seen."""

    def __init__(self, *, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._latest_s = 0
        self._stored_s = 0

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read the mark and raise it with the clock until cancelled."""
        stored = await self._table.get(_KEY)
        self._stored_s = int.from_bytes(stored or b"")
        self._latest_s = max(self._latest_s, self._stored_s)
        task_status.started()
        while True:
            await self.note(self._clock.now_s())
            await trio.sleep(_EVERY_S)

    async def note(self, time_s: int) -> None:
        """Raise the mark to a time that was seen: a block's, or this clock's; no time that cannot be."""
        if time_s >= _TIME_S_MAX:
            return
        self._latest_s = max(self._latest_s, time_s)
        if self._latest_s >= self._stored_s + _STEP_S:
            try:
                await self._table.put(_KEY, self._latest_s.to_bytes(8))
            except StorageError as err:
                log.warning("the latest time seen could not be written down: %s", err)
                return
            self._stored_s = self._latest_s

    def time_s(self) -> int:
        """Return the time that leases are measured by: it never goes backwards."""
        return max(self._latest_s, self._clock.now_s())

    @property
    def is_clock_behind(self) -> bool:
        """Whether the clock is more than ten minutes behind: only the chain can tell what holds then."""
        return self._clock.now_s() + BEHIND_S_MAX < self._latest_s
