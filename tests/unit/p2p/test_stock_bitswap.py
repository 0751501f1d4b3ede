"""What py-libp2p's own bitswap does, and ours must not: these fail once it is repaired (decision 0013)."""

from __future__ import annotations

import os

import pytest
import trio
from libp2p.bitswap.block_store import MemoryBlockStore
from libp2p.bitswap.cid import parse_cid
from libp2p.bitswap.client import BitswapClient

from marina.cid import cid_of
from p2p.bitswap.messages import PROTOCOL, Want, WantKind
from tests.support.peers import make_host, running
from tests.support.swapping import Rogue, message

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


async def test_stock_keeps_blocks_that_nobody_wanted() -> None:
    victim, pusher = make_host("victim"), Rogue("pusher")
    store = MemoryBlockStore()
    async with running(victim, pusher.host), trio.open_nursery() as nursery:
        stock = BitswapClient(victim.raw, store)
        stock.set_nursery(nursery)
        await stock.start()
        await pusher.host.dial(victim.peer_id, victim.listen_addrs)
        data = os.urandom(100)
        stream = await pusher.say(victim.peer_id, message(blocks=[(bytes(cid_of(data)), data)]))
        with trio.fail_after(5):
            while not await store.has_block(parse_cid(bytes(cid_of(data)))):
                await trio.sleep(0.02)
        await stream.close()
        await stock.stop()
        nursery.cancel_scope.cancel()


async def test_stock_answers_on_the_stream_that_asked_and_sends_a_block_to_who_asks_if_it_is_there() -> None:
    server, asker = make_host("server"), Rogue("asker")
    store = MemoryBlockStore()
    data = os.urandom(2000)
    await store.put_block(parse_cid(bytes(cid_of(data))), data)
    async with running(server, asker.host), trio.open_nursery() as nursery:
        stock = BitswapClient(server.raw, store)
        stock.set_nursery(nursery)
        await stock.start()
        await asker.host.dial(server.peer_id, server.listen_addrs)
        stream = await asker.host.open_stream(server.peer_id, PROTOCOL)
        frame = message(wants=[Want(bytes(cid_of(data)), WantKind.HAVE)])
        await stream.write(bytes((len(frame),)), frame)
        answer = b""
        with trio.fail_after(5):
            while len(answer) < len(data):
                answer += await stream.read_some(4096)
        assert data in answer, "the block itself, though only its presence was wanted"
        assert not asker.heard, "Kubo and Helia listen for a stream of the server's, and get none"
        await stream.close()
        await stock.stop()
        nursery.cancel_scope.cancel()
