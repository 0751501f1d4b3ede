"""Bans outlive a restart: a peer that served corrupt bytes stays out for its whole day."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import trio

from marina.clock import Clock
from marina.errors import MalformedError
from marina.ids import PeerId
from marina.schema import U32, U64, Size, decode_record, encode_record, record
from p2p.peerid import to_libp2p
from p2p.scores import BanReason, ScoreBook
from storage.errors import StorageError
from storage.kv import Table

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")
SAVE_EVERY_S = 5.0
_ROWS_MAX = 4096
_SLACK_S = 2


@record("marina/ban/1")
@dataclass(frozen=True, slots=True)
class Ban:
    """A ban as it is kept.

    Attributes:
        peer: who.
        until: wall time of its end, seconds since 1970.
        length_s: what was left of it when it was written; a clock set back adds no more than this.
        reason: value of a ``BanReason``.
    """

    peer: Annotated[str, Size(1, 128)]
    until: U64
    length_s: U32
    reason: Annotated[str, Size(1, 32)]


class BanKeeper:
    """Writes the bans of a score book down and puts them back at the next start."""

    def __init__(self, *, scores: ScoreBook, table: Table, clock: Clock) -> None:
        self._scores = scores
        self._table = table
        self._clock = clock
        self._saved: dict[PeerId, Ban] = {}
        self._lock = trio.Lock()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Put the bans back, then write changes down until cancelled."""
        await self._load()
        task_status.started()
        while True:
            await trio.sleep(SAVE_EVERY_S)
            try:
                await self.save()
            except StorageError as err:  # they hold until the next start, and are tried again
                log.warning("bans could not be saved", extra={"context": {"reason": str(err)}})

    async def save(self) -> None:
        """Write down what changed; StorageError when the disk refuses."""
        async with self._lock:
            now_s = self._clock.now_s()
            banned = self._scores.banned()
            for peer in [peer for peer in self._saved if peer not in banned]:
                await self._table.delete(peer.encode())
                del self._saved[peer]
            for peer, left_s in banned.items():
                until = now_s + int(left_s)
                known = self._saved.get(peer)
                if known is not None and abs(known.until - until) <= _SLACK_S:
                    continue
                reason = self._scores.ban_reason(peer) or BanReason.OPERATOR
                ban = Ban(peer, until, int(left_s), reason.value)
                await self._table.put(peer.encode(), encode_record(ban))
                self._saved[peer] = ban

    async def _load(self) -> None:
        now_s = self._clock.now_s()
        for key, data in await self._table.scan(limit=_ROWS_MAX):
            try:
                ban = decode_record(Ban, data)
                peer, reason = PeerId(ban.peer), BanReason(ban.reason)
                to_libp2p(peer)
            except (MalformedError, ValueError):
                await self._table.delete(key)
                continue
            left_s = min(ban.until - now_s, ban.length_s)
            if left_s <= 0:
                await self._table.delete(key)
            else:
                self._scores.ban(peer, left_s, reason)
                self._saved[peer] = ban
