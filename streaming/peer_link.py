"""What the scheduler knows of one peer: how fast, how late, what it owes and what it does not have. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

_GAIN = 0.3
"""Weight of a new sample in the moving averages."""
_RATE_UNTRIED_BPS = 1_000_000.0
_LATENCY_MAX_S = 5.0
_MEASURE_S = 2.0
_STRIKE_PENALTY_S = 0.2
_REST_MAX_S = 30.0
_MISSES_MAX = 8
_PROGRESS_BYTES = 16 * 1024
"""Less than this in the time after which a peer counts as stalled is a drip, not progress."""
_MISSES_EMPTY = 3
_LACK_S = 10.0


@dataclass(slots=True)
class PeerLink:
    """One peer as the scheduler sees it.

    Attributes:
        has: segments it has; None until it said so, which counts as all.
        lacks_until_s: when a segment that it said it does not have may be asked for again: a peer
            that is fetching itself has more later.
        asked: outstanding segments and when each was asked for.
        asked_bytes: their bytes.
        partial_bytes: of those, what has come of segments that are not counted in yet.
        rate_bps: bytes a second while it was busy, moving average; 0 before the first bytes.
        is_proven: whether it ever delivered a sound segment.
        is_new: whether it was never asked for anything.
        latency_s: time to the first answer after being idle, moving average.
        progress_s: when it delivered last, or was first asked after being idle.
        strikes: failures in a row; from the second on it sits out, longer each time.
        rests_until_s: it is not asked for anything before.
        misses: segments in a row that it said it does not have.
    """

    has: frozenset[int] | None = None
    lacks_until_s: dict[int, float] = field(default_factory=dict)
    asked: dict[int, float] = field(default_factory=dict)
    asked_bytes: int = 0
    partial_bytes: int = 0
    rate_bps: float = 0.0
    is_proven: bool = False
    is_new: bool = True
    latency_s: float = 0.05
    progress_s: float = 0.0
    strikes: int = 0
    rests_until_s: float = 0.0
    misses: int = 0
    _busy_since_s: float = 0.0
    _busy_bytes: int = 0
    _drip_bytes: int = 0
    _is_first_answer: bool = True

    def may_have(self, index: int, now_s: float) -> bool:
        """Return whether it is worth asking for a segment."""
        if self.has is not None and index not in self.has:
            return False
        return self.lacks_until_s.get(index, now_s) <= now_s

    def is_resting(self, now_s: float) -> bool:
        """Return whether it sits out."""
        return self.rests_until_s > now_s

    @property
    def owed_bytes(self) -> int:
        """Bytes that are still to come."""
        return max(0, self.asked_bytes - self.partial_bytes)

    def expected_s(self, size_bytes: int) -> float:
        """Return the seconds until it would deliver so many bytes more, after all that it owes."""
        rate_bps = self.rate_bps or _RATE_UNTRIED_BPS
        return self.latency_s + (self.owed_bytes + size_bytes) / rate_bps + _STRIKE_PENALTY_S * self.strikes

    def seems_empty(self) -> bool:
        """Return whether it never delivered and said of several segments that it does not have them."""
        return not self.is_proven and self.misses >= _MISSES_EMPTY

    def ask(self, index: int, size_bytes: int, now_s: float) -> None:
        """Count a segment as asked for."""
        if not self.asked:
            self._busy_since_s, self._busy_bytes, self._is_first_answer = now_s, 0, True
            self.progress_s, self._drip_bytes = now_s, 0
        self.is_new = False
        self.asked[index] = now_s
        self.asked_bytes += size_bytes

    def unask(self, index: int, size_bytes: int) -> bool:
        """Count a segment as no longer asked for; return whether it was."""
        if self.asked.pop(index, None) is None:
            return False
        self.asked_bytes -= size_bytes
        if not self.asked:
            self.partial_bytes = 0
        return True

    def progressed(self, size_bytes: int, now_s: float) -> None:
        """Count bytes of a segment that is still on its way; none also tells something of the rate."""
        if not size_bytes and not self.rate_bps:
            return
        self.partial_bytes += size_bytes
        self._drip_bytes += size_bytes
        if self._drip_bytes >= _PROGRESS_BYTES:
            self.progress_s, self._drip_bytes = now_s, 0
        self._measure(size_bytes, now_s)

    def delivered(self, index: int, size_bytes: int, now_s: float) -> None:
        """Measure a sound segment that it was asked for; call before ``unask``."""
        self.strikes = self.misses = 0
        self.is_proven = True
        self.progress_s, self._drip_bytes = now_s, 0
        unmeasured_bytes = max(0, size_bytes - self.partial_bytes)
        self.partial_bytes = max(0, self.partial_bytes - size_bytes)
        asked_s = self.asked.get(index)
        if asked_s is None:
            return
        if self._is_first_answer:
            self._is_first_answer = False
            self.latency_s += _GAIN * (min(_LATENCY_MAX_S, now_s - asked_s) - self.latency_s)
        self._measure(unmeasured_bytes, now_s)

    def missed(self, index: int, now_s: float) -> None:
        """Note that it does not have a segment; many in a row, and it rests as one that has nothing."""
        self.progress_s = now_s
        self.lacks_until_s[index] = now_s + _LACK_S
        self.misses += 1
        if self.misses >= _MISSES_MAX:
            self.misses = 0
            self.rests_until_s = now_s + _LACK_S

    def strike(self, now_s: float) -> None:
        """Count a failure; several answers of one burst count once."""
        if self.is_resting(now_s):
            return
        self.strikes += 1
        if self.strikes >= 2:
            self.rests_until_s = now_s + min(_REST_MAX_S, 0.5 * 2**self.strikes)

    def _measure(self, size_bytes: int, now_s: float) -> None:
        self._busy_bytes += size_bytes
        busy_s = now_s - self._busy_since_s
        if busy_s > 0:
            sample = self._busy_bytes / busy_s
            self.rate_bps = sample if not self.rate_bps else self.rate_bps + _GAIN * (sample - self.rate_bps)
        if busy_s > _MEASURE_S:
            # Half of it is kept, so that one burst after this is no rate.
            self._busy_since_s += busy_s / 2
            self._busy_bytes //= 2
