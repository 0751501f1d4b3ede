"""A gateway over a store of blocks, on loopback."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio

from marina.clock import SystemClock
from marina.ids import PeerId
from node.gateway.answers import Gateway
from node.gateway.limits import GatewayLimits, Turnstile
from node.gateway.service import GatewayService
from node.settings import GatewaySettings
from p2p.chunk.pacing import Pacer

PEER = PeerId("12D3KooWMA2vDvNeSaToRHU41mL2ZQwM3mGdNChnHw4Cwvk24fNq")


@asynccontextmanager
async def gateway_service(store, *, denied=frozenset(), upload_bytes_per_s=None, settings=None, **limits):
    """Yield a running GatewayService; ``limits`` as for GatewayLimits."""
    clock = SystemClock()
    service = GatewayService(
        settings=settings or GatewaySettings(enabled=True, port=0),
        make=lambda own: Gateway(blocks=store, is_denied=denied.__contains__, peer=PEER, addresses=own),
        turnstile=Turnstile(
            limits=GatewayLimits(**{"requests_per_s": 10_000, **limits}),
            clock=clock,
            pacer=Pacer(clock=clock, bytes_per_s=upload_bytes_per_s, burst_s=0.1),
        ),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        yield service
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def gateway_over(store, **options):
    """Yield the address of a gateway."""
    async with gateway_service(store, **options) as service:
        yield service.facts()["urls"][0]
