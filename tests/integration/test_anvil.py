"""Payments on a real node: dropped, replaced, taken by another program, re-organised away at any depth."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from random import Random

import pytest
import trio

from chain.amount import Amount
from chain.errors import RevertedError, TransactionFailedError
from chain.journal import State
from chain.profiles import PROFILES
from chain.rpc import RpcPool
from chain.spending import Limits
from marina.clock import SystemClock
from marina.ids import Account, account_text
from storage.kv import MemoryKv
from tests.support.anvil import anvil
from tests.support.coin_chain import COIN, GWEI
from tests.support.senders import ALICE, BOB, DEV, make_sender, payment, raw_payment

DEPTHS = (1, 2, 7, 31, 64)
PROFILE = replace(PROFILES["dev"], confirmations=max(DEPTHS) + 2, block_s=0.2)
"""What the deepest re-organisation reaches is not settled yet."""
MUCH = Limits((Amount(100 * COIN, DEV),), (Amount(10_000 * COIN, DEV),))
SEEN_S = 10.0


@pytest.fixture(scope="module")
def node():
    with anvil() as made:
        made.rpc("evm_setAutomine", False)
        yield made


@pytest.fixture
def shop(node):
    """Return an account that has nothing yet; the payers have enough again."""
    for each in (ALICE, BOB):
        node.rpc("anvil_setBalance", account_text(each.account), hex(1000 * COIN))
    return Account(Random(node.head).randbytes(20))


def balance(node, account):
    return int(node.rpc("eth_getBalance", account_text(account), "latest"), 16)


def mine(node, count=1):
    node.rpc("anvil_mine", hex(count))


@asynccontextmanager
async def sender_of(node, kv=None, profile=PROFILE):
    """Follow transactions over the node while the block runs."""
    rpc = RpcPool(endpoints=[node.url], profile=profile, clock=SystemClock(), rng=Random(1))
    sender = make_sender(rpc, kv or MemoryKv(), clock=SystemClock(), limits=MUCH)
    async with aclosing(rpc), trio.open_nursery() as nursery:
        await nursery.start(sender.run)
        yield sender
        nursery.cancel_scope.cancel()


async def until(sender, transaction, wanted):
    """Wait until a transaction satisfies a condition and return it as it is then."""
    with trio.move_on_after(SEEN_S):
        while True:
            found = await sender.get(transaction.id)
            if wanted(found):
                return found
            await trio.sleep(0.02)
    raise AssertionError(f"{State(found.state).name}: {found.reason}")


async def taken(node, transaction):
    """Wait until the node has what was signed last."""
    with trio.fail_after(SEEN_S):
        while node.rpc("eth_getTransactionByHash", "0x" + transaction.attempts[-1].hash.hex()) is None:
            await trio.sleep(0.02)


def is_in(state):
    return lambda found: State(found.state) is state


async def pay(sender, key, to, value=COIN, signer=ALICE):
    return await sender.submit(payment(key, value, to=to), account=signer.account)


async def test_payments_survive_re_organisations_and_are_made_once(node, shop):
    await reorganise(node, shop, DEPTHS)


@pytest.mark.slow
async def test_payments_survive_re_organisations_of_every_depth_and_are_made_once():
    # Of its own: after thousands of blocks taken back anvil answers calls from a state it no longer has.
    with anvil() as own:
        own.rpc("evm_setAutomine", False)
        own.rpc("anvil_setBalance", account_text(ALICE.account), hex(1000 * COIN))
        await reorganise(own, Account(b"\x07" * 20), range(1, max(DEPTHS) + 1))


async def reorganise(node, shop, depths):
    """Pay, bury the payment under so many blocks, take them all away, and see it paid again."""
    async with sender_of(node) as sender:
        for number, depth in enumerate(depths, start=1):
            sent = await pay(sender, f"depth {depth}", shop)
            mine(node, depth)
            await until(sender, sent, is_in(State.MINED))
            node.rpc("anvil_reorg", depth, [])
            back = await until(sender, sent, lambda found: found.reorgs == 1)
            assert State(back.state) in (State.PENDING, State.SIGNED)
            await taken(node, sent)
            mine(node)
            await until(sender, sent, is_in(State.MINED))
            assert balance(node, shop) == number * COIN
        mine(node, PROFILE.confirmations)
        done = await until(sender, sent, is_in(State.CONFIRMED))
        assert (len(done.attempts), done.reorgs) == (1, 1)
    assert balance(node, shop) == len(depths) * COIN


async def test_going_back_to_a_snapshot_puts_payments_back(node, shop):
    async with sender_of(node) as sender:
        snapshot = node.rpc("evm_snapshot")
        first, second = await pay(sender, "a", shop), await pay(sender, "b", shop, 2 * COIN)
        mine(node, 3)
        for each in (first, second):
            await until(sender, each, is_in(State.MINED))
        assert node.rpc("evm_revert", snapshot)
        mine(node, 4)  # another branch, longer than the old one
        for each in (first, second):
            await until(sender, each, lambda found: found.reorgs == 1)
            await taken(node, each)
        mine(node, PROFILE.confirmations)
        for each in (first, second):
            await until(sender, each, is_in(State.CONFIRMED))
    assert balance(node, shop) == 3 * COIN


async def test_a_dropped_payment_is_sent_again(node, shop):
    async with sender_of(node) as sender:
        sent = await pay(sender, "a", shop)
        for _ in range(3):
            assert node.rpc("anvil_dropTransaction", "0x" + sent.attempts[0].hash.hex())
            await taken(node, sent)
        mine(node)
        await until(sender, sent, is_in(State.MINED))
    assert balance(node, shop) == COIN


async def test_a_payment_below_the_base_fee_is_replaced(node, shop, monkeypatch):
    monkeypatch.setattr("chain.follow._STUCK_S_MIN", 1.0)
    async with sender_of(node) as sender:
        sent = await pay(sender, "a", shop)
        node.rpc("anvil_setNextBlockBaseFeePerGas", hex(sent.attempts[0].fee_wei * 3))
        mine(node)
        found = await until(sender, sent, lambda found: len(found.attempts) == 2)
        assert found.attempts[1].nonce == found.attempts[0].nonce
        assert found.attempts[1].fee_wei * 8 >= found.attempts[0].fee_wei * 9
        await taken(node, found)
        mine(node, 2)
        done = await until(sender, sent, is_in(State.MINED))
        assert done.mined == done.attempts[1].hash
        node.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        mine(node)
    assert balance(node, shop) == COIN


async def test_a_payment_is_taken_back(node, shop):
    async with sender_of(node) as sender:
        sent = await pay(sender, "a", shop)
        await sender.cancel(sent.id)
        mine(node, PROFILE.confirmations)
        await until(sender, sent, is_in(State.CANCELLED))
    assert balance(node, shop) == 0


async def test_another_program_with_the_same_key_costs_time_and_no_second_payment(node, shop):
    profile = replace(PROFILE, confirmations=3)
    async with sender_of(node, profile=profile) as sender:
        sent = await pay(sender, "a", shop, signer=BOB)
        node.rpc("anvil_dropTransaction", "0x" + sent.attempts[0].hash.hex())
        raw = raw_payment(BOB, sent.attempts[0].nonce)
        node.rpc("eth_sendRawTransaction", "0x" + raw.hex())
        mine(node)
        await until(sender, sent, lambda found: "taken by another" in found.reason)
        assert len((await sender.get(sent.id)).attempts) == 1
        mine(node, 3)
        again = await until(sender, sent, lambda found: len(found.attempts) == 2)
        assert again.attempts[1].nonce == again.attempts[0].nonce + 1
        await taken(node, again)
        mine(node, 4)
        await until(sender, sent, is_in(State.CONFIRMED))
    assert balance(node, shop) == COIN


async def test_two_senders_with_one_account_pay_each_intent_once(node, shop):
    profile = replace(PROFILE, confirmations=3)
    async with sender_of(node, profile=profile) as one, sender_of(node, profile=profile) as two:
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(pay, one, f"one {number}", shop, COIN)
                nursery.start_soon(pay, two, f"two {number}", shop, 10 * COIN)
        with trio.fail_after(40):
            while one._journal.live() or two._journal.live():
                mine(node)
                await trio.sleep(0.2)
    assert balance(node, shop) == 33 * COIN


async def test_a_restart_in_the_middle_follows_what_was_sent(node, shop):
    kv = MemoryKv()
    async with sender_of(node, kv) as sender:
        sent = await pay(sender, "a", shop)
    node.rpc("anvil_dropTransaction", "0x" + sent.attempts[0].hash.hex())
    async with sender_of(node, kv) as sender:
        await taken(node, sent)
        assert (await pay(sender, "a", shop)).id == sent.id
        mine(node)
        await until(sender, sent, is_in(State.MINED))
    assert balance(node, shop) == COIN


async def test_a_contract_says_why_before_and_after_it_cost_a_fee(node):
    async with sender_of(node, profile=replace(PROFILE, confirmations=1)) as sender:
        token = node.contracts.token
        holder = node.accounts[0]
        give = replace(payment("x", 0, to=token), data=transfer(ALICE.account, 5), spend=())
        with pytest.raises(RevertedError, match="holds 0 of the 5 tokens needed") as caught:
            await sender.simulate(give, BOB.account)
        assert caught.value.name == "ERC20InsufficientBalance"
        node.rpc("evm_setAutomine", True)
        assert node.invoke(holder, "MarinaToken", "transfer", bytes(ALICE.account), 5)
        node.rpc("evm_setAutomine", False)
        give = replace(give, data=transfer(BOB.account, 5))
        first = await sender.submit(replace(give, key="1"), account=ALICE.account)
        second = await sender.submit(replace(give, key="2"), account=ALICE.account)
        mine(node, 2)
        await until(sender, first, is_in(State.CONFIRMED))
        failed = await until(sender, second, is_in(State.FAILED))
        with pytest.raises(TransactionFailedError):
            await sender.wait(second.id)
        assert failed.gas_used
        assert failed.reason


def transfer(to, units):
    from chain.artifacts import encode_call

    return encode_call("MarinaToken", "transfer", bytes(to), units)
