from __future__ import annotations

from random import Random

import pytest

from chain.errors import SpendingLimitError
from chain.fees import FeeOffer, bump, is_passed_over, offer
from chain.gateway import FeeMarket
from chain.profiles import GWEI, PROFILES

DEV, POLYGON, ETHEREUM = PROFILES["dev"], PROFILES["polygon"], PROFILES["ethereum"]
GAS = 100_000


def test_an_offer_leaves_room_for_the_base_fee_to_double():
    assert offer(FeeMarket(10 * GWEI, GWEI), ETHEREUM, GAS, None) == FeeOffer(21 * GWEI, GWEI)


def test_the_tip_is_at_least_what_the_chain_takes_and_at_most_what_is_sane():
    assert offer(FeeMarket(GWEI, 0), POLYGON, GAS, None).tip_wei == 25 * GWEI
    assert offer(FeeMarket(GWEI, 10**15), ETHEREUM, GAS, None).tip_wei == 20 * GWEI


def test_a_cap_takes_from_the_room_first_and_from_the_tip_last():
    market = FeeMarket(10 * GWEI, 2 * GWEI)
    assert offer(market, ETHEREUM, GAS, 15 * GWEI * GAS) == FeeOffer(15 * GWEI, 2 * GWEI)
    assert offer(market, ETHEREUM, GAS, 11 * GWEI * GAS) == FeeOffer(11 * GWEI, GWEI)


def test_a_cap_below_what_the_next_block_asks_for_is_told_in_coins():
    with pytest.raises(
        SpendingLimitError, match=r"about 0\.001001 ETH and at most 0\.0005 ETH are allowed.*--max-fee"
    ) as caught:
        offer(FeeMarket(10 * GWEI, GWEI), ETHEREUM, GAS, 5 * GWEI * GAS)
    assert caught.value.exit_code == 5


def test_a_replacement_offers_an_eighth_more_of_both():
    assert bump(FeeOffer(80, 8), FeeMarket(0, 0), DEV, GAS, None) == FeeOffer(90, 9)
    assert bump(FeeOffer(81, 1), FeeMarket(0, 0), DEV, GAS, None) == FeeOffer(92, 2)


def test_a_replacement_offers_what_blocks_ask_for_now_if_that_is_more():
    assert bump(FeeOffer(2 * GWEI, GWEI), FeeMarket(50 * GWEI, 3 * GWEI), DEV, GAS, None) == FeeOffer(
        103 * GWEI, 3 * GWEI
    )


def test_a_replacement_above_the_cap_is_refused():
    last = FeeOffer(80 * GWEI, 8 * GWEI)
    market = FeeMarket(GWEI, GWEI)
    assert bump(last, market, DEV, GAS, 90 * GWEI * GAS).fee_wei == 90 * GWEI
    with pytest.raises(SpendingLimitError, match="--max-fee"):
        bump(last, market, DEV, GAS, 90 * GWEI * GAS - 1)


@pytest.mark.parametrize(
    ("offered", "market", "expected"),
    [
        (FeeOffer(10 * GWEI, 2 * GWEI), FeeMarket(5 * GWEI, 2 * GWEI), False),
        (FeeOffer(10 * GWEI, 2 * GWEI), FeeMarket(9 * GWEI, 2 * GWEI), True),
        (FeeOffer(10 * GWEI, 2 * GWEI), FeeMarket(5 * GWEI, 3 * GWEI), True),
        (FeeOffer(10 * GWEI, 2 * GWEI), FeeMarket(50 * GWEI, 0), True),
        (FeeOffer(50 * GWEI, 20 * GWEI), FeeMarket(GWEI, 10**15), False),
    ],
)
def test_an_offer_is_passed_over_when_its_tip_is_below_the_usual(offered, market, expected):
    assert is_passed_over(offered, market, ETHEREUM) is expected


def test_random_offers_keep_every_rule():
    rng = Random(3)
    for _ in range(20_000):
        profile = rng.choice(list(PROFILES.values()))
        market = FeeMarket(rng.choice([0, 7, GWEI, rng.randrange(10**15)]), rng.randrange(10**14))
        gas = rng.randrange(21_000, 10**7)
        cap = rng.choice([None, rng.randrange(10**18)])
        try:
            made = offer(market, profile, gas, cap)
        except SpendingLimitError:
            assert cap is not None
            assert (market.base_wei + profile.min_tip_wei) * gas > cap - gas
            continue
        assert profile.min_tip_wei <= made.tip_wei <= profile.max_tip_wei
        assert market.base_wei + made.tip_wei <= made.fee_wei
        assert cap is None or made.cost_wei(gas) <= cap
        for _ in range(12):
            last = made
            try:
                made = bump(last, market, profile, gas, cap)
            except SpendingLimitError:
                assert cap is not None
                break
            assert made.fee_wei * 8 >= last.fee_wei * 9
            assert made.tip_wei * 8 >= last.tip_wei * 9
            assert made.tip_wei <= made.fee_wei < 2**64
            assert cap is None or made.cost_wei(gas) <= cap
        assert made.tip_wei <= 5 * max(profile.max_tip_wei, 10)
