"""Where a listener is, guessed from what the player reads. Pure.

Players read ahead as fast as they get bytes, jump to the tail for its index, and come back. So a read of
the tail that follows on no other is a probe and no place, and within a run of reads the listener moves
at the pace of the sound, never beyond what was read.
"""

from __future__ import annotations

from storage.content.layout import SMALL_BYTES, TAIL_SEGMENTS


class Playhead:
    """The place of one listener in one rendition."""

    def __init__(self, *, size_bytes: int, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._tail = max(1, size_bytes - TAIL_SEGMENTS * SMALL_BYTES)
        self._run_start = 0
        self._run_end = 0
        self._began_s: float | None = None

    def read(self, start: int, length: int, now_s: float) -> None:
        """Count bytes that the player took."""
        if self._began_s is not None and start == self._run_end:
            self._run_end += length
        elif start < self._tail:
            self._run_start, self._run_end, self._began_s = start, start + length, now_s

    def byte_at(self, now_s: float) -> int:
        """Return the byte that sounds now."""
        if self._began_s is None:
            return 0
        played = max(0.0, now_s - self._began_s) * self._bytes_per_s
        return min(self._run_end, self._run_start + int(played))
