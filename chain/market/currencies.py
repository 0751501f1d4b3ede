"""What can be paid with on a chain: its own coin, MMT, and the tokens that the DAO lets in."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

from chain.amount import Currency
from chain.contracts import ZERO
from chain.errors import RevertedError
from chain.profiles import ChainProfile
from chain.reader import ContractReader
from marina.errors import MarinaError, NetworkError, NotFoundError, UsageError
from marina.ids import Account

log = logging.getLogger("marina.chain")

NATIVE = 0
_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,15}", re.ASCII)
_DECIMALS_MAX = 36
_TOKENS_MAX = 256
_UNITS = ("wei", "gwei")
"""Parts of the coin, as amounts are typed."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A currency that prices may be in.

    Attributes:
        index: its number in the ledger; 0 is the chain's coin.
        currency: how it is written and counted.
        is_allowed: whether new prices may be in it.
    """

    index: int
    currency: Currency
    is_allowed: bool


class Currencies:
    """Reads the currencies of one chain; what a token says of itself is read once."""

    def __init__(
        self,
        *,
        reader: ContractReader,
        profile: ChainProfile,
        on_known: Callable[[tuple[Currency, ...]], None] = lambda _: None,
    ) -> None:
        """Read nothing yet.

        Args:
            reader: of the chain.
            profile: names its coin.
            on_known: told every known currency whenever there is one more.
        """
        self._reader = reader
        self._on_known = on_known
        self.coin = Currency(profile.symbol, 18)
        self.mmt = Currency("MMT", 18, reader.contracts.token)
        self._known: dict[Account, Currency] = {reader.contracts.token: self.mmt}

    async def listed(self) -> tuple[Listed, ...]:
        """Return what prices may be in, by number."""
        count = min(int(await self._reader.read("MusicLicensing", "tokenCount")), _TOKENS_MAX)
        found = [Listed(NATIVE, self.coin, True)]
        for index in range(1, count):
            token, is_allowed = await self._reader.read("MusicLicensing", "tokens", index)
            try:
                found.append(Listed(index, await self.of(token), bool(is_allowed)))
            except NotFoundError as err:  # one odd token must not hide the others
                log.info("a token is left out: %s", err)
        return tuple(found)

    async def all(self) -> tuple[Currency, ...]:
        """Return everything that an amount can be written in: the listed currencies and MMT."""
        return tuple(dict.fromkeys([*(each.currency for each in await self.listed()), self.mmt]))

    async def of(self, token: Account) -> Currency:
        """Return the currency of a token's address; zero is the coin."""
        if token == ZERO:
            return self.coin
        if token not in self._known:
            self._known[token] = await self._read(token)
            self._on_known((self.coin, *self._known.values()))
        return self._known[token]

    async def at(self, index: int) -> Currency:
        """Return the currency with a number; NotFoundError if there is none."""
        if index == NATIVE:
            return self.coin
        try:
            token, _ = await self._reader.read("MusicLicensing", "tokens", index)
        except RevertedError as err:
            raise NotFoundError(f"no token has the number {index}") from err
        return await self.of(token)

    async def number(self, currency: Currency) -> int:
        """Return the number of a currency that new prices may be in.

        Raises:
            UsageError: the DAO does not let prices be in it.
        """
        for each in await self.listed():
            if each.currency.token == currency.token and each.is_allowed:
                return each.index
        names = ", ".join(each.currency.symbol for each in await self.listed() if each.is_allowed)
        raise UsageError(f"prices cannot be in {currency.symbol}: use {names}, or ask the DAO to let it in")

    def known(self) -> dict[Account, Currency]:
        """Return the tokens that were read so far, by address."""
        return dict(self._known)

    async def balance(self, currency: Currency, account: Account) -> int:
        """Return the base units of a token that an account holds; for the coin ask the gateway."""
        assert currency.token is not None
        return int(await self._reader.read_at(currency.token, "MarinaToken", "balanceOf", bytes(account)))

    async def _read(self, token: Account) -> Currency:
        try:
            symbol = str(await self._reader.read_at(token, "MarinaToken", "symbol"))
            decimals = int(await self._reader.read_at(token, "MarinaToken", "decimals"))
        except NetworkError:
            raise
        except (MarinaError, ValueError) as err:
            raise NotFoundError(f"0x{token.hex()} is no ERC-20 token with a symbol and decimals") from err
        taken = {each.symbol.lower() for each in self._known.values()} | {self.coin.symbol.lower(), *_UNITS}
        if not 0 <= decimals <= _DECIMALS_MAX:
            raise NotFoundError(f"0x{token.hex()} counts in {decimals} decimals: nothing can be priced in it")
        if not _SYMBOL.fullmatch(symbol) or symbol.lower() in taken:
            # A token that calls itself like another is named by its address, so that nobody pays with it by
            # mistake.
            symbol = f"T{token.hex()[:8]}"
        return Currency(symbol, decimals, token)
