"""Keeps the keyboxes that count of all that this node keeps, so that they outlive whoever anchored them.

A delegate may split the keys of a release anew without a new manifest: then the chain names a keybox that
at first only the delegate has, and nobody new could hear the release if that machine went away.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import trio

from marina.cid import RAW, Cid, cid_from_digest, cid_text, digest_of
from marina.errors import MalformedError, MarinaError
from marina.ids import TrackId
from node.library import Target
from storage.content.keybox import parse_keybox

if TYPE_CHECKING:
    from trio_typing import TaskStatus

    from chain.index.registry import KeyboxRow

log = logging.getLogger("marina.node.selling")
FIRST_S = 20.0
EVERY_S = 60.0
_RELEASES_MAX = 2000
_Tier = tuple[TrackId, int, bytes]
"""Track, tier, and digest of the keybox that the manifest names."""


class AnchoredKeyboxes(Protocol):
    """Says what the chain names; ``chain.tables.ChainTables`` is one."""

    async def keybox(self, number: bytes, tier: int) -> KeyboxRow | None:
        """Return the anchored keybox of a tier."""
        ...


class KeyboxCopies:
    """Looks once a minute whether the chain names a keybox that is not here."""

    def __init__(
        self,
        *,
        kept: Callable[[], Awaitable[list[Cid]]],
        version: Callable[[Cid], Awaitable[Target]],
        anchored: Callable[[], AnchoredKeyboxes | None],
        has: Callable[[Cid], Awaitable[bool]],
        fetch: Callable[[Cid, Cid], Awaitable[bytes]],
        hold: Callable[[Cid], Awaitable[None]],
        announce: Callable[[Sequence[Cid]], Awaitable[None]],
    ) -> None:
        """Take the collaborators.

        Args:
            kept: the releases that this node keeps whole.
            version: returns one of them.
            anchored: the index of the chain; None without a chain.
            has: whether a block is here.
            fetch: brings and stores a block, asking the providers of the first CID for the second.
            hold: keeps a block.
            announce: lets everybody find blocks here.
        """
        self._kept = kept
        self._version = version
        self._anchored = anchored
        self._has = has
        self._fetch = fetch
        self._hold = hold
        self._announce = announce
        self._tiers: OrderedDict[Cid, tuple[_Tier, ...]] = OrderedDict()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look until cancelled."""
        task_status.started()
        await trio.sleep(FIRST_S)
        while True:
            await self.look()
            await trio.sleep(EVERY_S)

    async def look(self) -> int:
        """Bring what the chain names and is not here; return how many keyboxes that were."""
        found = self._anchored()
        if found is None:
            return 0
        count = 0
        for release in await self._kept():
            try:
                for tier in await self._tiers_of(release):
                    count += await self._look_at(release, tier, found)
            except MarinaError as err:  # it is tried again at the next look
                context = {"release": cid_text(release), "reason": str(err)}
                log.info("a release's keybox could not be copied", extra={"context": context})
        return count

    async def _look_at(self, release: Cid, tier: _Tier, anchored: AnchoredKeyboxes) -> bool:
        track, number, named = tier
        row = await anchored.keybox(track, number)
        if row is None or row.digest == named:
            return False
        cid = cid_from_digest(row.digest, RAW)
        if await self._has(cid):
            return False
        # Whoever anchored it says that it provides the block; others may have it with the release.
        box = parse_keybox(await self._fetch(cid, cid))
        if (box.track_id, box.tier, box.epoch) != (track, number, row.epoch):
            raise MalformedError("the chain names a keybox of something else")
        await self._hold(cid)
        await self._announce([cid])
        log.info("a keybox was copied", extra={"context": {"release": cid_text(release)}})
        return True

    async def _tiers_of(self, release: Cid) -> tuple[_Tier, ...]:
        """Return the tiers of a release, its manifests read once."""
        known = self._tiers.get(release)
        if known is None:
            target = await self._version(release)
            known = self._tiers[release] = tuple(
                (TrackId(track.track_id), each.tier, digest_of(each.keybox))
                for _, track in target.tracks
                for each in track.renditions
            )
            while len(self._tiers) > _RELEASES_MAX:
                self._tiers.popitem(last=False)
        return known
