"""Drawing guardians: at random, weighted by bond, one of each network. Source: design, security §1.5."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from random import Random

from marina.ids import Account
from storage.content.guarded import KeyHolder

_V4_BITS, _V6_BITS = 24, 48


@dataclass(frozen=True, slots=True)
class Candidate:
    """A guardian that is registered on the chain.

    Attributes:
        account: whose bond it is.
        keys: of its node.
        bond: base units of MMT.
    """

    account: Account
    keys: KeyHolder
    bond: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A candidate after it was asked.

    Attributes:
        candidate: who.
        problem: why it would not release a share now; None when it would.
        network: where it answered from, None when that says nothing (not known, or this very network).
    """

    candidate: Candidate
    problem: str | None
    network: str | None = None


def weighted_order(candidates: Iterable[Candidate], rng: Random) -> list[Candidate]:
    """Return the candidates in random order, each place won with a chance in proportion to the bond.

    Each gets the key log(u) / bond with a uniform u; the largest come first.
    Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006.
    """
    keyed = [(math.log(1.0 - rng.random()) / each.bond, each) for each in candidates if each.bond > 0]
    return [each for _, each in sorted(keyed, key=lambda pair: pair[0], reverse=True)]


def pick(seen: Sequence[Seen], n: int) -> list[Seen]:
    """Return at most n: those that are ready first, in their order, one of each account and network.

    Where there are too few networks the rest comes from networks that are taken: a guardian next to
    another is better than none. Those that are not ready come last.
    """
    chosen: list[Seen] = []
    accounts: set[bytes] = set()
    networks: set[str] = set()

    def take(each: Seen, *, is_strict: bool) -> None:
        if len(chosen) == n or each.candidate.account in accounts:
            return
        if is_strict and each.network is not None and each.network in networks:
            return
        accounts.add(each.candidate.account)
        if each.network is not None:
            networks.add(each.network)
        chosen.append(each)

    ready = [each for each in seen if each.problem is None]
    for is_strict in (True, False):
        for each in ready:
            take(each, is_strict=is_strict)
    for each in seen:
        if each.problem is not None:
            take(each, is_strict=False)
    return chosen


def network_of(host: str) -> str | None:
    """Return the /24 or /48 of a public address, None for a private one and for what is no address."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if not address.is_global:
        return None
    bits = _V4_BITS if isinstance(address, IPv4Address) else _V6_BITS
    return str(ip_network((address, bits), strict=False))
