"""Mending: what is missing of this owner's releases is made again from the originals.

What is missing is what the store knows to be: the bitmap of a rendition, small blocks that are not there
or do not read. No segment is read to find out; ``marina repo verify`` does that.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from marina.cid import Cid, cid_of, cid_text
from marina.errors import DamagedError, NotFoundError
from marina.ids import ReleaseId
from marina.secret import Secret
from storage.audio.errors import AudioError
from storage.blocks.protocol import BlockStore
from storage.content.keybox import parse_keybox
from storage.content.track import Rendition, TrackManifest
from storage.pins import Pins
from storage.publish.covers import Covers
from storage.publish.journal import Journal
from storage.publish.models import Mended, Report
from storage.publish.paid import PaidJournal
from storage.publish.renditions import RenditionSealer, TrackKeys, free_keybox
from storage.publish.source import Source
from storage.publish.tracks import TrackMaker
from storage.retention import Retention

log = logging.getLogger("marina.storage")


@dataclass(frozen=True, slots=True)
class Originals:
    """What a release was published from.

    Attributes:
        release_key: the release's name in the journal.
        sources: the artist's files.
        covers: pictures of their folders.
    """

    release_key: bytes
    sources: Sequence[Source]
    covers: Covers


async def sound(blocks: BlockStore, cid: Cid) -> bytes | None:
    """Return a small block, None if it is missing or damaged; a damaged one counts as missing then."""
    try:
        return await blocks.get(cid)
    except (NotFoundError, DamagedError):
        return None


class Mender:
    """Restores manifests, keyboxes, pictures and segments of releases that were published here."""

    def __init__(
        self,
        *,
        maker: TrackMaker,
        sealer: RenditionSealer,
        blocks: BlockStore,
        pins: Pins,
        journal: Journal,
        paid: PaidJournal,
    ) -> None:
        self._maker = maker
        self._sealer = sealer
        self._blocks = blocks
        self._pins = pins
        self._journal = journal
        self._paid = paid

    async def mend_manifests(self, release_id: ReleaseId) -> int:
        """Put back the manifests of every version of a release; return how many were missing."""
        count = 0
        async with aclosing(self._journal.copies(release_id)) as copies:
            async for cid, block in copies:
                if await sound(self._blocks, cid) is None:
                    await self._blocks.put(cid, block)
                    count += 1
        return count

    async def mend_tracks(
        self,
        originals: Originals,
        tracks: Sequence[tuple[Cid, TrackManifest]],
        content_root: Secret[bytes],
        report: Report,
    ) -> Mended:
        """Make again what is missing of some tracks.

        Args:
            originals: what they were made from.
            tracks: of the release.
            content_root: root of the track keys.
            report: told of each file that is read again.

        Raises:
            QuotaExceededError, DiskFullError: what is mended stays.
        """
        by_salt: dict[bytes, Source] = {}
        for source in originals.sources:
            entry = await self._journal.track(originals.release_key, source)
            if entry is not None:
                by_salt[entry.salt] = source
        mended = Mended()
        for number, (_, track) in enumerate(tracks):
            original = by_salt.get(track.salt)
            await report(number, len(tracks), original.path.name if original else "")
            keys = TrackKeys(track.track_id, track.salt, content_root)
            mended += await self._artwork(original, originals.covers, track)
            for each in track.renditions:
                mended += await self._keybox(each, keys)
                mended += await self._segments(original, track, each, keys)
        return mended

    async def _artwork(self, source: Source | None, covers: Covers, track: TrackManifest) -> Mended:
        if track.artwork is None or await sound(self._blocks, track.artwork) is not None:
            return Mended()
        try:
            jpeg = None if source is None else await self._maker.artwork(source, covers)
        except AudioError as err:
            return _lost(track.artwork, 1, str(err))
        if jpeg is None or cid_of(jpeg) != track.artwork:
            return _lost(track.artwork, 1, "the originals hold another picture or none")
        await self._blocks.put(track.artwork, jpeg)
        return Mended(blocks=1)

    async def _keybox(self, rendition: Rendition, keys: TrackKeys) -> Mended:
        if await sound(self._blocks, rendition.keybox) is not None:
            return Mended()
        copy = await self._paid.copy(keys.track_id, rendition.tier, rendition.keybox)
        box = free_keybox(rendition, keys) if copy is None else parse_keybox(copy)
        if box.cid != rendition.keybox:
            return _lost(rendition.keybox, 1, "it is no keybox of a free track, and no copy of it is here")
        await self._blocks.put(box.cid, box.to_bytes())
        return Mended(blocks=1)

    async def _segments(
        self, source: Source | None, track: TrackManifest, rendition: Rendition, keys: TrackKeys
    ) -> Mended:
        root = rendition.layout.root
        if await self._pins.retention(root) is not Retention.OWN:
            return Mended()  # a later version let go of it
        here = await self._blocks.have(root)
        missing = [index for index in range(rendition.layout.plan.count) if index not in here]
        if not missing:
            return Mended()
        if source is None:
            return _lost(root, len(missing), "its original is not among the files")
        try:
            again = self._maker.encoded_again(source, tier=rendition.tier, duration_ms=track.duration_ms)
            async with again as fd:
                made = await self._sealer.seal_again(fd, rendition, keys, missing)
        except (AudioError, DamagedError) as err:
            return _lost(root, len(missing), str(err))
        mended = Mended(segments=made)
        if made < len(missing):
            mended += _lost(root, len(missing) - made, "this encoder makes other bytes than the first one")
        return mended


def _lost(cid: Cid, count: int, reason: str) -> Mended:
    log.warning(
        "not mended from the originals",
        extra={"context": {"cid": cid_text(cid), "missing": count, "reason": reason}},
    )
    return Mended(missing=count)
