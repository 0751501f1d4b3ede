"""Reading a chain: indexing, contract reads through web3, guardians' licence checks, device bindings."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from statistics import median

import trio

from chain.contracts import ContractSet
from chain.index.handlers import make_indexer, open_index
from chain.key_facts import KeyChain
from chain.profiles import PROFILES
from chain.reader import ContractReader
from chain.rpc import RpcPool
from marina.clock import SystemClock
from marina.ids import TrackId
from marina.schema import encode_record
from marina.secret import Secret
from storage.identity.binding import DEFAULT_SCOPES, decode_binding, issue_binding, verify_binding
from storage.identity.device import DeviceKey
from storage.kv import LevelKv
from tests.support.anvil import Anvil, anvil
from tests.support.contract_tools import install
from tools.bench.child import ROOT
from tools.bench.report import BINDING, INDEXING, LICENCE_CHECK, READ_WEB3, Measurement, not_measured
from tools.bench.scale import Bench
from tools.bench.stats import percentile

_PER_BLOCK = 25


def measure(bench: Bench) -> Iterator[Measurement]:
    """Give the four numbers."""
    yield _indexing(bench)
    try:
        install()
    except RuntimeError as err:
        yield from not_measured((READ_WEB3, LICENCE_CHECK), str(err))
    else:
        with anvil() as node:
            yield from trio.run(
                functools.partial(_reads, node, bench.count(1000, least=200)), strict_exception_groups=True
            )
    yield _bindings(bench.count(6000, least=1000))


def _indexing(bench: Bench) -> Measurement:
    events = bench.count(50_000, least=5000)
    rates = []
    with _log_node(events) as url:
        for turn in range(3):
            kv = LevelKv(bench.folder / f"index-{turn}")
            took_s, rows = trio.run(_index, url, kv)
            assert rows >= events, rows
            rates.append(events / took_s)
    how = (
        f"{events} LicencePurchased, {_PER_BLOCK} in a block, from a local HTTP endpoint into LevelDB, six "
        f"rows each, headers checked; median of 3 ({min(rates):.0f}–{max(rates):.0f}){bench.scale_note}"
    )
    return Measurement(INDEXING, median(rates), how)


@contextlib.contextmanager
def _log_node(events: int) -> Iterator[str]:
    command = [sys.executable, "-m", "tools.bench.log_node", str(events), str(_PER_BLOCK)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def _pool(url: str) -> RpcPool:
    return RpcPool(endpoints=[url], profile=PROFILES["dev"], clock=SystemClock(), rng=Random(1))


async def _index(url: str, kv: LevelKv) -> tuple[float, int]:
    """Return how long the whole chain took to index, and how many purchases are found afterwards."""
    from tools.bench.log_node import CONTRACTS

    rpc = _pool(url)
    await rpc.call("eth_blockNumber", [])
    store = open_index(kv, chain_id=31337, contracts=CONTRACTS)
    indexer = make_indexer(rpc, CONTRACTS, store, rng=Random(1))
    started_s = time.perf_counter()
    await indexer.catch_up()
    took_s = time.perf_counter() - started_s
    found = await store.scan(b"sale\x00", limit=1_000_000)
    await rpc.aclose()
    await kv.close()
    return took_s, len(found)


async def _reads(node: Anvil, count: int) -> list[Measurement]:
    contracts = node.contracts
    assert isinstance(contracts, ContractSet)
    rpc = _pool(node.url)
    artist, listener = node.accounts[1], node.accounts[2]
    salt = b"\x05" * 32
    track = TrackId(node.read("TrackRegistry", "idOf", bytes(artist), salt)[0])
    splits = [(bytes(artist), 10_000)]
    assert node.invoke(artist, "TrackRegistry", "register", (salt, salt, bytes(32), 0, splits))
    assert node.invoke(artist, "TrackRegistry", "anchorKeybox", track, 1, salt, 1, 0)
    assert node.invoke(artist, "MusicLicensing", "addTerm", track, 5, 0, 0, 1)
    assert node.invoke(listener, "MusicLicensing", "purchase", track, 0, 1, bytes(listener), 5, value=5)
    reader = ContractReader(rpc=rpc, contracts=contracts)

    async def read() -> None:
        assert await reader.read("MusicLicensing", "feeBps") == 250

    async def check() -> None:
        guardian = KeyChain(rpc=rpc, contracts=contracts, clock=SystemClock())  # it knows nothing yet
        facts = await guardian.facts(track, listener, 1, block)
        assert facts.licence_id is not None
        assert facts.keybox_digest == salt

    block = await KeyChain(rpc=rpc, contracts=contracts, clock=SystemClock()).block()
    found = [
        Measurement(READ_WEB3, *await _timed(read, count, "MusicLicensing.feeBps from anvil")),
        Measurement(
            LICENCE_CHECK,
            *await _timed(check, count, "licence, keybox, binding epoch, record and block in a batch, anvil"),
        ),
    ]
    await rpc.aclose()
    return found


async def _timed(once: Callable[[], Awaitable[None]], count: int, what: str) -> tuple[float, str]:
    """Return (p50 in ms, how) of one call after another."""
    for _ in range(20):
        await once()
    times_ms = []
    for _ in range(count):
        started_s = time.perf_counter()
        await once()
        times_ms.append(1000 * (time.perf_counter() - started_s))
    return percentile(times_ms, 0.5), f"{what}; {count} in turn, p99 {percentile(times_ms, 0.99):.1f} ms"


def _bindings(count: int) -> Measurement:
    device = DeviceKey(Secret(b"\x07" * 32))
    bound = issue_binding(Secret(b"\x08" * 32), device, scopes=DEFAULT_SCOPES, epoch=0, now_s=1_800_000_000)
    data = encode_record(bound)
    started_s = time.process_time()
    for _ in range(count):
        verify_binding(decode_binding(data), now_s=1_800_000_001, peer=device.public_key)
    took_s = time.process_time() - started_s
    how = f"{count} decoded and verified one after another: secp256k1 recovery and Ed25519, CPU time"
    return Measurement(BINDING, count / took_s, how)
