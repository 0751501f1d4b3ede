"""How much a transaction offers for its place in a block (EIP-1559)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chain.amount import Currency, format_amount
from chain.errors import SpendingLimitError
from chain.profiles import ChainProfile

if TYPE_CHECKING:
    from chain.gateway import FeeMarket

_BASE_HEADROOM = 2
"""Room for the base fee to double, six full blocks in a row, before the offer is too low."""
_BUMP_NUM, _BUMP_DEN = 9, 8
"""A replacement must offer 10 % more to pass through every pool; 12.5 % leaves no doubt."""


@dataclass(frozen=True, slots=True)
class FeeOffer:
    """What is offered for each gas, in wei.

    Attributes:
        fee_wei: the most, base fee and tip together.
        tip_wei: the most for the block's maker.
    """

    fee_wei: int
    tip_wei: int

    def cost_wei(self, gas: int) -> int:
        """Return the most that so much gas can cost."""
        return self.fee_wei * gas


def offer(market: FeeMarket, profile: ChainProfile, gas: int, cap_wei: int | None) -> FeeOffer:
    """Return an offer that the next blocks take.

    Args:
        market: what blocks ask for now.
        profile: for the lowest tip of the chain.
        gas: limit of the transaction.
        cap_wei: the most that the whole transaction may cost in fees, None for no such bound.

    Raises:
        SpendingLimitError: even the next block asks for more than the cap.
    """
    tip = _usual_tip(market, profile)
    wanted = FeeOffer(_BASE_HEADROOM * market.base_wei + tip, tip)
    if cap_wei is None or wanted.cost_wei(gas) <= cap_wei:
        return wanted
    least = market.base_wei + profile.min_tip_wei
    if cap_wei // gas < least:
        raise _above_cap(least * gas, cap_wei, profile)
    capped = cap_wei // gas
    return FeeOffer(capped, min(tip, capped - market.base_wei))


def bump(last: FeeOffer, market: FeeMarket, profile: ChainProfile, gas: int, cap_wei: int | None) -> FeeOffer:
    """Return an offer that may replace the last one: an eighth more of both, and what blocks ask for now.

    Raises:
        SpendingLimitError: that is above the cap.
    """
    tip = max(_usual_tip(market, profile), _more(last.tip_wei))
    wanted = FeeOffer(max(_BASE_HEADROOM * market.base_wei + tip, _more(last.fee_wei)), tip)
    if cap_wei is None or wanted.cost_wei(gas) <= cap_wei:
        return wanted
    least = max(_more(last.fee_wei), _more(last.tip_wei), market.base_wei + profile.min_tip_wei)
    if cap_wei // gas < least:
        raise _above_cap(least * gas, cap_wei, profile)
    return FeeOffer(cap_wei // gas, max(_more(last.tip_wei), min(tip, cap_wei // gas - market.base_wei)))


def is_passed_over(last: FeeOffer, market: FeeMarket, profile: ChainProfile) -> bool:
    """Return whether an offer is below what blocks ask for now, so that it is not taken for its fee."""
    tip_wei = min(last.tip_wei, last.fee_wei - market.base_wei)
    return tip_wei < _usual_tip(market, profile)


def _usual_tip(market: FeeMarket, profile: ChainProfile) -> int:
    # An endpoint that lies about the usual tip must not be able to spend the account's coins.
    return max(profile.min_tip_wei, min(market.tip_wei, profile.max_tip_wei))


def _more(wei: int) -> int:
    return -(-wei * _BUMP_NUM // _BUMP_DEN)


def _above_cap(needed_wei: int, cap_wei: int, profile: ChainProfile) -> SpendingLimitError:
    coin = Currency(profile.symbol, 18)
    return SpendingLimitError(
        f"the network fee would be about {format_amount(needed_wei, coin)} and at most "
        f"{format_amount(cap_wei, coin)} are allowed: wait for a quieter time, or allow more with --max-fee"
    )
