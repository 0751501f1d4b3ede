"""The vault: named secrets on disk under one passphrase.

::

    passphrase ──Argon2id(salt)──► KEK ──AES-256-GCM──► master key ──AES-256-GCM──► each item
    recovery words ──► X25519 key ─────HPKE─────────────┘

The associated data binds the master key to the public facts and the Argon2id parameters, and each
item to its name and version, so that parts cannot be swapped. Every change is one durable
replacement of the file. While unlocked the KEK is kept beside the master key, so that a new master
key (crypto-shredding) needs no passphrase. All calls block (unlocking for about 0.35 s): use worker threads.

Keys in memory are bytearrays that ``lock`` overwrites. Python makes copies that it cannot find
again, so this shortens the exposure, it does not end it. Source: design, security §2; RFC 9106.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from marina.secret import Secret
from storage.errors import StorageError, VaultLockedError
from storage.identity.passphrase import check_new_passphrase
from storage.identity.private_file import read_private, write_private
from storage.identity.vault_file import FILE_BYTES_MAX, KdfCost, Sealed, VaultFile, check_name, parse, render
from storage.identity.vault_seal import (
    KEY_BYTES,
    open_item,
    recover_master,
    seal_item,
    unwrap,
    wrap,
    wrap_anew,
    zero,
)

PREVIOUS_MASTER = "previous-master"
"""Item that holds the last master key until all that it sealed elsewhere is sealed anew."""


class Vault:
    """An open or locked vault; safe to use from several threads."""

    def __init__(self, path: Path, file: VaultFile) -> None:
        self._path = path
        self._file = file
        self._kek: bytearray | None = None
        self._master: bytearray | None = None
        self._guard = threading.RLock()

    def __repr__(self) -> str:
        return f"Vault({str(self._path)!r}, {'locked' if self.is_locked else 'unlocked'})"

    @classmethod
    def create(
        cls,
        path: Path,
        passphrase: Secret[str],
        *,
        facts: Mapping[str, str],
        items: Mapping[str, Secret[bytes]],
        recipient: bytes,
        cost: KdfCost | None = None,
    ) -> Vault:
        """Write a new vault and return it unlocked.

        Args:
            path: the file, which must not exist.
            passphrase: at least eight characters.
            facts: public texts, readable while locked.
            items: the first secrets.
            recipient: raw X25519 public key of the recovery words, which can reset the passphrase.
            cost: Argon2id parameters; 64 MiB, 3 passes and 4 lanes unless given.

        Raises:
            WeakPassphraseError: the passphrase is too short.
            StorageError: there is a vault already, or the disk refused.
        """
        check_new_passphrase(passphrase)
        if path.exists():
            raise StorageError(f"{path} holds an identity already: it is never overwritten")
        for name in facts:
            check_name(name)
        master = bytearray(os.urandom(KEY_BYTES))
        sealed = {name: seal_item(master, name, 1, secret.reveal()) for name, secret in items.items()}
        draft = VaultFile(
            facts=dict(facts),
            cost=cost or KdfCost(),
            salt=b"",
            master=Sealed(1, b"", b""),
            items=sealed,
            recipient=recipient,
            recovery=b"",
        )
        kek, file = wrap_anew(master, passphrase, draft)
        vault = cls(path, file)
        vault._kek, vault._master = kek, master
        write_private(path, render(file))
        return vault

    @classmethod
    def open(cls, path: Path) -> Vault:
        """Return the stored vault, locked.

        Raises:
            NotFoundError: there is none.
            NotPermittedError: others may read the file.
            DamagedError: the file is damaged.
            NewerDataError: a newer Marina wrote it.
        """
        return cls(path, parse(read_private(path, limit_bytes=FILE_BYTES_MAX), name=str(path)))

    @property
    def is_locked(self) -> bool:
        """Whether the secrets are out of reach."""
        return self._master is None

    @property
    def facts(self) -> Mapping[str, str]:
        """Public texts; authenticated only once the vault was unlocked."""
        return dict(self._file.facts)

    @property
    def recipient(self) -> bytes:
        """Raw X25519 public key of the recovery words."""
        return self._file.recipient

    def unlock(self, passphrase: Secret[str]) -> None:
        """Open the vault; nothing happens to one that is open, except that the passphrase is checked.

        Raises:
            WrongPassphraseError: it is not the passphrase.
        """
        with self._guard:
            kek, master = unwrap(self._file, passphrase)
            self.lock()
            self._kek, self._master = kek, master

    def reveal(self, name: str, passphrase: Secret[str]) -> Secret[bytes]:
        """Return an item for which the passphrase must be given again, open or locked.

        Raises:
            WrongPassphraseError: it is not the passphrase.
            NotFoundError: there is no such item.
            DamagedError: the item does not open.
        """
        file = self._file
        kek, master = unwrap(file, passphrase)
        try:
            return Secret(open_item(master, name, file))
        finally:
            zero(kek)
            zero(master)

    def lock(self) -> None:
        """Overwrite the keys in memory; idempotent."""
        with self._guard:
            for key in (self._kek, self._master):
                if key is not None:
                    zero(key)
            self._kek = self._master = None

    def get(self, name: str) -> Secret[bytes]:
        """Return an item.

        Raises:
            VaultLockedError: the vault is locked.
            NotFoundError: there is no such item.
            DamagedError: the item does not open.
        """
        with self._guard:
            return Secret(open_item(self._open_master(), name, self._file))

    def put(self, name: str, secret: Secret[bytes]) -> None:
        """Store or replace an item durably.

        Raises:
            VaultLockedError: the vault is locked.
            ValueError: the name or the size is outside its bounds.
            StorageError: the disk refused; the old item is still there.
        """
        with self._guard:
            master = self._open_master()
            known = self._file.items.get(name)
            sealed = seal_item(master, name, known.version + 1 if known else 1, secret.reveal())
            self._replace(replace(self._file, items={**self._file.items, name: sealed}))

    def remove(self, name: str) -> None:
        """Drop an item durably; nothing happens if it is not there. Errors as for ``put``."""
        with self._guard:
            self._open_master()
            kept = {known: sealed for known, sealed in self._file.items.items() if known != name}
            if len(kept) != len(self._file.items):
                self._replace(replace(self._file, items=kept))

    def update(self, *, facts: Mapping[str, str | None], items: Mapping[str, Secret[bytes] | None]) -> None:
        """Change public facts and items together, durably and in one step; None removes.

        Raises:
            VaultLockedError: the vault is locked.
            ValueError: a name or a size is outside its bounds, or the vault would hold too much.
            StorageError: the disk refused; everything is as before.
        """
        with self._guard:
            master = self._open_master()
            known_facts: dict[str, str | None] = {**self._file.facts, **facts}
            sealed = dict(self._file.items)
            for name, secret in items.items():
                if secret is None:
                    sealed.pop(name, None)
                    continue
                before = sealed.get(name)
                version = before.version + 1 if before else 1
                sealed[name] = seal_item(master, name, version, secret.reveal())
            kept = {check_name(name): fact for name, fact in known_facts.items() if fact is not None}
            draft = replace(self._file, facts=kept, items=sealed)
            # The facts are part of what the master key is bound to, so it is sealed anew.
            self._replace(wrap(master, self._open_kek(), draft, version=draft.master.version))

    def item_names(self) -> tuple[str, ...]:
        """Return the names of all items, also while locked."""
        return tuple(sorted(self._file.items))

    def change_passphrase(self, old: Secret[str], new: Secret[str], *, cost: KdfCost | None = None) -> None:
        """Put the master key under another passphrase, with a new salt; open or locked stays as it is.

        Raises:
            WrongPassphraseError: ``old`` is not the passphrase.
            WeakPassphraseError: ``new`` is too short.
            StorageError: the disk refused; the old passphrase holds.
        """
        check_new_passphrase(new)
        with self._guard:
            old_kek, master = unwrap(self._file, old)
            zero(old_kek)
            self._wrap_and_store(master, new, cost)

    def reset_passphrase(self, key: X25519PrivateKey, new: Secret[str]) -> None:
        """Put the master key under a new passphrase with the recovery words' key instead of the old one.

        Raises:
            NotPermittedError: the key belongs to other words.
            WeakPassphraseError: ``new`` is too short.
            DamagedError: the recovery part of the file is damaged or forged.
        """
        check_new_passphrase(new)
        with self._guard:
            master = recover_master(self._file, key)
            for name in self._file.items:  # anybody can seal to the words: only the items prove the key
                open_item(master, name, self._file)
            self._wrap_and_store(master, new, None)

    def master_key(self) -> Secret[bytes]:
        """Return the key that seals the data keys of private scopes; VaultLockedError while locked."""
        with self._guard:
            return Secret(bytes(self._open_master()))

    def previous_master_key(self) -> Secret[bytes] | None:
        """Return the key before an unfinished ``rotate_master``, else None; VaultLockedError while locked."""
        with self._guard:
            master = self._open_master()
            if PREVIOUS_MASTER not in self._file.items:
                return None
            return Secret(open_item(master, PREVIOUS_MASTER, self._file))

    def rotate_master(self) -> Secret[bytes]:
        """Make a new master key, seal every item under it in one step, and return it.

        The old key stays readable as ``previous_master_key`` until ``finish_rotation``: whoever seals
        other files under the master key seals them anew in between, and a crash loses nothing.

        Raises:
            VaultLockedError: the vault is locked.
            StorageError: a rotation is unfinished, or the disk refused; the old key holds.
        """
        with self._guard:
            old = self._open_master()
            if PREVIOUS_MASTER in self._file.items:
                raise StorageError("the last key rotation is unfinished: finish it first")
            new = bytearray(os.urandom(KEY_BYTES))
            items = {
                name: seal_item(new, name, sealed.version, open_item(old, name, self._file))
                for name, sealed in self._file.items.items()
            }
            items[PREVIOUS_MASTER] = seal_item(new, PREVIOUS_MASTER, 1, bytes(old))
            draft = replace(self._file, items=items)
            self._replace(wrap(new, self._open_kek(), draft, version=draft.master.version + 1))
            self._master = new
            zero(old)
            return Secret(bytes(new))

    def finish_rotation(self) -> None:
        """Forget the previous master key: what only it opened is gone. Errors as for ``put``."""
        self.remove(PREVIOUS_MASTER)

    def _wrap_and_store(self, master: bytearray, new: Secret[str], cost: KdfCost | None) -> None:
        """Seal the master key under a new passphrase; stays open or locked as it is."""
        kek, file = wrap_anew(master, new, replace(self._file, cost=cost or self._file.cost))
        zero(master)
        self._replace(file)
        if self._kek is None:
            zero(kek)
        else:
            zero(self._kek)
            self._kek = kek

    def _replace(self, file: VaultFile) -> None:
        write_private(self._path, render(file))
        self._file = file

    def _open_master(self) -> bytearray:
        if self._master is None:
            raise VaultLockedError("the vault is locked: run 'marina key unlock' first")
        return self._master

    def _open_kek(self) -> bytearray:
        if self._kek is None:
            raise VaultLockedError("the vault is locked: run 'marina key unlock' first")
        return self._kek
