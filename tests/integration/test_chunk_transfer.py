"""Segments between real hosts: whole, in order, resumable, paced, and over when a provider dies."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio

from marina.cid import Cid, cid_of
from marina.clock import SystemClock
from p2p.chunk.client import ChunkClient, ChunkSession, Delivery, Want
from p2p.chunk.server import ChunkServer
from p2p.config import KIB, MIB, ChunkConfig
from p2p.errors import P2PError, PeerGoneError, PeerMisbehavedError, PeerStalledError
from p2p.framing import FrameReader, pack
from p2p.host import Host
from p2p.stream import MarinaStream
from p2p.wire.chunk import PROTOCOL, ChunkReply, Status, encode_reply
from tests.support.peers import MemorySegments, make_host, running


def segments(count: int, size: int = 256 * KIB) -> dict[int, bytes]:
    block = os.urandom(size)
    return {index: index.to_bytes(4, "big") + block[4:] for index in range(count)}


def wants(source: MemorySegments) -> list[Want]:
    return [Want(index, len(data)) for index, data in source.segments.items()]


def make_server(source: MemorySegments, host: Host, **settings: object) -> None:
    config = ChunkConfig(**settings)  # type: ignore[arg-type]
    ChunkServer(source=source, clock=SystemClock(), config=config).attach(host)


def make_client(host: Host, **settings: object) -> ChunkClient:
    return ChunkClient(host=host, clock=SystemClock(), config=ChunkConfig(**settings))  # type: ignore[arg-type]


async def fetch_all(client: ChunkClient, peer: Host, source: MemorySegments) -> dict[int, bytes | None]:
    async with client.fetch(peer.peer_id, source.root, wants(source)) as deliveries:
        return {delivery.index: delivery.data async for delivery in deliveries}


async def drain(
    fetch: AbstractAsyncContextManager[AsyncIterator[Delivery]],
    each: Callable[[int], None] = lambda _count: None,
) -> None:
    """Take every delivery, telling after each how many came."""
    count = 0
    async with fetch as deliveries:
        async for _ in deliveries:
            count += 1
            each(count)


async def test_64_mib_arrive_byte_for_byte() -> None:
    a, b, source = make_host("a"), make_host("b"), MemorySegments(segments(256))
    make_server(source, b)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        digest = hashlib.sha256()
        async with make_client(a).fetch(b.peer_id, source.root, wants(source)) as deliveries:
            order = []
            async for delivery in deliveries:
                order.append(delivery.index)
                assert delivery.data is not None
                digest.update(delivery.data)
        assert order == list(range(256))
        assert digest.digest() == hashlib.sha256(b"".join(source.segments.values())).digest()


async def test_missing_and_denied_segments_are_said_to_be_so() -> None:
    a, b, source = make_host("a"), make_host("b"), MemorySegments({0: b"x" * 100, 2: b"y" * 50})
    denied = cid_of(b"denied")
    server = ChunkServer(source=source, clock=SystemClock(), is_denied=lambda root: root == denied)
    server.attach(b)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        client = make_client(a)
        async with client.fetch(
            b.peer_id, source.root, [Want(0, 100), Want(1, 9), Want(2, 50)]
        ) as deliveries:
            found = [(each.index, each.status, each.data) async for each in deliveries]
        assert found == [
            (0, Status.OK, b"x" * 100),
            (1, Status.MISSING, None),
            (2, Status.OK, b"y" * 50),
        ]
        assert await client.have(b.peer_id, source.root) == {0, 2}
        assert await client.have(b.peer_id, cid_of(b"unknown")) == frozenset()
        asked = source.asked
        assert await client.have(b.peer_id, denied) == frozenset()
        async with client.fetch(b.peer_id, denied, [Want(0, 100)]) as deliveries:
            assert [each.status async for each in deliveries] == [Status.DENIED]
        assert source.asked == asked  # the denylist stands before the store


async def test_a_stream_is_reused_and_a_cancelled_fetch_leaves_the_next_one_whole() -> None:
    a, b, source = make_host("a"), make_host("b"), MemorySegments(segments(40))
    make_server(source, b)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        client = make_client(a)
        for _ in range(3):
            assert await fetch_all(client, b, source) == source.segments
        assert b._streams.open_streams(a.peer_id) == 1
        for _ in range(5):
            with trio.move_on_after(0.01):
                await fetch_all(client, b, source)
        assert await fetch_all(client, b, source) == source.segments
        async with client.fetch(b.peer_id, source.root, wants(source)) as deliveries:
            async for _ in deliveries:
                break
        assert await fetch_all(client, b, source) == source.segments
        await trio.sleep(0.2)
        assert b._streams.open_streams(a.peer_id) == 1


async def test_a_deadline_ends_a_fetch_with_an_error() -> None:
    a, b, source = make_host("a"), make_host("b"), MemorySegments(segments(64))
    make_server(source, b, upload_bytes_per_s=MIB)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        counts: list[int] = []
        fetch = make_client(a).fetch(
            b.peer_id, source.root, wants(source), deadline=trio.current_time() + 0.7
        )
        with pytest.raises(PeerStalledError):
            await drain(fetch, counts.append)
        assert 1 <= len(counts) <= 8


@pytest.mark.parametrize("capped", ["server", "client"])
async def test_caps_hold_on_both_sides(capped: str) -> None:
    a, b, source = make_host("a"), make_host("b"), MemorySegments(segments(8))
    make_server(source, b, upload_bytes_per_s=2 * MIB if capped == "server" else None)
    client = make_client(a, download_bytes_per_s=2 * MIB if capped == "client" else None)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        started = time.perf_counter()
        assert await fetch_all(client, b, source) == source.segments
        assert 0.7 <= time.perf_counter() - started <= 1.3  # 2 MiB, of which a quarter second at once


async def test_an_overbooked_cap_answers_busy() -> None:
    a, b, source = make_host("a"), make_host("b"), MemorySegments(segments(4))
    make_server(source, b, upload_bytes_per_s=64 * KIB, busy_after_s=0.1)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch_all, make_client(a), b, source)
            await trio.sleep(0.3)
            async with make_client(a).fetch(b.peer_id, source.root, wants(source)) as deliveries:
                found = {each.status async for each in deliveries}
            nursery.cancel_scope.cancel()
    assert found == {Status.BUSY}


PROVIDER = """
import os, trio
from tests.integration.test_chunk_transfer import make_server, segments
from tests.support.peers import MemorySegments, make_host
async def main():
    host = make_host("provider")
    make_server(MemorySegments(segments(256)), host)
    async with trio.open_nursery() as nursery:
        await nursery.start(host.run)
        print(host.listen_addrs[0], flush=True)
trio.run(main)
"""


@pytest.mark.parametrize(("signal", "error"), [(9, PeerGoneError), (19, P2PError)])
async def test_a_killed_or_stopped_provider_ends_the_fetch_and_nothing_hangs(
    signal: int, error: type[P2PError]
) -> None:
    a = make_host("a", probe_interval_s=0.3, probe_timeout_s=0.6)
    source = MemorySegments({index: bytes(256 * KIB) for index in range(256)})
    process = subprocess.Popen([sys.executable, "-c", PROVIDER], stdout=subprocess.PIPE, text=True)
    try:
        address = await trio.to_thread.run_sync(process.stdout.readline)
        provider = make_host("provider")
        async with running(a):
            await a.dial(provider.peer_id, [address.strip()])
            counts: list[int] = []

            def strike(count: int) -> None:
                counts.append(count)
                if count == 20:
                    process.send_signal(signal)

            fetch = make_client(a, reply_timeout_s=2).fetch(provider.peer_id, source.root, wants(source))
            with trio.fail_after(4), pytest.raises(error):
                await drain(fetch, strike)
            assert 20 <= len(counts) < 256
            with trio.fail_after(3):
                while a.is_connected(provider.peer_id):
                    await trio.sleep(0.05)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def take(session: ChunkSession, count: int) -> None:
    for _ in range(count):
        await session.next()


async def test_a_reader_that_stops_for_long_is_dropped_and_others_are_served() -> None:
    """The library resets after 5 s without telling the reader, who then hangs."""
    a, b, c = make_host("a"), make_host("b", write_stall_timeout_s=0.5), make_host("c")
    source = MemorySegments(segments(64))
    make_server(source, b)
    async with running(a, b, c):
        for host in (a, c):
            await host.dial(b.peer_id, b.listen_addrs)
        async with make_client(a).session(b.peer_id) as session:
            await session.want(source.root, wants(source)[:16])
            await trio.sleep(1.2)
            with trio.fail_after(1):
                assert await fetch_all(make_client(c), b, source) == source.segments
            with pytest.raises(PeerGoneError), trio.fail_after(2):
                await take(session, 16)


class Lies:
    """A provider that answers wants with given bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def handle(self, stream: MarinaStream) -> None:
        reader = FrameReader(stream, header_bytes_max=512, frame_timeout_s=5)
        await reader.header(5)
        await stream.write(self._answer)
        await stream.read_some(1)


def reply(req_id: int, index: int, status: int, length: int, payload: bytes = b"") -> bytes:
    return pack(encode_reply(ChunkReply(req_id, index, status, length))) + payload


@pytest.mark.parametrize(
    "answer",
    [
        reply(1, 0, 0, 99, bytes(99)),
        reply(1, 0, 0, 101, bytes(101)),
        reply(1, 1, 0, 100, bytes(100)),
        reply(2, 0, 0, 100, bytes(100)),
        reply(1, 0, 4, 1, b"\x80"),
    ],
    ids=["shorter", "longer", "other index", "other request", "bitmap"],
)
async def test_answers_to_other_questions_are_misbehaviour(answer: bytes) -> None:
    a, b = make_host("a"), make_host("b")
    b.serve(PROTOCOL, Lies(answer).handle, max_streams_per_peer=4)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        with pytest.raises(PeerMisbehavedError):
            await drain(make_client(a).fetch(b.peer_id, Cid(cid_of(b"r")), [Want(0, 100)]))


async def test_two_hundred_fetches_leave_no_streams_behind() -> None:
    a, b, source = make_host("a"), make_host("b"), MemorySegments(segments(4, 1000))
    make_server(source, b)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        for _ in range(100):
            client = make_client(a)
            assert await fetch_all(client, b, source) == source.segments
            await client.close()
            with trio.move_on_after(0):
                await fetch_all(client, b, source)
        await trio.sleep(0.3)
        assert b._streams.open_streams(a.peer_id) == 0
        muxed = b._swarm.connection_to(a.peer_id).muxed_conn
        assert len(muxed._streams) <= 2
