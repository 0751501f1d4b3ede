"""Gas of what people do most, as forge counts it for transactions of their own.

The numbers are those of ``contracts/snapshots``, which ``tests/contracts`` compares with the contracts
exactly; so they need neither node nor npm here.
"""

from __future__ import annotations

import json

from tools.bench.child import ROOT
from tools.bench.report import (
    GAS_ANCHOR,
    GAS_PERMIT,
    GAS_PROPOSE,
    GAS_PURCHASE,
    GAS_REGISTER,
    GAS_RENEWAL,
    GAS_TOKEN,
    GAS_VOTE,
    Measurement,
)
from tools.bench.scale import Bench

_ROWS = (
    (GAS_PURCHASE, "purchase native"),
    (GAS_RENEWAL, "renewal native"),
    (GAS_TOKEN, "purchase ERC-20"),
    (GAS_PERMIT, "purchase with permit"),
    (GAS_REGISTER, "register, 3 splits, first of the artist"),
    (GAS_ANCHOR, "anchor keybox"),
    (GAS_PROPOSE, "propose"),
    (GAS_VOTE, "castVote, late quorum"),
)


def measure(_: Bench) -> list[Measurement]:
    """Return the committed gas of each action; the dearest case where there are several."""
    costs: dict[str, int] = {}
    for path in sorted((ROOT / "contracts" / "snapshots").glob("*.json")):
        costs |= {name: int(gas) for name, gas in json.loads(path.read_text("utf-8")).items()}
    how = "“{}” of contracts/snapshots: forge --isolate, exact, checked in make test"
    return [Measurement(goal, costs[name], how.format(name)) for goal, name in _ROWS]
