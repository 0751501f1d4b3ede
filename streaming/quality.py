"""Which rendition a quality means. Pure."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from marina.errors import NotFoundError
from storage.content.track import TIER_ORIGINAL, TIER_PREVIEW, TIER_STREAM, Rendition, TrackManifest


class Quality(StrEnum):
    """What a listener asks for."""

    LOW = "low"
    HIGH = "high"
    ORIGINAL = "original"
    AUTO = "auto"
    PREVIEW = "preview"


_ORDER = {
    Quality.LOW: (TIER_STREAM, TIER_ORIGINAL),
    Quality.HIGH: (TIER_STREAM, TIER_ORIGINAL),
    Quality.ORIGINAL: (TIER_ORIGINAL, TIER_STREAM),
    Quality.AUTO: (TIER_STREAM, TIER_ORIGINAL),
    Quality.PREVIEW: (TIER_PREVIEW, TIER_STREAM, TIER_ORIGINAL),
}
_AUTO_HEADROOM = 2.0


def choose_rendition(
    track: TrackManifest,
    quality: Quality,
    *,
    local_tiers: Collection[int] = (),
    link_bps: float | None = None,
    closed_tiers: Collection[int] = (),
) -> Rendition:
    """Return the rendition to play; the preview only if it is asked for, or there is nothing else.

    Args:
        track: what is offered.
        quality: ``auto`` takes a complete local copy first (the best one), then the original if the
            link carries twice its bitrate, else the stream.
        local_tiers: tiers that are wholly here.
        link_bps: bits a second that the network gave lately; None if unknown.
        closed_tiers: tiers that no licence opens; ``auto`` leaves them out, as long as another is open.

    Raises:
        NotFoundError: the track has no rendition.
    """
    tiers: tuple[int, ...] = _ORDER[quality]
    if quality is Quality.AUTO:
        original = track.rendition(TIER_ORIGINAL)
        has_room = original and link_bps is not None and link_bps > _AUTO_HEADROOM * original.bitrate_bps
        if TIER_ORIGINAL in local_tiers or (has_room and TIER_STREAM not in local_tiers):
            tiers = _ORDER[Quality.ORIGINAL]
        tiers = tuple(sorted(tiers, key=lambda tier: tier in closed_tiers))
    for tier in (*tiers, TIER_PREVIEW):
        rendition = track.rendition(tier)
        if rendition is not None:
            return rendition
    raise NotFoundError(f"{track.title!r} has nothing to play")
