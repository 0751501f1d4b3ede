"""What the words about a proposal may use, and the lines that come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chain.amount import Currency, format_amount
from chain.contracts import ContractSet
from governance.calls import Call
from governance.parameters import Value
from governance.text import clean_line
from governance.units import MMT_DECIMALS
from governance.values import format_account
from marina.ids import Account, account_text

_NAME_CHARS_MAX = 60


@dataclass(frozen=True, slots=True)
class Line:
    """One call in words.

    Attributes:
        text: one sentence, safe to print.
        warnings: what the voter should think about first.
        inner: the calls that this one makes, if it carries calls.
        call: the call itself.
        is_understood: whether the words say what it does; else it is shown raw.
    """

    text: str
    call: Call
    warnings: tuple[str, ...] = ()
    inner: tuple[Line, ...] = ()
    is_understood: bool = True

    def all_warnings(self) -> tuple[str, ...]:
        """Return its warnings and those of the calls within."""
        return self.warnings + tuple(text for line in self.inner for text in line.all_warnings())


@dataclass(frozen=True, slots=True)
class Glossary:
    """What the words may use.

    Attributes:
        contracts: of this chain.
        coin: the chain's own coin.
        tokens: ERC-20 tokens whose symbol and decimals are known and trusted.
        current: parameter values now, by key; words then say what they replace.
        names: what the reader calls some accounts.
    """

    contracts: ContractSet
    coin: Currency
    tokens: Mapping[Account, Currency] = field(default_factory=dict)
    current: Mapping[str, Value] = field(default_factory=dict)
    names: Mapping[Account, str] = field(default_factory=dict)

    def currency(self, token: Account) -> Currency | None:
        """Return what is known of a token."""
        if token == self.contracts.token:
            return Currency("MMT", MMT_DECIMALS, token)
        return self.tokens.get(token)

    def account(self, account: bytes) -> str:
        """Return an account as people know it."""
        who = Account(bytes(account))
        if who == self.contracts.timelock:
            return "the treasury"
        name = self.contracts.name_of(who) or self.names.get(who)
        return (
            f"{clean_line(name, chars_max=_NAME_CHARS_MAX)} ({account_text(who)})"
            if name
            else format_account(who)
        )

    def amount(self, token: Account, units: int) -> str:
        """Return base units of a token in words."""
        currency = self.currency(token)
        if currency is not None:
            return format_amount(units, currency)
        return f"{units} base units of the token {account_text(token)}"

    def symbol(self, token: Account) -> str:
        """Return what a token is called; the zero account stands for the chain's coin."""
        if not any(token):
            return self.coin.symbol
        currency = self.currency(token)
        return currency.symbol if currency is not None else f"token {account_text(token)}"

    def contract_of(self, target: Account) -> str | None:
        """Return the name of the artifact that explains a target's calls."""
        known = self.contracts.name_of(target)
        if known is None and target in self.tokens:
            return "MarinaToken"  # the ERC-20 functions are the same; others stay raw
        return known


@dataclass(frozen=True, slots=True)
class DecodedCall:
    """A call whose function and arguments are known.

    Attributes:
        call: as it was proposed.
        contract: name of the artifact that explains it.
        function: bare name.
        args: addresses as 20 bytes, structs and lists as tuples.
        entry: the function's ABI.
    """

    call: Call
    contract: str
    function: str
    args: tuple[Any, ...]
    entry: dict[str, Any]
