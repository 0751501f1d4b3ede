"""Fetching between processes: against a raw py-libp2p stream, two providers against one, libtorrent.

All ways take turns within one run, forwards and backwards: which memory the way before left to the page
cache makes a difference of a tenth. A fetch starts connected and ends when the last segment is verified,
decrypted and durable on disk. Wall time decides: both sides use two processes, and what is compared is
how soon the music is there.
"""

from __future__ import annotations

import shutil
import statistics
from functools import partial
from pathlib import Path

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from marina.ids import PeerId
from tools.bench.content import Sealed
from tools.bench.fetching import Listener, fetch_and_open, listening
from tools.bench.provider import RAW, Provider
from tools.bench.raw import noise_only, time_raw
from tools.bench.report import FETCH_RAW, FETCH_TORRENT, FETCH_TWO, Measurement
from tools.bench.scale import Bench
from tools.bench.stats import MIB, Stopwatch, spread
from tools.bench.torrent import TorrentPair

SIZE_MIB = 256
ROUNDS = 8


def measure(bench: Bench) -> list[Measurement]:
    """Return the three comparisons."""
    folder = bench.folder / "transfer"
    folder.mkdir()
    size_bytes = bench.count(SIZE_MIB, least=16) * MIB
    try:
        with (
            Provider(folder / "one", name="one", sizes_bytes=[size_bytes]) as one,
            Provider(folder / "two", name="two", sizes_bytes=[size_bytes]) as two,
            TorrentPair(folder / "torrent", size_bytes) as torrent,
        ):
            rates = trio.run(_rounds, bench, folder, one, two, torrent)
    finally:
        shutil.rmtree(folder)
    return _rows(rates, bench, size_bytes // MIB)


async def _rounds(
    bench: Bench, folder: Path, one: Provider, two: Provider, torrent: TorrentPair
) -> dict[str, list[float]]:
    """Return MiB/s of every way and round, and MiB per CPU second of the receiving process."""
    sealed = one.sealed[0]
    size = sealed.layout.plaintext_bytes
    if sealed.layout.root != two.sealed[0].layout.root:
        raise RuntimeError("the two providers do not hold the same ciphertext")
    key_pair = create_new_key_pair()
    stock = new_host(key_pair=key_pair, sec_opt=noise_only(key_pair))
    rates: dict[str, list[float]] = {}

    async with stock.run([]), listening(folder / "store") as listener:
        peer = ID.from_base58(one.stock_peer)
        await stock.get_network().dial_addr(Multiaddr(one.stock_addresses[0]), peer)
        stream = await stock.new_stream(peer, [RAW])
        for provider in (one, two):
            await listener.host.dial(PeerId(provider.peer), provider.addresses)

        async def raw() -> dict[str, float]:
            watch = Stopwatch()
            with watch:
                rate = await time_raw(lambda _: stream.write(b"%012d" % size), stream.read, size)
            return {"raw": rate, "raw cpu": size / watch.cpu_s}

        async def fetch(name: str, providers: list[Provider]) -> dict[str, float]:
            watch = Stopwatch()
            with watch:
                elapsed_s = await _fetch(listener, sealed, providers)
            return {name: size / elapsed_s, f"{name} cpu": size / watch.cpu_s}

        async def swarm() -> dict[str, float]:
            flowing_s, whole_s = await trio.to_thread.run_sync(torrent.fetch)
            return {"torrent": size / flowing_s, "torrent whole": size / whole_s}

        ways = [raw, partial(fetch, "one", [one]), partial(fetch, "two", [one, two]), swarm]
        for number in range(bench.count(ROUNDS, least=2) + 1):
            for way in ways if number % 2 else reversed(ways):
                found = await way()
                if number:  # the first round warms windows and caches
                    for name, rate in found.items():
                        rates.setdefault(name, []).append(rate / MIB)
    return rates


async def _fetch(listener: Listener, sealed: Sealed, providers: list[Provider]) -> float:
    elapsed_s = await fetch_and_open(listener, sealed, providers)
    await listener.blocks.delete(sealed.layout.root)
    return elapsed_s


def _rows(rates: dict[str, list[float]], bench: Bench, size_mib: int) -> list[Measurement]:
    def ratios(ours: str, theirs: str) -> list[float]:
        return [a / b for a, b in zip(rates[ours], rates[theirs], strict=True)]

    share = [100 * each for each in ratios("one", "raw")]
    base = f"{len(share)} rounds of {size_mib} MiB, all ways in turn, median of the rounds' ratios"
    more = ratios("two", "one")
    faster = ratios("one", "torrent")
    return [
        Measurement(
            FETCH_RAW,
            statistics.median(share),
            f"{base}; {spread(share)} %; fetch, verify, decrypt, store, sync {spread(rates['one'])} MiB/s, "
            f"py-libp2p's own raw stream {spread(rates['raw'])}; per CPU-s of the receiver "
            f"{spread(rates['one cpu'])} and {spread(rates['raw cpu'])}{bench.scale_note}",
        ),
        Measurement(
            FETCH_TWO,
            statistics.median(more),
            f"{base}; {spread(more, 2)} ×; one {spread(rates['one'])}, two {spread(rates['two'])} MiB/s; "
            f"three processes share this machine's cores{bench.scale_note}",
        ),
        Measurement(
            FETCH_TORRENT,
            statistics.median(faster),
            f"{base}; {spread(faster, 2)} ×; Marina {spread(rates['one'])}, libtorrent with RC4 over TCP, "
            f"timed from its first payload byte, {spread(rates['torrent'])} MiB/s; from naming the peer, "
            f"{spread(rates['torrent whole'])} MiB/s{bench.scale_note}",
        ),
    ]
