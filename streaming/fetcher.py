"""Runs the scheduler over real peers for one rendition: asks, verifies, stores, wakes readers.

One task a peer holds its session (peer_task.py); two tasks verify and store what came in, in batches
of one thread hop (keeper.py): while one waits for its thread, the other gathers. One finds providers;
one carries out the plan. A peer's failure ends that peer only. When the disk refuses, playing goes on
from memory.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from marina.errors import MarinaError
from marina.ids import PeerId
from storage.blocks.protocol import BlockStore
from storage.content.layout import RenditionLayout
from storage.file_ops import Buffer
from streaming.errors import NobodyHasItError
from streaming.fetch_stats import FetchStats
from streaming.keeper import SegmentKeeper
from streaming.peer_task import PeerTask
from streaming.provider_book import ProviderBook
from streaming.providers import Delivery, Provider, ProviderSource
from streaming.scheduler import Cancel, Scheduler, SchedulerConfig

log = logging.getLogger("marina.streaming")
_QUEUE_SEGMENTS = 12
_WRITERS = 2
_BATCH_BYTES = 2 * 1024 * 1024
_LINGER_BYTES = 1024 * 1024
_LINGER_S = 0.005
_AHEAD_IN_MEMORY_BYTES = 4 * 1024 * 1024
_PEERS_MAX = 16
_LOOK_TIMEOUT_S = 60.0
_CLOSE_S = 1.5
_GATHER_S = 0.25
"""So long after the first peer only what is played next is asked for, that others get a share of the song."""
_PEERS_ENOUGH = 3


@dataclass(slots=True)
class _Awaited:
    """A segment that calls wait for; the bytes are handed over, as memory may let them go at once."""

    here: trio.Event = field(default_factory=trio.Event)
    callers: int = 0
    data: Buffer = b""


class RenditionFetcher:
    """Downloads what readers need of one rendition, or all of it."""

    def __init__(
        self,
        *,
        layout: RenditionLayout,
        blocks: BlockStore,
        source: ProviderSource,
        nobody_after_s: float = 20.0,
        config: SchedulerConfig | None = None,
        is_offline: bool = False,
    ) -> None:
        """Take the collaborators.

        Args:
            layout: the rendition.
            blocks: where segments are and go.
            source: finds providers; not asked while everything is here.
            nobody_after_s: a call that waits gives up after so long without the segment.
            config: of the scheduler.
            is_offline: ask nobody at all.
        """
        self.layout = layout
        self.stats = FetchStats()
        self.on_progress: Callable[[], None] = lambda: None
        self._source = source
        self._nobody_after_s = nobody_after_s
        self._is_offline = is_offline
        self._scheduler = Scheduler(layout.plan, frozenset(), config=config)
        self._keeper = SegmentKeeper(layout, blocks)
        self._book = ProviderBook()
        self._peers: dict[PeerId, PeerTask] = {}
        self._awaited: dict[int, _Awaited] = {}
        self._wake = trio.Event()
        self._arrived = trio.Event()
        self._needs_peers = trio.Event()
        self._cursors = 0
        self._ready = 0
        self._send, self._receive = trio.open_memory_channel[tuple[PeerId, Delivery]](_QUEUE_SEGMENTS)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RenditionFetcher]:
        """Declare the rendition and fetch for as long as the block runs; once for each fetcher.

        Raises:
            MalformedError: the root is not the root of these segments.
        """
        self._scheduler.found(await self._keeper.open())
        self._spare_memory()
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            self.stats.started_s = trio.current_time()
            for _ in range(_WRITERS):
                nursery.start_soon(self._store_arrivals)
            nursery.start_soon(self._carry_out)
            if not self._is_offline:
                nursery.start_soon(self._find_providers, nursery)
            try:
                yield self
            except (Exception, GeneratorExit) as err:  # noqa: BLE001 - raised again below
                failure = err  # the block's own error leaves as itself, not in a group
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(deadline=trio.current_time() + _CLOSE_S, shield=True):
                    await self._keeper.close()
        if failure is not None:
            raise failure

    # For readers.

    @property
    def is_complete(self) -> bool:
        """Whether the whole rendition is here."""
        return self._scheduler.is_complete

    @property
    def peers(self) -> list[PeerId]:
        """Peers that are being asked."""
        return list(self._peers)

    def missing(self) -> list[int]:
        """Return the indices that are not here."""
        return [index for index in range(self.layout.plan.count) if self._scheduler.is_missing(index)]

    def open_cursor(self, index: int, bytes_per_s: float) -> int:
        """Place a reader and return its handle."""
        self._cursors += 1
        self.move_cursor(self._cursors, index, bytes_per_s)
        return self._cursors

    def move_cursor(self, cursor: int, index: int, bytes_per_s: float) -> None:
        """Move a reader; what it left behind is no longer urgent."""
        self._scheduler.demand.set_cursor(cursor, index, bytes_per_s, trio.current_time())
        self._wake.set()

    def close_cursor(self, cursor: int) -> None:
        """Forget a reader."""
        self._scheduler.demand.drop_cursor(cursor)

    def want_all(self) -> None:
        """Fetch the whole rendition, behind what readers wait for; ignored while nothing can be kept."""
        if self._keeper.refusal is None:
            self._scheduler.want_all()
            self._wake.set()

    async def segment(self, index: int) -> Buffer:
        """Return a segment's verified ciphertext, waiting for it if need be.

        Raises:
            NobodyHasItError: no peer had it for ``nobody_after_s`` seconds; trying goes on as long as
                a reader is near. At once when offline.
        """
        if not self._scheduler.is_missing(index):
            data = await self._keeper.read(index)
            if data is not None:
                return data
            self._scheduler.lost(index)
        if self._is_offline:
            raise NobodyHasItError(self._complaint(index))
        return await self._await(index)

    async def fetch_all(self, *, timeout_s: float | None = None) -> None:
        """Wait until the whole rendition is here and durable.

        Raises:
            NobodyHasItError: nothing arrived for ``nobody_after_s`` seconds, or the timeout passed.
            StorageError: the disk or the quota refuses it.
            NotFoundError: the rendition was deleted meanwhile.
        """
        self.want_all()
        began_s = trio.current_time()
        until_s = began_s + (timeout_s if timeout_s is not None else float("inf"))
        while not self._scheduler.is_complete:
            if self._keeper.refusal is not None:
                raise self._keeper.refusal
            patience_s = max(began_s, self.stats.last_s) + (0 if self._is_offline else self._nobody_after_s)
            with trio.move_on_at(min(until_s, patience_s)) as scope:
                await self._arrived.wait()
            if scope.cancelled_caught and not self._scheduler.is_complete:
                raise NobodyHasItError(self._complaint(self.missing()[0]))
        await self._keeper.flush()

    # For the tasks of peers.

    def peer_ready(self, peer: PeerId) -> None:
        """Count in a peer that can be asked now; until then it holds up no segment."""
        self._scheduler.add_peer(peer, None)
        self._ready += 1
        if self._ready == 1:
            self._scheduler.gather_peers(trio.current_time() + _GATHER_S)
        elif self._ready == _PEERS_ENOUGH:
            self._scheduler.gather_peers(trio.current_time())
        self._wake.set()

    def peer_ended(self, task: PeerTask) -> None:
        """Forget a peer whose task is over."""
        peer = task.provider.peer
        if self._peers.get(peer) is task:
            del self._peers[peer]
            self._scheduler.drop_peer(peer)
            if not task.is_finished:
                self._book.failed(peer, trio.current_time(), is_refusal=task.is_refused)
            self._wake.set()

    def peer_failed(self, peer: PeerId, indices: tuple[int, ...]) -> None:
        """Open what a peer did not deliver."""
        self._scheduler.failed(peer, indices, trio.current_time())
        self._wake.set()

    def peer_lacks(self, peer: PeerId, index: int) -> None:
        """Note that a peer does not have a segment."""
        self._scheduler.lacks(peer, index, trio.current_time())
        self._wake.set()

    # Tasks.

    async def _carry_out(self) -> None:
        while True:
            self._wake = trio.Event()
            now_s = trio.current_time()
            for peer, task in self._peers.items():
                self._scheduler.progressed(peer, task.new_bytes(), now_s)
            for action in self._scheduler.actions(now_s):
                asked = self._peers.get(action.peer)
                if asked is None:
                    continue
                if isinstance(action, Cancel):
                    asked.break_off()
                else:
                    asked.ask(action.indices)
            with trio.move_on_after(self._scheduler.next_check_s()):
                await self._wake.wait()

    async def _find_providers(self, nursery: trio.Nursery) -> None:
        while True:
            while self._scheduler.is_complete:
                await self._needs_peers.wait()
                self._needs_peers = trio.Event()
            with trio.move_on_after(_LOOK_TIMEOUT_S):
                try:
                    await self._look(nursery)
                except MarinaError as err:
                    log.info("the search for providers ended early and is repeated: %s", err)
            of_use = sum(peer in self.stats.bytes_by_peer for peer in self._peers)
            await trio.sleep(self._book.look_again_s(peers=of_use))

    async def _look(self, nursery: trio.Nursery) -> None:
        providers = self._source.providers(self.layout.root)
        try:
            async for provider in providers:
                if self._has_place_for(provider.peer):
                    self._meet(provider, nursery)
                    # Its first requests are on the wire before more providers are looked for.
                    await trio.lowlevel.checkpoint()
        finally:
            if isinstance(providers, AsyncGenerator):
                await providers.aclose()

    async def _store_arrivals(self) -> None:
        async for first in self._receive:
            batch = [first]
            await self._gather(batch)
            await self._take(batch)
            if self._scheduler.is_complete:
                self._keeper.relax()
                for task in self._peers.values():
                    task.finish()
            self._arrived.set()
            self._arrived = trio.Event()
            self._wake.set()
            self.on_progress()

    async def _gather(self, batch: list[tuple[PeerId, Delivery]]) -> None:
        """Add what else has arrived, and what arrives in a moment unless somebody waits for a segment.

        Storing, planning and asking cost the same for one segment as for several.
        """
        size = _size(batch[0])
        until_s = trio.current_time() + _LINGER_S
        while size < _BATCH_BYTES:
            try:
                arrival = self._receive.receive_nowait()
            except trio.WouldBlock:
                if size >= _LINGER_BYTES or any(each.index in self._awaited for _, each in batch):
                    return
                with trio.move_on_at(until_s) as scope:
                    arrival = await self._receive.receive()
                if scope.cancelled_caught:
                    return
            batch.append(arrival)
            size += _size(arrival)

    async def _take(self, batch: list[tuple[PeerId, Delivery]]) -> None:
        flags = await self._keeper.keep([(each.index, each.data or b"") for _, each in batch])
        now_s = trio.current_time()
        for (peer, delivery), is_sound in zip(batch, flags, strict=True):
            if is_sound:
                self._count(peer, delivery.index, delivery.data or b"", now_s)
            else:
                self._shame(peer, delivery.index)
        for index in self._keeper.forgotten():
            self._scheduler.lost(index)
        self._spare_memory()

    # Helpers of the tasks.

    def _has_place_for(self, peer: PeerId) -> bool:
        """Return whether a provider is worth a conversation; a useless one gives way to it."""
        now_s = trio.current_time()
        if peer in self._peers or self._scheduler.is_liar(peer) or not self._book.may_try(peer, now_s):
            return False
        if len(self._peers) >= _PEERS_MAX:
            idle = self._scheduler.idlest_peer(now_s)
            if idle is None:
                return False
            task = self._peers[idle]
            task.is_refused = True  # others are tried before it comes again
            task.stop()
            self.peer_ended(task)
        return True

    def _meet(self, provider: Provider, nursery: trio.Nursery) -> None:
        task = PeerTask(provider=provider, layout=self.layout, watch=self, deliver=self._send.send)
        self._peers[provider.peer] = task
        nursery.start_soon(task.run)

    def _count(self, peer: PeerId, index: int, data: Buffer, now_s: float) -> None:
        if self._scheduler.is_missing(index):
            self.stats.count(index, peer, len(data), now_s)
        self._scheduler.arrived(peer, index, now_s)
        self._book.delivered(peer)
        awaited = self._awaited.pop(index, None)
        if awaited is not None:
            awaited.data = data
            awaited.here.set()

    def _shame(self, peer: PeerId, index: int) -> None:
        self.stats.corrupt += 1
        self._scheduler.lied(peer, index)
        task = self._peers.get(peer)
        if task is not None:
            task.provider.report_corrupt()
            task.stop()

    def _spare_memory(self) -> None:
        """Fetch only what is played next once nothing can be kept."""
        if self._keeper.refusal is not None:
            self._scheduler.want_all(is_wanted=False)
            self._scheduler.demand.limit_ahead(_AHEAD_IN_MEMORY_BYTES)

    async def _await(self, index: int) -> Buffer:
        awaited = self._awaited.setdefault(index, _Awaited())
        awaited.callers += 1
        self._scheduler.demand.wait_for(index, trio.current_time())
        self._wake.set()
        self._needs_peers.set()
        try:
            with trio.move_on_after(self._nobody_after_s):
                await awaited.here.wait()
        finally:
            awaited.callers -= 1
            if not awaited.callers and self._awaited.get(index) is awaited:
                del self._awaited[index]
                self._scheduler.demand.stop_waiting(index)
        if not awaited.here.is_set():
            raise NobodyHasItError(self._complaint(index))
        return awaited.data

    def _complaint(self, index: int) -> str:
        where = f"segment {index + 1} of {self.layout.plan.count}"
        if self._is_offline:
            return f"{where} is not on this node, and it was asked to stay offline"
        asked = f"none of {len(self._peers)} connected providers has" if self._peers else "nobody has"
        seen = ""
        if self.stats.last_peer is not None:
            ago_s = trio.current_time() - self.stats.last_s
            seen = f"; a segment last came {ago_s:.0f} s ago from {self.stats.last_peer}"
        return f"{asked} {where} now{seen}; it is tried again as soon as a provider appears"


def _size(arrival: tuple[PeerId, Delivery]) -> int:
    return len(arrival[1].data or b"")
