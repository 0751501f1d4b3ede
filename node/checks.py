"""The health checks of this node's components, each with a sentence that says what to do."""

from __future__ import annotations

from marina.errors import MarinaError
from node.canary import LoopCanary
from node.health import CheckResult, Health
from node.services import Services
from p2p.announce import AnnounceState

LAG_S_MAX = 1.0
NO_PEERS = (
    "no peers yet: play a marina: link, or run 'marina peers connect ADDRESS' with any node's address, or "
    "wait for nodes on your network (swarm.lan_discovery); what is on this disk plays"
)


def register_checks(services: Services, canary: LoopCanary) -> None:
    """Tell the monitor how each component is examined."""

    async def database() -> CheckResult:
        await services.store.get(b"schema\x00version")
        if canary.lag_s > LAG_S_MAX:
            return CheckResult(
                Health.DEGRADED, f"the node is overloaded: it answers {canary.lag_s:.1f} s late"
            )
        return CheckResult(Health.HEALTHY, "the database answers")

    async def cache() -> CheckResult:
        stat = await services.blocks.stat()
        try:
            services.blocks.quota.check_disk(0)
        except MarinaError as err:
            return CheckResult(Health.DEGRADED, f"{err}")
        if stat.bytes_charged > 0.98 * stat.bytes_quota:
            return CheckResult(
                Health.DEGRADED,
                "the storage quota is used up: run 'marina config set storage.quota SIZE', or unpin",
            )
        return CheckResult(Health.HEALTHY, f"{stat.blocks} blocks in {stat.renditions} renditions")

    async def swarm() -> CheckResult:
        peers = len(services.host.connected_peers())
        if not peers:
            return CheckResult(Health.DEGRADED, NO_PEERS)
        return CheckResult(Health.HEALTHY, f"{peers} peers connected")

    async def provide() -> CheckResult:
        if (problem := services.discovery.outbox.problem) is not None:
            return CheckResult(Health.DEGRADED, problem)
        health = services.discovery.announce_health()
        if health.state is AnnounceState.OK:
            return CheckResult(Health.HEALTHY, health.message)
        return CheckResult(Health.DEGRADED, health.message)

    services.health.register("provide", provide)
    services.health.register("database", database)
    services.health.register("cache", cache)
    services.health.register("swarm", swarm)
    services.health.register("chain", services.chain.check)
    services.health.register("keys", services.selling.watch.check)
    _register_chosen(services)


def _register_chosen(services: Services) -> None:
    """The checks of what only some nodes have."""
    if services.settings.ipfs.kubo:
        services.health.register("kubo", services.ipfs.check)
    if services.moderation.is_followed:
        services.health.register("moderation", services.moderation.check)
