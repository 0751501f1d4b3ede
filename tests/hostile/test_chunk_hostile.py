"""Peers that attack the chunk protocol and the multiplexer under it (threats T1, T2, T3, T5, T7)."""

import gc
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from marina.cid import cid_of
from marina.clock import SystemClock
from marina.codec import encode
from p2p.chunk.client import ChunkClient, Want
from p2p.chunk.server import ChunkServer
from p2p.config import KIB, MIB, ChunkConfig
from p2p.errors import P2PError
from p2p.framing import pack
from p2p.host import Host
from p2p.muxer.frames import Flag, Kind, pack_header
from p2p.muxer.pipe import SecurePipe
from p2p.stream import BROKEN, MarinaStream
from p2p.wire.chunk import PROTOCOL, ChunkRequest, encode_request
from tests.support.peers import MemorySegments, attacker_pipe, make_host, running

FRAMES = int(os.environ.get("MARINA_FUZZ_RUNS", "10000"))
ROOT = cid_of(b"memory")


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@asynccontextmanager
async def victim(**settings: object) -> AsyncIterator[tuple[Host, MemorySegments]]:
    """A running host that serves eight segments."""
    host = make_host("victim", connections_pending_max=256)
    source = MemorySegments({index: bytes([index]) * (64 * KIB) for index in range(8)}, ROOT)
    ChunkServer(source=source, clock=SystemClock(), config=ChunkConfig(**settings)).attach(host)  # type: ignore[arg-type]
    async with running(host):
        yield host, source


async def honest_round(a: Host, host: Host) -> float:
    started = time.perf_counter()
    client = ChunkClient(host=a, clock=SystemClock())
    async with client.fetch(host.peer_id, ROOT, [Want(0, 64 * KIB)]) as deliveries:
        assert [len(each.data or b"") async for each in deliveries] == [64 * KIB]
    await client.close()
    return time.perf_counter() - started


def bad_frame(rng: random.Random) -> bytes:
    good = encode_request(ChunkRequest(rng.getrandbits(32), ROOT, (rng.randrange(8),)))
    kind = rng.randrange(6)
    if kind == 0:
        return pack(rng.randbytes(rng.randint(1, 400)))
    if kind == 1:
        return rng.randbytes(4) + rng.randbytes(50)
    if kind == 2:
        place = rng.randrange(len(good))
        return pack(good[:place] + bytes([good[place] ^ (1 << rng.randrange(8))]) + good[place + 1 :] + b"\0")
    if kind == 3:
        return pack(b"\x90" * rng.randint(1, 500))
    if kind == 4:
        return (2**32 - 1).to_bytes(4, "big") + good
    return pack(encode([1, ROOT, [3, 3]]))


async def test_t2_bad_frames_ban_their_sender_within_twenty_and_cost_others_nothing() -> None:
    rng = random.Random(7)
    async with victim() as (host, source):
        honest, rude = make_host("honest"), make_host("rude")
        async with running(honest, rude):
            await honest.dial(host.peer_id, host.listen_addrs)
            await honest_round(honest, host)
            gc.collect()
            memory, files = rss_bytes(), open_files()
            slowest_s = 0.0
            sent = banned_after = 0
            while sent < min(FRAMES, 10_000):
                try:
                    if not rude.is_connected(host.peer_id):
                        await rude.dial(host.peer_id, host.listen_addrs, timeout_s=1)
                    stream = await rude.open_stream(host.peer_id, PROTOCOL)
                    sent += 1
                    await stream.write(bad_frame(rng))
                    with trio.move_on_after(1):
                        await stream.read_some(100)
                    await stream.reset()
                except P2PError:
                    await trio.lowlevel.checkpoint()
                if host.is_banned(rude.peer_id):
                    banned_after = banned_after or sent
                    break
            slowest_s = max([await honest_round(honest, host) for _ in range(20)])
            assert 0 < banned_after <= 20
            with trio.fail_after(2):
                while rude.peer_id in host.connected_peers():
                    await trio.sleep(0.01)
            for _ in range(20):  # it comes back and back
                try:
                    await rude.dial(host.peer_id, host.listen_addrs, timeout_s=1)
                    await (await rude.open_stream(host.peer_id, PROTOCOL, timeout_s=0.2)).reset()
                except P2PError:
                    pass
                assert host.connected_peers() == [honest.peer_id]
            await rude.disconnect(host.peer_id)
            await trio.sleep(0.5)
            gc.collect()
            assert rss_bytes() - memory < 10 * MIB
            assert open_files() <= files
            assert slowest_s < 0.25
            assert source.asked == 21


async def say(stream: MarinaStream, data: bytes) -> None:
    await stream.write(data)
    await stream.read_exact(1)


async def test_t2_ten_thousand_bad_frames_on_one_stream_are_not_even_read() -> None:
    rng = random.Random(8)
    flood = b"".join(bad_frame(rng) for _ in range(10_000))
    async with victim() as (host, source):
        rude = make_host("rude")
        async with running(rude):
            await rude.dial(host.peer_id, host.listen_addrs)
            stream = await rude.open_stream(host.peer_id, PROTOCOL)
            with pytest.raises(P2PError), trio.fail_after(5):
                await say(stream, flood)
        assert source.asked == 0
        assert host.scores.score(rude.peer_id).penalty == pytest.approx(5.0, abs=0.1)


BOMBS = [
    b"\x80" * 500,
    b"\x90" * 512,
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xdc\xff\xff" + b"\xc0" * 500,
    b"\x91" * 500 + b"\xc0",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\x93\x01\xc4\x24" + bytes(36) + b"\xdc\x01\x00" + b"\x01" * 256,
    b"\xcb" + bytes(8),
    b"\xc1",
    b"",
]


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
async def test_t3_a_bomb_in_a_header_costs_one_stream(bomb: bytes) -> None:
    async with victim() as (host, source):
        rude = make_host("rude")
        async with running(rude):
            await rude.dial(host.peer_id, host.listen_addrs)
            stream = await rude.open_stream(host.peer_id, PROTOCOL)
            started = time.perf_counter()
            await stream.write(pack(bomb))
            with trio.fail_after(1):
                with suppress(P2PError):
                    assert await stream.read_some(1) == b""
            assert time.perf_counter() - started < 0.25
            assert source.asked == 0
            assert await honest_round(rude, host) < 1


@pytest.mark.parametrize(
    ("start", "count"),
    [(b"\0", 100), (pack(b"x" * 100)[:50], 100)],
    ids=["one byte", "half a header"],
)
async def test_t5_half_frames_are_all_reset_in_time(start: bytes, count: int) -> None:
    """Two hundred in all; many identities, because one peer may hold two streams only."""
    limit_s = 1.0
    async with victim(frame_timeout_s=limit_s) as (host, _):
        async with trio.open_nursery() as nursery:
            reset_after: list[float] = []

            async def loris(number: int) -> None:
                async with attacker_pipe(host, f"loris{number}") as pipe:
                    await open_raw_stream(pipe, 1, PROTOCOL)
                    await pipe.send([pack_header(Kind.DATA, 0, 1, len(start)) + start])
                    began = trio.current_time()
                    await until_reset(pipe, 1)
                    reset_after.append(trio.current_time() - began)

            with trio.fail_after(15):
                async with trio.open_nursery() as inner:
                    for number in range(count):
                        inner.start_soon(loris, number)
                        await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
        assert len(reset_after) == count
        assert max(reset_after) < limit_s + 2
        with trio.fail_after(3):
            while any(host._streams._peers.values()):
                await trio.sleep(0.05)


async def open_raw_stream(pipe: SecurePipe, stream_id: int, protocol: str) -> None:
    line = f"{protocol}\n".encode()
    hello = b"\x13/multistream/1.0.0\n" + bytes([len(line)]) + line
    await pipe.send(
        [
            pack_header(Kind.WINDOW, Flag.SYN, stream_id, 0),
            pack_header(Kind.DATA, 0, stream_id, len(hello)) + hello,
        ]
    )


async def until_reset(pipe: SecurePipe, stream_id: int) -> None:
    """Read frames until the stream is reset or the connection is gone."""
    data = b""
    while (more := await pipe.receive()) is not None:
        data += more
        while len(data) >= 12:
            kind, flags = data[1], int.from_bytes(data[2:4], "big")
            length = int.from_bytes(data[8:12], "big") if kind == Kind.DATA else 0
            if len(data) < 12 + length:
                break
            number = int.from_bytes(data[4:8], "big")
            data = data[12 + length :]
            if number == stream_id and flags & (Flag.RST | Flag.FIN):
                return


async def test_t7_a_million_wants_wait_in_the_senders_own_window() -> None:
    async with victim(upload_bytes_per_s=256 * KIB) as (host, source):
        greedy, honest = make_host("greedy"), make_host("honest")
        request = pack(encode_request(ChunkRequest(1, ROOT, tuple(range(8)))))
        async with running(greedy, honest):
            await greedy.dial(host.peer_id, host.listen_addrs)
            await honest.dial(host.peer_id, host.listen_addrs)
            gc.collect()
            memory = rss_bytes()
            stream = await greedy.open_stream(host.peer_id, PROTOCOL)
            received = 0
            with trio.move_on_after(3):
                async with trio.open_nursery() as nursery:

                    async def want_more() -> None:
                        for _ in range(125_000):  # a million segments
                            await stream.write(request)

                    nursery.start_soon(want_more)
                    while True:
                        received += len(await stream.read_some(MIB))
            gc.collect()
            assert rss_bytes() - memory < 5 * MIB
            assert received <= 256 * KIB * 3 + 512 * KIB
            assert source.asked * 64 * KIB <= received + 3 * MIB
            assert await honest_round(honest, host) < 2


async def expect_connection_lost(attack: Callable[[SecurePipe], Awaitable[None]], **settings: object) -> None:
    async with victim(**settings) as (host, _):
        honest = make_host("honest")
        async with running(honest):
            await honest.dial(host.peer_id, host.listen_addrs)
            async with attacker_pipe(host) as pipe:
                with trio.fail_after(5):
                    with suppress(*BROKEN):
                        await attack(pipe)
                        while await pipe.receive() is not None:
                            pass
            with trio.fail_after(2):
                while len(host.connected_peers()) > 1:
                    await trio.sleep(0.01)
            assert await honest_round(honest, host) < 3


async def test_a_peer_that_sends_past_its_window_loses_the_connection() -> None:
    """The stock multiplexer logs a line and keeps every byte."""

    request = pack(encode_request(ChunkRequest(1, ROOT, tuple(range(8)))))
    block = request * (60_000 // len(request))

    async def attack(pipe: SecurePipe) -> None:
        await open_raw_stream(pipe, 1, PROTOCOL)
        for _ in range(100):  # 6 MB of wants that nobody can serve as fast
            await pipe.send([pack_header(Kind.DATA, 0, 1, len(block)) + block])

    await expect_connection_lost(attack, upload_bytes_per_s=64 * KIB)


@pytest.mark.parametrize(
    "frame",
    [
        pack_header(Kind.DATA, 0, 1, 2**32 - 1),
        pack_header(Kind.WINDOW, Flag.SYN, 2, 0),
        pack_header(Kind.WINDOW, Flag.SYN, 1, 0) * 2,
        pack_header(Kind.WINDOW, Flag.SYN, 1, 0) + pack_header(Kind.WINDOW, 0, 1, 2**32 - 1),
        b"\x01" + pack_header(Kind.WINDOW, Flag.SYN, 1, 0)[1:],
        pack_header(7, 0, 1, 0),
        pack_header(Kind.DATA, 0, 0, 5),
        pack_header(Kind.PING, Flag.SYN, 9, 0),
    ],
    ids=["huge", "our parity", "twice", "window", "version", "type", "stream 0", "ping on a stream"],
)
async def test_frames_that_break_yamux_end_the_connection(frame: bytes) -> None:
    async def attack(pipe: SecurePipe) -> None:
        await pipe.send(
            [pack_header(Kind.WINDOW, Flag.SYN, 1, 0), frame] if frame[1] == 0 and frame[7] else [frame]
        )

    await expect_connection_lost(attack)


async def test_a_thousand_streams_from_one_peer_are_mostly_refused_and_nobody_else_notices() -> None:
    async with victim() as (host, _):
        honest = make_host("honest")
        async with running(honest):
            await honest.dial(host.peer_id, host.listen_addrs)
            async with attacker_pipe(host) as pipe:
                for number in range(1, 2001, 2):
                    await pipe.send([pack_header(Kind.WINDOW, Flag.SYN, number, 0)])
                await trio.sleep(0.2)
                attackers = [peer for peer in host.connected_peers() if peer != honest.peer_id]
                assert host._streams.open_streams(attackers[0]) <= 32
                assert await honest_round(honest, host) < 1


async def test_a_flood_of_tiny_data_frames_does_not_multiply_memory() -> None:
    async with victim() as (host, _), attacker_pipe(host) as pipe:
        gc.collect()
        memory = rss_bytes()
        await pipe.send([pack_header(Kind.WINDOW, Flag.SYN, 1, 0)])
        tiny = (pack_header(Kind.DATA, 0, 1, 1) + b"\x7f") * 4000
        for _ in range(50):
            await pipe.send([tiny])
        await trio.sleep(0.3)
        gc.collect()
        assert rss_bytes() - memory < 5 * MIB


async def test_a_ping_flood_that_is_never_read_costs_the_connection() -> None:
    async def attack(pipe: SecurePipe) -> None:
        ping = pack_header(Kind.PING, Flag.SYN, 0, 1) * 4000
        while True:
            await pipe.send([ping])

    await expect_connection_lost(attack)
