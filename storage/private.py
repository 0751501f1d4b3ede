"""Private records: sealed one by one under a key per scope, erased by forgetting that key.

A value is ``0x01 ‖ nonce12 ‖ AES-256-GCM(DEK of the scope, E[key, value], aad = db_id ‖ stored key)``,
so no record can take another's place. LevelDB shows its keys to whoever reads the disk, so they tell
only the scope: ``scope ‖ HMAC-SHA256(index key of the scope, key)[:16]`` for records with a name,
``scope ‖ u64`` for logs. LevelDB keeps deleted values for long; only ``shred`` erases: the scope's DEK
is dropped and the others are sealed under a new master key, so that old copies of the key file, too,
are under a key that no longer exists. Source: design, security §3.
"""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path

import trio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from marina.codec import decode, encode
from marina.errors import DamagedError, MalformedError
from storage.errors import StorageError
from storage.file_ops import FileOps, PosixFileOps
from storage.keyring import Keyring, MasterKeys, Scope, ScopeKeys
from storage.kv import SCAN_LIMIT, KeyValueStore, Table

VALUE_BYTES_MAX = 1024 * 1024
KEY_BYTES_MAX = 1024
_VERSION = b"\x01"
_NONCE_BYTES = 12
_BLIND_BYTES = 16
_SEQ_BYTES = 8
_SHRED_PAGE = 500


class PrivateStore:
    """Sealed records of one node; unlocked with the vault's master key."""

    def __init__(
        self,
        *,
        kv: KeyValueStore,
        deks_path: Path,
        masters: MasterKeys,
        ops: FileOps | None = None,
    ) -> None:
        """Wire the store; no I/O.

        Args:
            kv: the node's state.
            deks_path: the file of sealed scope keys.
            masters: the vault.
            ops: file calls.
        """
        self._kv = kv
        self._named = Table(kv, "private")
        self._logs = Table(kv, "private-log")
        self._keyring = Keyring(deks_path, masters, ops or PosixFileOps())
        self._lock = trio.Lock()
        self._next_seq: dict[Scope, int] = {}

    @property
    def is_unlocked(self) -> bool:
        """Whether records can be read."""
        return self._keyring.is_unlocked

    async def unlock(self) -> None:
        """Open the scope keys; a change of the master key that a crash interrupted is finished.

        Raises:
            VaultLockedError: the vault is locked.
            DamagedError: the key file is damaged or sealed under another master key.
        """
        async with self._lock:
            await trio.to_thread.run_sync(self._keyring.unlock)

    def lock(self) -> None:
        """Forget all keys; everything but ``unlock`` raises VaultLockedError from now on."""
        self._keyring.lock()
        self._next_seq.clear()

    async def put(self, scope: Scope, key: bytes, value: bytes) -> None:
        """Store a named record durably.

        Raises:
            VaultLockedError: the vault is locked.
            ValueError: key or value is too long.
        """
        if len(key) > KEY_BYTES_MAX or len(value) > VALUE_BYTES_MAX:
            raise ValueError(f"a private record has at most {KEY_BYTES_MAX} + {VALUE_BYTES_MAX} bytes")
        async with self._lock:
            keys = await self._keys(scope)
            stored = _blind(keys, scope, key)
            await self._named.put(stored, self._seal(keys, stored, key, value))

    async def get(self, scope: Scope, key: bytes) -> bytes | None:
        """Return a named record's value.

        Raises:
            VaultLockedError: the vault is locked.
            DamagedError: the record was changed on disk.
        """
        keys = self._keyring.find(scope)
        if keys is None:
            return None
        stored = _blind(keys, scope, key)
        sealed = await self._named.get(stored)
        return None if sealed is None else self._open(keys, stored, sealed)[1]

    async def delete(self, scope: Scope, key: bytes) -> None:
        """Remove a named record; its sealed bytes may stay on the disk until the scope is shredded."""
        keys = self._keyring.find(scope)
        if keys is not None:
            await self._named.delete(_blind(keys, scope, key))

    async def items(
        self, scope: Scope, *, after: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return (key, value) of named records, in no meaningful but a stable order.

        Args:
            scope: whose.
            after: key of the last record of the page before; empty for the first page.
            limit: most records of this page.
        """
        keys = self._keyring.find(scope)
        if keys is None:
            return []
        start = _blind(keys, scope, after) if after else b""
        rows = await self._named.scan(bytes((scope,)), after=start, limit=limit)
        return [self._open(keys, stored, sealed) for stored, sealed in rows]

    async def append(self, scope: Scope, value: bytes) -> int:
        """Add a record to the scope's log durably; return its number, which only grows.

        Raises:
            VaultLockedError: the vault is locked.
            ValueError: the value is too long.
        """
        if len(value) > VALUE_BYTES_MAX:
            raise ValueError(f"a private record has at most {VALUE_BYTES_MAX} bytes")
        async with self._lock:
            keys = await self._keys(scope)
            seq = self._next_seq.get(scope)
            if seq is None:
                last = await self._logs.scan_back(bytes((scope,)), limit=1)
                seq = int.from_bytes(last[0][0][1:]) + 1 if last else 1
            stored = _log_key(scope, seq)
            await self._logs.put(stored, self._seal(keys, stored, b"", value))
            self._next_seq[scope] = seq + 1
        return seq

    async def log(self, scope: Scope, *, after: int = 0, limit: int = SCAN_LIMIT) -> list[tuple[int, bytes]]:
        """Return (number, value) of the scope's log, oldest first, behind the number ``after``."""
        keys = self._keyring.find(scope)
        if keys is None:
            return []
        start = _log_key(scope, after) if after else b""
        rows = await self._logs.scan(bytes((scope,)), after=start, limit=limit)
        return [(int.from_bytes(stored[1:]), self._open(keys, stored, sealed)[1]) for stored, sealed in rows]

    async def log_back(
        self, scope: Scope, *, before: int | None = None, limit: int = SCAN_LIMIT
    ) -> list[tuple[int, bytes]]:
        """Return (number, value) of the scope's log, newest first, ahead of the number ``before``."""
        keys = self._keyring.find(scope)
        if keys is None:
            return []
        stop = b"" if before is None else _log_key(scope, before)
        rows = await self._logs.scan_back(bytes((scope,)), before=stop, limit=limit)
        return [(int.from_bytes(stored[1:]), self._open(keys, stored, sealed)[1]) for stored, sealed in rows]

    async def shred(self, scope: Scope) -> None:
        """Make everything in a scope unreadable for good, in every copy of this disk.

        When this returns, the old scope key exists nowhere: it is gone from the key file, and old
        copies of that file are sealed under a master key that was replaced. An old copy of both vault
        and key file still opens with the passphrase of that time; no software can change that.

        Raises:
            VaultLockedError: the vault is locked.
            StorageError: the key file or the vault could not be written; calling again finishes.
        """
        async with self._lock:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._keyring.shred, scope)
            self._next_seq.pop(scope, None)
            await self._delete_all(scope)

    async def _delete_all(self, scope: Scope) -> None:
        """Hygiene: the records are unreadable already."""
        for table in (self._named, self._logs):
            while rows := await table.scan(bytes((scope,)), limit=_SHRED_PAGE):
                await table.write(dict.fromkeys((key for key, _ in rows)))
            await self._kv.compact(table.key(bytes((scope,))))

    async def _keys(self, scope: Scope) -> ScopeKeys:
        keys = self._keyring.find(scope)
        return keys if keys is not None else await trio.to_thread.run_sync(self._keyring.add, scope)

    def _seal(self, keys: ScopeKeys, stored: bytes, key: bytes, value: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(keys.data_key).encrypt(nonce, encode([key, value]), self._keyring.db_id + stored)
        return _VERSION + nonce + sealed

    def _open(self, keys: ScopeKeys, stored: bytes, sealed: bytes) -> tuple[bytes, bytes]:
        if sealed[:1] != _VERSION:
            raise StorageError("a private record has a format of a newer Marina: install that one again")
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            plain = AESGCM(keys.data_key).decrypt(nonce, body, self._keyring.db_id + stored)
            record = decode(plain, limit_bytes=KEY_BYTES_MAX + VALUE_BYTES_MAX + 64)
        except (InvalidTag, ValueError, MalformedError) as err:
            raise DamagedError("a private record was damaged on disk: restore a backup") from err
        if not isinstance(record, list) or [type(each) for each in record] != [bytes, bytes]:
            raise DamagedError("a private record was damaged on disk: restore a backup")
        key, value = record
        assert isinstance(key, bytes)
        assert isinstance(value, bytes)
        return key, value


def _blind(keys: ScopeKeys, scope: Scope, key: bytes) -> bytes:
    return bytes((scope,)) + hmac.digest(keys.index_key, key, "sha256")[:_BLIND_BYTES]


def _log_key(scope: Scope, seq: int) -> bytes:
    return bytes((scope,)) + seq.to_bytes(_SEQ_BYTES)
