"""Sealed segments open only in their own place, under their own key, whole and unchanged."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina.errors import DamagedError, LicenceNeededError, MalformedError
from marina.ids import TrackId
from marina.secret import Secret
from storage.content.keybox import Keybox, parse_keybox, public_keybox
from storage.content.keys import KeyName, derive_track_key, key_commitment
from storage.content.segments import CipherRun, SegmentOpener, SegmentSealer

TRACK = TrackId(bytes(range(32)))
KEY = Secret(b"k" * 32)


def run_of(**changes):
    facts = {"track_id": TRACK, "tier": 2, "key_version": 0, "suite": 1, "file_salt": b"s" * 32}
    return CipherRun(**{**facts, **changes})


def opener_of(run, count=3, key=KEY):
    return SegmentOpener(run, key, key_commitment(key, run.key_name), count)


@pytest.mark.parametrize("suite", [1, 2])
def test_every_segment_opens_to_its_plaintext(suite):
    run = run_of(suite=suite)
    sealer = SegmentSealer(run, KEY, 3)
    plain = [os.urandom(100), os.urandom(65520), b"x"]
    sealed = [sealer.seal(i, data) for i, data in enumerate(plain)]
    assert [opener_of(run).open_segment(i, data) for i, data in enumerate(sealed)] == plain


CHANGES = {
    "another place": (run_of(), 3, 1),
    "the last place": (run_of(), 1, 0),
    "another tier": (run_of(tier=1), 3, 0),
    "another track": (run_of(track_id=TrackId(bytes(32))), 3, 0),
    "another run": (run_of(file_salt=b"t" * 32), 3, 0),
    "another key version": (run_of(key_version=1), 3, 0),
    "another suite": (run_of(suite=2), 3, 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_segment_does_not_open_as(change):
    sealed = SegmentSealer(run_of(), KEY, 3).seal(0, b"music" * 100)
    run, count, index = CHANGES[change]
    with pytest.raises(DamagedError):
        opener_of(run, count).open_segment(index, sealed)


@given(st.integers(0, 515), st.integers(1, 255))
def test_a_flipped_byte_is_always_noticed(place, flip):
    sealed = bytearray(SegmentSealer(run_of(), KEY, 3).seal(0, b"music" * 100))
    sealed[place] ^= flip
    with pytest.raises(DamagedError):
        opener_of(run_of()).open_segment(0, bytes(sealed))


def test_a_key_that_is_not_committed_decrypts_nothing():
    kc = key_commitment(KEY, run_of().key_name)
    with pytest.raises(DamagedError, match="commitment"):
        SegmentOpener(run_of(), Secret(b"l" * 32), kc, 3)


def test_ten_thousand_runs_never_repeat_a_key_and_nonce():
    seen = set()
    for _ in range(10_000):
        run = run_of(file_salt=os.urandom(32))
        seen.add((run.file_salt, run.nonce(0, is_last=True)))
    assert len(seen) == 10_000


def test_the_artist_derives_the_same_key_again_and_another_for_each_name():
    root, salt = Secret(b"r" * 32), b"t" * 32
    names = [KeyName(TRACK, tier, version) for tier in range(3) for version in range(3)]
    keys = [derive_track_key(root, salt, name).reveal() for name in names]
    assert len(set(keys)) == len(names)
    assert keys == [derive_track_key(root, salt, name).reveal() for name in names]


def free_box():
    name = KeyName(TRACK, 1, 0)
    return name, public_keybox(name, KEY, key_commitment(KEY, name))


def test_a_free_keybox_gives_its_key_and_survives_its_encoding():
    name, box = free_box()
    again = parse_keybox(box.to_bytes())
    assert again.cid == box.cid
    assert again.open_public(name) == KEY


def test_a_keybox_of_another_tier_or_with_a_foreign_key_gives_nothing():
    name, box = free_box()
    with pytest.raises(DamagedError):
        box.open_public(KeyName(TRACK, 2, 0))
    with pytest.raises(DamagedError):
        public_keybox(name, Secret(b"z" * 32), box.kc).open_public(name)


def test_a_paid_keybox_asks_for_a_licence():
    from storage.content.keybox import DelegateKey

    box = Keybox(1, b"r" * 20, TRACK, 1, 1, 2, 0, 0, bytes(32), 0, (), (DelegateKey(b"d" * 32, b"e"),))
    assert parse_keybox(box.to_bytes()) == box
    with pytest.raises(LicenceNeededError):
        box.open_public(KeyName(TRACK, 1, 0))


@given(st.data())
def test_a_changed_keybox_is_malformed_or_another_keybox(data):
    good = free_box()[1].to_bytes()
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        box = parse_keybox(bytes(bad))
    except MalformedError:
        return
    assert box.to_bytes() == bytes(bad)


@given(st.binary(max_size=300))
def test_random_bytes_are_no_keybox(data):
    with pytest.raises(MalformedError):
        parse_keybox(data)
