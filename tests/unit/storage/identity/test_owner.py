"""An owner: made, locked, restored from words; what a locked node may and may not do."""

from __future__ import annotations

import json
import stat

import pytest
from eth_account import Account as EthAccount

from marina.clock import ManualClock
from marina.errors import DamagedError, NotFoundError, NotPermittedError
from marina.ids import account_text
from marina.secret import Secret
from storage.errors import StorageError, VaultLockedError, WrongPassphraseError
from storage.identity.binding import DAY_S, Scope, verify_binding
from storage.identity.errors import WeakPassphraseError
from storage.identity.keystore import export_keystore_v3
from storage.identity.owner import Owner
from storage.identity.typed_data import recover, typed_digest
from storage.identity.vault_file import KdfCost
from storage.identity.words import generate_words, parse_words

CHEAP = KdfCost(memory_kib=32, iterations=1, lanes=1)
PASSPHRASE = Secret("correct horse battery")
WORDS = parse_words(" ".join(["abandon"] * 23 + ["art"]))
FIELDS = (("text", "string"),)


@pytest.fixture
def clock():
    return ManualClock(1_800_000_000)


@pytest.fixture
def owner(tmp_path, clock):
    return Owner.create(tmp_path, PASSPHRASE, clock=clock, words=WORDS, cost=CHEAP)


def test_the_words_give_the_account_that_every_wallet_gives(owner):
    assert account_text(owner.account) == "0xF278cF59F82eDcf871d630F28EcC8056f25C1cdb"


def test_a_new_owner_is_unlocked_and_its_device_bound(owner, clock):
    assert not owner.is_locked
    account = verify_binding(
        owner.binding,
        now_s=clock.now_s(),
        peer=owner.device.public_key,
        required_scopes=Scope.SERVE | Scope.KEY_REQUEST | Scope.POST | Scope.PUBLISH,
    )
    assert account == owner.account


def test_two_owners_without_given_words_differ(tmp_path, clock):
    homes = [tmp_path / "a", tmp_path / "b"]
    for home in homes:
        home.mkdir()
    first, second = (Owner.create(home, PASSPHRASE, clock=clock, cost=CHEAP) for home in homes)
    assert first.account != second.account
    assert first.device.public_key != second.device.public_key


def test_a_locked_node_can_serve_and_nothing_more(owner, tmp_path, clock):
    locked = Owner.open(tmp_path, clock=clock)
    assert locked.is_locked
    assert locked.account == owner.account
    assert locked.device.public_key == owner.device.public_key
    assert len(locked.device.sign(b"challenge")) == 64
    assert locked.binding == owner.binding
    assert locked.backup_recipient == owner.backup_recipient
    keys = (locked.content_root, locked.backup_key, locked.master_key)
    for refused in (*keys, locked.account_signer, locked.bind):
        with pytest.raises(VaultLockedError):
            refused()


def test_a_signer_stops_when_the_vault_is_locked(owner):
    signer = owner.account_signer()
    signature = signer.sign_typed("Note", FIELDS, {"text": "hello"})
    assert recover(typed_digest("Note", FIELDS, {"text": "hello"}), signature) == owner.account
    owner.lock()
    with pytest.raises(VaultLockedError):
        signer.sign_typed("Note", FIELDS, {"text": "hello"})


def test_the_words_are_shown_only_after_the_passphrase(owner, tmp_path, clock):
    with pytest.raises(WrongPassphraseError):
        owner.words(Secret("not the passphrase"))
    assert owner.words(PASSPHRASE) == WORDS
    locked = Owner.open(tmp_path, clock=clock)
    assert locked.words(PASSPHRASE) == WORDS
    assert locked.is_locked


def test_restored_words_give_account_and_keys_but_another_device(owner, tmp_path, clock):
    home = tmp_path / "second"
    home.mkdir()
    again = Owner.create(home, Secret("another passphrase"), clock=clock, words=WORDS, cost=CHEAP)
    assert again.account == owner.account
    assert again.content_root() == owner.content_root()
    assert again.backup_key() == owner.backup_key()
    assert again.device.public_key != owner.device.public_key
    assert again.master_key() != owner.master_key()


def test_a_forgotten_passphrase_is_reset_by_the_words_alone(owner, tmp_path, clock):
    master = owner.master_key()
    again = Owner.open(tmp_path, clock=clock)
    again.reset_passphrase(WORDS, Secret("a passphrase to keep"))
    again.unlock(Secret("a passphrase to keep"))
    assert again.master_key() == master
    with pytest.raises(NotPermittedError, match="another identity"):
        again.reset_passphrase(generate_words(), PASSPHRASE)


def test_a_home_has_one_identity(owner, tmp_path, clock):
    with pytest.raises(StorageError, match="never overwritten"):
        Owner.create(tmp_path, PASSPHRASE, clock=clock, cost=CHEAP)
    assert Owner.open(tmp_path, clock=clock).account == owner.account


def test_a_home_without_identity_is_not_found(tmp_path, clock):
    with pytest.raises(NotFoundError):
        Owner.open(tmp_path, clock=clock)
    assert list(tmp_path.iterdir()) == []


def test_a_binding_is_renewed_when_due_and_keeps_scopes_and_epoch(owner, tmp_path, clock):
    first = owner.bind(scopes=Scope.SERVE | Scope.GUARDIAN, epoch=7)
    clock.advance(60 * DAY_S)
    assert owner.binding == first
    clock.advance(1)
    renewed = owner.binding
    assert renewed.not_after == clock.now_s() + 90 * DAY_S
    assert (renewed.scopes, renewed.epoch) == (first.scopes, 7)
    assert Owner.open(tmp_path, clock=clock).binding == renewed


def test_a_locked_node_keeps_its_old_binding_until_it_is_unlocked(owner, tmp_path, clock):
    clock.advance(100 * DAY_S)
    locked = Owner.open(tmp_path, clock=clock)
    assert locked.binding.not_after < clock.now_s()
    locked.unlock(PASSPHRASE)
    assert locked.binding.not_after == clock.now_s() + 90 * DAY_S


def test_a_full_disk_does_not_keep_an_owner_from_unlocking(owner, tmp_path, clock):
    clock.advance(100 * DAY_S)
    (tmp_path / "binding.bin.new").mkdir()  # every write of the binding fails
    again = Owner.open(tmp_path, clock=clock)
    again.unlock(PASSPHRASE)
    assert again.binding.not_after == clock.now_s() + 90 * DAY_S
    with pytest.raises(StorageError):
        again.bind()


def test_a_lost_device_key_makes_another_device_that_unlocking_binds(owner, tmp_path, clock):
    (tmp_path / "device.key").unlink()
    again = Owner.open(tmp_path, clock=clock)
    assert again.device.public_key != owner.device.public_key
    with pytest.raises(VaultLockedError, match="not bound yet"):
        _ = again.binding
    again.unlock(PASSPHRASE)
    assert again.binding.peer == again.device.public_key


def test_a_damaged_binding_is_renewed_and_a_damaged_device_key_is_named(owner, tmp_path, clock):
    (tmp_path / "binding.bin").write_bytes(b"junk")
    again = Owner.open(tmp_path, clock=clock)
    again.unlock(PASSPHRASE)
    assert again.binding.owner == owner.account
    data = bytearray((tmp_path / "device.key").read_bytes())
    data[-1] ^= 1
    (tmp_path / "device.key").write_bytes(data)
    with pytest.raises(DamagedError, match=r"device\.key is damaged"):
        Owner.open(tmp_path, clock=clock)


def test_all_files_are_for_the_owner_alone_and_refused_otherwise(owner, tmp_path, clock):
    assert sorted(path.name for path in tmp_path.iterdir()) == ["binding.bin", "device.key", "vault.json"]
    for path in list(tmp_path.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o640)
        with pytest.raises(NotPermittedError, match="chmod 600"):
            Owner.open(tmp_path, clock=clock)
        path.chmod(0o600)


def test_nothing_secret_lies_open_on_the_disk(owner, tmp_path):
    held = (owner.vault.get("account-key"), owner.content_root(), owner.backup_key(), owner.master_key())
    secrets = [secret.reveal() for secret in held]
    for name in ("vault.json", "binding.bin"):
        data = (tmp_path / name).read_bytes()
        for secret in secrets:
            assert secret not in data
            assert secret.hex().encode() not in data
        assert b"abandon" not in data


def test_a_keystore_opens_in_another_wallet(owner):
    exported = export_keystore_v3(owner.vault.get("account-key"), Secret("export passphrase"), scrypt_n=2)
    assert json.loads(exported)["version"] == 3
    assert EthAccount.decrypt(exported, "export passphrase") == owner.vault.get("account-key").reveal()


def test_a_keystore_needs_both_passphrases(owner):
    with pytest.raises(WrongPassphraseError):
        owner.export_keystore_v3(Secret("not the passphrase"), Secret("export passphrase"))
    with pytest.raises(WeakPassphraseError):
        owner.export_keystore_v3(PASSPHRASE, Secret("short"))
