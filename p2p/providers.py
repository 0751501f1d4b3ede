"""Who has a release: several independent paths asked at once, their answers merged.

No single path is trusted: the DHT can be eclipsed, hints grow old, gossip arrives late. A finder has at
least two paths, each with its own deadline. Peers that are connected already and said that they have it
come first; every peer is yielded once, with the path that named it. Found does not mean proven: whoever
fetches checks every byte. Source: design, architecture §7 and security §5.2 "Discovery paths".
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import trio

from marina.cid import Cid
from marina.clock import Clock
from marina.errors import MarinaError
from marina.ids import PeerId
from p2p.anchors import AnchorBook
from p2p.host import Host
from p2p.kad import Dht
from p2p.kad_rpc import Known
from p2p.mdns import LanDiscovery

log = logging.getLogger("marina.p2p")

PATHS_MIN = 2
PROVIDERS_MAX = 64
_WAITING_MAX = 16


class Origin(Enum):
    """Which path named a provider."""

    CONNECTED = "connected"
    HINT = "hint"
    LAN = "lan"
    GOSSIP = "gossip"
    SESSION = "session"
    DHT = "dht"


@dataclass(frozen=True, slots=True)
class Provider:
    """A peer that may have what is looked for.

    Attributes:
        peer: peer id.
        addresses: where it may be dialled; empty for a connected peer.
        origin: who says so.
    """

    peer: PeerId
    addresses: tuple[str, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for.

    Attributes:
        roots: CIDs that a provider may be known by, the release first, then renditions.
        hints: peers that the manifest or a link names.
    """

    roots: tuple[Cid, ...]
    hints: tuple[Known, ...] = ()


Found = Callable[[Provider], Awaitable[None]]


class ProviderPath(Protocol):
    """One way to learn of providers."""

    @property
    def origin(self) -> Origin:
        """Its name."""
        ...

    @property
    def timeout_s(self) -> float:
        """How long it may take."""
        ...

    async def search(self, query: Query, found: Found) -> None:
        """Hand providers to ``found`` until no more are known."""
        ...


class HaveIndex:
    """Which peers said of themselves that they have a root; bounded, forgotten after a while.

    Filled from chunk answers of connected peers and from gossip.
    """

    def __init__(
        self, *, clock: Clock, roots_max: int = 10_000, peers_per_root_max: int = 32, age_s: float = 3600.0
    ) -> None:
        self._clock = clock
        self._roots_max = roots_max
        self._peers_max = peers_per_root_max
        self._age_s = age_s
        self._roots: OrderedDict[Cid, OrderedDict[PeerId, tuple[float, tuple[str, ...]]]] = OrderedDict()

    def add(self, root: Cid, peer: PeerId, addrs: Sequence[str] = ()) -> None:
        """Note that a peer said it has a root; the oldest root or peer gives way."""
        peers = self._roots.pop(root, OrderedDict())
        peers.pop(peer, None)
        if len(peers) >= self._peers_max:
            peers.popitem(last=False)
        peers[peer] = (self._clock.monotonic_s(), tuple(addrs))
        if len(self._roots) >= self._roots_max:
            self._roots.popitem(last=False)
        self._roots[root] = peers

    def remove(self, root: Cid, peer: PeerId) -> None:
        """Note that a peer does not have a root after all."""
        peers = self._roots.get(root)
        if peers is not None:
            peers.pop(peer, None)
            if not peers:
                del self._roots[root]

    def peers(self, roots: Sequence[Cid]) -> list[Known]:
        """Return the peers that said they have one of the roots, newest first, each once."""
        oldest_s = self._clock.monotonic_s() - self._age_s
        found: dict[PeerId, tuple[float, tuple[str, ...]]] = {}
        for root in roots:
            for peer, (said_s, addrs) in self._roots.get(root, {}).items():
                if said_s >= oldest_s and said_s >= found.get(peer, (0.0, ()))[0]:
                    found[peer] = (said_s, addrs)
        newest = sorted(found.items(), key=lambda item: -item[1][0])
        return [Known(peer, addrs) for peer, (_, addrs) in newest]

    def __len__(self) -> int:
        return len(self._roots)


class ConnectedPath:
    """Connected peers that said they have it."""

    origin = Origin.CONNECTED
    timeout_s = 1.0

    def __init__(self, *, host: Host, haves: HaveIndex) -> None:
        self._host = host
        self._haves = haves

    async def search(self, query: Query, found: Found) -> None:
        """Hand over connected peers only."""
        for known in self._haves.peers(query.roots):
            if self._host.is_connected(known.peer):
                await found(Provider(known.peer, known.addresses, self.origin))


class HintPath:
    """Peers that the manifest or the link names."""

    origin = Origin.HINT
    timeout_s = 1.0

    async def search(self, query: Query, found: Found) -> None:
        """Hand over the query's own hints."""
        for known in query.hints[:PROVIDERS_MAX]:
            await found(Provider(known.peer, known.addresses, self.origin))


class GossipPath:
    """Peers that said so by gossip, connected or not."""

    origin = Origin.GOSSIP
    timeout_s = 1.0

    def __init__(self, *, haves: HaveIndex) -> None:
        self._haves = haves

    async def search(self, query: Query, found: Found) -> None:
        """Hand over everybody with an address."""
        for known in self._haves.peers(query.roots):
            if known.addresses:
                await found(Provider(known.peer, known.addresses, self.origin))


class SessionPath:
    """Peers of earlier sessions: they may have it, and they know others."""

    origin = Origin.SESSION
    timeout_s = 1.0

    def __init__(self, *, anchors: AnchorBook, count: int = 8) -> None:
        self._anchors = anchors
        self._count = count

    async def search(self, query: Query, found: Found) -> None:  # noqa: ARG002 - anchors are of no root
        """Hand over the anchors that were seen last."""
        newest = sorted(self._anchors.all(), key=lambda each: (each.failures, -each.last_seen))
        for anchor in newest[: self._count]:
            await found(Provider(PeerId(anchor.peer), anchor.addresses, self.origin))


class LanPath:
    """Nodes of the local network; they may have it."""

    origin = Origin.LAN
    timeout_s = 1.0

    def __init__(self, *, lan: LanDiscovery, count: int = 16) -> None:
        self._lan = lan
        self._count = count

    async def search(self, query: Query, found: Found) -> None:  # noqa: ARG002 - neighbours are of no root
        """Hand over the neighbours, newest first."""
        for neighbour in self._lan.neighbours()[::-1][: self._count]:
            await found(Provider(neighbour.peer, neighbour.addresses, self.origin))


class DhtPath:
    """What the DHT knows of each root."""

    origin = Origin.DHT

    def __init__(self, *, dht: Dht, timeout_s: float = 10.0, roots_max: int = 2) -> None:
        self._dht = dht
        self.timeout_s = timeout_s
        self._roots_max = roots_max

    async def search(self, query: Query, found: Found) -> None:
        """Look up the first roots side by side."""

        async def heard(known: Known) -> bool:
            if known.addresses:
                await found(Provider(known.peer, known.addresses, self.origin))
            return False

        async with trio.open_nursery() as nursery:
            for root in query.roots[: self._roots_max]:
                nursery.start_soon(self._dht.search, root, heard)


class ProviderFinder:
    """Asks all paths and merges what they say."""

    def __init__(
        self,
        *,
        paths: Sequence[ProviderPath],
        own: PeerId,
        is_banned: Callable[[PeerId], bool] = lambda _: False,
    ) -> None:
        """Prepare.

        Args:
            paths: at least two; ``CONNECTED`` is asked before the others.
            own: this node, never yielded.
            is_banned: peers that are never yielded.

        Raises:
            ValueError: fewer than two paths: one alone can be eclipsed.
        """
        if len({path.origin for path in paths}) < PATHS_MIN:
            raise ValueError("providers are looked for on at least two independent paths")
        self._paths = tuple(paths)
        self._own = own
        self._is_banned = is_banned

    @asynccontextmanager
    async def find(
        self, query: Query, *, timeout_s: float = 10.0, limit: int = PROVIDERS_MAX
    ) -> AsyncIterator[AsyncIterator[Provider]]:
        """Find providers while the block runs.

        ``async with finder.find(query) as providers: async for provider in providers: …``. The iterator
        ends when every path has ended, at the deadline, or after ``limit`` providers. A path that fails
        ends alone. Leaving the block stops the search.
        """
        send, receive = trio.open_memory_channel[Provider](_WAITING_MAX)
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._search, query, timeout_s, _Merge(self, send, limit))
            async with receive:
                try:
                    yield receive
                except (Exception, GeneratorExit) as err:  # noqa: BLE001 - raised again below
                    failure = err  # the block's own error leaves as itself, not in a group
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def accepts(self, provider: Provider) -> bool:
        """Return whether a provider is worth yielding at all."""
        return provider.peer != self._own and not self._is_banned(provider.peer)

    async def _search(self, query: Query, timeout_s: float, merge: _Merge) -> None:
        first = [path for path in self._paths if path.origin is Origin.CONNECTED]
        others = [path for path in self._paths if path.origin is not Origin.CONNECTED]
        async with merge.channel:
            with trio.move_on_after(timeout_s):
                for paths in (first, others):
                    async with trio.open_nursery() as nursery:
                        merge.scope = nursery.cancel_scope
                        for path in paths:
                            nursery.start_soon(self._walk, path, query, merge)
                    if merge.is_full:
                        return

    async def _walk(self, path: ProviderPath, query: Query, merge: _Merge) -> None:
        with trio.move_on_after(path.timeout_s):
            try:
                await path.search(query, merge.add)
            except MarinaError as err:
                log.debug("provider path %s failed: %s", path.origin.value, err)


class _Merge:
    """Passes each peer on once, up to a limit."""

    def __init__(self, finder: ProviderFinder, channel: trio.MemorySendChannel[Provider], limit: int) -> None:
        self._finder = finder
        self.channel = channel
        self._limit = limit
        self._seen: set[PeerId] = set()
        self.scope = trio.CancelScope()

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return len(self._seen) >= self._limit

    async def add(self, provider: Provider) -> None:
        """Yield a provider unless it was yielded or is not wanted; the last one stops the paths."""
        if self.is_full or provider.peer in self._seen or not self._finder.accepts(provider):
            return
        self._seen.add(provider.peer)
        try:
            await self.channel.send(provider)
        except trio.BrokenResourceError:
            self.scope.cancel()  # the reader has enough
        if self.is_full:
            self.scope.cancel()
