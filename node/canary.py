"""Notices when something blocks the event loop: a task that only sleeps, and wakes up late."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from marina.metrics import Gauge, Registry

if TYPE_CHECKING:
    from trio_typing import TaskStatus

PERIOD_S = 2.0
"""Long enough to cost nothing while idle; a blocking call of a second is still seen."""
WARN_LAG_S = 0.5
_WARN_EVERY_S = 60.0
log = logging.getLogger("marina.node")


class LoopCanary:
    """Measures how late the loop wakes a sleeping task."""

    def __init__(
        self, *, registry: Registry, period_s: float = PERIOD_S, warn_lag_s: float = WARN_LAG_S
    ) -> None:
        self._period_s = period_s
        self._warn_lag_s = warn_lag_s
        self._lag_s = 0.0
        self._warned_s = float("-inf")
        self._lag = Gauge(
            "marina_loop_lag_seconds", "How late the event loop woke a task last.", registry=registry
        )
        self._worst = Gauge(
            "marina_loop_lag_worst_seconds", "The worst lag since the node started.", registry=registry
        )
        self._worst_s = 0.0

    @property
    def lag_s(self) -> float:
        """The last measured lag in seconds."""
        return self._lag_s

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Measure for ever."""
        task_status.started()
        while True:
            due_s = trio.current_time() + self._period_s
            await trio.sleep_until(due_s)
            self._observe(max(0.0, trio.current_time() - due_s))

    def _observe(self, lag_s: float) -> None:
        self._lag_s = lag_s
        self._worst_s = max(self._worst_s, lag_s)
        self._lag.set(lag_s)
        self._worst.set(self._worst_s)
        now_s = trio.current_time()
        if lag_s >= self._warn_lag_s and now_s - self._warned_s >= _WARN_EVERY_S:
            self._warned_s = now_s
            tasks = trio.lowlevel.current_statistics().tasks_living
            log.warning(
                "something blocked the event loop for %.2f s", lag_s, extra={"context": {"tasks": tasks}}
            )
