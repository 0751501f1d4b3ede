"""Multiaddresses as text: the TCP subset that Marina dials and listens on."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import trio
from multiaddr import Multiaddr

from marina.errors import MalformedError
from marina.ids import PeerId

_HOSTS = ("ip4", "ip6", "dns", "dns4", "dns6")
_TEXT_CHARS_MAX = 512
_ANSWERS_MAX = 4
_FAMILIES = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}


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
    def is_name(self) -> bool:
        """Whether the host must be resolved first."""
        return self.kind.startswith("dns")

    @property
    def is_local(self) -> bool:
        """Whether the host is in a loopback, private or link-local range; False for names."""
        if self.is_name:
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


def worth_dialling(addrs: Sequence[str], *, teller_is_local: bool) -> list[str]:
    """Return the addresses of a third peer's word that may be dialled at all.

    Private and loopback addresses only count from a peer that is itself in such a range; else any
    stranger could make this node knock on doors of the owner's home network.
    """
    found = []
    for text in addrs:
        try:
            parts = parse(text)
        except MalformedError:
            continue
        if teller_is_local or not parts.is_local:
            found.append(text)
    return found


async def resolve(addrs: Sequence[str]) -> list[str]:
    """Return the addresses with names replaced by their IP addresses; what does not resolve is left out.

    Waits on the system's resolver: put a deadline around it.
    """
    found: list[str] = []
    for text in addrs:
        try:
            parts = parse(text)
        except MalformedError:
            continue
        if not parts.is_name:
            found.append(text)
            continue
        try:
            answers = await trio.socket.getaddrinfo(
                parts.host, parts.port, family=_FAMILIES[parts.kind], type=socket.SOCK_STREAM
            )
        except OSError:
            continue
        for family, _, _, _, endpoint in answers[:_ANSWERS_MAX]:
            kind = "ip6" if family == socket.AF_INET6 else "ip4"
            found.append(str(TcpAddress(kind, str(endpoint[0]), parts.port, parts.peer)))
    return found


def same_host(one: str, other: str) -> bool:
    """Return whether two hosts may be the same machine here: equal, or both loopback or wildcard."""
    return one == other or (_is_here(one) and _is_here(other))


def _is_here(host: str) -> bool:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return ip.is_loopback or ip.is_unspecified
