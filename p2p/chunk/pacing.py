"""Byte rates: what may pass now, over all peers and fairly between them."""

from __future__ import annotations

from collections import Counter

import trio

from marina.clock import Clock
from marina.ids import PeerId
from marina.ratelimit import TokenBucket

PIECE_BYTES = 32 * 1024
"""Under a cap bytes pass in pieces of this size, so that a slow cap still shows steady progress."""


class Pacer:
    """A cap in bytes per second that all transfers of one direction share.

    Each peer waits for at most one piece at a time, so peers share the cap equally however many
    streams they open. Without a cap ``pass_bytes`` returns at once.
    """

    def __init__(self, *, clock: Clock, bytes_per_s: float | None, burst_s: float) -> None:
        self._clock = clock
        self._bytes_per_s = bytes_per_s
        self._bucket = (
            TokenBucket(bytes_per_s, max(bytes_per_s * burst_s, PIECE_BYTES), clock.monotonic_s())
            if bytes_per_s is not None
            else None
        )
        self._turns: dict[PeerId, trio.Lock] = {}
        self._users: Counter[PeerId] = Counter()

    @property
    def is_capped(self) -> bool:
        """Whether there is a cap at all."""
        return self._bucket is not None

    def backlog_s(self) -> float:
        """Return the seconds until a new piece could pass."""
        return 0.0 if self._bucket is None else self._bucket.wait_s(0.0, self._clock.monotonic_s())

    async def pass_bytes(self, peer: PeerId, size_bytes: int) -> None:
        """Wait until so many bytes of a peer may pass and count them."""
        if self._bucket is None:
            return
        turn = self._turns.setdefault(peer, trio.Lock())
        self._users[peer] += 1
        try:
            async with turn:
                left = size_bytes
                while left > 0:
                    piece = min(left, PIECE_BYTES)
                    left -= piece
                    await trio.sleep(self._bucket.take(piece, self._clock.monotonic_s()))
        finally:
            self._users[peer] -= 1
            if self._users[peer] <= 0:
                del self._users[peer]
                del self._turns[peer]
