"""What the vault seals and how: master key under a passphrase, items under the master key.

AES-256-GCM throughout, with fresh random nonces. The recovery part is HPKE, so
that a new master key is sealed to the words without the words. Source: NIST SP 800-38D; RFC 9106
(Argon2id); RFC 9180 (HPKE).
"""

from __future__ import annotations

import os
from dataclasses import replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from marina.codec import encode
from marina.errors import DamagedError, NotFoundError, NotPermittedError
from marina.secret import Secret
from storage.errors import WrongPassphraseError
from storage.identity.passphrase import passphrase_bytes
from storage.identity.vault_file import (
    FORMAT,
    ITEM_BYTES_MAX,
    NONCE_BYTES,
    SALT_BYTES,
    KdfCost,
    Sealed,
    VaultFile,
    check_name,
)

KEY_BYTES = 32
_HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _derive_kek(passphrase: Secret[str], salt: bytes, cost: KdfCost) -> bytearray:
    kdf = Argon2id(
        salt=salt,
        length=KEY_BYTES,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    )
    return bytearray(kdf.derive(passphrase_bytes(passphrase)))


def wrap_anew(master: bytearray, passphrase: Secret[str], file: VaultFile) -> tuple[bytearray, VaultFile]:
    """Return (KEK, file) with the master key under a passphrase and a new salt."""
    draft = replace(file, salt=os.urandom(SALT_BYTES))
    kek = _derive_kek(passphrase, draft.salt, draft.cost)
    return kek, wrap(master, kek, draft, version=draft.master.version)


def wrap(master: bytearray, kek: bytearray, file: VaultFile, *, version: int) -> VaultFile:
    """Return the file with the master key sealed by the KEK and to the recovery words."""
    nonce = os.urandom(NONCE_BYTES)
    ciphertext = AESGCM(kek).encrypt(nonce, master, _master_context(file, version))
    recovery = _HPKE.encrypt(
        master, X25519PublicKey.from_public_bytes(file.recipient), info=_recovery_context(version)
    )
    return replace(file, master=Sealed(version, nonce, ciphertext), recovery=recovery)


def recover_master(file: VaultFile, key: X25519PrivateKey) -> bytearray:
    """Return the master key by the words' X25519 key; NotPermittedError if they are other words."""
    if key.public_key().public_bytes_raw() != file.recipient:
        raise NotPermittedError("these are the words of another identity than the one in this vault")
    try:
        return bytearray(_HPKE.decrypt(file.recovery, key, info=_recovery_context(file.master.version)))
    except InvalidTag as err:
        raise DamagedError("the recovery part of the vault is damaged: restore a backup") from err


def unwrap(file: VaultFile, passphrase: Secret[str]) -> tuple[bytearray, bytearray]:
    """Return (KEK, master key) of a file; WrongPassphraseError if the passphrase does not open it."""
    kek = _derive_kek(passphrase, file.salt, file.cost)
    context = _master_context(file, file.master.version)
    try:
        master = bytearray(AESGCM(kek).decrypt(file.master.nonce, file.master.ciphertext, context))
    except InvalidTag as err:
        zero(kek)
        raise WrongPassphraseError(
            "the passphrase is wrong: try again, or make the identity anew from the 24 words"
        ) from err
    return kek, master


def _master_context(file: VaultFile, version: int) -> bytes:
    facts = [[name, fact] for name, fact in sorted(file.facts.items())]
    cost = [file.cost.memory_kib, file.cost.iterations, file.cost.lanes]
    return encode([FORMAT, "master", version, facts, cost, file.salt, file.recipient])


def _recovery_context(version: int) -> bytes:
    return encode([FORMAT, "recovery", version])


def seal_item(master: bytearray, name: str, version: int, plaintext: bytes) -> Sealed:
    """Return an item sealed for its name and version; ValueError if either is out of bounds."""
    check_name(name)
    if len(plaintext) > ITEM_BYTES_MAX:
        raise ValueError(f"a vault item has at most {ITEM_BYTES_MAX} bytes, not {len(plaintext)}")
    nonce = os.urandom(NONCE_BYTES)
    return Sealed(version, nonce, AESGCM(master).encrypt(nonce, plaintext, _item_context(name, version)))


def open_item(master: bytearray, name: str, file: VaultFile) -> bytes:
    """Return an item's bytes; NotFoundError if it is not there, DamagedError if it does not open."""
    sealed = file.items.get(name)
    if sealed is None:
        raise NotFoundError(f"the vault holds no {name}")
    try:
        return AESGCM(master).decrypt(sealed.nonce, sealed.ciphertext, _item_context(name, sealed.version))
    except InvalidTag as err:
        raise DamagedError(f"{name} in the vault is damaged: restore a backup") from err


def _item_context(name: str, version: int) -> bytes:
    return encode([FORMAT, "item", name, version])


def zero(key: bytearray) -> None:
    """Overwrite a key in place."""
    key[:] = bytes(len(key))
