"""Time as an argument: nothing below ``node`` reads the clock by itself."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for what others see, monotonic time for intervals."""

    def now_s(self) -> int:
        """Return Unix seconds, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never go backwards, from an arbitrary start."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> int:
        """Return Unix seconds, UTC."""
        return int(time.time())

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary start."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is moved; for tests and simulations."""

    def __init__(self, now_s: int = 1_700_000_000) -> None:
        self._now_s = now_s
        self._elapsed_s = 0.0

    def now_s(self) -> int:
        """Return the set Unix time plus whole elapsed seconds."""
        return self._now_s + int(self._elapsed_s)

    def monotonic_s(self) -> float:
        """Return the elapsed seconds."""
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._elapsed_s += seconds

    def set_wall(self, now_s: int) -> None:
        """Move only the wall clock, as a user or NTP would."""
        self._now_s = now_s - int(self._elapsed_s)
