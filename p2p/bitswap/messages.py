"""Messages of /ipfs/bitswap/1.2.0, pure: wants, blocks and presences, and CIDs as other nodes write them.

The fields are protobuf's (py-libp2p carries the compiled schema); what comes in is bounded and checked
here, before anything looks at it. Source: specs.ipfs.tech/bitswap-protocol.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.message import DecodeError
from libp2p.bitswap.pb.bitswap_pb2 import Message as _Wire

from marina.cid import DAG_PB, DIGEST_BYTES, V0_BYTES, Cid, cid_from_digest, known_cid
from marina.errors import MalformedError
from marina.protowire import fields, varint
from storage.file_ops import Buffer

PROTOCOL = "/ipfs/bitswap/1.2.0"
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""What Kubo and Helia read at most in one message."""
BLOCK_BYTES_MAX = 2 * 1024 * 1024
ENTRIES_MAX = 16 * 1024
"""Wants, blocks or presences in one message."""
WIRE_CID_BYTES_MAX = 128
_V0_START = b"\x12\x20"
_PAYLOAD, _PREFIX, _DATA = b"\x1a", b"\x0a", b"\x12"
_FIELDS_MAX = 2 * ENTRIES_MAX
_BLOCK_FIELDS_MAX = 16


class WantKind(IntEnum):
    """What is wanted: the bytes, or to know whether they are there."""

    BLOCK = 0
    HAVE = 1


@dataclass(frozen=True, slots=True)
class Want:
    """One entry of a wantlist.

    Attributes:
        name: the CID as the peer wrote it; an answer repeats it.
        kind: of the want.
        priority: higher first.
        is_cancel: ends an earlier want; the other fields mean nothing then.
        tells_absence: whether the peer wants to hear that the block is not here.
    """

    name: bytes
    kind: WantKind = WantKind.BLOCK
    priority: int = 1
    is_cancel: bool = False
    tells_absence: bool = False


@dataclass(frozen=True, slots=True)
class Presence:
    """Says of a CID whether its block is there."""

    name: bytes
    is_here: bool


@dataclass(frozen=True, slots=True)
class Message:
    """What one message carries.

    Attributes:
        wants: entries of the wantlist.
        is_full: whether they replace all earlier ones.
        blocks: CID by prefix and hash, and bytes: what arrived is named by what it is.
        presences: answers without bytes.
    """

    wants: tuple[Want, ...] = ()
    is_full: bool = False
    blocks: tuple[tuple[Cid, Buffer], ...] = ()
    presences: tuple[Presence, ...] = ()


def prefix_of(name: bytes) -> bytes:
    """Return what a block is sent with: everything of its CID but the digest, the version written out."""
    return b"\x00\x70" + _V0_START if len(name) == V0_BYTES else name[:-DIGEST_BYTES]


def decode_message(frame: bytes | bytearray) -> Message:
    """Return a message; its blocks are views into the frame where that wastes little memory.

    Blocks with a prefix that is not known here, which nobody can have wanted, are left out.

    Raises:
        MalformedError: it is no message, or larger than a part of it may be.
    """
    rest, payload = _split(frame)
    wire = _Wire()
    try:
        wire.ParseFromString(rest)
    except DecodeError as err:
        raise MalformedError("not a bitswap message") from err
    if max(len(wire.wantlist.entries), len(wire.blockPresences)) > ENTRIES_MAX:
        raise MalformedError(f"a bitswap message with more than {ENTRIES_MAX} entries")
    wants = tuple(
        Want(
            _name(entry.block),
            WantKind.HAVE if int(entry.wantType) == WantKind.HAVE.value else WantKind.BLOCK,
            entry.priority,
            entry.cancel,
            entry.sendDontHave,
        )
        for entry in wire.wantlist.entries
    )
    presences = tuple(Presence(_name(each.cid), each.type == 0) for each in wire.blockPresences)
    blocks = []
    for prefix, data in payload:
        cid = _cid_from(prefix, data)
        if cid is not None:
            # A view keeps its whole frame in memory, which must not outweigh it.
            blocks.append((cid, data if 2 * len(data) > len(frame) else bytes(data)))
    return Message(wants, wire.wantlist.full, tuple(blocks), presences)


def encode_message(
    *,
    wants: Sequence[Want] = (),
    is_full: bool = False,
    blocks: Sequence[tuple[bytes, Buffer]] = (),
    presences: Sequence[Presence] = (),
) -> list[Buffer]:
    """Return the parts of a message; blocks come with the CID by which the peer wanted them, uncopied.

    A wantlist is always there, empty if need be: Kubo 0.35 ends without one.
    """
    wire = _Wire()
    wire.wantlist.full = is_full
    for want in wants:
        wire.wantlist.entries.add(
            block=want.name,
            priority=want.priority,
            cancel=want.is_cancel,
            wantType=want.kind.value,
            sendDontHave=want.tells_absence,
        )
    for each in presences:
        wire.blockPresences.add(cid=each.name, type=0 if each.is_here else 1)
    parts: list[Buffer] = [wire.SerializeToString()]
    for name, data in blocks:
        prefix = prefix_of(name)
        inner = _PREFIX + varint(len(prefix)) + prefix + _DATA + varint(len(data))
        parts += [_PAYLOAD + varint(len(inner) + len(data)) + inner, data]
    return parts


def _name(name: bytes) -> bytes:
    if not 0 < len(name) <= WIRE_CID_BYTES_MAX:
        raise MalformedError(f"a bitswap message with a CID of {len(name)} bytes")
    return name


def _split(frame: bytes | bytearray) -> tuple[bytes, list[tuple[bytes, memoryview]]]:
    """Return the small fields, for the library to parse, and the blocks, which it would copy twice."""
    view = memoryview(frame)
    rest = bytearray()
    payload: list[tuple[bytes, memoryview]] = []
    for number, (tag, start, at, end) in enumerate(fields(view), 1):
        if number > _FIELDS_MAX or (len(payload) >= ENTRIES_MAX and tag == _PAYLOAD[0]):
            raise MalformedError(f"a bitswap message with more than {ENTRIES_MAX} entries")
        if tag == _PAYLOAD[0]:
            payload.append(_block(view[at:end]))
        else:
            rest += view[start:end]
    return bytes(rest), payload


def _block(view: memoryview) -> tuple[bytes, memoryview]:
    prefix, data = b"", view[:0]
    for number, (tag, _, at, end) in enumerate(fields(view), 1):
        if number > _BLOCK_FIELDS_MAX:
            raise MalformedError("a bitswap block with too many fields")
        if tag == _PREFIX[0]:
            prefix = bytes(view[at : min(end, at + WIRE_CID_BYTES_MAX)])
        elif tag == _DATA[0]:
            data = view[at:end]
    if len(data) > BLOCK_BYTES_MAX:
        raise MalformedError(f"a bitswap block of {len(data)} bytes, allowed {BLOCK_BYTES_MAX}")
    return prefix, data


def _cid_from(prefix: bytes, data: memoryview) -> Cid | None:
    digest = hashlib.sha256(data).digest()
    if prefix == b"\x00\x70" + _V0_START:
        return cid_from_digest(digest, DAG_PB)
    return known_cid(prefix + digest)
