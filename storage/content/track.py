"""Track manifest: everything a listener or operator needs to know of one track, as DAG-CBOR.

It is not signed itself: the signed release links it by CID. Its links (renditions, keyboxes,
artwork) make ``ipfs pin add -r RELEASE`` keep the whole release; the previous version is named as
text, not linked, so that a pin does not keep the past.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from marina.cid import Cid, cid_text, parse_cid
from marina.dagcbor import Link, Node, decode, encode
from marina.errors import MalformedError
from marina.ids import Account, ReleaseId, TrackId, derive_track_id
from storage.content.fields import Fields, short_text
from storage.content.layout import PLAINTEXT_BYTES_MAX, RenditionLayout, SegmentPlan
from storage.content.proof import proof_root
from storage.content.segments import CipherRun
from storage.content.unixfs import UnixfsFile, check_layout

TYPE = "marina/track/1"
MANIFEST_BYTES_MAX = 512 * 1024
TIER_PREVIEW, TIER_STREAM, TIER_ORIGINAL = 0, 1, 2
TEXT_BYTES_MAX = 1024
RENDITIONS_MAX = 8
TAGS_MAX = 64
HINTS_MAX = 8
HINT_ADDRESSES_MAX = 4
WAVEFORM_POINTS_MAX = 2000
_U32 = 2**32 - 1
_U64 = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Rendition:
    """One encoding of the track at one tier.

    Attributes:
        layout: root, length and segment digests of the ciphertext.
        run: tier, suite, key version and file salt of the encryption.
        codec: ``opus``, ``flac``, ``mp3``, ``vorbis``, ``aac``, ``pcm``.
        mime: media type of the plaintext, for players.
        bitrate_bps: average over the whole rendition.
        duration_ms: of this rendition (a preview is shorter than its track).
        kc: commitment of the content key.
        keybox: CID of this tier's first keybox.
    """

    layout: RenditionLayout
    run: CipherRun
    codec: str
    mime: str
    bitrate_bps: int
    sample_rate_hz: int
    channels: int
    duration_ms: int
    kc: bytes
    keybox: Cid

    @property
    def tier(self) -> int:
        """0 preview, 1 stream, 2 original."""
        return self.run.tier


@dataclass(frozen=True, slots=True)
class ProviderHint:
    """A peer that is expected to hold the release, with addresses as multiaddr text."""

    peer: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrackManifest:
    """One version of one track; ``track_id`` follows from account and salt.

    Attributes:
        release_id: the release that this track is sold and signed with.
        duration_ms: of the original.
        loudness_mlufs: integrated loudness in thousandths of LUFS, None if silent or unknown.
        waveform: peaks from 0 to 255, evenly spaced over the track.
        terms: ``CC-BY-4.0`` and the like; ``all-rights-reserved`` if nothing else is granted.
        version: 1 for the first; ``previous`` names the manifest before.
    """

    account: Account
    salt: bytes
    release_id: ReleaseId
    title: str
    artist: str
    album: str
    album_artist: str
    track_no: int
    disc_no: int
    year: int
    genres: tuple[str, ...]
    tags: tuple[str, ...]
    isrc: str
    duration_ms: int
    loudness_mlufs: int | None
    waveform: bytes
    artwork: Cid | None
    renditions: tuple[Rendition, ...]
    terms: str
    version: int
    previous: Cid | None = None
    hints: tuple[ProviderHint, ...] = ()

    @property
    def track_id(self) -> TrackId:
        """The id that the account and salt give."""
        return derive_track_id(self.account, self.salt)

    def rendition(self, tier: int) -> Rendition | None:
        """Return the rendition of a tier."""
        return next((each for each in self.renditions if each.tier == tier), None)

    def with_hints(self, hints: tuple[ProviderHint, ...]) -> TrackManifest:
        """Return the same manifest with other provider hints."""
        return replace(self, hints=hints)


def encode_track(track: TrackManifest) -> bytes:
    """Return the manifest's block; ValueError when it is larger than 512 KiB."""
    data = encode(
        {
            "type": TYPE,
            "id": track.track_id,
            "account": track.account,
            "salt": track.salt,
            "release": track.release_id,
            "title": track.title,
            "artist": track.artist,
            "album": track.album,
            "albumArtist": track.album_artist,
            "trackNo": track.track_no,
            "discNo": track.disc_no,
            "year": track.year,
            "genres": list(track.genres),
            "tags": list(track.tags),
            "isrc": track.isrc,
            "durationMs": track.duration_ms,
            "loudness": track.loudness_mlufs,
            "waveform": track.waveform,
            "artwork": Link(track.artwork) if track.artwork else None,
            "renditions": [_rendition_node(each) for each in track.renditions],
            "terms": track.terms,
            "version": track.version,
            "previous": cid_text(track.previous) if track.previous else None,
            "hints": [[hint.peer, list(hint.addresses)] for hint in track.hints],
        }
    )
    if len(data) > MANIFEST_BYTES_MAX:
        raise ValueError(f"a track manifest has at most {MANIFEST_BYTES_MAX} bytes, not {len(data)}")
    return data


def decode_track(data: bytes) -> TrackManifest:
    """Return the manifest in a block, checked as far as it can be without other blocks.

    Checked: canonical form, bounds, the id, one rendition a tier, and that each root and proof root
    follows from the segment digests.

    Raises:
        MalformedError: anything else.
    """
    fields = Fields(decode(data, limit_bytes=MANIFEST_BYTES_MAX), "track manifest")
    fields.literal("type", TYPE)
    account = Account(fields.blob("account", 20, 20))
    salt = fields.blob("salt", 32, 32)
    track_id = derive_track_id(account, salt)
    if fields.blob("id", 32, 32) != track_id:
        raise MalformedError("track manifest: the id does not follow from account and salt")
    renditions = fields.items("renditions", RENDITIONS_MAX, lambda node: _read_rendition(node, track_id))
    if not renditions or len({each.tier for each in renditions}) != len(renditions):
        raise MalformedError("track manifest: one rendition for each tier is expected")
    return TrackManifest(
        account=account,
        salt=salt,
        release_id=ReleaseId(fields.blob("release", 32, 32)),
        title=fields.text("title", TEXT_BYTES_MAX, may_be_empty=False),
        artist=fields.text("artist", TEXT_BYTES_MAX),
        album=fields.text("album", TEXT_BYTES_MAX),
        album_artist=fields.text("albumArtist", TEXT_BYTES_MAX),
        track_no=fields.number("trackNo", 0, 9999),
        disc_no=fields.number("discNo", 0, 999),
        year=fields.number("year", 0, 9999),
        genres=fields.items("genres", TAGS_MAX, short_text),
        tags=fields.items("tags", TAGS_MAX, short_text),
        isrc=fields.text("isrc", 64),
        duration_ms=fields.number("durationMs", 0, _U32),
        loudness_mlufs=fields.optional("loudness", lambda: fields.number("loudness", -200_000, 100_000)),
        waveform=fields.blob("waveform", 0, WAVEFORM_POINTS_MAX),
        artwork=fields.optional("artwork", lambda: fields.link("artwork")),
        renditions=renditions,
        terms=fields.text("terms", TEXT_BYTES_MAX),
        version=fields.number("version", 1, _U32),
        previous=fields.optional("previous", lambda: parse_cid(fields.text("previous", 80))),
        hints=fields.items("hints", HINTS_MAX, read_hint),
    )


def rendition_trees(track: TrackManifest) -> list[tuple[Rendition, UnixfsFile]]:
    """Return each rendition with its UnixFS nodes, which are blocks that the manifest implies."""
    return [(each, check_layout(each.layout)) for each in track.renditions]


def read_hint(node: Node) -> ProviderHint:
    """Return the provider hint in a list ``[peer, [address, …]]``; MalformedError otherwise."""
    if not isinstance(node, list) or len(node) != 2 or not isinstance(node[1], list):
        raise MalformedError("a provider hint is a pair of peer and addresses")
    if len(node[1]) > HINT_ADDRESSES_MAX:
        raise MalformedError(f"a provider hint has at most {HINT_ADDRESSES_MAX} addresses")
    return ProviderHint(short_text(node[0]), tuple(short_text(each) for each in node[1]))


def _rendition_node(each: Rendition) -> Node:
    return {
        "tier": each.tier,
        "suite": each.run.suite,
        "keyVersion": each.run.key_version,
        "root": Link(each.layout.root),
        "bytes": each.layout.plaintext_bytes,
        "segments": each.layout.digests,
        "codec": each.codec,
        "mime": each.mime,
        "bitrate": each.bitrate_bps,
        "sampleRate": each.sample_rate_hz,
        "channels": each.channels,
        "durationMs": each.duration_ms,
        "fileSalt": each.run.file_salt,
        "kc": each.kc,
        "proofRoot": proof_root(each.layout.digests),
        "keybox": Link(each.keybox),
    }


def _read_rendition(node: Node, track_id: TrackId) -> Rendition:
    fields = Fields(node, "rendition")
    plaintext_bytes = fields.number("bytes", 1, PLAINTEXT_BYTES_MAX)
    digest_bytes = 32 * SegmentPlan(plaintext_bytes).count
    digests = fields.blob("segments", digest_bytes, digest_bytes)
    layout = RenditionLayout(fields.link("root"), plaintext_bytes, digests)
    check_layout(layout)
    if fields.blob("proofRoot", 32, 32) != proof_root(digests):
        raise MalformedError("rendition: the proof root does not match the segments")
    run = CipherRun(
        track_id,
        fields.number("tier", TIER_PREVIEW, TIER_ORIGINAL),
        fields.number("keyVersion", 0, _U32),
        fields.number("suite", 1, 255),
        fields.blob("fileSalt", 32, 32),
    )
    return Rendition(
        layout=layout,
        run=run,
        codec=fields.text("codec", 32, may_be_empty=False),
        mime=fields.text("mime", 64, may_be_empty=False),
        bitrate_bps=fields.number("bitrate", 0, _U32),
        sample_rate_hz=fields.number("sampleRate", 1, 768_000),
        channels=fields.number("channels", 1, 64),
        duration_ms=fields.number("durationMs", 0, _U32),
        kc=fields.blob("kc", 32, 32),
        keybox=fields.link("keybox"),
    )
