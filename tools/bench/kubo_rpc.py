"""The aioipfs adapter against a bare aiohttp client, on the same Kubo with the same calls.

The bare client sends what the adapter sends, CAR files of 4 MiB and then their pins, and reads with as many
calls at a time; it checks no hash, crosses no thread, and retries nothing.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - what the bare client runs on
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import aiohttp
import trio

from marina.cid import Cid, cid_of, cid_text
from storage.content.car import car_header, car_section
from storage.kubo.address import parse_address
from storage.kubo.rpc import CALLS_MAX, CAR_BYTES_MAX, KuboRpc
from tools.bench.kubo_daemon import KuboDaemon, program
from tools.bench.report import ADAPTER_GET, ADAPTER_PUT, Measurement
from tools.bench.scale import Bench
from tools.bench.stats import MIB, spread

SIZE_MIB = 128
ROUNDS = 5
BLOCK_BYTES = 256 * 1024
_AT_ONCE = 4

Blocks = list[tuple[Cid, bytes]]


def measure(bench: Bench) -> list[Measurement]:
    """Return both ratios; rates are of payload."""
    count = bench.count(SIZE_MIB, least=16) * MIB // BLOCK_BYTES
    rounds = bench.count(ROUNDS, least=2) + 1
    found = []
    with KuboDaemon(program(bench.build), bench.folder / "kubo-rpc") as kubo:
        for number in range(rounds):
            sets = [
                [(cid_of(data), data) for data in map(os.urandom, [BLOCK_BYTES] * count)] for _ in range(2)
            ]
            turns: list[Callable[[], tuple[float, float]]] = [
                partial(asyncio.run, _bare(kubo.rpc_url, sets[0])),
                partial(trio.run, _adapter, kubo.rpc_url, sets[1]),
            ]
            if number % 2:
                second = turns[1]()
                first = turns[0]()
            else:
                first, second = turns[0](), turns[1]()
            found.append((first, second))
    rows = []
    for which, goal in enumerate((ADAPTER_PUT, ADAPTER_GET)):
        times = [(first[which], second[which]) for first, second in found[1:]]
        size_mib = count * BLOCK_BYTES / MIB
        note = (
            f"{len(times)} rounds of {size_mib:.0f} MiB in blocks of 256 KiB, in turn; bare aiohttp "
            f"{spread([size_mib / each for each, _ in times])} MiB/s, adapter "
            f"{spread([size_mib / each for _, each in times])} MiB/s{bench.scale_note}"
        )
        rows.append(Measurement(goal, 100 * statistics.median(bare / ours for bare, ours in times), note))
    return rows


async def _adapter(url: str, blocks: Blocks) -> tuple[float, float]:
    rpc = KuboRpc(parse_address(url))
    await rpc.identity()

    async def store(group: Blocks) -> None:
        await rpc.store(group)

    async def load(item: tuple[Cid, bytes]) -> None:
        if await rpc.load(item[0]) != item[1]:
            raise RuntimeError("a block came back as another")

    async def spread_over(
        call: Callable[[object], Awaitable[None]], items: Sequence[object], most: int
    ) -> float:
        queue = iter(items)

        async def work() -> None:
            for item in queue:
                await call(item)

        started_s = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(most):
                nursery.start_soon(work)
        return time.perf_counter() - started_s

    try:
        return (
            await spread_over(store, _groups(blocks), _AT_ONCE),  # type: ignore[arg-type]
            await spread_over(load, blocks, CALLS_MAX),  # type: ignore[arg-type]
        )
    finally:
        await rpc.close()


async def _bare(url: str, blocks: Blocks) -> tuple[float, float]:
    async with aiohttp.ClientSession(
        base_url=url, connector=aiohttp.TCPConnector(limit=CALLS_MAX)
    ) as session:

        async def post(path: str, params: object, data: object = None) -> bytes:
            async with session.post(f"/api/v0/{path}", params=params, data=data) as answer:  # type: ignore[arg-type]
                body = await answer.read()
                if answer.status != 200:
                    raise RuntimeError(body.decode())
                return body

        async def store(group: Blocks) -> None:
            parts = [car_header([group[0][0]])]
            for cid, data in group:
                parts += car_section(cid, data)  # type: ignore[arg-type]
            form = aiohttp.FormData()
            form.add_field("file", b"".join(parts), filename="car")
            await post("dag/import", {"pin-roots": "false", "silent": "true"}, form)
            await post("pin/add", [("recursive", "false"), *(("arg", cid_text(cid)) for cid, _ in group)])

        async def load(item: tuple[Cid, bytes]) -> None:
            await post("block/get", {"arg": cid_text(item[0]), "offline": "true"})

        async def spread_over(
            call: Callable[[object], Awaitable[None]], items: Sequence[object], most: int
        ) -> float:
            queue = iter(items)

            async def work() -> None:
                for item in queue:
                    await call(item)

            started_s = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(most)))
            return time.perf_counter() - started_s

        return (
            await spread_over(store, _groups(blocks), _AT_ONCE),  # type: ignore[arg-type]
            await spread_over(load, blocks, CALLS_MAX),  # type: ignore[arg-type]
        )


def _groups(blocks: Blocks) -> list[Blocks]:
    per = CAR_BYTES_MAX // BLOCK_BYTES
    return [blocks[start : start + per] for start in range(0, len(blocks), per)]
