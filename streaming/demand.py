"""Which segments are wanted by when: readers' places and paces, waiting calls, head and tail. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from storage.content.layout import TAIL_SEGMENTS, SegmentPlan

_EDGE_S = 0.5
"""Deadline of head and tail: behind the place of a reader, before all that is further ahead."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A reader's place and pace.

    Attributes:
        index: the segment it reads.
        bytes_per_s: how fast it reads.
        moved_s: when it came there.
    """

    index: int
    bytes_per_s: float
    moved_s: float


class Demand:
    """Deadlines of the segments that somebody is near.

    Head and tail are wanted from the start and once, because players of Ogg and MP4 read both before
    the first sound.
    """

    def __init__(self, plan: SegmentPlan, *, buffer_s: float) -> None:
        self._plan = plan
        self._buffer_s = buffer_s
        self._ahead_bytes_max = plan.plaintext_bytes
        self._cursors: dict[int, Cursor] = {}
        self._waited_for: dict[int, float] = {}
        self._edges = {0, *range(max(0, plan.count - TAIL_SEGMENTS), plan.count)}

    @property
    def is_idle(self) -> bool:
        """Whether nobody reads or waits and both ends were had."""
        return not (self._cursors or self._waited_for or self._edges)

    def is_mere_edge(self, index: int) -> bool:
        """Return whether a segment is wanted early for being at an end, not because somebody waits."""
        return index in self._edges and index not in self._waited_for

    def set_cursor(self, cursor: int, index: int, bytes_per_s: float, now_s: float) -> None:
        """Place a reader."""
        self._cursors[cursor] = Cursor(index, max(1.0, bytes_per_s), now_s)

    def drop_cursor(self, cursor: int) -> None:
        """Forget a reader."""
        self._cursors.pop(cursor, None)

    def wait_for(self, index: int, now_s: float) -> None:
        """Want a segment at once, wherever the readers are."""
        self._waited_for.setdefault(index, now_s)

    def stop_waiting(self, index: int) -> None:
        """Forget that somebody waited for a segment."""
        self._waited_for.pop(index, None)

    def met(self, index: int) -> None:
        """Count a segment as had, though it may be lost again."""
        self._edges.discard(index)
        self._waited_for.pop(index, None)

    def limit_ahead(self, size_bytes: int) -> None:
        """Fetch at most so many bytes ahead of a reader, whatever its pace."""
        self._ahead_bytes_max = size_bytes

    def deadlines(self, missing: AbstractSet[int], now_s: float) -> dict[int, float]:
        """Return when each missing segment that somebody is near should be here."""
        wanted = {index: asked_s for index, asked_s in self._waited_for.items() if index in missing}
        for index in self._edges & missing:
            wanted[index] = min(wanted.get(index, now_s + _EDGE_S), now_s + _EDGE_S)
        for cursor in self._cursors.values():
            self._ahead(cursor, missing, wanted)
        return wanted

    def _ahead(self, cursor: Cursor, missing: AbstractSet[int], wanted: dict[int, float]) -> None:
        start = self._plan.plaintext(cursor.index).start
        reach_bytes = min(self._ahead_bytes_max, self._buffer_s * cursor.bytes_per_s)
        for index in range(cursor.index, self._plan.count):
            distance_bytes = self._plan.plaintext(index).start - start
            if distance_bytes > reach_bytes:
                return
            if index in missing:
                deadline_s = cursor.moved_s + distance_bytes / cursor.bytes_per_s
                wanted[index] = min(wanted.get(index, deadline_s), deadline_s)
