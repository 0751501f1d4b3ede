"""Frames and yamux frames: any split of the bytes gives the same frames, any junk only declared errors."""

import contextlib
import itertools
import os

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.errors import MalformedError
from p2p.errors import PeerGoneError, PeerStalledError
from p2p.framing import FrameReader, pack
from p2p.muxer.connection import FrameParser
from p2p.muxer.frames import Kind, pack_header
from p2p.wire.chunk import decode_have, decode_reply, decode_request

RUNS = int(os.environ.get("MARINA_FUZZ_RUNS", "150"))


class Pieces:
    """A byte source that gives prepared pieces, then the end or silence."""

    def __init__(self, pieces: list[bytes], *, hangs: bool = False) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self._hangs = hangs

    async def read_some(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._pieces:
            if self._hangs:
                await trio.sleep_forever()
            return b""
        piece = self._pieces.pop(0)
        if len(piece) > max_bytes:
            self._pieces.insert(0, piece[max_bytes:])
        return piece[:max_bytes]

    async def read_into(self, target: memoryview) -> int:
        piece = await self.read_some(len(target))
        target[: len(piece)] = piece
        return len(piece)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


def reader(source: Pieces) -> FrameReader:
    return FrameReader(source, header_bytes_max=64, frame_timeout_s=5)


async def read_one(source: FrameReader, payload_bytes: int) -> None:
    await source.header(10)
    await source.payload(payload_bytes)


frames = st.lists(st.tuples(st.binary(min_size=1, max_size=64), st.binary(max_size=300)), max_size=6)


@given(frames, st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=RUNS, deadline=None)
def test_frames_come_out_however_the_bytes_are_cut(
    parts: list[tuple[bytes, bytes]], places: list[int]
) -> None:
    async def main() -> None:
        data = b"".join(pack(header) + payload for header, payload in parts)
        source = reader(Pieces(cut(data, places)))
        for header, payload in parts:
            assert await source.header(10) == header
            assert await source.payload(len(payload)) == payload
        assert await source.header(10) is None

    trio.run(main)


@given(frames.filter(bool), st.integers(1, 10_000))
@settings(max_examples=RUNS, deadline=None)
def test_an_end_inside_a_frame_is_a_truncation(parts: list[tuple[bytes, bytes]], missing: int) -> None:
    header, payload = parts[0]
    data = pack(header) + payload
    data = data[: max(1, len(data) - missing)]

    async def main() -> None:
        with pytest.raises(PeerGoneError):
            await read_one(reader(Pieces([data])), len(payload) + 1)

    trio.run(main)


@given(st.binary(max_size=200))
@settings(max_examples=RUNS, deadline=None)
def test_junk_raises_only_declared_errors(data: bytes) -> None:
    async def main() -> None:
        source = reader(Pieces([data]))
        try:
            while (header := await source.header(10)) is not None:
                for decode in (decode_request, decode_reply, decode_have):
                    with contextlib.suppress(MalformedError):
                        decode(header)
        except (MalformedError, PeerGoneError):
            pass

    trio.run(main)


@pytest.mark.parametrize("length", [0, 65, 2**31, 2**32 - 1])
async def test_a_header_of_forbidden_length_is_malformed_before_it_is_read(length: int) -> None:
    with pytest.raises(MalformedError):
        await reader(Pieces([length.to_bytes(4, "big")], hangs=True)).header(10)


@pytest.mark.parametrize("start", [b"", b"\0", b"\0\0\0\x05", b"\0\0\0\x05abc"])
async def test_a_half_frame_ends_at_the_deadline(start: bytes, autojump_clock: object) -> None:
    source = reader(Pieces([start], hangs=True))
    with pytest.raises(PeerStalledError):
        await source.header(30)
    assert trio.current_time() - 0 <= (30 if not start else 5) + 0.1
    assert source.is_inside_frame is bool(start)


async def test_a_trickled_header_does_not_stretch_the_deadline(autojump_clock: object) -> None:
    class Trickle:
        async def read_some(self, max_bytes: int) -> bytes:
            await trio.sleep(1)
            return b"\0"

        async def read_into(self, target: memoryview) -> int:
            raise AssertionError("a header is not read in bulk")

    with pytest.raises((PeerStalledError, MalformedError)):
        await FrameReader(Trickle(), header_bytes_max=64, frame_timeout_s=2.5).header(30)
    assert trio.current_time() < 5


yamux_frames = st.lists(st.tuples(st.integers(1, 2**31), st.binary(max_size=200)), max_size=6)


@given(yamux_frames, st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=RUNS, deadline=None)
def test_yamux_payloads_come_out_however_the_bytes_are_cut(
    parts: list[tuple[int, bytes]], places: list[int]
) -> None:
    got: list[tuple[int, bytearray]] = []
    parser = FrameParser(
        lambda header: got.append((header.stream_id, bytearray())),
        lambda header, data, *, is_last: got[-1][1].extend(data),
    )
    data = b"".join(pack_header(Kind.DATA, 0, number, len(body)) + body for number, body in parts)
    for piece in cut(data, places):
        parser.feed(piece)
    assert [(number, bytes(body)) for number, body in got] == parts


@given(st.binary(max_size=300))
@settings(max_examples=RUNS, deadline=None)
def test_yamux_junk_raises_only_malformed(data: bytes) -> None:
    parser = FrameParser(lambda header: None, lambda header, data, *, is_last: None)
    with contextlib.suppress(MalformedError):
        parser.feed(data)
