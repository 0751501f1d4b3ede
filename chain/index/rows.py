"""Rows of the index: their keys, amounts and texts.

A key is the name of a table, a zero byte, and fixed-length parts, so that a prefix finds what belongs
together and key order is a useful order. Amounts have up to 256 bits, more than a message's integers:
they are kept as big-endian bytes (``units``). Every row names the block that wrote it last, from which
its confirmations follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from chain.events import Event
from chain.index.store import Change
from marina.schema import R, Size

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


def cut_text(text: str, bytes_max: int) -> str:
    """Return the longest beginning of a text that fits, in whole characters."""
    return text.encode()[:bytes_max].decode(errors="ignore")


Handler = Callable[[Event, int], Sequence[Change]]
"""(event, Unix time of its block) → what it changes."""


def changing(cls: type[R], row_key: bytes, change: Callable[[R], R]) -> Change:
    """Return the change of a row that is there already; nothing happens if it is not."""
    return Change(row_key, cls, lambda old, _: None if old is None else change(old))


def making(
    cls: type[R],
    row_key: bytes,
    make: Callable[[R | None, Sequence[Any]], R],
    *reads: tuple[bytes, type],
) -> Change:
    """Return the change that makes a row from what was there, if anything, and from other rows."""
    return Change(row_key, cls, make, reads)


def deriving(
    cls: type[R], row_key: bytes, make: Callable[[Sequence[Any]], R], *reads: tuple[bytes, type]
) -> Change:
    """Return the change that stores a record made from other rows, whatever was there."""
    return Change(row_key, cls, lambda _, others: make(others), reads, True)


def putting(row_key: bytes, row: object) -> Change:
    """Return the change that stores a record, whatever was there."""
    return Change(row_key, type(row), lambda _old, _others: row, (), True)


def marking(row_key: bytes, target: bytes = b"") -> Change:
    """Return the change that stores an entry of an index by another key, which may name the row's own."""
    return Change(row_key, None, lambda _old, _others: target, (), True)


def removing(row_key: bytes, cls: type | None = None) -> Change:
    """Return the change that removes a row."""
    return Change(row_key, cls, lambda _old, _others: None, (), True)
