"""The published vectors of key release hold, for our code and for a plain reader of MessagePack."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import msgpack  # noqa: TID251 - the reader that is independent of marina.codec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from marina.ids import TrackId
from marina.secret import Secret
from p2p.wire.key import (
    Code,
    Grant,
    Refusal,
    SignedRequest,
    StatusAnswer,
    decode_answer,
    decode_asked,
    holder_cid,
)
from storage.content.guarded import join_key, open_full, open_share, scope_of
from storage.content.holder_text import holder_text, parse_holder
from storage.content.keybox import parse_keybox
from storage.content.keys import KeyName
from storage.content.shamir import join
from storage.identity.derive import key_holder_key
from tests.vectors.generate_key_release import Drawn, made

VECTORS = json.loads(Path(__file__).with_name("key_release.json").read_text())
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def of(name):
    return bytes.fromhex(VECTORS[name])


def all_of(name):
    return [bytes.fromhex(each) for each in VECTORS[name]]


KEY_NAME = KeyName(TrackId(of("track_id")), VECTORS["tier"], VECTORS["key_version"])
BOX = parse_keybox(of("keybox"))
PRIVATE = [X25519PrivateKey.from_private_bytes(each) for each in all_of("holder_keys")]


def test_the_shares_are_points_of_the_polynomial_and_any_two_give_the_key():
    prime = 2**256 + 297
    drawn = int.from_bytes(Drawn()(33)) & (2**257 - 1)
    slope = drawn if drawn < prime else int.from_bytes(made("coefficient 2", 33)) & (2**257 - 1)
    for x, share in enumerate(all_of("shares"), 1):
        assert int.from_bytes(share) == (int.from_bytes(of("key")) + slope * x) % prime
    shares = {x: Secret(each) for x, each in enumerate(all_of("shares"), 1)}
    for chosen in itertools.combinations(shares, 2):
        assert join({x: shares[x] for x in chosen}).reveal() == of("key")
    assert join_key(BOX, KEY_NAME, shares).reveal() == of("key")


@pytest.mark.parametrize("number", range(4))
def test_a_holders_keys_follow_from_the_words_and_have_a_text_and_a_place(number):
    root = Secret(all_of("content_roots")[number])
    assert key_holder_key(root).private_bytes_raw() == all_of("holder_keys")[number]
    node = Ed25519PrivateKey.from_private_bytes(all_of("node_seeds")[number]).public_key().public_bytes_raw()
    holder = parse_holder(VECTORS["holder_texts"][number])
    assert (holder.peer_key, holder.hpke_key) == (node, PRIVATE[number].public_key().public_bytes_raw())
    assert holder_text(holder) == VECTORS["holder_texts"][number]
    assert bytes(holder_cid(node)) == all_of("holder_cids")[number]
    named = msgpack.packb(["marina/guardian/1", node], use_bin_type=True)
    assert all_of("holder_cids")[number][-32:] == hashlib.sha256(named).digest()


def test_envelopes_open_for_their_holder_and_hold_what_is_committed_to():
    for x, node in enumerate(all_of("node_seeds")[:3], 1):
        peer = Ed25519PrivateKey.from_private_bytes(node).public_key().public_bytes_raw()
        assert open_share(BOX, peer, PRIVATE[x - 1]) == (x, Secret(all_of("shares")[x - 1]))
        info = all_of("share_infos")[x - 1]
        assert info == scope_of(BOX).share_info(x)
        assert SUITE.decrypt(BOX.shares[x - 1].envelope, PRIVATE[x - 1], info=info) == all_of("shares")[x - 1]
    delegate = Ed25519PrivateKey.from_private_bytes(all_of("node_seeds")[3]).public_key().public_bytes_raw()
    assert open_full(BOX, delegate, PRIVATE[3]).reveal() == of("key")
    assert SUITE.decrypt(BOX.delegates[0].envelope, PRIVATE[3], info=of("full_info")) == of("key")


def test_any_reader_of_messagepack_finds_the_keybox_and_its_commitments():
    tag, chain_id, registry, track, tier, epoch, mode, k, n, kc, not_before, shares, delegates = (
        msgpack.unpackb(of("keybox"), raw=False, strict_map_key=False)
    )
    assert (tag, chain_id, tier, epoch, mode, k, n, not_before) == ("marina/kb/1", 31337, 1, 1, 1, 2, 3, 0)
    assert (track, kc, len(delegates)) == (of("track_id"), of("kc"), 1)
    for (x, _, commit, _), share in zip(shares, all_of("shares"), strict=True):
        words = msgpack.packb(["marina/share/1", track, tier, epoch, x, share], use_bin_type=True)
        assert commit == hashlib.sha256(words).digest()
        info = msgpack.packb(
            ["marina/v1", "share", chain_id, registry, track, tier, epoch, x], use_bin_type=True
        )
        assert info == all_of("share_infos")[x - 1]


def test_the_request_is_signed_by_its_device_and_names_everything():
    found = decode_asked(of("request"))
    assert isinstance(found, SignedRequest)
    found.check()
    assert (found.digest, found.keybox) == (of("request_digest"), of("keybox"))
    body, signature, keybox = msgpack.unpackb(of("request"), raw=False)
    fields = msgpack.unpackb(body, raw=False)
    assert (fields[0], fields[5], keybox) == ("marina/kr/1", of("owner"), of("keybox"))
    Ed25519PublicKey.from_public_bytes(fields[7]).verify(signature, b"marina/kr/1\0" + body)


def test_the_grant_opens_with_the_one_time_key_alone():
    found = decode_answer(of("grant"))
    assert isinstance(found, Grant)
    found.check(found_aud := decode_asked(of("request")).body.aud)
    eph = X25519PrivateKey.from_private_bytes(of("eph_private"))
    assert SUITE.decrypt(found.body.ct, eph, info=of("release_info")) == all_of("shares")[1]
    assert (found.body.x, found.body.request_digest) == (2, of("request_digest"))
    assert found_aud == BOX.shares[1].guardian


def test_refusal_and_status_are_as_published():
    refused = decode_answer(of("refusal"))
    assert refused == Refusal(Code.NOT_FINAL, 12, 1_790_000_000)
    status = decode_answer(of("status"))
    assert isinstance(status, StatusAnswer)
    status.check(BOX.shares[1].guardian)
    assert (status.body.code, status.body.nonce) == (0, decode_asked(of("status_request")).body.nonce)
