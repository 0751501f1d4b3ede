"""What a block is, in words: the release, track and rendition that it belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from marina.cid import DAG_CBOR, Cid, codec_of
from marina.errors import DamagedError, MalformedError, NotFoundError
from marina.ids import ReleaseId, TrackId
from node.swarm import Swarm
from storage.blocks.protocol import BlockStore
from storage.content.release import Release, open_release
from storage.content.track import TrackManifest, decode_track

TIERS = {0: "preview", 1: "stream", 2: "original"}


@dataclass(frozen=True, slots=True)
class BlockName:
    """What a block is.

    Attributes:
        kind: ``release``, ``track`` (their manifests), ``keybox``, ``picture``, or the tier of a rendition.
        title: of the track, or of the release for what belongs to all of it.
        artist: of the same.
        release_id: the release.
        track_id: the track, None for what belongs to the whole release.
    """

    kind: str
    title: str
    artist: str
    release_id: ReleaseId
    track_id: TrackId | None


class BlockNames:
    """Names blocks by the manifests that are here; nothing is fetched."""

    def __init__(self, *, blocks: BlockStore, swarm: Swarm) -> None:
        self._blocks = blocks
        self._swarm = swarm

    async def of(self, cids: Iterable[Cid]) -> dict[Cid, BlockName]:
        """Return the names of those blocks that are known; each release is read once."""
        found: dict[Cid, BlockName] = {}
        read: set[Cid] = set()
        for cid in cids:
            release = self._swarm.owner_of(cid)[0]
            if release is not None and release not in read:
                read.add(release)
                found |= await self._release(release)
            if cid not in found and codec_of(cid) == DAG_CBOR:
                found |= await self._manifest(cid)
        return found

    async def _release(self, cid: Cid) -> dict[Cid, BlockName]:
        data = await self._read(cid)
        if data is None:
            return {}
        try:
            release = open_release(data).release
        except MalformedError:
            return {}
        names = {cid: _of_release(release, "release")}
        if release.artwork is not None:
            names[release.artwork] = _of_release(release, "picture")
        for track_cid in release.tracks:
            names = await self._track(track_cid) | names
        return names

    async def _manifest(self, cid: Cid) -> dict[Cid, BlockName]:
        """Name a manifest by itself: an older version, which nothing refers to any more."""
        return await self._release(cid) or await self._track(cid)

    async def _track(self, cid: Cid) -> dict[Cid, BlockName]:
        data = await self._read(cid)
        if data is None:
            return {}
        try:
            track = decode_track(data)
        except MalformedError:
            return {}
        names = {cid: _of_track(track, "track")}
        if track.artwork is not None:
            names[track.artwork] = _of_track(track, "picture")
        for each in track.renditions:
            names[each.keybox] = _of_track(track, "keybox")
            names[each.layout.root] = _of_track(track, TIERS.get(each.tier, str(each.tier)))
        return names

    async def _read(self, cid: Cid) -> bytes | None:
        try:
            return await self._blocks.get(cid)
        except (NotFoundError, DamagedError):
            return None


def _of_release(release: Release, kind: str) -> BlockName:
    return BlockName(kind, release.title, release.artist, release.release_id, None)


def _of_track(track: TrackManifest, kind: str) -> BlockName:
    return BlockName(kind, track.title, track.artist, track.release_id, track.track_id)
