"""Small catalogues for the tests of the library."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

import pytest

from marina.cid import DAG_CBOR, cid_of
from marina.clock import ManualClock
from storage.kv import MemoryKv
from storage.library.catalog import Catalog
from storage.library.foreign import CatalogLimits
from storage.library.models import ReleaseEntry, TrackEntry


def make_id(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def make_cid(name: str) -> bytes:
    return cid_of(name.encode(), DAG_CBOR)


def make_track(name: str, release: str = "r", version: int = 1, **fields: object) -> TrackEntry:
    entry = TrackEntry(
        track_id=make_id(f"track {name}"),
        release_id=make_id(f"release {release}"),
        manifest=make_cid(f"manifest {name}"),
        release_cid=make_cid(f"release {release} {version}"),
        title=name,
        artist="Ada Morel",
        album="Tidal",
        album_artist="",
        track_no=1,
        disc_no=1,
        year=2019,
        genres=(),
        tags=(),
        duration_ms=200_000,
        licence="CC-BY-4.0",
        codec="flac",
        bitrate_bps=900_000,
        artwork=None,
        is_mine=False,
        is_local=False,
        is_licensed=True,
        added_s=1_700_000_000,
        source="",
    )
    return replace(entry, **fields)


def make_release(
    tracks: Iterable[TrackEntry] = (), release: str = "r", version: int = 1, **fields: object
) -> ReleaseEntry:
    entry = ReleaseEntry(
        release_id=make_id(f"release {release}"),
        cid=make_cid(f"release {release} {version}"),
        title=release,
        artist="Ada Morel",
        account=b"\xaa" * 20,
        version=version,
        track_ids=tuple(track.track_id for track in tracks),
        published_s=1_700_000_000 + version,
        artwork=None,
        is_withdrawn=False,
        reason="",
        is_mine=False,
        added_s=1_700_000_000,
        touched_s=1_700_000_000,
        source="",
    )
    return replace(entry, **fields)


class Shelf:
    """A catalogue with short ways to fill it."""

    def __init__(self, limits: CatalogLimits | None = None, store: object = None) -> None:
        self.store = store or MemoryKv()
        self.clock = ManualClock()
        self.limits = limits
        self.catalog = Catalog(self.store, clock=self.clock, limits=limits)

    async def add(
        self,
        release: str,
        *names: str,
        version: int = 1,
        source: str = "",
        is_mine: bool = False,
        **fields: object,
    ) -> bool:
        now_s = self.clock.now_s()
        tracks = [
            make_track(name, release, version, source=source, is_mine=is_mine, **{"added_s": now_s, **fields})
            for name in names
        ]
        entry = make_release(tracks, release, version, source=source, is_mine=is_mine, added_s=now_s)
        return await self.catalog.add(entry, tracks)

    async def titles(self) -> set[str]:
        page = await self.catalog.newest_tracks(limit=500)
        return {entry.title for entry in page.items}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()
