"""What the catalogue keeps of a release and of a track: enough to list, find and start it.

Every value in LevelDB is one of these records. A field without a value is empty text, zero or an
empty tuple; only CIDs may be None. A change of fields is a new record version (marina.schema), and
``storage.migrations`` rewrites the rows of the old one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marina.ids import ReleaseId, TrackId, release_text, track_text
from marina.schema import U8, U16, U32, U64, Bytes20, Bytes32, Bytes36, Size, record

TEXT_BYTES_MAX = 512
TAG_BYTES_MAX = 64
TAGS_MAX = 16
LICENCE_BYTES_MAX = 64
SOURCE_BYTES_MAX = 128
RELEASE_TRACKS_MAX = 500
CHANGE_TRACKS_MAX = 1000
RESULTS_MAX = 200

Line = Annotated[str, Size(0, TEXT_BYTES_MAX)]
Labels = Annotated[tuple[Annotated[str, Size(1, TAG_BYTES_MAX)], ...], Size(0, TAGS_MAX)]


@record("marina/library/track/1")
@dataclass(frozen=True, slots=True)
class TrackEntry:
    """One track of the catalogue.

    Attributes:
        track_id: stable over all versions of the track.
        release_id: the release that brought this entry.
        manifest: CID of the track manifest.
        release_cid: CID of the signed release version that lists the manifest.
        year: 0 when unknown; so are ``track_no`` and ``disc_no``.
        duration_ms: of the original.
        licence: what a person reads: ``CC-BY-4.0``, ``free``, ``paid``.
        codec: of the best rendition; ``bitrate_bps`` is that rendition's average.
        is_mine: published or imported by this node's owner.
        is_local: the audio is on this disk.
        is_licensed: this owner can play it in full without buying anything.
        added_s: Unix seconds when this node first saw the track.
        source: peer that the entry came from, empty for this node itself.
    """

    track_id: Bytes32
    release_id: Bytes32
    manifest: Bytes36
    release_cid: Bytes36
    title: Line
    artist: Line
    album: Line
    album_artist: Line
    track_no: U16
    disc_no: U16
    year: U16
    genres: Labels
    tags: Labels
    duration_ms: U32
    licence: Annotated[str, Size(0, LICENCE_BYTES_MAX)]
    codec: Annotated[str, Size(0, 32)]
    bitrate_bps: U32
    artwork: Bytes36 | None
    is_mine: bool
    is_local: bool
    is_licensed: bool
    added_s: U64
    source: Annotated[str, Size(0, SOURCE_BYTES_MAX)]

    @property
    def text_id(self) -> str:
        """The id as people type it (``tr_…``)."""
        return track_text(TrackId(self.track_id))


@record("marina/library/release/1")
@dataclass(frozen=True, slots=True)
class ReleaseEntry:
    """One release of the catalogue, in the newest version that this node has seen.

    Attributes:
        cid: CID of the signed release manifest.
        track_ids: in playing order; empty when withdrawn.
        published_s: Unix seconds as the artist signed them.
        is_withdrawn: the artist took it back; the entry stays so that no older version returns.
        reason: why it was withdrawn, for people.
        is_mine: published by this node's owner.
        added_s: Unix seconds when this node first saw the release.
        touched_s: Unix seconds of the last use; the least recently used foreign entries go first.
        source: peer that this version came from, empty for this node itself.
    """

    release_id: Bytes32
    cid: Bytes36
    title: Line
    artist: Line
    account: Bytes20
    version: U64
    track_ids: Annotated[tuple[Bytes32, ...], Size(0, RELEASE_TRACKS_MAX)]
    published_s: U64
    artwork: Bytes36 | None
    is_withdrawn: bool
    reason: Line
    is_mine: bool
    added_s: U64
    touched_s: U64
    source: Annotated[str, Size(0, SOURCE_BYTES_MAX)]

    @property
    def text_id(self) -> str:
        """The id as people type it (``rl_…``)."""
        return release_text(ReleaseId(self.release_id))

    @property
    def weight(self) -> int:
        """What it counts against the limits of foreign entries: its tracks, at least 1."""
        return max(1, len(self.track_ids))


@record("marina/library/totals/1")
@dataclass(frozen=True, slots=True)
class Totals:
    """Running sums, written in the batch of every change.

    Attributes:
        sequence: number of the last change; it never goes back.
        foreign: weight of all releases that may be evicted.
    """

    sequence: U64
    tracks: U64
    releases: U64
    foreign: U64


@record("marina/library/source/1")
@dataclass(frozen=True, slots=True)
class SourceCount:
    """Weight of the evictable releases that one peer brought."""

    source: Annotated[str, Size(0, SOURCE_BYTES_MAX)]
    weight: U64


@record("marina/library/change/1")
@dataclass(frozen=True, slots=True)
class Change:
    """Tracks whose entries changed and that the query index has yet to follow."""

    track_ids: Annotated[tuple[Bytes32, ...], Size(1, CHANGE_TRACKS_MAX)]


@record("marina/library/results/1")
@dataclass(frozen=True, slots=True)
class LastResults:
    """The numbered list that a client saw last.

    Attributes:
        version: of the numbering's meaning, so that a later client can tell.
    """

    version: U8
    saved_s: U64
    track_ids: Annotated[tuple[Bytes32, ...], Size(0, RESULTS_MAX)]
