"""The DHT: who provides a root, in Marina's own Kademlia network.

Wraps py-libp2p's KadDHT (routing table, server side) and does lookups and announcements itself: the
library returns only local records when it has one, waits for no confirmation and takes what strangers
say of third peers into its own store. Keys are the multihashes of release and rendition roots.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
from libp2p.abc import INetStream
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.peer.peerstore import PeerStoreError
from libp2p.records.validator import NamespacedValidator, Validator
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from marina.cid import Cid
from marina.clock import Clock
from marina.errors import MalformedError
from marina.ids import PeerId
from p2p import addresses, kad_rpc, vicinity
from p2p.errors import P2PError
from p2p.events import PeerConnected
from p2p.host import Host
from p2p.kad_rpc import Known
from p2p.kad_store import BoundedProviderStore, ProviderLimits
from p2p.kad_walk import Walk
from p2p.peerid import from_libp2p, short, to_libp2p
from p2p.repairs_kad import PROTOCOL
from p2p.stream import BROKEN

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")

_PEERSTORE_TTL_S = 3600
_IDENTIFY_POLLS = 30
_IDENTIFY_POLL_S = 0.1
_SELF_LOOKUP_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class DhtConfig:
    """Behaviour of the DHT.

    Attributes:
        is_server: answer others and be in their tables; off on machines that nobody can dial.
        request_timeout_s: one request to one peer.
        parallel: requests of one lookup at once.
        replicas: peers that an announcement is sent to.
        queries_max: peers that one lookup may ask.
        streams_per_peer_max: requests of one peer answered at once.
        stream_s_max: a stream that lasts longer is reset.
        provider_rate_max: announcements of one peer per ten seconds.
        peers_per_subnet_max: routing table entries of one bucket that share a /24 or /48.
        peers_per_subnet_table_max: the same over the whole table.
        limits: bounds of the provider store.
    """

    is_server: bool = True
    request_timeout_s: float = 4.0
    parallel: int = 6
    replicas: int = 20
    queries_max: int = 60
    streams_per_peer_max: int = 4
    stream_s_max: float = 15.0
    provider_rate_max: int = 200
    peers_per_subnet_max: int = 2
    peers_per_subnet_table_max: int = 8
    limits: ProviderLimits = field(default_factory=ProviderLimits)


class GuardedKad(KadDHT):  # type: ignore[misc]
    """The library's node with a limit on streams per peer and on their length."""

    def limit_streams(self, *, per_peer: int, stream_s: float) -> None:
        """Set the limits; called once before the host runs."""
        self._per_peer = per_peer
        self._stream_s = stream_s
        self._open: Counter[ID] = Counter()

    async def handle_stream(self, stream: INetStream) -> None:
        """Answer one stream of requests."""
        peer = stream.muxed_conn.peer_id
        if self._open[peer] >= self._per_peer:
            await stream.reset()
            return
        self._open[peer] += 1
        try:
            with trio.move_on_after(self._stream_s) as scope:
                await super().handle_stream(stream)
            if scope.cancelled_caught:
                await stream.reset()
        finally:
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]


class Dht:
    """This node's part of the DHT."""

    def __init__(
        self,
        *,
        host: Host,
        clock: Clock,
        config: DhtConfig | None = None,
        validators: Mapping[str, Validator] | None = None,
    ) -> None:
        """Prepare; nothing is announced or answered before ``run``.

        Args:
            host: the running or not yet running host.
            clock: for the age of records.
            config: limits and deadlines.
            validators: one for each namespace whose values are stored; without any, no value is.
        """
        self._host = host
        self._config = config or DhtConfig()
        namespaces = NamespacedValidator(dict(validators or {}), strict_validation=True)
        self._kad = GuardedKad(
            host.raw,
            DHTMode.CLIENT,
            validator=namespaces,
            validator_changed=True,
            strict_validation=True,
            max_peers_per_subnet=self._config.peers_per_subnet_max,
            max_peers_per_subnet_table=self._config.peers_per_subnet_table_max,
        )
        self._kad.limit_streams(
            per_peer=self._config.streams_per_peer_max, stream_s=self._config.stream_s_max
        )
        self._kad._provider_rate_max = self._config.provider_rate_max  # noqa: SLF001 - has no public setter
        self._store = BoundedProviderStore(
            host.raw, self._kad.peer_routing, clock=clock, limits=self._config.limits
        )
        self._kad.provider_store = self._store
        self._table_grew = trio.Event()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer and keep the routing table until cancelled."""
        if self._config.is_server:
            await self._kad.switch_mode(DHTMode.SERVER)
        async with (
            self._host.events() as events,
            background_trio_service(self._kad),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._look_around)
            for peer in self._host.connected_peers():
                nursery.start_soon(self._meet, peer)
            task_status.started()
            async for event in events:
                if isinstance(event, PeerConnected):
                    nursery.start_soon(self._meet, event.peer)

    @property
    def table_size(self) -> int:
        """Peers in the routing table."""
        return int(self._kad.routing_table.size())

    @property
    def records(self) -> int:
        """Provider records kept for others."""
        return self._store.size()

    async def provide(self, root: Cid, *, timeout_s: float = 30.0) -> int:
        """Announce that this node provides a root; return how many peers confirmed.

        Zero means that nobody knows now: try again later. Takes at most the timeout.
        """
        key = key_of(root)
        self._store.add_provider(key, PeerInfo(self._host.raw.get_id(), []))
        confirmed: list[PeerId] = []
        with trio.move_on_after(timeout_s):
            nearest = await self._walk(key, None)
            slots = trio.CapacityLimiter(self._config.parallel)
            async with trio.open_nursery() as nursery:
                for known in nearest[: self._config.replicas]:
                    nursery.start_soon(self._announce_to, known, key, slots, confirmed)
        return len(confirmed)

    def withdraw(self, root: Cid) -> None:
        """Stop naming this node as a provider; what others know ends with its validity."""
        self._store.withdraw(key_of(root))

    async def find_providers(self, root: Cid, *, timeout_s: float = 10.0, limit: int = 20) -> list[Known]:
        """Return up to ``limit`` providers of a root that the network names, within the timeout."""
        found: list[Known] = []

        async def collect(known: Known) -> bool:
            found.append(known)
            return len(found) >= limit

        with trio.move_on_after(timeout_s):
            await self.search(root, collect)
        return found

    async def search(self, root: Cid, found: Callable[[Known], Awaitable[bool]]) -> None:
        """Hand each provider to ``found`` as it becomes known, once, until that returns True.

        Ends by itself when no nearer peer is left to ask; put a deadline around it.
        """
        key = key_of(root)
        seen = {self._host.peer_id}
        for info in self._store.get_providers(key):
            peer = from_libp2p(info.peer_id)
            if peer not in seen:
                seen.add(peer)
                if await found(Known(peer, tuple(str(each) for each in info.addrs))):
                    return

        async def heard(providers: Iterable[Known]) -> bool:
            for known in providers:
                if known.peer not in seen:
                    seen.add(known.peer)
                    if await found(known):
                        return True
            return False

        await self._walk(key, heard)

    async def _walk(
        self, key: bytes, heard: Callable[[Iterable[Known]], Awaitable[bool]] | None
    ) -> list[Known]:
        """Ask ever nearer peers for a key; return those that answered, nearest first."""
        walk = Walk(
            key=key,
            start=self._start_points(key),
            own=self._host.peer_id,
            ask=self._ask,
            heard=heard,
            width=self._config.replicas,
            queries_max=self._config.queries_max,
        )
        return await walk.run(self._config.parallel)

    async def _announce_to(
        self, known: Known, key: bytes, slots: trio.CapacityLimiter, confirmed: list[PeerId]
    ) -> None:
        async with slots:
            try:
                await kad_rpc.add_provider(self._host, known, key, self._config.request_timeout_s)
            except (P2PError, MalformedError) as err:
                log.debug("not announced to %s: %s", short(known.peer), err)
            else:
                confirmed.append(known.peer)

    def _start_points(self, key: bytes) -> list[Known]:
        """Return the nearest peers that this node knows by itself."""
        ids = self._kad.routing_table.find_local_closest_peers(key, self._config.replicas)
        return [Known(from_libp2p(each), self._addresses_of(each)) for each in ids]

    async def _ask(self, known: Known, key: bytes) -> kad_rpc.ProvidersReply | None:
        """Return what a peer knows of a key, None when it does not answer; then it leaves the table."""
        try:
            reply = await kad_rpc.ask_providers(self._host, known, key, self._config.request_timeout_s)
        except (P2PError, MalformedError) as err:
            log.debug("DHT peer %s gave no answer: %s", short(known.peer), err)
            self._kad.routing_table.remove_peer(to_libp2p(known.peer))
            return None
        is_local = vicinity.is_local(self._host, known.peer)
        return kad_rpc.ProvidersReply(
            tuple(_dialable(each, is_local) for each in reply.providers),
            tuple(_dialable(each, is_local) for each in reply.closer),
        )

    def _addresses_of(self, peer: ID) -> tuple[str, ...]:
        try:
            return tuple(str(each) for each in self._host.raw.get_peerstore().addrs(peer))
        except PeerStoreError:
            return ()

    async def _meet(self, peer: PeerId) -> None:
        """Take a newly connected peer into the table once identify says that it serves the DHT."""
        identity = to_libp2p(peer)
        for _ in range(_IDENTIFY_POLLS):
            if not self._host.is_connected(peer):
                return
            protocols = self._host.protocols_of(peer)
            if protocols:
                break
            await trio.sleep(_IDENTIFY_POLL_S)
        else:
            return
        if str(PROTOCOL) in protocols and await self._kad.routing_table.add_peer(identity):
            self._table_grew.set()

    async def _look_around(self) -> None:
        """Look up this node's own id when the table has grown: that fills the nearest buckets."""
        while True:
            await self._table_grew.wait()
            self._table_grew = trio.Event()
            own = self._host.raw.get_id().to_bytes()
            try:
                with trio.move_on_after(20.0):
                    for known in await self._walk(own, None):
                        await self._remember(known)
            except BROKEN as err:
                log.debug("the walk to this node's own id failed: %s", err)
            await trio.sleep(_SELF_LOOKUP_EVERY_S)

    async def _remember(self, known: Known) -> None:
        if known.addresses:
            addrs = [Multiaddr(each.partition("/p2p/")[0]) for each in known.addresses]
            identity = to_libp2p(known.peer)
            self._host.raw.get_peerstore().add_addrs(identity, addrs, _PEERSTORE_TTL_S)
            await self._kad.routing_table.add_peer(PeerInfo(identity, addrs))


def _dialable(known: Known, teller_is_local: bool) -> Known:
    """Return a peer as named by another, without addresses that this one may not make us dial."""
    usable = addresses.worth_dialling(known.addresses, teller_is_local=teller_is_local)
    return Known(known.peer, tuple(usable))


def key_of(root: Cid) -> bytes:
    """Return the DHT key of a root: its multihash."""
    return bytes(root[2:])
