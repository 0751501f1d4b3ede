"""Health and metrics: one word for supervisors, sentences for people, counters for monitoring."""

from __future__ import annotations

from marina.errors import MarinaError
from marina.metrics import CONTENT_TYPE, Registry, render
from node.api.reply import Reply
from node.api.router import ApiContext, Open, route
from node.api.scopes import Scope
from node.health import Health, HealthMonitor


class NotReadyError(MarinaError):
    """The node is starting, stopping, or its database does not answer."""

    code = "not_ready"
    http_status = 503
    is_retriable = True


class UnhealthyError(MarinaError):
    """At least one component does not work."""

    code = "unhealthy"
    http_status = 503


class HealthRoutes:
    """``/livez``, ``/readyz``, ``/health``, ``/metrics``."""

    def __init__(self, *, health: HealthMonitor, registry: Registry) -> None:
        self._health = health
        self._registry = registry

    @route("GET", "/livez", scope=Open.LIVENESS)
    async def live(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer that the process runs its loop."""
        return Reply.ok({"status": "live"})

    @route("GET", "/readyz", scope=Open.LIVENESS)
    async def ready(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer 200 when requests can be served, else 503."""
        if not await self._health.is_ready():
            raise NotReadyError("the node is not ready: it is starting or stopping, or its database fails")
        return Reply.ok({"status": "ready"})

    @route("GET", "/health", scope=Scope.READ_MUSIC)
    @route("GET", "/api/v1/health", scope=Scope.READ_MUSIC)
    async def health(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer the state of every component; 503 when one is unhealthy, with the same data."""
        report = await self._health.report()
        if report.state is Health.UNHEALTHY:
            failed = [name for name, each in report.components.items() if each.state is Health.UNHEALTHY]
            error = UnhealthyError(f"{', '.join(failed)}: not working, see 'marina doctor'")
            return Reply(data=report.to_json(), status=503, error=error)
        return Reply.ok(report.to_json())

    @route("GET", "/metrics", scope=(Scope.METRICS_READ, Scope.ADMIN))
    async def metrics(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer all counters in the Prometheus text format."""
        return Reply.raw(render(self._registry), CONTENT_TYPE)
