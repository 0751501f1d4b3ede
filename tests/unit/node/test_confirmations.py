"""What waits for the owner's yes: good once, for five minutes, and never without bound."""

from __future__ import annotations

import pytest

from chain.draft import Draft
from marina.clock import ManualClock
from marina.errors import NotFoundError
from marina.ids import Account
from node.chain.confirmations import VALID_S, WAITING_MAX, Confirmations, Pending

SHOP = Account(b"\x33" * 20)


def pending(key: str) -> Pending:
    return Pending(SHOP, (Draft(SHOP, b"", 1, "wallet.send", f"pay {key}", key),), None)


def test_a_code_is_good_once():
    codes = Confirmations(clock=ManualClock())
    shown = pending("a")
    code = codes.offer(shown)
    assert codes.take(code) is shown
    with pytest.raises(NotFoundError, match="ask again"):
        codes.take(code)


def test_a_code_is_good_for_five_minutes_and_no_longer():
    clock = ManualClock()
    codes = Confirmations(clock=clock)
    first, second = codes.offer(pending("a")), codes.offer(pending("b"))
    clock.advance(VALID_S - 0.001)
    codes.take(first)
    clock.advance(0.001)
    with pytest.raises(NotFoundError):
        codes.take(second)


def test_each_code_confirms_what_it_was_given_for_and_another_nothing():
    codes = Confirmations(clock=ManualClock())
    shown = [pending(str(number)) for number in range(5)]
    given = [codes.offer(each) for each in shown]
    assert len(set(given)) == 5
    assert all(len(each) >= 22 for each in given), "128 bits of chance"
    with pytest.raises(NotFoundError):
        codes.take(given[0][:-1])
    with pytest.raises(NotFoundError):
        codes.take("")
    assert [codes.take(each) for each in reversed(given)] == shown[::-1]


def test_the_oldest_gives_way_when_too_many_wait():
    codes = Confirmations(clock=ManualClock())
    given = [codes.offer(pending(str(number))) for number in range(WAITING_MAX + 3)]
    for each in given[:3]:
        with pytest.raises(NotFoundError):
            codes.take(each)
    for each in given[3:]:
        codes.take(each)


def test_codes_that_nobody_used_make_room():
    clock = ManualClock()
    codes = Confirmations(clock=clock)
    for number in range(WAITING_MAX):
        codes.offer(pending(str(number)))
    clock.advance(VALID_S)
    given = [codes.offer(pending(str(number))) for number in range(WAITING_MAX)]
    for each in given:
        codes.take(each)


def test_of_two_codes_for_the_same_one_confirms_and_the_other_says_so():
    clock = ManualClock()
    codes = Confirmations(clock=clock)
    first, second, other = codes.offer(pending("a")), codes.offer(pending("a")), codes.offer(pending("b"))
    codes.take(second)
    for _ in range(2):
        with pytest.raises(NotFoundError, match="confirmed under another code"):
            codes.take(first)
    codes.take(other)
    codes.take(codes.offer(pending("a")))
    clock.advance(VALID_S)
    with pytest.raises(NotFoundError, match="nothing waits"):
        codes.take(first)
