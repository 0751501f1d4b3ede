"""Which segment to ask of which peer next. Pure: time comes in, actions go out.

Participants: cursors (where players read, each with a rate), peers (what they have, how fast and how
late they were), segments (missing, asked for, here).

Order of asking: what a cursor waits for, then head and tail (Ogg and MP4 players jump to the end at
once), then ahead of the cursors by deadline while their buffer is short, then, if the whole rendition
is wanted, the rarest first. A segment that is late and urgent is asked of a second peer; duplicates
are bounded. A peer that lied is never asked again; one that is slow gets little.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from marina.ids import PeerId
from storage.content.layout import SegmentPlan


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """How eager and how careful.

    Attributes:
        buffer_s: sound that is fetched ahead of a cursor in deadline order.
        urgent_s: a missing segment with less than this until its deadline is hedged.
        window_s: seconds of its own rate that a peer may have outstanding.
        window_min_bytes, window_max_bytes: bounds of that window; the first is also what a peer
            that was never tried gets.
        hedge_after: multiple of a peer's expected time after which its answer is late.
        hedge_floor_s: never hedge earlier than this.
        duplicate_share: bytes asked twice, as a share of all bytes received (design T8: 1.3 in all).
        batch_bytes: most bytes in one request.
        stall_s: a peer that delivers nothing for so long is broken off and rests.
    """

    buffer_s: float = 30.0
    urgent_s: float = 4.0
    window_s: float = 0.5
    window_min_bytes: int = 256 * 1024
    window_max_bytes: int = 8 * 1024 * 1024
    hedge_after: float = 3.0
    hedge_floor_s: float = 0.25
    duplicate_share: float = 0.25
    batch_bytes: int = 2 * 1024 * 1024
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


@dataclass(slots=True)
class Cursor:
    """A reader's place and pace."""

    index: int
    bytes_per_s: float
    moved_s: float


@dataclass(slots=True)
class PeerLink:
    """What is known of one peer.

    Attributes:
        has: segments it has; None until it said so, which counts as all.
        asked: outstanding segments and when each was asked for.
        rate_bps: bytes a second while it was busy, moving average; 0 before the first answer.
        latency_s: time to the first answer after being idle, moving average.
        strikes: failures in a row; two in a row make it sit out for a while.
    """

    has: frozenset[int] | None = None
    asked: dict[int, float] = field(default_factory=dict)
    asked_bytes: int = 0
    rate_bps: float = 0.0
    latency_s: float = 0.05
    busy_since_s: float = 0.0
    progress_s: float = 0.0
    busy_bytes: int = 0
    strikes: int = 0
    rests_until_s: float = 0.0
    is_liar: bool = False


class Scheduler:
    """State of one rendition's download."""

    def __init__(
        self, plan: SegmentPlan, here: frozenset[int], *, config: SchedulerConfig | None = None
    ) -> None:
        self._plan = plan
        self._config = config or SchedulerConfig()
        self._missing = set(range(plan.count)) - here
        self._owners: dict[int, list[PeerId]] = {}
        self._peers: dict[PeerId, PeerLink] = {}
        self._cursors: dict[int, Cursor] = {}
        self._wants_all = False
        self._backlog: list[int] = []
        self.received_bytes = 0
        self.duplicate_bytes = 0

    # What the driver reports.

    def add_peer(self, peer: PeerId, has: frozenset[int] | None) -> None:
        """Count a peer in, or learn what it has; a liar stays out."""
        link = self._peers.setdefault(peer, PeerLink())
        link.has = has

    def found(self, here: frozenset[int]) -> None:
        """Count segments in that turned out to be on this node."""
        self._missing -= here

    def drop_peer(self, peer: PeerId) -> None:
        """Forget a peer that is gone; what it was asked for is open again."""
        link = self._peers.pop(peer, None)
        if link:
            for index in link.asked:
                self._release(peer, index)

    def set_cursor(self, cursor: int, index: int, bytes_per_s: float, now_s: float) -> None:
        """Place a reader; its pace is the rendition's bitrate."""
        self._cursors[cursor] = Cursor(index, max(1.0, bytes_per_s), now_s)

    def drop_cursor(self, cursor: int) -> None:
        """Forget a reader."""
        self._cursors.pop(cursor, None)

    def want_all(self) -> None:
        """Fetch the whole rendition, also what no cursor is near."""
        self._wants_all = True

    def arrived(self, peer: PeerId, index: int, now_s: float) -> None:
        """Count a verified segment."""
        size = self._plan.ciphertext(index).length
        link = self._peers.get(peer)
        if link is not None:
            self._measure(link, index, size, now_s)
            self._unask(peer, link, index)
            link.strikes, link.progress_s = 0, now_s
        self.received_bytes += size
        if index in self._missing:
            self._missing.discard(index)
        else:
            self.duplicate_bytes += size

    def failed(self, peer: PeerId, indices: tuple[int, ...], now_s: float) -> None:
        """Open segments again that a peer did not deliver; twice in a row and it rests."""
        link = self._peers.get(peer)
        if link is None:
            return
        for index in indices:
            self._unask(peer, link, index)
        link.strikes += 1
        if link.strikes >= 2:
            link.rests_until_s = now_s + min(30.0, 0.5 * 2**link.strikes)

    def lacks(self, peer: PeerId, index: int) -> None:
        """Note that a peer does not have a segment after all."""
        link = self._peers.get(peer)
        if link is not None:
            self._unask(peer, link, index)
            link.has = (frozenset(range(self._plan.count)) if link.has is None else link.has) - {index}

    def lied(self, peer: PeerId, index: int) -> None:
        """Never ask a peer again that sent bytes which do not hash to their digest."""
        link = self._peers.get(peer)
        if link is not None:
            link.is_liar = True
            for each in list(link.asked):
                self._unask(peer, link, each)
        self._missing.add(index)

    def lost(self, index: int) -> None:
        """Open a segment again that was here and is damaged."""
        self._missing.add(index)

    # What the driver asks.

    @property
    def is_complete(self) -> bool:
        """Whether every segment is here."""
        return not self._missing

    def is_missing(self, index: int) -> bool:
        """Return whether a segment is not here."""
        return index in self._missing

    def has_source(self, index: int) -> bool:
        """Return whether some peer that is not a liar has, or may have, a segment."""
        return any(
            not link.is_liar and (link.has is None or index in link.has) for link in self._peers.values()
        )

    def actions(self, now_s: float) -> list[Request | Cancel]:
        """Return what to do now; each request is counted as sent."""
        batches: dict[PeerId, list[int]] = {}
        cancels: list[Request | Cancel] = list(self._break_off_stalled(now_s))
        pressing = self._pressing(now_s)
        for index, deadline_s in sorted(pressing.items(), key=lambda item: (item[1], item[0])):
            if self._owners.get(index):
                self._hedge(index, deadline_s, now_s, batches)
                continue
            peer = self._best_peer(index, now_s, ())
            if peer is None and deadline_s - now_s < self._config.urgent_s:
                peer = self._make_room(index, now_s, pressing, cancels, batches)
            if peer is not None:
                self._ask(peer, index, now_s)
                batches.setdefault(peer, []).append(index)
        if self._wants_all:
            self._fill(now_s, batches)
        requests = [Request(peer, chunk) for peer, indices in batches.items() for chunk in self._cut(indices)]
        return [*cancels, *requests]

    def next_check_s(self) -> float:
        """Return the seconds after which ``actions`` should be called though nothing happened."""
        if not self._cursors and not self._wants_all:
            return 60.0
        return 0.1 if self._missing and any(link.asked for link in self._peers.values()) else 1.0

    # Order.

    def _pressing(self, now_s: float) -> dict[int, float]:
        """Return the deadline of each missing segment that a cursor is near, head and tail included."""
        wanted: dict[int, float] = {}
        for cursor in self._cursors.values():
            for index in (0, self._plan.count - 1):
                if index in self._missing:
                    wanted[index] = min(wanted.get(index, now_s + 0.5), now_s + 0.5)
            self._ahead(cursor, wanted)
        return wanted

    def _fill(self, now_s: float, batches: dict[PeerId, list[int]]) -> None:
        """Give idle capacity to the rest of the rendition, rarest first.

        The order is kept between calls and made anew when it runs out, so that a call costs what it
        asks for, not what is missing.
        """
        if not self._backlog:
            self._backlog = [index for index in self._rarest_first() if index not in self._owners][::-1]
        while self._backlog:
            index = self._backlog[-1]
            if index not in self._missing or index in self._owners:
                self._backlog.pop()
                continue
            peer = self._best_peer(index, now_s, ())
            if peer is None:
                return
            self._backlog.pop()
            self._ask(peer, index, now_s)
            batches.setdefault(peer, []).append(index)

    def _ahead(self, cursor: Cursor, wanted: dict[int, float]) -> None:
        start = self._plan.plaintext(cursor.index).start
        for index in range(cursor.index, self._plan.count):
            distance_s = (self._plan.plaintext(index).start - start) / cursor.bytes_per_s
            if distance_s > self._config.buffer_s:
                break
            deadline_s = cursor.moved_s + distance_s
            if index in self._missing:
                wanted[index] = min(wanted.get(index, deadline_s), deadline_s)

    def _rarest_first(self) -> list[int]:
        counts: Counter[int] = Counter()
        for link in self._peers.values():
            if link.has is not None and not link.is_liar:
                counts.update(link.has & self._missing)
        if not counts:
            return sorted(self._missing)
        return sorted(self._missing, key=lambda index: (counts[index], index))

    # Choice of peer.

    def _best_peer(self, index: int, now_s: float, without: tuple[PeerId, ...]) -> PeerId | None:
        size = self._plan.ciphertext(index).length
        best, best_s = None, float("inf")
        for peer, link in self._peers.items():
            if peer in without or not self._may_ask(link, index, now_s):
                continue
            if link.asked_bytes and link.asked_bytes + size > self._window(link):
                continue
            expected_s = self._expected_s(link, size)
            if expected_s < best_s:
                best, best_s = peer, expected_s
        return best

    def _may_ask(self, link: PeerLink, index: int, now_s: float) -> bool:
        return not link.is_liar and link.rests_until_s <= now_s and (link.has is None or index in link.has)

    def _window(self, link: PeerLink) -> float:
        window = link.rate_bps * (self._config.window_s + link.latency_s)
        return min(self._config.window_max_bytes, max(self._config.window_min_bytes, window))

    def _expected_s(self, link: PeerLink, size: int) -> float:
        rate_bps = link.rate_bps or 1_000_000.0
        return link.latency_s + (link.asked_bytes + size) / rate_bps + 0.2 * link.strikes

    def _hedge(self, index: int, deadline_s: float, now_s: float, batches: dict[PeerId, list[int]]) -> None:
        owners = self._owners[index]
        if len(owners) > 1 or deadline_s - now_s > self._config.urgent_s:
            return
        link = self._peers[owners[0]]
        size = self._plan.ciphertext(index).length
        patience_s = max(self._config.hedge_floor_s, self._config.hedge_after * self._expected_s(link, size))
        allowed = self._config.duplicate_share * self.received_bytes + self._config.window_min_bytes
        if now_s - link.asked[index] < patience_s or self._duplicates_pending() + size > allowed:
            return
        peer = self._best_peer(index, now_s, tuple(owners))
        if peer is not None:
            self._ask(peer, index, now_s)
            batches.setdefault(peer, []).append(index)

    def _duplicates_pending(self) -> int:
        pending = sum(
            (len(owners) - 1) * self._plan.ciphertext(index).length
            for index, owners in self._owners.items()
            if len(owners) > 1
        )
        return self.duplicate_bytes + pending

    def _break_off_stalled(self, now_s: float) -> list[Cancel]:
        stalled = [
            peer
            for peer, link in self._peers.items()
            if link.asked and now_s - link.progress_s > self._config.stall_s
        ]
        for peer in stalled:
            self.failed(peer, tuple(self._peers[peer].asked), now_s)
            self._peers[peer].rests_until_s = now_s + 4 * self._config.stall_s
        return [Cancel(peer) for peer in stalled]

    def _make_room(
        self,
        index: int,
        now_s: float,
        pressing: dict[int, float],
        cancels: list[Request | Cancel],
        batches: dict[PeerId, list[int]],
    ) -> PeerId | None:
        """Break off a peer whose outstanding segments no cursor is near, so that a seek is served at once."""
        for peer, link in sorted(self._peers.items(), key=lambda item: self._expected_s(item[1], 0)):
            is_spare = link.asked and not any(each in pressing for each in link.asked)
            if is_spare and self._may_ask(link, index, now_s):
                for each in list(link.asked):
                    self._unask(peer, link, each)
                batches.pop(peer, None)
                cancels.append(Cancel(peer))
                return peer
        return None

    # Bookkeeping.

    def _ask(self, peer: PeerId, index: int, now_s: float) -> None:
        link = self._peers[peer]
        if not link.asked:
            link.busy_since_s, link.busy_bytes, link.progress_s = now_s, 0, now_s
        link.asked[index] = now_s
        link.asked_bytes += self._plan.ciphertext(index).length
        self._owners.setdefault(index, []).append(peer)

    def _unask(self, peer: PeerId, link: PeerLink, index: int) -> None:
        if link.asked.pop(index, None) is not None:
            link.asked_bytes -= self._plan.ciphertext(index).length
            self._release(peer, index)

    def _release(self, peer: PeerId, index: int) -> None:
        owners = self._owners.get(index, [])
        if peer in owners:
            owners.remove(peer)
        if not owners:
            self._owners.pop(index, None)

    def _measure(self, link: PeerLink, index: int, size: int, now_s: float) -> None:
        asked_s = link.asked.get(index)
        if asked_s is None:
            return
        if link.busy_bytes == 0:
            link.latency_s += 0.3 * (min(5.0, now_s - asked_s) - link.latency_s)
        link.busy_bytes += size
        busy_s = now_s - link.busy_since_s
        if busy_s > 0:
            sample = link.busy_bytes / busy_s
            link.rate_bps = sample if not link.rate_bps else link.rate_bps + 0.3 * (sample - link.rate_bps)
        if busy_s > 1.0:
            link.busy_since_s, link.busy_bytes = now_s, 1

    def _cut(self, indices: list[int]) -> list[tuple[int, ...]]:
        chunks: list[tuple[int, ...]] = []
        chunk: list[int] = []
        size = 0
        for index in indices:
            length = self._plan.ciphertext(index).length
            if chunk and size + length > self._config.batch_bytes:
                chunks.append(tuple(chunk))
                chunk, size = [], 0
            chunk.append(index)
            size += length
        return [*chunks, tuple(chunk)] if chunk else chunks
