"""The guardian of a node: off until its owner says otherwise, remembered, found, counted, and limited."""

from __future__ import annotations

import pytest
import trio

from marina.clock import ManualClock
from marina.metrics import Registry
from marina.secret import Secret
from node.chain.service import ChainService
from node.guardian.rates import Rates
from node.guardian.service import GuardianService
from node.settings import ChainSettings, SpendSettings
from p2p.wire.key import Code, Refusal, decode_answer, holder_cid
from storage.errors import DiskFullError
from storage.identity.owner import Owner
from storage.identity.vault import KdfCost
from storage.kv import MemoryKv
from tests.support.key_chain import NOW_S
from tests.support.key_rig import KeyRig
from tests.support.peers import make_host

CHEAP = KdfCost(memory_kib=32, iterations=1, lanes=1)


class Node:
    """What a guardian has around it: no chain, and a disk that may be full.

    Attributes:
        announced: CIDs under which it was announced.
        is_full: whether the disk is.
    """

    def __init__(self, home):
        home.mkdir()
        self.clock = ManualClock(NOW_S)
        self.owner = Owner.create(home, Secret("correct horse battery"), clock=self.clock, cost=CHEAP)
        self.store = MemoryKv()
        self.chain = ChainService(
            settings=ChainSettings(), spend=SpendSettings(), home=home, store=self.store, owner=self.owner,
            clock=self.clock,
        )  # fmt: skip
        self.announced = []
        self.is_full = False
        self.registry = Registry()

    def service(self):
        self.registry = Registry()
        return GuardianService(
            host=make_host("a node"), owner=self.owner, chain=self.chain, store=self.store,
            publish=self.publish, clock=self.clock, registry=self.registry,
        )  # fmt: skip

    async def publish(self, cid, data):
        await trio.lowlevel.checkpoint()
        if self.is_full:
            raise DiskFullError("the disk is full")
        self.announced.append(cid)

    def counted(self, outcome):
        return self.registry.get_sample_value("marina_guardian_answers_total", {"outcome": outcome})


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path / "home")


async def test_it_is_off_until_the_owner_says_otherwise_and_stays_as_it_was_left(
    node, nursery, autojump_clock
):
    first = node.service()
    await nursery.start(first.run)
    await trio.sleep(30)
    assert (first.is_on, node.announced) == (False, [])
    await first.switch(True)
    await trio.sleep(30)
    mine = holder_cid(node.owner.device.public_key)
    assert (first.is_on, node.announced) == (True, [mine]), "announced once"
    second = node.service()
    await nursery.start(second.run)
    assert second.is_on, "after a restart"
    await second.switch(False)
    third = node.service()
    await nursery.start(third.run)
    await trio.sleep(30)
    assert (third.is_on, (await third.facts())["on"]) == (False, False)


async def test_a_full_disk_delays_its_announcement_and_nothing_else(node, nursery, autojump_clock):
    node.is_full = True
    service = node.service()
    await service.switch(True)
    await nursery.start(service.run)
    await trio.sleep(30)
    assert (service.is_on, node.announced) == (True, [])
    node.is_full = False
    await trio.sleep(5)
    assert len(node.announced) == 1


async def test_a_guardian_without_a_chain_says_so_and_counts_each_answer_once(node):
    service, rig, found = node.service(), KeyRig(), []

    async def ask():
        message = rig.request(aud=node.owner.device.public_key)
        found.append(decode_answer(await service.answer(message, rig.device.public_key, "")))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    await service.answer(b"junk", b"p" * 32, "")
    assert all(isinstance(each, Refusal) and each.code is Code.CHAIN_UNAVAILABLE for each in found)
    assert (node.counted("chain_unavailable"), node.counted("malformed")) == (20, 1)
    assert (await service.facts())["released"] == 0


def test_a_device_and_a_network_have_buckets_of_their_own():
    clock = ManualClock(NOW_S)
    rates = Rates(clock=clock, peer_per_s=1, peer_burst=3, origin_per_s=1, origin_burst=5)
    assert [rates.admits(b"a", "10.0.0.0/24") for _ in range(4)] == [True, True, True, False]
    assert [rates.admits(b"b", "10.0.0.0/24") for _ in range(3)] == [True, True, False]
    assert rates.admits(b"c", "10.0.1.0/24"), "another network"
    assert not rates.admits(b"d", "10.0.0.0/24")
    clock.advance(1)
    assert rates.admits(b"d", "10.0.0.0/24")
    assert [rates.admits(bytes((number,)), "") for number in range(50)] == [True] * 50


async def test_who_asks_too_often_waits_and_others_do_not():
    clock = ManualClock(NOW_S)
    rig = KeyRig(admits=Rates(clock=clock, peer_per_s=1, peer_burst=2).admits)
    found = [await rig.ask(rig.request()) for _ in range(3)]
    assert [isinstance(each, Refusal) for each in found] == [False, False, True]
    assert (found[-1].code, found[-1].retry_after_s > 0) == (Code.RATE, True)
    clock.advance(1)
    assert not isinstance(await rig.ask(rig.request()), Refusal)
