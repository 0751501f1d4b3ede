"""The device key: random Ed25519, one for each device, the source of its libp2p peer id.

It lies beside the vault in its own file, readable by the owner alone but not sealed by the
passphrase, so that a locked node can start and serve ciphertext. What a thief of the file gains ends
with the binding: 90 days, or the moment the owner raises the epoch. It signs no payment and opens no
private data.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from marina.errors import DamagedError, MalformedError
from marina.schema import Bytes32, decode_record, encode_record, record
from marina.secret import Secret
from storage.errors import StorageError
from storage.identity.private_file import read_private, write_private

SEED_BYTES = 32
_FILE_BYTES_MAX = 256


@record("marina/device/1")
@dataclass(frozen=True, slots=True, repr=False)
class _DeviceFile:
    """Contents of ``device.key``; the public key detects damage."""

    seed: Bytes32
    public_key: Bytes32


class DeviceKey:
    """An Ed25519 key pair that signs for this device (a ``marina.signing.Signer``)."""

    def __init__(self, seed: Secret[bytes]) -> None:
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed.reveal())
        self._public_key = self._key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"DeviceKey({self._public_key.hex()})"

    @property
    def public_key(self) -> bytes:
        """The raw 32-byte public key."""
        return self._public_key

    @property
    def seed(self) -> Secret[bytes]:
        """The raw 32-byte seed, for the libp2p host."""
        return self._seed

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of a message."""
        return self._key.sign(message)


def create_device(path: Path) -> DeviceKey:
    """Make a random device key and store it with mode 0600.

    Raises:
        StorageError: there is a device key already, or the disk refused.
    """
    if path.exists():
        raise StorageError(f"{path} holds this device's key already: it is never replaced")
    device = DeviceKey(Secret(os.urandom(SEED_BYTES)))
    write_private(path, encode_record(_DeviceFile(device.seed.reveal(), device.public_key)))
    return device


def load_device(path: Path) -> DeviceKey:
    """Return the stored device key.

    Raises:
        NotFoundError: there is none.
        NotPermittedError: others may read it.
        DamagedError: the file is damaged.
    """
    data = read_private(path, limit_bytes=_FILE_BYTES_MAX)
    try:
        stored = decode_record(_DeviceFile, data)
    except MalformedError as err:
        raise _damaged(path) from err
    device = DeviceKey(Secret(stored.seed))
    if device.public_key != stored.public_key:
        raise _damaged(path)
    return device


def _damaged(path: Path) -> DamagedError:
    return DamagedError(
        f"{path} is damaged: move it away and unlock the vault, then this device gets a new key"
    )
