"""Admission counts."""

import pytest

from marina.ids import PeerId
from p2p.config import HostConfig
from p2p.limits import ConnectionLimits, Direction, Refusal, StreamLimits, Ticket, subnet_of

A, B = PeerId("a"), PeerId("b")


def admitted(limits: ConnectionLimits, address: str) -> Ticket:
    ticket = limits.admit_socket(address)
    assert isinstance(ticket, Ticket)
    return ticket


@pytest.mark.parametrize(
    ("address", "subnet"),
    [
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("127.0.1.1", "127.0.1.0/24"),
        ("203.0.113.9", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2::9", "2001:db8:1::/48"),
        ("no address", "unknown"),
    ],
)
def test_subnets_are_counted_except_the_loopback_address(address: str, subnet: str | None) -> None:
    assert subnet_of(address) == subnet


def test_a_subnet_gets_its_share_and_others_still_get_in() -> None:
    limits = ConnectionLimits(HostConfig(connections_per_subnet_max=2))
    for _ in range(2):
        limits.settle(admitted(limits, "203.0.113.1"))
    assert limits.admit_socket("203.0.113.77") is Refusal.SUBNET
    admitted(limits, "198.51.100.1")


def test_a_released_ticket_gives_everything_back_once() -> None:
    limits = ConnectionLimits(HostConfig(connections_per_subnet_max=1, connections_pending_max=1))
    for _ in range(5):
        ticket = admitted(limits, "203.0.113.1")
        assert limits.admit_socket("127.0.0.1") is Refusal.PENDING
        limits.release_socket(ticket)
        limits.release_socket(ticket)
    assert limits.pending == 0


def test_a_crowd_gives_way_to_a_newcomer_the_oldest_handshake_first() -> None:
    limits = ConnectionLimits(HostConfig(connections_pending_max=3))
    gone: list[str] = []
    for name in ("first", "second", "third"):
        assert isinstance(limits.admit_socket("203.0.113.1", lambda name=name: gone.append(name)), Ticket)
    assert isinstance(limits.admit_socket("127.0.0.1"), Ticket)
    assert gone == ["first"]
    assert limits.pending == 3
    assert isinstance(limits.admit_socket("198.51.100.1"), Ticket)
    assert gone == ["first", "second"]
    assert limits.admit_socket("192.0.2.1") is Refusal.PENDING, "nobody holds more than one place"


def test_of_a_crowd_of_connections_the_youngest_gives_way_and_single_ones_stay() -> None:
    limits = ConnectionLimits(HostConfig(connections_in_max=3))
    gone: list[str] = []
    for address in ("203.0.113.1", "203.0.113.2", "198.51.100.1"):
        ticket = limits.admit_socket(address, lambda address=address: gone.append(address))
        assert isinstance(ticket, Ticket)
        limits.settle(ticket)
    assert limits.admit_socket("203.0.113.3") is Refusal.TOTAL, "a crowd does not displace itself for more"
    assert isinstance(limits.admit_socket("192.0.2.1"), Ticket)
    assert gone == ["203.0.113.2"]


def test_total_and_pending_limits_hold() -> None:
    limits = ConnectionLimits(HostConfig(connections_in_max=2, connections_pending_max=1))
    limits.settle(admitted(limits, "127.0.0.1"))
    admitted(limits, "127.0.0.1")
    assert limits.admit_socket("127.0.0.1") is Refusal.PENDING


def test_peers_and_directions_are_capped() -> None:
    limits = ConnectionLimits(HostConfig(connections_per_peer_max=2, connections_out_max=3))
    assert limits.admit_peer(A, Direction.OUT) is None
    assert limits.admit_peer(A, Direction.OUT) is None
    assert limits.admit_peer(A, Direction.IN) is Refusal.PEER
    assert limits.admit_peer(B, Direction.OUT) is None
    assert not limits.has_room_out()
    assert limits.admit_peer(B, Direction.OUT) is Refusal.TOTAL
    limits.release_peer(A, Direction.OUT)
    assert limits.admit_peer(B, Direction.OUT) is None


def test_streams_are_capped_per_peer_and_protocol() -> None:
    streams = StreamLimits(2)
    assert streams.admit(A)
    assert streams.admit(A)
    assert not streams.admit(A)
    assert streams.admit(B)
    streams.release(A)
    assert streams.admit(A)
    assert streams.admit_protocol(A, "/x", 1)
    assert not streams.admit_protocol(A, "/x", 1)
    assert streams.admit_protocol(A, "/y", 1)
    streams.release_protocol(A, "/x")
    assert streams.admit_protocol(A, "/x", 1)
