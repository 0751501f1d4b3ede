"""Sealed envelopes: HPKE to one X25519 key, bound to what the chain says about a track.

RFC 9180, base mode, single shot: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305; an envelope is
``enc(32) ‖ ciphertext ‖ tag(16)``. The package takes no AAD, so all context goes into ``info``: an envelope
that is copied to another track, tier, epoch or share opens for nobody. Source: design, security §1.4, §1.6.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from marina.codec import encode
from marina.errors import DamagedError, MalformedError
from marina.ids import TrackId
from marina.secret import Secret

OVERHEAD_BYTES: Final = 48
_DOMAIN = "marina/v1"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


@dataclass(frozen=True, slots=True)
class KeyScope:
    """What a sealed key or share belongs to; for a guardian these values come from the chain.

    Attributes:
        chain_id: EIP-155 id.
        registry: address of the TrackRegistry, 20 bytes.
        track_id: the track.
        tier: 1 stream, 2 original.
        epoch: of the keybox.
    """

    chain_id: int
    registry: bytes
    track_id: TrackId
    tier: int
    epoch: int

    def share_info(self, x: int) -> bytes:
        """Return the HPKE info of a guardian's envelope in the keybox."""
        return encode([_DOMAIN, "share", *self._values(), x])

    def full_info(self) -> bytes:
        """Return the HPKE info of a delegate's envelope in the keybox."""
        return encode([_DOMAIN, "full", *self._values()])

    def release_info(self, x: int, request_digest: bytes) -> bytes:
        """Return the HPKE info of an answer; x is 0 for a delegate's."""
        return encode([_DOMAIN, "rel", *self._values(), x, request_digest])

    def share_commit(self, x: int, share: Secret[bytes]) -> bytes:
        """Return the public 32-byte commitment to a share."""
        words = encode(["marina/share/1", self.track_id, self.tier, self.epoch, x, share.reveal()])
        return hashlib.sha256(words).digest()

    def _values(self) -> list[int | bytes]:
        return [self.chain_id, self.registry, self.track_id, self.tier, self.epoch]


def seal(public_key: bytes, plaintext: Secret[bytes], info: bytes) -> bytes:
    """Return a plaintext sealed to an X25519 key, 48 bytes longer.

    Raises:
        MalformedError: it is no key that anything can be sealed to.
    """
    try:
        return _SUITE.encrypt(plaintext.reveal(), X25519PublicKey.from_public_bytes(public_key), info=info)
    except ValueError as err:
        raise MalformedError("not an X25519 key that a secret can be sealed to") from err


def open_envelope(private_key: X25519PrivateKey, envelope: bytes, info: bytes) -> Secret[bytes]:
    """Return what is in an envelope.

    Raises:
        DamagedError: it is sealed to another key, for another purpose, or was changed.
    """
    try:
        return Secret(_SUITE.decrypt(envelope, private_key, info=info))
    except (InvalidTag, ValueError) as err:
        raise DamagedError("the sealed envelope does not open: it is of another key or track") from err
