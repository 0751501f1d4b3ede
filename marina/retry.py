"""Full-jitter exponential backoff under a deadline, as a plain iterator of delays.

Source: Marc Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait between tries.

    Attributes:
        base_s: upper bound of the first delay.
        cap_s: upper bound of any delay.
        tries_max: tries in all, so one delay fewer.
    """

    base_s: float = 0.2
    cap_s: float = 10.0
    tries_max: int = 5

    def delays(self, rng: Random) -> Iterator[float]:
        """Yield the seconds to sleep before each further try."""
        for attempt in range(self.tries_max - 1):
            yield rng.uniform(0.0, min(self.cap_s, self.base_s * 2**attempt))
