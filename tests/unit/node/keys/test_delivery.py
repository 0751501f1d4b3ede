"""Keys of purchases come by themselves, also after the node died at any moment in between."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from types import SimpleNamespace

import pytest
import trio

from chain.draft import Draft
from chain.intent import planned
from chain.journal import Journal, State
from chain.profiles import PROFILES
from marina.errors import LicenceNeededError, NetworkError, NotFoundError
from marina.ids import Account
from node.keys.delivery import Delivery
from storage.content.keybox import public_keybox
from storage.kv import MemoryKv, Table
from tests.support.guardians import KC, KEY, NAME, REGISTRY, Guardian, Party
from tests.support.listening import Sealed

ME = Account(b"m" * 20)
THING = b"t" * 32


class Died(BaseException):
    """The process is gone."""


class World:
    """A journal on a disk, a library with one track, and a keyring that does what the test says."""

    def __init__(self, clock):
        self.kv = MemoryKv()
        self.clock = clock
        self.manifest = Sealed(b"sound" * 1000).manifest()
        self.box = Party([Guardian("g", clock)]).box(1).to_bytes()
        self.failures = []
        self.asked = 0
        self.has_key = False
        self.tiers = {2}

    async def buy(self, *, what="licence.buy", state=State.CONFIRMED, licensee=ME):
        key = f"{what}:{THING.hex()}:0:{licensee.hex()}"
        draft = Draft(Account(REGISTRY), b"", 1, what, "buy", key)
        row = planned(
            draft, ME, spends=(), profile=PROFILES["dev"], gas=1, max_fee_wei=None, now_s=self.clock.now_s()
        )
        row = replace(row, state=state.value)
        await Journal(self.kv).put(row)
        return row

    async def resolve(self, typed):
        await trio.lowlevel.checkpoint()
        if typed.startswith("rl_"):
            raise NotFoundError("no such release")
        return SimpleNamespace(meant=[self.manifest])

    async def block(self, root, cid):
        await trio.lowlevel.checkpoint()
        return self.box

    async def open_tiers(self, track, tiers):
        await trio.lowlevel.checkpoint()
        return self.tiers & set(tiers)

    async def lease(self, track, rendition):
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop(0)
        self.has_key = True

    def delivery(self):
        return Delivery(
            journal=Journal(self.kv),
            account=ME,
            library=self,
            keyring=self,
            block=self.block,
            table=Table(self.kv, "delivered-keys"),
            rng=Random(1),
        )

    async def live(self, seconds):
        """Run a node for so long; it dies without a word."""
        with trio.move_on_after(seconds):
            await self.delivery().run()


@pytest.fixture
async def world(clock):
    return World(clock)


async def test_the_key_of_a_purchase_comes_once(world, autojump_clock):
    await world.buy()
    await world.live(5)
    assert (world.has_key, world.asked) == (True, 1)
    await world.live(5)
    assert world.asked == 1


async def test_a_purchase_made_while_the_node_runs_is_delivered_when_it_is_mined(world, autojump_clock):
    delivery = world.delivery()
    async with trio.open_nursery() as nursery:
        await nursery.start(delivery.run)
        await trio.sleep(1)
        await world.buy(state=State.MINED)
        delivery.poke()
        await trio.sleep(0.1)
        assert world.has_key
        nursery.cancel_scope.cancel()


async def test_guardians_that_do_not_answer_are_asked_again_until_the_key_is_here(world, autojump_clock):
    await world.buy()
    world.failures = [NetworkError("2 of 7")] * 8
    await world.live(600)
    assert (world.has_key, world.asked) == (True, 9)


async def test_a_defect_in_one_purchase_neither_ends_the_node_nor_stops_the_others(world, autojump_clock):
    world.failures = [OverflowError("what a stranger's keybox can do"), ValueError("again")]
    await world.buy()
    await world.live(60)
    assert (world.has_key, world.asked) == (True, 3)


async def test_a_node_that_dies_while_it_asks_asks_again_after_its_start(world, autojump_clock):
    await world.buy()
    world.failures = [Died()]
    with pytest.raises(BaseExceptionGroup):
        await world.live(5)
    assert not world.has_key
    await world.live(5)
    assert (world.has_key, world.asked) == (True, 2)


async def test_a_licence_that_is_not_seen_yet_is_waited_for_and_one_that_ended_is_given_up(
    world, autojump_clock
):
    await world.buy()
    world.failures = [LicenceNeededError("an endpoint lags")] * 2
    await world.live(60)
    assert world.has_key
    other = World(world.clock)
    other.tiers = set()
    await other.buy()
    await other.live(600)
    assert (other.has_key, other.asked) == (False, 0)
    other.tiers = {2}
    await other.live(60)
    assert other.asked == 0, "what was paid back is not asked for at every start"


@pytest.mark.parametrize(
    "changes",
    [
        {"state": State.PENDING},
        {"state": State.FAILED},
        {"what": "tip"},
        {"licensee": Account(b"o" * 20)},
        {"what": "licence.gift", "licensee": Account(b"o" * 20)},
    ],
    ids=str,
)
async def test_what_is_no_purchase_of_this_account_is_left_alone(changes, world, autojump_clock):
    await world.buy(**changes)
    await world.live(20)
    assert world.asked == 0


async def test_what_another_account_of_the_owner_paid_is_delivered_too(world, autojump_clock):
    await world.buy(what="licence.gift")
    await world.live(5)
    assert world.has_key


async def test_free_music_that_was_bought_needs_no_key(world, autojump_clock):
    world.box = public_keybox(NAME, KEY, KC).to_bytes()
    await world.buy()
    await world.live(20)
    assert world.asked == 0
