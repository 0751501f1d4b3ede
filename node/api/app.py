"""The guarded app: the guard in front, the dispatcher behind it."""

from __future__ import annotations

from starlette.types import ASGIApp

from marina.clock import Clock
from node.api.dispatch import Dispatcher
from node.api.guard import Guard
from node.api.limits import ApiLimits
from node.api.metrics import ApiMetrics
from node.api.origin import OriginPolicy
from node.api.router import Router
from node.api.tokens import TokenAuthority


def build_app(
    *,
    router: Router,
    tokens: TokenAuthority,
    policy: OriginPolicy,
    clock: Clock,
    metrics: ApiMetrics,
    limits: ApiLimits | None = None,
) -> ASGIApp:
    """Return the ASGI app of the local API; nothing reaches a handler but through the guard."""
    return Guard(
        Dispatcher(clock=clock),
        router=router,
        tokens=tokens,
        policy=policy,
        clock=clock,
        metrics=metrics,
        limits=limits,
    )
