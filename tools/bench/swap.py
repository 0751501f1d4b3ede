"""Bitswap with a stock Kubo in both directions, against Kubo with Kubo; and between Marina nodes.

All ways move the same ciphertext: a Kubo pins a rendition from a Marina node, a second Kubo pins it from
the first, a Marina node fetches it from the first, and from the Marina node that made it. Everything is on
disk on both sides, verified by its receiver; every round has new bytes: no store takes a block twice.
"""

from __future__ import annotations

import shutil
import statistics
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trio

from marina.cid import cid_text
from marina.ids import PeerId
from p2p import addresses
from tools.bench.child import ROOT, Child, Message, serve
from tools.bench.content import Sealed
from tools.bench.fetching import Known, fetch_and_open, listening
from tools.bench.kubo import Kubo, library
from tools.bench.memory import rss_anon_bytes
from tools.bench.provider import Provider
from tools.bench.report import SWAP_FROM_KUBO, SWAP_MARINA, SWAP_MEMORY, SWAP_TO_KUBO, Measurement
from tools.bench.scale import Bench
from tools.bench.stats import MIB, spread

SIZE_MIB = 256
ROUNDS = 3
SAMPLE_S = 0.05
_TIMEOUT_S = 300.0


def measure(bench: Bench) -> list[Measurement]:
    """Return the three ratios and the receivers' memory."""
    folder = bench.folder / "swap"
    folder.mkdir()
    size_bytes = bench.count(SIZE_MIB, least=16) * MIB
    rounds = bench.count(ROUNDS, least=2) + 1
    try:
        with ExitStack() as stack:
            shared = library(ROOT / "build")
            artist = stack.enter_context(
                Provider(
                    folder / "artist",
                    name="artist",
                    sizes_bytes=[size_bytes] * (rounds + 1),
                    is_bitswap_only=True,
                )
            )
            first = stack.enter_context(Kubo(shared, _new(folder / "first") / "repo"))
            second = stack.enter_context(Kubo(shared, _new(folder / "second") / "repo"))
            near = stack.enter_context(Child(__name__))
            far = stack.enter_context(Child(__name__))
            fresh = _memory(artist, first, near, folder, size_bytes)
            found = [_round(artist, first, second, (near, far), folder, number) for number in range(rounds)]
    finally:
        shutil.rmtree(folder)
    return _rows(fresh, found[1:], bench, size_bytes // MIB)


def _round(
    artist: Provider, first: Kubo, second: Kubo, listeners: tuple[Child, Child], folder: Path, number: int
) -> Message:
    """Return the seconds that every way took."""
    sealed = artist.sealed[number]
    root = cid_text(sealed.layout.root)
    first.connect(f"{artist.addresses[0]}")
    (kubo,) = first.addresses()
    to_kubo_s = first.pin(root, timeout_s=_TIMEOUT_S)
    second.connect(kubo)
    kubo_s = second.pin(root, timeout_s=_TIMEOUT_S)
    near, far = listeners
    facts = {"sealed": sealed.to_message()}
    peer = addresses.parse(kubo).peer
    from_kubo = far.ask(
        _TIMEOUT_S, folder=str(folder / f"far-{number}"), peer=peer, addresses=[kubo], **facts
    )
    between = near.ask(
        _TIMEOUT_S,
        folder=str(folder / f"near-{number}"),
        peer=artist.peer,
        addresses=list(artist.addresses),
        **facts,
    )
    return {
        "kubo": kubo_s,
        "to kubo": to_kubo_s,
        "from kubo": from_kubo["wall_s"],
        "marina": between["wall_s"],
    }


def _memory(artist: Provider, kubo: Kubo, marina: Child, folder: Path, size_bytes: int) -> Message:
    """Return by how many MiB each program grows that receives a file for the first time, in a new process."""
    sealed = artist.sealed[-1]
    kubo.connect(artist.addresses[0])
    with growth_of(kubo.pid) as kubo_growth:
        kubo.fetch(cid_text(sealed.layout.root), folder / "file", timeout_s=_TIMEOUT_S)
    if (folder / "file").stat().st_size < size_bytes:
        raise RuntimeError("Kubo's file is shorter than what it fetched")
    (folder / "file").unlink()
    facts = {"peer": artist.peer, "addresses": list(artist.addresses), "sealed": sealed.to_message()}
    with growth_of(marina.pid) as growth:
        marina.ask(_TIMEOUT_S, folder=str(folder / "fresh"), **facts)
    return {"kubo growth": kubo_growth.bytes / MIB, "growth": growth.bytes / MIB}


def _rows(fresh: Message, rounds: list[Message], bench: Bench, size_mib: int) -> list[Measurement]:
    def ratios(way: str) -> list[float]:
        return [each["kubo"] / each[way] for each in rounds]

    def rates(way: str) -> str:
        return spread([size_mib / each[way] for each in rounds])

    note = (
        f"{len(rounds)} rounds of {size_mib} MiB, all ways in turn, median of the rounds' ratios; Kubo 0.22 "
        f"from Kubo 0.22 {rates('kubo')} MiB/s{bench.scale_note}"
    )
    ways = ((SWAP_TO_KUBO, "to kubo"), (SWAP_FROM_KUBO, "from kubo"), (SWAP_MARINA, "marina"))
    rows = [
        Measurement(
            goal, statistics.median(ratios(way)), f"{note}; {spread(ratios(way), 2)} ×; {rates(way)} MiB/s"
        )
        for goal, way in ways
    ]
    rows.append(
        Measurement(
            SWAP_MEMORY,
            fresh["growth"] / fresh["kubo growth"],
            f"rise of RssAnon while a new process fetches {size_mib} MiB to a file, peak of samples each "
            f"{1000 * SAMPLE_S:.0f} ms; Marina {fresh['growth']:.0f} MiB, all that it loads for it "
            f"included, Kubo 0.22 {fresh['kubo growth']:.0f} MiB",
        )
    )
    return rows


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


class Growth:
    """How much a process grew, in bytes, once its block has ended."""

    bytes: int = 0


@contextmanager
def growth_of(pid: int) -> Iterator[Growth]:
    """Sample another process's anonymous memory while the block runs."""
    found, is_over = Growth(), threading.Event()
    before_bytes = rss_anon_bytes(pid)

    def watch() -> None:
        while not is_over.wait(SAMPLE_S):
            found.bytes = max(found.bytes, rss_anon_bytes(pid) - before_bytes)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


# The child process: a Marina node that fetches one rendition from one peer.


async def _fetch(message: Message) -> Message:
    sealed = Sealed.from_message(message["sealed"])
    provider = Known(PeerId(message["peer"]), tuple(message["addresses"]))
    async with listening(Path(message["folder"])) as listener:
        await listener.host.dial(provider.peer, provider.addresses)
        with trio.fail_after(10):
            while not listener.host.protocols_of(provider.peer):
                await trio.sleep(0.01)
        return {"wall_s": await fetch_and_open(listener, sealed, [provider])}


if __name__ == "__main__":
    serve(lambda message: trio.run(_fetch, message))
