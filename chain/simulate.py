"""What a draft would do if it were sent now, found out before any money is spent."""

from __future__ import annotations

from dataclasses import dataclass

from chain.amount import Currency, format_amount
from chain.draft import Draft
from chain.errors import InsufficientFundsError
from chain.fees import FeeOffer, offer
from chain.gateway import Gateway, Message
from chain.profiles import ChainProfile
from marina.ids import Account, account_text

_GAS_MARGIN_NUM, _GAS_MARGIN_DEN = 6, 5
"""An estimate is for one state of the chain, the transaction meets the next one."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a draft would do now.

    Attributes:
        gas: limit that it would get.
        fee: what it would offer.
        balance_wei: what the account holds.
        result: what the call would answer.
    """

    gas: int
    fee: FeeOffer
    balance_wei: int
    result: bytes

    @property
    def fee_wei(self) -> int:
        """The most that the network fee can be."""
        return self.fee.cost_wei(self.gas)


async def simulate(
    gateway: Gateway, draft: Draft, account: Account, max_fee_wei: int | None = None
) -> Simulation:
    """Try a draft without sending it.

    Args:
        gateway: the chain.
        draft: what is to be sent.
        account: would pay and sign.
        max_fee_wei: the most that the whole network fee may be, None for no such bound.

    Raises:
        RevertedError: a contract would refuse it.
        InsufficientFundsError: the account does not hold value and fee.
        SpendingLimitError: the network fee would be above ``max_fee_wei``.
        NetworkError: the chain does not answer.
    """
    message = Message(account, draft.to, draft.value, draft.data)
    balance = await gateway.balance(account)
    if balance < draft.value:
        raise too_poor(gateway.profile, account, balance, draft.value)
    result = await gateway.call(message) if draft.to is not None else b""
    gas = draft.gas_limit or await gateway.estimate(message) * _GAS_MARGIN_NUM // _GAS_MARGIN_DEN
    fee = offer(await gateway.fees(), gateway.profile, gas, max_fee_wei)
    if balance < draft.value + fee.cost_wei(gas):
        raise too_poor(gateway.profile, account, balance, draft.value + fee.cost_wei(gas))
    return Simulation(gas, fee, balance, result)


def too_poor(
    profile: ChainProfile, account: Account, balance_wei: int, needed_wei: int
) -> InsufficientFundsError:
    """Return the error for an account that does not hold what a transaction needs."""
    coin = Currency(profile.symbol, 18)
    hint = " (development chain: marina faucet)" if profile.name == "dev" else ""
    return InsufficientFundsError(
        f"{account_text(account)} holds {format_amount(balance_wei, coin)} and needs "
        f"{format_amount(needed_wei, coin)}, the network fee included: send it some{hint}"
    )
