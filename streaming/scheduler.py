"""Which segment to ask of which peer next. Pure: time comes in, actions go out.

Order of asking: what somebody waits for, then head and tail, then ahead of the readers by deadline while
their buffer is short (demand.py), then, if the whole rendition is wanted, the rarest first. A segment
that is late and urgent is asked of up to three more peers; wasted bytes are bounded. A peer that lied
is never asked again; one that is slow gets little (peer_link.py). The same calls give the same actions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import takewhile

from marina.ids import PeerId
from storage.content.layout import SegmentPlan
from streaming.demand import Demand
from streaming.peer_link import PeerLink

_OWNERS_MAX = 4
_BACKLOG_EVERY_S = 0.25
_STALL_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """How eager and how careful.

    Attributes:
        buffer_s: sound that is fetched ahead of a cursor in deadline order.
        urgent_s: a missing segment with less than this until its deadline is hedged.
        window_s: seconds of its own rate that a peer may have outstanding, beside its latency.
        window_min_bytes, window_max_bytes: bounds of that window.
        first_bytes: what each may owe while no peer has delivered; afterwards one that was never tried
            owes one segment.
        spare_bytes: may be wasted before anything was received.
        queue_s: an urgent segment may wait so long behind what a fast peer owes; otherwise a peer that
            owes nothing urgent is broken off for it.
        hedge_after: multiple of a peer's expected time after which its answer is late.
        hedge_floor_s: never hedge earlier than this.
        duplicate_share: bytes wasted, as a share of all bytes received (design T8: 1.3 in all).
        batch_bytes: most bytes in one request.
        useless_s: a peer that would send for longer than this what has come from others is broken off.
        stall_s: a peer that delivers nothing for so long is broken off and rests; half of it for one
            that never delivered while others do.
    """

    buffer_s: float = 30.0
    urgent_s: float = 4.0
    window_s: float = 0.5
    window_min_bytes: int = 128 * 1024
    window_max_bytes: int = 4 * 1024 * 1024
    first_bytes: int = 192 * 1024
    spare_bytes: int = 256 * 1024
    queue_s: float = 0.2
    hedge_after: float = 3.0
    hedge_floor_s: float = 0.25
    duplicate_share: float = 0.25
    batch_bytes: int = 2 * 1024 * 1024
    useless_s: float = 0.2
    stall_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """Ask a peer for segments."""

    peer: PeerId
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Break off everything that a peer was asked for; what is still wanted is asked anew."""

    peer: PeerId


class Scheduler:
    """State of one rendition's download.

    The driver reports on peers and segments as they come and go, places readers through ``demand``,
    and calls ``actions`` after every report and at the latest after ``next_check_s``.
    """

    def __init__(
        self, plan: SegmentPlan, here: frozenset[int], *, config: SchedulerConfig | None = None
    ) -> None:
        self._plan = plan
        self._config = config or SchedulerConfig()
        self.demand = Demand(plan, buffer_s=self._config.buffer_s)
        self._missing = set(range(plan.count)) - here
        self._owners: dict[int, list[PeerId]] = {}
        self._peers: dict[PeerId, PeerLink] = {}
        self._liars: set[PeerId] = set()
        self._wants_all = False
        self._backlog: list[int] = []
        self._backlog_made_s = float("-inf")
        self._gathers_until_s = float("-inf")
        self.received_bytes = 0
        self.wasted_bytes = 0

    # What the driver reports.

    def add_peer(self, peer: PeerId, has: frozenset[int] | None) -> None:
        """Count a peer in, or learn what it has (None: not known, so perhaps all); a liar stays out."""
        if peer not in self._liars:
            self._peers.setdefault(peer, PeerLink()).has = has

    def drop_peer(self, peer: PeerId) -> None:
        """Forget a peer that is gone; what it was asked for is open again."""
        link = self._peers.pop(peer, None)
        if link:
            for index in link.asked:
                self._release(peer, index)

    def gather_peers(self, until_s: float) -> None:
        """Ask only for what is urgent until then, so that peers who are about to come get their share."""
        self._gathers_until_s = until_s

    def found(self, here: frozenset[int]) -> None:
        """Count segments in that turned out to be on this node."""
        self._missing -= here
        for index in here:
            self.demand.met(index)

    def lost(self, index: int) -> None:
        """Open a segment again that was here and is damaged or was let go."""
        self._missing.add(index)

    def want_all(self, *, is_wanted: bool = True) -> None:
        """Fetch the whole rendition, also what no reader is near; or stop doing so."""
        self._wants_all = is_wanted

    def progressed(self, peer: PeerId, size_bytes: int, now_s: float) -> None:
        """Count bytes that came since the last report, also of a segment that is not whole yet."""
        link = self._peers.get(peer)
        if link is not None and link.asked:
            link.progressed(size_bytes, now_s)

    def arrived(self, peer: PeerId, index: int, now_s: float) -> None:
        """Count a verified segment."""
        size = self._size(index)
        self.received_bytes += size
        if index in self._missing:
            self._missing.discard(index)
            self.demand.met(index)
        else:
            self.wasted_bytes += size
        link = self._peers.get(peer)
        if link is not None:
            link.delivered(index, size, now_s)
            self._unask(peer, link, index)

    def failed(self, peer: PeerId, indices: tuple[int, ...], now_s: float) -> None:
        """Open segments again that a peer did not deliver; twice in a row and it rests."""
        link = self._peers.get(peer)
        if link is not None:
            for index in indices:
                self._unask(peer, link, index)
            link.strike(now_s)

    def lacks(self, peer: PeerId, index: int, now_s: float) -> None:
        """Note that a peer does not have a segment, at least for now."""
        link = self._peers.get(peer)
        if link is not None:
            self._unask(peer, link, index)
            link.missed(index, now_s)

    def lied(self, peer: PeerId, index: int) -> None:
        """Never ask a peer again that sent bytes which do not hash to their digest."""
        self._liars.add(peer)
        self.wasted_bytes += self._size(index)
        self.drop_peer(peer)

    # What the driver asks.

    @property
    def is_complete(self) -> bool:
        """Whether every segment is here."""
        return not self._missing

    def is_missing(self, index: int) -> bool:
        """Return whether a segment is not here."""
        return index in self._missing

    def is_liar(self, peer: PeerId) -> bool:
        """Return whether a peer ever sent a corrupt segment."""
        return peer in self._liars

    def idlest_peer(self, now_s: float) -> PeerId | None:
        """Return a peer of no use now, to be exchanged for a new one: it rests or has nothing missing."""
        for peer, link in self._peers.items():
            is_of_no_use = (
                link.is_resting(now_s)
                or link.seems_empty()
                or not any(link.may_have(index, now_s) for index in self._missing)
            )
            if is_of_no_use and not link.asked:
                return peer
        return None

    def actions(self, now_s: float) -> list[Request | Cancel]:
        """Return what to do now; each request is counted as sent."""
        batches: dict[PeerId, list[int]] = {}
        cancels: list[Request | Cancel] = self._break_off(now_s)
        pressing = self.demand.deadlines(self._missing, now_s)
        for index, deadline_s in sorted(pressing.items(), key=lambda item: (item[1], item[0])):
            if index in self._owners:
                if deadline_s - now_s <= self._config.urgent_s:
                    self._hedge(index, now_s, batches, deadline_s=deadline_s)
                continue
            is_urgent = deadline_s - now_s <= self._config.urgent_s
            if not is_urgent and now_s < self._gathers_until_s and not self._wants_all:
                continue
            peer = None if is_urgent else self._untried(index, now_s)
            peer = peer or self._choose(index, now_s, deadline_s=deadline_s)
            if peer is None and is_urgent:
                peer = self._make_room(index, now_s, pressing, cancels, batches)
            self._ask(peer, index, now_s, batches)
        if self._wants_all:
            self._fill(now_s, batches)
        requests = [Request(peer, chunk) for peer, indices in batches.items() for chunk in self._cut(indices)]
        return [*cancels, *requests]

    def next_check_s(self) -> float:
        """Return the seconds after which ``actions`` should be called though nothing happened."""
        if not self._missing or (self.demand.is_idle and not self._wants_all):
            return 60.0
        if self._owners:
            return 0.1
        return _BACKLOG_EVERY_S if self._peers else 1.0

    # Order behind the deadlines.

    def _fill(self, now_s: float, batches: dict[PeerId, list[int]]) -> None:
        """Give idle capacity to the rest of the rendition, rarest first; at its end ask late ones twice.

        The order is kept between calls and made anew when it runs out, so that a call costs what it
        asks for, not what is missing.
        """
        if not self._has_capacity(now_s):
            return
        if not self._backlog and now_s - self._backlog_made_s >= _BACKLOG_EVERY_S:
            self._backlog_made_s = now_s
            self._backlog = [index for index in self._rarest_first(now_s) if index not in self._owners][::-1]
            if not self._backlog:
                for index in sorted(self._missing & self._owners.keys()):
                    self._hedge(index, now_s, batches)
        while self._backlog and self._has_capacity(now_s):
            index = self._backlog[-1]
            if index in self._missing and index not in self._owners:
                peer = self._untried(index, now_s) or self._choose(index, now_s)
                if peer is None and self._is_obtainable(index, now_s):
                    return  # its turn comes with the next room
                # What nobody can give now is met again in the next round of the backlog.
                self._ask(peer, index, now_s, batches)
            self._backlog.pop()

    def _rarest_first(self, now_s: float) -> list[int]:
        known = [link for link in self._peers.values() if link.has is not None or link.lacks_until_s]
        if not known:
            return sorted(self._missing)
        counts = Counter(
            {index: sum(link.may_have(index, now_s) for link in known) for index in self._missing}
        )
        return sorted(self._missing, key=lambda index: (counts[index], index))

    def _has_capacity(self, now_s: float) -> bool:
        smallest = self._size(0)
        return any(
            not link.is_resting(now_s) and self._has_room(link, smallest) for link in self._peers.values()
        )

    # Choice of peer.

    def _choose(
        self,
        index: int,
        now_s: float,
        *,
        without: tuple[PeerId, ...] = (),
        deadline_s: float = float("inf"),
    ) -> PeerId | None:
        """Return the peer with room that should deliver first.

        None also when that one would be too late and a busy one, though later served, much sooner.
        """
        size = self._size(index)
        best, best_s, busy_s = None, float("inf"), float("inf")
        for peer, link in self._peers.items():
            if peer in without or not self._may_ask(link, index, now_s):
                continue
            expected_s = link.expected_s(size)
            if not self._has_room(link, size):
                busy_s = min(busy_s, expected_s)
            elif expected_s < best_s:
                best, best_s = peer, expected_s
        is_too_slow = now_s + best_s > deadline_s and 2 * busy_s < best_s
        return None if is_too_slow else best

    def _untried(self, index: int, now_s: float) -> PeerId | None:
        """Return a peer that was never asked: what is not urgent tells once what it is worth."""
        for peer, link in self._peers.items():
            if link.is_new and self._may_ask(link, index, now_s):
                return peer
        return None

    def _is_obtainable(self, index: int, now_s: float) -> bool:
        return any(self._may_ask(link, index, now_s) for link in self._peers.values())

    def _may_ask(self, link: PeerLink, index: int, now_s: float) -> bool:
        return not link.is_resting(now_s) and link.may_have(index, now_s)

    def _has_room(self, link: PeerLink, size_bytes: int) -> bool:
        return not link.asked or link.owed_bytes + size_bytes <= self._window(link)

    def _window(self, link: PeerLink) -> float:
        if not link.is_proven:
            # One segment on trial: a liar among proven peers costs that and no more.
            return 0.0 if self.received_bytes else self._config.first_bytes
        window = link.rate_bps * (self._config.window_s + link.latency_s)
        return min(self._config.window_max_bytes, max(self._config.window_min_bytes, window))

    def _make_room(
        self,
        index: int,
        now_s: float,
        pressing: dict[int, float],
        cancels: list[Request | Cancel],
        batches: dict[PeerId, list[int]],
    ) -> PeerId | None:
        """Return a peer for an urgent segment though all windows are full: seeks are served at once."""
        size = self._size(index)
        able = [(peer, link) for peer, link in self._peers.items() if self._may_ask(link, index, now_s)]
        able.sort(key=lambda item: item[1].expected_s(size))
        if able and able[0][1].expected_s(size) <= self._config.queue_s:
            return able[0][0]
        if self.demand.is_mere_edge(index):
            return None  # nobody waits for it: not worth a broken session
        urgent_until_s = now_s + self._config.urgent_s
        for peer, link in able:
            if not any(pressing.get(each, float("inf")) <= urgent_until_s for each in link.asked):
                for each in list(link.asked):
                    self._unask(peer, link, each)
                batches.pop(peer, None)
                cancels.append(Cancel(peer))
                return peer
        return None

    # Late and stalled peers.

    def _hedge(
        self, index: int, now_s: float, batches: dict[PeerId, list[int]], *, deadline_s: float = float("inf")
    ) -> None:
        """Ask one more peer for a segment that is late, or will be by what its owner sends before it."""
        owners = self._owners[index]
        if len(owners) >= _OWNERS_MAX:
            return
        last = self._peers[owners[-1]]
        size = self._size(index)
        # Nothing is known of a peer that was never tried, so it gets no more than the floor.
        expected_s = last.expected_s(0) if last.rate_bps else 0.0
        patience_s = max(self._config.hedge_floor_s, self._config.hedge_after * expected_s)
        other = self._choose(index, now_s, without=tuple(owners))
        if other is None:
            return
        if now_s - max(last.asked[index], last.progress_s) < patience_s:
            if self.demand.is_mere_edge(index):
                return
            forecast_s = self._forecast_s(last, index)
            soon_s = self._peers[other].expected_s(size)
            is_rescue = now_s + soon_s <= deadline_s < now_s + forecast_s
            if not is_rescue and (now_s + forecast_s <= deadline_s < float("inf") or 2 * soon_s > forecast_s):
                return
        # A reader that starves may waste more than the ends of the file, which also press.
        spare = self._config.spare_bytes * (3 if deadline_s <= now_s else 1)
        if self._waste_bytes() + size > self._config.duplicate_share * self.received_bytes + spare:
            return
        self._ask(other, index, now_s, batches)

    def _forecast_s(self, link: PeerLink, index: int) -> float:
        """Return the seconds until a peer delivers a segment that it owes; 0 if its rate is not known."""
        if not link.rate_bps:
            return 0.0
        ahead = sum(self._size(each) for each in takewhile(lambda each: each != index, link.asked))
        return max(0.0, ahead + self._size(index) - link.partial_bytes) / link.rate_bps

    def _waste_bytes(self) -> int:
        """Return what was wasted, and what will be if every answer that is not needed also comes."""
        pending = sum(
            (len(owners) - (index in self._missing)) * self._size(index)
            for index, owners in self._owners.items()
        )
        return self.wasted_bytes + pending

    def _break_off(self, now_s: float) -> list[Request | Cancel]:
        """End what peers stall on, and what others have delivered meanwhile."""
        ended: list[Request | Cancel] = []
        for peer, link in self._peers.items():
            # Only whole segments count as progress, so a slow link gets longer each time.
            patience_s = min(_STALL_MAX_S, self._config.stall_s * 2**link.strikes)
            if not link.is_proven and self.received_bytes:
                patience_s /= 2  # others deliver, this one never did
            if not link.asked:
                continue
            if link.owed_bytes > self._config.useless_s * link.rate_bps > 0 and not (
                self._missing & link.asked.keys()
            ):
                for index in list(link.asked):
                    self._unask(peer, link, index)
                ended.append(Cancel(peer))
            elif now_s - link.progress_s > patience_s:
                self.failed(peer, tuple(link.asked), now_s)
                is_alone = all(each is link or each.is_resting(now_s) for each in self._peers.values())
                link.rests_until_s = now_s if is_alone else now_s + 4 * self._config.stall_s
                ended.append(Cancel(peer))
        return ended

    # Bookkeeping.

    def _size(self, index: int) -> int:
        return self._plan.ciphertext(index).length

    def _ask(self, peer: PeerId | None, index: int, now_s: float, batches: dict[PeerId, list[int]]) -> None:
        if peer is not None:
            self._peers[peer].ask(index, self._size(index), now_s)
            self._owners.setdefault(index, []).append(peer)
            batches.setdefault(peer, []).append(index)

    def _unask(self, peer: PeerId, link: PeerLink, index: int) -> None:
        if link.unask(index, self._size(index)):
            self._release(peer, index)

    def _release(self, peer: PeerId, index: int) -> None:
        owners = self._owners[index]
        owners.remove(peer)
        if not owners:
            del self._owners[index]
            if self._wants_all and index in self._missing:
                self._backlog.append(index)  # asked of the next peer now, not in the next round

    def _cut(self, indices: list[int]) -> list[tuple[int, ...]]:
        chunks: list[tuple[int, ...]] = []
        chunk: list[int] = []
        size = 0
        for index in indices:
            length = self._size(index)
            if chunk and size + length > self._config.batch_bytes:
                chunks.append(tuple(chunk))
                chunk, size = [], 0
            chunk.append(index)
            size += length
        return [*chunks, tuple(chunk)] if chunk else chunks
