"""Further accounts: derived, imported, listed while locked, and never lost half way."""

from __future__ import annotations

import pytest
from eth_account import Account as EthAccount

from marina.clock import ManualClock
from marina.errors import DamagedError, NotFoundError, UsageError
from marina.ids import account_text
from marina.secret import Secret
from storage.errors import StorageError, VaultLockedError, WrongPassphraseError
from storage.identity import vault as vault_module
from storage.identity.accounts import ACCOUNTS_MAX, MAIN, AccountBook
from storage.identity.derive import INDEX_MAX, derive_account_key
from storage.identity.keystore import import_keystore_v3
from storage.identity.owner import Owner
from storage.identity.typed_data import account_of_key, recover
from storage.identity.vault_file import KdfCost
from storage.identity.words import COUNTS, parse_words, words_seed

CHEAP = KdfCost(memory_kib=32, iterations=1, lanes=1)
PASSPHRASE = Secret("correct horse battery")
WORDS = parse_words(" ".join(["abandon"] * 23 + ["art"]))
KEY = Secret(b"\x42" * 32)


@pytest.fixture
def owner(tmp_path):
    return Owner.create(tmp_path, PASSPHRASE, clock=ManualClock(), words=WORDS, cost=CHEAP)


@pytest.fixture
def book(owner):
    return AccountBook(owner)


def test_a_new_node_has_its_own_account_which_pays(book, owner):
    assert [each.account for each in book.all()] == [owner.account]
    assert book.default().name == MAIN


def test_created_accounts_are_those_of_every_wallet_with_the_same_words(book):
    EthAccount.enable_unaudited_hdwallet_features()
    for index in (1, 2):
        created = book.create(f"number-{index}")
        known = EthAccount.from_mnemonic(WORDS.reveal(), account_path=f"m/44'/60'/0'/0/{index}")
        assert account_text(created.account) == known.address
        assert created.index == index


def test_accounts_of_another_reopened_locked_node_are_listed(book, owner, tmp_path):
    book.create("one")
    book.add("cold", KEY)
    book.set_default("cold")
    reopened = Owner.open(tmp_path, clock=ManualClock())
    again = AccountBook(reopened)
    assert again.all() == book.all()
    assert again.default().name == "cold"
    with pytest.raises(VaultLockedError):
        again.signer("cold")
    reopened.unlock(PASSPHRASE)
    digest = bytes(range(32))
    assert recover(digest, again.signer().sign_digest(digest)) == account_of_key(KEY.reveal())


def test_each_signer_signs_for_its_own_account(book):
    book.create("one")
    book.add("cold", KEY)
    digest = b"\x01" * 32
    for each in book.all():
        assert recover(digest, book.signer(each.name).sign_digest(digest)) == each.account
        assert book.signer(account_text(each.account)).account == each.account


def test_a_signer_stops_when_the_vault_is_locked_or_the_account_removed(book, owner):
    book.add("cold", KEY)
    signer = book.signer("cold")
    book.remove("cold")
    with pytest.raises(NotFoundError):
        signer.sign_digest(bytes(32))
    main = book.signer()
    owner.lock()
    with pytest.raises(VaultLockedError):
        main.sign_digest(bytes(32))


def test_an_index_is_not_used_twice_unless_asked_for(book):
    first = book.create("one")
    book.remove("one")
    assert book.create("two").index == 2
    assert book.create("one-again", index=1).account == first.account


def test_an_account_that_was_imported_is_skipped(book):
    book.add("known", derive_account_key(words_seed(WORDS), 1))
    assert book.create("next").index == 2


@pytest.mark.parametrize("index", [0, -1, INDEX_MAX + 1])
def test_an_index_outside_its_range_is_refused(book, index):
    with pytest.raises(UsageError, match="index"):
        book.create("one", index=index)


@pytest.mark.parametrize("name", ["", "Main", "with space", "-x", "x" * 33, "a/b", "ä", "x\n"])
def test_names_are_short_and_plain(book, name):
    with pytest.raises(UsageError, match="no name for an account"):
        book.add(name, KEY)


def test_a_name_or_an_account_is_not_taken_twice(book, owner):
    book.add("cold", KEY)
    with pytest.raises(UsageError, match="an account cold already"):
        book.create("cold")
    with pytest.raises(UsageError, match="here already, as cold"):
        book.add("colder", KEY)
    with pytest.raises(UsageError, match="account main already"):
        book.add(MAIN, Secret(b"\x43" * 32))
    with pytest.raises(UsageError, match="here already, as main"):
        book.add("myself", derive_account_key(words_seed(WORDS), 0))


def test_the_number_of_accounts_is_bounded(book):
    for number in range(1, ACCOUNTS_MAX):
        book.add(f"a{number}", Secret(number.to_bytes(32)))
    with pytest.raises(UsageError, match="at most"):
        book.create("one-more")


def test_removing_the_default_makes_main_pay(book):
    book.add("cold", KEY)
    book.set_default("cold")
    book.remove("cold")
    assert book.default().name == MAIN
    with pytest.raises(NotFoundError, match="no account 'cold'"):
        book.find("cold")


def test_the_nodes_own_account_stays(book):
    with pytest.raises(UsageError, match="cannot be removed"):
        book.remove(MAIN)


def test_a_locked_vault_changes_nothing(book, owner):
    book.add("cold", KEY)
    owner.lock()
    for change in (
        lambda: book.create("one"),
        lambda: book.add("two", Secret(b"\x43" * 32)),
        lambda: book.remove("cold"),
        lambda: book.set_default("cold"),
    ):
        with pytest.raises(VaultLockedError):
            change()
    assert [each.name for each in book.all()] == [MAIN, "cold"]


def test_a_full_disk_leaves_neither_half_of_an_account(book, owner, monkeypatch):
    def full(*_args):
        raise StorageError("the disk is full")

    monkeypatch.setattr(vault_module, "write_private", full)
    with pytest.raises(StorageError):
        book.add("cold", KEY)
    assert [each.name for each in book.all()] == [MAIN]
    assert not any(name.startswith("wallet/") for name in owner.vault.item_names())


def test_imported_keys_are_not_in_the_file_in_the_clear(book, tmp_path):
    book.add("cold", KEY)
    data = (tmp_path / "vault.json").read_bytes()
    assert KEY.reveal().hex().encode() not in data
    assert account_of_key(KEY.reveal()).hex().encode() in data


def test_a_changed_address_in_the_file_is_noticed_when_unlocking(book, tmp_path):
    """Facts are bound to the master key: who edits the file (and its checksum) cannot redirect payments."""
    import hashlib
    import json

    book.add("cold", KEY)
    path = tmp_path / "vault.json"
    body = json.loads(path.read_bytes())
    body["facts"]["wallet/cold"] = "11" * 20 + ":imported:"
    del body["sha256"]

    def spell(value):
        return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()

    body["sha256"] = hashlib.sha256(spell(body)).hexdigest()
    path.write_bytes(spell(body))
    with pytest.raises(WrongPassphraseError):
        Owner.open(tmp_path, clock=ManualClock()).unlock(PASSPHRASE)


@pytest.mark.parametrize(
    "fact", ["", "zz:words:1", "11" * 19 + ":words:1", "11" * 20 + ":words:x", "11" * 20]
)
def test_damaged_facts_are_said_to_be_damaged(book, owner, fact):
    owner.vault.update(facts={"wallet/odd": fact}, items={})
    with pytest.raises(DamagedError, match="names no account for odd"):
        book.all()


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "9" * 20, "١"])
def test_a_damaged_count_is_said_to_be_damaged(book, owner, text):
    owner.vault.update(facts={"wallet.next": text}, items={})
    with pytest.raises(DamagedError, match="counts its accounts"):
        book.create("one")


def test_an_account_is_exported_only_with_the_passphrase_given_again(book):
    book.add("cold", KEY)
    exported = book.export_v3("cold", passphrase=PASSPHRASE, export_passphrase=Secret("for the file"))
    assert import_keystore_v3(exported.encode(), Secret("for the file")) == KEY
    with pytest.raises(WrongPassphraseError):
        book.export_v3("cold", passphrase=Secret("not it at all"), export_passphrase=Secret("for the file"))


def test_accounts_survive_a_new_passphrase_and_a_new_master_key(book, owner, tmp_path):
    book.add("cold", KEY)
    owner.vault.rotate_master()
    owner.vault.finish_rotation()
    owner.change_passphrase(PASSPHRASE, Secret("another passphrase"))
    again = Owner.open(tmp_path, clock=ManualClock())
    again.unlock(Secret("another passphrase"))
    assert AccountBook(again).signer("cold").account == account_of_key(KEY.reveal())


def test_words_reset_the_passphrase_after_facts_changed(book, owner, tmp_path):
    book.add("cold", KEY)
    owner.lock()
    owner.reset_passphrase(WORDS, Secret("another passphrase"))
    again = Owner.open(tmp_path, clock=ManualClock())
    again.unlock(Secret("another passphrase"))
    assert AccountBook(again).signer("cold").account == account_of_key(KEY.reveal())


def test_twelve_words_of_another_wallet_give_its_accounts():
    words = parse_words("abandon " * 11 + "about", counts=COUNTS)
    key = derive_account_key(words_seed(words), 0)
    assert account_text(account_of_key(key.reveal())) == "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"
