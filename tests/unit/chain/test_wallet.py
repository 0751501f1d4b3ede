"""The wallet: accounts come in from everywhere, sign real transactions, and leave again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_account import Account as EthAccount

from chain.wallet import Wallet
from marina.clock import ManualClock
from marina.errors import NotFoundError, UsageError
from marina.ids import account_text
from marina.secret import Secret
from storage.errors import VaultLockedError, WrongPassphraseError
from storage.identity.errors import WordsError
from storage.identity.owner import Owner
from storage.identity.vault_file import KdfCost
from storage.identity.words import parse_words

CHEAP = KdfCost(memory_kib=32, iterations=1, lanes=1)
PASSPHRASE = Secret("correct horse battery")
WORDS = parse_words(" ".join(["abandon"] * 23 + ["art"]))
VECTORS = json.loads((Path(__file__).parents[2] / "vectors/keystores.json").read_text(encoding="utf-8"))
LIGHT = next(each for each in VECTORS if each["name"].startswith("go-ethereum"))
FIELDS = {"chainId": 31337, "nonce": 0, "gas": 21_000, "maxFeePerGas": 2, "maxPriorityFeePerGas": 1}


@pytest.fixture
def owner(tmp_path):
    return Owner.create(tmp_path, PASSPHRASE, clock=ManualClock(), words=WORDS, cost=CHEAP)


@pytest.fixture
def wallet(owner):
    return Wallet(owner)


async def test_accounts_of_every_origin_sign_transactions_of_their_own(wallet):
    await wallet.create("spare")
    await wallet.import_v3("geth", json.dumps(LIGHT["file"]).encode(), Secret(LIGHT["passphrase"]))
    await wallet.import_key("bare", Secret("0x" + "42" * 32))
    await wallet.import_words("phone", Secret("abandon " * 11 + "about"), index=3)
    assert [each.name for each in wallet.accounts()] == ["main", "bare", "geth", "phone", "spare"]
    for each in wallet.accounts():
        raw = wallet.signer(each.name).sign_transaction({**FIELDS, "to": b"\x01" * 20})
        assert EthAccount.recover_transaction(raw) == account_text(each.account)


async def test_words_of_another_wallet_give_the_account_with_the_index(wallet):
    EthAccount.enable_unaudited_hdwallet_features()
    phrase = "abandon " * 11 + "about"
    found = await wallet.import_words("phone", Secret(phrase.upper()), index=5)
    known = EthAccount.from_mnemonic(phrase, account_path="m/44'/60'/0'/0/5")
    assert account_text(found.account) == known.address
    assert found.origin == "imported"


async def test_the_default_account_signs_unless_another_is_named(wallet, owner):
    assert wallet.signer().account == owner.account
    spare = await wallet.create("spare")
    assert await wallet.set_default("spare") == spare
    assert wallet.signer().account == spare.account == wallet.default().account
    assert wallet.find(account_text(spare.account)) == spare


async def test_a_forgotten_account_is_gone(wallet):
    await wallet.import_key("bare", Secret("42" * 32))
    await wallet.forget("bare")
    with pytest.raises(NotFoundError, match="no account 'bare'"):
        wallet.signer("bare")


async def test_an_exported_file_opens_elsewhere(wallet):
    await wallet.import_key("bare", Secret("42" * 32))
    text = await wallet.export_v3("bare", passphrase=PASSPHRASE, export_passphrase=Secret("for the file"))
    assert bytes(EthAccount.decrypt(text, "for the file")) == b"\x42" * 32
    with pytest.raises(WrongPassphraseError):
        await wallet.export_v3(
            "bare", passphrase=Secret("wrong one"), export_passphrase=Secret("for the file")
        )


async def test_nothing_is_imported_from_what_is_no_key(wallet):
    with pytest.raises(UsageError, match="no private key"):
        await wallet.import_key("bare", Secret("42" * 31))
    with pytest.raises(WordsError, match="12, 15, 18, 21 or 24 recovery words"):
        await wallet.import_words("phone", Secret("abandon " * 11))
    with pytest.raises(WordsError, match="index"):
        await wallet.import_words("phone", Secret("abandon " * 11 + "about"), index=2**31)
    with pytest.raises(WrongPassphraseError):
        await wallet.import_v3("geth", json.dumps(LIGHT["file"]).encode(), Secret("not it"))
    assert len(wallet.accounts()) == 1


async def test_a_locked_vault_lists_but_neither_signs_nor_changes(wallet, owner):
    signer = wallet.signer()
    owner.lock()
    assert len(wallet.accounts()) == 1
    for attempt in (wallet.signer, lambda: signer.sign_transaction(FIELDS)):
        with pytest.raises(VaultLockedError):
            attempt()
    with pytest.raises(VaultLockedError):
        await wallet.create("spare")


def test_nothing_that_can_be_printed_shows_a_key(wallet, owner):
    shown = repr(wallet) + repr(wallet.signer()) + repr(wallet.accounts())
    assert owner.vault.get("account-key").reveal().hex() not in shown
