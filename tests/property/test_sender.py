"""Whatever happens between a node and a chain, in any order: an intent is mined at most once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import given, settings
from trio.testing import MockClock

from chain.amount import Amount
from chain.journal import State
from chain.spending import Limits
from marina.errors import MarinaError
from storage.errors import DiskFullError
from tests.support.coin_chain import COIN, GWEI
from tests.support.senders import ALICE, DEV, PROFILE, SHOP, Rig, raw_payment
from tests.support.wire import Refused

REORG_DEPTH_MAX = PROFILE.confirmations - 1
"""Deeper ones break what the profile calls settled, by definition."""
MUCH = Limits((Amount(10 * COIN, DEV),), (Amount(1000 * COIN, DEV),))

STEPS = st.one_of(
    st.tuples(st.just("pay"), st.integers(0, 5)),
    st.tuples(st.just("pay_when_it_answers"), st.integers(0, 5)),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("drop"), st.integers(0, 3)),
    st.tuples(st.just("mine"), st.integers(1, 3)),
    st.tuples(st.just("mine_nothing"), st.integers(1, 2)),
    st.tuples(st.just("reorg"), st.integers(1, REORG_DEPTH_MAX)),
    st.tuples(st.just("forgetful_reorg"), st.integers(1, REORG_DEPTH_MAX)),
    st.tuples(st.just("foreign"), st.integers(0, 1)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("down"), st.just(0)),
    st.tuples(st.just("up"), st.just(0)),
    st.tuples(st.just("lose_answers"), st.just(0)),
    st.tuples(st.just("fee"), st.sampled_from([1, 3, 40])),
    st.tuples(st.just("disk_full"), st.integers(0, 2)),
    st.tuples(st.just("disk_has_room"), st.just(0)),
    st.tuples(st.just("refuse"), st.integers(0, 1)),
    st.tuples(st.just("refuse_no_more"), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 45])),
)


@dataclass
class Story:
    """One random story; the values of payments tell them apart."""

    rig: Rig = field(default_factory=lambda: Rig(limits=MUCH))
    paid_for: int = 0
    writes_left: int | None = None
    """So many more fit on the disk, None for any number."""

    def __post_init__(self):
        write = self.rig.kv.write

        async def bounded(batch):
            if self.writes_left is not None:
                if self.writes_left == 0:
                    raise DiskFullError("the disk is full")
                self.writes_left -= 1
            await write(batch)

        self.rig.kv.write = bounded

    async def tell(self, steps):
        todo = list(steps)
        while todo:
            async with self.rig.running():
                while todo:
                    name, number = todo.pop(0)
                    if name == "restart":
                        break
                    await getattr(self, name)(number)
            self.rig.restarted()
        await self.end()

    async def pay(self, number, **kwargs):
        # The chain may be down, or not take it: what counts is what was mined in the end.
        with suppress(MarinaError):
            await self.rig.pay(f"key {number}", COIN + number, **kwargs)
        self.paid_for += 1

    async def pay_when_it_answers(self, number):
        await self.pay(number, is_queued=True)

    async def cancel(self, number):
        live = self.rig.sender._journal.live()
        if live:
            with suppress(MarinaError):  # mined by now, or the chain is down
                await self.rig.sender.cancel(live[number % len(live)].id)

    async def drop(self, number):
        pool = list(self.rig.chain.pool.values())
        if pool:
            self.rig.chain.drop(pool[number % len(pool)].hash)

    async def mine(self, count):
        await self.rig.blocks(count)

    async def mine_nothing(self, count):
        for _ in range(count):
            self.rig.chain.mine(takes=lambda _: False)

    async def reorg(self, depth):
        self.rig.chain.reorg(depth)

    async def forgetful_reorg(self, depth):
        self.rig.chain.reorg(depth, keeps=False)

    async def foreign(self, ahead):
        chain = self.rig.chain
        raw = raw_payment(ALICE, chain.head.nonces.get(ALICE.account, 0) + ahead)
        with suppress(Refused):  # it is there already, or ours offers more
            chain.answer("eth_sendRawTransaction", ["0x" + raw.hex()])

    async def down(self, _):
        self.rig.wire.is_down = True

    async def up(self, _):
        self.rig.wire.is_down = self.rig.wire.loses_answers = False

    async def lose_answers(self, _):
        self.rig.wire.loses_answers = True

    async def fee(self, gwei):
        self.rig.chain.base_wei = gwei * GWEI

    async def disk_full(self, writes_left):
        self.writes_left = writes_left

    async def disk_has_room(self, _):
        self.writes_left = None

    async def refuse(self, takes):
        """Let the endpoint refuse what is sent for good, and pass it on or not."""
        answer = self.rig.chain.answer

        def refused(method, params):
            if method != "eth_sendRawTransaction":
                return answer(method, params)
            if takes:
                answer(method, params)
            raise Refused(-32000, "insufficient funds for gas * price + value")

        self.rig.wire.answer = refused

    async def refuse_no_more(self, _):
        self.rig.wire.answer = self.rig.chain.answer

    async def wait(self, seconds):
        await trio.sleep(seconds)

    async def end(self):
        """Let the chain be well until nothing is unfinished, then compare."""
        rig = self.rig
        for healed in (self.up, self.disk_has_room, self.refuse_no_more):
            await healed(0)
        rig.chain.base_wei = GWEI
        async with rig.running() as sender:
            for turn in range(200):
                if not sender._journal.live():
                    break
                await rig.blocks(3)
                if turn % 20 == 19:  # another program's transaction was dropped: a new one fills its place
                    await self.pay(100 + turn)
            rows = [row for _, row in await sender._journal.page(limit=1000)]
            assert not [each for each in rows if each.is_live], "something never ends"
            mined = {each.hash for each in rig.chain.transfers()}
            for row in rows:
                hashes = {each.hash for each in row.attempts if not each.is_cancel}
                is_over = "made again as" not in row.reason  # else a later row has all that was signed for it
                count = len(hashes & mined) if is_over else 0
                assert count == (1 if State(row.state) is State.CONFIRMED else 0), (row, count)
            spent = await sender._guard.spent()
        assert spent.get(b"", 0) == sum(rig.paid(SHOP))
        assert len(rig.paid(SHOP)) <= self.paid_for


def tell(steps):
    trio.run(Story().tell, steps, clock=MockClock(autojump_threshold=0))


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=14))
def test_an_intent_is_mined_at_most_once_and_what_is_counted_is_what_was_mined(steps):
    tell(steps)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=40))
def test_an_intent_is_mined_at_most_once_in_long_stories(steps):
    tell(steps)
