"""Health and the loop canary, on virtual time."""

from __future__ import annotations

import time

import trio

from marina.clock import ManualClock
from marina.errors import DamagedError
from marina.metrics import Registry, render
from node.canary import LoopCanary
from node.health import CheckResult, Health, HealthMonitor


async def healthy() -> CheckResult:
    return CheckResult(Health.HEALTHY, "well")


def monitor() -> HealthMonitor:
    made = HealthMonitor(clock=ManualClock())
    for name in HealthMonitor.COMPONENTS:
        made.register(name, healthy)
    return made


async def test_the_whole_is_as_well_as_its_worst_part():
    health = monitor()
    assert (await health.report()).state is Health.HEALTHY

    async def poorly() -> CheckResult:
        return CheckResult(Health.DEGRADED, "slow")

    health.register("cache", poorly)
    assert (await health.report()).state is Health.DEGRADED

    async def damaged() -> CheckResult:
        raise DamagedError("the index is damaged: run 'marina repo verify --heal'")

    health.register("database", damaged)
    report = await health.report()
    assert report.state is Health.UNHEALTHY
    assert report.components["database"].sentence.startswith("the index is damaged")
    assert list(report.components) == list(HealthMonitor.COMPONENTS)


async def test_a_check_that_hangs_is_unhealthy_after_two_seconds_and_delays_no_other(autojump_clock):
    health = monitor()

    async def hangs() -> CheckResult:
        await trio.sleep_forever()
        raise AssertionError

    health.register("swarm", hangs)
    health.register("chain", hangs)
    started = trio.current_time()
    report = await health.report()
    assert trio.current_time() - started == 2.0
    assert report.components["swarm"] == CheckResult(Health.UNHEALTHY, "no answer within 2 s")


async def test_a_check_with_a_defect_is_unhealthy_and_the_log_has_its_stack(caplog):
    health = monitor()

    async def broken() -> CheckResult:
        raise RuntimeError("/home/owner/secret")

    health.register("model", broken)
    report = await health.report()
    assert report.components["model"].state is Health.UNHEALTHY
    assert "secret" not in report.components["model"].sentence
    assert "secret" in caplog.text


async def test_nothing_is_ready_before_everything_started_nor_while_stopping():
    health = monitor()
    assert not await health.is_ready()
    health.mark_ready()
    assert await health.is_ready()
    health.mark_ready(is_ready=False)
    assert not await health.is_ready()


async def test_what_is_not_configured_is_healthy_and_what_has_not_started_is_not():
    report = await HealthMonitor(clock=ManualClock()).report()
    states = {name: result.state for name, result in report.components.items()}
    assert states["chain"] is states["model"] is Health.HEALTHY
    assert states["database"] is states["cache"] is states["swarm"] is Health.UNHEALTHY


async def test_the_canary_sees_a_blocked_loop_and_says_so_once(caplog):
    registry = Registry()
    canary = LoopCanary(registry=registry, period_s=0.02, warn_lag_s=0.05)
    async with trio.open_nursery() as nursery:
        await nursery.start(canary.run)
        await trio.sleep(0.05)
        assert canary.lag_s < 0.05
        for _ in range(2):
            time.sleep(0.12)  # the kind of mistake that the canary is for
            await trio.sleep(0.03)
        nursery.cancel_scope.cancel()
    assert caplog.text.count("something blocked the event loop") == 1
    worst = [
        line for line in render(registry).decode().splitlines() if line.startswith("marina_loop_lag_worst")
    ]
    assert float(worst[0].split()[1]) > 0.05
