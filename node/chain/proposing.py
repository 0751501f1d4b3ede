"""From what a member typed to the calls of a proposal, and the texts that proposals name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chain.amount import Currency, parse_amount
from marina.cid import Cid, parse_cid
from marina.errors import MalformedError, UsageError
from marina.ids import Account

if TYPE_CHECKING:
    from collections.abc import Callable

    from chain.contracts import ContractSet
    from governance.calls import Call

CALLS_MAX = 16
"""Of one kind in one request; the governor allows more, a voter does not read more."""
_NOBODY = Account(bytes(20))
_PREFIX = re.compile("^(?:marina|track|music)")


def contract_name(typed: str, contracts: ContractSet) -> str:
    """Return the contract that a person means: ``MusicLicensing`` or just ``licensing``.

    Raises:
        UsageError: there is none of this name.
    """
    names = {name.lower(): name for name in contracts.named()}
    for word, name in list(names.items()):
        names.setdefault(_PREFIX.sub("", word), name)
    found = names.get(typed.strip().lower())
    if found is None:
        known = ", ".join(dict.fromkeys(names.values()))
        raise UsageError(f"{typed[:40]!r} is no contract of Marina: choose {known}")
    return found


def parse_payment(
    text: str, currencies: Sequence[Currency], contracts: ContractSet, account_of: Callable[[str], Account]
) -> Call:
    """Return the call of a payment that a person wrote: ``400MMT=0x…``.

    Args:
        text: amount and receiver.
        currencies: that amounts may be in.
        contracts: of the chain.
        account_of: an address, or the name of an account of this node.

    Raises:
        UsageError: it is no payment, or nothing or nobody would be paid.
    """
    from governance.treasury import grant

    amount, equals, to = text.partition("=")
    if not equals or not amount.strip() or not to.strip():
        raise UsageError(f"{text[:60]!r} is no payment: write AMOUNT=ACCOUNT, like 400MMT=0x…")
    return grant(account_of(to.strip()), parse_amount(amount.strip(), currencies), contracts)


def parse_raw_call(words: object, contracts: ContractSet) -> Call:
    """Return any call of one of Marina's contracts, as words: contract, function, arguments.

    Raises:
        UsageError: there is no such contract or function, or the arguments do not fit it.
    """
    from chain.artifacts import artifact
    from chain.calls import parse_call
    from governance.calls import Call

    if (
        not isinstance(words, Sequence)
        or isinstance(words, str)
        or len(words) < 2
        or not all(isinstance(word, str) for word in words)
    ):
        raise UsageError("a call is a list of words: contract, function, arguments")
    typed, function, *arguments = words
    name = contract_name(typed, contracts)
    place = contracts.named()[name]
    call = parse_call(place, list(artifact(name).abi), function, arguments)
    if call.is_view:
        raise UsageError(f"{call.signature} only reads: a proposal of it would change nothing")
    return Call(place, 0, call.message(_NOBODY).data)


def parse_calls(
    *,
    changes: Sequence[str],
    payments: Sequence[str],
    raw: object,
    currencies: Sequence[Currency],
    contracts: ContractSet,
    account_of: Callable[[str], Account],
) -> list[Call]:
    """Return the calls of a proposal in this order: changes, payments, others.

    Raises:
        UsageError: something of it cannot be understood, or is out of its bounds.
    """
    from governance.parameters import parse_change

    if raw is None:
        raw = []
    if not isinstance(raw, list) or len(raw) > CALLS_MAX:
        raise UsageError(f"'calls' must be a list of at most {CALLS_MAX} calls")
    return [
        *(parse_change(each, contracts) for each in changes),
        *(parse_payment(each, currencies, contracts, account_of) for each in payments),
        *(parse_raw_call(each, contracts) for each in raw),
    ]


def text_of(text: str | None, typed_cid: str | None) -> tuple[Cid | None, bytes | None]:
    """Return the CID of a proposal's full text, and its block if the text itself was given.

    Raises:
        UsageError: both were given, the text is too long, or the CID is none.
    """
    from governance.description import text_block

    if text is not None and typed_cid is not None:
        raise UsageError("give the text or its CID, not both")
    if text is not None:
        return text_block(text)
    if typed_cid is None:
        return None, None
    try:
        return parse_cid(typed_cid), None
    except MalformedError as err:
        raise UsageError(str(err)) from err
