"""One guardian under load: what a release costs it, and how many it gives on one core.

The guardian is another process that is held to one core: real host, handshake and streams, every check,
the release log with a synced write before each answer, and a warm chain cache (``tools.bench.paid_party``).
Six devices ask it on two streams each, as many as it takes of one device. Every answer is opened and
compared with its commitment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from node.keys.asking import Asked, Asker, Holder, Released
from p2p.host import Host
from p2p.key_client import KeyClient
from p2p.key_server import STREAMS_PER_PEER_MAX
from p2p.peerkey import peer_of_key
from tests.support.guardians import asker
from tests.support.peers import make_host, running
from tools.bench.idle import cpu_s
from tools.bench.paid_guardians import Running, party
from tools.bench.paid_party import NAME, K
from tools.bench.report import GUARDIAN_CPU, GUARDIAN_RATE, Measurement
from tools.bench.scale import Bench

RELEASES = 3000
DEVICES = 6
_WARM_UP = 60
_ANSWER_S = 10.0


def measure(bench: Bench) -> Iterator[Measurement]:
    """Give both numbers."""
    count = bench.count(RELEASES, least=300)
    with party(bench.folder / "one", "-", ["honest"] * K) as guardians:
        core = _hold_to_one_core(guardians.pid)
        trio.run(_ask_all, guardians, _WARM_UP)
        before_s, began_s = cpu_s(guardians.pid), time.perf_counter()
        trio.run(_ask_all, guardians, count)
        wall_s, used_s = time.perf_counter() - began_s, cpu_s(guardians.pid) - before_s
    how = (
        f"{count} releases to {DEVICES} devices on {STREAMS_PER_PEER_MAX} streams each, guardian on core "
        f"{core}, handshakes included, every answer opened and checked{bench.scale_note}"
    )
    yield Measurement(GUARDIAN_CPU, 1000 * used_s / count, f"user and system time of its process; {how}")
    yield Measurement(
        GUARDIAN_RATE, count / wall_s, f"{how}; its core was busy {100 * used_s / wall_s:.0f} %"
    )


def _hold_to_one_core(pid: int) -> int:
    """Hold every thread of a process to one core; threads that it starts later are held to it too."""
    core = min(os.sched_getaffinity(0))
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})
    return core


async def _ask_all(guardians: Running, count: int) -> None:
    """Let every device ask for its part of so many releases."""
    names = [f"bench device {number}" for number in range(DEVICES)]
    hosts = [make_host(name) for name in names]
    now_s = int(time.time())
    async with running(*hosts), trio.open_nursery() as nursery:
        for name, host in zip(names, hosts, strict=True):
            nursery.start_soon(_device, guardians, asker(name, now_s - 10), host, count // DEVICES)


async def _device(guardians: Running, who: Asker, host: Host, count: int) -> None:
    holder = guardians.guardians[0].holder
    share = next(each for each in guardians.box.shares if each.guardian == holder.peer_key)
    peer, left = peer_of_key(holder.peer_key), list(range(count))
    await host.dial(peer, [guardians.addresses[0]])
    client, data = KeyClient(host=host), guardians.box.to_bytes()

    async def ask() -> None:
        while left:
            left.pop()
            asked = Asked(
                who, who.binding(), guardians.box, data, Holder(holder.peer_key, share.x),
                time_s=int(time.time()), licence_block=7,
            )  # fmt: skip
            found = asked.read(await client.ask(peer, asked.message, timeout_s=_ANSWER_S), NAME)
            if not isinstance(found, Released):
                raise RuntimeError(f"the guardian released nothing: {found}")

    async with trio.open_nursery() as nursery:
        for _ in range(STREAMS_PER_PEER_MAX):
            nursery.start_soon(ask)
