"""Whether what is about to be bought could be heard: the sound is there, and the keys would be released.

For every tier that the licence opens: the beginning of its ciphertext is fetched (it is no secret, and
starts the sound sooner after the purchase), its anchored keybox is fetched and checked, and its guardians
are asked. Tracks of a release mostly share their guardians: each set of holders is asked once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from marina.cid import Cid
from marina.errors import MarinaError, NetworkError, NotFoundError
from marina.ids import Account, TrackId
from node.downloads import Downloads
from node.keys.keyring import Keyring, Rights, day
from node.keys.quorum import Quorum, QuorumCheck
from storage.blocks.protocol import BlockStore
from storage.content.keybox import MODE_PUBLIC, Keybox, parse_keybox
from storage.content.track import TIER_ORIGINAL, TIER_STREAM, Rendition, TrackManifest

if TYPE_CHECKING:
    from chain.right import ListeningRight

TIERS = {1: (TIER_STREAM,), 2: (TIER_STREAM, TIER_ORIGINAL)}
"""Which tiers a kind of licence opens (design, architecture §13 "Licence kinds")."""
RIGHTS_BATCH = 32
_AT_ONCE = 8
_SOUND_S = 10.0


class NotAssuredError(NetworkError):
    """It could not be heard now if it were bought; nothing was paid."""

    code = "not_assured"


@dataclass(frozen=True, slots=True)
class Assurance:
    """What was found.

    Attributes:
        tiers: how many tiers of tracks need a key.
        available: of how many the sound is to be had.
        quorum: the weakest that was found; None when nothing needs a key.
        problem: why it could not be heard now, one sentence; None if it could.
    """

    tiers: int
    available: int
    quorum: Quorum | None
    problem: str | None


class Assurer:
    """Looks before money moves."""

    def __init__(
        self,
        *,
        rights: Rights,
        keyring: Keyring,
        check: QuorumCheck,
        blocks: BlockStore,
        downloads: Downloads,
        block: Callable[[Cid, Cid], Awaitable[bytes]],
    ) -> None:
        self._rights = rights
        self._keyring = keyring
        self._check = check
        self._blocks = blocks
        self._downloads = downloads
        self._block = block

    @property
    def account(self) -> Account:
        """Whose licences this device asks keys with."""
        return self._rights.account

    async def look(
        self, tracks: Sequence[TrackManifest], kind: int, *, is_thorough: bool = False
    ) -> Assurance:
        """Return whether the tracks could be heard under a kind of licence.

        Args:
            tracks: of a release, or one.
            kind: 1 stream, 2 download.
            is_thorough: wait for every guardian's answer, to show all of them.

        Raises:
            NetworkError: the chain does not answer.
        """
        renditions = [
            each for track in tracks for each in track.renditions if each.tier in TIERS.get(kind, ())
        ]
        work = _Looking(self._downloads, self._blocks, _AT_ONCE)
        paid = await self._paid(renditions, work)
        if not paid:
            return Assurance(0, 0, None, None)
        boxes = await self._boxes(paid, work)
        async with trio.open_nursery() as nursery:
            for rendition in paid:
                nursery.start_soon(work.sound, rendition)
            quorums = await self._quorums(boxes, is_thorough)
        weakest = min(quorums, key=lambda each: (each.is_enough, each.ready - each.needed), default=None)
        if weakest is not None and not weakest.is_enough:
            work.problems.insert(0, f"{weakest.sentence}: nobody could give you the key now")
        problem = f"{work.problems[0]}; nothing was paid, try again later" if work.problems else None
        return Assurance(len(paid), work.available, weakest, problem)

    async def check(self, tracks: Sequence[TrackManifest], kind: int) -> Assurance:
        """Return what was found; NotAssuredError if it could not be heard now."""
        found = await self.look(tracks, kind)
        if found.problem is not None:
            raise NotAssuredError(found.problem)
        return found

    async def _paid(self, renditions: Sequence[Rendition], work: _Looking) -> list[Rendition]:
        """Return the renditions whose keys are not public."""
        paid: list[Rendition] = []

        async def look(each: Rendition) -> None:
            async with work.slots:
                try:
                    box = parse_keybox(await self._block(each.layout.root, each.keybox))
                except MarinaError as err:
                    work.problems.append(f"its keybox is not to be had ({err})")
                    paid.append(each)
                    return
            if box.mode != MODE_PUBLIC:
                paid.append(each)

        async with trio.open_nursery() as nursery:
            for rendition in renditions:
                nursery.start_soon(look, rendition)
        return sorted(paid, key=lambda each: (each.run.track_id, each.tier))

    async def _boxes(self, paid: Sequence[Rendition], work: _Looking) -> list[Keybox]:
        rights: list[ListeningRight] = []
        for start in range(0, len(paid), RIGHTS_BATCH):
            batch = paid[start : start + RIGHTS_BATCH]
            rights += await self._rights.of([(TrackId(each.run.track_id), each.tier) for each in batch])
        boxes: list[Keybox] = []

        async def fetch(rendition: Rendition, right: ListeningRight) -> None:
            async with work.slots:
                try:
                    box = await self._keyring.keybox(rendition, right)
                    boxes.append(box)
                    if box.not_before > right.time_s:
                        work.problems.append(f"it can be heard from {day(box.not_before)} on")
                except (MarinaError, NotFoundError) as err:
                    work.problems.append(str(err))

        async with trio.open_nursery() as nursery:
            for rendition, right in zip(paid, rights, strict=True):
                nursery.start_soon(fetch, rendition, right)
        return boxes

    async def _quorums(self, boxes: Sequence[Keybox], is_thorough: bool) -> list[Quorum]:
        """Ask each set of holders once, with one of its keyboxes."""
        chosen: dict[tuple[frozenset[bytes], int], Keybox] = {}
        for box in boxes:
            holders = {each.guardian for each in box.shares} | {each.delegate for each in box.delegates}
            chosen.setdefault((frozenset(holders), box.k), box)
        return [await self._check.ask(box, is_thorough=is_thorough) for box in chosen.values()]


class _Looking:
    """One look: what is to be had, and what is not."""

    def __init__(self, downloads: Downloads, blocks: BlockStore, at_once: int) -> None:
        self.slots = trio.CapacityLimiter(at_once)
        self.available = 0
        self.problems: list[str] = []
        self._downloads = downloads
        self._blocks = blocks

    async def sound(self, rendition: Rendition) -> None:
        """Fetch the beginning of a rendition, unless it is here."""
        layout = rendition.layout
        async with self.slots:
            if 0 in await self._blocks.have(layout.root):
                self.available += 1
                return
            try:
                with trio.fail_after(_SOUND_S):
                    async with self._downloads.fetching(layout) as fetcher:
                        await fetcher.segment(0)
            except (MarinaError, trio.TooSlowError):
                self.problems.append("nobody who is reachable has the sound of it")
                return
            self.available += 1
