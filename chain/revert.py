"""Why a contract refused, in words: ``Error(string)``, ``Panic(uint256)`` and our contracts' own errors."""

from __future__ import annotations

from functools import cache
from typing import Any

from chain.artifacts import NAMES, abi_type, artifact, selector
from chain.endpoint import clean
from chain.errors import RevertedError, RpcError
from chain.revert_words import WORDS

_ERROR = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")
_DATA_BYTES_MAX = 4096
_PANICS = {
    0x01: "an assertion failed",
    0x11: "a number is too large or too small",
    0x12: "a division by zero",
    0x32: "an item that does not exist",
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
    words = WORDS.get(entry["name"], entry["name"]).format_map(named)
    return RevertedError(f"the contract refused: {words}", name=entry["name"], args=arguments)


def _shown(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else clean(str(value))
