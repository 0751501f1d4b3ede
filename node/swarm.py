"""Who may have what: hints from links, manifests, searches and earlier use, and the peers connected now.

Hints are few and cheap, so they are kept for as long as the node runs, the latest for each root; what
must survive a restart is in the catalogue (where a release came from) and in the anchors.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress

import trio

from marina.cid import Cid
from marina.errors import MalformedError, NetworkError
from marina.ids import Account, PeerId, ReleaseId, TrackId
from p2p.anchors import AnchorBook
from p2p.errors import P2PError, PeerGoneError
from p2p.host import Host
from p2p.peerid import short, to_libp2p
from p2p.providers import ProviderFinder, Query

log = logging.getLogger("marina.node.swarm")
ROOTS_MAX = 20_000
PEERS_PER_ROOT_MAX = 16
ADDRESSES_MAX = 8
_DIAL_TIMEOUT_S = 4.0
_PING = "/ipfs/ping/1.0.0"
_LOOK_S = 8.0
_LOOK_EVERY_S = 30.0
_DIALS_AT_ONCE = 4


class Swarm:
    """Finds and dials peers for the rest of the node."""

    def __init__(self, *, host: Host, anchors: AnchorBook, finder: ProviderFinder) -> None:
        self._host = host
        self._anchors = anchors
        self._finder = finder
        self._looked_s: OrderedDict[Cid, float] = OrderedDict()
        self._hints: OrderedDict[Cid, OrderedDict[PeerId, tuple[str, ...]]] = OrderedDict()
        self._release_of: dict[Cid, Cid] = {}
        self._releases: dict[Cid, tuple[ReleaseId, Account]] = {}
        self._track_of: dict[Cid, TrackId] = {}

    def note_provider(self, root: Cid, peer: PeerId, addresses: Iterable[str] = ()) -> None:
        """Remember that a peer is said to have a root."""
        if peer == self._host.peer_id:
            return
        peers = self._hints.setdefault(root, OrderedDict())
        self._hints.move_to_end(root)
        known = peers.pop(peer, ())
        peers[peer] = tuple(dict.fromkeys((*addresses, *known)))[:ADDRESSES_MAX]
        while len(peers) > PEERS_PER_ROOT_MAX:
            peers.popitem(last=False)
        while len(self._hints) > ROOTS_MAX:
            self._hints.popitem(last=False)

    def note_hint(self, root: Cid, peer: str, addresses: Iterable[str]) -> None:
        """Remember a hint of a manifest, unless it names no peer."""
        try:
            to_libp2p(PeerId(peer))
        except MalformedError:
            return
        self.note_provider(root, PeerId(peer), addresses)

    def note_release(
        self,
        release: Cid,
        release_id: ReleaseId,
        account: Account,
        roots: Iterable[Cid],
        tracks: Mapping[Cid, TrackId] | None = None,
    ) -> None:
        """Remember whose release its renditions belong to, and of which track each is.

        A part stays with the account that was known to have it first: anybody can list the segments of
        somebody else, and would otherwise take them out of, or under, what a denylist names.
        """
        self._releases[release] = (release_id, account)
        while len(self._releases) > ROOTS_MAX:
            self._releases.pop(next(iter(self._releases)))
        for root in roots:
            known = self._releases.get(self._release_of.get(root, release))
            if known is None or known[1] == account:
                self._release_of[root] = release
                if tracks is not None and root in tracks:
                    self._track_of[root] = tracks[root]
        while len(self._release_of) > ROOTS_MAX:
            gone = next(iter(self._release_of))
            del self._release_of[gone]
            self._track_of.pop(gone, None)

    def owner_of(self, cid: Cid) -> tuple[Cid | None, ReleaseId | None, Account | None]:
        """Return (release CID, release id, account) that a block belongs to, as far as is known."""
        release = cid if cid in self._releases else self._release_of.get(cid)
        if release is None or release not in self._releases:
            return release, None, None
        return release, *self._releases[release]

    def track_of(self, cid: Cid) -> TrackId | None:
        """Return the track that a block belongs to, None for a whole release's or an unknown one."""
        return self._track_of.get(cid)

    def is_learned(self, release: Cid) -> bool:
        """Return whether the renditions of a release are known."""
        return release in self._releases

    def release_of(self, root: Cid) -> Cid | None:
        """Return the release that a rendition belongs to."""
        return self._release_of.get(root)

    def providers_known(self, root: Cid) -> int:
        """Return how many peers are said to have a root."""
        return len(self._hints.get(root, {}))

    def known_providers(self, root: Cid) -> list[tuple[PeerId, tuple[str, ...]]]:
        """Return the peers that are said to have a root, with their addresses."""
        return list(self._hints.get(root, {}).items())

    async def candidates(self, root: Cid) -> AsyncGenerator[tuple[PeerId, tuple[str, ...]], None]:
        """Yield (peer, addresses): hinted and connected, hinted, other connected ones, then what is found.

        The wider search (DHT, gossip, local network) is made at most every half minute for a root. It runs
        in the caller's task, so a caller that may stop early wraps this in ``contextlib.aclosing``.
        """
        hinted = dict(self._hints.get(root, {}))
        order = sorted(hinted, key=lambda peer: not self._host.is_connected(peer))
        for peer in order:
            yield peer, hinted[peer] or await self.addresses_of(peer)
        for peer in self._host.connected_peers():
            if peer not in hinted:
                yield peer, ()
        if not self._may_look(root):
            return
        async with self._finder.find(Query((root,)), timeout_s=_LOOK_S) as providers:
            async for provider in providers:
                self.note_provider(root, provider.peer, provider.addresses)
                yield provider.peer, provider.addresses

    def _may_look(self, root: Cid) -> bool:
        now_s = trio.current_time()
        if now_s - self._looked_s.get(root, float("-inf")) < _LOOK_EVERY_S:
            return False
        self._looked_s[root] = now_s
        self._looked_s.move_to_end(root)
        while len(self._looked_s) > ROOTS_MAX:
            self._looked_s.popitem(last=False)
        return True

    async def connected_providers(self, cid: Cid) -> AsyncGenerator[PeerId, None]:
        """Yield peers that may have a block, dialled by now; those that do not answer are left out.

        A caller that may stop early wraps this in ``contextlib.aclosing``.
        """
        seen: set[PeerId] = set()
        for key in dict.fromkeys((cid, self.release_of(cid) or cid)):
            async with aclosing(self.candidates(key)) as candidates:
                async for peer, addresses in candidates:
                    if peer in seen or peer == self._host.peer_id:
                        continue
                    seen.add(peer)
                    if await self.reach(peer, addresses):
                        yield peer

    async def reach(self, peer: PeerId, addresses: Iterable[str]) -> bool:
        """Return whether the peer is connected now, dialling it if need be."""
        if self._host.is_connected(peer):
            return True
        try:
            await self._host.dial(peer, tuple(addresses), _DIAL_TIMEOUT_S)
        except (NetworkError, MalformedError) as err:
            log.debug("not reached: %s", err)
            return False
        return True

    async def meet(self, peer: PeerId, addresses: Iterable[str]) -> None:
        """Connect and see that the peer keeps the connection: one that banned this node ends it at once.

        Raises:
            P2PError: it cannot be reached, or it ended the connection.
        """
        await self._host.dial(peer, tuple(addresses))
        with suppress(P2PError):  # a peer without the protocol is a peer nevertheless
            async with await self._host.open_stream(peer, _PING):
                pass
        if not self._host.is_connected(peer):
            raise PeerGoneError(
                f"peer {short(peer)} ended the connection at once: it may have banned this node, or have no "
                "room for more peers"
            )

    async def addresses_of(self, peer: PeerId) -> tuple[str, ...]:
        """Return where a peer is said to be: by hints, or by earlier sessions."""
        for peers in self._hints.values():
            if peers.get(peer):
                return peers[peer]
        return next((each.addresses for each in self._anchors.all() if each.peer == peer), ())

    async def remember(self, peer: PeerId, addresses: Iterable[str]) -> None:
        """Keep the address of a peer that the owner named, for later sessions."""
        await self._anchors.seen(peer, tuple(addresses))

    async def dial_all(self, known: Iterable[tuple[PeerId, tuple[str, ...]]]) -> int:
        """Dial peers side by side; return how many are connected."""
        limiter = trio.CapacityLimiter(_DIALS_AT_ONCE)

        async def dial(peer: PeerId, addresses: tuple[str, ...]) -> None:
            async with limiter:
                await self.reach(peer, addresses)

        async with trio.open_nursery() as nursery:
            for peer, addresses in known:
                nursery.start_soon(dial, peer, addresses)
        return len(self._host.connected_peers())
