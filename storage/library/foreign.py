"""What strangers may fill the catalogue with: a limit for each peer and one for all of them.

A release is foreign while the owner neither published it nor holds audio of it. Past a limit the
least recently used foreign releases go: those of the same peer for its own limit, of any peer for
the common one. So a peer that floods pushes out itself first.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.errors import QuotaExceededError
from storage.kv import Table
from storage.library.models import ReleaseEntry
from storage.library.tables import ID_BYTES, LibraryTables, source_key

_PAGE = 64


@dataclass(frozen=True, slots=True)
class CatalogLimits:
    """Limits of foreign entries, in tracks (a release without tracks counts as one).

    Attributes:
        source_tracks_max: for one peer.
        foreign_tracks_max: for all peers together.
    """

    source_tracks_max: int = 5_000
    foreign_tracks_max: int = 100_000


async def plan_evictions(
    tables: LibraryTables,
    limits: CatalogLimits,
    incoming: ReleaseEntry,
    *,
    source_weight: int,
    foreign_weight: int,
) -> list[ReleaseEntry]:
    """Return the releases that have to go so that a foreign release fits.

    Args:
        tables: the catalogue.
        limits: the limits to keep.
        incoming: the release to add.
        source_weight: what its peer's other releases weigh.
        foreign_weight: what all other foreign releases weigh.

    Raises:
        QuotaExceededError: it is larger than a limit by itself.
    """
    room = min(limits.source_tracks_max, limits.foreign_tracks_max)
    if incoming.weight > room:
        raise QuotaExceededError(
            f"a release of {incoming.weight} tracks is larger than what one peer may add ({room})"
        )
    going: dict[bytes, ReleaseEntry] = {}
    over = source_weight + incoming.weight - limits.source_tracks_max
    await _collect(
        tables, tables.by_source, source_key(incoming.source), over=over, incoming=incoming, going=going
    )
    over = foreign_weight + incoming.weight - limits.foreign_tracks_max
    over -= sum(each.weight for each in going.values())
    await _collect(tables, tables.foreign, b"", over=over, incoming=incoming, going=going)
    return list(going.values())


async def _collect(
    tables: LibraryTables,
    index: Table,
    prefix: bytes,
    *,
    over: int,
    incoming: ReleaseEntry,
    going: dict[bytes, ReleaseEntry],
) -> None:
    """Add the oldest releases of an index to ``going`` until they weigh as much as ``over``."""
    after = b""
    while over > 0:
        rows = await index.scan(prefix, after=after, limit=_PAGE)
        if not rows:
            return
        for key, _ in rows:
            after = key
            release_id = key[-ID_BYTES:]
            if over <= 0 or release_id == incoming.release_id or release_id in going:
                continue
            release = await tables.read_release(release_id)
            if release is not None:
                going[release_id] = release
                over -= release.weight
