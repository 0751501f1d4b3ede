"""Admission of connections and streams: plain counting, no I/O.

py-libp2p's ResourceManager counts connections per direction, peer and in total, but not per subnet
of unknown peers, not per protocol and peer, and its inbound limiter never gives a slot back
(see ``p2p/swarm.py``). The counts here decide; the library's own limits stay set a little wider as a
second line.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from marina.ids import PeerId
from p2p.config import HostConfig

K = TypeVar("K")


class Direction(Enum):
    """Who opened a connection."""

    IN = "in"
    OUT = "out"


class Refusal(Enum):
    """Why something was not admitted; the value is the metric label."""

    PENDING = "pending"
    TOTAL = "total"
    SUBNET = "subnet"
    EVICTED = "evicted"
    PEER = "peer"
    BANNED = "banned"
    STREAMS = "streams"


def subnet_of(address: str) -> str | None:
    """Return the /24 (IPv4) or /48 (IPv6) of an address; None where no subnet cap applies.

    Exempt are 127.0.0.1 and ::1 only: other addresses of 127/8 count, so that tests can use them as
    separate networks. An unreadable address counts as one shared subnet.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if str(ip) in {"127.0.0.1", "::1"}:
        return None
    prefix = 24 if ip.version == 4 else 48
    return str(ipaddress.ip_network((ip, prefix), strict=False))


@dataclass(eq=False, slots=True)
class Ticket:
    """One admitted inbound connection; belongs to the task that serves it.

    Attributes:
        subnet: where it comes from, if that is counted.
        evict: ends it.
    """

    subnet: str | None
    evict: Callable[[], None]
    is_pending: bool = True
    is_released: bool = False


class ConnectionLimits:
    """Counts of pending and established connections."""

    def __init__(self, config: HostConfig) -> None:
        self._config = config
        self._pending_in = 0
        self._sockets_in = 0
        self._subnets: Counter[str] = Counter()
        self._tickets: dict[Ticket, None] = {}
        self._established: Counter[Direction] = Counter()
        self._peers: Counter[PeerId] = Counter()

    def admit_socket(self, address: str, evict: Callable[[], None] = lambda: None) -> Ticket | Refusal:
        """Decide about an accepted socket before any handshake is paid for.

        When there is no room, the subnet that holds the most gives way to one that holds less: of its
        unfinished handshakes the oldest, of its connections the youngest. So a flood displaces itself.

        Args:
            address: where it comes from.
            evict: called when this connection must give way later; its place is free at once.
        """
        subnet = subnet_of(address)
        if subnet is not None and self._subnets[subnet] >= self._config.connections_per_subnet_max:
            return Refusal.SUBNET
        has_room = self._pending_in < self._config.connections_pending_max
        if not has_room and not self._make_room(subnet, is_pending=True):
            return Refusal.PENDING
        has_room = self._sockets_in < self._config.connections_in_max
        if not has_room and not self._make_room(subnet, is_pending=False):
            return Refusal.TOTAL
        self._pending_in += 1
        self._sockets_in += 1
        if subnet is not None:
            self._subnets[subnet] += 1
        ticket = Ticket(subnet, evict)
        self._tickets[ticket] = None
        return ticket

    def settle(self, ticket: Ticket) -> None:
        """Note that the handshake of an admitted socket is over."""
        if ticket.is_pending:
            ticket.is_pending = False
            self._pending_in -= 1

    def release_socket(self, ticket: Ticket) -> None:
        """Give back everything an admitted socket held. Idempotent."""
        if ticket.is_released:
            return
        ticket.is_released = True
        del self._tickets[ticket]
        self.settle(ticket)
        self._sockets_in -= 1
        if ticket.subnet is not None:
            _decrement(self._subnets, ticket.subnet)

    def admit_peer(self, peer: PeerId, direction: Direction) -> Refusal | None:
        """Count a connection whose peer is known now, or say why not."""
        if self._peers[peer] >= self._config.connections_per_peer_max:
            return Refusal.PEER
        if self._established[direction] >= self._maximum(direction):
            return Refusal.TOTAL
        self._peers[peer] += 1
        self._established[direction] += 1
        return None

    def has_room_out(self) -> bool:
        """Return whether another outbound connection may be tried."""
        return self._established[Direction.OUT] < self._config.connections_out_max

    def release_peer(self, peer: PeerId, direction: Direction) -> None:
        """Give back what ``admit_peer`` counted."""
        _decrement(self._peers, peer)
        _decrement(self._established, direction)

    def established(self, direction: Direction) -> int:
        """Return the number of established connections of one direction."""
        return self._established[direction]

    @property
    def pending(self) -> int:
        """Inbound sockets whose handshake is not finished."""
        return self._pending_in

    def _make_room(self, subnet: str | None, *, is_pending: bool) -> bool:
        held = [each for each in self._tickets if each.is_pending == is_pending and each.subnet is not None]
        counts = Counter(each.subnet for each in held)
        if not counts:
            return False
        crowded, most = counts.most_common(1)[0]
        if most < 2 or (subnet is not None and counts[subnet] >= most):
            return False
        theirs = [each for each in held if each.subnet == crowded]
        victim = theirs[0] if is_pending else theirs[-1]
        self.release_socket(victim)
        victim.evict()
        return True

    def _maximum(self, direction: Direction) -> int:
        if direction is Direction.IN:
            return self._config.connections_in_max
        return self._config.connections_out_max


class StreamLimits:
    """Counts of the streams that peers opened here, per peer and per protocol and peer."""

    def __init__(self, per_peer_max: int) -> None:
        self._per_peer_max = per_peer_max
        self._peers: Counter[PeerId] = Counter()
        self._protocols: Counter[tuple[PeerId, str]] = Counter()

    def admit(self, peer: PeerId) -> bool:
        """Count a new stream of a peer, whatever it will speak; False when the peer has too many."""
        if self._peers[peer] >= self._per_peer_max:
            return False
        self._peers[peer] += 1
        return True

    def release(self, peer: PeerId) -> None:
        """Give back what ``admit`` counted."""
        _decrement(self._peers, peer)

    def admit_protocol(self, peer: PeerId, protocol: str, maximum: int) -> bool:
        """Count a stream of one protocol; False when the peer has ``maximum`` of them."""
        if self._protocols[peer, protocol] >= maximum:
            return False
        self._protocols[peer, protocol] += 1
        return True

    def release_protocol(self, peer: PeerId, protocol: str) -> None:
        """Give back what ``admit_protocol`` counted."""
        _decrement(self._protocols, (peer, protocol))

    def open_streams(self, peer: PeerId) -> int:
        """Return how many streams a peer has open here."""
        return self._peers[peer]


def _decrement(counts: Counter[K], key: K) -> None:
    """Count down and forget keys at zero, so that the map holds live things only."""
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
