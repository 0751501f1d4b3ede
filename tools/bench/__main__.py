"""Measure what Marina promises: ``python -m tools.bench [--area song] [--only WORD ...]``.

Writes ``build/bench.json`` and ``build/bench.md`` and prints the table. A missed number stays in it.
The exit code is 0 when everything was measured, whether met or missed, and 1 when a measurement broke.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tools.bench.child import ROOT
from tools.bench.report import (
    ADAPTER_GET,
    ADAPTER_PUT,
    AREA_CONTRACTS,
    AREA_IPFS,
    AREA_PAID,
    AREA_SONG,
    BINDING,
    CAR_EXPORT,
    DEVCHAIN_LOST,
    DEVCHAIN_RATE,
    DEVCHAIN_READY,
    FETCH_RAW,
    FETCH_TORRENT,
    FETCH_TWO,
    GAS_ANCHOR,
    GAS_PERMIT,
    GAS_PROPOSE,
    GAS_PURCHASE,
    GAS_REGISTER,
    GAS_RENEWAL,
    GAS_TOKEN,
    GAS_VOTE,
    GATEWAY_RAW,
    GATEWAY_RENDITION,
    GUARDIAN_CPU,
    GUARDIAN_RATE,
    IDLE_CPU,
    IDLE_MEMORY,
    INDEXING,
    LICENCE_CHECK,
    MEMORY_FETCH_1,
    MEMORY_FETCH_4,
    MEMORY_FETCH_SAME,
    MEMORY_SEED_1,
    MEMORY_SEED_4,
    MEMORY_SEED_SAME,
    PURCHASE_SOUND,
    READ_WEB3,
    RELEASE_BAD,
    RELEASE_LINK,
    RELEASE_LOOPBACK,
    RELEASE_P95,
    RELEASE_UP,
    SEARCH_HITS,
    SEARCH_P95,
    SEED_KUBO,
    SEED_LIMIT,
    SEED_TORRENT,
    SEEK,
    SOUND_CACHED,
    SOUND_COLD,
    SOUND_LINK_COLD,
    SOUND_LINK_WARM,
    SOUND_WARM,
    SWAP_FROM_KUBO,
    SWAP_GROWTH,
    SWAP_MARINA,
    SWAP_MEMORY,
    SWAP_TO_KUBO,
    UNIXFS_BUILD,
    VERSION,
    Goal,
    Measurement,
    judge,
    markdown,
    not_measured,
    write_report,
)
from tools.bench.scale import Bench, read_scale


@dataclass(frozen=True, slots=True)
class Section:
    """Measurements that are made together.

    Attributes:
        area: which issue they belong to.
        name: what ``--only`` takes.
        module: has ``measure(bench)``, which returns or yields measurements.
        goals: what it measures; each has a row even when the section fails.
    """

    area: str
    name: str
    module: str
    goals: tuple[Goal, ...]


SECTIONS = (
    Section(AREA_SONG, "version", "tools.bench.version", (VERSION,)),
    Section(AREA_SONG, "seed", "tools.bench.seed", (SEED_LIMIT, SEED_KUBO, SEED_TORRENT)),
    Section(AREA_SONG, "transfer", "tools.bench.transfer", (FETCH_RAW, FETCH_TWO, FETCH_TORRENT)),
    Section(
        AREA_SONG,
        "sound",
        "tools.bench.sound",
        (SOUND_CACHED, SOUND_WARM, SOUND_COLD, SOUND_LINK_WARM, SOUND_LINK_COLD, SEEK),
    ),
    Section(
        AREA_SONG,
        "memory",
        "tools.bench.memory",
        (MEMORY_SEED_1, MEMORY_SEED_4, MEMORY_SEED_SAME, MEMORY_FETCH_1, MEMORY_FETCH_4, MEMORY_FETCH_SAME),
    ),
    Section(AREA_SONG, "idle", "tools.bench.idle", (IDLE_MEMORY, IDLE_CPU)),
    Section(AREA_SONG, "search", "tools.bench.search", (SEARCH_P95, SEARCH_HITS)),
    Section(
        AREA_CONTRACTS,
        "gas",
        "tools.bench.gas",
        (
            GAS_PURCHASE,
            GAS_RENEWAL,
            GAS_TOKEN,
            GAS_PERMIT,
            GAS_REGISTER,
            GAS_ANCHOR,
            GAS_PROPOSE,
            GAS_VOTE,
        ),
    ),
    Section(
        AREA_CONTRACTS,
        "chain-read",
        "tools.bench.chain_read",
        (INDEXING, READ_WEB3, LICENCE_CHECK, BINDING),
    ),
    Section(
        AREA_CONTRACTS,
        "devchain",
        "tools.bench.devchain",
        (DEVCHAIN_READY, DEVCHAIN_RATE, DEVCHAIN_LOST),
    ),
    Section(
        AREA_PAID,
        "paid-release",
        "tools.bench.paid_release",
        (RELEASE_LOOPBACK, RELEASE_P95, RELEASE_LINK, RELEASE_BAD, RELEASE_UP),
    ),
    Section(
        AREA_IPFS,
        "swap",
        "tools.bench.swap",
        (SWAP_TO_KUBO, SWAP_FROM_KUBO, SWAP_MARINA, SWAP_MEMORY),
    ),
    Section(AREA_IPFS, "swap-memory", "tools.bench.swap_memory", (SWAP_GROWTH,)),
    Section(AREA_IPFS, "gateway", "tools.bench.gateway", (GATEWAY_RAW, GATEWAY_RENDITION, CAR_EXPORT)),
    Section(AREA_IPFS, "unixfs", "tools.bench.unixfs", (UNIXFS_BUILD,)),
    Section(AREA_IPFS, "kubo-rpc", "tools.bench.kubo_rpc", (ADAPTER_PUT, ADAPTER_GET)),
    Section(AREA_PAID, "paid-guardian", "tools.bench.paid_guardian", (GUARDIAN_CPU, GUARDIAN_RATE)),
    Section(AREA_PAID, "paid-sound", "tools.bench.paid_sound", (PURCHASE_SOUND,)),
)


def main(arguments: Sequence[str]) -> int:
    """Run the chosen sections and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--area", choices=sorted({each.area for each in SECTIONS}))
    parser.add_argument("--only", action="append", choices=[each.name for each in SECTIONS])
    parser.add_argument("--list", action="store_true", help="print what would be measured")
    options = parser.parse_args(arguments)
    chosen = [
        each
        for each in SECTIONS
        if options.area in (None, each.area) and (not options.only or each.name in options.only)
    ]
    if options.list:
        print("\n".join(f"{each.name}: {goal.name}" for each in chosen for goal in each.goals))
        return 0
    scale = read_scale()
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    measurements: list[Measurement] = []
    broken = 0
    with tempfile.TemporaryDirectory(prefix="bench-", dir=build) as folder:
        bench = Bench(scale=scale, folder=Path(folder), build=build)
        for section in chosen:
            found, is_broken = run_section(section, bench)
            measurements += found
            broken += is_broken
    rows = [row for measurement in measurements for row in judge(measurement)]
    write_report(rows, build, note=_machine_note(scale))
    print(markdown(rows))
    return 1 if broken else 0


def run_section(section: Section, bench: Bench) -> tuple[list[Measurement], bool]:
    """Return a section's measurements, and whether it failed."""
    started_s = time.monotonic()
    print(f"{section.name} …", file=sys.stderr, flush=True)
    reason = "the section gave no value for it"
    found: list[Measurement] = []
    is_broken = False
    try:
        measure: Callable[[Bench], Iterable[Measurement]] = import_module(section.module).measure
        for measurement in measure(bench):
            found.append(measurement)  # noqa: PERF402 - what was measured before a failure stays
    except Exception as err:  # noqa: BLE001 - one section's failure must not lose the others' numbers
        traceback.print_exc()
        cause: BaseException = err
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        reason = f"{type(cause).__name__}: {cause}"
        is_broken = True
    measured = {each.goal.name for each in found}
    found += not_measured([goal for goal in section.goals if goal.name not in measured], reason)
    print(f"{section.name}: {time.monotonic() - started_s:.0f} s", file=sys.stderr, flush=True)
    return found, is_broken


def _machine_note(scale: float) -> str:
    load = os.getloadavg()[0]
    return (
        f"Measured {time.strftime('%Y-%m-%d')} on {os.cpu_count()} cores ({platform.machine()}, "
        f"Python {platform.python_version()}), load {load:.1f}, scale {scale:g}. What is measured and how: "
        "docs/bench.md."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
