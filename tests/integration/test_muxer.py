"""Our multiplexer between real hosts, and what the library's own does instead.

The tests named ``stock`` reproduce the defects of py-libp2p 0.8.1 that p2p/muxer and p2p/swarm.py mend.
When one of them fails, the library was repaired and ours may be dropped for it.
"""

import os
import random
import sys

import pytest
import trio
import trio.testing
from libp2p import new_host
from libp2p.abc import IHost
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.network.config import ConnectionConfig
from multiaddr import Multiaddr

from p2p.config import KIB, MIB
from p2p.errors import PeerGoneError, PeerStalledError
from p2p.host import Host
from p2p.stream import MarinaStream
from tests.support.peers import make_host, running

SINK = "/test/sink/1.0.0"
SOURCE = "/test/source/1.0.0"
LAZY = "/test/lazy/1.0.0"
BLOCK = os.urandom(256 * KIB)


async def sink(stream: MarinaStream) -> None:
    total = 0
    while data := await stream.read_some(64 * KIB):
        total += len(data)
    await stream.write(total.to_bytes(8, "big"))


async def source(stream: MarinaStream) -> None:
    count = (await stream.read_exact(1))[0]
    for _ in range(count):
        await stream.write(BLOCK)


async def lazy(stream: MarinaStream) -> None:
    await trio.sleep_forever()


def pair(**settings: object) -> tuple[Host, Host]:
    a, b = make_host("a", **settings), make_host("b")
    for protocol, handler in ((SINK, sink), (SOURCE, source), (LAZY, lazy)):
        b.serve(protocol, handler, max_streams_per_peer=32)
    return a, b


async def pull(a: Host, b: Host, count: int) -> None:
    stream = await a.open_stream(b.peer_id, SOURCE)
    await stream.write(bytes([count]))
    for _ in range(count):
        assert await stream.read_exact(len(BLOCK)) == BLOCK
    assert await stream.read_some(1) == b""
    await stream.close()


async def test_many_streams_at_once_keep_their_bytes_apart() -> None:
    a, b = pair()
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        async with trio.open_nursery() as nursery:
            for count in range(1, 21):
                nursery.start_soon(pull, a, b, count)


async def test_a_half_closed_stream_still_carries_the_answer() -> None:
    a, b = pair()
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        stream = await a.open_stream(b.peer_id, SINK)
        await stream.write(BLOCK)
        await stream.close()
        assert await stream.read_exact(8) == len(BLOCK).to_bytes(8, "big")
        assert await stream.read_some(1) == b""


async def test_cancelled_writes_leave_the_connection_whole() -> None:
    """The library sends from the writer's own task: a cancelled one leaves half a message behind."""
    a, b = pair()
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        for number in range(30):
            stream = await a.open_stream(b.peer_id, SINK)
            with trio.move_on_after(0.001 * (number % 7)):
                for _ in range(40):
                    await stream.write(BLOCK)
            await stream.reset()
        await pull(a, b, 4)


async def test_cancelled_reads_in_bulk_lose_no_byte() -> None:
    async def drip(stream: MarinaStream) -> None:
        for start in range(0, len(BLOCK), 2000):
            await stream.write(BLOCK[start : start + 2000])
            await trio.sleep(0.002)

    a, b = pair()
    b.serve("/test/drip/1.0.0", drip, max_streams_per_peer=1)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        stream = await a.open_stream(b.peer_id, "/test/drip/1.0.0")
        got, cancelled = bytearray(), 0
        while len(got) < len(BLOCK):
            target = bytearray(random.randint(1, 5000))
            with memoryview(target) as view, trio.move_on_after(random.choice([0.0005, 1])) as scope:
                got += target[: await stream.read_into(view)]
            cancelled += scope.cancelled_caught
            if random.random() < 0.2 and len(got) < len(BLOCK):
                got += await stream.read_some(500)
        assert bytes(got) == BLOCK
        assert cancelled


async def test_bytes_that_came_while_their_read_was_cancelled_are_read_next() -> None:
    a, b = pair()
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        stream = (await a.open_stream(b.peer_id, LAZY))._muxed
        target = bytearray(100)

        async def read() -> None:
            with memoryview(target) as view:
                await stream.read_into(view)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()
            assert stream.feed(memoryview(b"abc"))  # before the reader could run
            assert stream.feed(memoryview(b"def"))
        with trio.fail_after(2):
            assert await stream.read(4) == b"abcd"
            assert await stream.read(4) == b"ef"


async def test_parts_arrive_as_one_row_of_bytes() -> None:
    parts = [os.urandom(random.choice([0, 1, 100, 65_507, 65_508, 200_000])) for _ in range(60)]

    async def in_parts(stream: MarinaStream) -> None:
        await stream.write(*parts)
        await stream.close()

    a, b = pair()
    b.serve("/test/parts/1.0.0", in_parts, max_streams_per_peer=1)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        stream = await a.open_stream(b.peer_id, "/test/parts/1.0.0")
        got = bytearray()
        while data := await stream.read_some(64 * KIB):
            got += data
        assert bytes(got) == b"".join(parts)


async def test_a_writer_gives_up_on_a_peer_that_takes_nothing_and_the_connection_lives() -> None:
    a, b = pair(write_stall_timeout_s=0.3)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        stream = await a.open_stream(b.peer_id, LAZY)
        with pytest.raises(PeerStalledError), trio.fail_after(1):
            await stream.write(bytes(MIB))
        await pull(a, b, 2)


async def test_a_lost_connection_is_an_error_and_never_an_end_of_stream() -> None:
    a, b = pair()
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        stream = await a.open_stream(b.peer_id, LAZY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.disconnect, a.peer_id)
            with pytest.raises(PeerGoneError):
                await stream.read_some(1)


async def test_what_a_peer_finished_before_it_left_can_still_be_read() -> None:
    a, b = pair()
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        stream = await a.open_stream(b.peer_id, SOURCE)
        await stream.write(b"\x01")
        begin = await stream.read_exact(100_000)
        await trio.sleep(0.2)
        await b.disconnect(a.peer_id)
        await trio.sleep(0.2)
        assert begin + await stream.read_exact(len(BLOCK) - 100_000) == BLOCK
        assert await stream.read_some(1) == b""


async def test_an_unread_stream_holds_no_more_than_its_window() -> None:
    a, b = pair(window_out_bytes_max=512 * KIB)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        stream = await a.open_stream(b.peer_id, SOURCE)
        await stream.write(b"\xff")
        for _ in range(16):  # a reader that keeps up gets the largest window
            await stream.read_exact(len(BLOCK))
        await trio.sleep(0.3)
        held = sum(len(chunk) for chunk in stream._muxed._chunks)
        assert 256 * KIB <= held <= 512 * KIB
        await stream.reset()


async def test_round_trips_are_measured() -> None:
    a, b = pair(probe_interval_s=0.1)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        assert a.rtt_s(b.peer_id) is None
        await trio.sleep(0.4)
        rtt_s = a.rtt_s(b.peer_id)
        assert rtt_s is not None
        assert 0 < rtt_s < 0.2


def stock_host(number: int, **settings: int) -> IHost:
    config = ConnectionConfig(
        min_connections=0, low_watermark=0, high_watermark=3, max_connections=3, **settings
    )
    key_pair = create_new_key_pair(bytes([number]) * 32)
    return new_host(key_pair=key_pair, connection_config=config)


async def test_stock_hosts_refuse_everybody_after_enough_visitors() -> None:
    server = stock_host(1)
    reached = 0
    async with server.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        for number in range(2, 8):
            visitor = stock_host(number)
            async with visitor.run([]):
                with trio.move_on_after(1):
                    try:
                        await visitor.get_network().dial_addr(server.get_addrs()[0], server.get_id())
                    except Exception:
                        continue
                    reached += 1
                    await visitor.disconnect(server.get_id())
    assert reached == 3


FALLING = """
import trio
from multiaddr import Multiaddr
from tests.integration.test_muxer import stock_host
server, visitor = stock_host(1), stock_host(2)
async def boom(stream):
    raise ValueError("a defect in a handler")
async def main():
    server.set_stream_handler("/boom/1", boom)
    async with visitor.run([]), server.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        await visitor.get_network().dial_addr(server.get_addrs()[0], server.get_id())
        await visitor.new_stream(server.get_id(), ["/boom/1"])
        await trio.sleep(2)
        print("still up")
trio.run(main)
"""


async def test_stock_hosts_fall_when_a_handler_raises() -> None:
    result = await trio.run_process(
        [sys.executable, "-c", FALLING], check=False, capture_stdout=True, capture_stderr=True
    )
    assert result.returncode != 0
    assert b"still up" not in result.stdout
    assert b"ValueError: a defect in a handler" in result.stderr
