"""Which of this node's addresses others can use."""

from __future__ import annotations

from ipaddress import ip_address

from p2p import addresses


def shareable_addresses(listen: list[str]) -> tuple[str, ...]:
    """Return addresses for others, loopback only if there is nothing else."""
    far = [each for each in listen if not is_loopback_address(each)]
    return tuple(far or listen)


def is_loopback_address(address: str) -> bool:
    """Return whether only this machine reaches a multiaddr."""
    host = addresses.parse(address).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
