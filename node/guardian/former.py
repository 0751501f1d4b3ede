"""Keyboxes that reissues replaced: served for a day more, since listeners may not know the new one yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from marina.ids import TrackId

if TYPE_CHECKING:
    from chain.tables import ChainTables

FORMER_S = 86_400


@dataclass(frozen=True, slots=True)
class Former:
    """A keybox that another has replaced.

    Attributes:
        digest: sha256 of it.
        epoch: of it.
        until_s: block time up to which it is served still.
    """

    digest: bytes
    epoch: int
    until_s: int


async def former_keybox(tables: ChainTables, track_id: TrackId, tier: int, digest: bytes) -> Former | None:
    """Return a keybox of a tier that was replaced, as this node's index of the chain says.

    None for one that never was anchored, and for one with more than seven after it: who reissues that often
    in a day has listeners who read the chain.
    """
    row = await tables.keybox(track_id, tier)
    for each in row.former if row else ():
        if each.digest == digest:
            return Former(digest, each.epoch, each.replaced_s + FORMER_S)
    return None
