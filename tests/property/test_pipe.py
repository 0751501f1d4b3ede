"""Noise messages come out of the pipe however the network cuts the bytes, and never damaged."""

import io
import itertools
import os
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from libp2p.security.noise.io import NoiseTransportReadWriter
from noise.connection import Keypair, NoiseConnection

from p2p.muxer.pipe import PLAINTEXT_BYTES_MAX, BrokenPipe, SecurePipe

RUNS = int(os.environ.get("MARINA_FUZZ_RUNS", "100"))


class Wire:
    """A raw connection: keeps what is written, gives what it holds in prepared pieces."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.pieces: list[bytes] = []

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.written += data

    async def read(self, n: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.pieces:
            return b""
        assert len(self.pieces[0]) <= n
        return self.pieces.pop(0)


def pipes() -> tuple[SecurePipe, Wire, SecurePipe, Wire]:
    """Return both ends of a session whose handshake is done."""
    one, two = (NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256") for _ in range(2))
    for each in (one, two):
        each.set_keypair_from_private_bytes(Keypair.STATIC, os.urandom(32))
    one.set_as_initiator()
    two.set_as_responder()
    one.start_handshake()
    two.start_handshake()
    for _ in range(2):
        if not one.handshake_finished:
            two.read_message(one.write_message())
        if not two.handshake_finished:
            one.read_message(two.write_message())
    return *_end(one), *_end(two)


def _end(state: NoiseConnection) -> tuple[SecurePipe, Wire]:
    wire = Wire()
    transport: Any = NoiseTransportReadWriter(wire, state)
    session: Any = SimpleNamespace(conn=transport, buf=io.BytesIO(), low_watermark=0, high_watermark=0)
    return SecurePipe(session), wire


messages = st.lists(
    st.integers(1, 400).flatmap(lambda size: st.binary(min_size=size, max_size=size))
    | st.sampled_from([b"a" * PLAINTEXT_BYTES_MAX, b"b" * 40_000]),
    max_size=8,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted(
        {0, len(data), *(place % (len(data) + 1) for place in places), *range(0, len(data), 200_000)}
    )
    return [data[a:b] for a, b in itertools.pairwise(marks)]


async def drain(pipe: SecurePipe, got: list[bytes]) -> None:
    while (plaintext := await pipe.receive()) is not None:
        got.append(bytes(plaintext))


@given(messages, st.lists(st.integers(0, 600_000), max_size=20))
@settings(max_examples=RUNS, deadline=None)
def test_messages_come_out_however_the_bytes_are_cut(sent: list[bytes], places: list[int]) -> None:
    async def main() -> None:
        alice, out, bob, into = pipes()
        await alice.send(sent[:3])
        await alice.send(sent[3:])
        into.pieces = cut(bytes(out.written), places)
        got: list[bytes] = []
        await drain(bob, got)
        assert got == sent

    trio.run(main)


@given(messages.filter(bool), st.integers(0, 10**6), st.integers(0, 7))
@settings(max_examples=RUNS, deadline=None)
def test_a_changed_byte_breaks_the_pipe_and_damages_nothing_before_it(
    sent: list[bytes], place: int, bit: int
) -> None:
    async def main() -> None:
        alice, out, bob, into = pipes()
        await alice.send(sent)
        wire = bytearray(out.written)
        wire[place % len(wire)] ^= 1 << bit
        into.pieces = cut(bytes(wire), [])
        got: list[bytes] = []
        with pytest.raises(BrokenPipe):
            await drain(bob, got)
        assert got == sent[: len(got)]

    trio.run(main)


@given(messages.filter(bool), st.integers(1, 10**6))
@settings(max_examples=RUNS, deadline=None)
def test_an_end_inside_a_message_is_no_orderly_end(sent: list[bytes], missing: int) -> None:
    async def main() -> None:
        alice, out, bob, into = pipes()
        await alice.send(sent)
        last = 2 + len(sent[-1]) + 16
        into.pieces = cut(bytes(out.written[: -(1 + missing % (last - 1))]), [])
        with pytest.raises(BrokenPipe):
            await drain(bob, [])

    trio.run(main)


async def test_a_message_too_short_to_be_one_breaks_the_pipe() -> None:
    _, _, bob, into = pipes()
    into.pieces = [b"\x00\x05hello"]
    with pytest.raises(BrokenPipe):
        await bob.receive()
