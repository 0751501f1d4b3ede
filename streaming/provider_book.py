"""Which providers may be tried now, and when to look for more. Pure."""

from __future__ import annotations

from collections import OrderedDict

from marina.ids import PeerId

_AGAIN_S = 2.0
_AGAIN_MAX_S = 60.0
_REFUSED_S = 60.0
_LOOK_MAX_S = 15.0
_PEERS_MAX = 1024


class ProviderBook:
    """Remembers failures, so that a dead or refusing peer is not dialled again and again."""

    def __init__(self) -> None:
        self._tries: OrderedDict[PeerId, tuple[int, float]] = OrderedDict()
        self._looks = 0

    def may_try(self, peer: PeerId, now_s: float) -> bool:
        """Return whether enough time passed since the peer failed."""
        _, until_s = self._tries.get(peer, (0, now_s))
        return until_s <= now_s

    def failed(self, peer: PeerId, now_s: float, *, is_refusal: bool) -> None:
        """Note that a conversation ended badly; each time in a row it waits twice as long."""
        times = self._tries.get(peer, (0, 0.0))[0] + 1
        wait_s = _REFUSED_S if is_refusal else min(_AGAIN_MAX_S, _AGAIN_S * 2 ** min(times - 1, 8))
        self._tries[peer] = (times, now_s + wait_s)
        self._tries.move_to_end(peer)
        while len(self._tries) > _PEERS_MAX:
            self._tries.popitem(last=False)

    def delivered(self, peer: PeerId) -> None:
        """Note that the peer is of use."""
        self._tries.pop(peer, None)

    def look_again_s(self, *, peers: int) -> float:
        """Return the seconds until the next look for providers: soon while there is none."""
        self._looks = self._looks + 1 if peers else 0
        return min(_LOOK_MAX_S, _AGAIN_S * 1.5 ** min(self._looks, 16))
