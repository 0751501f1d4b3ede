"""Chunk messages."""

import pytest

from marina.cid import cid_of
from marina.codec import encode
from marina.errors import MalformedError
from p2p.wire.chunk import (
    INDICES_MAX,
    REPLY_HEADER_BYTES_MAX,
    REQUEST_HEADER_BYTES_MAX,
    SEGMENTS_MAX,
    ChunkReply,
    ChunkRequest,
    Status,
    decode_have,
    decode_reply,
    decode_request,
    encode_have,
    encode_reply,
    encode_request,
)

ROOT = cid_of(b"root")


def test_the_largest_messages_fit_their_header_limits() -> None:
    request = ChunkRequest(2**32 - 1, ROOT, tuple(range(SEGMENTS_MAX - INDICES_MAX, SEGMENTS_MAX)))
    assert len(encode_request(request)) <= REQUEST_HEADER_BYTES_MAX
    assert decode_request(encode_request(request)) == request
    reply = ChunkReply(2**32 - 1, SEGMENTS_MAX - 1, Status.OK.value, 256 * 1024)
    assert len(encode_reply(reply)) <= REPLY_HEADER_BYTES_MAX
    assert decode_reply(encode_reply(reply)) == reply


@pytest.mark.parametrize(
    "value",
    [
        [1, ROOT, [1, 1]],
        [1, ROOT, list(range(INDICES_MAX + 1))],
        [1, ROOT, [SEGMENTS_MAX]],
        [1, ROOT, [-1]],
        [1, ROOT[:-1], [1]],
        [1, ROOT],
        [1, ROOT, [1], 0],
        [2**32, ROOT, [1]],
        [1, ROOT, 1],
        [True, ROOT, [1]],
        7,
        None,
    ],
)
def test_other_requests_are_malformed(value: object) -> None:
    with pytest.raises(MalformedError):
        decode_request(encode(value))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        [1, 0, 0, 0],
        [1, 0, 0, 256 * 1024 + 1],
        [1, 0, 1, 5],
        [1, 0, 5, 0],
        [1, 0, -1, 0],
        [1, 3, 4, 1],
        [1, 0, 4, SEGMENTS_MAX // 8 + 1],
        [1, 0, 0],
    ],
)
def test_other_replies_are_malformed(value: object) -> None:
    with pytest.raises(MalformedError):
        decode_reply(encode(value))  # type: ignore[arg-type]


@pytest.mark.parametrize("indices", [set(), {0}, {7}, {8}, {0, 1, 2, 500, SEGMENTS_MAX - 1}, set(range(100))])
def test_bitmaps_round_trip(indices: set[int]) -> None:
    assert decode_have(encode_have(frozenset(indices))) == indices


def test_the_first_segment_is_the_highest_bit() -> None:
    assert encode_have(frozenset({0, 15})) == b"\x80\x01"


@pytest.mark.parametrize("bitmap", [b"\0", b"\x80\0", b"\1" * (SEGMENTS_MAX // 8 + 1)])
def test_other_bitmaps_are_malformed(bitmap: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_have(bitmap)
