"""Token bucket: a rate with a burst, driven by a monotonic time that the caller passes in."""

from __future__ import annotations


class TokenBucket:
    """Allows ``rate_per_s`` on average and ``burst`` at once.

    The bucket may go into debt (``take``), so that one large transfer is paced instead of refused.
    """

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        if rate_per_s <= 0 or burst <= 0:
            raise ValueError("a token bucket needs a positive rate and burst")
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._updated_s = now_s

    def try_take(self, amount: float, now_s: float) -> bool:
        """Take the amount and return True if the bucket holds it; else take nothing."""
        self._refill(now_s)
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True

    def take(self, amount: float, now_s: float) -> float:
        """Take the amount, into debt if need be, and return the seconds to wait until it is paid."""
        self._refill(now_s)
        self._tokens -= amount
        return max(0.0, -self._tokens / self._rate_per_s)

    def wait_s(self, amount: float, now_s: float) -> float:
        """Return the seconds until ``try_take(amount)`` can succeed; takes nothing."""
        self._refill(now_s)
        return max(0.0, (amount - self._tokens) / self._rate_per_s)

    def _refill(self, now_s: float) -> None:
        elapsed_s = max(0.0, now_s - self._updated_s)
        self._tokens = min(self._burst, self._tokens + elapsed_s * self._rate_per_s)
        self._updated_s = max(now_s, self._updated_s)
