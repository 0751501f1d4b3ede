"""Peer ids and raw Ed25519 keys: signed records carry the 32-byte key, libp2p speaks of peer ids.

An Ed25519 peer id is the identity multihash of its public key, so each gives the other.
Source: libp2p peer id specification, "Ed25519".
"""

from __future__ import annotations

from libp2p.peer.id import ID

from marina.errors import MalformedError
from marina.ids import PeerId
from p2p.peerid import from_libp2p, to_libp2p

KEY_BYTES = 32
_PREFIX = bytes((0x00, 0x24, 0x08, 0x01, 0x12, 0x20))
"""Identity multihash of 36 bytes: protobuf of key type 1 (Ed25519) and 32 key bytes."""


def peer_of_key(public_key: bytes) -> PeerId:
    """Return the peer id of a raw Ed25519 public key.

    Raises:
        MalformedError: the key has another length than 32 bytes.
    """
    if len(public_key) != KEY_BYTES:
        raise MalformedError(f"a device key has {KEY_BYTES} bytes, not {len(public_key)}")
    return from_libp2p(ID(_PREFIX + public_key))


def key_of_peer(peer: PeerId) -> bytes:
    """Return the raw Ed25519 public key inside a peer id.

    Raises:
        MalformedError: the text is no peer id, or one of another kind of key.
    """
    data = to_libp2p(peer).to_bytes()
    if not data.startswith(_PREFIX) or len(data) != len(_PREFIX) + KEY_BYTES:
        raise MalformedError(f"{peer[:80]!r} is not the id of an Ed25519 device")
    return bytes(data[len(_PREFIX) :])
