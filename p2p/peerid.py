"""Peer ids and device keys between Marina's plain types and libp2p's objects."""

from __future__ import annotations

from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.peer.id import ID

from marina.errors import MalformedError
from marina.ids import PeerId
from marina.secret import Secret

SEED_BYTES = 32
_PEER_ID_CHARS_MAX = 128
_INLINED_BYTES_MAX = 2 + 42
"""A public key of at most 42 bytes stands in the id itself (libp2p peer id specification)."""


def key_pair_from_seed(seed: Secret[bytes]) -> KeyPair:
    """Return the Ed25519 device key of a 32-byte seed.

    Raises:
        ValueError: the seed has another length.
    """
    raw = seed.reveal()
    if len(raw) != SEED_BYTES:
        raise ValueError(f"a device key seed has {SEED_BYTES} bytes, not {len(raw)}")
    return create_new_key_pair(raw)


def peer_id_from_seed(seed: Secret[bytes]) -> PeerId:
    """Return the peer id of a device key seed."""
    return from_libp2p(ID.from_pubkey(key_pair_from_seed(seed).public_key))


def from_libp2p(peer: ID) -> PeerId:
    """Return the base58 text form of a libp2p peer id."""
    return PeerId(peer.to_base58())


def to_libp2p(peer: PeerId) -> ID:
    """Return libp2p's object for a peer id.

    Raises:
        MalformedError: the text is not a base58 multihash of a public key.
    """
    if not 0 < len(peer) <= _PEER_ID_CHARS_MAX:
        raise MalformedError("a peer id has 1 to 128 characters")
    try:
        decoded = ID.from_base58(peer)
    except Exception as err:
        raise MalformedError(f"{peer[:80]!r} is not a peer id") from err
    raw = decoded.to_bytes()
    is_inlined = raw[:1] == b"\0" and len(raw) == 2 + raw[1] <= _INLINED_BYTES_MAX
    is_hashed = raw[:2] == b"\x12\x20" and len(raw) == 34
    if decoded.to_base58() != peer or not (is_inlined or is_hashed):
        raise MalformedError(f"{peer[:80]!r} is not a peer id")
    return decoded


def short(peer: PeerId) -> str:
    """Return the last eight characters: all Ed25519 peer ids start alike."""
    return f"…{peer[-8:]}"
