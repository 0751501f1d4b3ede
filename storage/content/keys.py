"""Content keys: one root for the artist, one key per track and tier, one per segment.

::

    content_root ──HKDF(track_salt)──► K(track, tier, key_version) ──HKDF-Expand──► kc, its commitment
                                        └──HKDF(file_salt)──► K_rend(suite) ──HKDF-Expand──► K_seg(i)

K may be published (free tracks), split among guardians or sold; kc is public and must be checked
before anything is decrypted, because AES-GCM and ChaCha20-Poly1305 do not commit to their key.
Source: design, security §1.3 and architecture §13; RFC 5869.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from marina.codec import encode
from marina.errors import DamagedError
from marina.ids import TrackId
from marina.secret import Secret

KEY_BYTES = 32
_DOMAIN = "marina/v1"
_SEGMENT_PREFIX = encode([_DOMAIN, "segment", 0])[: -len(encode(0))]


@dataclass(frozen=True, slots=True)
class KeyName:
    """Which content key is meant.

    Attributes:
        track_id: the track.
        tier: 0 preview, 1 stream, 2 original.
        key_version: raised when an artist re-encrypts under a new key.
    """

    track_id: TrackId
    tier: int
    key_version: int


def derive_track_key(content_root: Secret[bytes], track_salt: bytes, name: KeyName) -> Secret[bytes]:
    """Return K, which the artist can always derive again from the recovery words."""
    info = encode([_DOMAIN, "track-key", name.track_id, name.tier, name.key_version])
    return Secret(HKDF(hashes.SHA256(), KEY_BYTES, track_salt, info).derive(content_root.reveal()))


def key_commitment(key: Secret[bytes], name: KeyName) -> bytes:
    """Return kc, the public 32-byte commitment to K."""
    return _expand(key.reveal(), encode([_DOMAIN, "commit", name.track_id, name.tier, name.key_version]))


def check_commitment(key: Secret[bytes], name: KeyName, kc: bytes) -> None:
    """Refuse a key that is not the committed one, in constant time.

    Raises:
        DamagedError: the key does not fit; nothing may be decrypted with it.
    """
    if not hmac.compare_digest(key_commitment(key, name), kc):
        raise DamagedError("the key does not fit this track's commitment: nothing was decrypted")


def rendition_key(key: Secret[bytes], name: KeyName, suite: int, file_salt: bytes) -> Secret[bytes]:
    """Return K_rend of one encryption run."""
    info = encode([_DOMAIN, "rendition", name.track_id, name.tier, name.key_version, suite])
    return Secret(HKDF(hashes.SHA256(), KEY_BYTES, file_salt, info).derive(key.reveal()))


def segment_key(key_rend: bytes, index: int) -> bytes:
    """Return K_seg of one segment, expanded with ``E["marina/v1", "segment", index]``."""
    return _expand(key_rend, _SEGMENT_PREFIX + encoded_index(index))


@lru_cache(maxsize=2048)  # of every rendition up to 512 MiB; longer ones cost a little more
def encoded_index(index: int) -> bytes:
    """Return a segment's index as keys and AADs hold it."""
    return encode(index)


def _expand(key: bytes, info: bytes) -> bytes:
    """Return HKDF-Expand for one block, which is a single HMAC (RFC 5869 §2.3, L = HashLen).

    The one-shot HMAC takes a fifth of the time of an HKDFExpand object, and every segment has a key.
    """
    return hmac.digest(key, info + b"\x01", "sha256")
