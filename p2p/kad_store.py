"""Provider records that others announced here: bounded in every direction.

py-libp2p's ProviderStore has no limit on keys and keeps 20 providers a key for ever in front of later
ones. This one forgets the oldest record when the whole is full, a peer's own oldest when that peer has
its share, and a key's oldest when the key has twenty; four of a key may share a subnet, so that one
machine's Sybils cannot fill it. Source: design, security §5.2 and threats T9, T11.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from functools import lru_cache

from libp2p.abc import IHost
from libp2p.kad_dht.peer_routing import PeerRouting
from libp2p.kad_dht.provider_store import ProviderStore
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from marina.clock import Clock
from marina.errors import MalformedError
from p2p import addresses
from p2p.limits import subnet_of


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """Bounds of the store.

    Attributes:
        records_max: (key, provider) pairs in all, and so the largest number of keys.
        keys_per_peer_max: keys that one peer may provide here.
        providers_per_key_max: k of Kademlia.
        subnet_per_key_max: providers of a key whose first address lies in one /24 or /48; 127.0.0.1
            is exempt.
        addresses_max: addresses kept of a provider.
        own_keys_max: keys this node provides itself.
        validity_s: age at which a record ends; providers repeat theirs every half of it.
    """

    records_max: int = 50_000
    keys_per_peer_max: int = 200
    providers_per_key_max: int = 20
    subnet_per_key_max: int = 4
    addresses_max: int = 4
    own_keys_max: int = 100_000
    validity_s: float = 24 * 3600.0


class BoundedProviderStore(ProviderStore):  # type: ignore[misc]
    """The library's store behind our limits.

    Only ``add_provider``, ``get_providers``, ``cleanup_expired`` and ``size`` are used: announcing and
    looking up is ``p2p.kad``'s, so nothing the library learns on the way lands here.
    """

    def __init__(self, host: IHost, routing: PeerRouting, *, clock: Clock, limits: ProviderLimits) -> None:
        super().__init__(host, routing)
        self._clock = clock
        self._limits = limits
        self._records: OrderedDict[tuple[bytes, ID], float] = OrderedDict()
        self._by_key: dict[bytes, OrderedDict[ID, None]] = {}
        self._by_peer: dict[ID, OrderedDict[bytes, None]] = {}
        self._addresses: dict[ID, list[Multiaddr]] = {}
        self._own: OrderedDict[bytes, float] = OrderedDict()

    def add_provider(self, key: bytes, provider: PeerInfo) -> None:
        """Keep what a peer says of itself; the newest record of a peer and key replaces the older."""
        if provider.peer_id == self.local_peer_id:
            self._add_own(key)
            return
        usable = self._usable(provider.addrs)
        if not usable:
            return
        peer = provider.peer_id
        self._remove(key, peer)
        mine = self._by_peer.get(peer)
        if mine is not None and len(mine) >= self._limits.keys_per_peer_max:
            self._remove(next(iter(mine)), peer)
        self._make_room_in(key, usable[0])
        if len(self._records) >= self._limits.records_max:
            self._remove(*next(iter(self._records)))
        self._records[key, peer] = self._clock.monotonic_s()
        self._by_key.setdefault(key, OrderedDict())[peer] = None
        self._by_peer.setdefault(peer, OrderedDict())[key] = None
        self._addresses[peer] = usable

    def get_providers(self, key: bytes) -> list[PeerInfo]:
        """Return the living providers of a key, newest first, this node first of all if it is one."""
        found = [PeerInfo(peer, list(self._addresses[peer])) for peer in reversed(self._living(key))]
        own_since = self._own.get(key)
        if own_since is not None and not self._is_old(own_since):
            found.insert(0, PeerInfo(self.local_peer_id, self.host.get_addrs()))
        return found

    def cleanup_expired(self) -> None:
        """Forget records older than the validity."""
        while self._records:
            (key, peer), since = next(iter(self._records.items()))
            if not self._is_old(since):
                break
            self._remove(key, peer)
        while self._own and self._is_old(next(iter(self._own.values()))):
            self._own.popitem(last=False)

    def size(self) -> int:
        """Return the number of records of other peers."""
        return len(self._records)

    def withdraw(self, key: bytes) -> None:
        """Stop naming this node as a provider of a key."""
        self._own.pop(key, None)

    def _add_own(self, key: bytes) -> None:
        self._own.pop(key, None)
        if len(self._own) >= self._limits.own_keys_max:
            self._own.popitem(last=False)
        self._own[key] = self._clock.monotonic_s()

    def _living(self, key: bytes) -> list[ID]:
        peers = self._by_key.get(key, OrderedDict())
        return [peer for peer in peers if not self._is_old(self._records[key, peer])]

    def _make_room_in(self, key: bytes, address: Multiaddr) -> None:
        peers = self._by_key.get(key)
        if peers is None:
            return
        subnet = _subnet(address)
        if subnet is not None:
            subnets = Counter(_subnet(self._addresses[peer][0]) for peer in peers)
            if subnets[subnet] >= self._limits.subnet_per_key_max:
                crowded = next(peer for peer in peers if _subnet(self._addresses[peer][0]) == subnet)
                self._remove(key, crowded)
                return
        if len(peers) >= self._limits.providers_per_key_max:
            self._remove(key, next(iter(peers)))

    def _remove(self, key: bytes, peer: ID) -> None:
        if self._records.pop((key, peer), None) is None:
            return
        peers, keys = self._by_key[key], self._by_peer[peer]
        del peers[peer]
        del keys[key]
        if not peers:
            del self._by_key[key]
        if not keys:
            del self._by_peer[peer]
            del self._addresses[peer]

    def _usable(self, addrs: list[Multiaddr]) -> list[Multiaddr]:
        looked_at = addrs[: 4 * self._limits.addresses_max]
        return [each for each in looked_at if _facts(each.to_bytes()).is_usable][: self._limits.addresses_max]

    def _is_old(self, since_s: float) -> bool:
        return self._clock.monotonic_s() - since_s >= self._limits.validity_s


@dataclass(frozen=True, slots=True)
class _Facts:
    is_usable: bool
    subnet: str | None


@lru_cache(maxsize=4096)
def _facts(address: bytes) -> _Facts:
    """Return what matters of an address; taking one apart costs more than all the rest of a record."""
    try:
        parts = addresses.parse(str(Multiaddr(address)))
    except MalformedError:
        return _Facts(is_usable=False, subnet=None)
    is_usable = parts.port > 0 and parts.peer is None
    return _Facts(is_usable, subnet_of(parts.host) if is_usable else None)


def _subnet(address: Multiaddr) -> str | None:
    return _facts(address.to_bytes()).subnet
