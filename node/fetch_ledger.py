"""Which peers sent how much of each rendition: the listener's own account of where its music came from.

Written while a track is fetched and at its end; it is listening history, so it lies in a private scope
and is written only while the vault is unlocked. ``marina why`` adds it up.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import trio

from marina.cid import Cid
from marina.clock import Clock
from marina.errors import MalformedError, MarinaError
from marina.ids import PeerId
from marina.schema import U64, Size, decode_record, encode_record, record
from storage.errors import VaultLockedError
from storage.keyring import Scope
from storage.private import PrivateStore
from streaming.fetcher import RenditionFetcher

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.node.ledger")
ENTRIES_MAX = 256
EVERY_S = 10.0
OTHERS = PeerId("")
"""Stands for peers of whom each sent little, when a rendition came from more than are listed."""
_PREFIX = b"fetched\x00"
_END_S = 2.0


@record(None)
@dataclass(frozen=True, slots=True)
class FetchedFrom:
    """What one peer sent of a rendition, over all times.

    Attributes:
        peer: peer id; empty for several peers together.
        size_bytes: verified ciphertext.
        segments: how many.
        last_s: Unix second of the last entry.
    """

    peer: Annotated[str, Size(0, 128)]
    size_bytes: U64
    segments: U64
    last_s: U64


@record("marina/fetched/1")
@dataclass(frozen=True, slots=True)
class _Row:
    entries: Annotated[tuple[FetchedFrom, ...], Size(0, ENTRIES_MAX)]


class FetchLedger:
    """Adds up what peers sent, rendition by rendition."""

    def __init__(self, *, private: PrivateStore, clock: Clock) -> None:
        self._private = private
        self._clock = clock
        self._turn = trio.Lock()
        self._running: set[_Seen] = set()

    async def of(self, root: Cid) -> tuple[FetchedFrom, ...]:
        """Return what came from whom, most first; VaultLockedError while the vault is locked."""
        data = await self._private.get(Scope.HISTORY, _PREFIX + root)
        try:
            entries = () if data is None else decode_record(_Row, data).entries
        except MalformedError as err:
            log.warning("a record of what was fetched is begun anew: %s", err)
            entries = ()
        return tuple(sorted(entries, key=lambda each: (-each.size_bytes, each.peer)))

    async def _add(self, root: Cid, size_bytes: Counter[PeerId], segments: Counter[PeerId]) -> None:
        now_s = self._clock.now_s()
        known = {PeerId(each.peer): each for each in await self.of(root)}
        for peer, more in size_bytes.items():
            old = known.get(peer) or FetchedFrom(peer, 0, 0, 0)
            sums = old.size_bytes + more, old.segments + segments[peer]
            known[peer] = replace(old, size_bytes=sums[0], segments=sums[1], last_s=now_s)
        entries = _bounded(list(known.values()))
        await self._private.put(Scope.HISTORY, _PREFIX + root, encode_record(_Row(tuple(entries))))

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write down what running fetchers got, every ten seconds, until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Write down at once what running fetchers got."""
        for seen in tuple(self._running):
            await self._note(seen)

    @asynccontextmanager
    async def watching(self, fetcher: RenditionFetcher) -> AsyncIterator[None]:
        """Count what a fetcher gets while the block runs; all of it is written down when it ends."""
        seen = _Seen(fetcher)
        self._running.add(seen)
        try:
            yield
        finally:
            self._running.discard(seen)
            with trio.CancelScope(deadline=trio.current_time() + _END_S, shield=True):
                await self._note(seen)

    async def _note(self, seen: _Seen) -> None:
        async with self._turn:
            size_bytes, segments = seen.news()
            if not size_bytes:
                return
            try:
                await self._add(seen.root, size_bytes, segments)
            except VaultLockedError:
                return  # counted again at the next note, if the vault is open by then
            except MarinaError as err:
                log.warning("what was fetched could not be written down: %s", err)
                return
            seen.noted(size_bytes, segments)


class _Seen:
    """What of a fetcher's counts is in the ledger already."""

    def __init__(self, fetcher: RenditionFetcher) -> None:
        self.root = fetcher.layout.root
        self._stats = fetcher.stats
        self._bytes: Counter[PeerId] = Counter()
        self._segments: Counter[PeerId] = Counter()

    def news(self) -> tuple[Counter[PeerId], Counter[PeerId]]:
        segments = Counter(self._stats.served_by.values())
        return self._stats.bytes_by_peer - self._bytes, segments - self._segments

    def noted(self, size_bytes: Counter[PeerId], segments: Counter[PeerId]) -> None:
        self._bytes += size_bytes
        self._segments += segments


def _bounded(entries: list[FetchedFrom]) -> list[FetchedFrom]:
    """Return at most ``ENTRIES_MAX`` entries; the sum stays: the smallest go together."""
    if len(entries) <= ENTRIES_MAX:
        return entries
    entries.sort(key=lambda each: (each.peer == OTHERS, -each.size_bytes))
    kept, rest = entries[: ENTRIES_MAX - 1], entries[ENTRIES_MAX - 1 :]
    together = FetchedFrom(
        OTHERS,
        sum(each.size_bytes for each in rest),
        sum(each.segments for each in rest),
        max(each.last_s for each in rest),
    )
    return [*kept, together]
