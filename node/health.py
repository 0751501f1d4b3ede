"""How each part of the node is: healthy, degraded (works, with less) or unhealthy, and why."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

import trio

from marina.clock import Clock
from marina.errors import MarinaError

CHECK_TIMEOUT_S = 2.0
"""A check that takes longer says by that that something is wrong."""
log = logging.getLogger("marina.node")


class Health(StrEnum):
    """States, from best to worst."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


_WORSE = {Health.HEALTHY: 0, Health.DEGRADED: 1, Health.UNHEALTHY: 2}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found.

    Attributes:
        state: how the component is.
        sentence: one sentence for people: what is, and what to do if it is not well.
    """

    state: Health
    sentence: str


Check = Callable[[], Awaitable[CheckResult]]


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks of one moment.

    Attributes:
        state: the worst of all.
        components: results by component.
        checked_s: Unix seconds.
    """

    state: Health
    components: dict[str, CheckResult]
    checked_s: int

    def to_json(self) -> dict[str, object]:
        """Return the report as the API shows it."""
        return {
            "status": self.state.value,
            "checkedAt": self.checked_s,
            "components": {
                name: {"status": result.state.value, "message": result.sentence}
                for name, result in self.components.items()
            },
        }


class HealthMonitor:
    """Runs the checks of all components on demand.

    A component that is not built in or not configured is healthy: the node does all it was asked to.
    """

    COMPONENTS = ("database", "cache", "swarm", "chain", "model")

    def __init__(self, *, clock: Clock, timeout_s: float = CHECK_TIMEOUT_S) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._checks: dict[str, Check] = {
            "database": _starting("the database"),
            "cache": _starting("the content cache"),
            "swarm": _starting("the network"),
            "chain": _absent("no chain is configured; free music needs none"),
            "model": _absent("no recommendation model is configured; nothing else needs one"),
        }
        self._is_ready = False

    def register(self, component: str, check: Check) -> None:
        """Use a check for a component from now on, a known one or one more."""
        self._checks[component] = check

    def mark_ready(self, is_ready: bool = True) -> None:
        """Say that every service has started, or that the node is stopping."""
        self._is_ready = is_ready

    async def report(self) -> HealthReport:
        """Return the results of all checks, made at once; a failing or slow check is unhealthy."""
        results: dict[str, CheckResult] = {}

        async def one(name: str, check: Check) -> None:
            results[name] = await self._run(name, check)

        async with trio.open_nursery() as nursery:
            for name, check in self._checks.items():
                nursery.start_soon(one, name, check)
        ordered = {name: results[name] for name in self._checks}
        worst = max((result.state for result in ordered.values()), key=_WORSE.__getitem__)
        return HealthReport(worst, ordered, self._clock.now_s())

    async def is_ready(self) -> bool:
        """Return whether the node can do its work: started, and the database answers."""
        if not self._is_ready:
            return False
        result = await self._run("database", self._checks["database"])
        return result.state is not Health.UNHEALTHY

    async def _run(self, name: str, check: Check) -> CheckResult:
        with trio.move_on_after(self._timeout_s):
            try:
                return await check()
            except MarinaError as err:
                return CheckResult(Health.UNHEALTHY, f"{err}")
            except Exception:
                log.exception("the health check of %s failed", name)
                return CheckResult(Health.UNHEALTHY, "the check failed; 'marina logs' shows why")
        return CheckResult(Health.UNHEALTHY, f"no answer within {self._timeout_s:g} s")


def _starting(what: str) -> Check:
    async def check() -> CheckResult:
        await trio.lowlevel.checkpoint()
        return CheckResult(Health.UNHEALTHY, f"{what} has not started yet")

    return check


def _absent(sentence: str) -> Check:
    async def check() -> CheckResult:
        await trio.lowlevel.checkpoint()
        return CheckResult(Health.HEALTHY, sentence)

    return check
