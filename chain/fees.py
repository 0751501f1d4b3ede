"""How much a transaction offers for its place in a block (EIP-1559)."""

from __future__ import annotations

from dataclasses import dataclass

from chain.errors import SpendingLimitError
from chain.gateway import FeeMarket
from chain.profiles import ChainProfile

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
    tip = max(market.tip_wei, profile.min_tip_wei)
    wanted = FeeOffer(_BASE_HEADROOM * market.base_wei + tip, tip)
    if cap_wei is None or wanted.cost_wei(gas) <= cap_wei:
        return wanted
    least = market.base_wei + profile.min_tip_wei
    if cap_wei // gas < least:
        raise SpendingLimitError(
            f"the network fee would be about {least * gas} wei and at most {cap_wei} wei are allowed: "
            "wait for a quieter time, or allow more with --max-fee"
        )
    capped = cap_wei // gas
    return FeeOffer(capped, min(tip, capped - market.base_wei))


def bump(last: FeeOffer, market: FeeMarket, profile: ChainProfile) -> FeeOffer:
    """Return an offer that may replace the last one: an eighth more, and what blocks ask for now."""
    tip = max(market.tip_wei, profile.min_tip_wei, _more(last.tip_wei))
    return FeeOffer(max(_BASE_HEADROOM * market.base_wei + tip, _more(last.fee_wei)), tip)


def _more(wei: int) -> int:
    return -(-wei * _BUMP_NUM // _BUMP_DEN)
