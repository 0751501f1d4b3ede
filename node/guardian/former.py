"""The keybox that a reissue replaced: served for a day more, since listeners may not know the new one yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from marina.ids import TrackId

if TYPE_CHECKING:
    from chain.tables import ChainTables

FORMER_S = 86_400


@dataclass(frozen=True, slots=True)
class Former:
    """The keybox that the anchored one replaced.

    Attributes:
        digest: sha256 of it.
        epoch: of it.
        until_s: block time up to which it is served still.
    """

    digest: bytes
    epoch: int
    until_s: int


async def former_keybox(tables: ChainTables, track_id: TrackId, tier: int) -> Former | None:
    """Return the keybox that a tier's anchored one has replaced, as this node's index of the chain says."""
    row = await tables.keybox(track_id, tier)
    if row is None or not row.former_epoch:
        return None
    return Former(row.former_digest, row.former_epoch, row.anchored_s + FORMER_S)
