"""Puts the parts together that sell music and watch over its keys."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import SystemRandom

from marina.cid import Cid
from marina.clock import Clock
from node.chain.service import ChainService
from node.keys.desk import KeyDesk
from node.library import Library
from node.selling.choosing import Chooser
from node.selling.delegate import DelegateDesk
from node.selling.desk import SellingDesk
from node.selling.directory import GuardianDirectory
from node.selling.draw import network_of
from node.selling.watch import KeyWatch
from p2p.host import Host
from p2p.peerkey import peer_of_key
from p2p.vicinity import remote_address
from storage.identity.owner import Owner
from storage.publish.paid import PaidJournal
from storage.publish.publisher import Publisher


@dataclass(frozen=True, slots=True)
class Selling:
    """The parts that others of the node use.

    Attributes:
        desk: sells and reissues.
        delegate: reissues what others sell.
        watch: warns while there is time.
    """

    desk: SellingDesk
    delegate: DelegateDesk
    watch: KeyWatch


def build_selling(
    *,
    chain: ChainService,
    keys: KeyDesk,
    publisher: Publisher,
    library: Library,
    block: Callable[[Cid, Cid], Awaitable[bytes]],
    host: Host,
    owner: Owner,
    journal: PaidJournal,
    publish: Callable[[Cid, bytes], Awaitable[None]],
    clock: Clock,
) -> Selling:
    """Return the parts, none of them running."""

    def network(peer_key: bytes) -> str | None:
        address = remote_address(host, peer_of_key(peer_key))
        return None if address is None else network_of(address.host)

    chooser = Chooser(
        directory=GuardianDirectory(chain=chain),
        line=keys.line,
        network_of=network,
        own_key=owner.device.public_key,
        clock=clock,
        rng=SystemRandom(),
    )
    desk = SellingDesk(
        chain=chain,
        rights=keys.rights,
        chooser=chooser,
        check=keys.check,
        publisher=publisher,
        block=block,
        random=secrets.token_bytes,
    )
    delegate = DelegateDesk(
        desk=desk,
        chain=chain,
        rights=keys.rights,
        journal=journal,
        publish=publish,
        own_key=owner.device.public_key,
        private_key=owner.key_holder_key,
    )
    watch = KeyWatch(library=library, quorum=desk.quorum, is_on=lambda: chain.profile is not None)
    return Selling(desk, delegate, watch)
