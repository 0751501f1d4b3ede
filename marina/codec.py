"""Canonical msgpack: the only importer of msgpack, and the only way bytes become values.

``encode`` writes E[…]: arrays of None, bool, int, bytes, str and arrays, in shortest forms; no maps,
no floats, no extensions. ``decode`` accepts exactly the bytes that ``encode`` would have written, so
equal values have equal bytes and a signature covers one meaning. Every failure is MalformedError.
Source: security.md §1.3 and §5.3 of the design; the msgpack specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgpack

from marina.errors import MalformedError

Value: TypeAlias = "bool | int | bytes | str | Sequence[Value] | None"

FRAME_BYTES_MAX = 64 * 1024
"""Largest frame header or signed record decoded without an explicit limit (security.md §5.3)."""
DEPTH_MAX = 6
ITEMS_MAX = 4096
"""Largest number of values in one message, over all its arrays; a bomb of empty arrays stops here."""
_U64_MAX = 2**64 - 1
_I64_MIN = -(2**63)


def encode(value: Value) -> bytes:
    """Return the canonical bytes of a value.

    Raises:
        TypeError: the value holds a map, a float or any other type that E[…] does not know.
        OverflowError: an integer is outside -2**63 … 2**64-1.
    """
    _check_encodable(value)
    packed: bytes = msgpack.packb(value, use_bin_type=True, strict_types=False)
    return packed


def decode(data: bytes, *, limit_bytes: int = FRAME_BYTES_MAX, limit_items: int = ITEMS_MAX) -> Value:
    """Return the value of canonical bytes; arrays become lists.

    Args:
        data: one whole value, nothing behind it.
        limit_bytes: refuse longer input before looking at it.
        limit_items: refuse more values than this in all arrays together.

    Raises:
        MalformedError: anything but canonical bytes within the limits.
    """
    if len(data) > limit_bytes:
        raise MalformedError(f"message of {len(data)} bytes is larger than the limit of {limit_bytes}")
    _check_structure(data, limit_items)
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_str_len=limit_bytes,
            max_bin_len=limit_bytes,
            max_array_len=limit_items,
            max_map_len=0,
            max_ext_len=0,
        )
    except Exception as err:  # msgpack raises ten unrelated classes; all mean malformed
        raise MalformedError("message is not valid canonical msgpack") from err
    try:
        again = encode(value)
    except (TypeError, OverflowError) as err:
        raise MalformedError("message holds a type that is not allowed") from err
    if again != data:
        raise MalformedError("message is not in canonical form")
    checked: Value = value
    return checked


def _check_encodable(value: Value) -> None:
    stack: list[Value] = [value]
    while stack:
        item = stack.pop()
        if item is None or isinstance(item, bool | bytes | str):
            continue
        if isinstance(item, int):
            if not _I64_MIN <= item <= _U64_MAX:
                raise OverflowError(f"integer {item} does not fit 64 bits")
        elif isinstance(item, list | tuple):
            stack.extend(item)
        else:
            raise TypeError(f"{type(item).__name__} has no canonical form")


def _check_structure(data: bytes, limit_items: int) -> None:
    """Walk headers only, so that a bomb is refused before a single object is made."""
    remaining = [1]  # values still to read at each open array
    items = position = 0
    length = len(data)
    while remaining:
        if remaining[-1] == 0:
            remaining.pop()
            continue
        remaining[-1] -= 1
        items += 1
        if position >= length or items > limit_items:
            raise MalformedError("message is cut short or holds too many values")
        position, array_length = _skip_header(data, position)
        if position > length:
            raise MalformedError("message is cut short")
        if array_length >= 0:
            if len(remaining) > DEPTH_MAX:
                raise MalformedError(f"message is nested deeper than {DEPTH_MAX}")
            remaining.append(array_length)
    if position != length:
        raise MalformedError("bytes follow the message")


_FIXED = {
    0xC0: 0, 0xC2: 0, 0xC3: 0,
    0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
}  # fmt: skip
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAYS = {0xDC: 2, 0xDD: 4}


def _skip_header(data: bytes, position: int) -> tuple[int, int]:
    """Return (position behind a scalar or an array header, array length or -1)."""
    first = data[position]
    position += 1
    if first <= 0x7F or first >= 0xE0:
        return position, -1
    if 0x90 <= first <= 0x9F:
        return position, first & 0x0F
    if 0xA0 <= first <= 0xBF:
        return position + (first & 0x1F), -1
    if first in _FIXED:
        return position + _FIXED[first], -1
    if first in _SIZED:
        width = _SIZED[first]
        return position + width + int.from_bytes(data[position : position + width]), -1
    if first in _ARRAYS:
        width = _ARRAYS[first]
        return position + width, int.from_bytes(data[position : position + width])
    raise MalformedError(f"message holds a map, float or extension (byte {first:#x})")
