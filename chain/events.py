"""Logs of our contracts, decoded with eth-abi from the committed interfaces.

web3's event layer takes fifty times longer (design, contracts §2.2) and an index is made of nothing
else, so logs are decoded here: which contract and topic means which event is a table made once. A log
comes from an endpoint that nobody has to trust: every field is checked, and one that does not fit is
refused as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.codec import ABICodec
from eth_abi.decoding import StringDecoder
from eth_abi.encoding import TextStringEncoder
from eth_abi.exceptions import DecodingError
from eth_abi.registry import registry

from chain.artifacts import abi_type, artifact, topic
from marina.errors import MalformedError
from marina.ids import Account

TOPICS_MAX = 4
DATA_BYTES_MAX = 1 << 20
_WORD_BYTES = 32
_UINT64_MAX = 2**64 - 1
_WORD_KIND = re.compile(r"address|bool|uint[0-9]+|bytes[0-9]+", re.ASCII)
_QUANTITY = re.compile(r"0x(?:0|[1-9a-f][0-9a-f]{0,15})", re.ASCII)


def _lenient_codec() -> ABICodec:
    """Return a codec for texts that anybody may write: a contract does not check that they are UTF-8."""
    own = registry.copy()
    own.unregister("string")
    own.register("string", TextStringEncoder, StringDecoder(handle_string_errors="replace"), label="string")
    return ABICodec(own)


_codec = _lenient_codec()


@dataclass(frozen=True, slots=True)
class Log:
    """One log as an endpoint gave it, checked in form.

    Attributes:
        address: the contract that made it.
        topics: up to four words; the first names the event.
        data: the values that are not indexed.
        block: number of its block.
        block_hash: of its block.
        transaction: hash of its transaction.
        index: its place in the block, over all transactions.
    """

    address: Account
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    block_hash: bytes
    transaction: bytes
    index: int


@dataclass(frozen=True, slots=True)
class Event:
    """One decoded event.

    Attributes:
        contract: name of the contract that made it.
        name: of the event.
        values: by the parameters' names: int, bool, str, bytes (also for addresses), tuples of these;
            32 bytes of hash for an indexed string, array or struct.
        log: where it stands.
    """

    contract: str
    name: str
    values: Mapping[str, Any]
    log: Log


_Converter = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    kind: str
    convert: _Converter | None

    def value(self, decoded: Any) -> Any:
        return decoded if self.convert is None else self.convert(decoded)


@dataclass(frozen=True, slots=True)
class _Shape:
    contract: str
    name: str
    indexed: tuple[_Field, ...]
    plain: tuple[_Field, ...]
    plain_kinds: tuple[str, ...]
    is_flat: bool


class EventDecoder:
    """Decodes the events of some of our contracts."""

    def __init__(self, places: Mapping[str, Account]) -> None:
        """Make the table of topics.

        Args:
            places: address by contract name, as ``ContractSet.named()`` gives them.
        """
        self._addresses = frozenset(places.values())
        self._shapes = {
            (bytes(address), topic(entry)): _shape(name, entry)
            for name, address in places.items()
            for entry in artifact(name).abi
            if entry["type"] == "event" and not entry["anonymous"]
        }

    @property
    def addresses(self) -> frozenset[Account]:
        """The contracts whose events are decoded."""
        return self._addresses

    @property
    def names(self) -> frozenset[tuple[str, str]]:
        """(contract, event) of everything that can be decoded."""
        return frozenset((shape.contract, shape.name) for shape in self._shapes.values())

    def topics(self, wanted: frozenset[tuple[str, str]]) -> list[bytes]:
        """Return the first topics of some (contract, event) pairs, to ask an endpoint for no others."""
        return sorted(
            {first for (_, first), shape in self._shapes.items() if (shape.contract, shape.name) in wanted}
        )

    def decode(self, log: Log) -> Event | None:
        """Return the event of a log; None if it is of another contract or an unknown event.

        Raises:
            MalformedError: the topics or the data are not those of the event that the first topic names.
        """
        shape = self._shapes.get((log.address, log.topics[0])) if log.topics else None
        if shape is None:
            return None
        if len(log.topics) != 1 + len(shape.indexed):
            raise MalformedError(
                f"{shape.contract}.{shape.name} has {len(shape.indexed)} indexed values, "
                f"not {len(log.topics) - 1}"
            )
        values: dict[str, Any] = {}
        try:
            for field, word in zip(shape.indexed, log.topics[1:], strict=True):
                values[field.name] = decode_word(field.kind, word)
            if shape.is_flat:
                for field, start in zip(shape.plain, range(0, 1 << 20, _WORD_BYTES), strict=False):
                    values[field.name] = decode_word(field.kind, log.data[start : start + _WORD_BYTES])
            else:
                found = _codec.decode(shape.plain_kinds, log.data)
                values |= {
                    field.name: field.value(each) for field, each in zip(shape.plain, found, strict=True)
                }
        except (DecodingError, OverflowError, ValueError) as err:
            raise MalformedError(f"the data of a log do not fit {shape.contract}.{shape.name}") from err
        return Event(shape.contract, shape.name, values, log)


def parse_log(raw: object) -> Log:
    """Return one entry of the answer of ``eth_getLogs``.

    Raises:
        MalformedError: a field is missing, too long or of another form, or the log is of a dropped block.
    """
    if not isinstance(raw, dict):
        raise MalformedError("a log is not an object")
    topics = raw.get("topics")
    if not isinstance(topics, list) or len(topics) > TOPICS_MAX:
        raise MalformedError("a log has no list of up to four topics")
    if raw.get("removed") not in (None, False):
        raise MalformedError("a log belongs to a block that was dropped")
    return Log(
        address=Account(parse_bytes(raw.get("address"), "address", 20)),
        topics=tuple(parse_bytes(each, "topic", _WORD_BYTES) for each in topics),
        data=parse_bytes(raw.get("data"), "data"),
        block=parse_quantity(raw.get("blockNumber"), "blockNumber"),
        block_hash=parse_bytes(raw.get("blockHash"), "blockHash", _WORD_BYTES),
        transaction=parse_bytes(raw.get("transactionHash"), "transactionHash", _WORD_BYTES),
        index=parse_quantity(raw.get("logIndex"), "logIndex"),
    )


def parse_quantity(value: object, name: str) -> int:
    """Return a JSON-RPC quantity of at most 64 bits; MalformedError for anything else."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise MalformedError(f"{name} is no quantity of at most 64 bits")
    return int(value, 16)


def parse_bytes(value: object, name: str, length: int | None = None) -> bytes:
    """Return JSON-RPC bytes, of one length or bounded; MalformedError for anything else."""
    if not isinstance(value, str) or len(value) > 2 + 2 * DATA_BYTES_MAX or value[:2] != "0x":
        raise MalformedError(f"{name} is no hexadecimal bytes")
    try:
        data = bytes.fromhex(value[2:])
    except ValueError as err:
        raise MalformedError(f"{name} is no hexadecimal bytes") from err
    if 2 + 2 * len(data) != len(value):  # white space, which fromhex passes over
        raise MalformedError(f"{name} is no hexadecimal bytes")
    if length is not None and len(data) != length:
        raise MalformedError(f"{name} has {len(data)} bytes, not {length}")
    return data


def decode_word(kind: str, word: bytes) -> Any:
    """Return the value of a type that fits one word, as strictly as eth-abi and many times faster.

    Args:
        kind: ``address``, ``bool``, ``uintN`` or ``bytesN``.
        word: its 32 bytes.

    Raises:
        ValueError: the word is not of this type, or the type is another.
    """
    if len(word) != _WORD_BYTES:
        raise ValueError("a word has 32 bytes")
    if kind == "address":
        value, padding = word[12:], word[:12]
    elif kind.startswith("bytes"):
        size = int(kind[5:])
        value, padding = word[:size], word[size:]
    elif kind == "bool" or kind.startswith("uint"):
        size = 1 if kind == "bool" else int(kind[4:]) // 8
        value, padding = word[-size:], word[:-size]
    else:
        raise ValueError(f"{kind} is not decoded by hand")
    if any(padding):
        raise ValueError(f"there is something beside the {kind}")
    if kind.startswith("uint"):
        return int.from_bytes(value)
    if kind == "bool":
        if value[0] > 1:
            raise ValueError("a bool is 0 or 1")
        return value == b"\x01"
    return value


def _shape(contract: str, entry: dict[str, Any]) -> _Shape:
    indexed, plain = [], []
    for parameter in entry["inputs"]:
        name, kind = parameter["name"], abi_type(parameter)
        if not parameter["indexed"]:
            plain.append(_Field(name, kind, _converter(parameter["type"], parameter.get("components", ()))))
        elif kind.endswith("]") or kind.startswith("(") or kind in ("string", "bytes"):
            indexed.append(_Field(name, "bytes32", None))  # only the hash of a longer value is in a topic
        else:
            indexed.append(_Field(name, kind, None))
    kinds = tuple(each.kind for each in plain)
    is_flat = all(_WORD_KIND.fullmatch(each) for each in kinds)
    return _Shape(contract, entry["name"], tuple(indexed), tuple(plain), kinds, is_flat)


def _converter(kind: str, components: Sequence[dict[str, Any]]) -> _Converter | None:
    """Return what turns eth-abi's value into ours: addresses are 20 bytes, lists are tuples."""
    if kind.endswith("]"):
        inner = _converter(kind[: kind.rindex("[")], components)
        return tuple if inner is None else lambda items: tuple(inner(each) for each in items)
    if kind == "tuple":
        parts = [_converter(each["type"], each.get("components", ())) for each in components]
        return lambda items: tuple(
            item if part is None else part(item) for part, item in zip(parts, items, strict=True)
        )
    return (lambda text: bytes.fromhex(text[2:])) if kind == "address" else None
