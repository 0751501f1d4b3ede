"""Further accounts of a node: derived from its words, or brought from other wallets.

The node's own account (index 0 of its words) is called ``main`` and is always there. Every other has a
name; its key is a sealed item of the vault, its address a public fact, so that a locked node still
shows what it holds. The recovery words bring derived accounts back, imported ones only a backup does.
Calls that change something reach the disk: use worker threads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from marina.errors import DamagedError, MalformedError, NotFoundError, UsageError
from marina.ids import Account, account_text, parse_account
from marina.secret import Secret
from storage.identity.derive import INDEX_MAX, derive_account_key
from storage.identity.keystore import export_keystore_v3
from storage.identity.owner import ITEM_ACCOUNT, ITEM_WORDS, VAULT_FILE, AccountSigner, Owner
from storage.identity.typed_data import account_of_key
from storage.identity.words import words_of_entropy, words_seed

MAIN = "main"
ACCOUNTS_MAX = 64
NAME_RULE = "1 to 32 small letters, digits and hyphens, a letter or digit first"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
_PREFIX = "wallet/"
_FACT_DEFAULT = "wallet.default"
_FACT_NEXT = "wallet.next"
Origin = Literal["words", "imported"]
_WORDS: Origin = "words"
_IMPORTED: Origin = "imported"


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """One account that this node can sign for.

    Attributes:
        name: unique on this node.
        account: the address.
        origin: whether the node's words give its key, or it was imported.
        index: place among the accounts of the words; None when imported.
    """

    name: str
    account: Account
    origin: Origin
    index: int | None


class AccountBook:
    """The accounts of one owner."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._vault = owner.vault

    def all(self) -> tuple[StoredAccount, ...]:
        """Return every account, ``main`` first and the others by name; also while locked.

        Raises:
            DamagedError: the vault's facts name something that is no account.
        """
        own = StoredAccount(MAIN, self._owner.account, _WORDS, 0)
        facts = self._vault.facts
        names = sorted(name for name in facts if name.startswith(_PREFIX))
        return (own, *(_parse(name.removeprefix(_PREFIX), facts[name]) for name in names))

    def find(self, name_or_address: str) -> StoredAccount:
        """Return the account with a name or a 0x address.

        Raises:
            NotFoundError: there is none.
        """
        if name_or_address.lower().startswith("0x"):
            try:
                wanted: Account | None = parse_account("0x" + name_or_address[2:])
            except MalformedError as err:
                raise NotFoundError(f"{name_or_address[:80]!r} is neither a name nor an address") from err
            found = [each for each in self.all() if each.account == wanted]
        else:
            found = [each for each in self.all() if each.name == name_or_address]
        if not found:
            raise NotFoundError(
                f"this node has no account {name_or_address[:80]!r}: 'marina wallet list' shows what it has"
            )
        return found[0]

    def default(self) -> StoredAccount:
        """Return the account that pays unless another is named."""
        return self.find(self._vault.facts.get(_FACT_DEFAULT, MAIN))

    def set_default(self, name_or_address: str) -> StoredAccount:
        """Make an account the one that pays, and return it.

        Raises:
            NotFoundError: there is none of this name.
            VaultLockedError: the vault is locked.
        """
        chosen = self.find(name_or_address)
        self._vault.update(facts={_FACT_DEFAULT: chosen.name}, items={})
        return chosen

    def create(self, name: str, *, index: int | None = None) -> StoredAccount:
        """Add another account of the node's words, ``m/44'/60'/0'/0/index``, and return it.

        Args:
            name: what to call it.
            index: which one; the next that was never used unless given (to bring one back).

        Raises:
            UsageError: the name is taken or none, the index is out of range, or the account is here.
            VaultLockedError: the vault is locked.
        """
        seed = words_seed(words_of_entropy(self._vault.get(ITEM_WORDS)))
        next_index = self._next_index()
        known = {each.account for each in self.all()}
        chosen = next_index if index is None else index
        if not 1 <= chosen <= INDEX_MAX:
            raise UsageError(f"the index of a further account is from 1 to {INDEX_MAX}, not {chosen}")
        key = derive_account_key(seed, chosen)
        while index is None and account_of_key(key.reveal()) in known:  # it was imported before
            chosen += 1
            key = derive_account_key(seed, chosen)
        return self._store(name, key, _WORDS, chosen, next_index=max(next_index, chosen + 1))

    def add(self, name: str, key: Secret[bytes]) -> StoredAccount:
        """Seal a key from another wallet and return its account.

        Args:
            name: what to call it.
            key: 32-byte secp256k1 key.

        Raises:
            UsageError: the name is taken or none, or the account is here already.
            VaultLockedError: the vault is locked.
        """
        return self._store(name, key, _IMPORTED, None, next_index=self._next_index())

    def remove(self, name: str) -> StoredAccount:
        """Drop a further account and its key, and return what it was; ``main`` pays if it was the default.

        Raises:
            NotFoundError: there is none of this name.
            UsageError: it is the node's own.
            VaultLockedError: the vault is locked.
        """
        gone = self.find(name)
        if gone.name == MAIN:
            raise UsageError("the node's own account cannot be removed: it is the node's identity")
        facts: dict[str, str | None] = {_PREFIX + gone.name: None}
        if self._vault.facts.get(_FACT_DEFAULT) == gone.name:
            facts[_FACT_DEFAULT] = None
        self._vault.update(facts=facts, items={_PREFIX + gone.name: None})
        return gone

    def signer(self, name_or_address: str | None = None) -> AccountSigner:
        """Return a signer of an account, the default one unless named.

        Raises:
            NotFoundError: there is none of this name.
            VaultLockedError: the vault is locked.
        """
        chosen = self.default() if name_or_address is None else self.find(name_or_address)
        item = _item(chosen)
        self._vault.get(item)
        return AccountSigner(chosen.account, self._vault, item)

    def export_v3(
        self, name_or_address: str, *, passphrase: Secret[str], export_passphrase: Secret[str]
    ) -> str:
        """Return an account's key as Ethereum keystore V3 JSON.

        Args:
            name_or_address: which account.
            passphrase: the vault's, given again.
            export_passphrase: protects the exported file.

        Raises:
            NotFoundError: there is none of this name.
            WrongPassphraseError: ``passphrase`` is not the vault's.
            WeakPassphraseError: ``export_passphrase`` is too short.
        """
        key = self._vault.reveal(_item(self.find(name_or_address)), passphrase)
        return export_keystore_v3(key, export_passphrase)

    def _store(
        self, name: str, key: Secret[bytes], origin: Origin, index: int | None, *, next_index: int
    ) -> StoredAccount:
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name[:80]!r} is no name for an account: {NAME_RULE}")
        account = account_of_key(key.reveal())
        known = self.all()
        for each in known:
            if each.name == name:
                raise UsageError(f"there is an account {name} already: choose another name")
            if each.account == account:
                raise UsageError(f"{account_text(account)} is here already, as {each.name}")
        if len(known) >= ACCOUNTS_MAX:
            raise UsageError(f"a node has at most {ACCOUNTS_MAX} accounts: remove one first")
        fact = f"{account.hex()}:{origin}:{'' if index is None else index}"
        self._vault.update(
            facts={_PREFIX + name: fact, _FACT_NEXT: str(next_index)}, items={_PREFIX + name: key}
        )
        return StoredAccount(name, account, origin, index)

    def _next_index(self) -> int:
        text = self._vault.facts.get(_FACT_NEXT, "1")
        if not (text.isascii() and text.isdecimal() and 0 < int(text) <= INDEX_MAX + 1):
            raise DamagedError(f"{VAULT_FILE} counts its accounts wrongly: restore a backup")
        return int(text)


def _item(stored: StoredAccount) -> str:
    return ITEM_ACCOUNT if stored.name == MAIN else _PREFIX + stored.name


def _parse(name: str, fact: str) -> StoredAccount:
    address, _, rest = fact.partition(":")
    origin, _, index = rest.partition(":")
    try:
        account = Account(bytes.fromhex(address))
        place = int(index) if origin == _WORDS else None
    except ValueError as err:
        raise DamagedError(f"{VAULT_FILE} names no account for {name}: restore a backup") from err
    if len(account) != 20 or origin not in (_WORDS, _IMPORTED) or not _NAME.fullmatch(name):
        raise DamagedError(f"{VAULT_FILE} names no account for {name}: restore a backup")
    return StoredAccount(name, account, _WORDS if origin == _WORDS else _IMPORTED, place)
