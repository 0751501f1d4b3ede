"""Where a Kubo node's RPC is, and what it takes to be let in."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from marina.errors import MalformedError
from marina.secret import Secret

DEFAULT_URL = "http://127.0.0.1:5001"
DEFAULT_PORT = 5001


@dataclass(frozen=True, slots=True)
class KuboAddress:
    """An RPC address.

    Attributes:
        scheme: http on this machine, https anywhere.
        host: name or IP address.
        port: TCP port.
        authorization: what the header of that name says; None where the RPC asks for nothing.
    """

    scheme: str
    host: str
    port: int
    authorization: Secret[str] | None = None

    @property
    def url(self) -> str:
        """The address as people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_address(url: str, authorization: Secret[str] | None = None) -> KuboAddress:
    """Return the RPC address that a URL names.

    Whoever reaches the RPC of a Kubo node owns that node, so it is never asked in the clear over a network.

    Raises:
        MalformedError: it is no such URL, carries a password, or leads off this machine without TLS.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as err:
        raise MalformedError(f"{DEFAULT_URL} is what the address of a Kubo node looks like") from err
    if (
        parts.scheme not in {"http", "https"}
        or not host
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise MalformedError(f"{DEFAULT_URL} is what the address of a Kubo node looks like")
    if parts.username is not None or parts.password is not None:
        raise MalformedError("a password does not go into the address: put it into a file, --token-file FILE")
    if parts.scheme == "http" and not _is_loopback(host):
        raise MalformedError(f"{host} is another machine: its Kubo node is reached over https only")
    return KuboAddress(parts.scheme, host, port or DEFAULT_PORT, authorization)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
