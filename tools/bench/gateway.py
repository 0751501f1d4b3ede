"""The gateway to a stock Helia, block by block, and a rendition written into a CAR file.

Gateway and Helia are two processes that share the machine's cores; the gateway's blocks are on disk,
Helia's in memory. Each round is a rendition that Helia has not seen.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import trio

from marina.cid import cid_of, cid_text
from marina.clock import SystemClock
from marina.ids import PeerId
from node.car_export import rendition_blocks, write_car
from node.gateway.answers import Gateway
from node.gateway.limits import GatewayLimits, Turnstile
from node.gateway.service import GatewayService
from node.settings import GatewaySettings
from p2p.chunk.pacing import Pacer
from storage.blocks.protocol import BlockStore
from storage.content.unixfs import Leaf, build_file
from tools.bench.child import Child, Message, die_with_parent, reply, take_stdout
from tools.bench.content import block_store
from tools.bench.helia import Helia
from tools.bench.provider import make_track
from tools.bench.report import CAR_EXPORT, GATEWAY_RAW, GATEWAY_RENDITION, Measurement
from tools.bench.scale import Bench
from tools.bench.stats import MIB, spread

SIZE_MIB = 128
ROUNDS = 3
MB = 10**6
PEER = PeerId("12D3KooWMA2vDvNeSaToRHU41mL2ZQwM3mGdNChnHw4Cwvk24fNq")
_TIMEOUT_S = 300.0


def measure(bench: Bench) -> list[Measurement]:
    """Return both rates."""
    folder = bench.folder / "gateway"
    folder.mkdir()
    size_bytes = bench.count(SIZE_MIB, least=16) * 1024 * 1024
    rounds = bench.count(ROUNDS, least=2) + 1
    try:
        with Child(__name__) as server, Helia(bench.build) as helia:
            served = server.ask(_TIMEOUT_S, folder=str(folder), size_bytes=size_bytes, count=rounds)
            helia.http(served["url"])
            found = [
                (_read(helia, large, size_bytes), _read(helia, track, size_bytes))
                for large, track in zip(served["large"], served["roots"], strict=True)
            ]
            written = served["car_mb_per_s"]
    finally:
        shutil.rmtree(folder)
    size_mib, small = size_bytes // 1024 // 1024, "blocks of 256 KiB"
    rows = []
    for goal, which, what in ((GATEWAY_RAW, 0, "blocks of 1 MiB"), (GATEWAY_RENDITION, 1, small)):
        rates = [each[which][0] for each in found[1:]]
        busy = statistics.median(each[which][1] for each in found[1:])
        how = f"{len(rates)} rounds of {size_mib} MiB in {what}; {spread(rates)} MB/s; Helia's processor time"
        rows.append(
            Measurement(goal, statistics.median(rates), f"{how} is {busy:.0f} % of it{bench.scale_note}")
        )
    how = f"{len(written)} rounds of {size_mib} MiB in {small}, store to synced file; {spread(written)} MB/s"
    return [*rows, Measurement(CAR_EXPORT, statistics.median(written), how + bench.scale_note)]


def _read(helia: Helia, root: str, size_bytes: int) -> tuple[float, float]:
    """Return MB/s, and how busy Helia was in percent of one core."""
    before_s = _cpu_s(helia.pid)
    facts = helia.ask(_TIMEOUT_S, call="cat", cid=root, patience_s=_TIMEOUT_S)
    if facts["bytes"] < size_bytes:
        raise RuntimeError("Helia's file is shorter than what was published")
    busy = 100 * (_cpu_s(helia.pid) - before_s) / facts["wall_s"]
    return facts["bytes"] / facts["wall_s"] / MB, busy


def _cpu_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


# The child process: the gateway of a node, and its export.


async def _main(message: Message, replies: int) -> None:
    folder, clock = Path(message["folder"]), SystemClock()
    async with block_store(folder / "store") as blocks:
        sealed = [
            await make_track(blocks, folder, message["size_bytes"], at) for at in range(message["count"])
        ]
        layouts = [each.layout for each in sealed]
        rates = []
        for layout in layouts:
            started_s = time.perf_counter()
            path = folder / "out.car"
            _, size = await write_car(path, layout.root, rendition_blocks(blocks, layout))
            rates.append(size / (time.perf_counter() - started_s) / MB)
            path.unlink()
        large = [await _large_file(blocks, message["size_bytes"]) for _ in layouts]
        service = GatewayService(
            settings=GatewaySettings(enabled=True, host="127.0.0.1", port=0),
            make=lambda own: Gateway(blocks=blocks, is_denied=lambda _: False, peer=PEER, addresses=own),
            turnstile=Turnstile(
                limits=GatewayLimits(requests_per_s=100_000),
                clock=clock,
                pacer=Pacer(clock=clock, bytes_per_s=None, burst_s=1),
            ),
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            roots = [cid_text(each.root) for each in layouts]
            reply(
                replies, {"url": service.urls()[0], "roots": roots, "large": large, "car_mb_per_s": rates[1:]}
            )
            await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()


async def _large_file(blocks: BlockStore, size_bytes: int) -> str:
    """Store a UnixFS file of random leaves of 1 MiB and return its root."""
    leaves = []
    for _ in range(size_bytes // MIB):
        data = os.urandom(MIB)
        await blocks.put(cid_of(data), data)
        leaves.append(Leaf(cid_of(data), MIB, MIB))
    tree = build_file(leaves)
    await blocks.put_many(dict(tree.nodes))
    return cid_text(tree.root)


if __name__ == "__main__":
    die_with_parent()
    _replies = take_stdout()
    trio.run(_main, json.loads(sys.stdin.readline()), _replies)
