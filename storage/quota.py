"""How many bytes a node may keep, and what is promised of them already.

Pure accounting: the store says what it wants before it takes a byte. ``charged`` is what the index
holds (payload, the missing rest of declared renditions, an estimate for metadata); ``reserved`` is
what is on its way into it. The disk has a reserve that is never ours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from storage.content.layout import SMALL_BYTES
from storage.errors import DiskFullError, QuotaExceededError

QUOTA_BYTES_DEFAULT = 20 * 10**9
DISK_RESERVE_BYTES_DEFAULT = 256 * 1024**2
RENDITION_ROW_BYTES = 512
SEGMENT_ROW_BYTES = 160
"""Index of one segment in LevelDB: its digest in layout, key and table overhead."""
BLOCK_ROW_BYTES = 256
_NODE_BYTES = 64
_LINK_BYTES = 64


def rendition_charge(ciphertext_bytes: int, segments: int, node_bytes: int) -> int:
    """Return what a rendition counts against the quota from its declaration on."""
    return ciphertext_bytes + RENDITION_ROW_BYTES + segments * SEGMENT_ROW_BYTES + node_bytes


def rendition_charge_max(ciphertext_bytes: int) -> int:
    """Return an upper bound of ``rendition_charge`` for a rendition whose cut is not known yet."""
    segments = -(-ciphertext_bytes // SMALL_BYTES)
    return rendition_charge(ciphertext_bytes, segments, _NODE_BYTES + segments * _LINK_BYTES)


def block_charge(block_bytes: int) -> int:
    """Return what a small block counts against the quota."""
    return block_bytes + BLOCK_ROW_BYTES


class Quota:
    """The hard limit; safe to use from worker threads.

    Attributes:
        limit_bytes: what the owner allows.
        disk_reserve_bytes: free room of the disk that is left alone.
    """

    def __init__(
        self,
        limit_bytes: int = QUOTA_BYTES_DEFAULT,
        *,
        disk_reserve_bytes: int = DISK_RESERVE_BYTES_DEFAULT,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        """Account against a limit.

        Args:
            limit_bytes: the limit; may change later, also below what is charged.
            disk_reserve_bytes: see class.
            free_bytes: returns the disk's free bytes; the store supplies its own when None.
        """
        self.limit_bytes = limit_bytes
        self.disk_reserve_bytes = disk_reserve_bytes
        self.free_bytes = free_bytes
        self._lock = threading.Lock()
        self._charged_bytes = 0
        self._reserved_bytes = 0

    @property
    def charged_bytes(self) -> int:
        """What the index holds and what is reserved on top."""
        with self._lock:
            return self._charged_bytes + self._reserved_bytes

    def set_charged(self, charged_bytes: int) -> None:
        """Take over the index's total, after each of its changes."""
        with self._lock:
            self._charged_bytes = charged_bytes

    def shortfall(self, needed_bytes: int) -> int:
        """Return how many bytes must go before ``needed_bytes`` fit; 0 when they fit."""
        return max(0, self.charged_bytes + needed_bytes - self.limit_bytes)

    def reserve(self, needed_bytes: int) -> None:
        """Promise bytes to a caller, who gives them back with ``release``.

        Raises:
            QuotaExceededError: they do not fit; nothing was promised.
        """
        with self._lock:
            total = self._charged_bytes + self._reserved_bytes
            if total + needed_bytes > self.limit_bytes:
                raise QuotaExceededError(
                    f"{size_text(needed_bytes)} do not fit: {size_text(total)} of the quota of "
                    f"{size_text(self.limit_bytes)} are taken. Raise storage.quota or remove something"
                )
            self._reserved_bytes += needed_bytes

    def release(self, reserved_bytes: int) -> None:
        """End a promise, whether its bytes were charged or dropped."""
        with self._lock:
            self._reserved_bytes -= reserved_bytes

    def check_disk(self, needed_bytes: int) -> None:
        """Return if the disk keeps its reserve behind ``needed_bytes`` more.

        Raises:
            DiskFullError: it would not; the node stops accepting and keeps playing.
        """
        if self.free_bytes is None:
            return
        free = self.free_bytes()
        if free < needed_bytes + self.disk_reserve_bytes:
            raise DiskFullError(
                f"the disk has {size_text(free)} free and {size_text(self.disk_reserve_bytes)} stay "
                f"reserved: {size_text(needed_bytes)} more do not fit. Free some space; what is stored "
                "keeps playing"
            )


_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def size_text(size_bytes: int) -> str:
    """Return a size for people: three digits and a decimal unit."""
    size, unit = float(size_bytes), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size_bytes} bytes" if unit == 0 else f"{size:.3g} {_UNITS[unit]}"
