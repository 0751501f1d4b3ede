"""The compiled contracts that ship with Marina: interface, creation code and runtime code.

The files under ``contracts/artifacts`` are made by ``contracts/tools/compile.mjs`` and checked by
recompiling them byte for byte; users need neither node nor a compiler.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from eth_hash.auto import keccak

from marina.errors import MalformedError

NAMES = (
    "TimelockController",
    "MarinaToken",
    "MarinaGovernor",
    "TrackRegistry",
    "MusicLicensing",
    "TrackEditions",
    "GuardianRegistry",
)
"""Every contract of the set, in the order of its deployment."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract.

    Attributes:
        name: the contract's name.
        abi: its interface as solc writes it.
        bytecode: creation code, without constructor arguments.
        deployed: runtime code, zero where immutable values go.
        immutables: (start, length) in bytes of every place of an immutable value.
    """

    name: str
    abi: tuple[dict[str, Any], ...]
    bytecode: bytes
    deployed: bytes
    immutables: tuple[tuple[int, int], ...]

    def functions(self) -> dict[bytes, dict[str, Any]]:
        """Return every function's ABI entry by its 4-byte selector."""
        return {selector(each): each for each in self.abi if each["type"] == "function"}

    def function(self, name: str, count: int | None = None) -> dict[str, Any]:
        """Return the ABI entry of a function.

        Args:
            name: the bare name.
            count: number of arguments, where several functions share the name.

        Raises:
            KeyError: there is none, or there are several.
        """
        found = [
            each
            for each in self.abi
            if each["type"] == "function"
            and each["name"] == name
            and (count is None or len(each["inputs"]) == count)
        ]
        if len(found) != 1:
            raise KeyError(f"{self.name} has {len(found)} functions {name}")
        return found[0]

    def masked(self, code: bytes) -> bytes:
        """Return runtime code with every immutable value zeroed, as in ``deployed``."""
        plain = bytearray(code)
        for start, length in self.immutables:
            plain[start : start + length] = bytes(length)
        return bytes(plain)


@cache
def artifact(name: str) -> Artifact:
    """Return a contract of the set; KeyError for any other name."""
    if name not in NAMES:
        raise KeyError(f"Marina has no contract {name!r}")
    raw = json.loads((files("contracts") / "artifacts" / f"{name}.json").read_text("utf-8"))
    places = [place for each in raw["immutableReferences"].values() for place in each]
    return Artifact(
        name,
        tuple(raw["abi"]),
        bytes.fromhex(raw["bytecode"].removeprefix("0x")),
        bytes.fromhex(raw["deployedBytecode"].removeprefix("0x")),
        tuple((place["start"], place["length"]) for place in places),
    )


def abi_type(parameter: dict[str, Any]) -> str:
    """Return a parameter's canonical type, tuples written out: ``(address,uint16)[]``."""
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(abi_type(each) for each in parameter["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


def signature(entry: dict[str, Any]) -> str:
    """Return ``name(type,…)`` of a function, event or error."""
    return f"{entry['name']}({','.join(abi_type(each) for each in entry['inputs'])})"


def selector(entry: dict[str, Any]) -> bytes:
    """Return the 4 bytes that name a function or an error."""
    return bytes(keccak(signature(entry).encode())[:4])


def topic(entry: dict[str, Any]) -> bytes:
    """Return the 32 bytes that name an event."""
    return bytes(keccak(signature(entry).encode()))


@cache
def web3_contract(name: str) -> Any:
    """Return web3's contract class of one of our contracts, without a provider: it encodes."""
    from web3 import Web3
    from web3.providers.base import BaseProvider

    made = artifact(name)
    # Without a provider of its own web3 would ask whatever answers on this machine's port 8545.
    web3 = Web3(BaseProvider())
    web3.ens = None  # a name is no address here: chain.names resolves those
    return web3.eth.contract(abi=list(made.abi), bytecode=made.bytecode)


def encode_call(name: str, function: str, *args: object) -> bytes:
    """Return the call data of a function of one of our contracts.

    Args:
        name: the contract.
        function: its bare name; the arguments choose among several.
        args: addresses as 20 bytes, structs as tuples.

    Raises:
        ValueError: no such function takes such arguments.
    """
    from web3.exceptions import Web3Exception

    try:
        text: str = web3_contract(name).encode_abi(function, args=list(args))
    except (Web3Exception, AttributeError, TypeError) as err:
        raise ValueError(f"{name}.{function} does not take these arguments") from err
    return bytes.fromhex(text.removeprefix("0x"))


def encode_creation(name: str, *args: object) -> bytes:
    """Return what a transaction carries that creates one of our contracts; ValueError as above."""
    from web3.exceptions import Web3Exception

    try:
        text: str = web3_contract(name).constructor(*args).data_in_transaction
    except (Web3Exception, AttributeError, TypeError) as err:
        raise ValueError(f"the constructor of {name} does not take these arguments") from err
    return bytes.fromhex(text.removeprefix("0x"))


def decode_call(name: str, data: bytes) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Return the function's ABI entry and the arguments that call data of one of our contracts hold.

    Raises:
        KeyError: the contract has no such function.
        MalformedError: the arguments are not the function's.
    """
    from eth_abi import decode
    from eth_abi.exceptions import DecodingError

    entry = artifact(name).functions()[data[:4]]
    try:
        return entry, tuple(decode([abi_type(each) for each in entry["inputs"]], data[4:]))
    except (DecodingError, OverflowError, UnicodeDecodeError) as err:
        raise MalformedError(f"the call data do not fit {signature(entry)}") from err


def decode_result(name: str, function: str, data: bytes, count: int | None = None) -> tuple[Any, ...]:
    """Return what a function of one of our contracts answered.

    Raises:
        KeyError: there is no such function.
        MalformedError: the data are not its answer.
    """
    from eth_abi import decode
    from eth_abi.exceptions import DecodingError

    entry = artifact(name).function(function, count)
    try:
        return tuple(decode([abi_type(each) for each in entry["outputs"]], data))
    except (DecodingError, OverflowError, UnicodeDecodeError) as err:
        raise MalformedError(f"the answer is not one of {name}.{function}") from err
