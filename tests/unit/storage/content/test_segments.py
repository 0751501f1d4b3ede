"""Sealed segments open only in their own place, under their own key, whole and unchanged."""

from __future__ import annotations

import os
import secrets

import pytest
import trio
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from marina.errors import DamagedError, LicenceNeededError, MalformedError
from marina.ids import TrackId
from marina.secret import Secret
from storage.blocks.memory import MemoryBlockStore
from storage.content.keybox import Keybox, parse_keybox, public_keybox
from storage.content.keys import KeyName, derive_track_key, key_commitment, rendition_key, segment_key
from storage.content.segments import CipherRun, SegmentOpener, SegmentSealer
from storage.publish.renditions import Encoded, RenditionSealer, TrackKeys

TRACK = TrackId(bytes(range(32)))
KEY = Secret(b"k" * 32)
SEALS = min(10_000, int(os.environ.get("MARINA_FUZZ_RUNS", "300")))


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


def gf_mul(x, y):
    """Product in the field of GHASH. Source: NIST SP 800-38D, algorithm 1."""
    z = 0
    for bit in range(127, -1, -1):
        if y >> bit & 1:
            z ^= x
        x = (x >> 1) ^ (0xE1 << 120 if x & 1 else 0)
    return z


def gf_inverse(x):
    result, power = 1 << 127, x
    for _ in range(127):
        power = gf_mul(power, power)
        result = gf_mul(result, power)
    return result


def ghash(h, blocks):
    total = 0
    for block in blocks:
        total = gf_mul(total ^ block, h)
    return total


def two_key_ciphertext(key_a, key_b, nonce, aad):
    """One block and its tag that AES-GCM opens under both keys (Dodis et al. 2018: a salamander)."""
    padded = aad + bytes(-len(aad) % 16)
    head = [int.from_bytes(padded[at : at + 16]) for at in range(0, len(padded), 16)]
    lengths = (8 * len(aad)) << 64 | 128
    facts = []
    for key in (key_a, key_b):
        ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
        h, mask = (int.from_bytes(ecb.update(block)) for block in (bytes(16), nonce + b"\0\0\0\1"))
        facts.append((h, mask, ghash(h, [*head, 0, lengths])))
    (h_a, mask_a, rest_a), (h_b, mask_b, rest_b) = facts
    block = gf_mul(mask_a ^ mask_b ^ rest_a ^ rest_b, gf_inverse(gf_mul(h_a, h_a) ^ gf_mul(h_b, h_b)))
    tag = ghash(h_a, [*head, block, lengths]) ^ mask_a
    return block.to_bytes(16) + tag.to_bytes(16)


def test_t28_a_ciphertext_that_two_keys_open_has_one_meaning_here():
    run, other = run_of(), Secret(b"l" * 32)
    keys = [
        segment_key(rendition_key(key, run.key_name, run.suite, run.file_salt).reveal(), 0)
        for key in (KEY, other)
    ]
    nonce, aad = run.nonce(0, is_last=True), run.aad(0, is_last=True)
    forged = two_key_ciphertext(*keys, nonce, aad)
    plain = [AESGCM(key).decrypt(nonce, forged, aad) for key in keys]
    assert plain[0] != plain[1]
    assert opener_of(run, count=1).open_segment(0, forged) == plain[0]
    with pytest.raises(DamagedError, match="commitment"):
        SegmentOpener(run, other, key_commitment(KEY, run.key_name), 1)


async def test_t29_sealing_the_same_file_again_and_again_repeats_no_key_and_nonce(tmp_path):
    path = tmp_path / "song"
    path.write_bytes(os.urandom(100_000))
    sealer = RenditionSealer(
        blocks=MemoryBlockStore(10**12), random=secrets.token_bytes, limiter=trio.CapacityLimiter(1)
    )
    keys = TrackKeys(TRACK, b"t" * 32, Secret(b"r" * 32))
    seen = set()
    with path.open("rb") as file:
        encoded = Encoded(file.fileno(), 100_000, "opus", "audio/ogg", 160_000, 48_000, 2, 5000)
        for _ in range(SEALS):
            sealed = await sealer.seal(encoded, keys, 2, lambda _: None)
            key = derive_track_key(keys.content_root, keys.salt, sealed.run.key_name)
            key_rend = rendition_key(
                key, sealed.run.key_name, sealed.run.suite, sealed.run.file_salt
            ).reveal()
            for index in range(sealed.layout.plan.count):
                is_last = index == sealed.layout.plan.count - 1
                seen.add((segment_key(key_rend, index), sealed.run.nonce(index, is_last=is_last)))
    assert len(seen) == SEALS * sealed.layout.plan.count


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
