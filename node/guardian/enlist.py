"""Drafts with which an account becomes a guardian, shows that it is there, and leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chain.amount import Amount, Currency, format_amount
from chain.artifacts import encode_call
from chain.draft import Draft
from marina.errors import NotFoundError, UsageError
from marina.ids import Account, account_text

if TYPE_CHECKING:
    from chain.market.buying import Buying
    from chain.reader import ContractReader
    from storage.content.guarded import KeyHolder

_CONTRACT = "GuardianRegistry"
_UINT96_MAX = 2**96 - 1


@dataclass(frozen=True, slots=True)
class Registration:
    """What the registry says of an account.

    Attributes:
        peer_key: Ed25519 key of its node.
        hpke_key: X25519 key that new shares are sealed to.
        bond: base units of MMT.
        fee: base units of MMT that it asks for a release.
        active_s: last sign of life, Unix seconds.
        unlocks_s: when the bond of one that left can be withdrawn; 0 for a guardian.
    """

    peer_key: bytes
    hpke_key: bytes
    bond: int
    fee: int
    active_s: int
    unlocks_s: int


class Enlisting:
    """Makes the drafts; nothing is sent."""

    def __init__(self, *, reader: ContractReader, buying: Buying, mmt: Currency) -> None:
        self._reader = reader
        self._buying = buying
        self._mmt = mmt

    async def registration(self, account: Account) -> Registration | None:
        """Return what the registry says of an account, None if it is no guardian and has no bond there."""
        found = await self._reader.read(_CONTRACT, "guardianOf", bytes(account))
        return Registration(*found) if any(found[0]) else None

    async def min_bond(self) -> Amount:
        """Return the smallest bond of a new guardian."""
        return Amount(int(await self._reader.read(_CONTRACT, "minBond")), self._mmt)

    async def enlist(
        self, account: Account, holder: KeyHolder, *, bond: Amount | None, fee: Amount
    ) -> tuple[Draft, ...]:
        """Return the transactions that register a node with its bond; none when it is registered so.

        Raises:
            UsageError: it left and its bond is there still, the bond is too small, or not in MMT.
            InsufficientFundsError: the account does not hold the bond.
        """
        known = await self.registration(account)
        if known is not None:
            if known.unlocks_s:
                raise UsageError(
                    "this account has left and its bond is in the registry still: get it back with "
                    "'marina guardian withdraw' first"
                )
            if known.peer_key != holder.peer_key:
                raise UsageError("this account is a guardian with another node: leave there first")
            if (known.hpke_key, known.fee) == (holder.hpke_key, fee.value):
                return ()
            return (self._draft("update", "Change what this guardian asks for", holder.hpke_key, fee.value),)
        least = await self.min_bond()
        bond = bond or least
        if (
            bond.currency != self._mmt
            or fee.currency != self._mmt
            or max(bond.value, fee.value) > _UINT96_MAX
        ):
            raise UsageError("bond and fee are amounts of MMT")
        if bond.value < least.value:
            raise UsageError(f"the bond is at least {format_amount(least.value, self._mmt)}")
        shown = format_amount(bond.value, self._mmt)
        registry = self._reader.contracts.guardians
        data = encode_call(_CONTRACT, "register", holder.peer_key, holder.hpke_key, bond.value, fee.value)
        summary = f"Become a guardian with {account_text(account)}; bond {shown}"
        key = f"guardian.register:{account.hex()}"
        draft = Draft(registry, data, 0, "guardian.register", summary, key, (bond,))
        return (*await self._buying.allowance(bond, account, registry), draft)

    async def beat(self, account: Account) -> tuple[Draft, ...]:
        """Return the transaction that shows a sign of life; NotFoundError if it is no guardian."""
        await self._active(account)
        return (self._draft("beat", "Show that this guardian is there"),)

    async def leave(self, account: Account) -> tuple[Draft, ...]:
        """Return the transaction with which it stops being one; NotFoundError if it is no guardian."""
        await self._active(account)
        return (self._draft("unbond", "Stop being a guardian; the bond is free in 14 days"),)

    async def withdraw(self, account: Account) -> tuple[Draft, ...]:
        """Return the transaction that pays the bond back.

        Raises:
            NotFoundError: there is no bond.
            UsageError: it is locked still.
        """
        known = await self.registration(account)
        if known is None:
            raise NotFoundError("this account has no bond in the registry")
        if not known.unlocks_s:
            raise UsageError("it is a guardian still: leave with 'marina guardian unbond' first")
        left_s = known.unlocks_s - await self._reader.time_s()
        if left_s > 0:
            raise UsageError(f"the bond is locked for {left_s // 86_400 + 1} more days")
        shown = format_amount(known.bond, self._mmt)
        return (self._draft("withdrawBond", f"Get the bond back: {shown}"),)

    async def _active(self, account: Account) -> None:
        known = await self.registration(account)
        if known is None or known.unlocks_s:
            raise NotFoundError("this account is no guardian: 'marina guardian enable' makes it one")

    def _draft(self, function: str, summary: str, *args: object) -> Draft:
        data = encode_call(_CONTRACT, function, *args)
        place = self._reader.contracts.guardians
        return Draft(place, data, 0, f"guardian.{function}", summary, f"guardian.{function}:{data.hex()}")
