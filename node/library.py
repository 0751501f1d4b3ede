"""The music this node knows: found, resolved, brought here, shown.

A *target* is what a person may type: a number of the last search, a track or release id or the start
of one, or a ``marina:`` link.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from marina.cid import Cid, check_cid, cid_text
from marina.clock import Clock
from marina.errors import MalformedError, MarinaError, NotFoundError, UsageError
from marina.ids import Account, PeerId, ReleaseId, TrackId, account_text, release_text, track_text
from node.naming import TIERS
from node.swarm import Swarm
from node.typed import typed_cid, typed_link
from p2p.addresses import with_peer
from p2p.links import Link, is_link
from p2p.releases import FetchedRelease, ReleaseFetcher
from p2p.wire.gossip import Announcement
from storage.blocks.protocol import BlockStore
from storage.content.release import SignedRelease, open_release
from storage.content.track import TrackManifest, decode_track
from storage.library.catalog import Catalog
from storage.library.entries import catalog_entries
from storage.library.models import ReleaseEntry, TrackEntry
from storage.library.search import SearchIndex

log = logging.getLogger("marina.node.library")
PAGE_MAX = 100


@dataclass(frozen=True, slots=True)
class Target:
    """What a person meant.

    Attributes:
        signed: the release.
        tracks: its tracks in playing order.
        track: the one track meant; None for the whole release.
    """

    signed: SignedRelease
    tracks: tuple[tuple[Cid, TrackManifest], ...]
    track: TrackManifest | None

    @property
    def meant(self) -> list[TrackManifest]:
        """The tracks meant, in order."""
        return [self.track] if self.track else [track for _, track in self.tracks]


@dataclass(frozen=True, slots=True)
class SwarmAnswer:
    """What the swarm said to a search."""

    releases: int
    peers: int
    took_ms: int


SwarmSearch = Callable[[str, int], Awaitable[SwarmAnswer]]


class Library:
    """Catalogue, search and manifests for the rest of the node."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        index: SearchIndex,
        blocks: BlockStore,
        fetcher: ReleaseFetcher,
        swarm: Swarm,
        clock: Clock,
        account: Account,
    ) -> None:
        self._catalog = catalog
        self._index = index
        self._blocks = blocks
        self._fetcher = fetcher
        self._swarm = swarm
        self._clock = clock
        self._account = account

    async def load(self) -> None:
        """Learn again which rendition belongs to which release, after a start."""
        cursor: str | None = None
        while True:
            page = await self._catalog.newest_releases(limit=500, cursor=cursor)
            for entry in page.items:
                await self._learn_stored(entry)
            if page.next is None:
                return
            cursor = page.next

    async def add(self, fetched: FetchedRelease, *, is_mine: bool = False, is_local: bool = False) -> bool:
        """Put a release into the catalogue; return whether it changed anything."""
        release, tracks = catalog_entries(
            fetched.signed,
            fetched.tracks,
            added_s=self._clock.now_s(),
            source=fetched.source or "",
            is_mine=is_mine,
            is_local=is_local,
        )
        self._learn(fetched.signed, fetched.tracks)
        return await self._catalog.add(release, tracks)

    async def bring(self, cid: Cid) -> FetchedRelease:
        """Return a release, fetched from peers if it is not here, and list it in the catalogue.

        Raises:
            NotFoundError: nobody who answers has it.
            MalformedError: it is not what it claims to be.
        """
        fetched = await self._fetcher.fetch(cid)
        await self.add(fetched, is_mine=fetched.signed.release.account == self._account)
        return fetched

    async def heard(self, item: Announcement, peer: PeerId) -> None:
        """Take in an announced version of a release that is in the catalogue already.

        Releases of strangers are not fetched on their word: they are found by search or by link.
        """
        cid = check_cid(item.release_cid)
        self._swarm.note_provider(cid, peer, tuple(with_peer(each, peer) for each in item.addresses))
        try:
            known = await self._catalog.release(item.release_id)
        except NotFoundError:
            return
        is_newer = item.version > known.version or (item.version == known.version and cid != known.cid)
        if known.account == item.account and is_newer:
            await self.bring(cid)

    async def knows(self, cid: Cid) -> bool:
        """Return whether a release manifest is here and listed."""
        return await self._blocks.has(cid) and self._swarm.is_learned(cid)

    async def search(
        self, query: str, *, limit: int, swarm: SwarmSearch | None, client: str = "cli"
    ) -> dict[str, Any]:
        """Return numbered results of this node and, given a way to ask, of the swarm."""
        first = await self._index.search(query, limit=limit)
        answer = SwarmAnswer(0, 0, 0)
        page = first
        if swarm is not None:
            answer = await swarm(query, limit)
            if answer.releases:
                await self._index.wait_current()
                page = await self._index.search(query, limit=limit)
        tracks = [hit.track for hit in page.hits]
        await self._catalog.results.save([each.track_id for each in tracks], client=client)
        before = {hit.track.track_id for hit in first.hits}
        return {
            "items": [
                {"n": number, **(await self._row(entry, is_new=entry.track_id not in before))}
                for number, entry in enumerate(tracks, 1)
            ],
            "next": None,
            "took_ms": round(first.took_ms, 1),
            "total": page.total,
            "isLoose": page.is_loose,
            "sources": {
                "local": len(before),
                "swarm": len(tracks) - len(before & {each.track_id for each in tracks}),
                "swarm_ms": answer.took_ms,
                "peers": answer.peers,
            },
        }

    async def resolve(self, typed: str) -> Target:
        """Return what a target means, bringing its manifests here if need be.

        Raises:
            NotFoundError, UsageError, MalformedError: with what to do.
        """
        if is_link(typed):
            link = typed_link(typed)
            self.note_link(link)
            return self._target(await self._latest(link.release), link.track)
        if (cid := typed_cid(typed)) is not None:
            return await self.resolve_release_cid(cid)
        bare = typed.removeprefix("marina:")
        if bare.startswith("rl_"):
            return self._target(
                await self.bring(check_cid((await self._catalog.resolve_release(typed)).cid)), None
            )
        try:
            track = await self._catalog.resolve_track(typed)
        except NotFoundError:
            if bare.startswith("tr_") or bare.isdigit():
                raise
            entry = await self._catalog.resolve_release("rl_" + bare)
            return self._target(await self.bring(check_cid(entry.cid)), None)
        await self._catalog.touch([track.release_id])
        release = await self._catalog.release(track.release_id)
        return self._target(await self.bring(check_cid(release.cid)), TrackId(track.track_id))

    async def resolve_release_cid(self, cid: Cid) -> Target:
        """Return a whole release by its CID, its manifests brought here if need be."""
        return self._target(await self._latest(cid), None)

    async def exact_version(self, cid: Cid) -> Target:
        """Return a release as it was at one version, for who pledged just that."""
        return self._target(await self.bring(cid), None)

    async def _latest(self, cid: Cid) -> FetchedRelease:
        """Bring a release, or the later version known here: an old link must not undo a tombstone."""
        fetched = await self.bring(cid)
        known = await self._catalog.release(fetched.signed.release.release_id)
        if known.version <= fetched.signed.release.version:
            return fetched
        return await self.bring(check_cid(known.cid))

    async def block(self, root: Cid, cid: Cid) -> bytes:
        """Return a small block of a release, from peers if need be."""
        return await self._fetcher.block(root, cid)

    async def fetch_keyboxes(self, target: Target) -> None:
        """Bring every keybox of a release that is to be kept whole."""
        await self._fetcher.fetch_keyboxes(target.signed.cid, target.tracks)

    async def mark_local(self, target: Target) -> None:
        """Note that the audio of a target is on this disk."""
        await self._catalog.mark([track.track_id for track in target.meant], is_local=True)

    async def release(self, typed: str) -> SignedRelease:
        """Return the signed release that a target names."""
        if is_link(typed) or typed_cid(typed) is not None:
            return (await self.resolve(typed)).signed
        if typed.removeprefix("marina:").startswith("tr_") or typed.isdigit():
            track = await self._catalog.resolve_track(typed)
            entry = await self._catalog.release(track.release_id)
        else:
            entry = await self._catalog.resolve_release(typed)
        return open_release(await self._blocks.get(check_cid(entry.cid)))

    async def title(self, number: bytes) -> tuple[str, str] | None:
        """Return (text id, title) of a track or release by its 32 bytes, None if it is not listed here."""
        try:
            track = await self._catalog.track(TrackId(number))
        except NotFoundError:
            try:
                release = await self._catalog.release(number)
            except NotFoundError:
                return None
            return release_text(ReleaseId(number)), release.title
        return track_text(TrackId(number)), track.title

    def note_link(self, link: Link) -> None:
        """Remember the providers that a link names."""
        for provider in link.providers:
            self._swarm.note_provider(link.release, provider.peer, provider.addresses)

    async def show(self, typed: str) -> dict[str, Any]:
        """Return everything about a target, JSON-ready."""
        target = await self.resolve(typed)
        release = target.signed.release
        seeders = self._swarm.providers_known(target.signed.cid)
        base = {
            "release": release_text(release.release_id),
            "cid": cid_text(target.signed.cid),
            "account": account_text(release.account),
            "seeders": seeders,
            "version": release.version,
            "withdrawn": release.withdrawn,
        }
        if target.track is None:
            return {
                **base,
                "kind": "release",
                "id": release_text(release.release_id),
                "title": release.title,
                "artist": release.artist,
                "tracks": [_brief(track) for _, track in target.tracks],
            }
        track = target.track
        return {
            **base,
            "kind": "track",
            **_brief(track),
            "album": track.album,
            "year": track.year,
            "genres": list(track.genres),
            "tags": list(track.tags),
            "licence": track.terms,
            "loudness_lufs": None if track.loudness_mlufs is None else track.loudness_mlufs / 1000,
            "renditions": [await self._rendition(each, seeders) for each in track.renditions],
        }

    async def mine(self) -> list[ReleaseEntry]:
        """Return the releases that this owner published, latest first."""
        found: list[ReleaseEntry] = []
        cursor: str | None = None
        while True:
            page = await self._catalog.newest_releases(limit=500, cursor=cursor)
            found += [entry for entry in page.items if entry.is_mine]
            if page.next is None:
                return found
            cursor = page.next

    async def counts(self) -> dict[str, int]:
        """Return how many tracks and releases the catalogue holds."""
        stat = await self._catalog.stat()
        return {"tracks": stat.tracks, "releases": stat.releases}

    async def local_releases(self, query: str, limit: int) -> list[Cid]:
        """Return the releases whose tracks fit a query, for peers that ask; only signed public ones."""
        try:
            page = await self._index.search(query, limit=PAGE_MAX)
        except UsageError:
            return []  # the peer's query is not one of our language
        cids = dict.fromkeys(check_cid(hit.track.release_cid) for hit in page.hits)
        return list(cids)[:limit]

    async def _rendition(self, each: Any, seeders: int) -> dict[str, Any]:
        count = each.layout.plan.count
        here = len(await self._blocks.have(each.layout.root))
        missing_bytes = each.layout.plan.ciphertext_bytes * (count - here) / count
        return {
            "tier": TIERS.get(each.tier, str(each.tier)),
            "codec": each.codec,
            "mime": each.mime,
            "bitrate_bps": each.bitrate_bps,
            "bytes": each.layout.plaintext_bytes,
            "root": cid_text(each.layout.root),
            "segments": count,
            "here": here,
            "available": count if seeders or here == count else here,
            "eta_s": 0 if here == count else round(missing_bytes / 1_000_000, 1) if seeders else None,
        }

    async def _row(self, entry: TrackEntry, *, is_new: bool) -> dict[str, Any]:
        release = check_cid(entry.release_cid)
        is_here = not is_new and await self._is_here(entry)
        where = "yours" if entry.is_mine else "here" if is_here else "swarm"
        return {
            "id": track_text(TrackId(entry.track_id)),
            "release": release_text(ReleaseId(entry.release_id)),
            "title": entry.title,
            "artist": entry.artist,
            "album": entry.album,
            "duration_ms": entry.duration_ms,
            "licence": entry.licence,
            "seeders": self._swarm.providers_known(release) or (None if entry.is_mine else 0),
            "where": where,
            "source": entry.source or None,
        }

    async def _is_here(self, entry: TrackEntry) -> bool:
        """Return whether a track plays wholly from this disk, whatever brought it and whatever went since."""
        cid = check_cid(entry.manifest)
        if not await self._blocks.has(cid):
            return False
        for each in decode_track(await self._blocks.get(cid)).renditions:
            is_whole = len(await self._blocks.have(each.layout.root)) == each.layout.plan.count
            if is_whole and TIERS.get(each.tier) != "preview":
                return True
        return False

    def _target(self, fetched: FetchedRelease, track_id: TrackId | None) -> Target:
        release = fetched.signed.release
        if release.withdrawn:
            why = f": {release.reason}" if release.reason else ""
            raise NotFoundError(f"{release.title!r} was withdrawn by its artist{why}")
        if track_id is None:
            return Target(fetched.signed, fetched.tracks, None)
        track = next((track for _, track in fetched.tracks if track.track_id == track_id), None)
        if track is None:
            raise NotFoundError(f"the release does not hold track {track_text(track_id)} any more")
        return Target(fetched.signed, fetched.tracks, track)

    async def _learn_stored(self, entry: ReleaseEntry) -> None:
        try:
            signed = open_release(await self._blocks.get(check_cid(entry.cid)))
            tracks = [(cid, decode_track(await self._blocks.get(cid))) for cid in signed.release.tracks]
        except (MalformedError, NotFoundError, MarinaError) as err:
            log.debug("a release of the catalogue is not wholly here: %s", err)
            return
        self._learn(signed, tracks)
        if entry.source:
            # Where it came from once is the likeliest place for the rest of it.
            self._swarm.note_hint(signed.cid, entry.source, ())
        await trio.lowlevel.checkpoint()

    def _learn(self, signed: SignedRelease, tracks: Sequence[tuple[Cid, TrackManifest]]) -> None:
        track_of = {cid: track.track_id for cid, track in tracks}
        for _, track in tracks:
            for each in track.renditions:
                track_of |= {each.layout.root: track.track_id, each.keybox: track.track_id}
        pictures = {track.artwork for _, track in tracks if track.artwork is not None}
        release = signed.release
        parts = [*track_of, *sorted(pictures - set(track_of))]
        self._swarm.note_release(signed.cid, release.release_id, release.account, parts, track_of)
        for hint in signed.release.hints:
            self._swarm.note_hint(signed.cid, hint.peer, hint.addresses)


def _brief(track: TrackManifest) -> dict[str, Any]:
    return {
        "id": track_text(track.track_id),
        "title": track.title,
        "artist": track.artist,
        "duration_ms": track.duration_ms,
    }
