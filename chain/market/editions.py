"""Drafts and reads of limited editions (ERC-1155)."""

from __future__ import annotations

from dataclasses import dataclass

from chain.amount import UINT96_MAX, Amount, format_amount
from chain.artifacts import encode_call
from chain.draft import Draft
from chain.market.buying import Buying
from chain.market.currencies import Currencies
from chain.reader import ContractReader
from marina.errors import NotFoundError, UsageError
from marina.ids import Account, account_text

CAP_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Edition:
    """One edition.

    Attributes:
        number: from 1.
        track: id of the track or release.
        price: of one.
        cap: the most that there ever are.
        minted: how many there are or were.
        is_open: whether it is sold.
    """

    number: int
    track: bytes
    price: Amount
    cap: int
    minted: int
    is_open: bool


class Editions:
    """Makes, gives, sells and reads editions."""

    def __init__(self, *, reader: ContractReader, currencies: Currencies, buying: Buying) -> None:
        self._reader = reader
        self._currencies = currencies
        self._buying = buying

    async def count(self) -> int:
        """Return how many editions there are."""
        return int(await self._reader.read("TrackEditions", "editionCount"))

    async def get(self, number: int) -> Edition:
        """Return one edition; NotFoundError if there is none with this number."""
        if not 1 <= number <= await self.count():
            raise NotFoundError(f"there is no edition {number}: see 'marina edition list'")
        track, price, cap, minted, token, is_open = await self._reader.read(
            "TrackEditions", "edition", number
        )
        amount = Amount(int(price), await self._currencies.at(int(token)))
        return Edition(number, track, amount, int(cap), int(minted), bool(is_open))

    async def held(self, number: int, account: Account) -> int:
        """Return how many of an edition an account holds."""
        return int(await self._reader.read("TrackEditions", "balanceOf", bytes(account), number))

    async def royalty_bps(self, number: int) -> int:
        """Return what ERC-2981 asks of resales, in basis points."""
        _receiver, part = await self._reader.read("TrackEditions", "royaltyInfo", number, 10_000)
        return int(part)

    async def create(self, track: bytes, *, cap: int, price: Amount, title: str) -> Draft:
        """Return the transaction that makes an edition of something the account owns."""
        if not 1 <= cap <= CAP_MAX:
            raise UsageError("an edition has from 1 to 4294967295 pieces")
        if not 0 <= price.value <= UINT96_MAX:
            raise UsageError("the price is too large")
        number = await self._currencies.number(price.currency)
        data = encode_call("TrackEditions", "createEdition", track, cap, price.value, number)
        shown = format_amount(price.value, price.currency)
        summary = f"Make an edition of {cap} of “{title}”, {shown} each; the number can never grow"
        key = f"edition.create:{track.hex()}:{cap}:{price.value}:{number}"
        return Draft(self._reader.contracts.editions, data, 0, "edition.create", summary, key)

    async def mint(self, number: int, *, to: Account, count: int, title: str) -> Draft:
        """Return the transaction with which the owner gives pieces away."""
        await self._check_left(number, count)
        data = encode_call("TrackEditions", "mint", number, bytes(to), count)
        summary = f"Give {count} of edition {number} (“{title}”) to {account_text(to)}"
        key = f"edition.mint:{number}:{to.hex()}:{count}"
        return Draft(self._reader.contracts.editions, data, 0, "edition.mint", summary, key)

    async def buy(
        self, number: int, *, count: int, to: Account, payer: Account, title: str
    ) -> tuple[Draft, ...]:
        """Return the transactions that buy pieces."""
        edition = await self._check_left(number, count)
        if not edition.is_open:
            raise NotFoundError(f"edition {number} is not sold now")
        price = Amount(edition.price.value * count, edition.price.currency)
        shown = format_amount(price.value, price.currency)
        data = encode_call("TrackEditions", "buy", number, count, bytes(to), price.value)
        whom = "" if to == payer else f" for {account_text(to)}"
        summary = f"Buy {count} of edition {number} (“{title}”){whom}: {shown}"
        coin = price.value if price.currency.token is None else 0
        key = f"edition.buy:{number}:{to.hex()}:{count}"
        editions = self._reader.contracts.editions
        draft = Draft(editions, data, coin, "edition.buy", summary, key, (price,))
        if price.currency.token is None:
            return (draft,)
        return (*await self._buying.allowance(price, payer, editions), draft)

    async def _check_left(self, number: int, count: int) -> Edition:
        edition = await self.get(number)
        left = edition.cap - edition.minted
        if not 1 <= count <= left:
            raise UsageError(
                f"{left} of {edition.cap} are left of edition {number}: ask for 1 to {left}"
                if left
                else f"edition {number} is sold out"
            )
        return edition
