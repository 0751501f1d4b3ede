import pytest

from governance.delegation import NOBODY, Standing, VoteHistory
from marina.ids import Account, account_text

ME, YOU = Account(b"\x01" * 20), Account(b"\x02" * 20)
MMT = 10**18


def test_an_idle_balance_is_told_what_to_do():
    idle = Standing(ME, 400 * MMT, NOBODY, 0)
    assert idle.is_idle
    assert "400 MMT that do not vote: delegate them" in idle.sentence()
    assert "holds 400 MMT and votes with 400 MMT" in Standing(ME, 400 * MMT, ME, 400 * MMT).sentence()
    given = Standing(ME, 400 * MMT, YOU, 7 * MMT).sentence()
    assert f"which {account_text(YOU)} votes with, and votes with 7 MMT" in given


def test_past_votes_are_those_at_the_end_of_a_second():
    history = VoteHistory([(100, 5), (200, 7), (200, 9), (300, 0)])
    assert [history.past_votes(at) for at in (99, 100, 199, 200, 299, 300, 10**9)] == [0, 5, 5, 9, 9, 0, 0]
    with pytest.raises(ValueError, match="order"):
        history.add(299, 1)
