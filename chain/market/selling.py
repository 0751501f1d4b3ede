"""Drafts of who sells: register, price, share, and be paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eth_hash.auto import keccak

from chain.amount import UINT96_MAX, Amount, format_amount
from chain.artifacts import encode_call
from chain.contracts import ZERO
from chain.draft import Draft
from chain.market.offers import KINDS, Offer, Offers
from marina.errors import NotFoundError, NotPermittedError, UsageError
from marina.ids import Account, account_text

if TYPE_CHECKING:
    from chain.market.currencies import Currencies
    from chain.reader import ContractReader

SPLITS_MAX = 32
WHOLE_BPS = 10_000
ROYALTY_MAX_BPS = 5_000
PERIOD_S_MAX = 2**32 - 2
BATCH_MAX = 64
_GAS_BASE, _GAS_EACH, _GAS_SPLIT = 80_000, 150_000, 12_000
"""What a registration takes at most, with the margin of an estimate, while it cannot be tried."""


@dataclass(frozen=True, slots=True)
class SplitPart:
    """One collaborator's part.

    Attributes:
        account: who is paid.
        bps: basis points of what is left after the DAO's fee.
    """

    account: Account
    bps: int


@dataclass(frozen=True, slots=True)
class Thing:
    """A track or release that is to be registered.

    Attributes:
        id: keccak256(abi.encode(artist, salt)).
        salt: of the id.
        digest: sha256 of its manifest.
        release: that a track belongs to, None for a release.
        title: how people call it.
    """

    id: bytes
    salt: bytes
    digest: bytes
    release: bytes | None
    title: str


@dataclass(frozen=True, slots=True)
class NewTerm:
    """A price that is to be added.

    Attributes:
        price: of one period.
        period_s: seconds, 0 without end.
        kind: 1 stream, 2 download.
    """

    price: Amount
    period_s: int
    kind: int


def check_splits(parts: Sequence[SplitPart], owner: Account) -> tuple[SplitPart, ...]:
    """Return a whole list of splits, sorted as the contract wants it; what is left over is the owner's.

    Raises:
        UsageError: somebody is named twice, a part is none, or together they are more than everything.
    """
    if len({each.account for each in parts}) != len(parts):
        raise UsageError("somebody is named twice in the splits: add the parts up")
    if any(not 0 < each.bps <= WHOLE_BPS for each in parts):
        raise UsageError("each part is above 0 % and at most 100 %, with two decimals")
    given = sum(each.bps for each in parts)
    if given > WHOLE_BPS:
        raise UsageError(f"the parts are {given / 100:g} % together: give at most 100 %")
    whole = list(parts)
    if given < WHOLE_BPS:
        if any(each.account == owner for each in parts):
            raise UsageError("your own part is what is left over: do not name it, or make it fit")
        whole.append(SplitPart(owner, WHOLE_BPS - given))
    if len(whole) > SPLITS_MAX:
        raise UsageError(f"at most {SPLITS_MAX} people can share")
    return tuple(sorted(whole, key=lambda each: each.account))


class Selling:
    """Makes the drafts with which an account sells music and is paid for it."""

    def __init__(self, *, reader: ContractReader, currencies: Currencies, offers: Offers) -> None:
        self._reader = reader
        self._currencies = currencies
        self._offers = offers

    async def register(
        self, things: Sequence[Thing], splits: Sequence[SplitPart], *, royalty_bps: int, artist: Account
    ) -> tuple[Draft, ...]:
        """Return the transactions that register what is not registered yet, 64 each; none when all is.

        Raises:
            UsageError: a royalty out of bounds.
            NotPermittedError: an id is not this account's.
        """
        if not 0 <= royalty_bps <= ROYALTY_MAX_BPS:
            raise UsageError("the royalty of resales is at most 50 %")
        new: list[Thing] = []
        for each in things:
            rights = await self._offers.rights(each.id)
            if rights is None:
                if keccak(bytes(12) + artist + each.salt) != each.id:
                    raise NotPermittedError(
                        f"“{each.title}” belongs to another account than {account_text(artist)}"
                    )
                new.append(each)
            elif rights.owner != artist:
                raise NotPermittedError(f"“{each.title}” belongs to {account_text(rights.owner)} now")
        batches = [new[start : start + BATCH_MAX] for start in range(0, len(new), BATCH_MAX)]
        return tuple(self._registration(each, splits, royalty_bps) for each in batches)

    def _registration(self, new: Sequence[Thing], splits: Sequence[SplitPart], royalty_bps: int) -> Draft:
        shares = [(bytes(each.account), each.bps) for each in splits]
        rows = [(each.salt, each.digest, each.release or bytes(32), royalty_bps, shares) for each in new]
        shown = ", ".join(f"{account_text(each.account)[:10]}… {each.bps / 100:g} %" for each in splits)
        what = f"“{new[0].title}”" + (f" and {len(new) - 1} more" if len(new) > 1 else "")
        data = encode_call("TrackRegistry", "registerMany", rows)
        key = "registry.register:" + keccak(b"".join(each.id for each in new)).hex()
        summary = f"Register {what}; earnings go to {shown}"
        guess = _GAS_BASE + len(new) * (_GAS_EACH + len(shares) * _GAS_SPLIT)
        to = self._reader.contracts.registry
        return Draft(to, data, 0, "registry.register", summary, key, gas_guess=guess)

    async def price(self, thing: bytes, terms: Sequence[NewTerm], *, title: str) -> tuple[Draft, ...]:
        """Return the transaction that adds terms which are not sold already; none when all are.

        Raises:
            UsageError: a price or period is out of bounds, or in a currency that is not let in.
        """
        known = [each for each in await self._offers.of(thing) if each.is_sold]
        rows: list[tuple[int, int, int, int]] = []
        shown: list[str] = []
        for each in terms:
            if each.kind not in KINDS or not 0 <= each.period_s <= PERIOD_S_MAX:
                raise UsageError("a term is for streaming or download, and of at most 136 years")
            if not 0 <= each.price.value <= UINT96_MAX:
                raise UsageError("the price is too large")
            if any(_is_same(each, offer) for offer in known):
                continue
            number = await self._currencies.number(each.price.currency)
            rows.append((each.price.value, each.period_s, number, each.kind))
            span = Offer(thing, 0, each.price, each.period_s, each.kind, True).span
            shown.append(f"{KINDS[each.kind]} {span} {format_amount(each.price.value, each.price.currency)}")
        if not rows:
            return ()
        data = encode_call("MusicLicensing", "addTerms", thing, rows)
        summary = f"Sell “{title}”: {'; '.join(shown)}"
        key = f"licensing.price:{thing.hex()}:{keccak(data).hex()[:16]}"
        return (Draft(self._reader.contracts.licensing, data, 0, "licensing.price", summary, key),)

    def enable(self, thing: bytes, term: int, is_sold: bool, *, title: str) -> Draft:
        """Return the transaction that stops or resumes the sale of one term."""
        data = encode_call("MusicLicensing", "setTermEnabled", thing, term, is_sold)
        summary = f"{'Sell' if is_sold else 'Stop selling'} offer {term} of “{title}”"
        key = f"licensing.enable:{thing.hex()}:{term}:{is_sold}"
        return Draft(self._reader.contracts.licensing, data, 0, "licensing.enable", summary, key)

    def share(self, thing: bytes, splits: Sequence[SplitPart], *, title: str) -> Draft:
        """Return the transaction that shares later earnings in another way."""
        shares = [(bytes(each.account), each.bps) for each in splits]
        data = encode_call("TrackRegistry", "setSplits", thing, shares)
        shown = ", ".join(f"{account_text(each.account)[:10]}… {each.bps / 100:g} %" for each in splits)
        key = f"registry.splits:{thing.hex()}:{keccak(data).hex()[:16]}"
        summary = f"Share what “{title}” earns from now on: {shown}"
        return Draft(self._reader.contracts.registry, data, 0, "registry.splits", summary, key)

    async def is_writer(self, thing: bytes, account: Account) -> bool:
        """Return whether an account may anchor the keyboxes of a track, besides its owner."""
        return bool(await self._reader.read("TrackRegistry", "isKeyboxWriter", thing, bytes(account)))

    def allow(self, thing: bytes, writer: Account, is_allowed: bool, *, title: str) -> Draft:
        """Return the transaction that lets an account anchor a track's keyboxes, or no longer."""
        data = encode_call("TrackRegistry", "setKeyboxWriter", thing, bytes(writer), is_allowed)
        verb = "Let" if is_allowed else "No longer let"
        summary = f"{verb} {account_text(writer)} anchor the keys of “{title}”"
        key = f"registry.writer:{thing.hex()}:{writer.hex()}:{is_allowed}"
        return Draft(self._reader.contracts.registry, data, 0, "registry.writer", summary, key)

    def settle(self, thing: bytes, splits: Sequence[SplitPart], token: Account, *, title: str) -> Draft:
        """Return the transaction that divides what came in under a list of splits."""
        shares = [(bytes(each.account), each.bps) for each in splits]
        data = encode_call("MusicLicensing", "settle", thing, shares, bytes(token))
        key = f"ledger.settle:{thing.hex()}:{keccak(data).hex()[:16]}"
        summary = f"Divide what “{title}” has earned among {len(splits)}"
        return Draft(self._reader.contracts.licensing, data, 0, "ledger.settle", summary, key)

    async def withdraw(self, account: Account, token: Account, expected: int) -> Draft:
        """Return the transaction that pays an account what it is owed.

        Args:
            account: whose money; the only one that is paid.
            token: zero for the coin.
            expected: base units, as far as they are known before the divisions ahead of it.

        Raises:
            NotFoundError: nothing is owed.
        """
        if expected == 0:
            raise NotFoundError("nothing is owed to this account now: see 'marina earnings'")
        currency = await self._currencies.of(token)
        data = encode_call("MusicLicensing", "withdraw", bytes(account), bytes(token))
        summary = f"Pay {format_amount(expected, currency)} to {account_text(account)}"
        key = f"ledger.withdraw:{account.hex()}:{token.hex()}"
        return Draft(self._reader.contracts.licensing, data, 0, "ledger.withdraw", summary, key)

    async def owed(self, account: Account, token: Account = ZERO) -> int:
        """Return the base units that an account may withdraw now."""
        return int(await self._reader.read("MusicLicensing", "owed", bytes(account), bytes(token)))


def _is_same(term: NewTerm, offer: Offer) -> bool:
    return (term.price, term.period_s, term.kind) == (offer.price, offer.period_s, offer.kind)
