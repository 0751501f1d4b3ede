"""Runs the scheduler over real peers for one rendition: asks, verifies, stores, wakes readers.

One task a peer holds its session; one task verifies and stores what came in, in batches of one thread
hop; one finds providers. A peer's failure ends that peer only. When the disk refuses, playing goes on
from memory.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from marina.errors import MalformedError, NetworkError
from marina.ids import PeerId
from storage.blocks.protocol import BlockStore
from storage.content.layout import RenditionLayout
from storage.errors import StorageError
from streaming.errors import NobodyHasItError
from streaming.providers import Delivery, Outcome, Provider, ProviderSession, ProviderSource
from streaming.scheduler import Cancel, Scheduler, SchedulerConfig

log = logging.getLogger("marina.streaming")
_QUEUE_SEGMENTS = 32
_BATCH_BYTES = 4 * 1024 * 1024
_FRESH_BYTES = 16 * 1024 * 1024
_FIND_AGAIN_S = 2.0
_PEERS_MAX = 16


@dataclass(slots=True)
class FetchStats:
    """What happened so far.

    Attributes:
        served_by: who sent each segment that came over the network.
        bytes_by_peer: verified bytes from each peer.
        corrupt: segments that did not hash to their digest.
        started_s: trio time of the first request.
        last_s: trio time of the last verified segment.
    """

    served_by: dict[int, PeerId] = field(default_factory=dict)
    bytes_by_peer: Counter[PeerId] = field(default_factory=Counter)
    corrupt: int = 0
    started_s: float = 0.0
    last_s: float = 0.0

    @property
    def bytes_fetched(self) -> int:
        """Verified bytes from all peers."""
        return self.bytes_by_peer.total()

    @property
    def bytes_per_s(self) -> float:
        """Mean rate from the first request to the last segment."""
        return self.bytes_fetched / max(1e-3, self.last_s - self.started_s) if self.bytes_fetched else 0.0


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
        self.layout = layout
        self.stats = FetchStats()
        self._blocks = blocks
        self._source = source
        self._nobody_after_s = nobody_after_s
        self._config = config
        self._is_offline = is_offline
        self._scheduler = Scheduler(layout.plan, frozenset(), config=config)
        self._peers: dict[PeerId, _PeerTask] = {}
        self._waiting: dict[int, trio.Event] = {}
        self._fresh: OrderedDict[int, bytes] = OrderedDict()
        self._fresh_bytes = 0
        self._wake = trio.Event()
        self._complete = trio.Event()
        self._cursors = 0
        self._can_store = True
        self.on_progress: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RenditionFetcher]:
        """Declare the rendition and fetch for as long as the block runs."""
        await self._declare()
        self._scheduler.found(await self._blocks.have(self.layout.root))
        if self._scheduler.is_complete:
            self._complete.set()
        send, receive = trio.open_memory_channel[tuple[PeerId, Delivery]](_QUEUE_SEGMENTS)
        async with trio.open_nursery() as nursery:
            self.stats.started_s = trio.current_time()
            if not self._scheduler.is_complete:
                nursery.start_soon(self._store_arrivals, receive)
                nursery.start_soon(self._plan)
                if not self._is_offline:
                    nursery.start_soon(self._find_providers, nursery, send)
            try:
                yield self
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(deadline=trio.current_time() + 5, shield=True):
                    await self._flush()

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
        self._scheduler.set_cursor(cursor, index, bytes_per_s, trio.current_time())
        self._wake.set()

    def close_cursor(self, cursor: int) -> None:
        """Forget a reader."""
        self._scheduler.drop_cursor(cursor)

    async def segment(self, index: int) -> bytes:
        """Return a segment's verified ciphertext, waiting for it if need be.

        Raises:
            NobodyHasItError: no peer had it for ``nobody_after_s`` seconds; trying goes on.
        """
        while True:
            data = await self._local(index)
            if data is not None:
                return data
            event = self._waiting.setdefault(index, trio.Event())
            self._wake.set()
            with trio.move_on_after(self._nobody_after_s) as scope:
                await event.wait()
            if scope.cancelled_caught:
                raise NobodyHasItError(self._complaint(index))

    def want_all(self) -> None:
        """Fetch the whole rendition, behind what readers wait for."""
        self._scheduler.want_all()
        self._wake.set()

    async def fetch_all(self, *, timeout_s: float | None = None) -> None:
        """Wait until the whole rendition is here and durable.

        Raises:
            NobodyHasItError: nothing arrived for ``nobody_after_s`` seconds, or the timeout passed.
            StorageError: the disk or the quota refuses it.
        """
        self.want_all()
        deadline_s = trio.current_time() + (timeout_s if timeout_s is not None else float("inf"))
        while not self._complete.is_set():
            if not self._can_store:
                await self._blocks.declare(self.layout)  # raises the reason
            before = self.stats.bytes_fetched
            until_s = min(deadline_s, trio.current_time() + self._nobody_after_s)
            with trio.CancelScope(deadline=until_s):
                await self._complete.wait()
            is_stuck = self.stats.bytes_fetched == before or trio.current_time() >= deadline_s
            if is_stuck and not self._complete.is_set():
                raise NobodyHasItError(self._complaint(self.missing()[0]))
        await self._flush()

    # Tasks.

    async def _plan(self) -> None:
        while not self._scheduler.is_complete:
            for action in self._scheduler.actions(trio.current_time()):
                task = self._peers.get(action.peer)
                if task is None:
                    continue
                if isinstance(action, Cancel):
                    task.break_off()
                else:
                    task.ask(action.indices)
            self._wake = trio.Event()
            with trio.move_on_after(self._scheduler.next_check_s()):
                await self._wake.wait()

    async def _find_providers(
        self, nursery: trio.Nursery, send: trio.MemorySendChannel[tuple[PeerId, Delivery]]
    ) -> None:
        while not self._scheduler.is_complete:
            async for provider in self._source.providers(self.layout.root):
                if provider.peer not in self._peers and len(self._peers) < _PEERS_MAX:
                    task = _PeerTask(self, provider, send)
                    self._peers[provider.peer] = task
                    self._scheduler.add_peer(provider.peer, None)
                    nursery.start_soon(task.run)
                    self._wake.set()
                    # The first provider gets its requests on the wire before more are looked for.
                    await trio.lowlevel.checkpoint()
            await trio.sleep(_FIND_AGAIN_S)

    async def _store_arrivals(self, receive: trio.MemoryReceiveChannel[tuple[PeerId, Delivery]]) -> None:
        async for first in receive:
            batch = [first]
            size = len(first[1].data or b"")
            while size < _BATCH_BYTES:
                try:
                    batch.append(receive.receive_nowait())
                except trio.WouldBlock:
                    break
                size += len(batch[-1][1].data or b"")
            await self._take(batch)
            if self._scheduler.is_complete:
                await self._flush()
                self._complete.set()
            self._wake.set()
            self.on_progress()

    async def _take(self, batch: list[tuple[PeerId, Delivery]]) -> None:
        good = await self._verified(batch)
        now_s = trio.current_time()
        for peer, delivery in good:
            index, data = delivery.index, delivery.data or b""
            if self._scheduler.is_missing(index):
                self.stats.served_by[index] = peer
                self.stats.bytes_by_peer[peer] += len(data)
                self.stats.last_s = now_s
            self._remember(index, data)
            self._scheduler.arrived(peer, index, now_s)
            event = self._waiting.pop(index, None)
            if event is not None:
                event.set()

    async def _verified(self, batch: list[tuple[PeerId, Delivery]]) -> list[tuple[PeerId, Delivery]]:
        """Store a batch, which verifies it; return what is sound, and shame who sent the rest."""
        segments = [(delivery.index, delivery.data or b"") for _, delivery in batch]
        if self._can_store:
            try:
                await self._blocks.put_segments(self.layout.root, segments)
            except MalformedError:
                log.debug("a batch holds a segment that does not hash to its digest")
            except StorageError as err:
                self._can_store = False
                log.warning("playing from memory: %s", err)
            else:
                return batch
        digests = await trio.to_thread.run_sync(
            lambda: [hashlib.sha256(data).digest() for _, data in segments]
        )
        good: list[tuple[PeerId, Delivery]] = []
        for (peer, delivery), digest in zip(batch, digests, strict=True):
            if digest == self.layout.digest(delivery.index):
                good.append((peer, delivery))
            else:
                self._shame(peer, delivery.index)
        if self._can_store and len(good) < len(batch) and good:
            return await self._verified(good)
        return good

    def _shame(self, peer: PeerId, index: int) -> None:
        self.stats.corrupt += 1
        self._scheduler.lied(peer, index)
        task = self._peers.get(peer)
        if task is not None:
            task.provider.report_corrupt()
            task.stop()

    # Helpers of the tasks.

    async def _declare(self) -> None:
        try:
            await self._blocks.declare(self.layout)
        except StorageError as err:
            # The quota or the disk has no room: the song plays all the same, and nothing is kept.
            self._can_store = False
            log.warning("playing from memory: %s", err)

    async def _flush(self) -> None:
        if self._can_store:
            await self._blocks.flush(self.layout.root)

    async def _local(self, index: int) -> bytes | None:
        fresh = self._fresh.get(index)
        if fresh is not None or self._scheduler.is_missing(index):
            return fresh
        (data,) = await self._blocks.get_segments(self.layout.root, [index])
        if data is None:
            self._scheduler.lost(index)
        return data

    def _remember(self, index: int, data: bytes) -> None:
        if index in self._fresh:
            return
        self._fresh[index] = data
        self._fresh_bytes += len(data)
        while self._fresh_bytes > _FRESH_BYTES:
            old, dropped = self._fresh.popitem(last=False)
            self._fresh_bytes -= len(dropped)
            if not self._can_store:
                self._scheduler.lost(old)

    def _complaint(self, index: int) -> str:
        where = f"segment {index + 1} of {self.layout.plan.count}"
        if self._is_offline:
            return f"{where} is not on this node, and it was asked to stay offline"
        asked = f"none of {len(self._peers)} connected providers has" if self._peers else "nobody has"
        return f"{asked} {where} now; it is tried again as soon as a provider appears"

    def peer_ended(self, task: _PeerTask) -> None:
        """Forget a peer whose task is over."""
        self._peers.pop(task.provider.peer, None)
        self._scheduler.drop_peer(task.provider.peer)
        self._wake.set()

    def peer_failed(self, peer: PeerId, indices: tuple[int, ...]) -> None:
        """Open what a peer did not deliver."""
        self._scheduler.failed(peer, indices, trio.current_time())
        self._wake.set()

    def peer_lacks(self, peer: PeerId, index: int) -> None:
        """Note that a peer does not have a segment."""
        self._scheduler.lacks(peer, index)
        self._wake.set()


class _PeerTask:
    """Holds the session with one provider."""

    def __init__(
        self,
        fetcher: RenditionFetcher,
        provider: Provider,
        send: trio.MemorySendChannel[tuple[PeerId, Delivery]],
    ) -> None:
        self.provider = provider
        self._fetcher = fetcher
        self._send = send
        self._todo: deque[tuple[int, ...]] = deque()
        self._asked = trio.Event()
        self._session_scope = trio.CancelScope()
        self._is_over = False

    def ask(self, indices: tuple[int, ...]) -> None:
        """Queue a request."""
        self._todo.append(indices)
        self._asked.set()

    def break_off(self) -> None:
        """Reset the session; a new one is opened for the next request."""
        self._todo.clear()
        self._session_scope.cancel()

    def stop(self) -> None:
        """End the task."""
        self._is_over = True
        self._session_scope.cancel()

    async def run(self) -> None:
        """Serve requests until the peer fails or is stopped."""
        try:
            while not self._is_over:
                with trio.CancelScope() as self._session_scope:
                    async with self.provider.session(self._fetcher.layout) as session:
                        await self._serve(session)
        except (NetworkError, MalformedError) as err:
            log.debug("a provider went away: %s", err)
        finally:
            self._fetcher.peer_ended(self)

    async def _serve(self, session: ProviderSession) -> None:
        while True:
            while self._todo:
                await session.want(self._todo.popleft())
            if not session.outstanding:
                self._asked = trio.Event()
                await self._asked.wait()
                continue
            delivery = await session.next()
            match delivery.outcome:
                case Outcome.OK:
                    await self._send.send((self.provider.peer, delivery))
                case Outcome.MISSING:
                    self._fetcher.peer_lacks(self.provider.peer, delivery.index)
                case Outcome.BUSY:
                    self._fetcher.peer_failed(self.provider.peer, (delivery.index,))
                case Outcome.DENIED:
                    self._is_over = True
                    return
