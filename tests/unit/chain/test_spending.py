from __future__ import annotations

import pytest

from chain.amount import Amount, Currency
from chain.errors import SpendingLimitError
from chain.journal import Journal, Spend, State, number_bytes
from chain.spending import DAY_S, Limits, SpendingGuard
from marina.clock import ManualClock
from marina.ids import Account
from storage.kv import MemoryKv
from tests.support.journals import transaction

ETH = Currency("ETH", 18)
USDC = Currency("USDC", 6, Account(b"\x55" * 20))
DAI = Currency("DAI", 18, Account(b"\x66" * 20))
NOW_S = 1_000_000
LIMITS = Limits((Amount(50, ETH), Amount(500, USDC)), (Amount(100, ETH), Amount(800, USDC)))


class Rig:
    def __init__(self, limits=LIMITS):
        self.clock = ManualClock(NOW_S)
        self.journal = Journal(MemoryKv())
        self.guard = SpendingGuard(journal=self.journal, limits=limits, clock=self.clock)

    async def spent(self, number, *amounts, **changes):
        await self.journal.load(31337)
        spends = tuple(Spend.of(each) for each in amounts)
        fields = {"created_s": NOW_S, "state": State.CONFIRMED, **changes}
        await self.journal.put(transaction(number, spends=spends, **fields))


async def test_what_is_within_both_limits_passes():
    await Rig().guard.check([Amount(50, ETH), Amount(500, USDC)])
    await Rig().guard.check([])


async def test_more_than_the_limit_of_one_thing_is_refused_with_the_setting_that_changes_it():
    with pytest.raises(
        SpendingLimitError, match=r"0\.000501 USDC is above the limit of 0\.0005 USDC.*spend\.item"
    ):
        await Rig().guard.check([Amount(501, USDC)])


async def test_several_amounts_of_one_thing_count_together():
    with pytest.raises(SpendingLimitError, match=r"spend\.item"):
        await Rig().guard.check([Amount(30, ETH), Amount(21, ETH)])


async def test_the_day_counts_what_was_spent_in_it():
    rig = Rig()
    await rig.spent(1, Amount(60, ETH))
    await rig.guard.check([Amount(40, ETH)])
    with pytest.raises(SpendingLimitError, match=r"left of\b.*today's.*spend\.day") as caught:
        await rig.guard.check([Amount(41, ETH)])
    assert caught.value.exit_code == 5
    assert await rig.guard.left(ETH) == 40
    rig.clock.advance(DAY_S + 1)
    await rig.guard.check([Amount(50, ETH)])
    assert await rig.guard.left(ETH) == 100


async def test_currencies_are_counted_apart():
    rig = Rig()
    await rig.spent(1, Amount(100, ETH))
    await rig.guard.check([Amount(500, USDC)])
    with pytest.raises(SpendingLimitError):
        await rig.guard.check([Amount(1, ETH)])
    assert await rig.guard.spent() == {b"": 100}


async def test_a_token_is_known_by_its_address_and_not_by_its_symbol():
    false_friend = Currency("USDC", 6, Account(b"\x99" * 20))
    with pytest.raises(SpendingLimitError):
        await Rig().guard.check([Amount(1, false_friend)])


async def test_a_currency_without_a_limit_cannot_be_spent():
    with pytest.raises(SpendingLimitError, match="above the limit of 0 DAI"):
        await Rig().guard.check([Amount(1, DAI)])
    with pytest.raises(SpendingLimitError):
        await Rig(Limits((Amount(5, DAI),), ())).guard.check([Amount(1, DAI)])
    with pytest.raises(SpendingLimitError):
        await Rig(Limits((), (Amount(5, DAI),))).guard.check([Amount(1, DAI)])
    await Rig(Limits()).guard.check([Amount(0, DAI)])


@pytest.mark.parametrize("state", list(State))
async def test_what_did_not_happen_does_not_count(state):
    rig = Rig()
    await rig.spent(1, Amount(60, ETH), state=state)
    counted = state not in (State.FAILED, State.CANCELLED, State.REFUSED)
    assert await rig.guard.spent() == ({b"": 60} if counted else {})


async def test_what_is_unfinished_counts_however_old_it_is():
    rig = Rig()
    await rig.spent(1, Amount(60, ETH), created_s=NOW_S - 3 * DAY_S, state=State.PENDING)
    await rig.spent(2, Amount(7, ETH), created_s=NOW_S - 3 * DAY_S, state=State.CONFIRMED)
    assert await rig.guard.spent() == {b"": 60}


async def test_a_clock_that_was_set_back_gives_no_new_day():
    rig = Rig()
    await rig.spent(1, Amount(100, ETH), created_s=NOW_S + 5 * DAY_S)
    with pytest.raises(SpendingLimitError):
        await rig.guard.check([Amount(1, ETH)])


async def test_numbers_of_any_size_are_added():
    rig = Rig(Limits((Amount(2**256 - 1, ETH),), (Amount(2**256 - 1, ETH),)))
    await rig.spent(1, Amount(2**255, ETH))
    with pytest.raises(SpendingLimitError):
        await rig.guard.check([Amount(2**255, ETH)])
    await rig.guard.check([Amount(2**255 - 1, ETH)])
    assert number_bytes(2**255)[0] == 0x80


async def test_limits_that_were_lowered_leave_nothing_and_not_less():
    rig = Rig(Limits((Amount(50, ETH),), (Amount(10, ETH),)))
    await rig.spent(1, Amount(60, ETH))
    assert await rig.guard.left(ETH) == 0
