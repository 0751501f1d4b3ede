"""State overrides of ``eth_call``: accounts as they are not, for the time of one call.

The form is go-ethereum's: for each account ``balance``, ``nonce``, ``code``, and its storage either replaced
as a whole (``state``) or in single slots (``stateDiff``). Proposals are tried this way before the vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chain.dev import params

if TYPE_CHECKING:
    from eth.abc import StateAPI

ACCOUNTS_MAX = 64
SLOTS_MAX = 1024
"""Most storage slots of one call, over all its accounts."""
_FIELDS = frozenset({"balance", "nonce", "code", "state", "stateDiff"})


@dataclass(frozen=True, slots=True)
class AccountOverride:
    """One account as the call shall see it; None leaves a part as it is.

    Attributes:
        account: 20 bytes.
        balance: base units.
        nonce: next nonce.
        code: runtime code.
        is_cleared: whether the storage is empty but for ``slots``.
        slots: storage values by position.
    """

    account: bytes
    balance: int | None
    nonce: int | None
    code: bytes | None
    is_cleared: bool
    slots: tuple[tuple[int, int], ...]


def read_overrides(value: object) -> tuple[AccountOverride, ...]:
    """Return the overrides that a parameter holds; nothing and an empty object are none.

    Raises:
        RpcFault: it is malformed, too large, or asks for what this chain does not do.
    """
    if value is None:
        return ()
    if not isinstance(value, dict) or len(value) > ACCOUNTS_MAX:
        raise params.fault("2", f"an object of at most {ACCOUNTS_MAX} accounts is needed")
    found = tuple(_read_one(account, each) for account, each in value.items())
    if sum(len(each.slots) for each in found) > SLOTS_MAX:
        raise params.fault("2", f"at most {SLOTS_MAX} storage slots can be replaced")
    return found


def apply_overrides(state: StateAPI, overrides: Sequence[AccountOverride]) -> None:
    """Change a state that nobody else sees."""
    for each in overrides:
        if each.balance is not None:
            state.set_balance(each.account, each.balance)
        if each.nonce is not None:
            state.set_nonce(each.account, each.nonce)
        if each.code is not None:
            state.set_code(each.account, each.code)
        if each.is_cleared:
            state.delete_storage(each.account)
        for slot, value in each.slots:
            state.set_storage(each.account, slot, value)


def _read_one(account: object, value: object) -> AccountOverride:
    if not isinstance(value, dict) or set(value) - _FIELDS:
        raise params.fault("2", f"an account may have {', '.join(sorted(_FIELDS))} and nothing else")
    given = {name: each for name, each in value.items() if each is not None}
    if "state" in given and "stateDiff" in given:
        raise params.fault("2", "an account has both state and stateDiff")
    return AccountOverride(
        account=params.address(account, "2"),
        balance=params.quantity(given["balance"], "balance") if "balance" in given else None,
        nonce=params.quantity(given["nonce"], "nonce", 2**64 - 1) if "nonce" in given else None,
        code=params.data(given["code"], "code") if "code" in given else None,
        is_cleared="state" in given,
        slots=_read_slots(given.get("state", given.get("stateDiff", {}))),
    )


def _read_slots(value: object) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, dict) or len(value) > SLOTS_MAX:
        raise params.fault("2", f"storage is an object of at most {SLOTS_MAX} slots")
    return tuple(
        (int.from_bytes(params.hash32(slot, "slot")), int.from_bytes(params.hash32(each, "value")))
        for slot, each in value.items()
    )
