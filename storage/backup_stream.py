r"""A sealed stream: what is written comes back whole and in order, or DamagedError.

::

    file   = "marina-backup\n" ‖ u32be length of header ‖ header ‖ sha256(header) ‖ chunks
    header = E["marina/backup/1", created_s, account(20), recipient(32), sealed_key(80)]
    chunk  = AES-256-GCM(file_key, 0x00000000 ‖ u56be index ‖ last(0|1), 64 KiB of plaintext, header digest)

The random file key is sealed by HPKE (X25519, HKDF-SHA256, AES-256-GCM) to the public backup key, so
that a locked node can write backups and only the recovery words open them. The last chunk is shorter
or equal and has last = 1, so that a cut at any place shows. Memory is bounded by two chunks.
Source: RFC 9180; Hoang, Reyhanitabar, Rogaway, Vizár 2015 (STREAM).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from marina.codec import encode
from marina.errors import DamagedError, MalformedError, NotPermittedError
from marina.ids import Account, account_text
from marina.schema import U64, Bytes20, Bytes32, Size, decode_record, encode_record, record

MAGIC = b"marina-backup\n"
CHUNK_BYTES = 64 * 1024
_TAG_BYTES = 16
_KEY_BYTES = 32
_DIGEST_BYTES = 32
_SEALED_KEY_BYTES = 32 + _KEY_BYTES + _TAG_BYTES
_HEADER_BYTES_MAX = 512
_HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@record("marina/backup/1")
@dataclass(frozen=True, slots=True)
class BackupHeader:
    """The readable start of a backup.

    Attributes:
        created_s: Unix seconds, UTC.
        account: whose backup it is.
        recipient: raw X25519 public key that the file key is sealed to.
        sealed_key: HPKE output.
    """

    created_s: U64
    account: Bytes20
    recipient: Bytes32
    sealed_key: Annotated[bytes, Size(_SEALED_KEY_BYTES, _SEALED_KEY_BYTES)]


class SealedWriter:
    """Writes a backup's header at once and its chunks as they fill."""

    def __init__(self, file: BinaryIO, *, created_s: int, account: Account, recipient: bytes) -> None:
        file_key = os.urandom(_KEY_BYTES)
        sealed_key = _HPKE.encrypt(
            file_key, X25519PublicKey.from_public_bytes(recipient), info=_key_info(created_s, account)
        )
        header = encode_record(BackupHeader(created_s, account, recipient, sealed_key))
        self.header_digest = hashlib.sha256(header).digest()
        self._file = file
        self._aead = AESGCM(file_key)
        self._pending = bytearray()
        self._index = 0
        file.write(MAGIC + len(header).to_bytes(4) + header + self.header_digest)

    def write(self, data: bytes) -> None:
        """Append plaintext; OSError when the disk refuses."""
        self._pending += data
        while len(self._pending) > CHUNK_BYTES:
            self._seal(bytes(self._pending[:CHUNK_BYTES]), is_last=False)
            del self._pending[:CHUNK_BYTES]

    def finish(self) -> None:
        """Write the last chunk; nothing may follow."""
        self._seal(bytes(self._pending), is_last=True)
        self._pending.clear()

    def _seal(self, plaintext: bytes, *, is_last: bool) -> None:
        self._file.write(self._aead.encrypt(_nonce(self._index, is_last), plaintext, self.header_digest))
        self._index += 1


class SealedReader:
    """Reads a backup; every byte that it returns was authenticated."""

    def __init__(self, file: BinaryIO, *, account: Account, key: X25519PrivateKey) -> None:
        """Read the header and open the file key.

        Raises:
            DamagedError: the header is damaged, or it is no backup.
            NotPermittedError: it is the backup of another account.
        """
        self.header, self.header_digest = read_header(file)
        if self.header.account != account or self.header.recipient != key.public_key().public_bytes_raw():
            raise NotPermittedError(
                f"this is the backup of {account_text(Account(self.header.account))}, "
                f"these words are those of {account_text(account)}"
            )
        try:
            file_key = _HPKE.decrypt(
                self.header.sealed_key, key, info=_key_info(self.header.created_s, account)
            )
            self._aead = AESGCM(file_key)
        except (InvalidTag, ValueError) as err:
            raise _damaged("its key does not open") from err
        self._file = file
        self._ahead = file.read(CHUNK_BYTES + _TAG_BYTES)
        self._plain = bytearray()
        self._index = 0
        self._is_done = False

    def read_exactly(self, length: int) -> bytes:
        """Return the next plaintext bytes; DamagedError when they are damaged or missing."""
        while len(self._plain) < length:
            self._open_next()
        data = bytes(self._plain[:length])
        del self._plain[:length]
        return data

    def expect_end(self) -> None:
        """Return if nothing is left; DamagedError otherwise."""
        if self._plain or not self._is_done:
            raise _damaged("something follows its end")

    def _open_next(self) -> None:
        if self._is_done:
            raise _damaged("it is cut short")
        sealed, self._ahead = self._ahead, self._file.read(CHUNK_BYTES + _TAG_BYTES)
        self._is_done = not self._ahead
        try:
            self._plain += self._aead.decrypt(_nonce(self._index, self._is_done), sealed, self.header_digest)
        except (InvalidTag, ValueError) as err:
            raise _damaged(f"at byte {self._index * (CHUNK_BYTES + _TAG_BYTES)} of its content") from err
        self._index += 1


def read_header(file: BinaryIO) -> tuple[BackupHeader, bytes]:
    """Return (header, its sha256) from the start of a backup; needs no key.

    Raises:
        DamagedError: the header is damaged, or it is no backup.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise DamagedError("this is no backup of Marina, or its start is damaged")
    length = int.from_bytes(file.read(4))
    if not 0 < length <= _HEADER_BYTES_MAX:
        raise _damaged("its header does not follow the format")
    data, digest = file.read(length), file.read(_DIGEST_BYTES)
    if hashlib.sha256(data).digest() != digest:
        raise _damaged("its header does not fit its checksum")
    try:
        return decode_record(BackupHeader, data, limit_bytes=_HEADER_BYTES_MAX), digest
    except MalformedError as err:
        raise _damaged("its header does not follow the format") from err


def _damaged(where: str) -> DamagedError:
    return DamagedError(f"the backup is damaged ({where}): use another of the kept backups")


def _key_info(created_s: int, account: bytes) -> bytes:
    return encode(["marina/v1", "backup", created_s, account])


def _nonce(index: int, is_last: bool) -> bytes:
    return bytes(4) + index.to_bytes(7) + bytes((is_last,))
