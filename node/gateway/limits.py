"""How much one network may take from the gateway, and all of them together."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from math import ceil

import trio

from marina.clock import Clock
from marina.ids import PeerId
from marina.ratelimit import TokenBucket
from p2p.chunk.pacing import Pacer

PIECE_BYTES = 256 * 1024
"""Bytes are sent and paced by so many: a segment of a rendition is one."""


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Bounds of the gateway.

    Attributes:
        requests_per_s: of one network on average, ten times as many at once.
        bytes_per_s: of one network; None for no bound but the node's upload cap.
        connections_max: open connections.
        connections_of_one_max: of one network.
        networks_max: networks whose rates are remembered; the longest unused is forgotten first.
        header_bytes_max: a request's line and headers.
        idle_s: a connection without a whole request is closed after this long.
        send_s: a reader that takes no piece of 256 KiB in this time is gone.
    """

    requests_per_s: float = 100.0
    bytes_per_s: float | None = None
    connections_max: int = 128
    connections_of_one_max: int = 32
    networks_max: int = 4096
    header_bytes_max: int = 16 * 1024
    idle_s: float = 20.0
    send_s: float = 15.0


def network_of(address: str) -> str:
    """Return who an address counts as: one IPv4 address, or the /64 that one IPv6 customer has."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(parsed) if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))


class Turnstile:
    """Lets requests and bytes of networks pass."""

    def __init__(self, *, limits: GatewayLimits, clock: Clock, pacer: Pacer) -> None:
        """Take the bounds, the time, and the node's upload cap."""
        self.limits = limits
        self._clock = clock
        self._pacer = pacer
        self._requests: OrderedDict[str, TokenBucket] = OrderedDict()
        self._bytes: OrderedDict[str, TokenBucket] = OrderedDict()
        self._open: Counter[str] = Counter()

    @contextmanager
    def place(self, network: str) -> Iterator[bool]:
        """Count a connection while the block runs; yields False when there are too many."""
        limits = self.limits
        if (
            self._open.total() >= limits.connections_max
            or self._open[network] >= limits.connections_of_one_max
        ):
            yield False
            return
        self._open[network] += 1
        try:
            yield True
        finally:
            self._open[network] -= 1
            if not self._open[network]:
                del self._open[network]

    def wait_s(self, network: str) -> int:
        """Count a request; return 0, or after how many seconds it should come again."""
        rate = self.limits.requests_per_s
        bucket = self._bucket(self._requests, network, rate, 10 * rate)
        now_s = self._clock.monotonic_s()
        return 0 if bucket.try_take(1, now_s) else max(1, ceil(bucket.wait_s(1, now_s)))

    async def pass_bytes(self, network: str, size_bytes: int) -> None:
        """Wait until so many bytes may go to a network."""
        rate = self.limits.bytes_per_s
        if rate is not None:
            bucket = self._bucket(self._bytes, network, rate, max(rate, PIECE_BYTES))
            await trio.sleep(bucket.take(size_bytes, self._clock.monotonic_s()))
        await self._pacer.pass_bytes(PeerId(f"gateway {network}"), size_bytes)

    def _bucket(
        self, buckets: OrderedDict[str, TokenBucket], network: str, rate: float, burst: float
    ) -> TokenBucket:
        bucket = buckets.pop(network, None)
        if bucket is None:
            bucket = TokenBucket(rate, burst, self._clock.monotonic_s())
        buckets[network] = bucket
        while len(buckets) > self.limits.networks_max:
            buckets.popitem(last=False)
        return bucket
