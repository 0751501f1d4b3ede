"""Amounts of money: what people type, and the integer base units that contracts count in.

``0.40ETH``, ``0.5 USDC``, ``3 wei`` and ``400MMT`` are amounts; a comma, an exponent, a sign or more
decimals than the currency has are not, because a guess about money is worse than a question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from marina.errors import UsageError
from marina.ids import Account

UINT96_MAX = 2**96 - 1
"""Largest price of a term or an edition."""
UINT128_MAX = 2**128 - 1
"""Largest sum of one accrual."""
UINT256_MAX = 2**256 - 1
"""Largest number that the EVM knows."""
DECIMALS_MAX = 36
_TEXT_CHARS_MAX = 100
_WEI = "wei"
_GWEI = "gwei"
_GWEI_DECIMALS = 9
_AMOUNT = re.compile(r"([0-9]*)(?:\.([0-9]*))?\s*([A-Za-z][A-Za-z0-9._-]{0,31})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Currency:
    """Something that is paid with.

    Attributes:
        symbol: what people write behind the number.
        decimals: base units are 10**-decimals of one; 18 for most coins, 6 for USDC.
        token: ERC-20 contract; None for the chain's own coin.
    """

    symbol: str
    decimals: int
    token: Account | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.decimals <= DECIMALS_MAX:
            raise ValueError(f"a currency has 0 to {DECIMALS_MAX} decimals, not {self.decimals}")


@dataclass(frozen=True, slots=True)
class Amount:
    """So many base units of a currency."""

    value: int
    currency: Currency

    def __str__(self) -> str:
        return format_amount(self.value, self.currency)


def parse_amount(
    text: str,
    currencies: Sequence[Currency],
    *,
    value_max: int = UINT256_MAX,
    is_zero_allowed: bool = False,
    default: Currency | None = None,
) -> Amount:
    """Return the amount that a person typed.

    Args:
        text: a decimal number, then a symbol in any case; ``wei`` and ``gwei`` name parts of the coin.
        currencies: what may be paid with; the chain's coin is the one without a token.
        value_max: most base units that fit where the amount goes.
        is_zero_allowed: whether nothing is an amount too (a free term).
        default: currency of a number without a symbol; None demands one.

    Raises:
        UsageError: anything but one exact amount; the sentence says what to write instead.
    """
    shown = repr(text[:40])
    match = _AMOUNT.fullmatch(text.strip()) if len(text) <= _TEXT_CHARS_MAX else None
    if match is None or not (match[1] or match[2]):
        raise UsageError(_why_no_amount(text, shown))
    whole, fraction, symbol = match[1] or "0", match[2] or "", match[3]
    currency, decimals = _find_unit(symbol, currencies, default, shown)
    if len(fraction) > decimals:
        unit = symbol or currency.symbol
        raise UsageError(
            f"{shown} has {len(fraction)} decimals, {unit} has {decimals}: round it to {decimals}"
            if decimals
            else f"{shown} is a part of one {unit}, which cannot be divided: give a whole number"
        )
    value = int(whole + fraction.ljust(decimals, "0"))
    if value > value_max:
        raise UsageError(f"{shown} is more than fits here: at most {format_amount(value_max, currency)}")
    if not value and not is_zero_allowed:
        raise UsageError(f"{shown} is nothing: give an amount above zero")
    return Amount(value, currency)


def format_amount(value: int, currency: Currency) -> str:
    """Return the exact decimal text of base units: ``0.4 ETH``, ``400 MMT``; never an exponent."""
    return f"{format_number(value, currency.decimals)} {currency.symbol}"


def format_number(value: int, decimals: int) -> str:
    """Return base units as an exact decimal number without trailing zeros."""
    sign, digits = ("-", str(-value)) if value < 0 else ("", str(value))
    if not decimals:
        return sign + digits
    digits = digits.rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}".rstrip("0").rstrip(".")


def _find_unit(
    symbol: str | None, currencies: Sequence[Currency], default: Currency | None, shown: str
) -> tuple[Currency, int]:
    """Return the currency and how many decimals of the typed unit lie above its base unit."""
    if symbol is None:
        if default is None:
            raise UsageError(f"{shown} names no currency: write it behind the number, {_choices(currencies)}")
        return default, default.decimals
    wanted = symbol.lower()
    found = [each for each in currencies if each.symbol.lower() == wanted]
    if len(found) == 1:
        return found[0], found[0].decimals
    if found:
        raise UsageError(f"{len(found)} currencies are called {symbol}: give the token's address instead")
    coin = next((each for each in currencies if each.token is None), None)
    if coin is not None and wanted == _WEI:
        return coin, 0
    if coin is not None and wanted == _GWEI:
        return coin, _GWEI_DECIMALS
    raise UsageError(f"{symbol!r} cannot be paid with here: use {_choices(currencies)}")


def _choices(currencies: Sequence[Currency]) -> str:
    names = sorted({each.symbol for each in currencies})
    if any(each.token is None for each in currencies):
        names.append(_WEI)
    return ", ".join(names) or "nothing: no currency is known"


def _why_no_amount(text: str, shown: str) -> str:
    bare = text.strip()
    if len(text) > _TEXT_CHARS_MAX:
        return f"{shown} … is too long for an amount"
    if bare.startswith("-"):
        return f"{shown} is negative: give an amount above zero"
    if "," in bare:
        return f"{shown} holds a comma: write a point before the decimals and nothing between thousands"
    if re.match(r"[0-9.]+[eE][+-]?[0-9]", bare):
        return f"{shown} holds an exponent: write all digits"
    return f"{shown} is no amount: write a number and a currency, like 0.5 ETH"
