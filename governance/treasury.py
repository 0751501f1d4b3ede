"""The DAO's money: what the timelock holds, grants as calls of a proposal, and what was paid before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chain.amount import Amount, Currency
from chain.artifacts import encode_call
from chain.contracts import ContractSet
from chain.events import Event
from governance.calls import Call
from governance.glossary import Glossary, Line
from governance.words import describe_calls
from marina.errors import UsageError
from marina.ids import Account

NOBODY = Account(bytes(20))


@dataclass(frozen=True, slots=True)
class Holding:
    """One currency of the treasury.

    Attributes:
        currency: which.
        held: base units that the timelock can spend.
        waiting: base units of fees that MusicLicensing owes it; anybody may have them paid out.
    """

    currency: Currency
    held: int
    waiting: int

    def sentence(self) -> str:
        """Return both amounts in words."""
        held = Amount(self.held, self.currency)
        if not self.waiting:
            return str(held)
        return f"{held}, and {Amount(self.waiting, self.currency)} of fees to collect"


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that left the treasury by a proposal.

    Attributes:
        block: number of the block.
        operation: the timelock's id of the proposal's operation.
        to: who got it.
        token: ERC-20 contract, None for the chain's coin.
        units: base units.
    """

    block: int
    operation: bytes
    to: Account
    token: Account | None
    units: int


def grant(to: Account, amount: Amount, contracts: ContractSet) -> Call:
    """Return the call that pays an amount from the treasury.

    Raises:
        UsageError: nothing would be paid, or to nobody, or to the treasury itself.
    """
    _check_receiver(to, contracts)
    if amount.value <= 0:
        raise UsageError("a grant of nothing needs no vote: give an amount above zero")
    if amount.currency.token is None:
        return Call(to, amount.value, b"")
    data = encode_call("MarinaToken", "transfer", bytes(to), amount.value)
    return Call(amount.currency.token, 0, data)


def mint_grant(to: Account, units: int, contracts: ContractSet) -> Call:
    """Return the call that creates MMT for somebody; the token allows 5 % of the supply a year.

    Raises:
        UsageError: nothing would be created, or for nobody.
    """
    if to == NOBODY or units <= 0:
        raise UsageError("new MMT need a receiver and an amount above zero")
    return Call(contracts.token, 0, encode_call("MarinaToken", "mint", bytes(to), units))


def collect_fees(token: Account | None, contracts: ContractSet) -> Call:
    """Return the call that pays collected fees out to the treasury; anybody may make it, without a vote."""
    data = encode_call(
        "MusicLicensing", "withdraw", bytes(contracts.timelock), bytes(token if token is not None else NOBODY)
    )
    return Call(contracts.licensing, 0, data)


def payments(events: Iterable[Event]) -> tuple[Payment, ...]:
    """Return the payments among ``CallExecuted`` events of the timelock, in their order.

    A payment is a call with coins, or a ``transfer`` of an ERC-20 token; other executed calls are not.
    """
    found: list[Payment] = []
    for event in _executed(events):
        values = event.values
        target = Account(values["target"])
        if values["value"]:
            found.append(Payment(event.log.block, values["id"], target, None, values["value"]))
        transfer = _transfer(values["data"])
        if transfer is not None:
            to, units = transfer
            found.append(Payment(event.log.block, values["id"], to, target, units))
    return tuple(found)


def executed_lines(events: Iterable[Event], glossary: Glossary) -> tuple[Line, ...]:
    """Return every call that the timelock ever made, in words."""
    calls = [
        Call(Account(each.values["target"]), each.values["value"], each.values["data"])
        for each in _executed(events)
    ]
    return tuple(line for call in calls for line in describe_calls([call], glossary))


def totals(paid: Sequence[Payment]) -> dict[Account | None, int]:
    """Return how much was paid in all, by token."""
    sums: dict[Account | None, int] = {}
    for each in paid:
        sums[each.token] = sums.get(each.token, 0) + each.units
    return sums


def _executed(events: Iterable[Event]) -> Iterable[Event]:
    return (each for each in events if (each.contract, each.name) == ("TimelockController", "CallExecuted"))


def _transfer(data: bytes) -> tuple[Account, int] | None:
    """Return receiver and units of an ERC-20 transfer's call data, None if it is none."""
    if len(data) != 4 + 64 or data[:4] != _TRANSFER or any(data[4:16]):
        return None
    return Account(data[16:36]), int.from_bytes(data[36:])


_TRANSFER = bytes.fromhex("a9059cbb")
"""Selector of ``transfer(address,uint256)`` (ERC-20)."""


def _check_receiver(to: Account, contracts: ContractSet) -> None:
    if to == NOBODY:
        raise UsageError("a grant to nobody would be lost: give the account that gets it")
    if contracts.name_of(to) is not None:
        raise UsageError(f"{contracts.name_of(to)} cannot use a grant: give the account of a person")
