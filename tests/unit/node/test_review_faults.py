"""Faults that must stay the fault of one song, one job or one search, and never end the node."""

from __future__ import annotations

from contextlib import aclosing
from types import SimpleNamespace

import trio

from marina.cid import RAW, Cid, cid_of
from marina.ids import PeerId
from node.providers import SwarmProviders
from node.swarm import Swarm
from p2p.providers import Found, Origin, Provider, ProviderFinder, Query
from p2p.releases import ReleaseFetcher
from storage.blocks.memory import MemoryBlockStore

BLOCK = b"a small block"
ROOT = cid_of(BLOCK, RAW)


class OnePath:
    """Names one peer, then goes on looking."""

    timeout_s = 5.0

    def __init__(self, origin: Origin, peer: str) -> None:
        self.origin = origin
        self._peer = PeerId(peer)

    async def search(self, query: Query, found: Found) -> None:
        await found(Provider(self._peer, (), self.origin))
        await trio.sleep_forever()


class Connected:
    """A host to which everybody is connected."""

    peer_id = PeerId("own")

    def is_banned(self, peer: PeerId) -> bool:
        return False

    def is_connected(self, peer: PeerId) -> bool:
        return True

    def connected_peers(self) -> list[PeerId]:
        return []


class Answers:
    """A client whose peers have the block."""

    async def fetch(self, peer: PeerId, cids: list[Cid], *, timeout_s: float) -> dict[Cid, bytes]:
        await trio.lowlevel.checkpoint()
        return dict.fromkeys(cids, BLOCK)


def make_swarm() -> Swarm:
    finder = ProviderFinder(
        paths=[OnePath(Origin.DHT, "dht"), OnePath(Origin.GOSSIP, "gossip")], own=PeerId("own")
    )
    return Swarm(host=Connected(), anchors=SimpleNamespace(all=list), finder=finder)


async def test_a_search_for_providers_that_is_broken_off_leaves_nothing_running(autojump_clock):
    fetcher = ReleaseFetcher(
        blocks=MemoryBlockStore(quota_bytes=1 << 20),
        client=Answers(),
        peers=make_swarm(),
        corrupt=lambda *_: None,
    )
    before = list(trio.lowlevel.current_task().child_nurseries)
    with trio.fail_after(60):
        assert await fetcher.block(ROOT, ROOT) == BLOCK
    assert trio.lowlevel.current_task().child_nurseries == before


async def test_a_search_for_providers_that_is_cancelled_leaves_nothing_running(autojump_clock):
    providers = SwarmProviders(host=Connected(), client=None, finder=make_swarm(), release_of=lambda _: None)
    before = list(trio.lowlevel.current_task().child_nurseries)
    with trio.move_on_after(1) as scope:
        async with aclosing(providers.providers(ROOT)) as found:
            async for _ in found:
                await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.lowlevel.current_task().child_nurseries == before
