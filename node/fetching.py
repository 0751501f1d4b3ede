"""Fetching whole tracks, with progress that a person can watch."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from node.jobs import Event, Report
from node.library import Target
from node.services import Services
from storage.content.track import Rendition
from streaming.fetcher import RenditionFetcher
from streaming.quality import Quality, choose_rendition

_TELL_EVERY_S = 0.5


async def fetch_tracks(
    services: Services, target: Target, qualities: Sequence[Quality] | None, report: Report
) -> Event:
    """Fetch every meant track and return the result.

    Args:
        services: of this node.
        target: what to fetch.
        qualities: which renditions; None for all of them, artwork included.
        report: told twice a second.

    Raises:
        NobodyHasItError: a segment is nowhere to be had.
        StorageError: there is no room.
    """
    renditions = wanted_renditions(target, qualities)
    total = sum(each.layout.plan.ciphertext_bytes for each in renditions)
    if qualities is None:
        await services.releases.fetch_keyboxes(target.signed.cid, target.tracks)
        for track in target.meant:
            if track.artwork is not None:
                await services.releases.block(target.signed.cid, track.artwork)
    done = fetched = 0
    peers: set[str] = set()
    for each in renditions:
        async with services.downloads.fetching(each.layout) as fetcher, trio.open_nursery() as nursery:
            nursery.start_soon(_tell, fetcher, done, total, report)
            await fetcher.fetch_all()
            nursery.cancel_scope.cancel()
        done += each.layout.plan.ciphertext_bytes
        fetched += fetcher.stats.bytes_fetched
        peers |= set(fetcher.stats.bytes_by_peer)
    await services.catalog.mark([track.track_id for track in target.meant], is_local=True)
    return {
        "title": target.signed.release.title,
        "tracks": len(target.meant),
        "renditions": len(renditions),
        "bytes": fetched,
        "peers": len(peers),
    }


def wanted_renditions(target: Target, qualities: Sequence[Quality] | None) -> list[Rendition]:
    """Return the renditions that the qualities mean, each once."""
    found: dict[bytes, Rendition] = {}
    for track in target.meant:
        if qualities is None:
            found |= {each.layout.root: each for each in track.renditions}
        else:
            chosen = [choose_rendition(track, quality) for quality in qualities]
            found |= {each.layout.root: each for each in chosen}
    return list(found.values())


async def _tell(fetcher: RenditionFetcher, done: int, total: int, report: Report) -> None:
    while True:
        peers = f"{len(fetcher.peers)} peers"
        await report(
            {"done": done + fetcher.stats.bytes_fetched, "total": total, "unit": "bytes", "note": peers}
        )
        await trio.sleep(_TELL_EVERY_S)
