"""Any function of any contract, typed by a person: its arguments read by the ABI, its answer written out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chain.artifacts import abi_type, artifact, selector, signature
from chain.gateway import Message
from marina.errors import MalformedError, UsageError
from marina.ids import Account, account_text, parse_account, parse_release, parse_track
from marina.jsontext import load_json

ARGUMENTS_MAX = 64
ABI_BYTES_MAX = 512 << 10
ANSWER_BYTES_MAX = 64 << 10
_SHOWN_CHARS_MAX = 2000
_VIEWS = ("view", "pure")
_NESTING_MAX = 8
_LISTS_MAX = 2
"""Lists within each other. An answer can name one list as every member of another, so each further level
multiplies what little data can grow to."""
_BITS = "|".join(str(8 * each) for each in range(1, 33))
_TYPE = re.compile(
    rf"(u?int(?:{_BITS})|address|bool|string|bytes(?:[1-9]|[12][0-9]|3[0-2])?|tuple)"
    r"((?:\[(?:[1-9][0-9]{0,3})?\])*)",
    re.ASCII,
)
"""What solc writes; ``uint`` alone, which hashes to another selector, is none of it."""
_NO_ABI = "this is no contract's ABI with a function: give the JSON that a compiler writes"
_DECIMAL = re.compile(r"-?[0-9]{1,80}", re.ASCII)
_HEXADECIMAL = re.compile(r"0x[0-9A-Fa-f]{1,64}", re.ASCII)
_BYTES = re.compile(r"0x(?:[0-9A-Fa-f]{2})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ContractCall:
    """One call of one function.

    Attributes:
        address: of the contract.
        entry: the function in its ABI.
        arguments: as they were typed.
        values: as the ABI takes them.
    """

    address: Account
    entry: dict[str, Any]
    arguments: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def signature(self) -> str:
        """``name(type,…)``."""
        return signature(self.entry)

    @property
    def is_view(self) -> bool:
        """Whether it changes nothing."""
        return self.entry.get("stateMutability") in _VIEWS

    def message(self, sender: Account, value_wei: int = 0) -> Message:
        """Return the call as a message of an account; UsageError if a value does not fit its type."""
        from eth_abi import encode
        from eth_abi.exceptions import EncodingError

        try:
            data = encode([abi_type(each) for each in self.entry["inputs"]], self.values)
        except (EncodingError, TypeError, ValueError, OverflowError) as err:
            raise UsageError(f"the arguments do not fit {self.signature}: {str(err)[:200]}") from err
        return Message(sender, self.address, value_wei, selector(self.entry) + bytes(data))

    def shown(self, answer: bytes) -> Any:
        """Return an answer JSON-ready: numbers as text, addresses and bytes as hex, structs as objects."""
        from eth_abi import decode
        from eth_abi.exceptions import DecodingError

        if len(answer) > ANSWER_BYTES_MAX:
            raise MalformedError(f"the answer is larger than {ANSWER_BYTES_MAX >> 10} KiB: it is not shown")
        outputs = self.entry.get("outputs", [])
        try:
            values = decode([abi_type(each) for each in outputs], answer)
        except (DecodingError, OverflowError, UnicodeDecodeError) as err:
            raise MalformedError(f"the answer is not what {self.signature} returns") from err
        plain = [_plain(value, kind) for value, kind in zip(values, outputs, strict=True)]
        if len(plain) == 1:
            return plain[0]
        return {each.get("name") or str(place): plain[place] for place, each in enumerate(outputs)}


def views(name: str, address: Account) -> list[ContractCall]:
    """Return the calls of every view of one of our contracts that takes no arguments."""
    return [
        ContractCall(address, each, (), ())
        for each in artifact(name).abi
        if each["type"] == "function" and not each["inputs"] and each["stateMutability"] in _VIEWS
    ]


def parse_abi(text: str) -> list[dict[str, Any]]:
    """Return an ABI from JSON: a list, or an object that has one under ``abi``.

    Raises:
        UsageError: it is neither, or too large.
    """
    if len(text) > ABI_BYTES_MAX:
        raise UsageError(f"the ABI is larger than {ABI_BYTES_MAX >> 10} KiB")
    try:
        found = load_json(text.encode())
    except (ValueError, RecursionError) as err:
        raise UsageError(_NO_ABI) from err
    entries = found.get("abi") if isinstance(found, dict) else found
    functions = [each for each in entries if _is_function(each)] if isinstance(entries, list) else []
    if not functions:
        raise UsageError(_NO_ABI)
    return functions


def _is_function(entry: Any) -> bool:
    """Return whether an entry is a function all of whose types can be typed and shown."""
    return (
        isinstance(entry, dict)
        and entry.get("type") == "function"
        and isinstance(entry.get("name"), str)
        and _are_parameters(entry.get("inputs"))
        and _are_parameters(entry.get("outputs", []))
    )


def _are_parameters(found: Any, depth: int = 0, lists: int = 0) -> bool:
    return isinstance(found, list) and all(_is_parameter(each, depth, lists) for each in found)


def _is_parameter(found: Any, depth: int, lists: int) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("name", ""), str):
        return False
    kind = found.get("type")
    match = _TYPE.fullmatch(kind) if isinstance(kind, str) else None
    if match is None or depth > _NESTING_MAX:
        return False
    lists += match[2].count("[")
    if lists > _LISTS_MAX:
        return False
    if match[1] != "tuple":
        return True
    parts = found.get("components")
    return bool(parts) and _are_parameters(parts, depth + 1, lists)


def parse_call(
    address: Account, abi: Sequence[dict[str, Any]], function: str, arguments: Sequence[str]
) -> ContractCall:
    """Return a call from what a person typed.

    Args:
        address: of the contract.
        abi: its functions.
        function: a name, or ``name(type,…)`` where several share it.
        arguments: numbers in base units, ``0x…``, ``true``, text; lists and structs as JSON; ids as
            ``tr_…`` and ``rl_…``.

    Raises:
        UsageError: there is no such function, or an argument is not of its type.
    """
    if len(arguments) > ARGUMENTS_MAX:
        raise UsageError(f"at most {ARGUMENTS_MAX} arguments")
    functions = [each for each in abi if each["type"] == "function"]
    named = [each for each in functions if function in (each["name"], signature(each))]
    if not named:
        from difflib import get_close_matches

        near = get_close_matches(function, [each["name"] for each in functions], n=1)
        raise UsageError(
            f"there is no function {function[:80]!r}" + (f": did you mean {near[0]!r}?" if near else "")
        )
    fitting = [each for each in named if len(each["inputs"]) == len(arguments)]
    if len(fitting) != 1:
        shapes = ", ".join(signature(each) for each in named)
        raise UsageError(f"{len(arguments)} arguments were given: the function is {shapes}")
    entry = fitting[0]
    values = tuple(
        _value(text, each, f"argument {place}")
        for place, (text, each) in enumerate(zip(arguments, entry["inputs"], strict=True), start=1)
    )
    return ContractCall(address, entry, tuple(arguments), values)


def _value(text: Any, parameter: dict[str, Any], where: str) -> Any:
    kind: str = parameter["type"]
    try:
        if kind.endswith("]") or kind == "tuple":
            return _composed(text, parameter, where)
        return _SCALARS[_family(kind)](text, kind)
    except (ValueError, MalformedError) as err:
        raise UsageError(f"{where} ({str(text)[:60]!r}) is no {kind}") from err


def _composed(text: Any, parameter: dict[str, Any], where: str) -> Any:
    items = load_json(text.encode()) if isinstance(text, str) else text
    if not isinstance(items, list):
        raise ValueError("a list is needed")
    if parameter["type"] == "tuple":
        parts = parameter["components"]
        if len(items) != len(parts):
            raise ValueError("another number of members")
        return tuple(_value(item, part, where) for item, part in zip(items, parts, strict=True))
    inner = {**parameter, "type": parameter["type"][: parameter["type"].rindex("[")]}
    return [_value(item, inner, where) for item in items]


def _family(kind: str) -> str:
    return kind.rstrip("0123456789") if kind != "bytes" else "dynamic"


def _number(value: Any, _: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _string(value).strip()
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    if not _DECIMAL.fullmatch(text):
        raise ValueError("no number")
    return int(text)


def _flag(value: Any, _: str) -> bool:
    if value is True or value == "true":
        return True
    if value is False or value == "false":
        return False
    raise ValueError("neither true nor false")


def _address(value: Any, _: str) -> bytes:
    text = _string(value)
    account = parse_account(text)
    if text not in (account_text(account), text.lower()):
        raise ValueError("its capital letters do not fit (EIP-55)")
    return bytes(account)


def _fixed(value: Any, kind: str) -> bytes:
    size, text = int(kind.removeprefix("bytes")), _string(value)
    if size == 32 and text.startswith("tr_"):
        return bytes(parse_track(text))
    if size == 32 and text.startswith("rl_"):
        return bytes(parse_release(text))
    data = _dynamic(text, kind)
    if len(data) != size:
        raise ValueError("another length")
    return data


def _dynamic(value: Any, _: str) -> bytes:
    text = _string(value)
    if not _BYTES.fullmatch(text):
        raise ValueError("no bytes")
    return bytes.fromhex(text[2:])


def _text(value: Any, _: str) -> str:
    return _string(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


_SCALARS: dict[str, Callable[[Any, str], Any]] = {
    "uint": _number,
    "int": _number,
    "bool": _flag,
    "address": _address,
    "bytes": _fixed,
    "dynamic": _dynamic,
    "string": _text,
}


def _plain(value: Any, parameter: dict[str, Any]) -> Any:
    kind: str = parameter["type"]
    if kind.endswith("]"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return [_plain(each, inner) for each in value]
    if kind == "tuple":
        parts = parameter["components"]
        return {
            part.get("name") or str(place): _plain(each, part)
            for place, (each, part) in enumerate(zip(value, parts, strict=True))
        }
    if kind == "address":
        return account_text(parse_account(value))
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, bool):
        return value
    return str(value)[:_SHOWN_CHARS_MAX]
