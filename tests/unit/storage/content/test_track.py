"""A track manifest survives its encoding; anything that does not follow from itself is refused."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.cid import cid_of
from marina.dagcbor import Link, decode, encode
from marina.errors import MalformedError
from marina.ids import Account, ReleaseId, derive_track_id
from storage.content.layout import SegmentPlan
from storage.content.segments import CipherRun
from storage.content.track import (
    MANIFEST_BYTES_MAX,
    ProviderHint,
    Rendition,
    TrackManifest,
    decode_track,
    encode_track,
    rendition_trees,
)
from storage.content.unixfs import rendition_file

ACCOUNT = Account(b"a" * 20)
TRACK = derive_track_id(ACCOUNT, b"s" * 32)


def rendition(tier: int, length: int) -> Rendition:
    layout, _ = rendition_file(length, os.urandom(32 * SegmentPlan(length).count))
    run = CipherRun(TRACK, tier, 0, 1, os.urandom(32))
    return Rendition(
        layout, run, "opus", "audio/ogg", 160_000, 48_000, 2, 31_900, b"c" * 32, cid_of(b"keybox%d" % tier)
    )


def manifest(**changes) -> TrackManifest:
    track = TrackManifest(
        account=ACCOUNT,
        salt=b"s" * 32,
        release_id=ReleaseId(b"r" * 32),
        title="Für Elise – “night”",
        artist="Ada",
        album="Tidal",
        album_artist="",
        track_no=1,
        disc_no=1,
        year=2026,
        genres=("techno",),
        tags=("night", "drive"),
        isrc="",
        duration_ms=31_900,
        loudness_mlufs=-11_200,
        waveform=bytes(range(256)),
        artwork=cid_of(b"art"),
        renditions=(rendition(0, 90_000), rendition(2, 2_000_000)),
        terms="CC-BY-4.0",
        version=1,
        hints=(ProviderHint("12D3KooW", ("/ip4/127.0.0.1/tcp/4001",)),),
    )
    return replace(track, **changes)


def test_a_manifest_survives_its_encoding():
    for track in (
        manifest(),
        manifest(artwork=None, loudness_mlufs=None, previous=cid_of(b"old", 0x71), version=2),
    ):
        assert decode_track(encode_track(track)) == track


def test_the_links_reach_every_rendition_keybox_and_the_artwork_but_not_the_past():
    track = manifest(previous=cid_of(b"old", 0x71), version=2)
    links: set[bytes] = set()

    def walk(node):
        if isinstance(node, Link):
            links.add(node.cid)
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(child)

    walk(decode(encode_track(track), limit_bytes=MANIFEST_BYTES_MAX))
    assert links == {track.artwork, *(each.layout.root for each in track.renditions),
                     *(each.keybox for each in track.renditions)}  # fmt: skip


def test_the_implied_blocks_are_the_trees_of_all_renditions():
    track = manifest()
    assert [each for each, _ in rendition_trees(track)] == list(track.renditions)
    assert all(tree.root == each.layout.root for each, tree in rendition_trees(track))


FORGED = {
    "another id": lambda m: m.update(id=b"x" * 32),
    "another account": lambda m: m.update(account=b"x" * 20),
    "another root": lambda m: m["renditions"][0].update(root=Link(cid_of(b"x"))),
    "another proof root": lambda m: m["renditions"][0].update(proofRoot=bytes(32)),
    "a digest too few": lambda m: m["renditions"][1].update(segments=m["renditions"][1]["segments"][:-32]),
    "another length": lambda m: m["renditions"][1].update(bytes=2_000_001),
    "two renditions of a tier": lambda m: m["renditions"].append(m["renditions"][0]),
    "no rendition": lambda m: m.update(renditions=[]),
    "unknown suite": lambda m: m["renditions"][0].update(suite=9),
    "tier out of range": lambda m: m["renditions"][0].update(tier=3),
    "no title": lambda m: m.update(title=""),
    "a title of a megabyte": lambda m: m.update(title="x" * 1_000_000),
    "text as number": lambda m: m.update(year="2026"),
    "boolean as number": lambda m: m.update(version=True),
    "link as bytes": lambda m: m.update(artwork=bytes(36)),
    "previous that is no CID": lambda m: m.update(previous="elsewhere"),
    "too many hints": lambda m: m.update(hints=[["p", []]] * 9),
    "too many addresses": lambda m: m.update(hints=[["p", ["a"] * 5]]),
    "another type": lambda m: m.update(type="marina/track/2"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_manifest_is_refused(name):
    node = decode(encode_track(manifest()), limit_bytes=MANIFEST_BYTES_MAX)
    FORGED[name](node)
    with pytest.raises(MalformedError):
        decode_track(encode(node))


def test_an_unknown_field_is_ignored_so_that_a_minor_version_can_add_some():
    node = decode(encode_track(manifest()), limit_bytes=MANIFEST_BYTES_MAX)
    node["mood"] = "calm"
    assert decode_track(encode(node)).title == manifest().title


GOOD = encode_track(manifest())


@settings(max_examples=200)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_malformed_or_another_manifest(place, flip):
    bad = bytearray(GOOD)
    bad[place] ^= flip
    try:
        track = decode_track(bytes(bad))
    except MalformedError:
        return
    assert encode_track(track) != GOOD


@pytest.mark.parametrize("length", [1, 7, 65_520, 65_521, 393_120, 393_121, 300_000_000])
def test_a_manifest_of_any_usual_track_stays_small(length):
    track = manifest(renditions=(rendition(2, length),))
    assert len(encode_track(track)) < 3000 + 32 * SegmentPlan(length).count
