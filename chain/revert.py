"""Why a contract refused, in words: ``Error(string)``, ``Panic(uint256)`` and our contracts' own errors."""

from __future__ import annotations

from functools import cache
from typing import Any

from chain.artifacts import NAMES, abi_type, artifact, selector
from chain.endpoint import clean
from chain.errors import RevertedError, RpcError

_ERROR = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")
_DATA_BYTES_MAX = 4096
_PANICS = {
    0x01: "an assertion failed",
    0x11: "a number is too large or too small",
    0x12: "a division by zero",
    0x32: "an item that does not exist",
}
_WORDS = {
    "NotForSale": "it is not for sale: not registered, taken off sale, or blocked by the DAO",
    "UnknownTerm": "there is no such offer any more: look again with 'marina terms'",
    "NoLicence": "there is no such licence, or it has ended",
    "AlreadyLicensed": "the licence has no end already: nothing to buy",
    "PriceAboveMaximum": "it costs {price}, more than the {maxPrice} that were agreed to",
    "WrongPayment": "{sent} were sent and {wanted} are wanted",
    "ShortPayment": "the token delivered {received} of {wanted}",
    "Paused": "new purchases are paused until {until} (Unix time)",
    "AlreadyRegistered": "it is registered already",
    "UnknownId": "nothing is registered under this id",
    "NotAllowed": "{caller} may not do this: only the owner of the track or release may, or the DAO",
    "InvalidSplits": "the splits must name 1 to 32 different accounts and add up to 100 %",
    "WrongSplits": "these are not the splits under which the money was earned",
    "StaleEpoch": "a newer keybox (epoch {current}) is in force",
    "TokenNotAllowed": "this token is not on the DAO's list",
    "PaymentRefused": "{account} refuses the payment; it stays owed",
    "SoldOut": "only {left} are left",
    "UnknownEdition": "there is no such edition, or it is not sold",
    "BondTooSmall": "the bond is {bond} and at least {minBond} is asked for",
    "BondLocked": "the bond is locked until {unlocksAt} (Unix time)",
    "ERC20InsufficientBalance": "the account holds {balance} of the {needed} tokens needed",
    "ERC20InsufficientAllowance": "only {allowance} of {needed} tokens are allowed to be taken",
    "GovernorInsufficientProposerVotes": "the proposer has {votes} votes and needs {threshold}",
    "GovernorUnexpectedProposalState": "the proposal is not in the state that this needs",
    "GovernorAlreadyCastVote": "{voter} has voted already",
    "MintCapExceeded": "{asked} are more than the {left} that may still be minted this year",
    "TimelockUnexpectedOperationState": "the waiting time of the timelock is not over",
}


@cache
def _errors() -> dict[bytes, dict[str, Any]]:
    return {selector(each): each for name in NAMES for each in artifact(name).abi if each["type"] == "error"}


def reverted(err: RpcError) -> RevertedError:
    """Return the refusal that an endpoint reported, in words."""
    data = (err.data or b"")[:_DATA_BYTES_MAX]
    if len(data) < 4:
        words = clean(err.message).removeprefix("execution reverted").strip(" :")
        return RevertedError(f"the contract refused: {words or 'it gave no reason'}")
    return _decoded(data[:4], data[4:])


def is_revert(err: RpcError) -> bool:
    """Return whether a contract refused, and not the endpoint."""
    return err.rpc_code == 3 or err.data is not None or "revert" in err.message.lower()


def _decoded(head: bytes, body: bytes) -> RevertedError:
    from eth_abi import decode
    from eth_abi.exceptions import DecodingError

    entry = _errors().get(head)
    try:
        if head == _ERROR:
            (text,) = decode(["string"], body)
            return RevertedError(f"the contract refused: {clean(text)}", name="Error", args=(text,))
        if head == _PANIC:
            (number,) = decode(["uint256"], body)
            why = _PANICS.get(number, f"fault {number:#x}")
            return RevertedError(f"the contract refused: {why}", name="Panic", args=(number,))
        if entry is None:
            return RevertedError(f"the contract refused with an error of its own (0x{head.hex()})")
        arguments = decode([abi_type(each) for each in entry["inputs"]], body)
    except (DecodingError, OverflowError, UnicodeDecodeError):
        return RevertedError("the contract refused with an error that cannot be read")
    named = {each["name"]: _shown(value) for each, value in zip(entry["inputs"], arguments, strict=True)}
    words = _WORDS.get(entry["name"])
    if words is None:
        listed = ", ".join(f"{key} {value}" for key, value in named.items())
        words = f"{entry['name']}({listed})"
    return RevertedError(
        f"the contract refused: {words.format_map(named)}", name=entry["name"], args=arguments
    )


def _shown(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else clean(str(value))
