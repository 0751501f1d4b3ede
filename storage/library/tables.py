"""Where the catalogue lies in LevelDB, and the batches that change it.

====================  ==================================  ===================
table                 key                                 value
====================  ==================================  ===================
``lib/track``         track id                            ``TrackEntry``
``lib/release``       release id                          ``ReleaseEntry``
``lib/track-age``     added_s ‖ track id                  empty
``lib/release-age``   added_s ‖ release id                empty
``lib/foreign``       touched_s ‖ release id              empty
``lib/by-source``     source key ‖ touched_s ‖ id         empty
``lib/source``        source key                          ``SourceCount``
``lib/totals``        empty                               ``Totals``
``lib/outbox``        sequence ‖ part                     ``Change``
``lib/results``       client                              ``LastResults``
====================  ==================================  ===================

Times and sequences are 8 bytes, big-endian, so that key order is their order; a source key is the
first 16 bytes of the sha2-256 of the peer's id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from marina.errors import MalformedError
from marina.schema import R, decode_record, encode_record
from storage.errors import StorageError
from storage.kv import KeyValueStore, Table
from storage.library.models import (
    CHANGE_TRACKS_MAX,
    Change,
    ReleaseEntry,
    SourceCount,
    Totals,
    TrackEntry,
)

ID_BYTES = 32
TIME_BYTES = 8
SOURCE_KEY_BYTES = 16
_TOTALS_KEY = b""


def time_key(seconds: int, item_id: bytes = b"") -> bytes:
    """Return the key of a thing at a time; without an id it lies ahead of all things of that second."""
    return seconds.to_bytes(TIME_BYTES) + item_id


def source_key(source: str) -> bytes:
    """Return the fixed-length key of a peer."""
    return hashlib.sha256(source.encode()).digest()[:SOURCE_KEY_BYTES]


def read_row(cls: type[R], data: bytes) -> R:
    """Return the record in a row of our own.

    Raises:
        StorageError: the row cannot be read; the database is damaged.
    """
    try:
        return decode_record(cls, data)
    except MalformedError as err:
        raise StorageError(
            f"a {cls.__name__} in the node's database is damaged ({err}): run 'marina repo repair'"
        ) from err


class LibraryTables:
    """The tables of the catalogue; opening them does no I/O."""

    def __init__(self, store: KeyValueStore) -> None:
        self.store = store
        self.tracks = Table(store, "lib/track")
        self.releases = Table(store, "lib/release")
        self.track_age = Table(store, "lib/track-age")
        self.release_age = Table(store, "lib/release-age")
        self.foreign = Table(store, "lib/foreign")
        self.by_source = Table(store, "lib/by-source")
        self.sources = Table(store, "lib/source")
        self.totals = Table(store, "lib/totals")
        self.outbox = Table(store, "lib/outbox")
        self.results = Table(store, "lib/results")

    async def read_totals(self) -> Totals:
        """Return the running sums; zeros for an empty catalogue."""
        data = await self.totals.get(_TOTALS_KEY)
        return Totals(0, 0, 0, 0) if data is None else read_row(Totals, data)

    async def read_release(self, release_id: bytes) -> ReleaseEntry | None:
        """Return a release."""
        data = await self.releases.get(release_id)
        return None if data is None else read_row(ReleaseEntry, data)

    async def read_tracks(self, track_ids: Sequence[bytes]) -> list[TrackEntry | None]:
        """Return the entry of each track, in order."""
        rows = await self.tracks.get_many(track_ids)
        return [None if row is None else read_row(TrackEntry, row) for row in rows]

    async def read_source_weight(self, source: str) -> int:
        """Return the weight of the evictable releases of one peer."""
        data = await self.sources.get(source_key(source))
        return 0 if data is None else read_row(SourceCount, data).weight


class LibraryBatch:
    """Changes to several tables that are applied together.

    It keeps the secondary keys in step: whoever puts or drops an entry need not know them.
    """

    def __init__(self, tables: LibraryTables, totals: Totals) -> None:
        self._tables = tables
        self._rows: dict[bytes, bytes | None] = {}
        self._changed: dict[bytes, None] = {}
        self._before = totals
        self._tracks = totals.tracks
        self._releases = totals.releases
        self._foreign = totals.foreign
        self._source_change: dict[str, int] = {}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self._rows

    def put_track(self, new: TrackEntry, old: TrackEntry | None) -> None:
        """Store a track in place of its old entry."""
        if old == new:
            return
        if old is None:
            self._tracks += 1
        elif old.added_s != new.added_s:
            self._set(self._tables.track_age, time_key(old.added_s, old.track_id), None)
        self._set(self._tables.tracks, new.track_id, encode_record(new))
        self._set(self._tables.track_age, time_key(new.added_s, new.track_id), b"")
        self._changed[new.track_id] = None

    def drop_track(self, old: TrackEntry) -> None:
        """Remove a track."""
        self._tracks -= 1
        self._set(self._tables.tracks, old.track_id, None)
        self._set(self._tables.track_age, time_key(old.added_s, old.track_id), None)
        self._changed[old.track_id] = None

    def put_release(
        self, new: ReleaseEntry, old: ReleaseEntry | None, *, is_foreign: bool, was_foreign: bool
    ) -> None:
        """Store a release in place of its old entry."""
        if old is None:
            self._releases += 1
        else:
            if was_foreign:
                self._mark_foreign(old, is_foreign=False)
            self._set(self._tables.release_age, time_key(old.added_s, old.release_id), None)
        self._set(self._tables.releases, new.release_id, encode_record(new))
        self._set(self._tables.release_age, time_key(new.added_s, new.release_id), b"")
        if is_foreign:
            self._mark_foreign(new, is_foreign=True)

    def drop_release(self, old: ReleaseEntry, *, was_foreign: bool) -> None:
        """Remove a release, not its tracks."""
        self._releases -= 1
        self._set(self._tables.releases, old.release_id, None)
        self._set(self._tables.release_age, time_key(old.added_s, old.release_id), None)
        if was_foreign:
            self._mark_foreign(old, is_foreign=False)

    async def commit(self) -> Totals:
        """Write everything durably and return the new sums."""
        tables = self._tables
        sequence = self._before.sequence
        if self._changed:
            sequence += 1
            ids = list(self._changed)
            for part, start in enumerate(range(0, len(ids), CHANGE_TRACKS_MAX)):
                change = Change(tuple(ids[start : start + CHANGE_TRACKS_MAX]))
                self._set(tables.outbox, time_key(sequence) + part.to_bytes(2), encode_record(change))
        for source, difference in self._source_change.items():
            weight = await tables.read_source_weight(source) + difference
            row = encode_record(SourceCount(source, weight)) if weight > 0 else None
            self._set(tables.sources, source_key(source), row)
        totals = Totals(sequence, self._tracks, self._releases, self._foreign)
        self._set(tables.totals, _TOTALS_KEY, encode_record(totals))
        await tables.store.write(list(self._rows.items()))
        return totals

    def _mark_foreign(self, release: ReleaseEntry, *, is_foreign: bool) -> None:
        value = b"" if is_foreign else None
        age = time_key(release.touched_s, release.release_id)
        self._set(self._tables.foreign, age, value)
        self._set(self._tables.by_source, source_key(release.source) + age, value)
        difference = release.weight if is_foreign else -release.weight
        self._foreign += difference
        self._source_change[release.source] = self._source_change.get(release.source, 0) + difference

    def _set(self, table: Table, key: bytes, value: bytes | None) -> None:
        self._rows[table.key(key)] = value
