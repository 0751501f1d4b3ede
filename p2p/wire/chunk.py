"""Messages of /marina/chunk/1.0.0 (docs/protocol/chunk.md): headers and bitmaps, pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from marina.errors import MalformedError
from marina.schema import U32, Bytes36, Range, Size, decode_record, encode_record, record

PROTOCOL = "/marina/chunk/1.0.0"
SEGMENTS_MAX = 16_384
"""Largest number of segments of one rendition: 3 GiB make 12,300."""
INDICES_MAX = 64
SEGMENT_BYTES_MAX = 256 * 1024
HAVE_BYTES_MAX = SEGMENTS_MAX // 8
REQUEST_HEADER_BYTES_MAX = 512
REPLY_HEADER_BYTES_MAX = 32

Index = Annotated[int, Range(0, SEGMENTS_MAX - 1)]


class Status(IntEnum):
    """How one index of a request was answered.

    OK carries the segment and HAVE a bitmap; the others carry no payload.
    """

    OK = 0
    MISSING = 1
    """Not here, or damaged here. Ask somebody else."""
    BUSY = 2
    """Here, but the upload cap is used up for a while. Ask somebody else or later."""
    DENIED = 3
    """This operator does not serve this rendition. Do not ask again."""
    HAVE = 4
    """The answer to a request without indices."""


@record(None)
@dataclass(frozen=True, slots=True)
class ChunkRequest:
    """Wants segments of one rendition, or with no indices asks which are there.

    Attributes:
        req_id: chosen by the requester, repeated in every reply.
        root: CID of the rendition.
        indices: segments in the order wanted, each once.
    """

    req_id: U32
    root: Bytes36
    indices: Annotated[tuple[Index, ...], Size(0, INDICES_MAX)]


@record(None)
@dataclass(frozen=True, slots=True)
class ChunkReply:
    """Answers one index; ``length`` payload bytes follow. Replies keep the order of the wants."""

    req_id: U32
    index: Index
    status: Annotated[int, Range(min(Status), max(Status))]
    length: Annotated[int, Range(0, SEGMENT_BYTES_MAX)]


def encode_request(request: ChunkRequest) -> bytes:
    """Return the header of a request."""
    return encode_record(request)


def decode_request(data: bytes) -> ChunkRequest:
    """Return the request in a header.

    Raises:
        MalformedError: not a request, or an index twice.
    """
    request = decode_record(ChunkRequest, data, limit_bytes=REQUEST_HEADER_BYTES_MAX)
    if len(set(request.indices)) != len(request.indices):
        raise MalformedError("a chunk request names an index twice")
    return request


def encode_reply(reply: ChunkReply) -> bytes:
    """Return the header of a reply."""
    return encode_record(reply)


def decode_reply(data: bytes) -> ChunkReply:
    """Return the reply in a header.

    Raises:
        MalformedError: not a reply, or a payload where its status allows none.
    """
    reply = decode_record(ChunkReply, data, limit_bytes=REPLY_HEADER_BYTES_MAX)
    if reply.status == Status.OK:
        if reply.length == 0:
            raise MalformedError("a served segment is not empty")
    elif reply.status == Status.HAVE:
        if reply.length > HAVE_BYTES_MAX or reply.index != 0:
            raise MalformedError("a have bitmap is longer than any rendition")
    elif reply.length != 0:
        raise MalformedError("a refusal carries no payload")
    return reply


def encode_have(indices: frozenset[int]) -> bytes:
    """Return the bitmap: bit 7 of byte 0 is segment 0; no zero bytes at the end."""
    if not indices:
        return b""
    bitmap = bytearray(max(indices) // 8 + 1)
    for index in indices:
        bitmap[index // 8] |= 0x80 >> (index % 8)
    return bytes(bitmap)


def decode_have(bitmap: bytes) -> frozenset[int]:
    """Return the indices of a bitmap.

    Raises:
        MalformedError: too long, or zero bytes at its end.
    """
    if len(bitmap) > HAVE_BYTES_MAX or bitmap.endswith(b"\0"):
        raise MalformedError("a have bitmap is too long or not in shortest form")
    return frozenset(
        8 * position + bit
        for position, byte in enumerate(bitmap)
        if byte
        for bit in range(8)
        if byte & (0x80 >> bit)
    )
