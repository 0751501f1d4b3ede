import pytest

from governance.tally import Support, Tally, extended_deadline_s, quorum_of


def test_votes_against_do_not_help_the_quorum():
    tally = Tally().with_vote(Support.AGAINST, 100).with_vote(Support.FOR, 3).with_vote(Support.ABSTAIN, 1)
    assert tally == Tally(100, 3, 1)
    assert tally.total == 104
    assert not tally.is_carried
    assert tally.has_quorum(4)
    assert not tally.has_quorum(5)
    assert tally.missing(5) == 1
    assert tally.missing(4) == 0


def test_the_quorum_is_rounded_down():
    assert quorum_of(1_000_000 * 10**18, 4) == 40_000 * 10**18
    assert quorum_of(99, 4) == 3
    with pytest.raises(ValueError, match="percent"):
        quorum_of(1, 101)


def test_a_late_quorum_never_shortens_the_vote():
    assert extended_deadline_s(50, 10, 100) == 100
    assert extended_deadline_s(95, 10, 100) == 105


def test_a_vote_has_no_negative_weight():
    with pytest.raises(ValueError, match="negative"):
        Tally().with_vote(Support.FOR, -1)
