"""Numbers and fields as protobuf, multiformats and CAR files write them.

For what a generated parser would copy, or cannot be told to bound; everything else is protobuf's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from marina.errors import MalformedError

VARINT_BYTES_MAX = 10
_VARINT, _BYTES = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}


@lru_cache(maxsize=1024)  # nearly all lengths in a tree or a message are the same few
def varint(value: int) -> bytes:
    """Return a number of at least 0 in groups of seven bits, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(view: memoryview | bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and where it ends; MalformedError if it does not end."""
    value = 0
    for place in range(VARINT_BYTES_MAX):
        if at + place >= len(view):
            break
        byte = view[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise MalformedError("a number that does not end")


def fields(view: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield (tag, start of the field, start of its value, end) of a message; a tag is number × 8 + kind.

    Raises:
        MalformedError: it is no message, or ends inside a field.
    """
    end = 0
    while end < len(view):
        start = end
        tag, at = read_varint(view, start)
        kind = tag & 7
        if kind == _VARINT:
            end = read_varint(view, at)[1]
        elif kind == _BYTES:
            size, at = read_varint(view, at)
            end = at + size
        elif kind in _FIXED_BYTES:
            end = at + _FIXED_BYTES[kind]
        else:
            raise MalformedError("a field of a kind that does not exist")
        if end > len(view):
            raise MalformedError("a message that ends inside a field")
        yield tag, start, at, end
