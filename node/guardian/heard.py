"""The nonces of requests that were heard lately: the same request is answered once."""

from __future__ import annotations

from collections import OrderedDict

from marina.clock import Clock

NONCE_S = 600.0
"""Longer than the clocks of both sides may differ: what is forgotten is too old to be answered again."""
_NONCES_MAX = 100_000


class Heard:
    """Remembers names of requests for ten minutes; the oldest go first when there are too many."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._times_s: OrderedDict[bytes, float] = OrderedDict()

    def knows(self, name: bytes) -> bool:
        """Return whether a name was noted in the last ten minutes."""
        oldest_s = self._clock.monotonic_s() - NONCE_S
        while self._times_s and next(iter(self._times_s.values())) < oldest_s:
            self._times_s.popitem(last=False)
        return name in self._times_s

    def note(self, name: bytes) -> None:
        """Remember a name."""
        self._times_s[name] = self._clock.monotonic_s()
        if len(self._times_s) > _NONCES_MAX:
            self._times_s.popitem(last=False)
