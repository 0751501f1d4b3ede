"""What of a release is sold: its guarded keyboxes, and which of them the chain does not know yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import trio

from marina.cid import RAW, Cid, cid_from_digest
from marina.errors import MalformedError, NotPermittedError
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
        box: the keybox that its manifest names, or the anchored one.
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


async def in_force(
    tiers: Sequence[Sold],
    known: Sequence[ListeningRight],
    block: Callable[[Cid, Cid], Awaitable[bytes]],
) -> list[Sold]:
    """Return tiers with the keyboxes that the chain names, where those are not the manifest's: a delegate's.

    Args:
        tiers: as ``sold_tiers`` returns them.
        known: what is anchored, in the same order.
        block: returns a keybox by its CID, twice.

    Raises:
        NotFoundError: nobody who is reachable has one.
        NotPermittedError: what is anchored is of something else.
    """
    found: list[Sold] = []
    for each, right in zip(tiers, known, strict=True):
        if right.digest is None or right.digest == each.digest or right.epoch <= each.box.epoch:
            found.append(each)
            continue
        cid = cid_from_digest(right.digest, RAW)
        try:
            box = parse_keybox(await block(cid, cid))
        except MalformedError as err:
            raise NotPermittedError("what is anchored on the chain is no keybox: tell the artist") from err
        if _named(box) != _named(each.box) or box.epoch != right.epoch or box.mode == MODE_PUBLIC:
            raise NotPermittedError("the keys that are anchored open something else: tell the artist")
        found.append(replace(each, box=box))
    return found


def _named(box: Keybox) -> tuple[int, bytes, bytes, int, bytes]:
    return box.chain_id, box.registry, box.track_id, box.tier, box.kc
