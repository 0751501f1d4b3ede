"""What one peer wants from this node, in the order in which it is served: pure and bounded."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from p2p.bitswap.messages import Want

WANTS_MAX = 1024
"""Of one peer at a time, as in Kubo; what is beyond it is forgotten, and asked for again by its peer."""


class PeerWants:
    """The wants of one peer.

    A want is *ready* until it was looked up; one for a block that is not here *waits*, unless the peer
    wanted to hear of its absence, which is an answer.
    """

    def __init__(self) -> None:
        self._wants: dict[bytes, tuple[Want, int]] = {}
        self._ready: list[tuple[int, int, bytes]] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._wants)

    @property
    def has_ready(self) -> bool:
        """Whether there is something to look up."""
        self._drop_stale()
        return bool(self._ready)

    def update(self, entries: Iterable[Want], *, is_full: bool) -> int:
        """Take a wantlist, or changes to it; return how many entries had no room."""
        if is_full:
            self._wants.clear()
            self._ready.clear()
        dropped = 0
        for want in entries:
            if want.is_cancel:
                self._wants.pop(want.name, None)
            elif want.name not in self._wants and len(self._wants) >= WANTS_MAX:
                dropped += 1
            else:
                self._enter(want)
        return dropped

    def take(self) -> Want | None:
        """Return the next want to look up, the highest priority first; it stays wanted until ``done``."""
        self._drop_stale()
        return self._wants[heapq.heappop(self._ready)[2]][0] if self._ready else None

    def done(self, want: Want) -> None:
        """End a want that was answered, unless the peer has changed it meanwhile."""
        found = self._wants.get(want.name)
        if found is not None and found[0] is want:
            del self._wants[want.name]

    def again(self) -> None:
        """Make everything ready that is still wanted: what was taken did not reach its peer."""
        for want, _ in list(self._wants.values()):
            self._enter(want)

    def arrived(self, name: bytes) -> bool:
        """Make a want ready again whose block is here now; return whether there is one."""
        found = self._wants.get(name)
        if found is None:
            return False
        self._enter(found[0])
        return True

    def _enter(self, want: Want) -> None:
        self._next += 1
        self._wants[want.name] = (want, self._next)
        heapq.heappush(self._ready, (-want.priority, self._next, want.name))
        if len(self._ready) > 4 * WANTS_MAX:
            # Entries that were changed again and again must not pile up.
            self._ready = [each for each in self._ready if self._is_live(each)]
            heapq.heapify(self._ready)

    def _drop_stale(self) -> None:
        while self._ready and not self._is_live(self._ready[0]):
            heapq.heappop(self._ready)

    def _is_live(self, entry: tuple[int, int, bytes]) -> bool:
        found = self._wants.get(entry[2])
        return found is not None and found[1] == entry[1]
