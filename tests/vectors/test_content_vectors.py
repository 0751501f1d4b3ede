"""The committed vectors are what the code computes, and reading them back gives what was written."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from marina.errors import MalformedError
from marina.secret import Secret
from storage.content.keybox import parse_keybox
from storage.content.keys import KeyName
from storage.content.release import SignedRelease, open_release, precedence
from storage.content.segments import SegmentOpener
from storage.content.track import decode_track

HERE = Path(__file__).parent
VECTORS = json.loads((HERE / "content.json").read_text())


def generator():
    spec = importlib.util.spec_from_file_location("generate_vectors", HERE / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_vector_is_what_the_code_computes():
    assert json.loads(json.dumps(generator().content())) == VECTORS


def test_the_release_opens_to_its_track_and_the_track_to_its_rendition():
    signed = open_release(bytes.fromhex(VECTORS["release_manifest"]))
    track = decode_track(bytes.fromhex(VECTORS["track_manifest"]))
    assert signed.release.account.hex() == track.account.hex() == VECTORS["account"]
    assert track.track_id.hex() == VECTORS["track_id"]
    box = parse_keybox(bytes.fromhex(VECTORS["keybox_public"]))
    (rendition,) = track.renditions
    assert box.cid == rendition.keybox
    key = box.open_public(KeyName(track.track_id, 2, 0))
    assert key == Secret(bytes.fromhex(VECTORS["key"]))
    SegmentOpener(rendition.run, key, rendition.kc, rendition.layout.plan.count)


def test_the_signature_is_the_one_that_an_ethereum_wallet_makes():
    from eth_account import Account as Wallet
    from eth_account.messages import encode_typed_data

    from marina.dagcbor import decode, encode

    block = decode(bytes.fromhex(VECTORS["release_manifest"]), limit_bytes=1 << 20)
    import hashlib

    types = "releaseId:bytes32 account:address version:uint64 time:uint64 withdrawn:bool payload:bytes32"
    message = {
        "releaseId": block["payload"]["id"],
        "account": "0x" + block["payload"]["account"].hex(),
        "version": 1,
        "time": block["payload"]["time"],
        "withdrawn": False,
        "payload": hashlib.sha256(encode(block["payload"])).digest(),
    }
    signable = encode_typed_data(
        {"name": "marina", "version": "1"},
        {"Release": [dict(zip(("name", "type"), pair.split(":"), strict=True)) for pair in types.split()]},
        message,
    )
    signed = Wallet.sign_message(signable, "0x" + VECTORS["account_key"])
    assert bytes(signed.signature) == block["signature"]


@pytest.mark.parametrize("place", range(0, len(VECTORS["release_manifest"]) // 2, 3))
def test_a_changed_release_is_refused(place):
    bad = bytearray.fromhex(VECTORS["release_manifest"])
    bad[place] ^= 1
    with pytest.raises(MalformedError):
        open_release(bytes(bad))


def rank(signed: SignedRelease) -> tuple[int, int, bytes]:
    return precedence(signed.release.version, signed.release.published_s, signed.cid)


def test_a_tombstone_replaces_the_release_and_never_the_other_way():
    from dataclasses import replace

    from storage.content.release import sign_release

    first = open_release(bytes.fromhex(VECTORS["release_manifest"]))
    tombstone = replace(
        first.release, tracks=(), withdrawn=True, version=2, previous=first.cid, reason="sold the rights"
    )
    last = open_release(sign_release(tombstone, generator().Signer()).block)
    assert rank(last) > rank(first)
    with pytest.raises(MalformedError):
        open_release(sign_release(replace(tombstone, withdrawn=False), generator().Signer()).block)
