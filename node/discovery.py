"""How this node finds others and is found: DHT, local network, gossip, anchors, announcements.

Each path works alone and fails alone. Only what was published or pledged is announced, never what was
merely played.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import TYPE_CHECKING

import trio

from marina.cid import Cid, check_cid
from marina.clock import Clock
from marina.errors import MarinaError
from marina.ids import Account, PeerId
from marina.metrics import Registry
from node.settings import SwarmSettings
from p2p import addresses
from p2p.anchors import AnchorBook, AnchorKeeper
from p2p.announce import AnnounceHealth, Announcer, Reason
from p2p.gossip import Gossip, GossipMessage, Verdict
from p2p.host import Host
from p2p.kad import Dht
from p2p.mdns import LanDiscovery
from p2p.peerkey import peer_of_key
from p2p.providers import DhtPath, GossipPath, HaveIndex, LanPath, ProviderFinder, ProviderPath
from p2p.wire.gossip import (
    TOPIC_RELEASES,
    Announcement,
    open_announcement,
    seal_announcement,
)
from p2p.wire.pledge import CheckBinding
from storage.content.release import SignedRelease
from storage.identity.device import DeviceKey
from storage.kv import KeyValueStore, Table
from storage.pins import Pins
from storage.retention import Retention

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio_typing import TaskStatus

log = logging.getLogger("marina.node.discovery")
ADDRESSES_MAX = 4


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
        finder: asks the DHT, gossip and the local network for providers.
        on_release: told of each new release version that an artist's device announced.
    """

    def __init__(
        self,
        *,
        host: Host,
        store: KeyValueStore,
        pins: Pins,
        device: DeviceKey,
        account: Account,
        binding: Callable[[], bytes],
        check_binding: CheckBinding,
        settings: SwarmSettings,
        clock: Clock,
        registry: Registry,
    ) -> None:
        rng = SystemRandom()
        self._host = host
        self._device = device
        self._account = account
        self._binding = binding
        self._check_binding = check_binding
        self._settings = settings
        self._clock = clock
        self.haves = HaveIndex(clock=clock)
        self.anchors = AnchorBook(table=Table(store, "anchors"), clock=clock)
        self._keeper = AnchorKeeper(host=host, book=self.anchors, rng=rng)
        self.dht = Dht(host=host, clock=clock)
        self._gossip = Gossip(host=host, clock=clock, registry=registry)
        self._lan = LanDiscovery(peer=host.peer_id, listen_addrs=lambda: host.listen_addrs, clock=clock)
        paths: list[ProviderPath] = [GossipPath(haves=self.haves), DhtPath(dht=self.dht)]
        if settings.lan_discovery:
            paths.append(LanPath(lan=self._lan))
        self.finder = ProviderFinder(paths=paths, own=host.peer_id, is_banned=host.is_banned)
        self.announcer = Announcer(
            table=Table(store, "announced"),
            provide=self.dht.provide,
            withdraw=self.dht.withdraw,
            holdings=PinnedHoldings(pins),
            clock=clock,
            rng=rng,
            registry=registry,
        )
        self.on_release: Callable[[Announcement, PeerId], Awaitable[None]] = _ignore

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run every path until cancelled; the host is running."""
        await self.anchors.load()
        async with trio.open_nursery() as nursery:
            await nursery.start(self.dht.run)
            await nursery.start(self._gossip.run)
            await nursery.start(self._keeper.run)
            nursery.start_soon(self.announcer.run)
            if self._settings.lan_discovery:
                nursery.start_soon(self._follow_lan, nursery)
            async with self._gossip.join(TOPIC_RELEASES, self._judge) as releases:
                task_status.started()
                async for message in releases:
                    await self._hear(message)

    async def announce(self, signed: SignedRelease, roots: Sequence[Cid]) -> None:
        """Tell the swarm of a release of this owner, and keep its roots announced."""
        if signed.release.withdrawn:
            await self.announcer.forget(roots)
        else:
            await self.announcer.announce([signed.cid, *roots])
        item = Announcement(
            account=self._account,
            peer=self._device.public_key,
            release_id=signed.release.release_id,
            release_cid=signed.cid,
            version=signed.release.version,
            time=self._clock.now_s(),
            addresses=self.plain_addresses(),
        )
        await self._gossip.publish(TOPIC_RELEASES, seal_announcement(item, self._device, self._binding()))

    def plain_addresses(self) -> tuple[str, ...]:
        """Return where this node listens, as records carry it: without the peer id."""
        texts = []
        for each in self._host.listen_addrs[:ADDRESSES_MAX]:
            parts = addresses.parse(each)
            texts.append(f"/{parts.kind}/{parts.host}/tcp/{parts.port}")
        return tuple(texts)

    def announce_health(self) -> AnnounceHealth:
        """Return how the announcement schedule is kept."""
        return self.announcer.health()

    def _judge(self, peer: PeerId, data: bytes) -> Verdict:
        del peer
        try:
            open_announcement(data, check_binding=self._check_binding, now_s=self._clock.now_s())
        except MarinaError:
            return Verdict.REJECT
        return Verdict.ACCEPT

    async def _hear(self, message: GossipMessage) -> None:
        item = open_announcement(message.data, check_binding=self._check_binding, now_s=self._clock.now_s())
        peer = peer_of_key(item.peer)
        if peer == self._host.peer_id:
            return
        known = tuple(addresses.with_peer(each, peer) for each in item.addresses)
        self.haves.add(check_cid(item.release_cid), peer, known)
        try:
            await self.on_release(item, peer)
        except MarinaError as err:
            log.debug("an announced release was not taken: %s", err)

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
