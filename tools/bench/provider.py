"""A process that provides renditions as a node does: block store, host, chunk server.

Beside them a stock py-libp2p host serves one raw stream, so that both are measured against the same
process. ``python -m tools.bench.provider`` reads one JSON line with what to make, prints one with what
it made and where it listens, and serves until its input ends.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.network.stream.exceptions import StreamError
from multiaddr import Multiaddr

from marina.clock import SystemClock
from marina.secret import Secret
from p2p.bitswap.client import BitswapClient
from p2p.bitswap.exchange import Bitswap
from p2p.bitswap.server import BitswapServer
from p2p.chunk.server import ChunkServer
from p2p.config import HostConfig
from p2p.host import Host
from storage.blocks.embedded import EmbeddedBlockStore
from tools.bench.child import Child, Message, die_with_parent, reply, take_stdout
from tools.bench.content import Sealed, block_store, seal_track, write_random
from tools.bench.raw import noise_only, send_raw

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
RAW = "/bench/raw/1.0.0"
_SIZE_DIGITS = 12


def host_of(name: str) -> Host:
    """Return a host with a key of its own on loopback, not running."""
    seed = Secret(hashlib.sha256(name.encode()).digest())
    return Host(seed=seed, clock=SystemClock(), config=HostConfig(listen_addrs=LOOPBACK))


async def serve_bitswap(
    host: Host, blocks: EmbeddedBlockStore, nursery: trio.Nursery, client: BitswapClient
) -> None:
    """Serve a store's blocks over bitswap, as every node does, in a nursery."""
    server = BitswapServer(host=host, source=blocks, clock=SystemClock())
    bitswap = Bitswap(server=server, client=client, clock=SystemClock())
    bitswap.attach(host)
    await nursery.start(bitswap.run)


class Provider(Child):
    """The parent's view of such a process.

    Attributes:
        peer: its peer id.
        addresses: where it listens.
        sealed: what it provides.
        stock_peer, stock_addresses: its py-libp2p host.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        sizes_bytes: list[int],
        is_bitswap_only: bool = False,
        timeout_s: float = 300.0,
    ) -> None:
        super().__init__(__name__)
        wanted = {"name": name, "sizes_bytes": sizes_bytes, "is_bitswap_only": is_bitswap_only}
        try:
            found = self.ask(timeout_s, folder=str(folder), **wanted)
        except BaseException:
            self.kill()
            raise
        self.peer: str = found["peer"]
        self.addresses: tuple[str, ...] = tuple(found["addresses"])
        self.sealed = [Sealed.from_message(each) for each in found["sealed"]]
        self.stock_peer: str = found["stock_peer"]
        self.stock_addresses: list[str] = found["stock_addresses"]


async def _main(message: Message, replies: int) -> None:
    folder = Path(message["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    async with block_store(folder / "store") as blocks:
        sealed = [
            await make_track(blocks, folder, size, at) for at, size in enumerate(message["sizes_bytes"])
        ]
        async with _stock_host() as stock, trio.open_nursery() as nursery:
            host = host_of(message["name"])
            if not message["is_bitswap_only"]:
                ChunkServer(source=blocks, clock=SystemClock()).attach(host)
            await serve_bitswap(host, blocks, nursery, BitswapClient(host=host))
            await nursery.start(host.run)
            hello = {
                "peer": host.peer_id,
                "addresses": host.listen_addrs,
                "sealed": [each.to_message() for each in sealed],
                "stock_peer": stock.get_id().to_base58(),
                "stock_addresses": [str(each) for each in stock.get_addrs()],
            }
            reply(replies, hello)
            await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()


async def make_track(blocks: EmbeddedBlockStore, folder: Path, size_bytes: int, number: int) -> Sealed:
    """Seal a random track; every provider with the same sizes holds the same ciphertexts."""
    plain = folder / "plain"
    await trio.to_thread.run_sync(write_random, plain, size_bytes, number)
    with plain.open("rb") as file:
        salt = hashlib.sha256(f"run {number}".encode()).digest()
        sealed = await seal_track(blocks, file.fileno(), size_bytes, file_salt=salt)
    plain.unlink()
    return sealed


@asynccontextmanager
async def _stock_host() -> AsyncIterator[Any]:
    """Run py-libp2p as it comes; asked with a decimal size, it sends that many bytes on the stream."""
    key_pair = create_new_key_pair()
    stock = new_host(key_pair=key_pair, sec_opt=noise_only(key_pair))

    async def answer(stream: Any) -> None:
        try:
            while text := await stream.read(_SIZE_DIGITS):
                await send_raw(stream.write, int(text))
        except StreamError:
            await stream.reset()

    stock.set_stream_handler(RAW, answer)
    async with stock.run([Multiaddr(LOOPBACK[0])]):
        yield stock


if __name__ == "__main__":
    die_with_parent()
    _replies = take_stdout()
    trio.run(_main, json.loads(sys.stdin.readline()), _replies)
