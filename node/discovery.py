"""How this node finds others and is found: DHT, local network, gossip, anchors, announcements.

Each path works alone and fails alone. Only what was published or pledged is announced, never what was
merely played.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import TYPE_CHECKING

import trio

from marina.cid import Cid
from marina.clock import Clock
from marina.errors import MarinaError
from marina.ids import Account, PeerId, ReleaseId
from marina.metrics import Registry
from node.outbox import Outbox, ReleaseNews, roots_of
from node.settings import SwarmSettings
from p2p.anchors import AnchorBook, AnchorKeeper
from p2p.announce import AnnounceHealth, Announcer, Reason
from p2p.gossip import Gossip
from p2p.host import Host
from p2p.kad import Dht
from p2p.mdns import LanDiscovery
from p2p.news import News
from p2p.providers import DhtPath, GossipPath, HaveIndex, LanPath, ProviderFinder, ProviderPath
from p2p.replication.client import Identity
from p2p.replication.service import OfferBook
from p2p.wire.gossip import Announcement
from storage.content.release import SignedRelease
from storage.kv import KeyValueStore, Table
from storage.pins import Pins
from storage.retention import Retention

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.node.discovery")
NEWS_WAITING_MAX = 256
Heard = Callable[[Announcement, PeerId], Awaitable[None]]


class PinnedHoldings:
    """What may be announced: this owner's releases and what is pledged, as the pins say."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins

    async def reason(self, root: Cid) -> Reason | None:
        """Return why the root may be announced, None for everything else."""
        kinds = {pin.retention for pin in await self._pins.reasons(root)}
        if Retention.OWN in kinds:
            return Reason.PUBLISHED
        return Reason.PLEDGED if Retention.PLEDGED in kinds else None


class Discovery:
    """The discovery services of one node.

    Attributes:
        haves: peers that said they have a root.
        offers: what operators offer.
        finder: asks the DHT, gossip and the local network for providers.
        outbox: what the swarm is still to be told of this owner's releases.
        heard: told of each release version that an artist's device announced.
    """

    def __init__(
        self,
        *,
        host: Host,
        store: KeyValueStore,
        pins: Pins,
        identity: Identity,
        settings: SwarmSettings,
        clock: Clock,
        registry: Registry,
    ) -> None:
        rng = SystemRandom()
        self._host = host
        self._settings = settings
        self.haves = HaveIndex(clock=clock)
        self.offers = OfferBook(clock=clock)
        self.anchors = AnchorBook(table=Table(store, "anchors"), clock=clock)
        self._keeper = AnchorKeeper(host=host, book=self.anchors, rng=rng)
        self._dht = Dht(host=host, clock=clock)
        self._gossip = Gossip(host=host, clock=clock, registry=registry)
        self._news_in, self._news_out = trio.open_memory_channel[tuple[Announcement, PeerId]](
            NEWS_WAITING_MAX
        )
        self._news = News(
            gossip=self._gossip,
            host=host,
            identity=identity,
            clock=clock,
            haves=self.haves,
            offers=self.offers,
            heard=self._note,
        )
        self._lan = LanDiscovery(peer=host.peer_id, listen_addrs=lambda: host.listen_addrs, clock=clock)
        paths: list[ProviderPath] = [GossipPath(haves=self.haves), DhtPath(dht=self._dht)]
        if settings.lan_discovery:
            paths.append(LanPath(lan=self._lan))
        self.finder = ProviderFinder(paths=paths, own=host.peer_id, is_banned=host.is_banned)
        self._announcer = Announcer(
            table=Table(store, "announced"),
            provide=self._dht.provide,
            withdraw=self._dht.withdraw,
            holdings=PinnedHoldings(pins),
            clock=clock,
            rng=rng,
            registry=registry,
        )
        self.outbox = Outbox(table=Table(store, "release-news"), tell=self._tell)
        self.heard: Heard = _ignore

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run every path until cancelled; the host is running."""
        await self.anchors.load()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._dht.run)
            await nursery.start(self._gossip.run)
            await nursery.start(self._news.run)
            await nursery.start(self._keeper.run)
            nursery.start_soon(self._announcer.run)
            nursery.start_soon(self.outbox.run)
            if self._settings.lan_discovery:
                nursery.start_soon(self._follow_lan, nursery)
            task_status.started()
            async for item, peer in self._news_out:
                try:
                    await self.heard(item, peer)
                except MarinaError as err:
                    log.debug("an announced release was not taken: %s", err)

    async def released(
        self, signed: SignedRelease, roots: Sequence[Cid], retired: Sequence[Cid] = ()
    ) -> None:
        """Tell the swarm of a release of this owner; keep its roots announced, and no retired ones.

        All of it or nothing: while this device is not bound it waits in the outbox.
        """
        release = signed.release
        await self.outbox.put(
            ReleaseNews(
                release_id=release.release_id,
                cid=signed.cid,
                version=release.version,
                provide=() if release.withdrawn else (signed.cid, *roots),
                forget=(*([release.previous] if release.previous else []), *retired),
            )
        )

    async def holds(self, artist: Account, roots: Sequence[Cid]) -> None:
        """Say that this node provides what it pledged of an artist."""
        await self._announcer.announce(roots)
        await self._news.have(artist, roots)

    async def provides(self, roots: Sequence[Cid]) -> None:
        """Let everybody find this node as one that has something of its owner that is no music."""
        await self._announcer.announce(roots)

    async def withdrawn(self, roots: Sequence[Cid]) -> None:
        """Announce roots no longer."""
        await self._announcer.forget(roots)

    def announce_health(self) -> AnnounceHealth:
        """Return how the announcement schedule is kept."""
        return self._announcer.health()

    async def _tell(self, news: ReleaseNews) -> None:
        self._news.own_binding()  # raises before anything is said
        await self.withdrawn(roots_of(news.forget))
        if news.provide:
            await self._announcer.announce(roots_of(news.provide))
        await self._news.announce(ReleaseId(news.release_id), Cid(news.cid), news.version)

    def _note(self, item: Announcement, peer: PeerId) -> None:
        try:
            self._news_in.send_nowait((item, peer))
        except trio.WouldBlock:
            log.info("more news than can be taken in; some is dropped and found by search later")

    async def _follow_lan(self, nursery: trio.Nursery) -> None:
        """Run LAN discovery and connect to neighbours; a machine without multicast does without."""
        try:
            async with _started(self._lan.run):
                while True:
                    for neighbour in self._lan.neighbours():
                        if not self._host.is_connected(neighbour.peer):
                            nursery.start_soon(self._greet, neighbour.peer, neighbour.addresses)
                    with trio.move_on_after(30):
                        await self._lan.wait_for_change()
                    await trio.sleep(1)
        except* MarinaError as group:
            log.info("no discovery in the local network: %s", group.exceptions[0])

    async def _greet(self, peer: PeerId, known: tuple[str, ...]) -> None:
        try:
            await self._host.dial(peer, known)
        except MarinaError as err:
            log.debug("a neighbour was not reached: %s", err)


@asynccontextmanager
async def _started(run: Callable[..., Awaitable[None]]) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield
        nursery.cancel_scope.cancel()


async def _ignore(item: Announcement, peer: PeerId) -> None:
    del item, peer
    await trio.lowlevel.checkpoint()
