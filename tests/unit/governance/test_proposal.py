"""The life of a proposal, second by second."""

from dataclasses import replace

import pytest

from governance.calls import Call, description_hash
from governance.proposal import Facts, Operation, Proposal, State, is_executable, next_change_s, state_of
from governance.tally import Tally
from marina.ids import Account

CARRIED = Tally(against=1, in_favour=5, abstained=2)
FACTS = Facts(snapshot_s=100, deadline_s=200, tally=CARRIED, quorum=7)


@pytest.mark.parametrize(
    ("now_s", "state"),
    [
        (99, State.PENDING),
        (100, State.PENDING),
        (101, State.ACTIVE),
        (200, State.ACTIVE),
        (201, State.SUCCEEDED),
    ],
)
def test_the_bounds_of_the_vote_belong_to_the_earlier_state(now_s, state):
    assert state_of(FACTS, now_s) is state


def test_a_quorum_missed_by_one_vote_or_a_tie_defeats():
    assert state_of(replace(FACTS, quorum=8), 201) is State.DEFEATED
    assert state_of(replace(FACTS, tally=Tally(5, 5, 5)), 201) is State.DEFEATED


def test_a_queued_proposal_waits_for_ever_until_it_is_executed():
    queued = replace(FACTS, eta_s=500, operation=Operation.PENDING)
    assert state_of(queued, 300) is State.QUEUED
    assert not is_executable(queued, 499)
    assert is_executable(queued, 500)
    assert state_of(queued, 10**9) is State.QUEUED
    assert state_of(replace(queued, is_executed=True), 501) is State.EXECUTED


def test_what_happens_to_the_operation_inside_the_timelock_counts():
    queued = replace(FACTS, eta_s=500)
    assert state_of(replace(queued, operation=Operation.DONE), 600) is State.EXECUTED
    assert state_of(replace(queued, operation=Operation.UNSET), 600) is State.CANCELED


def test_a_canceled_proposal_stays_canceled():
    assert all(state_of(replace(FACTS, is_canceled=True), now) is State.CANCELED for now in (0, 150, 300))


def test_the_next_change_is_the_first_second_of_the_next_state():
    queued = replace(FACTS, eta_s=500, operation=Operation.PENDING)
    assert next_change_s(FACTS, 50) == 101
    assert next_change_s(FACTS, 150) == 201
    assert next_change_s(FACTS, 300) is None
    assert next_change_s(queued, 300) == 500
    assert next_change_s(queued, 500) is None


def test_no_state_is_ever_expired_and_the_final_ones_are_known():
    assert {each.word for each in State if each.is_final} == {"canceled", "defeated", "expired", "executed"}


def test_a_text_that_was_not_proposed_is_refused():
    calls = (Call(Account(bytes(20)), 0, b""),)
    made = Proposal(calls, description_hash("yes"), Account(bytes(20)), 1, 2, "yes")
    assert made.id == replace(made, description=None).id
    with pytest.raises(ValueError, match="not the one"):
        replace(made, description="no")
