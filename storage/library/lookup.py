"""Reading the catalogue: by id, by the start of an id, newest first, by the number in a list."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from marina.clock import Clock
from marina.errors import MalformedError, NotFoundError, UsageError
from marina.ids import (
    PREFIX_CHARS_MIN,
    RELEASE_PREFIX,
    TRACK_PREFIX,
    ReleaseId,
    TrackId,
    base32,
    from_base32,
    release_text,
    resolve_prefix,
    track_text,
)
from marina.schema import encode_record
from storage.kv import Table
from storage.library.models import RESULTS_MAX, LastResults, ReleaseEntry, TrackEntry
from storage.library.tables import ID_BYTES, TIME_BYTES, LibraryTables, read_row

T = TypeVar("T")
PAGE_MAX = 500
CURSOR_BYTES = TIME_BYTES + ID_BYTES
_CANDIDATES = 8
_RESULTS_VERSION = 1
_ID_CHARS = 52
_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list.

    Attributes:
        items: the entries of this part.
        next: cursor of the part behind it, None at the end.
    """

    items: tuple[T, ...]
    next: str | None


class NumberedResults:
    """The list that a client showed last, so that ``play 2`` means its second line."""

    def __init__(self, tables: LibraryTables, clock: Clock) -> None:
        self._table = tables.results
        self._clock = clock

    async def save(self, track_ids: Sequence[bytes], *, client: str = "cli") -> None:
        """Number these tracks from 1; the first 200 are kept."""
        results = LastResults(_RESULTS_VERSION, self._clock.now_s(), tuple(track_ids[:RESULTS_MAX]))
        await self._table.put(client.encode(), encode_record(results))

    async def pick(self, number: int, *, client: str = "cli") -> TrackId:
        """Return the track with a number.

        Raises:
            NotFoundError: the last list has no such number.
        """
        data = await self._table.get(client.encode())
        known = () if data is None else read_row(LastResults, data).track_ids
        if not 1 <= number <= len(known):
            has = f"has {len(known)} tracks" if known else "is empty"
            raise NotFoundError(f"no result {number}: the last list {has}; run 'marina find' first")
        return TrackId(known[number - 1])


class CatalogReader:
    """Read access to the catalogue; no method changes anything but ``results``."""

    def __init__(self, tables: LibraryTables, *, clock: Clock) -> None:
        self._tables = tables
        self.results = NumberedResults(tables, clock)

    async def track(self, track_id: bytes) -> TrackEntry:
        """Return a track.

        Raises:
            NotFoundError: the catalogue does not have it.
        """
        (entry,) = await self._tables.read_tracks([track_id])
        if entry is None:
            raise NotFoundError(
                f"no track {track_text(TrackId(track_id))} here: look it up with 'marina find'"
            )
        return entry

    async def tracks(self, track_ids: Sequence[bytes]) -> list[TrackEntry | None]:
        """Return the entry of each track, in order; None for those that are not here."""
        return await self._tables.read_tracks(track_ids)

    async def release(self, release_id: bytes) -> ReleaseEntry:
        """Return a release, withdrawn ones too.

        Raises:
            NotFoundError: the catalogue does not have it.
        """
        entry = await self._tables.read_release(release_id)
        if entry is None:
            raise NotFoundError(
                f"no release {release_text(ReleaseId(release_id))} here: look it up with 'marina find'"
            )
        return entry

    async def release_tracks(self, release_id: bytes) -> list[TrackEntry]:
        """Return the tracks of a release in playing order.

        Raises:
            NotFoundError: the catalogue does not have the release.
        """
        release = await self.release(release_id)
        entries = await self._tables.read_tracks(release.track_ids)
        return [entry for entry in entries if entry is not None and entry.release_id == release_id]

    async def resolve_track(self, typed: str) -> TrackEntry:
        """Return the track that a person means by an id, its start or a number of the last list.

        Raises:
            UsageError: the start of the id is too short or fits several tracks.
            NotFoundError: nothing fits.
        """
        if typed.isascii() and typed.isdigit() and len(typed) <= 4:
            return await self.track(await self.results.pick(int(typed)))
        return await self.track(await _resolve(self._tables.tracks, typed, TRACK_PREFIX, "track"))

    async def resolve_release(self, typed: str) -> ReleaseEntry:
        """Return the release that a person means by an id or its start; errors as for tracks."""
        return await self.release(await _resolve(self._tables.releases, typed, RELEASE_PREFIX, "release"))

    async def newest_tracks(self, *, limit: int = 50, cursor: str | None = None) -> Page[TrackEntry]:
        """Return tracks, latest first.

        Args:
            limit: at most this many, up to 500.
            cursor: ``Page.next`` of the part before, None to start.

        Raises:
            UsageError: the cursor is not one of ours.
        """
        ids, following = await _newest(self._tables.track_age, limit, cursor)
        entries = await self._tables.read_tracks(ids)
        return Page(tuple(entry for entry in entries if entry is not None), following)

    async def newest_releases(self, *, limit: int = 50, cursor: str | None = None) -> Page[ReleaseEntry]:
        """Return releases, latest first, withdrawn ones too; arguments and errors as for tracks."""
        ids, following = await _newest(self._tables.release_age, limit, cursor)
        rows = await self._tables.releases.get_many(ids)
        return Page(tuple(read_row(ReleaseEntry, row) for row in rows if row is not None), following)

    async def track_rows(self, *, after: bytes = b"", limit: int = PAGE_MAX) -> list[tuple[bytes, bytes]]:
        """Return (track id, encoded entry) pairs in id order, from behind ``after``."""
        return await self._tables.tracks.scan(after=after, limit=limit)

    async def raw_tracks(self, track_ids: Sequence[bytes]) -> list[bytes | None]:
        """Return the encoded entry of each track, in order; None for those that are not here."""
        return await self._tables.tracks.get_many(track_ids)


async def _newest(index: Table, limit: int, cursor: str | None) -> tuple[list[bytes], str | None]:
    limit = max(1, min(limit, PAGE_MAX))
    before = b"" if cursor is None else _read_cursor(cursor)
    rows = await index.scan_back(before=before, limit=limit + 1)
    ids = [key[TIME_BYTES:] for key, _ in rows[:limit]]
    return ids, base32(rows[limit - 1][0]) if len(rows) > limit else None


def _read_cursor(text: str) -> bytes:
    try:
        cursor = from_base32(text[: 2 * CURSOR_BYTES])
    except MalformedError as err:
        raise UsageError("the cursor is not one of this list: start again without it") from err
    if len(cursor) != CURSOR_BYTES:
        raise UsageError("the cursor is not one of this list: start again without it")
    return cursor


async def _resolve(table: Table, typed: str, prefix: str, noun: str) -> bytes:
    """Return the id that starts as typed, reading a few rows however many there are."""
    body = typed.removeprefix("marina:").removeprefix(prefix)
    known: list[tuple[str, bytes]] = []
    if PREFIX_CHARS_MIN <= len(body) <= _ID_CHARS and set(body) <= _ALPHABET:
        bits = 5 * len(body)
        lowest = base64.b32decode(body.upper().ljust(_ID_CHARS, "A") + "====")
        # Ids with this start lie side by side from the lowest one on: two of them already decide.
        behind = int.from_bytes(lowest) - 1
        after = b"" if behind < 0 else behind.to_bytes(ID_BYTES)
        rows = await table.scan(lowest[: bits // 8], after=after, limit=_CANDIDATES)
        known = [(prefix + base32(key), key) for key, _ in rows]
    return resolve_prefix(prefix + body, known, noun=noun)
