"""Rows of the index: their keys, amounts and texts.

A key is the name of a table, a zero byte, and fixed-length parts, so that a prefix finds what belongs
together and key order is a useful order. Amounts have up to 256 bits, more than a message's integers:
they are kept as big-endian bytes (``units``). Every row names the block that wrote it last, from which
its confirmations follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from chain.events import Event
from chain.index.store import ROW_BYTES_MAX, ROW_ITEMS_MAX, Change
from marina.schema import R, Size, decode_record, encode_record

Units = Annotated[bytes, Size(0, 32)]
"""An amount in base units, big-endian without leading zeros."""


NATIVE = bytes(20)
"""Stands for the chain's own coin where a token is named."""


def units(value: int) -> bytes:
    """Return an amount as its shortest big-endian bytes; nothing is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8)


def amount(raw: bytes) -> int:
    """Return the amount of ``units``."""
    return int.from_bytes(raw)


def key(table: str, *parts: bytes) -> bytes:
    """Return the key of a row, or with fewer parts a prefix of keys."""
    return b"\x00".join((table.encode(), b"".join(parts)))


def place(block: int, index: int) -> bytes:
    """Return a key part that orders by time: block, then place in the block."""
    return block.to_bytes(8) + index.to_bytes(4)


def read(cls: type[R], data: bytes) -> R:
    """Return the record of a row; MalformedError if it is none."""
    return decode_record(cls, data, limit_bytes=ROW_BYTES_MAX, limit_items=ROW_ITEMS_MAX)


def cut_text(text: str, bytes_max: int) -> str:
    """Return the longest beginning of a text that fits, in whole characters."""
    return text.encode()[:bytes_max].decode(errors="ignore")


Handler = Callable[[Event, int], Sequence[Change]]
"""(event, Unix time of its block) → what it changes."""


def changing(cls: type[R], row_key: bytes, change: Callable[[R], R]) -> Change:
    """Return the change of a row that is there already; nothing happens if it is not."""

    def update(data: bytes | None, _: Sequence[bytes | None]) -> bytes | None:
        return None if data is None else encode_record(change(read(cls, data)))

    return Change(row_key, update)


def summing(
    cls: type[R], row_key: bytes, change: Callable[[R | None, Sequence[bytes | None]], R], *reads: bytes
) -> Change:
    """Return the change that makes a row from what was there, if anything, and from other rows."""

    def update(data: bytes | None, others: Sequence[bytes | None]) -> bytes | None:
        return encode_record(change(None if data is None else read(cls, data), others))

    return Change(row_key, update, reads)


def putting(row_key: bytes, row: object) -> Change:
    """Return the change that stores a record, whatever was there."""
    data = encode_record(row)
    return Change(row_key, lambda _old, _others: data)


def marking(row_key: bytes, target: bytes = b"") -> Change:
    """Return the change that stores an entry of an index by another key, which may name the row's own."""
    return Change(row_key, lambda _old, _others: target)


def removing(row_key: bytes) -> Change:
    """Return the change that removes a row."""
    return Change(row_key, lambda _old, _others: None)
