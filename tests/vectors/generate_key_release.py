"""Write key_release.json: shares, envelopes and messages of the key protocol, private keys included.

HPKE draws a key of its own for each envelope, so a new run gives other envelopes; everything else is the
same again. Run: ``python tests/vectors/generate_key_release.py``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from marina.ids import Account, derive_track_id
from marina.schema import encode_record
from marina.secret import Secret
from p2p.wire.key import (
    Code,
    GrantBody,
    KeyRequest,
    StatusBody,
    StatusRequest,
    encode_grant,
    encode_refusal,
    encode_request,
    encode_status,
    encode_status_request,
    holder_cid,
    request_digest,
)
from storage.content.envelope import seal
from storage.content.guarded import KeyHolder, guarded_keybox, open_share, scope_of
from storage.content.holder_text import holder_text
from storage.content.keys import KeyName, key_commitment
from storage.identity.binding import DEFAULT_SCOPES, issue_binding
from storage.identity.derive import key_holder_key
from storage.identity.device import DeviceKey
from storage.identity.typed_data import account_of_key

NOW_S = 1_790_000_000
REGISTRY = bytes(range(20))


def made(name: str, size: int = 32) -> bytes:
    """Return bytes that follow from a name."""
    return hashlib.shake_256(name.encode()).digest(size)


class Drawn:
    """Random bytes that follow from their order: the coefficients of the polynomial."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, size: int) -> bytes:
        """Return so many bytes."""
        self.count += 1
        return made(f"coefficient {self.count}", size)


def vectors() -> dict[str, Any]:
    """Return everything."""
    owner_key = Secret(made("listener's account"))
    owner = Account(account_of_key(owner_key.reveal()))
    device = DeviceKey(Secret(made("listener's device")))
    binding = encode_record(
        issue_binding(owner_key, device, scopes=DEFAULT_SCOPES, epoch=0, now_s=NOW_S, nonce=made("n", 16))
    )
    track = derive_track_id(Account(made("artist", 20)), made("salt"))
    name = KeyName(track, 1, 0)
    key = Secret(made("K"))
    roots = [Secret(made(f"content root {number}")) for number in range(4)]
    private = [key_holder_key(root) for root in roots]
    nodes = [DeviceKey(Secret(made(f"node {number}"))) for number in range(4)]
    holders = [
        KeyHolder(node.public_key, each.public_key().public_bytes_raw())
        for node, each in zip(nodes, private, strict=True)
    ]
    box = guarded_keybox(
        name, key, key_commitment(key, name), chain_id=31337, registry=REGISTRY, epoch=1, k=2,
        guardians=holders[:3], delegates=holders[3:], not_before=0, random=Drawn(),
    )  # fmt: skip
    shares = [
        open_share(box, node.public_key, each)[1] for node, each in zip(nodes[:3], private, strict=False)
    ]
    eph = X25519PrivateKey.from_private_bytes(made("one-time"))
    body = KeyRequest(
        chain_id=31337, registry=REGISTRY, track_id=track, tier=1, owner=owner, binding=binding,
        peer=device.public_key, eph=eph.public_key().public_bytes_raw(), aud=nodes[1].public_key, ts=NOW_S,
        nonce=made("nonce", 16), keybox_digest=box.cid[-32:], lic_block=12,
    )  # fmt: skip
    digest = request_digest(body)
    scope = scope_of(box)
    grant = GrantBody(
        2, seal(body.eph, shares[1], scope.release_info(2, digest)), 14, made("block"), digest, NOW_S + 1,
        NOW_S + 2_592_000,
    )  # fmt: skip
    asked = StatusRequest(nodes[1].public_key, made("nonce", 16), 31337, REGISTRY, box.cid[-32:])
    guardian = Account(account_of_key(made("guardian's account")))
    status = StatusBody(
        nodes[1].public_key, guardian, holders[1].hpke_key, 0, 14, NOW_S, made("nonce", 16),
        encode_record(issue_binding(Secret(made("guardian's account")), nodes[1], scopes=DEFAULT_SCOPES,
                                    epoch=0, now_s=NOW_S, nonce=made("m", 16))),
    )  # fmt: skip
    return {
        "track_id": track.hex(),
        "tier": 1,
        "key_version": 0,
        "key": key.reveal().hex(),
        "kc": box.kc.hex(),
        "k": 2,
        "shares": [each.reveal().hex() for each in shares],
        "share_infos": [scope.share_info(x).hex() for x in (1, 2, 3)],
        "full_info": scope.full_info().hex(),
        "content_roots": [each.reveal().hex() for each in roots],
        "holder_keys": [each.private_bytes_raw().hex() for each in private],
        "node_seeds": [made(f"node {number}").hex() for number in range(4)],
        "holder_texts": [holder_text(each) for each in holders],
        "holder_cids": [bytes(holder_cid(each.peer_key)).hex() for each in holders],
        "keybox": box.to_bytes().hex(),
        "owner": owner.hex(),
        "eph_private": made("one-time").hex(),
        "request": encode_request(body, device, box.to_bytes()).hex(),
        "request_digest": digest.hex(),
        "release_info": scope.release_info(2, digest).hex(),
        "grant": encode_grant(grant, nodes[1]).hex(),
        "refusal": encode_refusal(Code.NOT_FINAL, NOW_S, 12).hex(),
        "status_request": encode_status_request(asked, box.to_bytes()).hex(),
        "status": encode_status(status, nodes[1]).hex(),
    }


def main() -> None:
    """Write the file beside this one."""
    path = Path(__file__).with_name("key_release.json")
    path.write_text(json.dumps(vectors(), indent=1) + "\n")


if __name__ == "__main__":
    main()
