"""Nodes that speak bitswap on loopback, and peers that speak it badly."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import trio

from marina.cid import Cid, cid_of
from marina.clock import SystemClock
from marina.ids import PeerId
from marina.protowire import varint
from p2p.bitswap.client import BitswapClient
from p2p.bitswap.exchange import Bitswap
from p2p.bitswap.frames import VarintReader
from p2p.bitswap.messages import MESSAGE_BYTES_MAX, PROTOCOL, Message, decode_message, encode_message
from p2p.bitswap.server import BitswapServer
from p2p.bitswap.session import Session
from p2p.host import Host
from p2p.stream import MarinaStream
from storage.blocks.memory import MemoryBlockStore
from tests.support.peers import make_host, running


def message(**parts: object) -> bytes:
    """Return the bytes of a message."""
    return b"".join(encode_message(**parts))  # type: ignore[arg-type]


class Swapper:
    """A node with blocks."""

    def __init__(self, name: str, *, denied: frozenset[Cid] = frozenset()) -> None:
        self.host = make_host(name)
        self.store = MemoryBlockStore(1 << 30)
        self.client = BitswapClient(host=self.host)
        self.server = BitswapServer(
            host=self.host, source=self.store, clock=SystemClock(), is_denied=denied.__contains__
        )
        self.bitswap = Bitswap(server=self.server, client=self.client, clock=SystemClock())
        self.bitswap.attach(self.host)

    async def fill(self, count: int, size: int = 300) -> dict[Cid, bytes]:
        """Store random blocks and return them."""
        blocks = {cid_of(data): data for data in (os.urandom(size) for _ in range(count))}
        await self.store.put_many(blocks)
        return blocks

    async def fetch(
        self, cids: Sequence[Cid], *peers: Host | Swapper | PeerId
    ) -> tuple[dict[Cid, bytes], list[Cid]]:
        """Return the blocks that came, and what no peer gave."""
        ids = [each if isinstance(each, str) else getattr(each, "host", each).peer_id for each in peers]
        session = Session(self.client, [PeerId(each) for each in ids])
        found: dict[Cid, bytes] = {}
        async with aclosing(session.fetch(cids)) as blocks:
            async for cid, data in blocks:
                assert cid not in found, "it came twice"
                found[cid] = bytes(data)
        return found, session.missing


@asynccontextmanager
async def swapping(*nodes: Swapper, others: Sequence[Host] = ()) -> AsyncIterator[None]:
    """Run nodes and other hosts, the first node connected to all the rest."""
    async with running(*(each.host for each in nodes), *others), trio.open_nursery() as nursery:
        for each in nodes:
            await nursery.start(each.bitswap.run)
        for host in (*(each.host for each in nodes[1:]), *others):
            await nodes[0].host.dial(host.peer_id, host.listen_addrs)
        yield
        for each in nodes:
            await each.client.close()
        nursery.cancel_scope.cancel()


class Rogue:
    """A peer that hears wants and answers as its test says."""

    def __init__(self, name: str, *, refusals: int = 0) -> None:
        """Make a peer that breaks off its first ``refusals`` streams."""
        self.refusals = refusals
        self.host = make_host(name)
        self.host.serve(PROTOCOL, self._handle, max_streams_per_peer=8)
        self.heard: list[Message] = []
        self._news = trio.Event()

    async def _handle(self, stream: MarinaStream) -> None:
        if self.refusals:
            self.refusals -= 1
            await stream.reset()
            return
        reader = VarintReader(stream, frame_bytes_max=MESSAGE_BYTES_MAX, pause_s=10)
        while (size_bytes := await reader.begin(60)) is not None:
            self.heard.append(decode_message(await reader.take(size_bytes)))
            self._news.set()

    async def wanted(self, count: int = 1) -> list[Cid]:
        """Wait until so many blocks were wanted and return them."""
        with trio.fail_after(10):
            while True:
                cids = [Cid(want.name) for each in self.heard for want in each.wants if not want.is_cancel]
                if len(cids) >= count:
                    return cids
                self._news = trio.Event()
                await self._news.wait()

    async def say(self, peer: PeerId, *frames: bytes) -> MarinaStream:
        """Open a stream and write frames, their lengths in front."""
        stream = await self.host.open_stream(peer, PROTOCOL)
        for frame in frames:
            await stream.write(varint(len(frame)), frame)
        return stream
