"""Everything with which a listener's node gets, keeps and explains the keys of paid music, put together."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING

import trio

from marina.cid import Cid
from marina.clock import Clock
from marina.errors import MarinaError
from marina.schema import encode_record
from node.chain.service import ChainService
from node.downloads import Downloads
from node.keys.asking import Asker
from node.keys.assurance import Assurer
from node.keys.cache import KeyCache
from node.keys.collector import Collector
from node.keys.delivery import Delivery
from node.keys.evidence import Evidence
from node.keys.finding import HolderLine
from node.keys.high_water import HighWater
from node.keys.keyring import Artist, Keyring
from node.keys.quorum import QuorumCheck
from node.keys.rights import ChainRights
from node.library import Library
from node.swarm import Swarm
from p2p.host import Host
from p2p.key_client import KeyClient
from p2p.providers import ProviderFinder
from storage.blocks.protocol import BlockStore
from storage.identity.owner import Owner
from storage.kv import KeyValueStore, Table
from storage.private import PrivateStore

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.node.keys")
_PRUNE_EVERY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class KeyDesk:
    """The parts that others of the node use.

    Attributes:
        line: brings messages to guardians and delegates.
        check: asks them how they are.
        keyring: gives playback its keys.
        evidence: what guardians did wrong.
        delivery: fetches keys of what was bought.
        high_water: the latest time seen.
        rights: what the owner's licences open.
        cache: the keys that are here.
    """

    line: HolderLine
    check: QuorumCheck
    keyring: Keyring
    evidence: Evidence
    delivery: Delivery
    high_water: HighWater
    rights: ChainRights
    cache: KeyCache

    def assurer(
        self,
        *,
        blocks: BlockStore,
        downloads: Downloads,
        block: Callable[[Cid, Cid], Awaitable[bytes]],
    ) -> Assurer:
        """Return what looks before money moves."""
        return Assurer(
            rights=self.rights, keyring=self.keyring, check=self.check, blocks=blocks, downloads=downloads,
            block=block,
        )  # fmt: skip

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the time and deliver keys until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.high_water.run)
            await nursery.start(self.delivery.run)
            nursery.start_soon(self._forget_old)
            task_status.started()

    async def _forget_old(self) -> None:
        while True:
            try:
                await self.cache.prune(self.high_water.time_s())
            except MarinaError as err:
                log.info("keys of licences that ended stay for now: %s", err)
            await trio.sleep(_PRUNE_EVERY_S)


def build_key_desk(
    *,
    owner: Owner,
    chain: ChainService,
    private: PrivateStore,
    store: KeyValueStore,
    library: Library,
    block: Callable[[Cid, Cid], Awaitable[bytes]],
    host: Host,
    swarm: Swarm,
    finder: ProviderFinder,
    clock: Clock,
) -> KeyDesk:
    """Return the parts, none of them running."""
    rng = SystemRandom()
    line = HolderLine(host=host, client=KeyClient(host=host), swarm=swarm, finder=finder)
    evidence = Evidence(private=private, clock=clock)
    asker = Asker(owner.account, owner.device, lambda: encode_record(owner.binding))
    chain_id = chain.profile.chain_id if chain.profile else 0
    high_water = HighWater(table=Table(store, f"high-water-{chain_id}"), clock=clock)
    rights = ChainRights(chain=chain, account=owner.account)
    cache = KeyCache(private=private)
    keyring = Keyring(
        artist=Artist(owner.account, owner.content_root),
        rights=rights,
        cache=cache,
        releasing=Collector(line=line, asker=asker, evidence=evidence, clock=clock, rng=rng),
        block=block,
        high_water=high_water,
        clock=clock,
    )
    delivery = Delivery(
        journal=chain.journal,
        account=owner.account,
        library=library,
        keyring=keyring,
        block=block,
        table=Table(store, "delivered-keys"),
        rng=rng,
    )
    chain.on_mined = delivery.poke
    return KeyDesk(line, QuorumCheck(line=line), keyring, evidence, delivery, high_water, rights, cache)
