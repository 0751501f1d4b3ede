"""What is known of a declared rendition in memory: its layout and which segments are here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from marina.cid import Cid
from storage.blocks.rows import HaveRow
from storage.content.layout import RenditionLayout, SegmentPlan

STATES_MAX = 1024
DIGEST_BYTES_MAX = 16 * 1024 * 1024


@dataclass(slots=True, eq=False, weakref_slot=True)
class RenditionState:
    """One declared rendition; bit *i* of a bitmap is segment *i*.

    Attributes:
        layout: root, cut and digests.
        charge_bytes: what it counts against the quota.
        have: segments that are here.
        durable: segments whose present bytes were synced.
        recorded: segments that the index names; lags behind until the next commit.
        lost: segments that were found damaged since the running commit began.
        unsynced_bytes: bytes written since the last commit.
        is_write_lost: the disk failed to sync bytes that were put; the next flush says so.
        is_deleted: it was removed; whoever still holds this object starts over.
    """

    layout: RenditionLayout
    charge_bytes: int
    have: int = 0
    durable: int = 0
    recorded: int = 0
    lost: int = 0
    unsynced_bytes: int = 0
    is_write_lost: bool = False
    is_deleted: bool = False
    plan: SegmentPlan = field(init=False)

    def __post_init__(self) -> None:
        self.plan = self.layout.plan

    @property
    def full(self) -> int:
        """The bitmap of a whole rendition."""
        return (1 << self.plan.count) - 1

    @property
    def is_dirty(self) -> bool:
        """Whether a commit has something to do or a flush something to say."""
        return self.is_behind or self.is_write_lost

    @property
    def is_behind(self) -> bool:
        """Whether disk or index lag behind."""
        return self.have != self.recorded or self.have != self.durable

    def settle(self, bits: int) -> None:
        """Note that a bitmap is synced and recorded."""
        self.durable = self.recorded = bits

    def has(self, index: int) -> bool:
        """Return whether a segment is here."""
        return bool(self.have >> index & 1)

    def byte_count(self, bits: int) -> int:
        """Return the ciphertext bytes of the segments in a bitmap."""
        if bits == self.full:
            return self.plan.ciphertext_bytes
        return sum(self.plan.ciphertext(index).length for index in indices_of(bits))

    def have_row(self, bits: int) -> HaveRow:
        """Return a bitmap as it is stored."""
        return HaveRow(bits.to_bytes(-(-self.plan.count // 8), "little"))


def indices_of(bits: int) -> Iterator[int]:
    """Yield the indices of the bits that are set, lowest first."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


class StateCache:
    """States by root: each one in use anywhere, each dirty one, and the last used of the others.

    There is at most one state of a root at a time: a state that somebody still works with is found
    again, however full the cache is.
    """

    def __init__(self, *, states_max: int = STATES_MAX, digest_bytes_max: int = DIGEST_BYTES_MAX) -> None:
        self._live: WeakValueDictionary[Cid, RenditionState] = WeakValueDictionary()
        self._recent: OrderedDict[Cid, RenditionState] = OrderedDict()
        self._states_max = states_max
        self._digest_bytes_max = digest_bytes_max
        self._digest_bytes = 0
        self.dirty: dict[Cid, RenditionState] = {}

    def get(self, root: Cid) -> RenditionState | None:
        """Return the state of a root if it is in memory."""
        state = self._live.get(root)
        if state is not None:
            self._keep(root, state)
        return state

    def add(self, state: RenditionState) -> RenditionState:
        """Return the state of a root: the one that was here already, or else this one."""
        root = state.layout.root
        state = self._live.setdefault(root, state)
        self._keep(root, state)
        return state

    def discard(self, root: Cid) -> None:
        """Forget a root that was deleted."""
        self._live.pop(root, None)
        self.dirty.pop(root, None)
        dropped = self._recent.pop(root, None)
        if dropped is not None:
            self._digest_bytes -= len(dropped.layout.digests)

    def _keep(self, root: Cid, state: RenditionState) -> None:
        if root not in self._recent:
            self._recent[root] = state
            self._digest_bytes += len(state.layout.digests)
        self._recent.move_to_end(root)
        while len(self._recent) > 1 and (
            len(self._recent) > self._states_max or self._digest_bytes > self._digest_bytes_max
        ):
            _, dropped = self._recent.popitem(last=False)
            self._digest_bytes -= len(dropped.layout.digests)
