"""Reads the parameters of JSON-RPC calls: everything is checked, nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chain.dev.faults import INVALID_PARAMS, RpcFault

DATA_BYTES_MAX = 512 << 10
"""More than any transaction may carry, and half a request."""
TAGS = ("latest", "safe", "finalized", "pending", "earliest")
_QUANTITY = re.compile(r"0x(0|[1-9a-fA-F][0-9a-fA-F]{0,63})")
_DATA = re.compile(r"0x([0-9a-fA-F]{2})*")


@dataclass(frozen=True, slots=True)
class BlockRef:
    """Which block is meant: exactly one of the three is set.

    Attributes:
        tag: one of ``TAGS``.
        number: its height.
        block_hash: its 32-byte hash.
    """

    tag: str | None = None
    number: int | None = None
    block_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class CallFields:
    """The transaction object of ``eth_call`` and ``eth_estimateGas``.

    Attributes:
        sender: 20 bytes; zero if none was given.
        to: 20 bytes, or None to run creation code.
        data: call data or creation code.
        value: base units.
        gas: limit, or None for as much as a transaction may have.
        access_list: (address, slots) pairs.
    """

    sender: bytes
    to: bytes | None
    data: bytes
    value: int
    gas: int | None
    access_list: tuple[tuple[bytes, tuple[int, ...]], ...]


def fault(what: str, problem: str) -> RpcFault:
    """Return the answer to a parameter that cannot be read."""
    return RpcFault(INVALID_PARAMS, f"invalid argument {what}: {problem}")


def arguments(given: object, least: int, most: int) -> list[Any]:
    """Return the positional parameters, filled with None up to ``most``.

    Raises:
        RpcFault: they are no list, or too few or too many.
    """
    found = [] if given is None else given
    if not isinstance(found, list):
        raise RpcFault(INVALID_PARAMS, "params must be a list")
    if len(found) > most:
        raise RpcFault(INVALID_PARAMS, f"too many arguments, want at most {most}")
    if len(found) < least:
        raise RpcFault(INVALID_PARAMS, f"missing value for required argument {len(found)}")
    return found + [None] * (most - len(found))


def quantity(value: object, what: str, most: int = 2**256 - 1) -> int:
    """Return a number from its hex text, ``0x0`` or without leading zeros.

    Raises:
        RpcFault: it is something else, or more than ``most``.
    """
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise fault(what, "a hex number with 0x and without leading zeros is needed")
    number = int(value, 16)
    if number > most:
        raise fault(what, f"at most {most} is allowed")
    return number


def number(value: object, what: str, most: int = 2**256 - 1) -> int:
    """Return a number from hex text or from a JSON number, as development chains accept both."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = hex(value)
    return quantity(value, what, most)


def data(value: object, what: str, size: int | None = None) -> bytes:
    """Return bytes from their hex text.

    Args:
        value: of the request.
        what: the parameter's name.
        size: how many bytes it must be; None for up to ``DATA_BYTES_MAX``.

    Raises:
        RpcFault: no hex text with 0x and an even number of digits, or of another size.
    """
    if not isinstance(value, str) or not _DATA.fullmatch(value):
        raise fault(what, "hex with 0x and an even number of digits is needed")
    found = bytes.fromhex(value[2:])
    if size is not None and len(found) != size:
        raise fault(what, f"{size} bytes are needed, not {len(found)}")
    if len(found) > DATA_BYTES_MAX:
        raise fault(what, f"at most {DATA_BYTES_MAX} bytes are allowed")
    return found


def address(value: object, what: str = "address") -> bytes:
    """Return 20 bytes; the letters' case is not looked at, as in every node."""
    return data(value, what, 20)


def hash32(value: object, what: str = "hash") -> bytes:
    """Return 32 bytes."""
    return data(value, what, 32)


def slot(value: object, what: str = "slot") -> int:
    """Return a storage position, written as a number or as 32 bytes."""
    if isinstance(value, str) and len(value) == 66:
        return int.from_bytes(hash32(value, what))
    return quantity(value, what)


def block(value: object, what: str = "block") -> BlockRef:
    """Return which block a tag, number or EIP-1898 object means; nothing means the latest."""
    if value is None:
        return BlockRef(tag="latest")
    if isinstance(value, dict):
        if (
            set(value) - {"blockNumber", "blockHash", "requireCanonical"}
            or len({"blockNumber", "blockHash"} & set(value)) != 1
        ):
            raise fault(what, "exactly one of blockNumber and blockHash is needed")
        if "blockHash" in value:
            return BlockRef(block_hash=hash32(value["blockHash"], what))
        value = value["blockNumber"]
    if value in TAGS:
        return BlockRef(tag=str(value))
    if isinstance(value, str) and len(value) == 66:
        return BlockRef(block_hash=hash32(value, what))
    return BlockRef(number=quantity(value, what, 2**64 - 1))


def call(value: object) -> CallFields:
    """Return the transaction object of a call; fees and nonce are read over: calls are free.

    Raises:
        RpcFault: it is malformed.
    """
    if not isinstance(value, dict):
        raise fault("0", "a transaction object is needed")
    given = {name: each for name, each in value.items() if each is not None}
    payloads = {data(given[name], name) for name in ("data", "input") if name in given}
    if len(payloads) > 1:
        raise fault("0", "data and input differ")
    return CallFields(
        sender=address(given["from"], "from") if "from" in given else bytes(20),
        to=address(given["to"], "to") if "to" in given else None,
        data=payloads.pop() if payloads else b"",
        value=quantity(given.get("value", "0x0"), "value"),
        gas=quantity(given["gas"], "gas", 2**64 - 1) if "gas" in given else None,
        access_list=_access_list(given.get("accessList", [])),
    )


def _access_list(value: object) -> tuple[tuple[bytes, tuple[int, ...]], ...]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise fault("accessList", "a list of objects is needed")
    return tuple(
        (address(each.get("address"), "accessList"), _slots(each.get("storageKeys", []))) for each in value
    )


def _slots(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise fault("storageKeys", "a list is needed")
    return tuple(int.from_bytes(hash32(each, "storageKeys")) for each in value)


def percentiles(value: object) -> Sequence[float]:
    """Return the reward percentiles of ``eth_feeHistory``: at most 100, rising, of 0 to 100."""
    found = [] if value is None else value
    if not isinstance(found, list) or len(found) > 100:
        raise fault("rewardPercentiles", "a list of at most 100 is needed")
    last = 0.0
    for each in found:
        if isinstance(each, bool) or not isinstance(each, int | float) or not last <= each <= 100:
            raise fault("rewardPercentiles", "rising numbers from 0 to 100 are needed")
        last = each
    return [float(each) for each in found]
