"""Keys that come from the recovery words.

::

    seed ── BIP-32 secp256k1  m/44'/60'/0'/0/0 ──► account key (any Ethereum wallet finds the same)
      └──── SLIP-10 ed25519   m/7741'/0'/0'    ──► content root, of which all track keys are made
      │                                             └──HKDF──► X25519 key of a guardian or delegate
      └──── SLIP-10 ed25519   m/7741'/1'/0'    ──► backup key ──HKDF──► X25519 key of backups

Source: BIP-32, BIP-44, SLIP-10 (package ``slip10``), RFC 5869, RFC 7748.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from marina.codec import encode
from marina.secret import Secret

ACCOUNTS_PATH = "m/44'/60'/0'/0"
ACCOUNT_PATH = f"{ACCOUNTS_PATH}/0"
CONTENT_PATH = "m/7741'/0'/0'"
BACKUP_PATH = "m/7741'/1'/0'"
KEY_BYTES = 32
INDEX_MAX = 2**31 - 1
"""Largest index of a BIP-32 key that is not hardened."""


@dataclass(frozen=True, slots=True)
class DerivedKeys:
    """All keys of one set of words, 32 bytes each."""

    account_key: Secret[bytes]
    content_root: Secret[bytes]
    backup_key: Secret[bytes]


def derive_keys(seed: Secret[bytes]) -> DerivedKeys:
    """Return the keys of a BIP-39 seed."""
    return DerivedKeys(
        account_key=_derive(seed, "secp256k1", ACCOUNT_PATH),
        content_root=_derive(seed, "ed25519", CONTENT_PATH),
        backup_key=_derive(seed, "ed25519", BACKUP_PATH),
    )


def derive_account_key(seed: Secret[bytes], index: int) -> Secret[bytes]:
    """Return the 32-byte key of the account with an index; 0 is the node's own.

    Raises:
        ValueError: the index is outside 0 … 2**31-1.
    """
    if not 0 <= index <= INDEX_MAX:
        raise ValueError(f"the index of an account is from 0 to {INDEX_MAX}, not {index}")
    return _derive(seed, "secp256k1", f"{ACCOUNTS_PATH}/{index}")


def backup_private_key(backup_key: Secret[bytes]) -> X25519PrivateKey:
    """Return the X25519 key that opens backups: HKDF-SHA256 of the backup key, no salt."""
    info = encode(["marina/v1", "backup-x25519"])
    return X25519PrivateKey.from_private_bytes(
        HKDF(hashes.SHA256(), KEY_BYTES, None, info).derive(backup_key.reveal())
    )


def key_holder_key(content_root: Secret[bytes]) -> X25519PrivateKey:
    """Return the X25519 key with which a guardian or delegate opens what is sealed to it.

    From the words, so that a guardian who comes back from them has lost nothing: HKDF-SHA256, no salt.
    """
    info = encode(["marina/v1", "key-holder-x25519"])
    return X25519PrivateKey.from_private_bytes(
        HKDF(hashes.SHA256(), KEY_BYTES, None, info).derive(content_root.reveal())
    )


def _derive(seed: Secret[bytes], curve: str, path: str) -> Secret[bytes]:
    from slip10 import SLIP10

    key: bytes = SLIP10.from_seed(seed.reveal(), curve_name=curve).get_privkey_from_path(path)
    return Secret(key)
