"""From signed manifests to catalogue entries: what is shown and searched, bounded and made printable."""

from __future__ import annotations

import re
from collections.abc import Sequence

from marina.cid import Cid
from marina.errors import MalformedError
from storage.content.release import SignedRelease
from storage.content.track import TrackManifest
from storage.library.models import (
    LICENCE_BYTES_MAX,
    SOURCE_BYTES_MAX,
    TAG_BYTES_MAX,
    TAGS_MAX,
    TEXT_BYTES_MAX,
    ReleaseEntry,
    TrackEntry,
)
from storage.library.text import one_line

_FREE_TERMS = re.compile(r"(cc-|cc0|free$|public[ -]domain)", re.IGNORECASE)


def is_free(terms: str) -> bool:
    """Return whether terms let everybody play the whole track without paying."""
    return _FREE_TERMS.match(terms.strip()) is not None


def licence_text(terms: str) -> str:
    """Return terms as a short licence text; ``paid`` for whatever grants nothing."""
    return one_line(terms, LICENCE_BYTES_MAX) if is_free(terms) else "paid"


def catalog_entries(
    signed: SignedRelease,
    tracks: Sequence[tuple[Cid, TrackManifest]],
    *,
    added_s: int,
    source: str = "",
    is_mine: bool = False,
    is_local: bool = False,
) -> tuple[ReleaseEntry, tuple[TrackEntry, ...]]:
    """Return the entries of a release, ready for ``Catalog.add``.

    Args:
        signed: the release, its signature checked.
        tracks: (CID, manifest) of each known track, in any order. Without all of them the entry lists
            those that are known, and a later ``Catalog.add`` of the same version adds the others.
        added_s: Unix seconds of now.
        source: peer that they came from, empty for this node itself.
        is_mine: this node's owner published it.
        is_local: the audio is on this disk already.

    Raises:
        MalformedError: a manifest is not one of the release's, or names another account or release.
    """
    release = signed.release
    by_cid = dict(tracks)
    if len(by_cid) != len(tracks) or not set(by_cid) <= set(release.tracks):
        raise MalformedError("a track manifest is not in the release that it came with")
    entries: dict[bytes, TrackEntry] = {}
    for cid in release.tracks:
        track = by_cid.get(cid)
        if track is None:
            continue
        if track.account != release.account or track.release_id != release.release_id:
            raise MalformedError("a track manifest names another account or release than the one it is in")
        entries[track.track_id] = _track_entry(
            signed, cid, track, added_s=added_s, source=source, is_mine=is_mine, is_local=is_local
        )
    return (
        ReleaseEntry(
            release_id=release.release_id,
            cid=signed.cid,
            title=one_line(release.title, TEXT_BYTES_MAX),
            artist=one_line(release.artist, TEXT_BYTES_MAX),
            account=release.account,
            version=release.version,
            track_ids=tuple(entries),
            published_s=release.published_s,
            artwork=release.artwork,
            is_withdrawn=release.withdrawn,
            reason=one_line(release.reason, TEXT_BYTES_MAX),
            is_mine=is_mine,
            added_s=added_s,
            touched_s=added_s,
            source=source[:SOURCE_BYTES_MAX],
        ),
        tuple(entries.values()),
    )


def _track_entry(
    signed: SignedRelease,
    cid: Cid,
    track: TrackManifest,
    *,
    added_s: int,
    source: str,
    is_mine: bool,
    is_local: bool,
) -> TrackEntry:
    best = max(track.renditions, key=lambda each: each.tier)
    return TrackEntry(
        track_id=track.track_id,
        release_id=track.release_id,
        manifest=cid,
        release_cid=signed.cid,
        title=one_line(track.title, TEXT_BYTES_MAX),
        artist=one_line(track.artist, TEXT_BYTES_MAX),
        album=one_line(track.album, TEXT_BYTES_MAX),
        album_artist=one_line(track.album_artist, TEXT_BYTES_MAX),
        track_no=track.track_no,
        disc_no=track.disc_no,
        year=track.year,
        genres=_labels(track.genres),
        tags=_labels(track.tags),
        duration_ms=track.duration_ms,
        licence=licence_text(track.terms),
        codec=one_line(best.codec, 32),
        bitrate_bps=best.bitrate_bps,
        artwork=track.artwork,
        is_mine=is_mine,
        is_local=is_local,
        is_licensed=is_mine or is_free(track.terms),
        added_s=added_s,
        source=source[:SOURCE_BYTES_MAX],
    )


def _labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    clean = (one_line(label, TAG_BYTES_MAX) for label in labels)
    return tuple(dict.fromkeys(label for label in clean if label))[:TAGS_MAX]
