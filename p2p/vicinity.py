"""Where a connected peer is: the other end of its connection, not what it says of itself."""

from __future__ import annotations

from marina.errors import MalformedError
from marina.ids import PeerId
from p2p import addresses
from p2p.host import Host
from p2p.peerid import to_libp2p


def remote_address(host: Host, peer: PeerId) -> addresses.TcpAddress | None:
    """Return the other end of a peer's oldest connection, None when there is none."""
    for connection in host.raw.get_network().get_connections(to_libp2p(peer)):
        for each in connection.get_transport_addresses():
            try:
                return addresses.parse(str(each))
            except MalformedError:
                continue
    return None


def is_local(host: Host, peer: PeerId) -> bool:
    """Return whether a connected peer is on this machine or in a private network."""
    address = remote_address(host, peer)
    return address is not None and address.is_local
