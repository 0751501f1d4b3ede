"""From what was shown to what is sent: exactly that, in its order, and for no more than was said."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from chain.amount import Amount
from chain.draft import Draft
from chain.errors import ChainUnavailableError, InsufficientFundsError, RevertedError, SpendingLimitError
from chain.journal import State
from marina.errors import NetworkError, NotFoundError, UsageError
from marina.ids import account_text
from node.chain.confirmations import Confirmations
from node.chain.service import Money
from node.chain.spending import quote, submit, transaction_json
from tests.support.coin_chain import COIN, RELUCTANT
from tests.support.senders import ALICE, DEV, SHOP, Rig, payment
from tests.support.wire import TrioClock


class Node:
    """The part of a node's chain that quotes and sends, over a chain in memory."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.confirmations = Confirmations(clock=TrioClock())

    def money(self):
        sender = self.rig.sender
        gateway, journal, guard = sender._gateway, sender._journal, sender._guard
        return Money(self.rig.profile, gateway.rpc, gateway, DEV, sender, journal, guard)

    def name_of(self, address):
        return "TheContract" if address == RELUCTANT else None

    def known_tokens(self):
        return {}

    def permitted(self, draft, _account):
        return draft

    async def quote(self, *drafts, max_fee=None, **kwargs):
        return await quote(self, drafts, ALICE.account, max_fee=max_fee, **kwargs)

    async def send(self, *drafts, max_fee=None, wait_s=30, **kwargs):
        said = await self.quote(*drafts, max_fee=max_fee, **kwargs)
        return await submit(self, said["confirm"], wait_s=wait_s)


@pytest.fixture
def node():
    return Node()


def call(key, *, is_queued=False):
    """Return a draft that calls the contract which can be told to refuse."""
    spend = (Amount(COIN, DEV),)
    return Draft(RELUCTANT, b"\x01", COIN, "licence.buy", f"buy {key}", key, spend, is_queued=is_queued)


async def test_a_quote_says_everything_and_sends_nothing(node, autojump_clock):
    said = await node.quote(payment("a"))
    assert (said["chain"], said["spend"], said["left_today"]) == ("dev", ["1 DEV"], ["20 DEV"])
    (row,) = said["transactions"]
    assert (row["what"], row["summary"], row["value"], row["contract"]) == (
        "wallet.send",
        "pay a",
        "1 DEV",
        None,
    )
    assert said["fee_max"] == row["fee_max"]
    assert "eth_sendRawTransaction" not in node.rig.wire.asked
    assert node.rig.sender._journal.live() == []


async def test_a_name_stands_beside_the_whole_address_wherever_it_matters(node, autojump_clock):
    names = {"shop.eth": SHOP}
    address = account_text(SHOP)
    told = replace(payment("a"), summary=f"Send 1 DEV to {address}")
    short = Draft(RELUCTANT, bytes(12) + SHOP, 0, "registry.splits", f"Share with {address[:10]}…", "b")
    other = Draft(RELUCTANT, b"\x01", 0, "registry.splits", "Share nothing", "c")
    said = await node.quote(told, short, other, names=names)
    assert [each["summary"] for each in said["transactions"]] == [
        f"Send 1 DEV to shop.eth ({address})",
        f"Share with {address[:10]}…; shop.eth is {address}",
        "Share nothing",
    ]
    (plain,) = (await node.quote(told))["transactions"]
    assert plain["summary"] == told.summary


async def test_a_code_sends_once(node, autojump_clock):
    said = await node.quote(payment("a"))
    (sent,) = await submit(node, said["confirm"], wait_s=0)
    assert sent["status"] == "pending"
    with pytest.raises(NotFoundError):
        await submit(node, said["confirm"], wait_s=0)
    node.rig.chain.mine()
    assert node.rig.paid() == [COIN]


async def test_the_bound_on_fees_holds_for_all_together(node, autojump_clock):
    with pytest.raises(SpendingLimitError, match="--max-fee"):
        await node.quote(payment("a"), max_fee="1wei")
    with pytest.raises(UsageError):
        await node.quote(payment("a"), max_fee="a lot")
    one = await node.quote(payment("a"))
    both = await node.quote(payment("a"), payment("b"))
    units = [int(float(said["fee_max"].split()[0]) * 1e18) for said in (one, both)]
    assert units[1] == pytest.approx(2 * units[0], rel=1e-9)
    with pytest.raises(SpendingLimitError):
        await node.quote(payment("a"), payment("b"), max_fee=f"{units[0] // 4} wei")


async def test_what_is_sent_costs_no_more_than_what_was_shown(node, autojump_clock):
    said = await node.quote(payment("a"))
    most = int(float(said["fee_max"].split()[0]) * 1e18)
    node.rig.chain.base_wei *= 100
    with pytest.raises(SpendingLimitError, match="network fee"):
        await submit(node, said["confirm"], wait_s=0)
    node.rig.chain.base_wei //= 100
    (sent,) = await node.send(payment("a"))
    row = await node.rig.sender.get(bytes.fromhex(sent["id"]))
    assert row.attempts[-1].fee_wei * row.gas <= most * 1.001


async def test_nothing_to_do_is_said(node, autojump_clock):
    with pytest.raises(UsageError, match="nothing to do"):
        await node.quote()


async def test_what_would_fail_is_not_offered(node, autojump_clock):
    node.rig.chain.refuses = True
    with pytest.raises(RevertedError, match="not today"):
        await node.quote(call("a"))
    with pytest.raises(SpendingLimitError, match=r"spend\.item"):
        await node.quote(payment("a", 6 * COIN))
    with pytest.raises(SpendingLimitError):
        await node.quote(payment("a", 3 * COIN), payment("b", 3 * COIN))
    node.rig.chain.head.balances[ALICE.account] = COIN
    with pytest.raises(InsufficientFundsError, match="holds 1 DEV"):
        await node.quote(payment("a"))
    node.rig.wire.is_down = True
    with pytest.raises(ChainUnavailableError):
        await node.quote(payment("a"))


async def test_a_later_one_waits_for_what_it_needs(node, autojump_clock):
    node.rig.chain.refuses = True
    said = await node.quote(payment("first"), call("second"))
    assert [row["summary"] for row in said["transactions"]] == ["pay first", "buy second"]

    async def first_is_mined():
        while not node.rig.chain.pool:
            await trio.sleep(0.1)
        node.rig.chain.refuses = False  # what the first one does
        node.rig.chain.mine()

    async with node.rig.running(), trio.open_nursery() as nursery:
        nursery.start_soon(first_is_mined)
        done = await submit(node, said["confirm"], wait_s=30)
    assert [row["status"] for row in done] == ["mined", "pending"]
    assert [row["nonce"] for row in done] == [0, 1]


async def test_when_the_first_is_not_mined_in_time_what_follows_is_not_sent(node, autojump_clock):
    node.rig.chain.refuses = True
    said = await node.quote(payment("first"), call("second"))
    async with node.rig.running():
        with pytest.raises(NetworkError, match="what comes behind it was not sent"):
            await submit(node, said["confirm"], wait_s=5)
    assert [each.what for each in node.rig.sender._journal.live()] == ["wallet.send"]


async def test_independent_ones_do_not_wait_for_each_other(node, autojump_clock):
    started_s = trio.current_time()
    done = await node.send(payment("a"), payment("b"), payment("c"))
    assert [row["nonce"] for row in done] == [0, 1, 2]
    assert trio.current_time() - started_s < 1


async def test_a_purchase_that_may_wait_is_paid_once_the_chain_answers(node, autojump_clock):
    node.rig.wire.is_down = True
    said = await node.quote(call("a", is_queued=True), is_offline=True)
    assert (said["waits"], said["fee_max"]) == (True, None)
    (waiting,) = await submit(node, said["confirm"], wait_s=0)
    assert (waiting["status"], waiting["hash"]) == ("waits", None)
    node.rig.restarted()
    node.rig.wire.is_down = False
    async with node.rig.running() as sender:
        with trio.fail_after(60):
            while (await sender.get(bytes.fromhex(waiting["id"]))).state != State.PENDING:
                await trio.sleep(1)
        await node.rig.blocks(4)
    assert node.rig.paid(RELUCTANT) == [COIN]


async def test_a_purchase_that_waited_and_is_refused_costs_nothing(node, autojump_clock):
    node.rig.wire.is_down = True
    said = await node.quote(call("a", is_queued=True), is_offline=True)
    (waiting,) = await submit(node, said["confirm"], wait_s=0)
    node.rig.chain.refuses, node.rig.wire.is_down = True, False
    async with node.rig.running() as sender:
        with trio.fail_after(60):
            while (found := await sender.get(bytes.fromhex(waiting["id"]))).is_live:
                await trio.sleep(1)
    shown = transaction_json(node, found)
    assert (shown["status"], shown["reason"], shown["hash"]) == (
        "failed",
        "the contract refused: not today",
        None,
    )
    assert await node.money().guard.left(DEV) == 20 * COIN, "what was not paid does not count"


async def test_every_state_has_a_word_for_people(node, autojump_clock):
    (sent,) = await node.send(payment("a"))
    seen = [sent["status"]]
    number = bytes.fromhex(sent["id"])
    async with node.rig.running() as sender:
        await node.rig.blocks(1)
        seen.append(transaction_json(node, await sender.get(number))["status"])
        node.rig.chain.reorg(1)
        await trio.sleep(10)
        seen.append(transaction_json(node, await sender.get(number))["status"])
        await node.rig.blocks(5)
        seen.append(transaction_json(node, await sender.get(number))["status"])
    assert seen == ["pending", "mined", "re-orged", "confirmed"]
