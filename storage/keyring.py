"""The keys of the private scopes, sealed under the vault's master key in one small file.

Each scope has a random data key (DEK). The file is replaced in one step, never changed in place. The
vault keeps the previous master key until the file is sealed under the new one, so that a crash in
between loses nothing; the next unlock finishes the change.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from marina.codec import encode
from marina.errors import DamagedError, MalformedError
from marina.schema import U8, Bytes16, Size, decode_record, encode_record, record
from marina.secret import Secret
from storage.errors import VaultLockedError
from storage.file_ops import FileOps, replace_file, translated

_DEK_BYTES = 32
_NONCE_BYTES = 12
_FILE_BYTES_MAX = 64 * 1024
_SCOPES_MAX = 255


class Scope(IntEnum):
    """What is shredded together; the number is the first byte of the stored keys."""

    HISTORY = 1
    PLAYLISTS = 2
    SOCIAL = 3
    CONTENT_KEYS = 4
    RECOMMENDATIONS = 5
    CREDENTIALS = 6


@record(None)
@dataclass(frozen=True, slots=True)
class _WrappedKey:
    scope: U8
    nonce: Annotated[bytes, Size(_NONCE_BYTES, _NONCE_BYTES)]
    sealed: Annotated[bytes, Size(_DEK_BYTES + 16, _DEK_BYTES + 16)]


@record("marina/deks/1")
@dataclass(frozen=True, slots=True)
class _KeyFile:
    db_id: Bytes16
    master_id: Bytes16
    keys: Annotated[tuple[_WrappedKey, ...], Size(0, _SCOPES_MAX)]


@dataclass(frozen=True, slots=True, repr=False)
class ScopeKeys:
    """Keys of one scope: ``data_key`` seals records, ``index_key`` blinds their names."""

    data_key: bytes
    index_key: bytes


class MasterKeys(Protocol):
    """The vault as seen from here; calls may block."""

    def master_key(self) -> Secret[bytes]:
        """Return the master key; VaultLockedError while locked."""
        ...

    def previous_master_key(self) -> Secret[bytes] | None:
        """Return the key before an unfinished rotation."""
        ...

    def rotate_master(self) -> Secret[bytes]:
        """Durably replace the master key and return the new one; the old one stays as previous."""
        ...

    def finish_rotation(self) -> None:
        """Durably forget the previous key."""
        ...


class Keyring:
    """Scope keys in memory while unlocked, and their file."""

    def __init__(self, path: Path, masters: MasterKeys, ops: FileOps) -> None:
        self._path = path
        self._masters = masters
        self._ops = ops
        self._master: Secret[bytes] | None = None
        self._db_id = b""
        self._deks: dict[Scope, bytes] = {}
        self._keys: dict[Scope, ScopeKeys] = {}

    @property
    def is_unlocked(self) -> bool:
        """Whether the keys are in memory."""
        return self._master is not None

    @property
    def db_id(self) -> bytes:
        """Sixteen random bytes that bind records to this database."""
        self._need_master()
        return self._db_id

    def unlock(self) -> None:
        """Read the key file, or start one, and finish an interrupted change of the master key; blocks.

        Raises:
            VaultLockedError: the vault is locked.
            DamagedError: the file is damaged or sealed under another master key.
            StorageError: it cannot be read or written.
        """
        master, previous = self._masters.master_key(), self._masters.previous_master_key()
        key_file = self._read()
        if key_file is None:
            self._db_id, self._deks = secrets.token_bytes(16), {}
            self._write(self._deks, master)
        else:
            is_old = previous is not None and key_file.master_id == _master_id(previous)
            self._db_id = key_file.db_id
            self._deks = _unwrap(key_file, previous if previous is not None and is_old else master)
        self._master = master
        self._keys = {scope: _derive(dek) for scope, dek in self._deks.items()}
        if previous is not None:
            self._write(self._deks, master)
            self._masters.finish_rotation()

    def lock(self) -> None:
        """Forget all keys."""
        self._master = None
        self._deks, self._keys = {}, {}

    def find(self, scope: Scope) -> ScopeKeys | None:
        """Return a scope's keys, None if it has none yet; VaultLockedError while locked."""
        self._need_master()
        return self._keys.get(scope)

    def add(self, scope: Scope) -> ScopeKeys:
        """Return a scope's new keys, written down durably before they seal anything; blocks."""
        master = self._need_master()
        dek = secrets.token_bytes(_DEK_BYTES)
        self._write({**self._deks, scope: dek}, master)
        self._deks[scope] = dek
        self._keys[scope] = _derive(dek)
        return self._keys[scope]

    def shred(self, scope: Scope) -> None:
        """Drop a scope's key and seal the others under a new master key; blocks.

        Raises:
            VaultLockedError: the vault is locked.
            StorageError: vault or file could not be written; calling again finishes.
        """
        master = self._need_master()
        if self._masters.previous_master_key() is not None:
            self._write(self._deks, master)
            self._masters.finish_rotation()
        self._master = self._masters.rotate_master()
        remaining = {each: dek for each, dek in self._deks.items() if each is not scope}
        self._write(remaining, self._master)
        self._deks = remaining
        self._keys.pop(scope, None)
        self._masters.finish_rotation()

    def _need_master(self) -> Secret[bytes]:
        if self._master is None:
            raise VaultLockedError("the vault is locked: unlock it with 'marina unlock'")
        return self._master

    def _read(self) -> _KeyFile | None:
        with translated(f"read {self._path}"):
            try:
                with self._path.open("rb") as file:
                    data = file.read(_FILE_BYTES_MAX + 1)
            except FileNotFoundError:
                return None
        try:
            return decode_record(_KeyFile, data, limit_bytes=_FILE_BYTES_MAX)
        except MalformedError as err:
            raise DamagedError(f"{self._path} is damaged: restore a backup") from err

    def _write(self, deks: dict[Scope, bytes], master: Secret[bytes]) -> None:
        wrapped = []
        for scope, dek in sorted(deks.items()):
            nonce = secrets.token_bytes(_NONCE_BYTES)
            sealed = AESGCM(master.reveal()).encrypt(nonce, dek, _wrap_aad(self._db_id, scope))
            wrapped.append(_WrappedKey(int(scope), nonce, sealed))
        key_file = _KeyFile(self._db_id, _master_id(master), tuple(wrapped))
        replace_file(self._ops, self._path, encode_record(key_file))


def _unwrap(key_file: _KeyFile, master: Secret[bytes]) -> dict[Scope, bytes]:
    deks: dict[Scope, bytes] = {}
    for each in key_file.keys:
        try:
            scope = Scope(each.scope)
            aad = _wrap_aad(key_file.db_id, scope)
            deks[scope] = AESGCM(master.reveal()).decrypt(each.nonce, each.sealed, aad)
        except (InvalidTag, ValueError) as err:
            raise DamagedError(
                "the keys of the private data do not open with this vault: restore vault and keys from "
                "the same backup"
            ) from err
    return deks


def _wrap_aad(db_id: bytes, scope: Scope) -> bytes:
    return encode(["marina/v1/dek", db_id, int(scope)])


def _master_id(master: Secret[bytes]) -> bytes:
    """Return a name of a master key that tells nothing about it."""
    return hashlib.sha256(b"marina/v1/master-id" + master.reveal()).digest()[:16]


def _derive(dek: bytes) -> ScopeKeys:
    index_key = HKDFExpand(SHA256(), 32, b"marina/v1/private-index").derive(dek)
    return ScopeKeys(dek, index_key)
