"""What publishing remembers, so that it can resume and never publishes the same thing twice.

Salts are written down before the first byte is encrypted: an interrupted run goes on under the same
ids. A finished track or release is named by what it was made from. Of every manifest a copy stays here:
the random salts in it are nowhere else, and without them no original gives the same segments again.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from marina.cid import Cid, check_cid
from marina.ids import ReleaseId
from marina.schema import Bytes32, Size, decode_record, encode_record, record
from storage.kv import KeyValueStore, Table
from storage.publish.source import Source

_COPIES_AT_ONCE = 16


@record("marina/publish-track/1")
@dataclass(frozen=True, slots=True)
class TrackEntry:
    """One file under way or done; ``cid`` is empty until its manifest is stored."""

    salt: Bytes32
    cid: Annotated[bytes, Size(0, 36)]


@record("marina/publish-release/1")
@dataclass(frozen=True, slots=True)
class ReleaseEntry:
    """One set of files under way or done; ``cid`` is empty until the release is signed."""

    salt: Bytes32
    cid: Annotated[bytes, Size(0, 36)]


class Journal:
    """Entries by content, durable before each step that depends on them."""

    def __init__(self, store: KeyValueStore) -> None:
        self._tracks = Table(store, "publish-track")
        self._releases = Table(store, "publish-release")
        self._withdrawn = Table(store, "publish-withdrawn")
        self._copies = Table(store, "publish-copy")

    @staticmethod
    def release_key(sources: Sequence[Source], texts: Sequence[str]) -> bytes:
        """Return the name of a release by its files, in order, and the words that describe it."""
        hasher = hashlib.sha256(b"".join(source.sha256 for source in sources))
        for text in texts:
            hasher.update(hashlib.sha256(text.encode()).digest())
        return hasher.digest()

    async def begin_release(self, key: bytes, salt: bytes) -> ReleaseEntry:
        """Return the release's entry, made with ``salt`` if there is none yet."""
        found = await self._releases.get(key)
        if found is not None:
            return decode_record(ReleaseEntry, found)
        entry = ReleaseEntry(salt, b"")
        await self._releases.put(key, encode_record(entry))
        return entry

    async def end_release(self, key: bytes, entry: ReleaseEntry, cid: Cid) -> None:
        """Write down that the release is signed and stored."""
        await self._releases.put(key, encode_record(replace(entry, cid=cid)))

    async def forget_release(self, key: bytes) -> None:
        """Let the same files be published anew, under a new id: after a withdrawal."""
        await self._releases.delete(key)

    async def mark_withdrawn(self, release_id: ReleaseId) -> None:
        """Remember that a release has a tombstone, so that its id is not used again."""
        await self._withdrawn.put(release_id, b"\xc3")

    async def is_withdrawn(self, release_id: ReleaseId) -> bool:
        """Return whether a release was withdrawn by this node."""
        return await self._withdrawn.get(release_id) is not None

    async def begin_track(self, release_key: bytes, source: Source, salt: bytes) -> TrackEntry:
        """Return the track's entry, made with ``salt`` if there is none yet."""
        found = await self._tracks.get(release_key + source.sha256)
        if found is not None:
            return decode_record(TrackEntry, found)
        entry = TrackEntry(salt, b"")
        await self._tracks.put(release_key + source.sha256, encode_record(entry))
        return entry

    async def track(self, release_key: bytes, source: Source) -> TrackEntry | None:
        """Return the track's entry, None if the file was not of this release."""
        found = await self._tracks.get(release_key + source.sha256)
        return None if found is None else decode_record(TrackEntry, found)

    async def end_track(self, release_key: bytes, source: Source, entry: TrackEntry, cid: Cid) -> None:
        """Write down that the track's manifest is stored."""
        await self._tracks.put(release_key + source.sha256, encode_record(replace(entry, cid=cid)))

    async def keep_copies(self, release_id: ReleaseId, manifests: Mapping[Cid, bytes]) -> None:
        """Keep copies of the manifests of a release's version; those that are kept already cost one read."""
        keys = [release_id + cid for cid in manifests]
        known = await self._copies.get_many(keys)
        new = {
            key: block
            for key, block, old in zip(keys, manifests.values(), known, strict=True)
            if old != block
        }
        if new:
            await self._copies.write(dict(new))

    async def copies(self, release_id: ReleaseId) -> AsyncGenerator[tuple[Cid, bytes], None]:
        """Yield the manifests of all versions of a release with their CIDs; wrap it in ``aclosing``."""
        after = b""
        while True:
            rows = await self._copies.scan(release_id, after=after, limit=_COPIES_AT_ONCE)
            for key, block in rows:
                yield Cid(key[len(release_id) :]), block
                after = key
            if len(rows) < _COPIES_AT_ONCE:
                return


def finished(entry: TrackEntry | ReleaseEntry) -> Cid | None:
    """Return the CID of a finished entry."""
    return check_cid(entry.cid) if entry.cid else None
