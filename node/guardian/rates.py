"""How often who may ask a guardian: a bucket for each device and one for each network it comes from."""

from __future__ import annotations

from collections import OrderedDict

from marina.clock import Clock
from marina.ratelimit import TokenBucket

_TRACKED_MAX = 4096


class Rates:
    """Token buckets by device and by origin; those unused for longest are forgotten."""

    def __init__(
        self,
        *,
        clock: Clock,
        peer_per_s: float = 2.0,
        peer_burst: float = 40.0,
        origin_per_s: float = 20.0,
        origin_burst: float = 400.0,
    ) -> None:
        """Take the rates: an album of twenty tracks in two tiers is 40 requests of one device."""
        self._clock = clock
        self._peers = _Buckets(peer_per_s, peer_burst)
        self._origins = _Buckets(origin_per_s, origin_burst)

    def admits(self, peer_key: bytes, origin: str) -> bool:
        """Return whether one more request is taken now; an empty origin has no limit of its own."""
        now_s = self._clock.monotonic_s()
        if not self._peers.of(peer_key, now_s).try_take(1, now_s):
            return False
        return not origin or self._origins.of(origin.encode(), now_s).try_take(1, now_s)


class _Buckets:
    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._buckets: OrderedDict[bytes, TokenBucket] = OrderedDict()

    def of(self, key: bytes, now_s: float) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._rate_per_s, self._burst, now_s)
            if len(self._buckets) > _TRACKED_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket
