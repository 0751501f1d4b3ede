"""What this node knows about its peers' conduct: pure bookkeeping, no I/O.

Deliveries feed smoothed rates that schedulers rank peers by. Broken rules feed penalty points that
decay by half every ten minutes; enough of them ban. One segment that does not hash to what was asked
for bans for a day at once: an honest peer verifies what it serves.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

from marina.clock import Clock
from marina.ids import PeerId
from p2p.config import ScoreConfig


class BanReason(Enum):
    """Why a peer is banned; the value is the metric label."""

    CORRUPT = "corrupt"
    MALFORMED = "malformed"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class PeerScore:
    """A peer's standing at one moment.

    Attributes:
        bytes_per_s: smoothed rate of its deliveries; 0 while it delivered nothing.
        latency_s: smoothed time from request to first byte; 0 while unknown.
        success: smoothed share of requests that it answered well, 1 for a stranger.
        penalty: penalty points left after decay.
        banned_for_s: seconds until its ban ends; 0 when it is not banned.
    """

    bytes_per_s: float
    latency_s: float
    success: float
    penalty: float
    banned_for_s: float


@dataclass(slots=True)
class _Conduct:
    bytes_per_s: float = 0.0
    latency_s: float = 0.0
    success: float = 1.0
    penalty: float = 0.0
    penalty_at_s: float = 0.0
    banned_until_s: float = 0.0
    reason: BanReason | None = None


class ScoreBook:
    """Conduct of at most ``peers_max`` peers, the longest unseen forgotten first."""

    def __init__(self, *, clock: Clock, config: ScoreConfig | None = None) -> None:
        self._clock = clock
        self._config = config or ScoreConfig()
        self._peers: OrderedDict[PeerId, _Conduct] = OrderedDict()

    def delivered(self, peer: PeerId, size_bytes: int, elapsed_s: float, latency_s: float) -> None:
        """Count a delivery of verified bytes that took ``elapsed_s`` from request to last byte."""
        conduct = self._touch(peer)
        rate = size_bytes / max(elapsed_s, 1e-6)
        conduct.bytes_per_s = self._smooth(conduct.bytes_per_s, rate)
        conduct.latency_s = self._smooth(conduct.latency_s, latency_s)
        conduct.success += self._config.ewma_weight * (1.0 - conduct.success)

    def failed(self, peer: PeerId) -> bool:
        """Count a timeout or a truncated reply; return whether the peer is banned now."""
        conduct = self._touch(peer)
        conduct.success -= self._config.ewma_weight * conduct.success
        return self._penalise(conduct, self._config.points_failed)

    def malformed(self, peer: PeerId) -> bool:
        """Count a frame that broke its protocol; return whether the peer is banned now."""
        conduct = self._touch(peer)
        conduct.success -= self._config.ewma_weight * conduct.success
        return self._penalise(conduct, self._config.points_malformed)

    def corrupt(self, peer: PeerId) -> None:
        """Ban a peer that delivered bytes with another hash than asked for."""
        self.ban(peer, self._config.ban_corrupt_s, BanReason.CORRUPT)

    def ban(self, peer: PeerId, duration_s: float, reason: BanReason = BanReason.OPERATOR) -> None:
        """Ban a peer for a time; a longer ban that already holds stays."""
        conduct = self._touch(peer)
        until_s = self._clock.monotonic_s() + duration_s
        if until_s > conduct.banned_until_s:
            conduct.banned_until_s = until_s
            conduct.reason = reason

    def unban(self, peer: PeerId) -> None:
        """End a ban and forget the penalties that led to it; the peer begins anew."""
        conduct = self._peers.get(peer)
        if conduct is not None:
            conduct.banned_until_s = 0.0
            conduct.penalty = 0.0

    def is_banned(self, peer: PeerId) -> bool:
        """Return whether the peer is banned now."""
        conduct = self._peers.get(peer)
        return conduct is not None and conduct.banned_until_s > self._clock.monotonic_s()

    def ban_reason(self, peer: PeerId) -> BanReason | None:
        """Return why the peer is banned, None when it is not."""
        return self._peers[peer].reason if self.is_banned(peer) else None

    def score(self, peer: PeerId) -> PeerScore:
        """Return the peer's standing; a stranger's for an unknown peer."""
        conduct = self._peers.get(peer, _Conduct())
        now_s = self._clock.monotonic_s()
        return PeerScore(
            bytes_per_s=conduct.bytes_per_s,
            latency_s=conduct.latency_s,
            success=conduct.success,
            penalty=self._decayed(conduct, now_s),
            banned_for_s=max(0.0, conduct.banned_until_s - now_s),
        )

    def banned(self) -> dict[PeerId, float]:
        """Return every banned peer with the seconds left."""
        now_s = self._clock.monotonic_s()
        return {
            peer: conduct.banned_until_s - now_s
            for peer, conduct in self._peers.items()
            if conduct.banned_until_s > now_s
        }

    def __len__(self) -> int:
        return len(self._peers)

    def _smooth(self, old: float, new: float) -> float:
        if old == 0.0:
            return new
        return old + self._config.ewma_weight * (new - old)

    def _penalise(self, conduct: _Conduct, points: float) -> bool:
        now_s = self._clock.monotonic_s()
        conduct.penalty = self._decayed(conduct, now_s) + points
        conduct.penalty_at_s = now_s
        if conduct.penalty >= self._config.points_ban and conduct.banned_until_s <= now_s:
            conduct.banned_until_s = now_s + self._config.ban_s
            conduct.reason = BanReason.MALFORMED
            conduct.penalty = 0.0
        return conduct.banned_until_s > now_s

    def _decayed(self, conduct: _Conduct, now_s: float) -> float:
        age_s = max(0.0, now_s - conduct.penalty_at_s)
        return float(conduct.penalty * 0.5 ** (age_s / self._config.half_life_s))

    def _touch(self, peer: PeerId) -> _Conduct:
        conduct = self._peers.get(peer)
        if conduct is None:
            if len(self._peers) >= self._config.peers_max:
                self._forget_one()
            conduct = self._peers[peer] = _Conduct()
        self._peers.move_to_end(peer)
        return conduct

    def _forget_one(self) -> None:
        """Keep the book bounded; bans are given up last, the one that ends first."""
        now_s = self._clock.monotonic_s()
        for peer, conduct in self._peers.items():
            if conduct.banned_until_s <= now_s:
                del self._peers[peer]
                return
        del self._peers[min(self._peers, key=lambda each: self._peers[each].banned_until_s)]
