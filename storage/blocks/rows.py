"""What the block store keeps in LevelDB: records, their tables and their keys.

========== ============================= ====================================================
table      key                           value
========== ============================= ====================================================
rendition  root                          layout and charge of a declared rendition
have       root                          durable bitmap of its segments
part       cid ‖ root                    E[index] of a segment, E[bytes] of a node of its tree
block      cid                           a small block, or the size of one kept as a file
holding    cid of root or small block    retention, last access, charge
evict      retention ‖ last access ‖ cid empty; the order in which room is made
pin        cid ‖ retention               why it is kept and until when
pin-end    until ‖ cid ‖ retention       empty; the order in which pins end
totals     (one row)                     sums over all of the above
engine     (one row)                     where the bytes are: embedded, kubo
kubo-drop  cid                           empty; rubbish in a Kubo node, to be removed there
========== ============================= ====================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeVar

from marina.cid import CID_BYTES, DIGEST_BYTES, Cid
from marina.codec import decode, encode
from marina.errors import MalformedError
from marina.schema import U8, U32, U64, Size, decode_record, record
from storage.blocks.protocol import BLOCK_BYTES_MAX
from storage.content.layout import PLAINTEXT_BYTES_MAX, RenditionLayout, SegmentPlan
from storage.errors import StorageError
from storage.retention import Retention

R = TypeVar("R")
SEGMENTS_MAX = SegmentPlan(PLAINTEXT_BYTES_MAX).count
INLINE_BYTES_MAX = 16 * 1024
"""Larger small blocks are files: LevelDB rewrites its values, several times when they are large."""
_ROW_BYTES_MAX = SEGMENTS_MAX * DIGEST_BYTES + 1024
_SECONDS_BYTES = 8


@record("marina/store/rendition/1")
@dataclass(frozen=True, slots=True)
class RenditionRow:
    """A declared rendition."""

    plaintext_bytes: U64
    digests: Annotated[bytes, Size(DIGEST_BYTES, SEGMENTS_MAX * DIGEST_BYTES)]
    charge_bytes: U64
    nodes: U32
    node_bytes: U64

    def layout(self, root: Cid) -> RenditionLayout:
        """Return the layout under its root."""
        return RenditionLayout(root, self.plaintext_bytes, self.digests)


@record("marina/store/have/1")
@dataclass(frozen=True, slots=True)
class HaveRow:
    """Which segments are durable: bit *i* of byte *i* // 8, lowest first."""

    bits: Annotated[bytes, Size(1, -(-SEGMENTS_MAX // 8))]


@record("marina/store/block/1")
@dataclass(frozen=True, slots=True)
class BlockRow:
    """A small block; ``data`` is None when it lies in a file of its own."""

    size_bytes: U32
    data: Annotated[bytes, Size(0, INLINE_BYTES_MAX)] | None


@record("marina/store/holding/1")
@dataclass(frozen=True, slots=True)
class HoldingRow:
    """One thing that is kept or evicted as a whole: a rendition or a small block."""

    retention: U8
    last_access_s: U64
    charge_bytes: U64
    is_rendition: bool


@record("marina/store/pin/1")
@dataclass(frozen=True, slots=True)
class PinRow:
    """A reason to keep something; None is for good."""

    until_s: U64 | None


@record("marina/store/totals/1")
@dataclass(frozen=True, slots=True)
class TotalsRow:
    """Sums; ``charged_bytes`` has one number for each Retention, lowest first."""

    blocks: U64
    renditions: U64
    payload_bytes: U64
    charged_bytes: Annotated[tuple[U64, ...], Size(len(Retention), len(Retention))]


def decode_row(cls: type[R], data: bytes) -> R:
    """Return a row of our own.

    Raises:
        StorageError: it is not what was written; LevelDB's checksums make that very unlikely.
    """
    try:
        return decode_record(cls, data, limit_bytes=_ROW_BYTES_MAX)
    except MalformedError as err:
        raise StorageError(
            f"the node's database holds a damaged {cls.__name__}: run 'marina repo verify --heal'"
        ) from err


def encode_part(part: int | bytes) -> bytes:
    """Return the value of a part: a segment's index or a node's bytes."""
    return encode([part])


def decode_part(data: bytes) -> int | bytes:
    """Return a segment's index or a node's bytes; StorageError as for ``decode_row``."""
    try:
        value = decode(data, limit_bytes=BLOCK_BYTES_MAX)
    except MalformedError as err:
        raise StorageError("the node's database holds a damaged part") from err
    if isinstance(value, list) and len(value) == 1 and type(value[0]) in (int, bytes):
        part: int | bytes = value[0]
        return part
    raise StorageError("the node's database holds a damaged part")


def evict_key(retention: Retention, last_access_s: int, cid: Cid) -> bytes:
    """Return the key that sorts by class, then by last access."""
    return bytes((retention,)) + last_access_s.to_bytes(_SECONDS_BYTES) + cid


def split_evict_key(key: bytes) -> tuple[Retention, int, Cid]:
    """Return class, last access and CID of an eviction key."""
    seconds = key[1 : 1 + _SECONDS_BYTES]
    return Retention(key[0]), int.from_bytes(seconds), Cid(key[1 + _SECONDS_BYTES :])


def pin_key(cid: Cid, retention: Retention) -> bytes:
    """Return the key of one reason to keep a CID."""
    return cid + bytes((retention,))


def pin_end_key(until_s: int, cid: Cid, retention: Retention) -> bytes:
    """Return the key that sorts pins by their end."""
    return until_s.to_bytes(_SECONDS_BYTES) + pin_key(cid, retention)


def split_pin_end_key(key: bytes) -> tuple[int, Cid, Retention]:
    """Return end, CID and class of a pin's end."""
    cid = key[_SECONDS_BYTES : _SECONDS_BYTES + CID_BYTES]
    return int.from_bytes(key[:_SECONDS_BYTES]), Cid(cid), Retention(key[-1])
