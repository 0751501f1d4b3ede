"""Keys from seven guardians: how long a release takes, on loopback, on a slow line, with bad guardians.

The guardians are another process: real hosts, the real judge with its synced release log, a warm chain
cache (``tools.bench.paid_party``). The listener is this process: real host, request, checks, join. A
release is measured from the request to the key that fits its commitment; connections stand, as they do
after the quorum was checked.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from random import Random

import trio

from marina.clock import SystemClock
from node.keys.collector import Collector, TooFewAnswersError
from node.keys.evidence import Evidence
from node.keys.finding import HolderLine
from node.swarm import Swarm
from p2p.anchors import AnchorBook
from p2p.host import Host
from p2p.kad import Dht
from p2p.key_client import KeyClient
from p2p.providers import DhtPath, GossipPath, HaveIndex, ProviderFinder
from storage.content.keybox import Keybox
from storage.kv import MemoryKv, Table
from storage.private import PrivateStore
from tests.support.guardians import KEY as PARTY_KEY
from tests.support.guardians import NAME as PARTY_NAME
from tests.support.guardians import Guardian, Party, asker
from tests.support.peers import make_host, running
from tests.support.vaults import OpenVault
from tools.bench.child import ROOT
from tools.bench.paid_guardians import party
from tools.bench.paid_party import KEY, NAME
from tools.bench.report import (
    RELEASE_BAD,
    RELEASE_LINK,
    RELEASE_LOOPBACK,
    RELEASE_P95,
    RELEASE_UP,
    Measurement,
)
from tools.bench.scale import Bench
from tools.bench.stats import percentile, spread

GUARDIANS = 7
DELAY_MS = 25.0
MBIT = 100.0
RELEASES = 200
UP_RELEASES = 1000
UP = 0.8
AT_ONCE = 20


def measure(bench: Bench) -> Iterator[Measurement]:
    """Measure every case."""
    count = bench.count(RELEASES, least=20)
    with party(bench.folder / "honest", "-", ["honest"] * GUARDIANS) as honest:
        times = trio.run(releases, honest.addresses, honest.box, count)
        how = f"{count} releases by k = 3 of {GUARDIANS} guardians in one process; ms {spread(times, 1)}"
        yield Measurement(RELEASE_LOOPBACK, percentile(times, 0.5), how + bench.scale_note)
        yield Measurement(RELEASE_P95, percentile(times, 0.95), how + bench.scale_note)
        with lines(honest.addresses) as slow:
            times = trio.run(releases, slow, honest.box, bench.count(60, least=10))
        line = f"{2 * DELAY_MS:g} ms round trip by delaying proxies"
        how = f"{len(times)} releases, {line}; ms {spread(times, 1)}"
        yield Measurement(RELEASE_LINK, percentile(times, 0.5), how + bench.scale_note)
    kinds = ["hung", "hung", "garbage", "slow", "honest", "honest", "honest"]
    with party(bench.folder / "bad", "-", kinds) as bad:
        times = trio.run(releases, bad.addresses, bad.box, bench.count(20, least=5))
    how = f"{len(times)} releases, two hang, one talks rubbish, one takes 2 s; worst; ms {spread(times, 0)}"
    yield Measurement(RELEASE_BAD, max(times) / 1000, how + bench.scale_note)
    yield trio.run(_up)


@contextmanager
def lines(addresses: Sequence[str]) -> Iterator[list[str]]:
    """Give the same guardians behind slow lines."""
    with ExitStack() as stack:
        slow: list[str] = []
        for address in addresses:
            port = address.split("/")[4]
            command = [sys.executable, "-m", "tools.bench.proxy", port, str(DELAY_MS), str(MBIT)]
            process = stack.enter_context(
                subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            slow.append(address.replace(f"/tcp/{port}/", f"/tcp/{process.stdout.readline().strip()}/"))
        yield slow


async def releases(addresses: Sequence[str], box: Keybox, count: int) -> list[float]:
    """Return the milliseconds of so many releases, one after another."""
    times: list[float] = []
    async with listening(addresses) as collector:
        for _ in range(count):
            began_s = time.perf_counter()
            found = await collector.collect(box, NAME, licence_block=7)
            times.append(1000 * (time.perf_counter() - began_s))
            if found.key != KEY:
                raise RuntimeError("the guardians released another key")
    return times


@asynccontextmanager
async def listening(addresses: Sequence[str]) -> AsyncIterator[Collector]:
    """Run a listener that is connected to these guardians."""
    clock = SystemClock()
    host = make_host("bench listener")
    async with running(host), trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(_dial, host, address)
        while len(host.connected_peers()) < len(addresses):
            await trio.sleep(0.01)
        finder = ProviderFinder(
            paths=[GossipPath(haves=HaveIndex(clock=clock)), DhtPath(dht=Dht(host=host, clock=clock))],
            own=host.peer_id,
        )
        anchors = AnchorBook(table=Table(MemoryKv(), "anchors"), clock=clock)
        swarm = Swarm(host=host, anchors=anchors, finder=finder)
        line = HolderLine(host=host, client=KeyClient(host=host), swarm=swarm, finder=finder)
        yield await _collector(line, clock)


async def _dial(host: Host, address: str) -> None:
    await host.dial(address.rpartition("/")[2], [address])  # type: ignore[arg-type]  # the text of a peer id


async def _collector(line: object, clock: SystemClock) -> Collector:
    deks = ROOT / "build" / f"bench-deks-{time.monotonic_ns()}"
    private = PrivateStore(kv=MemoryKv(), deks_path=deks, masters=OpenVault())
    await private.unlock()
    deks.unlink(missing_ok=True)
    evidence = Evidence(private=private, clock=clock)
    who = asker("bench listener", clock.now_s() - 10)
    return Collector(line=line, asker=who, evidence=evidence, clock=clock, rng=Random(5))  # type: ignore[arg-type]


async def _up() -> Measurement:
    """Release with each guardian up four times of five, in memory."""
    rng, clock = Random(80), SystemClock()
    count = UP_RELEASES  # fewer would tell nothing about one in a hundred
    done: list[bool] = []
    slots = trio.CapacityLimiter(AT_ONCE)
    pool = [Guardian(f"up{number}", clock) for number in range(GUARDIANS)]
    box = Party(pool).box()

    async def release(kinds: Sequence[str]) -> None:
        async with slots:
            line = Party([Guardian(each.name, clock, kind) for each, kind in zip(pool, kinds, strict=True)])
            try:
                found = await (await _collector(line, clock)).collect(box, PARTY_NAME, licence_block=7)
            except TooFewAnswersError:
                done.append(False)
                return
            done.append(found.key == PARTY_KEY)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            kinds = ["honest" if rng.random() < UP else "gone" for _ in range(GUARDIANS)]
            nursery.start_soon(release, kinds)
    how = f"{count} releases, guardians in memory, each up with probability {UP:g}, drawn anew each time"
    return Measurement(RELEASE_UP, 100 * sum(done) / len(done), how)
