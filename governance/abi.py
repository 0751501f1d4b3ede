"""Call data and answers of our contracts in Marina's own types: addresses as 20 bytes, lists as tuples."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from chain.artifacts import artifact, decode_call, decode_result, encode_call, selector
from governance.calls import Call
from governance.glossary import DecodedCall
from marina.errors import MalformedError

_WEI = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)


def decode(call: Call, contract: str) -> DecodedCall | None:
    """Return a call explained by a contract's interface; None if it is none of its functions."""
    try:
        entry, args = decode_call(contract, call.data)
    except (KeyError, MalformedError):
        return None
    return DecodedCall(call, contract, entry["name"], tuple(_plain(entry["inputs"], args)), entry)


def is_canonical(decoded: DecodedCall) -> bool:
    """Return whether the call data are exactly what a compiler would have written for the arguments."""
    try:
        return encode_call(decoded.contract, decoded.function, *decoded.args) == decoded.call.data
    except ValueError:
        return False


def encode_view(contract: str, function: str, *args: object) -> bytes:
    """Return the call data of a view; without arguments also of one whose name has overloads."""
    if args:
        return encode_call(contract, function, *args)
    return selector(artifact(contract).function(function, 0))


def decode_answer(contract: str, function: str, data: bytes, *, count: int) -> tuple[Any, ...]:
    """Return what a view with ``count`` arguments answered; MalformedError if the data are not its answer."""
    outputs = artifact(contract).function(function, count)["outputs"]
    return tuple(_plain(outputs, decode_result(contract, function, data, count)))


def parse_wei(value: object) -> int:
    """Return an amount of coins in JSON-RPC's form, up to 256 bits; MalformedError for anything else."""
    if not isinstance(value, str) or not _WEI.fullmatch(value):
        raise MalformedError("the endpoint answered a balance that is no number")
    return int(value, 16)


def _plain(parameters: Sequence[dict[str, Any]], values: Sequence[Any]) -> Iterator[Any]:
    """Yield values with addresses as bytes, by their types: text may look like an address."""
    for each, value in zip(parameters, values, strict=True):
        yield _plain_one(each, value)


def _plain_one(parameter: dict[str, Any], value: Any) -> Any:
    kind: str = parameter["type"]
    if kind.endswith("]"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return tuple(_plain_one(inner, each) for each in value)
    if kind == "tuple":
        return tuple(_plain(parameter["components"], value))
    return bytes.fromhex(value[2:]) if kind == "address" else value
