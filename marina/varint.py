"""Unsigned varints, as protobuf and multiformats write numbers."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1024)  # nearly all lengths in a tree or a message are the same few
def varint(value: int) -> bytes:
    """Return a number of at least 0 in groups of seven bits, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
