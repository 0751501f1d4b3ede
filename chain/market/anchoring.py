"""Drafts that anchor keyboxes: from then on guardians release their shares of these, and of no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak

from chain.artifacts import encode_call
from chain.draft import Draft
from marina.ids import Account

ANCHORS_MAX = 192
"""In one transaction; the contract's own bound."""
_GAS_BASE, _GAS_EACH = 40_000, 42_000
"""What it takes at most, with the margin of an estimate: about 33,000 each in a batch of twenty."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """One keybox that is to be anchored.

    Attributes:
        id: of the track.
        tier: 1 stream, 2 original.
        digest: sha256 of the keybox's block.
        epoch: above the anchored one.
        finality: of a purchase, before a key is released: 0 one block, 1 safe, 2 finalized.
    """

    id: bytes
    tier: int
    digest: bytes
    epoch: int
    finality: int


def anchor_drafts(registry: Account, anchors: Sequence[Anchor], *, title: str) -> tuple[Draft, ...]:
    """Return the transactions that anchor keyboxes, 192 each; none when there are none.

    Args:
        registry: address of the TrackRegistry.
        anchors: what is to be anchored.
        title: of the release, for the person who confirms it.
    """
    batches = [anchors[start : start + ANCHORS_MAX] for start in range(0, len(anchors), ANCHORS_MAX)]
    return tuple(_draft(registry, each, title) for each in batches)


def _draft(registry: Account, anchors: Sequence[Anchor], title: str) -> Draft:
    rows = [(each.id, each.tier, each.digest, each.epoch, each.finality) for each in anchors]
    data = encode_call("TrackRegistry", "anchorKeyboxes", rows)
    tracks = len({each.id for each in anchors})
    summary = f"Anchor the keys of “{title}”: {len(anchors)} keyboxes of {tracks} track{'s' * (tracks > 1)}"
    return Draft(
        to=registry,
        data=data,
        value=0,
        what="registry.anchor",
        summary=summary,
        key=f"registry.anchor:{keccak(data).hex()[:32]}",
        gas_guess=_GAS_BASE + _GAS_EACH * len(anchors),
    )
