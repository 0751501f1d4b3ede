"""The owner of a node: account, device and vault behind one object.

Three files in the node's home: ``vault.json`` (sealed), ``device.key`` and ``binding.bin`` (0600).
While the vault is locked the account, the device and the stored binding are there, so the node can
serve; signing for the account and everything private raises VaultLockedError. Calls that reach the
disk or check a passphrase block: use worker threads.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from marina.clock import Clock
from marina.errors import DamagedError, MalformedError, NotFoundError
from marina.ids import Account, account_text
from marina.schema import encode_record
from marina.secret import Secret
from storage.errors import StorageError, VaultLockedError
from storage.identity.binding import (
    BINDING_BYTES_MAX,
    DEFAULT_SCOPES,
    DeviceBinding,
    Scope,
    decode_binding,
    issue_binding,
)
from storage.identity.derive import backup_private_key, derive_keys, key_holder_key
from storage.identity.device import DeviceKey, create_device, load_device
from storage.identity.keystore import export_keystore_v3
from storage.identity.private_file import read_private, write_private
from storage.identity.typed_data import FieldValue, account_of_key, sign_digest, typed_digest
from storage.identity.vault import Vault
from storage.identity.vault_file import KdfCost
from storage.identity.words import generate_words, words_entropy, words_of_entropy, words_seed

VAULT_FILE = "vault.json"
DEVICE_FILE = "device.key"
BINDING_FILE = "binding.bin"
ACCOUNT_BYTES = 20
_FACT_ACCOUNT = "account"
ITEM_WORDS = "words-entropy"
ITEM_ACCOUNT = "account-key"
_ITEM_CONTENT = "content-root"
_ITEM_BACKUP = "backup-key"

log = logging.getLogger("marina.storage.identity")


class AccountSigner:
    """Signs with an account for as long as the vault stays unlocked."""

    def __init__(self, account: Account, vault: Vault, item: str = ITEM_ACCOUNT) -> None:
        """Sign as an account whose key is a vault's item, the node's own unless another is named."""
        self._account = account
        self._vault = vault
        self._item = item

    @property
    def account(self) -> Account:
        """The signing account."""
        return self._account

    def sign_digest(self, digest: bytes) -> bytes:
        """Return the 65-byte signature of a 32-byte digest; VaultLockedError while locked."""
        return sign_digest(self._vault.get(self._item).reveal(), digest)

    def sign_typed(
        self, primary_type: str, fields: Sequence[tuple[str, str]], message: Mapping[str, FieldValue]
    ) -> bytes:
        """Return the signature of an EIP-712 message in Marina's domain.

        Raises:
            VaultLockedError: the vault is locked.
            ValueError: the message does not fit its fields.
        """
        return self.sign_digest(typed_digest(primary_type, fields, message))


class Owner:
    """The identity of one node. Make it with ``create`` or ``open``."""

    def __init__(
        self, directory: Path, vault: Vault, device: DeviceKey, binding: DeviceBinding | None, *, clock: Clock
    ) -> None:
        self._directory = directory
        self._vault = vault
        self._device = device
        self._binding = binding
        self._clock = clock
        self._account = _account_of_facts(vault.facts)

    def __repr__(self) -> str:
        return f"Owner({account_text(self._account)}, {'locked' if self.is_locked else 'unlocked'})"

    @classmethod
    def create(
        cls,
        directory: Path,
        passphrase: Secret[str],
        *,
        clock: Clock,
        words: Secret[str] | None = None,
        cost: KdfCost | None = None,
    ) -> Owner:
        """Make an identity in a home that has none and return it unlocked, its device bound.

        Args:
            directory: the home, which exists.
            passphrase: seals the vault; at least eight characters.
            clock: for the binding's window.
            words: checked words (``parse_words``) of an identity to restore; new ones unless given.
            cost: Argon2id parameters.

        Raises:
            WeakPassphraseError: the passphrase is too short.
            StorageError: there is an identity already, or the disk refused.
        """
        words = generate_words() if words is None else words
        keys = derive_keys(words_seed(words))
        recipient = backup_private_key(keys.backup_key).public_key().public_bytes_raw()
        device = _device_of(directory)  # before the vault, whose file says that the identity is whole
        vault = Vault.create(
            directory / VAULT_FILE,
            passphrase,
            facts={
                _FACT_ACCOUNT: account_of_key(keys.account_key.reveal()).hex(),
            },
            items={
                ITEM_WORDS: words_entropy(words),
                ITEM_ACCOUNT: keys.account_key,
                _ITEM_CONTENT: keys.content_root,
                _ITEM_BACKUP: keys.backup_key,
            },
            recipient=recipient,
            cost=cost,
        )
        owner = cls(directory, vault, device, None, clock=clock)
        owner.bind()
        return owner

    @classmethod
    def open(cls, directory: Path, *, clock: Clock) -> Owner:
        """Return the identity of a home, locked.

        A missing device key (a restored backup has none) is made anew: this is another device.

        Raises:
            NotFoundError: there is no identity.
            NotPermittedError: others may read one of the files.
            DamagedError: one of the files is damaged.
        """
        vault = Vault.open(directory / VAULT_FILE)
        device = _device_of(directory)
        return cls(directory, vault, device, _load_binding(directory, vault, device), clock=clock)

    @property
    def account(self) -> Account:
        """The 20-byte account, also while locked."""
        return self._account

    @property
    def device(self) -> DeviceKey:
        """This device's signer, also while locked."""
        return self._device

    @property
    def is_locked(self) -> bool:
        """Whether the account's secrets are out of reach."""
        return self._vault.is_locked

    @property
    def backup_recipient(self) -> bytes:
        """Raw X25519 public key that backups are sealed to, also while locked."""
        return self._vault.recipient

    @property
    def binding(self) -> DeviceBinding:
        """This device's binding; renewed first if it is due and the vault is unlocked.

        A locked vault gives the stored one even when it has run out: others then refuse it.

        Raises:
            VaultLockedError: there is none yet and the vault is locked.
        """
        current = self._binding
        if not self.is_locked and (current is None or current.needs_renewal(self._clock.now_s())):
            return self._rebind(current)
        if current is None:
            raise VaultLockedError("this device is not bound yet: run 'marina key unlock' once")
        return current

    def unlock(self, passphrase: Secret[str]) -> None:
        """Open the vault and renew the binding if it is due.

        Raises:
            WrongPassphraseError: it is not the passphrase.
            DamagedError: the vault belongs to another account than it says.
        """
        self._vault.unlock(passphrase)
        if account_of_key(self._vault.get(ITEM_ACCOUNT).reveal()) != self._account:
            self._vault.lock()
            raise DamagedError(f"{VAULT_FILE} does not hold its own account's key: restore a backup")
        current = self._binding
        if current is None or current.needs_renewal(self._clock.now_s()):
            self._rebind(current)

    def lock(self) -> None:
        """Forget the secrets; idempotent."""
        self._vault.lock()

    def bind(self, *, scopes: Scope = DEFAULT_SCOPES, epoch: int = 0) -> DeviceBinding:
        """Issue and store a new binding of this device.

        Args:
            scopes: what the device may do.
            epoch: the account's epoch; a higher one voids all bindings of lower ones.

        Raises:
            VaultLockedError: the vault is locked.
            StorageError: the disk refused; the old binding stays.
        """
        binding = self._issue(scopes, epoch)
        write_private(self._directory / BINDING_FILE, encode_record(binding))
        self._binding = binding
        log.info("device bound", extra={"context": {"until_s": binding.not_after, "epoch": epoch}})
        return binding

    def content_root(self) -> Secret[bytes]:
        """Return the 32-byte root of all track keys; VaultLockedError while locked."""
        return self._vault.get(_ITEM_CONTENT)

    def key_holder_key(self) -> X25519PrivateKey:
        """Return the key that opens shares sealed to this owner; VaultLockedError while locked."""
        return key_holder_key(self.content_root())

    def backup_key(self) -> Secret[bytes]:
        """Return the 32-byte key that opens backups; VaultLockedError while locked."""
        return self._vault.get(_ITEM_BACKUP)

    def account_signer(self) -> AccountSigner:
        """Return a signer for the account; VaultLockedError while locked."""
        self._vault.get(ITEM_ACCOUNT)
        return AccountSigner(self._account, self._vault)

    def check_passphrase(self, passphrase: Secret[str]) -> None:
        """Return if it is the vault's passphrase, locked or not; WrongPassphraseError if it is not."""
        self._vault.reveal(ITEM_ACCOUNT, passphrase)

    def words(self, passphrase: Secret[str]) -> Secret[str]:
        """Return the 24 words after the passphrase was given again; locked or unlocked stays as it is.

        Raises:
            WrongPassphraseError: it is not the passphrase.
        """
        return words_of_entropy(self._vault.reveal(ITEM_WORDS, passphrase))

    def export_keystore_v3(self, passphrase: Secret[str], export_passphrase: Secret[str]) -> str:
        """Return the account key as Ethereum keystore V3 JSON.

        Args:
            passphrase: the vault's, given again.
            export_passphrase: protects the exported file.

        Raises:
            WrongPassphraseError: ``passphrase`` is not the vault's.
            WeakPassphraseError: ``export_passphrase`` is too short.
        """
        return export_keystore_v3(self._vault.reveal(ITEM_ACCOUNT, passphrase), export_passphrase)

    def change_passphrase(self, old: Secret[str], new: Secret[str]) -> None:
        """Seal the vault under another passphrase; errors as for ``Vault.change_passphrase``."""
        self._vault.change_passphrase(old, new)

    def reset_passphrase(self, words: Secret[str], new: Secret[str]) -> None:
        """Seal the vault under a new passphrase by its recovery words; the old one may be forgotten.

        Raises:
            NotPermittedError: they are the words of another identity.
            WeakPassphraseError: ``new`` is too short.
        """
        keys = derive_keys(words_seed(words))
        self._vault.reset_passphrase(backup_private_key(keys.backup_key), new)

    def master_key(self) -> Secret[bytes]:
        """Return the key for the private scopes' data keys; VaultLockedError while locked."""
        return self._vault.master_key()

    @property
    def vault(self) -> Vault:
        """The vault, for further sealed items (API tokens) and for rotating the master key."""
        return self._vault

    def _issue(self, scopes: Scope, epoch: int) -> DeviceBinding:
        account_key = self._vault.get(ITEM_ACCOUNT)
        return issue_binding(account_key, self._device, scopes=scopes, epoch=epoch, now_s=self._clock.now_s())

    def _rebind(self, current: DeviceBinding | None) -> DeviceBinding:
        """Renew with the same rights; on a full disk the new binding lives in memory only."""
        scopes, epoch = (DEFAULT_SCOPES, 0) if current is None else (Scope(current.scopes), current.epoch)
        try:
            return self.bind(scopes=scopes, epoch=epoch)
        except StorageError as err:
            log.warning("renewed binding not stored: %s", err)
            self._binding = self._issue(scopes, epoch)
            return self._binding


def _device_of(directory: Path) -> DeviceKey:
    path = directory / DEVICE_FILE
    try:
        return load_device(path)
    except NotFoundError:
        log.info("new device key made", extra={"context": {"path": str(path)}})
        return create_device(path)


def _load_binding(directory: Path, vault: Vault, device: DeviceKey) -> DeviceBinding | None:
    """Return the stored binding if it is this account's for this device, else None."""
    path = directory / BINDING_FILE
    try:
        binding = decode_binding(read_private(path, limit_bytes=BINDING_BYTES_MAX))
    except NotFoundError:
        return None
    except (MalformedError, DamagedError):
        log.warning("damaged binding left out; unlocking renews it", extra={"context": {"path": str(path)}})
        return None
    if binding.owner != _account_of_facts(vault.facts) or binding.peer != device.public_key:
        return None
    return binding


def _account_of_facts(facts: Mapping[str, str]) -> Account:
    try:
        account = bytes.fromhex(facts[_FACT_ACCOUNT])
    except (KeyError, ValueError) as err:
        raise DamagedError(f"{VAULT_FILE} names no account: restore a backup") from err
    if len(account) != ACCOUNT_BYTES:
        raise DamagedError(f"{VAULT_FILE} names no account: restore a backup")
    return Account(account)
