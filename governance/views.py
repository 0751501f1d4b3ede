"""What is read before and after a trial: everything that the DAO governs, and what the calls touch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chain.amount import format_amount
from governance import runner
from governance.abi import decode, decode_answer, encode_view
from governance.calls import Call
from governance.glossary import DecodedCall, Glossary
from governance.parameters import PARAMETERS
from governance.phrases import ROLE_WORDS
from governance.runner import Answer
from governance.values import NOBODY, format_thing, format_yes_no
from marina.errors import MalformedError
from marina.ids import Account

VIEWS_MAX = 128
"""Most values read for one trial, each before and after; hostile proposals may touch more."""
TOKENS_READ = 32
"""Payment tokens read when the calls change one; the contract gives them numbers from 1."""
_BLOCKED = 7
"""Place of ``blocked`` in what ``TrackRegistry.record`` answers."""
_PAYMENTS = frozenset({"transfer", "transferFrom", "mint"})
_UNREADABLE = "(cannot be read)"


@dataclass(frozen=True, slots=True)
class View:
    """One value that is read.

    Attributes:
        title: what it is.
        call: reads it.
        show: the answer in words; raises MalformedError if it is none.
        absent: words for a view that refuses.
    """

    title: str
    call: Call
    show: Callable[[bytes], str]
    absent: str = _UNREADABLE

    def shown(self, answer: Answer) -> str:
        """Return what a call answered in words, also when it failed."""
        if not answer.is_done:
            return self.absent
        try:
            return self.show(answer.data)
        except MalformedError:
            return _UNREADABLE


def views_for(calls: Sequence[Call], glossary: Glossary) -> tuple[View, ...]:
    """Return what to read around a trial of these calls, each thing once, at most 128."""
    contracts = glossary.contracts
    views = [
        _view(each.title, each.contract, each.getter, (), each.unit.format, glossary) for each in PARAMETERS
    ]
    tokens = [contracts.token, *(each for each in glossary.tokens if each != contracts.token)]
    views.append(_coins(contracts.timelock, glossary))
    views += [_balance(token, contracts.timelock, glossary) for token in tokens]
    views.append(
        _view(
            "all MMT there is", "MarinaToken", "totalSupply", (), _amount(contracts.token, glossary), glossary
        )
    )
    for call in calls:
        views += _touched(call, glossary)
    once = {view.title: view for view in views}
    return tuple(once.values())[:VIEWS_MAX]


def _touched(call: Call, glossary: Glossary) -> list[View]:
    """Return what one call changes beyond the parameters, as far as it can be told."""
    found = [_coins(call.target, glossary)] if call.value else []
    contract = glossary.contract_of(call.target)
    decoded = decode(call, contract) if contract is not None else None
    if decoded is None:
        return found
    if decoded.contract == "MarinaToken" and decoded.function in _PAYMENTS:
        receiver = Account(decoded.args[-2])
        return [*found, _balance(call.target, receiver, glossary)]
    if decoded.contract == "TimelockController" and decoded.function in {"grantRole", "revokeRole"}:
        return [*found, _role(decoded, glossary)]
    if (decoded.contract, decoded.function) == ("TrackRegistry", "setBlocked"):
        thing = decoded.args[0]
        title = f"new sales are stopped of {format_thing(thing)}"
        return [*found, _view(title, "TrackRegistry", "record", (thing,), format_yes_no, glossary, _BLOCKED)]
    if (decoded.contract, decoded.function) == ("MusicLicensing", "setToken"):
        return [*found, *(_payment_token(index, glossary) for index in range(1, TOKENS_READ + 1))]
    return found


def _payment_token(index: int, glossary: Glossary) -> View:
    def show(data: bytes) -> str:
        token, is_allowed = decode_answer("MusicLicensing", "tokens", data, count=1)
        if token == NOBODY:
            return "none"
        return f"{glossary.account(token)}, {'allowed' if is_allowed else 'refused'}"

    call = Call(glossary.contracts.licensing, 0, encode_view("MusicLicensing", "tokens", index))
    return View(f"token {index} that licences are sold for", call, show, "none")


def _role(decoded: DecodedCall, glossary: Glossary) -> View:
    role, who = decoded.args[:2]
    power = ROLE_WORDS.get(role, f"use the role 0x{role.hex()} of")
    title = f"may {glossary.account(who)} {power} the timelock"
    return _view(title, "TimelockController", "hasRole", (role, who), format_yes_no, glossary)


def _view(
    title: str,
    contract: str,
    getter: str,
    args: tuple[object, ...],
    show: Callable[[Any], str],
    glossary: Glossary,
    place: int = 0,
) -> View:
    call = Call(glossary.contracts.named()[contract], 0, encode_view(contract, getter, *args))
    return View(title, call, lambda data: show(decode_answer(contract, getter, data, count=len(args))[place]))


def _coins(account: Account, glossary: Glossary) -> View:
    title = f"{glossary.coin.symbol} of {glossary.account(account)}"
    return View(
        title, runner.balance_call(account), lambda data: format_amount(int.from_bytes(data), glossary.coin)
    )


def _balance(token: Account, account: Account, glossary: Glossary) -> View:
    call = Call(token, 0, encode_view("MarinaToken", "balanceOf", bytes(account)))
    show = _amount(token, glossary)
    title = f"{glossary.symbol(token)} of {glossary.account(account)}"
    return View(title, call, lambda data: show(decode_answer("MarinaToken", "balanceOf", data, count=1)[0]))


def _amount(token: Account, glossary: Glossary) -> Callable[[int], str]:
    return lambda units: glossary.amount(token, units)
