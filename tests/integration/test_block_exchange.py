"""Small blocks between two nodes on loopback; only what was asked for comes in (threat T6)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from marina.cid import RAW, Cid, cid_of
from marina.clock import SystemClock
from marina.codec import encode
from marina.ids import PeerId
from marina.schema import encode_record
from p2p import block_exchange
from p2p.block_exchange import BlockClient, BlockServer
from p2p.errors import PeerGoneError, PeerMisbehavedError
from p2p.framing import pack
from p2p.host import Host
from p2p.releases import ReleaseFetcher
from p2p.stream import MarinaStream
from p2p.wire.block import BLOCK_BYTES_MAX, PROTOCOL, STATUS_MISSING, STATUS_OK, BlockReply, BlockRequest
from storage.blocks.memory import MemoryBlockStore
from tests.support.peers import make_host, running


class Asked:
    """A memory store that says what it was asked for."""

    def __init__(self) -> None:
        self.store = MemoryBlockStore(1 << 30)
        self.cids: list[Cid] = []

    async def get(self, cid: Cid) -> bytes:
        self.cids.append(cid)
        return await self.store.get(cid)


async def fill(store: MemoryBlockStore, count: int, size: int = 300) -> dict[Cid, bytes]:
    blocks = {cid_of(data): data for data in (os.urandom(size) for _ in range(count))}
    await store.put_many(blocks)
    return blocks


@asynccontextmanager
async def pair(
    *, denied: frozenset[Cid] = frozenset()
) -> AsyncIterator[tuple[Host, BlockClient, Asked, PeerId]]:
    """A client connected to a host that serves a store."""
    a, b, source = make_host("client"), make_host("server"), Asked()
    BlockServer(source=source, clock=SystemClock(), is_denied=denied.__contains__).attach(b)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        client = BlockClient(host=a)
        yield a, client, source, b.peer_id
        await client.close()


async def test_many_blocks_come_in_one_call_and_what_is_not_there_is_left_out() -> None:
    async with pair() as (_, client, source, peer):
        blocks = await fill(source.store, 300)
        absent = cid_of(b"nobody has this")
        found = await client.fetch(peer, [absent, *blocks], timeout_s=5)
        assert found == blocks
        large = os.urandom(BLOCK_BYTES_MAX)
        await source.store.put(cid_of(large), large)
        assert await client.fetch(peer, [cid_of(large)], timeout_s=5) == {cid_of(large): large}


async def test_a_denied_block_is_not_looked_up_and_the_asker_is_told_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="marina.p2p")
    secret = b"taken down"
    async with pair(denied=frozenset({cid_of(secret)})) as (_, client, source, peer):
        await source.store.put(cid_of(secret), secret)
        assert await client.fetch(peer, [cid_of(secret)], timeout_s=5) == {}
        assert source.cids == []
        assert "a peer's denylist forbids a block" in caplog.messages


async def test_a_peer_gets_two_hundred_blocks_a_second_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_exchange, "_BLOCKS_BURST", 20.0)
    monkeypatch.setattr(block_exchange, "_BLOCKS_PER_S", 1.0)
    async with pair() as (_, client, source, peer):
        blocks = await fill(source.store, 50)
        found = await client.fetch(peer, list(blocks), timeout_s=5)
        assert 20 <= len(found) <= 23
        assert len(source.cids) == len(found)


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff\xff\xff" + b"x" * 100,
        pack(b"\xc1" * 20),
        pack(encode([[]])),
        pack(encode([[b"short"]])),
        pack(encode_record(BlockRequest((cid_of(b"a"),))) + b"\0"),
        pack(encode([[b"\x01\x71\x12\x20" + bytes(32)] * 17])),
        pack(encode([[bytes(36)]])),
    ],
)
async def test_a_malformed_request_ends_its_stream_and_counts_against_its_sender(frame: bytes) -> None:
    a, b = make_host("client"), make_host("server")
    BlockServer(source=Asked(), clock=SystemClock()).attach(b)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        stream = await a.open_stream(b.peer_id, PROTOCOL)
        await stream.write(frame)
        with trio.fail_after(3), pytest.raises(PeerGoneError):
            await stream.read_exact(1)
        assert b.scores.score(a.peer_id).penalty > 0


@asynccontextmanager
async def liar(answer: bytes) -> AsyncIterator[tuple[ReleaseFetcher, MemoryBlockStore, list[PeerId], PeerId]]:
    """A fetcher whose only provider answers every request with the same bytes, again and again."""
    a, b = make_host("client"), make_host("liar")
    store = MemoryBlockStore(1 << 30)
    corrupt: list[PeerId] = []

    async def lie(stream: MarinaStream) -> None:
        await stream.read_some(1000)
        for _ in range(10_000):
            await stream.write(answer)

    class Only:
        async def connected_providers(self, cid: Cid) -> AsyncIterator[PeerId]:
            del cid
            yield b.peer_id

    b.serve(PROTOCOL, lie, max_streams_per_peer=2)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        fetcher = ReleaseFetcher(
            blocks=store,
            client=BlockClient(host=a),
            peers=Only(),  # type: ignore[arg-type]
            corrupt=lambda peer, _: corrupt.append(peer),
        )
        yield fetcher, store, corrupt, b.peer_id
        await fetcher.close()


def reply(data: bytes) -> bytes:
    return pack(encode_record(BlockReply(STATUS_OK, len(data)))) + data


async def test_t6_of_ten_thousand_wrong_blocks_none_is_stored_and_their_sender_is_named() -> None:
    wanted = cid_of(b"the block that is wanted", RAW)
    async with liar(reply(b"another block")) as (fetcher, store, corrupt, peer):
        with trio.fail_after(10), pytest.raises(Exception, match="the one peer asked lacks it"):
            await fetcher.block(wanted, wanted)
        assert corrupt == [peer]
        stat = await store.stat()
        assert (stat.blocks, stat.bytes_used) == (0, 0)


async def test_t6_blocks_that_follow_the_wanted_one_unasked_are_not_stored() -> None:
    data = b"the block that is wanted"
    async with liar(reply(data)) as (fetcher, store, _, _):
        with trio.fail_after(10):
            assert await fetcher.block(cid_of(data), cid_of(data)) == data
        other = cid_of(b"something else")
        with trio.fail_after(10), pytest.raises(Exception, match="the one peer asked lacks it"):
            await fetcher.block(other, other)
        stat = await store.stat()
        assert (stat.blocks, stat.bytes_used) == (1, len(data))


async def test_a_refusal_with_bytes_is_misbehaviour() -> None:
    wanted = cid_of(b"wanted")
    answer = pack(encode_record(BlockReply(STATUS_MISSING, 5))) + b"extra"
    async with liar(answer) as (fetcher, _, _, peer):
        with trio.fail_after(10), pytest.raises(PeerMisbehavedError):
            await fetcher._client.fetch(peer, [wanted], timeout_s=3)
