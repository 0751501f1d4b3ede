"""What of a release is sold: its guarded keyboxes, and which of them the chain does not know yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio

from marina.cid import Cid
from marina.ids import TrackId
from storage.content.keybox import MODE_PUBLIC, Keybox, parse_keybox
from storage.content.track import TrackManifest

if TYPE_CHECKING:
    from chain.right import ListeningRight

_TIERS_AT_ONCE = 64
_AT_ONCE = 8


class Anchors(Protocol):
    """Reads what is anchored; ``node.keys.rights.ChainRights`` is one."""

    async def of(self, tiers: Sequence[tuple[TrackId, int]]) -> list[ListeningRight]:
        """Return the anchored keyboxes of tiers; NetworkError when the chain does not answer."""
        ...


@dataclass(frozen=True, slots=True)
class Sold:
    """One tier of a track that opens with a licence.

    Attributes:
        track_id: the track.
        tier: 1 stream, 2 original.
        box: the keybox that its manifest names.
    """

    track_id: TrackId
    tier: int
    box: Keybox

    @property
    def digest(self) -> bytes:
        """sha256 of the keybox, which the chain anchors."""
        return self.box.cid[-32:]


async def sold_tiers(
    tracks: Sequence[TrackManifest], block: Callable[[Cid, Cid], Awaitable[bytes]]
) -> list[Sold]:
    """Return the tiers of tracks that are not free, in order.

    Args:
        tracks: of a release, or some.
        block: returns a keybox by a rendition's root and its own CID.

    Raises:
        NotFoundError: a keybox is neither here nor with a peer.
    """
    wanted = [(track, each) for track in tracks for each in track.renditions]
    boxes: dict[int, Keybox] = {}
    slots = trio.CapacityLimiter(_AT_ONCE)
    failures: list[Exception] = []

    async def fetch(number: int, root: Cid, cid: Cid) -> None:
        async with slots:
            try:
                boxes[number] = parse_keybox(await block(root, cid))
            except Exception as err:  # noqa: BLE001 - raised again below, as itself and not in a group
                failures.append(err)
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for number, (_, rendition) in enumerate(wanted):
            nursery.start_soon(fetch, number, rendition.layout.root, rendition.keybox)
    if failures:
        raise failures[0]
    return [
        Sold(track.track_id, rendition.tier, boxes[number])
        for number, (track, rendition) in enumerate(wanted)
        if boxes[number].mode != MODE_PUBLIC
    ]


async def anchored(tiers: Sequence[Sold], anchors: Anchors) -> list[ListeningRight]:
    """Return what the chain says of tiers, in their order; NetworkError when it does not answer."""
    found: list[ListeningRight] = []
    for start in range(0, len(tiers), _TIERS_AT_ONCE):
        batch = tiers[start : start + _TIERS_AT_ONCE]
        found += await anchors.of([(each.track_id, each.tier) for each in batch])
    return found


def unanchored(tiers: Sequence[Sold], known: Sequence[ListeningRight]) -> list[Sold]:
    """Return the tiers whose keybox is later than the anchored one."""
    return [
        each
        for each, right in zip(tiers, known, strict=True)
        if each.box.epoch > right.epoch and each.digest != right.digest
    ]
