"""The catalogue: which tracks and releases this node knows. LevelDB is its only truth.

Every change is one atomic batch that also names the changed tracks in an outbox, so that the query
index (storage/library/search.py) catches up after a crash at any point.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import trio

from marina.cid import Cid
from marina.clock import Clock
from marina.errors import MalformedError
from marina.ids import TrackId, track_text
from storage.content.release import precedence
from storage.kv import KeyValueStore
from storage.library.foreign import CatalogLimits, plan_evictions
from storage.library.lookup import CatalogReader
from storage.library.models import RELEASE_TRACKS_MAX, Change, ReleaseEntry, Totals, TrackEntry
from storage.library.tables import TIME_BYTES, LibraryBatch, LibraryTables, read_row, time_key

TOUCH_EVERY_S = 3600
"""A use is written down at most this often for one release; finer order is not worth a disk write."""


@dataclass(frozen=True, slots=True)
class CatalogStat:
    """How much the catalogue holds; ``foreign_weight`` is what counts against the limits."""

    tracks: int
    releases: int
    foreign_weight: int


@dataclass(frozen=True, slots=True)
class PendingChange:
    """A row of the outbox: tracks that the query index has yet to follow."""

    key: bytes
    track_ids: tuple[bytes, ...]

    @property
    def sequence(self) -> int:
        """Number of the change; a large change is spread over several rows."""
        return int.from_bytes(self.key[:TIME_BYTES])


class Catalog(CatalogReader):
    """The one writer of the catalogue; writes are taken one after the other."""

    def __init__(self, store: KeyValueStore, *, clock: Clock, limits: CatalogLimits | None = None) -> None:
        tables = LibraryTables(store)
        super().__init__(tables, clock=clock)
        self._clock = clock
        self._limits = limits or CatalogLimits()
        self._lock = trio.Lock()
        self._known_totals: Totals | None = None
        self._changed = trio.Event()

    async def add(self, release: ReleaseEntry, tracks: Sequence[TrackEntry]) -> bool:
        """Store a release with its tracks, in place of an older version of it.

        Tracks that the new version no longer lists go, and those of a withdrawn release, except audio
        of others that is on this disk: the owner keeps what they have. ``added_s``, ``is_mine`` and
        ``is_licensed`` carry over, ``is_local`` while the track's manifest stays the same.

        Returns:
            Whether anything changed; an older version or the same one again changes nothing.

        Raises:
            ValueError: the entries are not those of the release's ``track_ids``.
            MalformedError: a track belongs to a release of another account.
            QuotaExceededError: the release is larger than what a peer may add.
        """
        if release.track_ids != tuple(track.track_id for track in tracks) or len(
            set(release.track_ids)
        ) != len(tracks):
            raise ValueError("a release is added with one entry for each of its tracks, in order")
        if any((each.release_id, each.release_cid) != (release.release_id, release.cid) for each in tracks):
            raise ValueError("a release is added with entries of this release version")
        async with self._lock:
            old = await self._tables.read_release(release.release_id)
            if old is not None and not _replaces(release, old):
                return False
            return await self._replace(release, tracks, old)

    async def remove(self, release_id: bytes) -> bool:
        """Forget a release and its tracks; return whether it was here."""
        async with self._lock:
            release = await self._tables.read_release(release_id)
            if release is None:
                return False
            batch = LibraryBatch(self._tables, await self._totals())
            await self._drop(batch, release)
            await self._commit(batch)
            return True

    async def mark(
        self, track_ids: Sequence[bytes], *, is_local: bool | None = None, is_licensed: bool | None = None
    ) -> None:
        """Set whether the audio of tracks is on this disk, and whether the owner may play them in full.

        None leaves a property as it is; tracks that are not here are passed over.
        """
        async with self._lock:
            batch = LibraryBatch(self._tables, await self._totals())
            by_release: dict[bytes, dict[bytes, TrackEntry]] = defaultdict(dict)
            for old in await self._tables.read_tracks(list(dict.fromkeys(track_ids))):
                if old is None:
                    continue
                new = replace(
                    old,
                    is_local=old.is_local if is_local is None else is_local,
                    is_licensed=old.is_licensed if is_licensed is None else is_licensed,
                )
                batch.put_track(new, old)
                by_release[old.release_id][old.track_id] = new
            for release_id, changed in by_release.items():
                await self._refresh_release(batch, release_id, changed)
            if not batch.is_empty:
                await self._commit(batch)

    async def touch(self, release_ids: Sequence[bytes]) -> None:
        """Note that foreign releases were used, so that they are evicted later than others."""
        now_s = self._clock.now_s()
        async with self._lock:
            batch = LibraryBatch(self._tables, await self._totals())
            for release_id in dict.fromkeys(release_ids):
                old = await self._tables.read_release(release_id)
                if old is None or now_s - old.touched_s < TOUCH_EVERY_S or not await self._is_foreign(old):
                    continue
                batch.put_release(replace(old, touched_s=now_s), old, is_foreign=True, was_foreign=True)
            if not batch.is_empty:
                await self._commit(batch)

    async def stat(self) -> CatalogStat:
        """Return the totals."""
        totals = await self._tables.read_totals()
        return CatalogStat(totals.tracks, totals.releases, totals.foreign)

    async def sequence(self) -> int:
        """Return the number of the last change that the query index has to follow."""
        return (await self._tables.read_totals()).sequence

    async def wait_changed(self, sequence: int) -> None:
        """Return once there is a change behind this number."""
        while True:
            changed = self._changed
            if await self.sequence() > sequence:
                return
            await changed.wait()

    async def pending(self, *, limit: int) -> list[PendingChange]:
        """Return the oldest rows of the outbox."""
        rows = await self._tables.outbox.scan(limit=limit)
        return [PendingChange(key, read_row(Change, data).track_ids) for key, data in rows]

    async def settle(self, keys: Sequence[bytes]) -> None:
        """Remove rows of the outbox that the query index has followed durably."""
        await self._tables.outbox.write(dict.fromkeys(keys))

    async def settle_all(self, *, until: int) -> None:
        """Remove all rows of the outbox up to a sequence number, after a rebuild of the index."""
        while True:
            rows = await self._tables.outbox.scan()
            keys = [key for key, _ in rows if key < time_key(until + 1)]
            if not keys:
                return
            await self.settle(keys)

    async def _replace(
        self, release: ReleaseEntry, tracks: Sequence[TrackEntry], old: ReleaseEntry | None
    ) -> bool:
        batch = LibraryBatch(self._tables, await self._totals())
        old_tracks = await self._tables.read_tracks(release.track_ids)
        for before in old_tracks:
            if before is not None and before.release_id != release.release_id:
                await self._check_move(before, release)
        merged = [_merge(new, before) for new, before in zip(tracks, old_tracks, strict=True)]
        kept = await self._drop_unlisted(batch, release, old)
        entry = _carry_over(release, old, [*release.track_ids, *kept], now_s=self._clock.now_s())
        was_foreign = old is not None and await self._is_foreign(old)
        others = await self._tables.read_tracks(kept)
        is_foreign = not entry.is_mine and not any(each and each.is_local for each in [*merged, *others])
        if is_foreign:
            await self._evict_for(batch, entry, old if was_foreign else None)
        for new, before in zip(merged, old_tracks, strict=True):
            batch.put_track(new, before)
        if entry != old or is_foreign != was_foreign:
            batch.put_release(entry, old, is_foreign=is_foreign, was_foreign=was_foreign)
        if batch.is_empty:
            return False
        await self._commit(batch)
        return True

    async def _check_move(self, track: TrackEntry, release: ReleaseEntry) -> None:
        """Refuse to take a track from another account's release: ids belong to accounts."""
        owner = await self._tables.read_release(track.release_id)
        if owner is not None and owner.account != release.account:
            raise MalformedError(
                f"the release claims {track_text(TrackId(track.track_id))}, which belongs to another account"
            )

    async def _drop_unlisted(
        self, batch: LibraryBatch, release: ReleaseEntry, old: ReleaseEntry | None
    ) -> list[bytes]:
        """Drop the old version's other tracks; return the ids of those that stay."""
        listed = set(release.track_ids)
        gone = [each for each in (old.track_ids if old else ()) if each not in listed]
        if old is not None and old.cid == release.cid:
            return gone  # the same version, of which this caller knew fewer tracks
        kept: list[bytes] = []
        for track in await self._tables.read_tracks(gone):
            if track is None or track.release_id != release.release_id:
                continue
            if track.is_local and not track.is_mine and len(listed) + len(kept) < RELEASE_TRACKS_MAX:
                kept.append(track.track_id)
            else:
                batch.drop_track(track)
        return kept

    async def _evict_for(
        self, batch: LibraryBatch, release: ReleaseEntry, replaced: ReleaseEntry | None
    ) -> None:
        foreign = (await self._totals()).foreign
        source_weight = await self._tables.read_source_weight(release.source)
        if replaced is not None:
            foreign -= replaced.weight
            source_weight -= replaced.weight if replaced.source == release.source else 0
        going = await plan_evictions(
            self._tables, self._limits, release, source_weight=source_weight, foreign_weight=foreign
        )
        for each in going:
            await self._drop(batch, each)

    async def _drop(self, batch: LibraryBatch, release: ReleaseEntry) -> None:
        for track in await self._tables.read_tracks(release.track_ids):
            if track is not None and track.release_id == release.release_id:
                batch.drop_track(track)
        batch.drop_release(release, was_foreign=await self._is_foreign(release))

    async def _refresh_release(
        self, batch: LibraryBatch, release_id: bytes, changed: dict[bytes, TrackEntry]
    ) -> None:
        """Put a release on the list of foreign ones or take it off, after its tracks changed."""
        old = await self._tables.read_release(release_id)
        if old is None:
            return
        others = await self._tables.read_tracks([each for each in old.track_ids if each not in changed])
        entries = [*changed.values(), *(each for each in others if each is not None)]
        is_foreign = not old.is_mine and not any(each.is_local for each in entries)
        was_foreign = await self._is_foreign(old)
        if is_foreign != was_foreign:
            new = replace(old, touched_s=self._clock.now_s())
            batch.put_release(new, old, is_foreign=is_foreign, was_foreign=was_foreign)

    async def _is_foreign(self, release: ReleaseEntry) -> bool:
        return await self._tables.foreign.get(time_key(release.touched_s, release.release_id)) is not None

    async def _totals(self) -> Totals:
        if self._known_totals is None:
            self._known_totals = await self._tables.read_totals()
        return self._known_totals

    async def _commit(self, batch: LibraryBatch) -> None:
        self._known_totals = None  # read again if the write fails or is cut short
        self._known_totals = await batch.commit()
        changed, self._changed = self._changed, trio.Event()
        changed.set()


def _replaces(new: ReleaseEntry, old: ReleaseEntry) -> bool:
    """Return whether ``new`` is a later version, or the same one with more to say about it."""
    if new.cid == old.cid:
        return True
    mine, theirs = (precedence(each.version, each.published_s, Cid(each.cid)) for each in (new, old))
    return mine > theirs


def _merge(new: TrackEntry, old: TrackEntry | None) -> TrackEntry:
    if old is None:
        return new
    is_same = old.release_cid == new.release_cid
    return replace(
        new,
        added_s=old.added_s,
        is_mine=new.is_mine or old.is_mine,
        is_local=new.is_local or (old.is_local and old.manifest == new.manifest),
        is_licensed=new.is_licensed or old.is_licensed,
        source=old.source if is_same else new.source,
    )


def _carry_over(
    new: ReleaseEntry, old: ReleaseEntry | None, track_ids: Sequence[bytes], *, now_s: int
) -> ReleaseEntry:
    if old is None:
        return replace(new, touched_s=now_s)
    is_same = old.cid == new.cid
    return replace(
        new,
        track_ids=tuple(track_ids),
        added_s=old.added_s,
        is_mine=new.is_mine or old.is_mine,
        source=old.source if is_same else new.source,
        touched_s=old.touched_s if is_same else now_s,
    )
