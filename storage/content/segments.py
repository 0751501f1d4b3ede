"""Sealing and opening segments: one AEAD call each, bound to track, tier, run, place and end.

The last segment is sealed as the last, so a cut file is noticed; the index is in nonce and AAD, so
segments cannot change places; the file salt is fresh in every run, so no key-nonce pair recurs.
Source: design, security §1.3 and architecture §13.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from marina.codec import encode
from marina.errors import DamagedError, MalformedError
from marina.ids import TrackId
from marina.secret import Secret
from storage.content.keys import (
    KeyName,
    check_commitment,
    encoded_index,
    key_commitment,
    rendition_key,
    segment_key,
)
from storage.content.layout import TAG_BYTES

SUITE_AES_256_GCM = 1
SUITE_CHACHA20_POLY1305 = 2
_AEADS: dict[int, type[AESGCM | ChaCha20Poly1305]] = {
    SUITE_AES_256_GCM: AESGCM,
    SUITE_CHACHA20_POLY1305: ChaCha20Poly1305,
}
FILE_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class CipherRun:
    """The public facts of one encryption run.

    Attributes:
        track_id: the track.
        tier: 0 preview, 1 stream, 2 original.
        key_version: version of the content key.
        suite: 1 AES-256-GCM, 2 ChaCha20-Poly1305.
        file_salt: 32 random bytes, never used for a second run.
    """

    track_id: TrackId
    tier: int
    key_version: int
    suite: int
    file_salt: bytes

    def __post_init__(self) -> None:
        if self.suite not in _AEADS:
            raise MalformedError(f"cipher suite {self.suite} is not known: this needs a newer Marina")
        if len(self.file_salt) != FILE_SALT_BYTES:
            raise MalformedError(f"a file salt has {FILE_SALT_BYTES} bytes")

    @property
    def key_name(self) -> KeyName:
        """The content key that this run is under."""
        return KeyName(self.track_id, self.tier, self.key_version)

    def nonce(self, index: int, *, is_last: bool) -> bytes:
        """Return ``0x00000000 ‖ uint56_be(index) ‖ last``."""
        return bytes(4) + index.to_bytes(7) + bytes((is_last,))

    def aad(self, index: int, *, is_last: bool) -> bytes:
        """Return E["marina/v1/seg", track_id, tier, suite, file_salt, index, last]; the tag covers it."""
        prefix = _aad_prefix(self.track_id, self.tier, self.suite, self.file_salt)
        return prefix + encoded_index(index) + encoded_index(int(is_last))


@lru_cache(maxsize=64)
def _aad_prefix(track_id: TrackId, tier: int, suite: int, file_salt: bytes) -> bytes:
    """Return what all AADs of one run begin with: the array without its last two items."""
    whole = encode(["marina/v1/seg", track_id, tier, suite, file_salt, 0, 0])
    return whole[: -2 * len(encode(0))]


class SegmentSealer:
    """Encrypts the segments of one rendition, each exactly once."""

    def __init__(self, run: CipherRun, key: Secret[bytes], count: int) -> None:
        self._run = run
        self._key_rend = rendition_key(key, run.key_name, run.suite, run.file_salt).reveal()
        self._count = count
        self.kc = key_commitment(key, run.key_name)

    def seal_into(self, index: int, plaintext: memoryview | bytes | bytearray, out: memoryview) -> None:
        """Write ciphertext and tag of segment ``index`` into ``out``, 16 bytes longer than the input."""
        is_last = index == self._count - 1
        aead = _AEADS[self._run.suite](segment_key(self._key_rend, index))
        aead.encrypt_into(
            self._run.nonce(index, is_last=is_last), plaintext, self._run.aad(index, is_last=is_last), out
        )

    def seal(self, index: int, plaintext: memoryview | bytes | bytearray) -> bytes:
        """Return ciphertext and tag of segment ``index``."""
        out = bytearray(len(plaintext) + TAG_BYTES)
        self.seal_into(index, plaintext, memoryview(out))
        return bytes(out)


class SegmentOpener:
    """Decrypts segments of one rendition, in any order, after the key was checked once."""

    def __init__(self, run: CipherRun, key: Secret[bytes], kc: bytes, count: int) -> None:
        """Check the key against its commitment.

        Raises:
            DamagedError: the key is not the committed one.
        """
        check_commitment(key, run.key_name, kc)
        self._run = run
        self._key_rend = rendition_key(key, run.key_name, run.suite, run.file_salt).reveal()
        self._count = count

    def open_segment(self, index: int, ciphertext: bytes | bytearray | memoryview) -> bytes:
        """Return the plaintext of segment ``index``.

        Raises:
            DamagedError: changed, cut, moved to another place, or of another rendition.
        """
        is_last = index == self._count - 1
        aead = _AEADS[self._run.suite](segment_key(self._key_rend, index))
        try:
            return aead.decrypt(
                self._run.nonce(index, is_last=is_last),
                ciphertext,
                self._run.aad(index, is_last=is_last),
            )
        except InvalidTag as err:
            raise DamagedError(
                f"segment {index} does not decrypt: it was changed or belongs elsewhere"
            ) from err
