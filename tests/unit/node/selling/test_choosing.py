"""Choosing who keeps the keys: what guardians say of themselves is believed only where it is proven."""

from __future__ import annotations

import os
from functools import partial
from random import Random

import pytest
import trio

from marina.clock import ManualClock
from marina.errors import NetworkError, UsageError
from node.selling.choosing import Chooser, Wanted
from node.selling.draw import Candidate
from p2p.errors import PeerGoneError
from p2p.wire.key import Code
from storage.content.guarded import KeyHolder
from storage.content.keybox import DELEGATES_MAX, GUARDIANS_MAX
from tests.support.bonded import BondedGuardian

CHAIN_ID, REGISTRY, OWN = 31337, b"\x52" * 20, b"o" * 32


class World:
    """Registered guardians in memory, and what reaches them."""

    def __init__(self, *kinds: str, networks: dict[int, str] | None = None) -> None:
        self.clock = ManualClock()
        self.guardians = [BondedGuardian(f"g{i}", self.clock, kind) for i, kind in enumerate(kinds)]
        self.by_key = {each.device.public_key: each for each in self.guardians}
        self.listed = [Candidate(each.account, each.holder, each.bond_mmt) for each in self.guardians]
        self.networks = {self.guardians[i].device.public_key: text for i, text in (networks or {}).items()}

    async def candidates(self) -> list[Candidate]:
        await trio.lowlevel.checkpoint()
        return self.listed

    def is_near(self, peer_key: bytes) -> bool:
        return True

    async def ask(self, peer_key: bytes, message: bytes, *, timeout_s: float) -> bytes:
        with trio.move_on_after(timeout_s):
            if peer_key in self.by_key:
                return await self.by_key[peer_key].answer(message)
        raise PeerGoneError("no answer")

    def chooser(self, own_key: bytes = OWN) -> Chooser:
        return Chooser(
            directory=self, line=self, network_of=self.networks.get, own_key=own_key, clock=self.clock,
            rng=Random(3),
        )  # fmt: skip

    async def choose(self, n: int, k: int, **more: object):
        return await self.chooser().choose(Wanted(n, k, **more), chain_id=CHAIN_ID, registry=REGISTRY)


def names(world: World, choice) -> set[str]:
    return {world.by_key[each.peer_key].name for each in choice.terms.guardians}


async def test_those_are_chosen_that_answer_and_prove_who_they_are(autojump_clock):
    world = World("honest", "forger", "stranger", "garbage", "gone", "silent", "honest", "honest")
    choice = await world.choose(3, 2)
    assert names(world, choice) == {"g0", "g6", "g7"}
    assert (choice.terms.k, choice.terms.chain_id, choice.terms.registry) == (2, CHAIN_ID, REGISTRY)
    assert all(each.problem is None for each in choice.guardians)


async def test_a_guardian_with_another_key_than_the_chain_says_gets_no_share(autojump_clock):
    world = World("honest", "honest", "honest", "honest")
    world.listed[0] = Candidate(
        world.listed[0].account, KeyHolder(world.listed[0].keys.peer_key, b"x" * 32), 9
    )
    assert names(world, await world.choose(3, 2)) == {"g1", "g2", "g3"}
    with pytest.raises(NetworkError):
        await world.choose(4, 4)


async def test_a_strangers_device_never_fills_a_place(autojump_clock):
    world = World("honest", "honest", "stranger", "gone")
    choice = await world.choose(3, 2)
    assert names(world, choice) == {"g0", "g1", "g3"}
    assert "2 of the 3 guardians answer now" in choice.warnings[0]


async def test_one_that_is_not_ready_waits_behind_those_that_are(autojump_clock):
    world = World("honest", "honest", "honest")
    world.guardians[0].codes = [Code.CHAIN_UNAVAILABLE] * 99
    assert names(world, await world.choose(2, 1)) == {"g1", "g2"}


async def test_too_few_that_answer_refuse_the_release(autojump_clock):
    world = World("honest", "gone", "silent", "garbage")
    with pytest.raises(
        NetworkError, match="1 of 4 guardians answer now and 2 are needed: nothing was published"
    ):
        await world.choose(3, 2)


async def test_too_few_that_are_registered_are_told_with_their_number():
    world = World("honest", "honest")
    with pytest.raises(UsageError, match="2 guardians are registered and 7 are wanted"):
        await world.choose(7, 3)


async def test_the_artists_own_node_and_its_delegates_are_no_guardians():
    world = World("honest", "honest", "honest")
    own, delegate = world.guardians[0], world.guardians[1]
    choice = await world.chooser(own.device.public_key).choose(
        Wanted(1, 1, (delegate.holder,)), chain_id=CHAIN_ID, registry=REGISTRY
    )
    assert names(world, choice) == {"g2"}
    assert choice.terms.delegates == (delegate.holder,)
    assert [each.split(" ")[:3] for each in choice.warnings] == [["with", "1", "live"]]


async def test_warnings_name_what_is_thin(autojump_clock):
    world = World(*["honest"] * 7)
    assert [each.split(":")[0] for each in (await world.choose(7, 3)).warnings] == ["no delegate"]
    thin = (await world.choose(4, 3)).warnings
    assert any("have at least 5" in each for each in thin)
    gone = BondedGuardian("gone", world.clock)
    (said,) = (await world.choose(7, 3, delegates=(gone.holder,))).warnings
    assert said.startswith("the delegate …")
    assert said.endswith("does not answer")


async def test_a_delegate_whose_key_is_not_the_named_one_is_told():
    world = World("honest", "honest")
    wrong = KeyHolder(world.guardians[0].device.public_key, b"x" * 32)
    (said,) = (await world.choose(0, 0, delegates=(wrong,))).warnings
    assert "has another key than the one you named" in said


async def test_delegates_alone_keep_keys_too():
    world = World("honest")
    choice = await world.choose(0, 0, delegates=(world.guardians[0].holder,))
    assert (choice.terms.k, choice.terms.guardians, choice.guardians, choice.warnings) == (0, (), (), ())


async def test_networks_are_told_apart_where_there_are_enough():
    world = World(*["honest"] * 4, networks={0: "a", 1: "a", 2: "a", 3: "b"})
    for _ in range(8):
        assert "g3" in names(world, await world.choose(2, 1))


async def test_the_key_of_a_node_is_asked_of_it(autojump_clock):
    world = World("honest", "gone", "forger")
    found = [
        await world.chooser().keys_of(each.device.public_key, chain_id=CHAIN_ID, registry=REGISTRY)
        for each in world.guardians
    ]
    assert found == [world.guardians[0].holder, None, None]


async def test_a_status_with_any_byte_changed_is_nobodys():
    world = World("honest")
    (guardian,) = world.guardians
    answer, places = guardian.answer, iter(range(600))

    async def wounded(message: bytes) -> bytes:
        data, place = bytearray(await answer(message)), next(places)
        data[place % len(data)] ^= 1 << (place % 8)
        return bytes(data)

    guardian.answer, guardian.delay_s = wounded, 0.0
    ask = partial(world.chooser().keys_of, guardian.device.public_key, chain_id=CHAIN_ID, registry=REGISTRY)
    for _ in range(600):
        assert await ask() is None
    guardian.answer = answer
    assert await ask() == guardian.holder


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(-1, 1),
        Wanted(GUARDIANS_MAX + 1, 1),
        Wanted(3, 0),
        Wanted(3, 4),
        Wanted(0, 0),
        Wanted(3, 2, tuple(KeyHolder(os.urandom(32), b"h" * 32) for _ in range(DELEGATES_MAX + 1))),
        Wanted(3, 2, (KeyHolder(b"d" * 32, b"h" * 32), KeyHolder(b"d" * 32, b"i" * 32))),
    ],
)
def test_numbers_that_make_no_keybox_are_refused(wanted: Wanted):
    with pytest.raises(UsageError):
        wanted.check()


async def test_the_account_of_a_delegate_is_the_one_that_signed_for_its_node(autojump_clock):
    world = World("honest", "stranger", "forger", "gone")
    honest, *others = world.guardians
    where = {"chain_id": CHAIN_ID, "registry": REGISTRY}
    assert await world.chooser().account_of(honest.holder, **where) == honest.account
    found = await world.chooser().account_of(others[0].holder, **where)
    assert found != others[0].account, "what its account signed counts, not what is registered"
    for each in others[1:]:
        with pytest.raises(NetworkError, match="start its node and connect to it, or name its account"):
            await world.chooser().account_of(each.holder, **where)
