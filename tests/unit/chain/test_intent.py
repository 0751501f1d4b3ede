from __future__ import annotations

from dataclasses import replace

from chain.amount import Amount, Currency
from chain.intent import all_spends, draft_of, fee_cap, planned
from chain.journal import State
from chain.profiles import PROFILES
from tests.support.senders import ALICE, BOB, DEV, payment

PROFILE = PROFILES["dev"]
MMT = Currency("MMT", 18, BOB.account)


def written(draft, *, max_fee_wei=None):
    return planned(
        draft, ALICE.account, spends=draft.spend, profile=PROFILE, gas=7, max_fee_wei=max_fee_wei, now_s=1
    )


def test_a_draft_comes_back_from_its_record_but_for_what_it_spends():
    draft = payment("a", 5)
    assert draft_of(written(draft)) == replace(draft, spend=())
    creation = replace(draft, to=None, data=b"\x60")
    assert draft_of(written(creation)).to is None


def test_nothing_is_signed_of_a_new_record():
    row = written(payment("a"))
    assert (State(row.state), row.attempts, row.raw, row.nonce) == (State.PLANNED, (), b"", None)
    assert row.id != written(payment("a")).id


def test_coins_that_travel_count_even_when_a_draft_does_not_say_so():
    silent = replace(payment("a", 5), spend=(Amount(7, MMT),))
    assert all_spends(silent, PROFILE) == (Amount(7, MMT), Amount(5, DEV))
    assert all_spends(payment("a", 5), PROFILE) == (Amount(5, DEV),)


def test_a_cap_of_nothing_is_a_cap():
    assert fee_cap(written(payment("a"), max_fee_wei=0)) == 1
    assert fee_cap(written(payment("a"), max_fee_wei=9)) == 9
    assert fee_cap(written(payment("a"))) is None
