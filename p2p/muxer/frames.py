"""Yamux frame headers. Source: hashicorp/yamux, spec.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from marina.errors import MalformedError

HEADER_BYTES = 12
WINDOW_BYTES_START = 256 * 1024
"""Both windows of a new stream, fixed by the specification."""
_HEADER = struct.Struct("!BBHII")


class Kind(IntEnum):
    """Frame types."""

    DATA = 0
    WINDOW = 1
    PING = 2
    GO_AWAY = 3


class Flag(IntEnum):
    """Frame flags; no IntFlag, whose operators cost more than the rest of reading a header."""

    NONE = 0
    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


class GoAway(IntEnum):
    """Reasons to end a connection."""

    NORMAL = 0
    PROTOCOL_ERROR = 1


@dataclass(frozen=True, slots=True)
class Header:
    """One frame's header; ``length`` is payload bytes, a window increment, a ping id or a reason."""

    kind: Kind
    flags: int
    stream_id: int
    length: int


def pack_header(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """Return the twelve bytes of a header."""
    return _HEADER.pack(0, kind, flags, stream_id, length)


def unpack_header(data: bytes | memoryview) -> Header:
    """Return the header in twelve bytes.

    Raises:
        MalformedError: another version, an unknown type or flag.
    """
    version, kind, flags, stream_id, length = _HEADER.unpack(data)
    if version != 0 or kind > Kind.GO_AWAY or flags > 15:
        raise MalformedError("bytes of the peer are no yamux frame")
    if (stream_id == 0) != (kind >= Kind.PING):
        raise MalformedError("a yamux frame names the wrong stream")
    return Header(_KINDS[kind], flags, stream_id, length)


_KINDS = tuple(Kind)
