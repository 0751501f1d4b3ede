"""One intent is paid once: sent, mined, dropped, replaced, re-orged, taken by others, taken up again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from chain.amount import Amount
from chain.errors import (
    ChainUnavailableError,
    InsufficientFundsError,
    RevertedError,
    SpendingLimitError,
    TransactionFailedError,
)
from chain.journal import DATA_BYTES_MAX, State
from chain.profiles import PROFILES
from chain.spending import Limits
from marina.errors import NotFoundError, UsageError
from storage.errors import VaultLockedError
from tests.support.coin_chain import COIN, GWEI, RELUCTANT, CoinChain
from tests.support.senders import ALICE, BOB, DEV, PROFILE, Rig, payment, raw_payment
from tests.support.wire import Refused, Wire


def hand_in(chain, raw):
    chain.answer("eth_sendRawTransaction", ["0x" + raw.hex()])


async def test_a_payment_is_sent_mined_and_confirmed(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a")
        assert State(sent.state) is State.PENDING
        rig.chain.mine()
        mined = await sender.wait(sent.id)
        assert (State(mined.state), mined.confirmations, mined.block_number) == (State.MINED, 1, 1)
        assert mined.block_hash == rig.chain.head.hash
        await rig.blocks(3)
        done = await sender.wait(sent.id, confirmations=3)
    assert (State(done.state), done.confirmations) == (State.CONFIRMED, 3)
    assert done.gas_used == 21_000
    assert int.from_bytes(done.fee_paid_wei) == 21_000 * (GWEI + GWEI // 10)
    assert rig.paid() == [COIN]


async def test_the_intent_is_on_disk_before_it_is_signed_and_the_bytes_before_they_are_sent(autojump_clock):
    rig = Rig()
    seen = []
    write, answer = rig.kv.write, rig.wire.answer

    async def watched(batch):
        await write(batch)
        rows = await rig.kv.scan(b"transactions\x00")
        seen.append(("written", len(rows)))

    def asked(method, params):
        seen.append((method, 0))
        return answer(method, params)

    rig.kv.write, rig.wire.answer = watched, asked
    await rig.pay("a")
    names = [name for name, _ in seen]
    sent = names.index("eth_sendRawTransaction")
    assert names[:sent].count("written") == 2
    assert names.index("written") < names.index("eth_getTransactionCount"), "planned before a nonce was taken"


async def test_the_same_intent_is_not_made_again_while_it_is_unfinished(autojump_clock):
    rig = Rig()
    first = await rig.pay("a")
    assert await rig.pay("a") == first
    other = await rig.pay("b")
    assert [first.nonce, other.nonce] == [0, 1]
    assert len(rig.chain.pool) == 2


async def test_the_same_intent_at_the_same_moment_is_paid_once(autojump_clock):
    rig = Rig()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(rig.pay, "a")
    rig.chain.mine()
    assert rig.paid() == [COIN]


async def test_many_payments_at_once_get_nonces_without_gaps(autojump_clock):
    rig = Rig()
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(rig.pay, f"p{number}")
    assert sorted(nonce for _, nonce in rig.chain.pool) == list(range(8))


async def test_an_intent_that_has_ended_can_be_made_again(autojump_clock):
    rig = Rig()
    async with rig.running():
        await rig.pay("a")
        await rig.blocks(4)
        await rig.pay("a")
        await rig.blocks(4)
    assert rig.paid() == [COIN, COIN]


async def test_an_answer_that_is_lost_on_its_way_loses_no_payment_and_doubles_none(autojump_clock):
    rig = Rig()
    answer = rig.wire.answer

    def loses(method, params):
        rig.wire.loses_answers = method == "eth_sendRawTransaction"
        return answer(method, params)

    rig.wire.answer = loses
    with pytest.raises(ChainUnavailableError):
        await rig.pay("a")
    rig.wire.answer, rig.wire.loses_answers = answer, False
    again = await rig.pay("a")
    assert (State(again.state), len(rig.chain.pool)) == (State.SIGNED, 1)
    async with rig.running() as sender:
        rig.chain.mine()
        await sender.wait(again.id)
    assert rig.paid() == [COIN]


async def test_a_dropped_transaction_is_sent_again_as_it_was(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a")
        rig.chain.drop(sent.attempts[0].hash)
        assert not rig.chain.pool
        await trio.sleep(5)
        assert [each.hash for each in rig.chain.pool.values()] == [sent.attempts[0].hash]
        rig.chain.mine()
        await sender.wait(sent.id)
    assert rig.paid() == [COIN]


async def test_a_transaction_that_blocks_pass_over_is_replaced_at_an_eighth_more(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a")
        rig.chain.base_wei = 100 * GWEI
        await trio.sleep(40)
        (pending,) = rig.chain.pool.values()
        assert pending.hash != sent.attempts[0].hash
        assert pending.nonce == 0
        old = sent.attempts[0]
        assert pending.fee_wei >= 100 * GWEI
        assert pending.fee_wei * 8 >= old.fee_wei * 9
        assert pending.tip_wei * 8 >= old.tip_wei * 9
        rig.chain.mine()
        done = await sender.wait(sent.id)
        assert done.mined == pending.hash
    assert rig.paid() == [COIN]


async def test_a_replacement_stays_within_what_the_owner_allows(autojump_clock):
    rig = Rig()
    cap = 21_000 * 6 // 5 * 4 * GWEI
    async with rig.running() as sender:
        sent = await sender.submit(payment("a"), account=ALICE.account, max_fee_wei=cap)
        rig.chain.base_wei = 100 * GWEI
        await trio.sleep(100)
        found = await sender.get(sent.id)
        assert len(found.attempts) == 1
        assert "allow more with --max-fee" in found.reason
        rig.chain.base_wei = int(3.5 * GWEI)
        await trio.sleep(100)
        found = await sender.get(sent.id)
        assert found.attempts[-1].fee_wei * found.gas <= cap
        rig.chain.mine()
        await sender.wait(sent.id)
    assert rig.paid() == [COIN]


async def test_the_first_of_two_replacements_can_still_be_the_one_that_is_mined(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a")
        first = next(iter(rig.chain.pool.values()))
        rig.chain.base_wei = 50 * GWEI
        await trio.sleep(40)
        rig.chain.base_wei = GWEI
        rig.chain.pool[first.sender, 0] = first  # one block maker never heard of the second
        rig.chain.mine()
        done = await sender.wait(sent.id)
        assert done.mined == first.hash
        assert len(done.attempts) == 2
    assert rig.paid() == [COIN]


async def test_what_waits_behind_another_is_not_made_dearer(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        first, second = await rig.pay("a"), await rig.pay("b")
        rig.chain.base_wei = 100 * GWEI
        await trio.sleep(40)
        assert len((await sender.get(first.id)).attempts) == 2
        assert len((await sender.get(second.id)).attempts) == 1


async def test_a_transaction_is_signed_a_bounded_number_of_times(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a", COIN // 10)
        for _ in range(20):
            rig.chain.base_wei *= 2
            await trio.sleep(130)
        found = await sender.get(sent.id)
        assert len(found.attempts) <= 12
        assert found.is_live


@pytest.mark.parametrize("depth", [1, 2])
async def test_a_re_organisation_puts_a_mined_one_back_and_it_is_mined_again(depth, autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a")
        await rig.blocks(depth)
        assert await rig.state(sent) is State.MINED
        rig.chain.reorg(depth)
        await trio.sleep(3)
        found = await sender.get(sent.id)
        assert (State(found.state), found.reorgs, found.block_hash) == (State.PENDING, 1, b"")
        await rig.blocks(4)
        assert await rig.state(sent) is State.CONFIRMED
    assert rig.paid() == [COIN]


async def test_a_transaction_that_a_re_organisation_forgot_is_sent_again(autojump_clock):
    rig = Rig()
    async with rig.running():
        sent = await rig.pay("a")
        await rig.blocks(2)
        rig.chain.reorg(2, keeps=False)
        assert not rig.chain.pool
        await rig.blocks(6)
        assert await rig.state(sent) is State.CONFIRMED
    assert rig.paid() == [COIN]


async def test_a_transaction_that_moved_to_another_block_is_followed_there(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a")
        await rig.blocks(1)
        rig.chain.reorg(1, regrows=False)
        rig.chain.mine()
        await trio.sleep(3)
        found = await sender.get(sent.id)
        assert (found.block_hash, found.reorgs) == (rig.chain.head.hash, 1)


async def test_an_endpoint_that_lags_behind_is_no_re_organisation(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a")
        await rig.blocks(1)
        behind = CoinChain({ALICE.account: 100 * COIN})
        rig.wire.answer = behind.answer
        await trio.sleep(5)
        found = await sender.get(sent.id)
        assert (State(found.state), found.reorgs) == (State.MINED, 0)
        rig.wire.answer = rig.chain.answer
        await rig.blocks(4)
        assert await rig.state(sent) is State.CONFIRMED
    assert rig.paid() == [COIN]


async def test_a_chain_that_stays_shorter_puts_the_transaction_back(autojump_clock):
    rig = Rig()
    async with rig.running():
        sent = await rig.pay("a")
        await rig.blocks(1)
        rig.chain.reorg(1, keeps=False, regrows=False)
        await trio.sleep(15)
        assert await rig.state(sent) is State.PENDING
        assert len(rig.chain.pool) == 1
        await rig.blocks(4)
    assert rig.paid() == [COIN]


async def test_a_nonce_that_another_program_used_is_signed_anew_only_once_that_is_settled(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a")
        rig.chain.drop(sent.attempts[0].hash)
        rig.wire.is_down = True  # the other program is faster than the sender's next look
        hand_in(rig.chain, raw_payment(ALICE, 0))
        rig.chain.mine()
        rig.wire.is_down = False
        await trio.sleep(10)
        found = await sender.get(sent.id)
        assert len(found.attempts) == 1
        assert "taken by another transaction" in found.reason
        await rig.blocks(2)
        assert len((await sender.get(sent.id)).attempts) == 1, "the proof must hold for a while"
        await rig.blocks(6)
        found = await sender.get(sent.id)
        assert (State(found.state), [each.nonce for each in found.attempts]) == (State.CONFIRMED, [0, 1])
    assert rig.paid() == [COIN]


async def test_what_is_signed_anew_is_tried_first(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await sender.submit(payment("a", to=RELUCTANT), account=ALICE.account)
        rig.chain.drop(sent.attempts[0].hash)
        hand_in(rig.chain, raw_payment(ALICE, 0))
        rig.chain.refuses = True
        await rig.blocks(10)
        found = await sender.get(sent.id)
        assert (State(found.state), len(found.attempts)) == (State.FAILED, 1)
        assert found.reason.endswith("and now the contract refused: not today")


async def test_an_endpoint_that_hides_a_receipt_cannot_make_the_node_pay_twice(autojump_clock):
    rig = Rig(profile=replace(PROFILE, quorum=2))
    liar = CoinChain()

    def lies(method, params):
        if method in ("eth_getTransactionReceipt", "eth_getTransactionByHash"):
            return None
        return rig.chain.answer(method, params)

    rig.wires["http://127.0.0.1:8546"] = Wire(lies)
    rig.restarted()
    async with rig.running() as sender:
        sent = await rig.pay("a")
        rig.wire.answer, rig.wires["http://127.0.0.1:8546"].answer = lies, rig.chain.answer
        await rig.blocks(12)
        assert len((await sender.get(sent.id)).attempts) == 1
        rig.wire.answer = rig.chain.answer
        await trio.sleep(10)
        assert await rig.state(sent) is State.CONFIRMED
    assert rig.paid() == [COIN]
    assert not liar.pool


async def test_a_place_that_another_program_left_empty_is_told_and_taken_by_the_next(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        hand_in(rig.chain, raw_payment(ALICE, 0))
        first = await rig.pay("a")
        await trio.sleep(3)
        assert "which another program made" in (await sender.get(first.id)).reason
        rig.chain.pool = {key: each for key, each in rig.chain.pool.items() if key[1] != 0}
        await rig.blocks(3)
        assert await rig.state(first) is State.PENDING
        second = await rig.pay("b")
        assert (first.nonce, second.nonce) == (1, 0)
        await rig.blocks(4)
        assert {await rig.state(first), await rig.state(second)} == {State.CONFIRMED}
    assert rig.paid() == [COIN, COIN]


async def test_two_processes_with_one_account_pay_each_of_their_intents_once(autojump_clock):
    one, two = Rig(), Rig()
    two.chain, two.wire.answer = one.chain, one.chain.answer
    async with one.running(), two.running():
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(one.pay, f"one{number}", COIN + number)
                nursery.start_soon(two.pay, f"two{number}", 2 * COIN + number)
        for _ in range(30):
            await one.blocks(1)
    assert sorted(one.paid()) == [COIN + n for n in range(4)] + [2 * COIN + n for n in range(4)]


async def test_a_refused_transaction_leaves_no_gap_behind(autojump_clock):
    rig = Rig()
    answer = rig.wire.answer

    def refuses(method, params):
        if method == "eth_sendRawTransaction":
            raise Refused(-32000, "intrinsic gas too low: have 21000, want 53000")
        return answer(method, params)

    async with rig.running():
        await rig.pay("a")
        rig.wire.answer = refuses
        with pytest.raises(TransactionFailedError, match=r"no block can take it \(intrinsic gas"):
            await rig.pay("b")
        rig.wire.answer = answer
        last = await rig.pay("c")
        assert last.nonce == 1
        await rig.blocks(4)
        assert await rig.state(last) is State.CONFIRMED
    assert rig.paid() == [COIN, COIN]


async def test_words_that_nobody_knows_end_nothing(autojump_clock):
    rig = Rig()
    answer = rig.wire.answer

    def mumbles(method, params):
        answer(method, params)
        raise Refused(-32000, "internal error")

    rig.wire.answer = lambda method, params: (
        mumbles(method, params) if method == "eth_sendRawTransaction" else answer(method, params)
    )
    sent = await rig.pay("a")
    assert (State(sent.state), sent.reason) == (State.SIGNED, "it was not taken yet (internal error)")
    async with rig.running() as sender:
        rig.chain.mine()
        await sender.wait(sent.id)
    assert rig.paid() == [COIN]


async def test_a_fee_that_rose_in_between_is_offered_at_once(autojump_clock):
    rig = Rig()
    answer = rig.wire.answer

    def rises(method, params):
        if method == "eth_sendRawTransaction":
            rig.chain.base_wei, rig.wire.answer = 20 * GWEI, answer
        return answer(method, params)

    rig.wire.answer = rises
    async with rig.running() as sender:
        sent = await rig.pay("a")
        assert "higher network fee" in sent.reason
        await trio.sleep(8)
        rig.chain.mine()
        assert (await sender.wait(sent.id)).reason == ""
    assert rig.paid() == [COIN]


async def test_a_transaction_that_fails_in_its_block_says_why_and_keeps_the_money(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await sender.submit(payment("a", to=RELUCTANT), account=ALICE.account)
        rig.chain.refuses = True
        await rig.blocks(4)
        with pytest.raises(TransactionFailedError, match="the contract refused: not today"):
            await sender.wait(sent.id)
    assert await rig.sender._guard.spent() == {}


async def test_a_draft_is_tried_before_money_is_spent(autojump_clock):
    rig = Rig()
    rig.chain.refuses = True
    with pytest.raises(RevertedError, match="not today"):
        await rig.sender.submit(payment("a", to=RELUCTANT), account=ALICE.account)
    with pytest.raises(InsufficientFundsError, match=r"holds 100 DEV and needs 1000 DEV.*marina faucet"):
        await rig.sender.simulate(payment("a", 1000 * COIN), ALICE.account)
    with pytest.raises(InsufficientFundsError, match="the network fee included"):
        await rig.sender.simulate(payment("a", 100 * COIN), ALICE.account)
    assert not rig.chain.pool
    assert await rig.sender._journal.page() == []


async def test_a_trial_tells_gas_and_fee(autojump_clock):
    found = await Rig().sender.simulate(payment("a"), ALICE.account)
    assert found.gas == 25_200
    assert found.fee_wei == 25_200 * (2 * GWEI + GWEI // 10)
    assert found.balance_wei == 100 * COIN


async def test_the_network_fee_is_capped_as_a_whole(autojump_clock):
    rig = Rig()
    cap = 25_200 * GWEI
    with pytest.raises(
        SpendingLimitError, match=r"would be about 0\.0000252\d+ DEV and at most 0\.0000252 DEV"
    ):
        await rig.sender.submit(payment("a"), account=ALICE.account, max_fee_wei=cap)
    sent = await rig.sender.submit(payment("a"), account=ALICE.account, max_fee_wei=cap * 3 // 2)
    assert sent.attempts[0].fee_wei * sent.gas <= cap * 3 // 2


async def test_limits_are_kept_by_payments_at_the_same_moment(autojump_clock):
    rig = Rig(limits=Limits((Amount(5 * COIN, DEV),), (Amount(7 * COIN, DEV),)))
    refused = []

    async def pay(number):
        try:
            await rig.pay(f"p{number}", 2 * COIN)
        except SpendingLimitError as err:
            refused.append(str(err))

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(pay, number)
    assert len(rig.chain.pool) == 3
    assert len(refused) == 3
    assert "2 DEV is above the 1 DEV left of today's 7 DEV" in refused[0]
    with pytest.raises(SpendingLimitError, match=r"marina config set spend\.item"):
        await rig.pay("big", 6 * COIN)


async def test_limits_outlive_a_restart_and_end_with_the_day(autojump_clock):
    rig = Rig(limits=Limits((Amount(5 * COIN, DEV),), (Amount(5 * COIN, DEV),)))
    async with rig.running():
        await rig.pay("a", 5 * COIN)
        await rig.blocks(4)
    rig.restarted()
    with pytest.raises(SpendingLimitError):
        await rig.pay("b", 1)
    await trio.sleep(86_401)
    await rig.pay("b", 1)


async def test_a_chain_that_is_down_takes_no_payment_unless_it_may_wait(autojump_clock):
    rig = Rig()
    rig.wire.is_down = True
    with pytest.raises(ChainUnavailableError):
        await rig.pay("a")
    assert await rig.sender._journal.page() == []
    async with rig.running() as sender:
        queued = await rig.pay("b", is_queued=True)
        assert State(queued.state) is State.PLANNED
        await trio.sleep(100)
        assert await rig.state(queued) is State.PLANNED
        rig.wire.is_down = False
        await trio.sleep(30)
        await rig.blocks(4)
        assert State((await sender.wait(queued.id, confirmations=3)).state) is State.CONFIRMED
    assert rig.paid() == [COIN]


async def test_a_queued_payment_outlives_a_restart_and_may_be_taken_back(autojump_clock):
    rig = Rig()
    rig.wire.is_down = True
    async with rig.running():
        first = await rig.pay("a", is_queued=True)
        second = await rig.pay("b", 2 * COIN, is_queued=True)
    rig.restarted()
    async with rig.running() as sender:
        gone = await sender.cancel(first.id)
        assert State(gone.state) is State.CANCELLED
        rig.wire.is_down = False
        await trio.sleep(30)
        await rig.blocks(4)
        assert await rig.state(second) is State.CONFIRMED
    assert rig.paid() == [2 * COIN]


async def test_a_queued_payment_that_would_fail_by_then_ends_with_its_reason(autojump_clock):
    rig = Rig()
    rig.wire.is_down = True
    async with rig.running() as sender:
        draft = payment("a", to=RELUCTANT, is_queued=True)
        queued = await sender.submit(draft, account=ALICE.account)
        rig.chain.refuses, rig.wire.is_down = True, False
        with pytest.raises(TransactionFailedError, match="not today"):
            await sender.wait(queued.id, timeout_s=100)
    assert not rig.chain.pool


async def test_a_locked_vault_refuses_before_anything_is_sent(autojump_clock):
    rig = Rig()

    class Locked:
        account = ALICE.account

        def sign_digest(self, digest):
            raise VaultLockedError("the vault is locked")

        def sign_transaction(self, fields):
            raise VaultLockedError("the vault is locked")

    rig.sender._signer_for = lambda _: Locked()
    with pytest.raises(VaultLockedError):
        await rig.pay("a")
    ((_, row),) = await rig.sender._journal.page()
    assert (State(row.state), row.reason) == (State.FAILED, "not signed: the vault is locked")
    rig.restarted()
    assert (await rig.pay("a")).nonce == 0


async def test_a_payment_is_taken_back_by_one_that_sends_nothing(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a")
        await sender.cancel(sent.id)
        (pending,) = rig.chain.pool.values()
        assert (pending.to, pending.value, pending.nonce) == (ALICE.account, 0, 0)
        await rig.blocks(4)
        found = await sender.get(sent.id)
        assert (State(found.state), found.reason) == (State.CANCELLED, "taken back as you asked")
        assert await sender._guard.spent() == {}
        with pytest.raises(UsageError, match="ended already"):
            await sender.cancel(sent.id)
    assert rig.paid() == []


async def test_a_payment_that_is_mined_instead_of_its_withdrawal_is_paid(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a")
        first = next(iter(rig.chain.pool.values()))
        await sender.cancel(sent.id)
        rig.chain.pool[first.sender, 0] = first
        await rig.blocks(4)
        assert await rig.state(sent) is State.CONFIRMED
    assert rig.paid() == [COIN]


async def test_a_submitter_that_goes_away_before_the_signature_has_sent_nothing(autojump_clock):
    rig = Rig()
    answer = rig.wire.answer
    with trio.CancelScope() as scope:

        def leaves(method, params):
            if method == "eth_getTransactionCount":
                scope.cancel()
                rig.wire.delay_s = 1.0
            return answer(method, params)

        rig.wire.answer = leaves
        await rig.pay("a")
    assert scope.cancelled_caught
    rig.wire.answer, rig.wire.delay_s = answer, 0.0
    async with rig.running() as sender:
        await trio.sleep(5)
        ((_, row),) = await sender._journal.page()
        assert (State(row.state), row.reason) == (
            State.FAILED,
            "interrupted before it was signed: nothing was sent",
        )
        assert not rig.chain.pool


async def test_transactions_of_another_chain_are_left_alone(autojump_clock):
    rig = Rig()
    sent = await rig.pay("a")
    rig.profile = replace(PROFILES["polygon-amoy"], quorum=1)
    rig.wire.chain_id = 80002
    rig.restarted()
    async with rig.running() as sender:
        await trio.sleep(30)
        assert (await sender.get(sent.id)).is_live
        assert sender._journal.live() == []
        assert await sender._guard.spent() == {}
    assert (
        "eth_sendRawTransaction" not in rig.wire.asked[rig.wire.asked.index("eth_sendRawTransaction") + 1 :]
    )


async def test_what_no_block_takes_is_asked_for_less_and_less(autojump_clock):
    rig = Rig()
    async with rig.running():
        await rig.pay("a")
        await trio.sleep(3600)
        before = len(rig.wire.requests)
        await trio.sleep(3600)
        assert len(rig.wire.requests) - before < 600


async def test_nothing_is_asked_while_nothing_is_unfinished(autojump_clock):
    rig = Rig()
    async with rig.running():
        await trio.sleep(10_000)
    assert rig.wire.requests == []


async def test_accounts_do_not_wait_for_each_others_nonces(autojump_clock):
    rig = Rig()
    one = await rig.pay("a")
    two = await rig.sender.submit(payment("b"), account=BOB.account)
    assert (one.nonce, two.nonce) == (0, 0)


async def test_waiting_ends_with_the_time_and_an_unknown_one_is_not_found(autojump_clock):
    rig = Rig()
    async with rig.running() as sender:
        sent = await rig.pay("a")
        assert State((await sender.wait(sent.id, timeout_s=5)).state) is State.PENDING
        with pytest.raises(NotFoundError):
            await sender.wait(b"\0" * 16, timeout_s=5)


async def test_a_draft_that_no_record_holds_is_refused_before_anything(autojump_clock):
    rig = Rig()
    with pytest.raises(UsageError, match="too large"):
        await rig.sender.submit(
            replace(payment("a"), data=b"\1" * (DATA_BYTES_MAX + 1)), account=ALICE.account
        )
    assert rig.wire.requests == []


async def test_an_endpoint_that_calls_a_huge_tip_usual_does_not_get_it(autojump_clock):
    rig = Rig()
    rig.chain.tip_wei = 10**14
    sent = await rig.pay("a")
    assert sent.attempts[0].tip_wei == PROFILE.max_tip_wei


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("eth_blockNumber", "0x"),
        ("eth_blockNumber", None),
        ("eth_blockNumber", {"a": 1}),
        ("eth_getBalance", "-0x5"),
        ("eth_getBalance", "0x" + "f" * 80),
        ("eth_getTransactionCount", "0xffffffffffffffff"),
        ("eth_getTransactionCount", []),
        ("eth_feeHistory", {}),
        ("eth_feeHistory", {"baseFeePerGas": ["0x" + "f" * 40], "reward": []}),
        ("eth_feeHistory", {"baseFeePerGas": [], "reward": [["zz"]]}),
        ("eth_feeHistory", 7),
        ("eth_estimateGas", "0x0"),
        ("eth_estimateGas", "0xffffffffff"),
        ("eth_call", "not hex"),
        ("eth_call", 5),
        ("eth_getTransactionReceipt", {"blockNumber": "0x1"}),
        ("eth_getTransactionReceipt", {"blockNumber": "0x1", "transactionHash": "0x" + "11" * 32}),
        ("eth_getTransactionReceipt", [1]),
        ("eth_getTransactionByHash", 3),
        ("eth_getBlockByNumber", {"hash": "0x12"}),
    ],
)
async def test_answers_without_sense_end_nothing_and_pay_nothing_twice(method, value, autojump_clock):
    rig = Rig()
    answer = rig.wire.answer

    def strange(asked, params):
        return value if asked == method else answer(asked, params)

    rig.wire.answer = strange
    refused = "it is without sense, and noticed later"
    with trio.move_on_after(60):
        async with rig.running():
            try:
                await rig.pay("a")
            except ChainUnavailableError as err:
                refused = str(err)
            await rig.blocks(5)
            rig.wire.answer = answer
            await trio.sleep(20)
            await rig.blocks(8)
    assert "without sense" in refused
    assert rig.paid() in ([], [COIN])
    live = rig.sender._journal.live()
    assert not live, [State(each.state) for each in live]
