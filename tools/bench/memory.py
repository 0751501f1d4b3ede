"""How much anonymous memory a process gains while it seeds or fetches 1 and 4 GiB.

Each figure comes from a fresh process (``python -m tools.bench.memory``) that first does the same with
16 MiB, so that modules, threads and pools are there; then it notes RssAnon, works, and reports the peak.
Page cache is the kernel's and does not count.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from marina.ids import PeerId
from tools.bench.child import Child, Message, serve
from tools.bench.content import Sealed, block_store, seal_track, write_random
from tools.bench.fetching import Known, fetch_and_open, listening
from tools.bench.provider import Provider
from tools.bench.report import (
    MEMORY_FETCH_1,
    MEMORY_FETCH_4,
    MEMORY_FETCH_SAME,
    MEMORY_SEED_1,
    MEMORY_SEED_4,
    MEMORY_SEED_SAME,
    Goal,
    Measurement,
)
from tools.bench.scale import Bench
from tools.bench.stats import MIB

RENDITION_MIB = 1024
WARM_UP_MIB = 16
SAMPLE_S = 0.02
_CHILD_TIMEOUT_S = 600.0


def measure(bench: Bench) -> Iterator[Measurement]:
    """Yield growth and its difference for seeding and fetching."""
    folder = bench.folder / "memory"
    folder.mkdir()
    size_bytes = bench.count(RENDITION_MIB, least=32) * MIB
    note = (
        f"rise of RssAnon of a fresh process above its state after {WARM_UP_MIB} MiB, peak of samples "
        f"each {1000 * SAMPLE_S:.0f} ms; renditions of {size_bytes // MIB} MiB{bench.scale_note}"
    )
    try:
        growth = _seeding(folder, size_bytes)
        yield from _rows(growth, (MEMORY_SEED_1, MEMORY_SEED_4, MEMORY_SEED_SAME), note)
        growth = _fetching(folder, size_bytes)
        note += "; from one provider"
        yield from _rows(growth, (MEMORY_FETCH_1, MEMORY_FETCH_4, MEMORY_FETCH_SAME), note)
    finally:
        shutil.rmtree(folder)


def _seeding(folder: Path, size_bytes: int) -> list[float]:
    source = folder / "plain"
    write_random(source, size_bytes, 1)
    growth: list[float] = []
    for count in (1, 4):
        work = folder / f"seed-{count}"
        with Child(__name__) as child:
            answer = child.ask(
                _CHILD_TIMEOUT_S, work="seed", folder=str(work), source=str(source), count=count
            )
        growth.append(answer["growth_mib"])
        shutil.rmtree(work)
    source.unlink()
    return growth


def _fetching(folder: Path, size_bytes: int) -> list[float]:
    sizes = [WARM_UP_MIB * MIB, *[size_bytes] * 4]
    growth: list[float] = []
    with Provider(folder / "provider", name="provider", sizes_bytes=sizes) as provider:
        for count in (1, 4):
            work = folder / f"fetch-{count}"
            sealed = [each.to_message() for each in provider.sealed[: count + 1]]
            facts = {"peer": provider.peer, "addresses": provider.addresses, "sealed": sealed}
            with Child(__name__) as child:
                answer = child.ask(_CHILD_TIMEOUT_S, work="fetch", folder=str(work), **facts)
            growth.append(answer["growth_mib"])
            shutil.rmtree(work)
    return growth


def _rows(growth: list[float], goals: tuple[Goal, Goal, Goal], note: str) -> list[Measurement]:
    one, four = growth
    both = f"{one:.1f} and {four:.1f} MiB for 1 and 4 renditions; {note}"
    values = (one, four, abs(four - one))
    return [Measurement(goal, value, both) for goal, value in zip(goals, values, strict=True)]


# The child process.


class Peak:
    """Watches RssAnon of this process in a thread."""

    def __init__(self) -> None:
        self.bytes = rss_anon_bytes()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sample while the block runs."""
        self._thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(SAMPLE_S):
            self.bytes = max(self.bytes, rss_anon_bytes())


def rss_anon_bytes(pid: int | str = "self") -> int:
    """Return the anonymous resident memory of a process, this one unless another is named."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel does not tell RssAnon")


async def _grow(warm_up: Callable[[], Awaitable[None]], work: Callable[[], Awaitable[None]]) -> Message:
    await warm_up()
    time.sleep(SAMPLE_S)
    before_bytes = rss_anon_bytes()
    peak = Peak()
    with peak.watching():
        await work()
    return {"growth_mib": (peak.bytes - before_bytes) / MIB}


async def _seed(message: Message) -> Message:
    folder, source = Path(message["folder"]), Path(message["source"])
    async with block_store(folder) as blocks:
        with source.open("rb") as file:

            async def seal(size_bytes: int) -> None:
                sealed = await seal_track(blocks, file.fileno(), size_bytes)
                await blocks.delete(sealed.layout.root)

            async def work() -> None:
                for _ in range(message["count"]):
                    await seal(source.stat().st_size)

            return await _grow(lambda: seal(WARM_UP_MIB * MIB), work)


async def _fetch(message: Message) -> Message:
    provider = Known(PeerId(message["peer"]), tuple(message["addresses"]))
    first, *others = [Sealed.from_message(each) for each in message["sealed"]]
    async with listening(Path(message["folder"])) as listener:

        async def fetch(sealed: Sealed) -> None:
            await fetch_and_open(listener, sealed, [provider])
            await listener.blocks.delete(sealed.layout.root)

        async def work() -> None:
            for sealed in others:
                await fetch(sealed)

        return await _grow(lambda: fetch(first), work)


def _answer(message: Message) -> Message:
    return trio.run(_seed if message["work"] == "seed" else _fetch, message)


if __name__ == "__main__":
    serve(_answer)
