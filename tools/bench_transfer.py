"""How fast segments travel between two processes on loopback, against a raw py-libp2p stream.

Three ways are measured in turn, so that load on the machine hits all alike:

* ``stock``  py-libp2p as it comes: one reused stream, 256 KiB writes and reads, bytes thrown away;
* ``raw``    the same over Marina's host;
* ``chunk``  /marina/chunk/1.0.0 with SHA-256, AES-GCM and pwrite of every segment in a worker thread,
  the provider reading and verifying each segment from a file.

Usage: python tools/bench_transfer.py [--mib 64] [--rounds 5] [--json] [--profile client|server]
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import os
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from multiaddr import Multiaddr

from marina.cid import Cid, cid_of
from marina.clock import SystemClock
from marina.secret import Secret
from p2p.chunk.client import ChunkClient, Want
from p2p.chunk.server import ChunkServer
from p2p.config import KIB, MIB, ChunkConfig, HostConfig
from p2p.host import Host
from storage.content.layout import SegmentPlan

BLOCK = 256 * KIB
RAW = "/bench/raw/1.0.0"
KEY = bytes(range(32))


def nonce(index: int) -> bytes:
    """Return a segment's nonce."""
    return index.to_bytes(12, "big")


class FileSource:
    """Segments of one ciphertext file, each read verified, in worker threads."""

    def __init__(self, path: Path, plan: SegmentPlan, digests: list[bytes]) -> None:
        self._file = path.open("rb")
        self._plan = plan
        self._digests = digests

    async def get_segments(self, root: Cid, indices: Sequence[int]) -> list[bytes | None]:
        """Return segments read and verified in a worker thread."""
        del root
        return await trio.to_thread.run_sync(self._read, tuple(indices))

    async def have(self, root: Cid) -> frozenset[int]:
        """Return every index."""
        del root
        return frozenset(range(self._plan.count))

    def _read(self, indices: tuple[int, ...]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for index in indices:
            span = self._plan.ciphertext(index)
            data = os.pread(self._file.fileno(), span.length, span.start)
            found.append(data if hashlib.sha256(data).digest() == self._digests[index] else None)
        return found


def make_content(path: Path, size: int) -> tuple[SegmentPlan, list[bytes]]:
    """Write an encrypted rendition of random bytes; return its cut and digests."""
    plan, cipher, digests = SegmentPlan(size), AESGCM(KEY), []
    block = os.urandom(BLOCK)
    with path.open("wb") as file:
        for index in range(plan.count):
            data = cipher.encrypt(nonce(index), block[: plan.plaintext(index).length], None)
            digests.append(hashlib.sha256(data).digest())
            file.write(data)
    return plan, digests


def noise_only(key_pair: object) -> dict[object, object]:
    """Return the security options that offer Noise alone."""
    return {NOISE: NoiseTransport(key_pair, noise_privkey=create_noise_key().private_key)}


async def send_raw(write: Callable[[bytes], Awaitable[None]], size: int) -> None:
    """Write blocks until the size is reached."""
    block = os.urandom(BLOCK)
    for _ in range(size // BLOCK):
        await write(block)


async def serve(size: int, path: Path) -> None:
    """Serve all three ways until standard input ends."""
    plan, digests = make_content(path, size)
    key_pair = create_new_key_pair(b"s" * 32)
    stock = new_host(key_pair=key_pair, sec_opt=noise_only(key_pair))

    async def stock_handler(stream: object) -> None:
        """Answer on the stock host."""
        try:
            while await stream.read(1):
                await send_raw(stream.write, size)
        except StreamError:
            await stream.reset()

    stock.set_stream_handler(RAW, stock_handler)
    host = Host(
        seed=Secret(b"m" * 32),
        clock=SystemClock(),
        config=HostConfig(listen_addrs=("/ip4/127.0.0.1/tcp/0",)),
    )

    async def raw_handler(stream: object) -> None:
        """Answer on our host."""
        while await stream.read_some(1):
            await send_raw(stream.write, size)

    host.serve(RAW, raw_handler, max_streams_per_peer=4)
    ChunkServer(source=FileSource(path, plan, digests), clock=SystemClock(), config=ChunkConfig()).attach(
        host
    )
    async with stock.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]), trio.open_nursery() as nursery:
        await nursery.start(host.run)
        hello = {
            "stock": [str(a) for a in stock.get_addrs()],
            "stock_id": stock.get_id().to_base58(),
            "host": host.listen_addrs,
            "host_id": host.peer_id,
            "digests": [d.hex() for d in digests],
        }
        print(json.dumps(hello), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


class Sink:
    """Verifies, decrypts and writes segments, several at a time in one worker thread."""

    def __init__(self, path: Path, plan: SegmentPlan, digests: list[bytes]) -> None:
        self._file = path.open("wb")
        self._plan = plan
        self._digests = digests
        self._cipher = AESGCM(KEY)
        self.stored = 0

    async def run(self, receive: trio.MemoryReceiveChannel) -> None:
        """Store what comes, as many segments at once as have come."""
        async with receive:
            async for first in receive:
                batch = [first]
                while len(batch) < 8:
                    try:
                        batch.append(receive.receive_nowait())
                    except (trio.WouldBlock, trio.EndOfChannel):
                        break
                await trio.to_thread.run_sync(self._store, batch)

    def _store(self, batch: list[tuple[int, bytes]]) -> None:
        for index, data in batch:
            if hashlib.sha256(data).digest() != self._digests[index]:
                raise ValueError(f"segment {index} is corrupt")
            plain = self._cipher.decrypt(nonce(index), data, None)
            os.pwrite(self._file.fileno(), plain, self._plan.plaintext(index).start)
            self.stored += len(plain)


async def time_raw(
    write: Callable[[bytes], Awaitable[None]], read: Callable[[int], Awaitable[bytes]], size: int
) -> float:
    """Return bytes per second of a raw stream."""
    started = time.perf_counter()
    await write(b"g")
    got = 0
    while got < size:
        got += len(await read(BLOCK))
    return size / (time.perf_counter() - started)


async def time_chunk(
    client: ChunkClient, peer: str, plan: SegmentPlan, digests: list[bytes], path: Path
) -> float:
    """Return stored bytes per second of the chunk protocol."""
    sink = Sink(path, plan, digests)
    root = cid_of(b"bench")
    wants = [Want(i, plan.ciphertext(i).length) for i in range(plan.count)]
    started = time.perf_counter()
    send, receive = trio.open_memory_channel(16)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, receive)
        async with send, client.fetch(peer, root, wants) as deliveries:
            async for delivery in deliveries:
                await send.send((delivery.index, delivery.data))
    elapsed = time.perf_counter() - started
    if sink.stored != plan.plaintext_bytes:
        raise SystemExit("the transfer is not complete")
    return plan.plaintext_bytes / elapsed


async def measure(
    hello: dict[str, object], size: int, rounds: int, folder: Path, only: str | None
) -> dict[str, list[float]]:
    """Return the rates of every round by way."""
    digests = [bytes.fromhex(d) for d in hello["digests"]]
    plan = SegmentPlan(size)
    key_pair = create_new_key_pair(b"c" * 32)
    stock = new_host(key_pair=key_pair, sec_opt=noise_only(key_pair))
    host = Host(
        seed=Secret(b"n" * 32),
        clock=SystemClock(),
        config=HostConfig(listen_addrs=("/ip4/127.0.0.1/tcp/0",)),
    )
    client = ChunkClient(host=host, clock=SystemClock(), config=ChunkConfig())
    rates: dict[str, list[float]] = {"stock": [], "raw": [], "chunk": []}
    async with stock.run([]), trio.open_nursery() as nursery:
        await nursery.start(host.run)
        stock_id = ID.from_base58(hello["stock_id"])
        await stock.get_network().dial_addr(Multiaddr(hello["stock"][0]), stock_id)
        await host.dial(hello["host_id"], hello["host"])
        stock_stream = await stock.new_stream(stock_id, [RAW])
        raw_stream = await host.open_stream(hello["host_id"], RAW)
        await trio.sleep(1.0)  # identify and the first round-trip measurements are over
        for number in range(rounds + 1):
            found = {}
            if only in (None, "stock"):
                found["stock"] = await time_raw(stock_stream.write, stock_stream.read, size)
            if only in (None, "raw"):
                found["raw"] = await time_raw(raw_stream.write, raw_stream.read_some, size)
            if only in (None, "chunk"):
                found["chunk"] = await time_chunk(client, hello["host_id"], plan, digests, folder / "sink")
            if number:  # the first round warms windows and caches
                for name, rate in found.items():
                    rates[name].append(rate)
        nursery.cancel_scope.cancel()
    return rates


async def run(args: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Start the provider and measure against it."""
    command = [sys.executable, __file__, "--role", "serve", "--mib", str(args.mib), "--folder", str(folder)]
    if args.profile == "server":
        command += ["--profile", "server"]
    provider = await trio.lowlevel.open_process(command, stdin=-1, stdout=-1)
    try:
        line = b""
        while not line.endswith(b"\n"):
            line += await provider.stdout.receive_some(1 << 20)
        return await measure(json.loads(line), args.mib * MIB, args.rounds, folder, args.only)
    finally:
        with trio.CancelScope(shield=True):
            await provider.stdin.aclose()
            with trio.move_on_after(10):
                await provider.wait()
            provider.kill()


def report(rates: dict[str, list[float]], as_json: bool) -> None:
    """Print medians, spread and ratios."""
    medians = {name: statistics.median(values) / MIB for name, values in rates.items() if values}
    ratios = {
        base: statistics.median(c / b for c, b in zip(rates["chunk"], rates[base], strict=True))
        for base in ("stock", "raw")
        if rates[base] and rates["chunk"]
    }
    if as_json:
        print(json.dumps({"mib_per_s": medians, "chunk_ratio": ratios}))
        return
    for name, values in rates.items():
        if values:
            spread = " ".join(f"{value / MIB:.0f}" for value in values)
            print(f"{name:6} {medians[name]:7.1f} MiB/s   ({spread})")
    for base, ratio in ratios.items():
        print(f"chunk / {base:6} {ratio:5.0%}")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=["stock", "raw", "chunk"])
    parser.add_argument("--profile", choices=["client", "server"])
    parser.add_argument("--role", choices=["serve"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    profiler = cProfile.Profile() if args.profile == ("server" if args.role else "client") else None
    if profiler:
        profiler.enable()
    if args.role == "serve":
        trio.run(serve, args.mib * MIB, args.folder / "content")
    else:
        with tempfile.TemporaryDirectory() as folder:
            report(trio.run(run, args, Path(folder)), args.json)
    if profiler:
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(28)


if __name__ == "__main__":
    main()
