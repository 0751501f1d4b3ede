"""Multiaddresses as text: the TCP subset that Marina dials and listens on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from multiaddr import Multiaddr

from marina.errors import MalformedError
from marina.ids import PeerId

_HOSTS = ("ip4", "ip6", "dns", "dns4", "dns6")
_TEXT_CHARS_MAX = 512


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP multiaddress taken apart.

    Attributes:
        kind: ip4, ip6, dns, dns4 or dns6.
        host: address or name.
        port: 0 to 65535.
        peer: the peer id behind /p2p/, None without one.
    """

    kind: str
    host: str
    port: int
    peer: PeerId | None

    def __str__(self) -> str:
        tail = f"/p2p/{self.peer}" if self.peer else ""
        return f"/{self.kind}/{self.host}/tcp/{self.port}{tail}"

    @property
    def is_local(self) -> bool:
        """Whether the host is in a loopback, private or link-local range; False for names."""
        if self.kind not in ("ip4", "ip6"):
            return False
        ip = ipaddress.ip_address(self.host)
        return ip.is_private or ip.is_loopback or ip.is_link_local


def parse(text: str) -> TcpAddress:
    """Return the parts of ``/ip4|ip6|dns…/HOST/tcp/PORT[/p2p/PEER]``.

    Raises:
        MalformedError: any other text, other transports and relay paths included.
    """
    if len(text) > _TEXT_CHARS_MAX:
        raise MalformedError("an address has at most 512 characters")
    try:
        protocols = [protocol.name for protocol in Multiaddr(text).protocols()]
        address = Multiaddr(text)
        values = {name: address.value_for_protocol(name) for name in protocols}
    except Exception as err:
        raise MalformedError(f"{text[:80]!r} is not a multiaddress") from err
    if protocols not in ([kind, "tcp", *tail] for kind in _HOSTS for tail in ([], ["p2p"])):
        raise MalformedError(f"{text[:80]!r} is not a TCP address of a peer")
    peer = values.get("p2p")
    return TcpAddress(
        kind=protocols[0],
        host=str(values[protocols[0]]),
        port=int(str(values["tcp"])),
        peer=PeerId(str(peer)) if peer else None,
    )


def with_peer(text: str, peer: PeerId) -> str:
    """Return the address with this peer id at its end, whatever id it had.

    Raises:
        MalformedError: see ``parse``.
    """
    parts = parse(text)
    return str(TcpAddress(parts.kind, parts.host, parts.port, peer))


def same_host(one: str, other: str) -> bool:
    """Return whether two hosts may be the same machine here: equal, or both loopback or wildcard."""
    return one == other or (_is_here(one) and _is_here(other))


def _is_here(host: str) -> bool:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return ip.is_loopback or ip.is_unspecified
