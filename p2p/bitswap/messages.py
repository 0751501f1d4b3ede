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

from marina.cid import CID_BYTES, DAG_PB, DIGEST_BYTES, Cid, check_cid, cid_from_digest
from marina.errors import MalformedError

PROTOCOL = "/ipfs/bitswap/1.2.0"
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""What Kubo and Helia read at most in one message."""
BLOCK_BYTES_MAX = 2 * 1024 * 1024
ENTRIES_MAX = 16 * 1024
"""Wants, blocks or presences in one message."""
WIRE_CID_BYTES_MAX = 128
_V0_BYTES = 2 + DIGEST_BYTES
_V0_START = b"\x12\x20"


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
    blocks: tuple[tuple[Cid, bytes], ...] = ()
    presences: tuple[Presence, ...] = ()


def local_cid(name: bytes) -> Cid | None:
    """Return the CID under which a block would be stored here; None for hashes and codecs not known here.

    A CIDv0 names a DAG-PB node by its bare digest.
    """
    if len(name) == _V0_BYTES and name[:2] == _V0_START:
        return cid_from_digest(name[2:], DAG_PB)
    if len(name) != CID_BYTES:
        return None
    try:
        return check_cid(name)
    except MalformedError:
        return None


def prefix_of(name: bytes) -> bytes:
    """Return what a block is sent with: everything of its CID but the digest, the version written out."""
    return b"\x00\x70" + _V0_START if len(name) == _V0_BYTES else name[:-DIGEST_BYTES]


def decode_message(frame: bytes | bytearray) -> Message:
    """Return a message.

    Blocks with a prefix that is not known here, which nobody can have wanted, are left out.

    Raises:
        MalformedError: it is no message, or larger than a part of it may be.
    """
    wire = _Wire()
    try:
        wire.ParseFromString(bytes(frame))
    except DecodeError as err:
        raise MalformedError("not a bitswap message") from err
    entries = wire.wantlist.entries
    if max(len(entries), len(wire.payload), len(wire.blocks), len(wire.blockPresences)) > ENTRIES_MAX:
        raise MalformedError(f"a bitswap message with more than {ENTRIES_MAX} entries")
    wants = tuple(
        Want(
            _name(entry.block),
            WantKind.HAVE if int(entry.wantType) == WantKind.HAVE.value else WantKind.BLOCK,
            entry.priority,
            entry.cancel,
            entry.sendDontHave,
        )
        for entry in entries
    )
    presences = tuple(Presence(_name(each.cid), each.type == 0) for each in wire.blockPresences)
    return Message(wants, wire.wantlist.full, tuple(_blocks(wire)), presences)


def encode_message(
    *,
    wants: Sequence[Want] = (),
    is_full: bool = False,
    blocks: Sequence[tuple[bytes, bytes]] = (),
    presences: Sequence[Presence] = (),
) -> bytes:
    """Return a message; blocks come with the CID by which the peer wanted them.

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
    for name, data in blocks:
        wire.payload.add(prefix=prefix_of(name), data=data)
    for each in presences:
        wire.blockPresences.add(cid=each.name, type=0 if each.is_here else 1)
    return bytes(wire.SerializeToString())


def _name(name: bytes) -> bytes:
    if not 0 < len(name) <= WIRE_CID_BYTES_MAX:
        raise MalformedError(f"a bitswap message with a CID of {len(name)} bytes")
    return name


def _blocks(wire: _Wire) -> list[tuple[Cid, bytes]]:
    found = []
    for each in wire.payload:
        if len(each.data) > BLOCK_BYTES_MAX:
            raise MalformedError(f"a bitswap block of {len(each.data)} bytes, allowed {BLOCK_BYTES_MAX}")
        cid = _cid_from(each.prefix, each.data)
        if cid is not None:
            found.append((cid, each.data))
    return found


def _cid_from(prefix: bytes, data: bytes) -> Cid | None:
    digest = hashlib.sha256(data).digest()
    if prefix == b"\x00\x70" + _V0_START:
        return cid_from_digest(digest, DAG_PB)
    return local_cid(prefix + digest)
