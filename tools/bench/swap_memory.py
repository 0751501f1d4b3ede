"""How much anonymous memory a Marina node gains while it fetches 4 GiB over bitswap (see memory.py)."""

from __future__ import annotations

import shutil

from tools.bench.child import Child
from tools.bench.memory import RENDITION_MIB, WARM_UP_MIB
from tools.bench.provider import Provider
from tools.bench.report import SWAP_GROWTH, Measurement
from tools.bench.scale import Bench
from tools.bench.stats import MIB

RENDITIONS = 4
_TIMEOUT_S = 900.0


def measure(bench: Bench) -> list[Measurement]:
    """Return the growth."""
    folder = bench.folder / "swap-memory"
    folder.mkdir()
    size_bytes = bench.count(RENDITION_MIB, least=32) * MIB
    sizes = [WARM_UP_MIB * MIB, *[size_bytes] * RENDITIONS]
    try:
        with (
            Provider(
                folder / "provider", name="provider", sizes_bytes=sizes, is_bitswap_only=True
            ) as provider,
            Child("tools.bench.memory") as child,
        ):
            sealed = [each.to_message() for each in provider.sealed]
            facts = {"peer": provider.peer, "addresses": provider.addresses, "sealed": sealed}
            answer = child.ask(_TIMEOUT_S, work="fetch", folder=str(folder / "fetch"), **facts)
    finally:
        shutil.rmtree(folder)
    note = (
        f"rise of RssAnon above its state after {WARM_UP_MIB} MiB, {RENDITIONS} renditions of "
        f"{size_bytes // MIB} MiB from one peer into the disk store{bench.scale_note}"
    )
    return [Measurement(SWAP_GROWTH, answer["growth_mib"], note)]
