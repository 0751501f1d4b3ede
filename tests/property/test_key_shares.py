"""Any k guardians give the key back, k − 1 with all the ciphertext nothing, and nothing fits elsewhere."""

from __future__ import annotations

import hashlib
import itertools
import os
from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.errors import DamagedError, MalformedError
from marina.ids import Account, derive_track_id
from marina.secret import Secret
from storage.content.envelope import KeyScope, open_envelope, seal
from storage.content.guarded import FraudError, KeyHolder, fits, guarded_keybox, join_key, open_share
from storage.content.keybox import parse_keybox
from storage.content.keys import KeyName, key_commitment
from storage.content.segments import SUITE_AES_256_GCM, CipherRun, SegmentOpener, SegmentSealer
from storage.content.shamir import PRIME, join, split

KEYS = st.binary(min_size=32, max_size=32)
TRACK = derive_track_id(Account(b"a" * 20), b"s" * 32)
NAME = KeyName(TRACK, 1, 0)
KEY = Secret(hashlib.sha256(b"K").digest())
KC = key_commitment(KEY, NAME)
PRIVATE = [X25519PrivateKey.from_private_bytes(hashlib.sha256(bytes((n,))).digest()) for n in range(7)]
PEERS = [hashlib.sha256(b"peer" + bytes((n,))).digest() for n in range(7)]
HOLDERS = [
    KeyHolder(peer, each.public_key().public_bytes_raw()) for peer, each in zip(PEERS, PRIVATE, strict=True)
]


def keybox(epoch=1, key=KEY, kc=KC):
    return guarded_keybox(
        NAME, key, kc, chain_id=1, registry=b"r" * 20, epoch=epoch, k=3, guardians=HOLDERS,
        random=os.urandom,
    )  # fmt: skip


def shares_of(box, numbers):
    return dict(open_share(box, PEERS[number], PRIVATE[number]) for number in numbers)


@given(KEYS, st.integers(1, 12), st.integers(0, 12), st.randoms(use_true_random=False))
def test_any_k_of_n_shares_give_the_key_in_any_order(key, k, more, rng):
    shares = dict(enumerate(split(Secret(key), k=k, n=k + more, random=os.urandom), 1))
    chosen = rng.sample(sorted(shares), k)
    assert join({x: shares[x] for x in chosen}).reveal() == key


@given(KEYS, KEYS, st.integers(2, 7))
def test_k_minus_one_shares_are_those_of_every_other_key_as_well(key, other, k):
    """For each other key there is a polynomial of the right degree through the same k − 1 shares."""
    known = dict(enumerate(split(Secret(key), k=k, n=k, random=os.urandom)[: k - 1], 1))
    points = {0: int.from_bytes(other), **{x: int.from_bytes(each.reveal()) for x, each in known.items()}}
    x, y = k, 0  # the share at k that makes the other key of them
    for at, value in points.items():
        part = value
        for others in points:
            if others != at:
                part = part * (x - others) * pow(at - others, -1, PRIME) % PRIME
        y = (y + part) % PRIME
    assert join({**known, x: Secret(y.to_bytes(33))}).reveal() == other


@pytest.mark.parametrize(
    "points",
    [{}, {0: bytes(33)}, {256: bytes(33)}, {1: bytes(32)}, {1: b"\xff" * 33}, {1: PRIME.to_bytes(33)},
     {1: (2**256).to_bytes(33)}],
)  # fmt: skip
def test_what_is_no_share_is_refused(points):
    with pytest.raises(MalformedError):
        join({x: Secret(y) for x, y in points.items()})


def test_every_three_guardians_open_the_tier_and_shares_of_two_epochs_do_not_mix():
    box, newer = keybox(), keybox(epoch=2)
    for chosen in itertools.combinations(range(7), 3):
        assert join_key(box, NAME, shares_of(box, chosen)) == KEY
    mixed = {**shares_of(box, (0, 1)), **shares_of(newer, (2,))}
    with pytest.raises(DamagedError):
        join_key(box, NAME, mixed)
    assert box.shares[0].share_commit != newer.shares[0].share_commit


def test_two_colluding_guardians_with_all_the_ciphertext_open_nothing_and_three_do():
    run = CipherRun(TRACK, 1, 0, SUITE_AES_256_GCM, b"f" * 32)
    sealer = SegmentSealer(run, KEY, 2)
    plain = [os.urandom(1000), os.urandom(500)]
    ciphertext = [sealer.seal(index, each) for index, each in enumerate(plain)]
    box = parse_keybox(keybox().to_bytes())
    two = shares_of(box, (2, 5))
    with pytest.raises(DamagedError, match="too few"):
        join_key(box, NAME, two)
    guesses = [Secret(each.reveal()[1:]) for each in two.values()]
    with suppress(MalformedError):  # the line through two points of a parabola need not even meet a key
        guesses.append(join(two))
    for guess in guesses:
        with pytest.raises(DamagedError):
            SegmentOpener(run, guess, KC, 2)
        with pytest.raises((DamagedError, InvalidTag)):
            SegmentOpener(run, guess, key_commitment(guess, NAME), 2).open_segment(0, ciphertext[0])
    for envelope in (each for each in box.shares if each.guardian not in (PEERS[2], PEERS[5])):
        for thief in (PRIVATE[2], PRIVATE[5]):
            with pytest.raises(DamagedError):
                open_envelope(
                    thief, envelope.envelope, KeyScope(1, b"r" * 20, TRACK, 1, 1).share_info(envelope.x)
                )
    opener = SegmentOpener(run, join_key(box, NAME, shares_of(box, (2, 5, 6))), KC, 2)
    assert [opener.open_segment(index, each) for index, each in enumerate(ciphertext)] == plain


def test_an_artist_who_commits_to_another_key_is_proven_a_fraud():
    box = keybox(key=Secret(b"x" * 32))
    with pytest.raises(FraudError):
        join_key(box, NAME, shares_of(box, (0, 1, 2)))


SCOPES = st.builds(
    KeyScope, st.integers(0, 2**64 - 1), st.binary(min_size=20, max_size=20),
    st.binary(min_size=32, max_size=32), st.integers(0, 255), st.integers(0, 2**32 - 1),
)  # fmt: skip


@given(SCOPES, SCOPES, st.integers(1, 32), st.integers(1, 32), st.binary(min_size=33, max_size=33))
@settings(max_examples=60)
def test_an_envelope_opens_for_what_it_was_sealed_for_and_for_nothing_else(one, other, x, y, share):
    public = PRIVATE[0].public_key().public_bytes_raw()
    sealed = seal(public, Secret(share), one.share_info(x))
    assert open_envelope(PRIVATE[0], sealed, one.share_info(x)).reveal() == share
    elsewhere = [one.full_info(), one.release_info(x, bytes(32)), b""]
    if (one, x) != (other, y):
        elsewhere.append(other.share_info(y))
    for info in elsewhere:
        with pytest.raises(DamagedError):
            open_envelope(PRIVATE[0], sealed, info)


def test_a_transplanted_share_opens_for_no_guardian():
    box = keybox()
    for changes in (
        {"track_id": b"t" * 32},
        {"tier": 2},
        {"epoch": 2},
        {"registry": b"q" * 20},
        {"chain_id": 2},
    ):
        with pytest.raises(DamagedError):
            open_share(replace(box, **changes), PEERS[0], PRIVATE[0])
    swapped = [replace(box.shares[0], x=2), replace(box.shares[1], x=1), *box.shares[2:]]
    with pytest.raises(DamagedError):
        open_share(replace(box, shares=tuple(swapped)), PEERS[0], PRIVATE[0])
    assert not fits(box, 1, Secret(bytes(33)))


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), bytes(31)])
def test_nothing_is_sealed_to_a_key_of_small_order(public):
    with pytest.raises(MalformedError):
        seal(public, KEY, b"")
