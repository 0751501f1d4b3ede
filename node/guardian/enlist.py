"""Drafts with which an account becomes a guardian, shows that it is there, and leaves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from chain.amount import UINT96_MAX, Amount, Currency, format_amount
from chain.artifacts import encode_call
from chain.draft import Draft
from marina.errors import NotFoundError, UsageError
from marina.ids import Account, account_text

if TYPE_CHECKING:
    from chain.market.buying import Buying
    from chain.reader import ContractReader
    from storage.content.guarded import KeyHolder

_CONTRACT = "GuardianRegistry"
_DATE_S_MAX = 253_402_300_799  # the last second that a calendar has


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
        self, account: Account, holder: KeyHolder, *, bond: Amount | None = None, fee: Amount | None = None
    ) -> tuple[Draft, ...]:
        """Return the transactions after which a node is registered so; none when it is.

        Args:
            account: answers for it and pays the bond.
            holder: the node's keys.
            bond: all of it; None for the smallest, or as it is. A bond grows, and ends with leaving.
            fee: asked for a release; None for none, or as it is.

        Raises:
            UsageError: it left and its bond is there still, it is a guardian with another node, or an amount
                is no MMT, does not fit, or is a smaller bond than there must be.
            InsufficientFundsError: the account does not hold the bond.
        """
        for amount in (bond, fee):
            if amount is not None and (amount.currency != self._mmt or amount.value > UINT96_MAX):
                raise UsageError("bond and fee are amounts of MMT below 2^96 base units")
        known = await self.registration(account)
        if known is None:
            return await self._register(account, holder, bond, 0 if fee is None else fee.value)
        if known.unlocks_s:
            raise UsageError(
                "this account has left and its bond is in the registry still: get it back with "
                "'marina guardian withdraw' first"
            )
        if known.peer_key != holder.peer_key:
            raise UsageError("this account is a guardian with another node: leave there first")
        drafts = () if bond is None else await self._grown(account, known.bond, bond)
        asked = known.fee if fee is None else fee.value
        if (known.hpke_key, known.fee) == (holder.hpke_key, asked):
            return drafts
        return (*drafts, self._draft("update", "Change what this guardian asks for", holder.hpke_key, asked))

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
        if known.unlocks_s > await self._reader.time_s():
            day = datetime.fromtimestamp(min(known.unlocks_s, _DATE_S_MAX), UTC)
            raise UsageError(f"the bond is locked until {day:%Y-%m-%d %H:%M} UTC: get it back then")
        shown = format_amount(known.bond, self._mmt)
        return (self._draft("withdrawBond", f"Get the bond back: {shown}"),)

    async def _register(
        self, account: Account, holder: KeyHolder, bond: Amount | None, fee: int
    ) -> tuple[Draft, ...]:
        least = await self.min_bond()
        bond = bond or least
        if bond.value < least.value:
            raise UsageError(f"the bond is at least {format_amount(least.value, self._mmt)}")
        shown = format_amount(bond.value, self._mmt)
        registry = self._reader.contracts.guardians
        data = encode_call(_CONTRACT, "register", holder.peer_key, holder.hpke_key, bond.value, fee)
        summary = f"Become a guardian with {account_text(account)}; bond {shown}"
        key = f"guardian.register:{account.hex()}"
        draft = Draft(registry, data, 0, "guardian.register", summary, key, (bond,))
        return (*await self._buying.allowance(bond, account, registry), draft)

    async def _grown(self, account: Account, held: int, wanted: Amount) -> tuple[Draft, ...]:
        """Return the transactions with which a bond becomes as large as it is wanted."""
        if wanted.value < held:
            raise UsageError(
                f"its bond is {format_amount(held, self._mmt)} already and does not shrink: all of it is "
                "free 14 days after 'marina guardian unbond'"
            )
        if wanted.value == held:
            return ()
        more = Amount(wanted.value - held, self._mmt)
        registry = self._reader.contracts.guardians
        data = encode_call(_CONTRACT, "addBond", more.value)
        summary = (
            f"Add {format_amount(more.value, self._mmt)} to the bond of {format_amount(held, self._mmt)}"
        )
        key = f"guardian.addBond:{account.hex()}:{wanted.value}"
        draft = Draft(registry, data, 0, "guardian.addBond", summary, key, (more,))
        return (*await self._buying.allowance(more, account, registry), draft)

    async def _active(self, account: Account) -> None:
        known = await self.registration(account)
        if known is None or known.unlocks_s:
            raise NotFoundError("this account is no guardian: 'marina guardian enable' makes it one")

    def _draft(self, function: str, summary: str, *args: object) -> Draft:
        data = encode_call(_CONTRACT, function, *args)
        place = self._reader.contracts.guardians
        return Draft(place, data, 0, f"guardian.{function}", summary, f"guardian.{function}:{data.hex()}")
