"""What endpoints say against a payment: refusals that are none, failures that did not happen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from chain.amount import Amount
from chain.draft import Draft
from chain.errors import SpendingLimitError, TransactionFailedError
from chain.journal import ATTEMPTS_MAX, CANCEL_ATTEMPTS, State
from chain.spending import Limits
from marina.errors import UsageError
from tests.support.coin_chain import COIN, GWEI
from tests.support.senders import ALICE, BOB, DEV, PROFILE, SHOP, Rig, payment, raw_payment
from tests.support.wire import Refused, Wire

POOR = "insufficient funds for gas * price + value"


def refusing(rig, words=POOR, *, takes=False):
    """Make the endpoint refuse what is sent; ``takes`` passes it on all the same."""
    answer = rig.chain.answer

    def refuse(method, params):
        if method != "eth_sendRawTransaction":
            return answer(method, params)
        if takes:
            answer(method, params)
        raise Refused(-32000, words)

    rig.wire.answer = refuse


async def refused(rig, key="a"):
    with pytest.raises(TransactionFailedError):
        await rig.pay(key)
    return rig.sender._journal.live_with(key)


async def test_a_refused_payment_that_was_passed_on_all_the_same_is_followed_and_not_made_again(
    autojump_clock,
):
    rig = Rig()
    refusing(rig, takes=True)
    row = await refused(rig)
    rig.wire.answer = rig.chain.answer
    again = await rig.pay("a")
    assert (again.id, State(again.state)) == (row.id, State.PENDING)
    async with rig.running():
        await rig.blocks(4)
        assert await rig.state(row) is State.CONFIRMED
    assert rig.paid() == [COIN]


async def test_a_refused_payment_that_is_mined_meanwhile_is_known_to_be_paid(autojump_clock):
    rig = Rig()
    refusing(rig, takes=True)
    row = await refused(rig)
    rig.wire.answer = rig.chain.answer
    rig.chain.mine()
    assert (await rig.pay("a")).id == row.id
    async with rig.running():
        await rig.blocks(4)
        assert await rig.state(row) is State.CONFIRMED
    assert rig.paid() == [COIN]


async def test_a_refused_payment_that_nobody_sees_is_made_again_in_the_same_place(autojump_clock):
    rig = Rig()
    refusing(rig)
    row = await refused(rig)
    hidden = row.raw
    rig.wire.answer = rig.chain.answer
    again = await rig.pay("a")
    assert (again.nonce, len(again.attempts)) == (row.nonce, 2)
    assert State((await rig.sender.get(row.id)).state) is State.FAILED
    rig.chain.pool.clear()
    rig.chain.answer("eth_sendRawTransaction", ["0x" + hidden.hex()])  # whoever refused it had it after all
    async with rig.running() as sender:
        await rig.blocks(6)
        done = await sender.get(again.id)
        assert (State(done.state), done.mined) == (State.CONFIRMED, row.attempts[0].hash)
    assert rig.paid() == [COIN]


async def test_a_refused_payment_survives_a_restart_as_one(autojump_clock):
    rig = Rig()
    refusing(rig, takes=True)
    row = await refused(rig)
    rig.wire.answer = rig.chain.answer
    rig.restarted()
    async with rig.running():
        await rig.blocks(4)
        assert await rig.state(row) is State.CONFIRMED
        assert (await rig.sender._guard.spent()) == {b"": COIN}
    assert rig.paid() == [COIN]


async def test_a_refused_payment_counts_against_no_limit_and_is_told_as_failed(autojump_clock):
    rig = Rig()
    refusing(rig)
    row = await refused(rig)
    assert await rig.sender._guard.spent() == {}
    with pytest.raises(TransactionFailedError, match="does not hold the amount"):
        await rig.sender.wait(row.id)
    with pytest.raises(UsageError):
        await rig.sender.cancel(row.id)


async def test_a_refused_payment_has_failed_once_its_place_is_taken(autojump_clock):
    rig = Rig()
    refusing(rig)
    row = await refused(rig)
    rig.wire.answer = rig.chain.answer
    async with rig.running():
        other = await rig.pay("b", 2 * COIN)
        assert other.nonce == row.nonce
        await rig.blocks(3)
        await trio.sleep(60)
        assert await rig.state(row) is State.FAILED
    assert (await rig.pay("a")).nonce == 1
    rig.chain.mine()
    assert rig.paid() == [2 * COIN, COIN]


async def test_a_refused_payment_is_not_made_elsewhere_before_it_is_certain(autojump_clock):
    rig = Rig()
    refusing(rig)
    await refused(rig)
    rig.wire.answer = rig.chain.answer
    rig.chain.answer("eth_sendRawTransaction", ["0x" + raw_payment(ALICE, 0).hex()])
    rig.chain.mine()
    with pytest.raises(TransactionFailedError, match="not certain yet"):
        await rig.pay("a")
    with pytest.raises(TransactionFailedError, match="not certain yet"):
        await rig.sender.submit(payment("a"), account=BOB.account)
    async with rig.running():
        await rig.blocks(3)
        await trio.sleep(30)
        again = await rig.pay("a")
        await rig.blocks(4)
        assert await rig.state(again) is State.CONFIRMED
    assert rig.paid() == [COIN]


async def test_one_endpoint_that_calls_a_paid_one_failed_is_not_believed(autojump_clock):
    rig = Rig(profile=replace(PROFILE, quorum=2))
    other = Wire(rig.chain.answer)
    rig.wires["http://127.0.0.2:8545"] = other
    rig.restarted()

    def lies(method, params):
        found = rig.chain.answer(method, params)
        return {**found, "status": "0x0"} if method == "eth_getTransactionReceipt" and found else found

    async with rig.running() as sender:
        sent = await rig.pay("a")
        rig.wire.answer = lies
        await rig.blocks(8)
        found = await sender.get(sent.id)
        assert State(found.state) is State.MINED, "neither failed nor confirmed while they differ"
        assert (await rig.pay("a")).id == sent.id
        rig.wire.answer = rig.chain.answer
        await rig.blocks(8)
        assert await rig.state(sent) is State.CONFIRMED
    assert rig.paid() == [COIN]


async def test_what_one_payment_waits_for_does_not_hold_up_the_others(autojump_clock):
    rig = Rig()
    async with rig.running():
        first, second = await rig.pay("a"), await rig.pay("b", 2 * COIN)
        answer = rig.chain.answer

        def spiteful(method, params):
            if method == "eth_getTransactionReceipt" and params == ["0x" + first.attempts[0].hash.hex()]:
                return {"blockNumber": "0x1"}
            return answer(method, params)

        rig.wire.answer = spiteful
        await rig.blocks(12)
        assert await rig.state(first) is State.PENDING
        assert await rig.state(second) is State.CONFIRMED
        rig.wire.answer = answer
        await rig.blocks(12)
        assert await rig.state(first) is State.CONFIRMED


async def test_what_was_signed_too_often_can_still_be_taken_back(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a", COIN // 10)
        for _ in range(20):
            rig.chain.base_wei *= 2
            await trio.sleep(130)
        found = await sender.get(sent.id)
        assert len(found.attempts) == ATTEMPTS_MAX - CANCEL_ATTEMPTS
        assert "take it back with 'marina tx cancel'" in found.reason
        rig.chain.base_wei = GWEI
        gone = await sender.cancel(sent.id)
        assert gone.attempts[-1].is_cancel
        assert await sender.cancel(sent.id) == gone, "taken back once"
        await rig.blocks(4)
        await trio.sleep(70)  # an old one is looked at once a minute
        assert await rig.state(sent) is State.CANCELLED
    assert rig.paid() == []


async def test_a_payment_is_followed_although_who_made_it_went_away(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        await trio.sleep(1)  # the follower sleeps: there is nothing to follow
        answer = rig.chain.answer
        with trio.CancelScope() as scope:

            def leaves(method, params):
                found = answer(method, params)
                if method == "eth_sendRawTransaction":
                    scope.cancel()
                return found

            rig.wire.answer = leaves
            await rig.pay("a")
            await trio.sleep(1)
        assert scope.cancelled_caught
        rig.wire.answer = answer
        await rig.blocks(4)
        ((_, row),) = await sender._journal.page()
        assert State(row.state) is State.CONFIRMED
    assert rig.paid() == [COIN]


async def test_coins_that_travel_unsaid_count_against_the_limits_too(autojump_clock):
    rig = Rig(limits=Limits((Amount(5 * COIN, DEV),), (Amount(5 * COIN, DEV),)))
    unsaid = Draft(SHOP, b"", 3 * COIN, "chain.send", "call", "unsaid")
    await rig.sender.submit(unsaid, account=ALICE.account)
    assert await rig.sender._guard.spent() == {b"": 3 * COIN}
    with pytest.raises(SpendingLimitError):
        await rig.sender.submit(replace(unsaid, key="more"), account=ALICE.account)
