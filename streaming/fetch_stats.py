"""What a fetcher did so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from marina.ids import PeerId


@dataclass(slots=True)
class FetchStats:
    """Counts of one rendition's download.

    Attributes:
        served_by: who sent each segment that came over the network.
        bytes_by_peer: verified bytes from each peer.
        corrupt: segments that did not hash to their digest.
        started_s: trio time when fetching began.
        last_s: trio time of the last verified segment.
        last_peer: who sent it.
    """

    served_by: dict[int, PeerId] = field(default_factory=dict)
    bytes_by_peer: Counter[PeerId] = field(default_factory=Counter)
    corrupt: int = 0
    started_s: float = 0.0
    last_s: float = 0.0
    last_peer: PeerId | None = None

    @property
    def bytes_fetched(self) -> int:
        """Verified bytes from all peers."""
        return self.bytes_by_peer.total()

    @property
    def bytes_per_s(self) -> float:
        """Mean rate from the start to the last segment."""
        return self.bytes_fetched / max(1e-3, self.last_s - self.started_s) if self.bytes_fetched else 0.0

    def count(self, index: int, peer: PeerId, size_bytes: int, now_s: float) -> None:
        """Count a verified segment that was missing."""
        self.served_by[index] = peer
        self.bytes_by_peer[peer] += size_bytes
        self.last_s, self.last_peer = now_s, peer
