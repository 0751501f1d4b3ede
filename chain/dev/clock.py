"""The chain's time: the machine's, moved forward by whoever tests what happens later."""

from __future__ import annotations

from chain.dev.faults import INVALID_PARAMS, RpcFault
from chain.dev.store import Store
from marina.clock import Clock

TRAVEL_S_MAX = 100 * 365 * 86_400
_OFFSET = "time_offset_s"
_NEXT = "next_timestamp_s"


class ChainClock:
    """Gives blocks their time.

    Blocks follow each other as fast as transactions come, so several may have the same second, as on
    Arbitrum; the chain's time therefore never runs ahead of the clock. It never goes back either.
    """

    def __init__(self, *, clock: Clock, store: Store) -> None:
        self._clock = clock
        self._store = store

    def next_s(self, head_s: int) -> int:
        """Return the time of the block after one of time ``head_s``, if it was made now."""
        chosen = self._store.note(_NEXT)
        return int(chosen) if chosen else max(head_s, self._clock.now_s() + self._offset_s())

    def travel(self, seconds: int) -> int:
        """Move the time forward for ever and return how far ahead it is, inside a transaction.

        Raises:
            RpcFault: more than a hundred years in all.
        """
        offset_s = self._offset_s() + seconds
        self._set_offset(offset_s)
        self._store.set_note(_NEXT, b"")
        return offset_s

    def choose(self, timestamp_s: int, head_s: int) -> None:
        """Fix the time of the next block; later ones go on from there; inside a transaction.

        Raises:
            RpcFault: it is before the last block, or more than a hundred years ahead.
        """
        if timestamp_s < head_s:
            raise RpcFault(
                INVALID_PARAMS, f"timestamp {timestamp_s} is before the last block's timestamp {head_s}"
            )
        self._set_offset(timestamp_s - self._clock.now_s())
        self._store.set_note(_NEXT, str(timestamp_s).encode())

    def used(self) -> None:
        """Note that a block took the chosen time, inside a transaction."""
        if self._store.note(_NEXT):
            self._store.set_note(_NEXT, b"")

    def _offset_s(self) -> int:
        return int(self._store.note(_OFFSET) or 0)

    def _set_offset(self, offset_s: int) -> None:
        if offset_s > TRAVEL_S_MAX:
            raise RpcFault(INVALID_PARAMS, "the chain's time can be at most 100 years ahead of the clock")
        self._store.set_note(_OFFSET, str(offset_s).encode())
