"""Building UnixFS trees over leaves in memory, against SHA-256 of the same leaves alone."""

from __future__ import annotations

import hashlib
import os
import statistics
import time

from marina.cid import cid_of
from storage.content.unixfs import Leaf, build_file
from tools.bench.report import UNIXFS_BUILD, Measurement
from tools.bench.scale import Bench
from tools.bench.stats import MIB, spread

SIZE_MIB = 256
ROUNDS = 9
LEAF_BYTES = (256 * 1024, MIB)


def measure(bench: Bench) -> list[Measurement]:
    """Return the rate against that of hashing, the lower of both leaf sizes."""
    data = os.urandom(bench.count(SIZE_MIB, least=32) * MIB)
    rounds = bench.count(ROUNDS, least=3)
    found = []
    for leaf_bytes in LEAF_BYTES:
        leaves = [data[start : start + leaf_bytes] for start in range(0, len(data), leaf_bytes)]
        pairs = [(_hash(leaves), _build(leaves)) for _ in range(rounds + 1)][1:]
        share = 100 * statistics.median(alone / built for alone, built in pairs)
        rates = [spread([len(data) / MIB / each for each in side]) for side in zip(*pairs, strict=True)]
        found.append(
            (share, f"leaves of {leaf_bytes // 1024} KiB {share:.1f} %, {rates[0]} and {rates[1]} MiB/s")
        )
    note = (
        f"{rounds} rounds of {len(data) // MIB} MiB each, in turn; hashing and building: "
        f"{'; '.join(text for _, text in found)}; CPU seconds of one thread{bench.scale_note}"
    )
    return [Measurement(UNIXFS_BUILD, min(share for share, _ in found), note)]


def _hash(leaves: list[bytes]) -> float:
    started_s = time.thread_time()
    for leaf in leaves:
        hashlib.sha256(leaf).digest()
    return time.thread_time() - started_s


def _build(leaves: list[bytes]) -> float:
    started_s = time.thread_time()
    build_file([Leaf(cid_of(leaf), len(leaf), len(leaf)) for leaf in leaves])
    return time.thread_time() - started_s
