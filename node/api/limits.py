"""How much one caller may ask for: rates per token, failed tries per process, requests at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

import trio

from marina.clock import Clock
from marina.ratelimit import TokenBucket
from node.api.errors import OverloadedError, RateLimitedError


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Bounds of the local API (design, security §4 rule 10).

    Attributes:
        requests_per_s: of one token on average; all open routes together count as one token.
        burst: requests of one token at once.
        failed_tries_per_min: wrong tokens and codes, whole process.
        failed_try_delay_s: pause before each wrong try beyond that is answered.
        delayed_max: wrong tries that may wait at once; more are refused on the spot.
        connections_max: open connections, and requests being answered.
        header_bytes_max: all header names and values of a request.
        callers_max: tokens whose rate is remembered; the longest unused is forgotten first.
    """

    requests_per_s: float = 50.0
    burst: float = 100.0
    failed_tries_per_min: int = 5
    failed_try_delay_s: float = 1.0
    delayed_max: int = 8
    connections_max: int = 64
    header_bytes_max: int = 16 * 1024
    callers_max: int = 256


class RequestRates:
    """A token bucket for each caller."""

    def __init__(self, *, limits: ApiLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one request of a caller.

        Raises:
            RateLimitedError: the caller's bucket is empty.
        """
        now_s = self._clock.monotonic_s()
        bucket = self._buckets.pop(caller, None)
        if bucket is None:
            bucket = TokenBucket(self._limits.requests_per_s, self._limits.burst, now_s)
        self._buckets[caller] = bucket
        while len(self._buckets) > self._limits.callers_max:
            self._buckets.popitem(last=False)
        if not bucket.try_take(1, now_s):
            wait_s = max(1, ceil(bucket.wait_s(1, now_s)))
            raise RateLimitedError(f"too many requests: try again in {wait_s} s", wait_s)


class FailedTries:
    """Slows down whoever guesses tokens or codes; a right token is never kept out by wrong ones."""

    def __init__(self, *, limits: ApiLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        per_min = limits.failed_tries_per_min
        self._bucket = TokenBucket(per_min / 60, per_min, clock.monotonic_s())
        self._turn = trio.Lock()
        self._waiting = 0

    def check(self) -> None:
        """Return if a code may be tried at all.

        Raises:
            RateLimitedError: too many wrong ones in the last minute.
        """
        wait_s = self._bucket.wait_s(1, self._clock.monotonic_s())
        if wait_s > 0:
            raise self._error(wait_s)

    async def count(self) -> None:
        """Count one wrong try; beyond the limit, wait for a turn and the delay first.

        Raises:
            RateLimitedError: beyond the limit; says when to come again.
        """
        now_s = self._clock.monotonic_s()
        if self._bucket.try_take(1, now_s):
            return
        if self._waiting < self._limits.delayed_max:
            self._waiting += 1
            try:
                async with self._turn:
                    await trio.sleep(self._limits.failed_try_delay_s)
            finally:
                self._waiting -= 1
        raise self._error(self._bucket.wait_s(1, now_s))

    def _error(self, wait_s: float) -> RateLimitedError:
        return RateLimitedError(
            f"too many wrong tokens or codes: wait {ceil(wait_s)} s, then open a new link with 'marina up'",
            max(1, ceil(wait_s)),
        )


class InFlight:
    """Counts the requests that are being answered."""

    def __init__(self, *, requests_max: int) -> None:
        self._requests_max = requests_max
        self._count = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold one place while the block runs.

        Raises:
            OverloadedError: all places are taken.
        """
        if self._count >= self._requests_max:
            raise OverloadedError(f"the node is answering {self._requests_max} requests: try again")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
