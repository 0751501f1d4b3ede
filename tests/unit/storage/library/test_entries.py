"""Catalogue entries follow from signed manifests and nothing else."""

from dataclasses import replace

import pytest

from marina.cid import DAG_CBOR, Cid, cid_from_digest, cid_of
from marina.errors import MalformedError
from marina.ids import Account, ReleaseId, derive_release_id, derive_track_id
from marina.schema import decode_record, encode_record
from storage.content.layout import SegmentPlan
from storage.content.release import Release, SignedRelease
from storage.content.segments import CipherRun
from storage.content.track import Rendition, TrackManifest
from storage.content.unixfs import rendition_file
from storage.library.entries import catalog_entries, licence_text
from storage.library.models import TrackEntry

from .conftest import Shelf

ACCOUNT = Account(b"a" * 20)
SALT = b"r" * 32
RELEASE = derive_release_id(ACCOUNT, SALT)
NOW_S = 1_700_000_123


def rendition(tier: int, codec: str) -> Rendition:
    layout, _ = rendition_file(90_000, bytes(32) * SegmentPlan(90_000).count)
    run = CipherRun(derive_track_id(ACCOUNT, b"s" * 32), tier, 0, 1, b"f" * 32)
    return Rendition(
        layout, run, codec, "audio/x", 100_000 * (tier + 1), 48_000, 2, 31_900, b"c" * 32, cid_of(b"k")
    )


def manifest(salt: bytes = b"s" * 32, **changes: object) -> tuple[Cid, TrackManifest]:
    track = TrackManifest(
        account=ACCOUNT,
        salt=salt,
        release_id=RELEASE,
        title="Night\x1b[31m Drive",
        artist="Ada Morel",
        album="Tidal",
        album_artist="Various",
        track_no=3,
        disc_no=2,
        year=2021,
        genres=("techno", "techno", "\x00"),
        tags=("live",),
        isrc="",
        duration_ms=31_900,
        loudness_mlufs=None,
        waveform=b"",
        artwork=cid_of(b"art"),
        renditions=(rendition(0, "opus"), rendition(1, "opus"), rendition(2, "flac")),
        terms="CC-BY-4.0",
        version=1,
    )
    return cid_from_digest(salt, DAG_CBOR), replace(track, **changes)


def signed(*tracks: tuple[Cid, TrackManifest]) -> SignedRelease:
    release = Release(
        account=ACCOUNT,
        salt=SALT,
        title="Tidal\nEP",
        artist="Ada Morel",
        terms="CC-BY-4.0",
        tracks=tuple(cid for cid, _ in tracks),
        artwork=None,
        version=1,
        published_s=1_700_000_000,
    )
    return SignedRelease(release, b"block")


async def test_entries_show_what_the_manifests_say_and_fit_the_catalogue(shelf: Shelf) -> None:
    tracks = [manifest(), manifest(b"t" * 32, title="Second")]
    release, entries = catalog_entries(signed(*tracks), tracks, added_s=NOW_S, source="12D3KooA")
    first = entries[0]
    assert first.title == "Night [31m Drive"
    assert first.genres == ("techno",)
    assert (first.codec, first.bitrate_bps) == ("flac", 300_000)
    assert (first.licence, first.is_licensed, first.is_mine, first.is_local) == (
        "CC-BY-4.0",
        True,
        False,
        False,
    )
    assert (release.title, release.source, release.added_s) == ("Tidal EP", "12D3KooA", NOW_S)
    assert release.track_ids == (entries[0].track_id, entries[1].track_id)
    assert await shelf.catalog.add(release, entries)
    assert await shelf.catalog.track(first.track_id) == first
    assert decode_record(TrackEntry, encode_record(first)) == first


async def test_known_tracks_of_a_release_are_enough_and_the_rest_may_follow(shelf: Shelf) -> None:
    tracks = [manifest(), manifest(b"t" * 32, title="Second")]
    await shelf.catalog.add(*catalog_entries(signed(*tracks), tracks[1:], added_s=NOW_S))
    assert await shelf.titles() == {"Second"}
    await shelf.catalog.add(*catalog_entries(signed(*tracks), tracks, added_s=NOW_S))
    listed = await shelf.catalog.release_tracks(RELEASE)
    assert [track.title for track in listed] == ["Night [31m Drive", "Second"]


@pytest.mark.parametrize(
    "wrong",
    [{"account": Account(b"b" * 20)}, {"release_id": ReleaseId(b"x" * 32)}],
    ids=["another account", "another release"],
)
def test_a_manifest_of_another_release_is_refused(wrong: dict[str, object]) -> None:
    track = manifest(**wrong)
    with pytest.raises(MalformedError, match="another account or release"):
        catalog_entries(signed(track), [track], added_s=NOW_S)


def test_a_manifest_that_the_release_does_not_list_is_refused() -> None:
    with pytest.raises(MalformedError, match="not in the release"):
        catalog_entries(signed(manifest()), [manifest(), manifest(b"t" * 32)], added_s=NOW_S)


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ("CC-BY-4.0", "CC-BY-4.0"),
        ("CC0-1.0", "CC0-1.0"),
        ("free", "free"),
        ("all-rights-reserved", "paid"),
        ("", "paid"),
        ("Freeze! no copies", "paid"),
    ],
)
def test_terms_become_a_short_licence(terms: str, text: str) -> None:
    assert licence_text(terms) == text


def test_the_largest_manifest_still_fits_an_entry() -> None:
    huge = "é" * 512
    many = tuple("ü" * 127 + str(number) for number in range(64))
    track = manifest(title=huge, artist=huge, album=huge, album_artist=huge, genres=many, tags=many)
    _, (entry,) = catalog_entries(signed(track), [track], added_s=2**40, source="p" * 500)
    assert decode_record(TrackEntry, encode_record(entry)) == entry
    assert len(encode_record(entry)) < 8192
