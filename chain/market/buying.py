"""Drafts of purchases: buy, renew, give, tip, and a refund by who sold."""

from __future__ import annotations

from dataclasses import replace

from chain.accounts import TypedDomain, VaultSigner
from chain.amount import Amount, format_amount
from chain.artifacts import encode_call
from chain.draft import Draft, Permit
from chain.errors import InsufficientFundsError
from chain.market.currencies import Currencies
from chain.market.offers import FOR_EVER, KINDS, Offer, Offers, Terms, licence_id
from chain.reader import ContractReader
from marina.errors import MarinaError, NetworkError, NotFoundError, NotPermittedError, UsageError
from marina.ids import Account, account_text

PERIODS_MAX = 1200
_PERMIT_S = 1800
_SIGNATURE_WORDS_BYTES = 96
_REFUND_GAS = 150_000
"""Twice what a refund takes that writes to two accounts of the ledger for the first time."""


class Buying:
    """Makes the drafts with which an account pays for music."""

    def __init__(
        self, *, reader: ContractReader, currencies: Currencies, offers: Offers, chain_id: int
    ) -> None:
        self._reader = reader
        self._currencies = currencies
        self._offers = offers
        self._chain_id = chain_id

    async def choose(
        self, thing: bytes, term: int | None, kind: int | None, *, known: Terms | None = None
    ) -> Offer:
        """Return the term that is meant: the named one, or the cheapest that is sold.

        Args:
            thing: the track or release.
            term: its number, None for the cheapest without end, or the cheapest of all.
            kind: only terms of this kind; None for any.
            known: where it is looked up; None for the chain itself.

        Raises:
            NotFoundError: nothing is sold under this id.
            UsageError: there is no such term.
        """
        terms = known or self._offers
        rights = await terms.rights(thing)
        if rights is None:
            raise NotFoundError(
                "it is not registered on this chain: nothing to buy; free music plays without a licence"
            )
        if rights.is_blocked or not rights.is_active:
            raise NotPermittedError(
                "the DAO has blocked its sale" if rights.is_blocked else "its owner does not sell it now"
            )
        sold = [each for each in await terms.of(thing) if each.is_sold]
        if term is not None:
            named = [each for each in sold if each.term == term]
            if not named:
                raise UsageError(f"there is no offer {term}: see 'marina terms'")
            return named[0]
        fitting = [each for each in sold if kind is None or each.kind == kind]
        if not fitting:
            raise NotFoundError("nothing of this kind is sold now: see 'marina terms'")
        return min(fitting, key=lambda each: (each.period_s != 0, each.kind, each.price.value, each.term))

    async def purchase(
        self,
        offer: Offer,
        *,
        title: str,
        payer: Account,
        licensee: Account,
        periods: int = 1,
        is_renewal: bool = False,
        is_queued: bool = False,
        known: Terms | None = None,
    ) -> tuple[Draft, ...]:
        """Return the transactions that buy, extend or give a licence.

        Args:
            offer: what is bought.
            title: how people call it.
            payer: whose money.
            licensee: who gets it.
            periods: how many; 1 for a licence without end.
            is_renewal: whether a live licence may be extended.
            is_queued: whether it may wait for a chain that does not answer.
            known: where licences are looked up; None for the chain itself.

        Raises:
            UsageError: wrong number of periods, a live licence that would be extended unasked, or one that
                may wait and is not paid in the chain's coin.
            NotPermittedError: the licence has no end already.
        """
        if not 1 <= periods <= PERIODS_MAX or (offer.period_s == 0 and periods != 1):
            raise UsageError("a licence without end is bought once; others for 1 to 1200 periods")
        if is_queued and offer.price.currency.token is not None:
            raise UsageError("only what costs the chain's own coin can wait for the chain: leave out --queue")
        await self._check_live(known or self._offers, offer, licensee, is_renewal=is_renewal)
        price = Amount(offer.price.value * periods, offer.price.currency)
        order = (offer.id, offer.term, periods, bytes(licensee), price.value)
        span = "for ever" if offer.period_s == 0 else f"for {periods} × {offer.span}"
        whom = "" if licensee == payer else f" for {account_text(licensee)}"
        verb = "Extend" if is_renewal else "Buy" if not whom else "Give"
        summary = (
            f"{verb} “{title}” ({KINDS.get(offer.kind, f'kind {offer.kind}')}, {span}){whom}: "
            f"{format_amount(price.value, price.currency)}"
        )
        what = "licence.renew" if is_renewal else "licence.gift" if whom else "licence.buy"
        key = f"{what}:{offer.id.hex()}:{offer.term}:{licensee.hex()}"
        licensing = self._reader.contracts.licensing
        if price.currency.token is None:
            data = encode_call("MusicLicensing", "purchase", *order)
            return (Draft(licensing, data, price.value, what, summary, key, (price,), None, is_queued),)
        permit = await self._permit(price, payer)
        if permit is not None:
            await self.check_holds(price, payer)
            unsigned = (permit.deadline_s, 0, bytes(32), bytes(32))
            data = encode_call("MusicLicensing", "purchaseWithPermit", order, *unsigned)
            return (Draft(licensing, data, 0, what, summary, key, (price,), permit=permit),)
        data = encode_call("MusicLicensing", "purchase", *order)
        bought = Draft(licensing, data, 0, what, summary, key, (price,))
        return (*await self.allowance(price, payer, licensing), bought)

    def with_permit(self, draft: Draft, signer: VaultSigner) -> Draft:
        """Return a draft with the permit that it lacks, signed; the draft itself if it lacks none.

        Raises:
            VaultLockedError: the vault is locked.
        """
        permit = draft.permit
        if permit is None:
            return draft
        v, r, s = signer.sign_permit(
            permit.domain,
            spender=permit.spender,
            value=permit.value,
            nonce=permit.nonce,
            deadline_s=permit.deadline_s,
        )
        # The last three words of the call are v, r and s.
        data = draft.data[:-_SIGNATURE_WORDS_BYTES] + v.to_bytes(32) + r + s
        return replace(draft, data=data, permit=None)

    async def check_holds(self, price: Amount, payer: Account) -> None:
        """Check that an account holds an amount of a token; InsufficientFundsError if it does not."""
        held = await self._currencies.balance(price.currency, payer)
        if held < price.value:
            raise InsufficientFundsError(
                f"{account_text(payer)} holds {format_amount(held, price.currency)} and needs "
                f"{format_amount(price.value, price.currency)}: send it some"
            )

    async def allowance(self, price: Amount, payer: Account, spender: Account) -> tuple[Draft, ...]:
        """Return the transaction that lets a contract take a token, nothing where it may already.

        Raises:
            InsufficientFundsError: the account does not hold so much.
        """
        token = price.currency.token
        assert token is not None
        await self.check_holds(price, payer)
        allowed = int(
            await self._reader.read_at(token, "MarinaToken", "allowance", bytes(payer), bytes(spender))
        )
        if allowed >= price.value:
            return ()
        data = encode_call("MarinaToken", "approve", bytes(spender), price.value)
        summary = f"Let Marina's contract take {format_amount(price.value, price.currency)}"
        key = f"token.approve:{token.hex()}:{spender.hex()}:{price.value}"
        return (Draft(token, data, 0, "token.approve", summary, key),)

    async def tip(self, thing: bytes, amount: Amount, *, title: str, payer: Account) -> tuple[Draft, ...]:
        """Return the transactions that give to whoever earns from a track or release."""
        if await self._offers.rights(thing) is None:
            raise NotFoundError("it is not registered on this chain: nobody could be paid")
        number = await self._currencies.number(amount.currency)
        shown = format_amount(amount.value, amount.currency)
        data = encode_call("MusicLicensing", "tip", thing, number, amount.value)
        coin = amount.value if amount.currency.token is None else 0
        key = f"tip:{thing.hex()}:{number}:{amount.value}"
        licensing = self._reader.contracts.licensing
        draft = Draft(licensing, data, coin, "tip", f"Tip “{title}”: {shown}", key, (amount,))
        if amount.currency.token is None:
            return (draft,)
        return (*await self.allowance(amount, payer, licensing), draft)

    async def refund(self, licence: bytes, *, title: str, payer: Account) -> tuple[Draft, ...]:
        """Return the transactions with which the owner ends a licence and pays back what is not used.

        Raises:
            NotFoundError: there is no such licence.
            RevertedError: it has ended.
        """
        found = await self._offers.licence(licence)
        units, token = await self._reader.read("MusicLicensing", "refundOf", licence)
        # Until the block it shrinks by what passes: the contract owes the rest to who sent it.
        amount = Amount(int(units), await self._currencies.of(token))
        licensing = self._reader.contracts.licensing
        data = encode_call("MusicLicensing", "revokeWithRefund", licence)
        shown = format_amount(amount.value, amount.currency)
        summary = f"End the licence of {account_text(found.licensee)} to “{title}” and pay {shown} back"
        coin = amount.value if amount.currency.token is None else 0
        key = f"licence.refund:{licence.hex()}"
        # Tried now it is sent exactly; in its block less is wanted, and the rest is written to the ledger.
        gas_limit = _REFUND_GAS if coin else None
        draft = Draft(licensing, data, coin, "licence.refund", summary, key, (amount,), gas_limit=gas_limit)
        if amount.currency.token is None:
            return (draft,)
        return (*await self.allowance(amount, payer, licensing), draft)

    async def _check_live(self, known: Terms, offer: Offer, licensee: Account, *, is_renewal: bool) -> None:
        try:
            found = await known.licence(licence_id(offer.id, offer.term, licensee))
        except NotFoundError:
            if is_renewal:
                raise NotFoundError("there is no licence to extend: buy one with 'marina buy'") from None
            return
        if found.expires_s == FOR_EVER:
            raise NotPermittedError("this licence has no end already: nothing to buy")
        if found.expires_s > await known.time_s() and not is_renewal:
            raise UsageError(
                "this licence runs still: extend it with 'marina renew', or wait until it has ended"
            )

    async def _permit(self, price: Amount, payer: Account) -> Permit | None:
        """Return the permit that a token takes in place of a transaction, None for a token without."""
        token = price.currency.token
        assert token is not None
        try:
            domain = await self._reader.read_at(token, "MarinaToken", "eip712Domain")
            nonce = int(await self._reader.read_at(token, "MarinaToken", "nonces", bytes(payer)))
        except NetworkError:
            raise
        except (MarinaError, ValueError):
            return None
        _fields, name, version, chain_id, contract, _salt, _extensions = domain
        if chain_id != self._chain_id or contract != token:
            return None
        return Permit(
            domain=TypedDomain(str(name), str(version), self._chain_id, token),
            spender=self._reader.contracts.licensing,
            value=price.value,
            nonce=nonce,
            deadline_s=await self._reader.time_s() + _PERMIT_S,
        )
