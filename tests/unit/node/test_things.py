"""What people type about money and music becomes what contracts know, or one sentence."""

from __future__ import annotations

import pytest

from chain.market.selling import SPLITS_MAX, SplitPart, check_splits
from marina.errors import MarinaError, NotFoundError, UsageError
from marina.ids import Account, account_text
from node.chain.things import parse_period_s, parse_splits

OWNER = Account(b"\x99" * 20)
ADA, BOB = Account(b"\x01" * 20), Account(b"\x02" * 20)


class Wallet:
    def find(self, name):
        if name != "bob":
            raise NotFoundError("this node has no such account")

        class Found:
            account = BOB

        return Found


class Node:
    wallet = Wallet()


async def parsed(*texts):
    return {each.account: each.bps for each in await parse_splits(texts, OWNER, Node())}


async def test_what_is_not_given_away_is_the_owners():
    assert await parsed() == {OWNER: 10_000}
    assert await parsed(f"{account_text(ADA)}=10%", "bob=12.5%") == {ADA: 1_000, BOB: 1_250, OWNER: 7_750}
    assert await parsed(f"{account_text(ADA)}=0.01%") == {ADA: 1, OWNER: 9_999}
    assert await parsed(f"{account_text(ADA)}=100%") == {ADA: 10_000}
    assert await parsed(f"{account_text(OWNER)}=40%", "bob=60%") == {OWNER: 4_000, BOB: 6_000}


def test_parts_are_sorted_as_the_contract_wants_them():
    parts = check_splits([SplitPart(BOB, 1), SplitPart(ADA, 2)], OWNER)
    assert [each.account for each in parts] == [ADA, BOB, OWNER]


@pytest.mark.parametrize(
    "texts",
    [
        ["bob"],
        ["bob=10"],
        ["bob=10 %"],
        ["bob=-1%"],
        ["bob=0%"],
        ["bob=0.001%"],
        ["bob=100.01%"],
        ["bob=1e1%"],
        ["bob=1\u0660%"],
        ["=10%"],
        ["nobody=10%"],
        ["0x5290=10%"],
        ["bob=60%", f"{account_text(ADA)}=41%"],
        ["bob=10%", f"{account_text(BOB)}=10%"],
        [f"{account_text(OWNER)}=40%"],
        ["b" * 5000 + "=1%"],
        [f"0x{number:040x}=1%" for number in range(1, SPLITS_MAX + 1)],
    ],
)
async def test_parts_that_do_not_fit_are_a_sentence(texts):
    with pytest.raises(MarinaError) as caught:
        await parse_splits(texts, OWNER, Node())
    assert isinstance(caught.value, (UsageError, NotFoundError))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("forever", 0),
        ("perpetual", 0),
        ("0", 0),
        ("1h", 3600),
        ("30d", 30 * 86_400),
        ("12w", 84 * 86_400),
        ("1y", 365 * 86_400),
    ],
)
def test_periods_as_people_write_them(text, seconds):
    assert parse_period_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "d", "0d", "-1d", "1", "1 d", "1.5d", "1m", "1D", "100000d", "\u0661d", "1d1h"]
)
def test_what_is_no_period_is_a_sentence(text):
    with pytest.raises(UsageError, match="write 30d"):
        parse_period_s(text)
