"""Errors of everything on disk.

::

    MarinaError
    ├── NotFoundError
    │   └── BlockNotFoundError
    ├── DamagedError
    │   └── BlockDamagedError
    ├── NotPermittedError
    │   └── VaultLockedError, WrongPassphraseError
    └── StorageError
        ├── QuotaExceededError
        ├── DiskFullError
        ├── HomeInUseError
        └── NewerDataError
"""

from __future__ import annotations

from marina.errors import DamagedError, MarinaError, NotFoundError, NotPermittedError


class StorageError(MarinaError):
    """Something on this disk failed."""

    code = "storage"


class BlockNotFoundError(NotFoundError):
    """The block is not in this store."""

    code = "block_not_found"


class BlockDamagedError(DamagedError):
    """The stored bytes do not hash to their CID; they are never returned."""

    code = "block_damaged"


class QuotaExceededError(StorageError):
    """The bytes do not fit the storage quota; nothing was written."""

    code = "quota"
    http_status = 507


class DiskFullError(StorageError):
    """The disk has no room; the node keeps playing and stops accepting."""

    code = "disk_full"
    http_status = 507


class HomeInUseError(StorageError):
    """Another daemon works on this home."""

    code = "home_in_use"


class NewerDataError(StorageError):
    """The data was written by a newer Marina; it is left as it is."""

    code = "newer_data"


class VaultLockedError(NotPermittedError):
    """The vault is locked: unlock it with the passphrase first."""

    code = "vault_locked"


class WrongPassphraseError(NotPermittedError):
    """The passphrase does not open the vault."""

    code = "wrong_passphrase"
