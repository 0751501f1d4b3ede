"""The wallet: every account that this node can pay and sign with, under one object.

Thin over ``storage.identity.accounts``, which keeps the keys in the vault: here they become signers of
transactions, and everything that takes time (key derivation, disk) happens in a worker thread, one
change after another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from chain.accounts import VaultSigner
from marina.secret import Secret
from storage.identity.accounts import AccountBook, StoredAccount
from storage.identity.derive import INDEX_MAX, derive_account_key
from storage.identity.errors import WordsError
from storage.identity.keystore import import_keystore_v3, parse_private_key
from storage.identity.owner import Owner
from storage.identity.words import COUNTS, parse_words, words_seed

T = TypeVar("T")


class Wallet:
    """The accounts of one owner, for paying and signing."""

    def __init__(self, owner: Owner) -> None:
        self._book = AccountBook(owner)
        self._limiter = trio.CapacityLimiter(1)

    def accounts(self) -> tuple[StoredAccount, ...]:
        """Return every account, the node's own first; also while the vault is locked."""
        return self._book.all()

    def default(self) -> StoredAccount:
        """Return the account that pays unless another is named."""
        return self._book.default()

    def find(self, name_or_address: str) -> StoredAccount:
        """Return one account; NotFoundError if this node has none of this name or address."""
        return self._book.find(name_or_address)

    def signer(self, name_or_address: str | None = None) -> VaultSigner:
        """Return a signer of an account, the default one unless named.

        Raises:
            NotFoundError: there is none of this name or address.
            VaultLockedError: the vault is locked.
        """
        return VaultSigner(self._book.signer(name_or_address))

    async def create(self, name: str, *, index: int | None = None) -> StoredAccount:
        """Add another account of the node's words, ``m/44'/60'/0'/0/index``; the next unused unless given.

        Raises:
            UsageError: the name is taken or none, or the index is out of range.
            VaultLockedError: the vault is locked.
        """
        return await self._in_thread(lambda: self._book.create(name, index=index))

    async def import_v3(self, name: str, data: bytes, passphrase: Secret[str]) -> StoredAccount:
        """Add the account of another tool's wallet file (keystore V3).

        Args:
            name: what to call it here.
            data: the whole file.
            passphrase: of the file.

        Raises:
            KeystoreError: the file is damaged, of another kind, or wants too much memory or time.
            WrongPassphraseError: the passphrase does not open it.
            UsageError: the name is taken or none, or the account is here already.
            VaultLockedError: the vault is locked.
        """
        return await self._in_thread(lambda: self._book.add(name, import_keystore_v3(data, passphrase)))

    async def import_key(self, name: str, text: Secret[str]) -> StoredAccount:
        """Add the account of a private key in hexadecimal digits.

        Raises:
            UsageError: it is no key, the name is taken or none, or the account is here already.
            VaultLockedError: the vault is locked.
        """
        return await self._in_thread(lambda: self._book.add(name, parse_private_key(text.reveal())))

    async def import_words(self, name: str, text: Secret[str], *, index: int = 0) -> StoredAccount:
        """Add one account of another wallet's 12 to 24 words.

        Args:
            name: what to call it here.
            text: the words as typed.
            index: which account of them: ``m/44'/60'/0'/0/index``.

        Raises:
            WordsError: they are no words of a wallet, or the index is out of range.
            UsageError: the name is taken or none, or the account is here already.
            VaultLockedError: the vault is locked.
        """
        if not 0 <= index <= INDEX_MAX:
            raise WordsError(f"the index of an account is from 0 to {INDEX_MAX}, not {index}")

        def add() -> StoredAccount:
            seed = words_seed(parse_words(text.reveal(), counts=COUNTS))
            return self._book.add(name, derive_account_key(seed, index))

        return await self._in_thread(add)

    async def set_default(self, name_or_address: str) -> StoredAccount:
        """Make an account the one that pays unless another is named; errors as for ``find`` and locking."""
        return await self._in_thread(lambda: self._book.set_default(name_or_address))

    async def forget(self, name_or_address: str) -> StoredAccount:
        """Remove a further account and its key, and return what it was.

        An imported key is gone for good unless it was exported; one of the words can be created again.

        Raises:
            NotFoundError: there is none of this name or address.
            UsageError: it is the node's own account.
            VaultLockedError: the vault is locked.
        """
        return await self._in_thread(lambda: self._book.remove(name_or_address))

    async def export_v3(
        self, name_or_address: str, *, passphrase: Secret[str], export_passphrase: Secret[str]
    ) -> str:
        """Return an account's key as keystore V3 JSON for another wallet.

        Args:
            name_or_address: which account.
            passphrase: the vault's, given again.
            export_passphrase: protects the exported file.

        Raises:
            NotFoundError: there is none of this name or address.
            WrongPassphraseError: ``passphrase`` is not the vault's.
            WeakPassphraseError: ``export_passphrase`` is too short.
        """
        return await self._in_thread(
            lambda: self._book.export_v3(
                name_or_address, passphrase=passphrase, export_passphrase=export_passphrase
            )
        )

    async def _in_thread(self, change: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(change, limiter=self._limiter)
