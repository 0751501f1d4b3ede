"""The vault opens with its passphrase only, survives crashes and says what is wrong with its file."""

from __future__ import annotations

import json
import os
import stat
import time
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marina.errors import DamagedError, NotFoundError, NotPermittedError
from marina.secret import Secret
from storage.errors import NewerDataError, StorageError, VaultLockedError, WrongPassphraseError
from storage.identity.errors import WeakPassphraseError
from storage.identity.vault import Vault
from storage.identity.vault_file import KdfCost, parse

CHEAP = KdfCost(memory_kib=32, iterations=1, lanes=1)
PASSPHRASE = Secret("correct horse battery")
OTHER = Secret("staple of the reef")
WORDS_KEY = X25519PrivateKey.from_private_bytes(b"r" * 32)
RECIPIENT = WORDS_KEY.public_key().public_bytes_raw()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vault.json"


@pytest.fixture
def vault(path):
    return Vault.create(
        path,
        PASSPHRASE,
        facts={"account": "aa"},
        items={"words": Secret(b"w" * 32)},
        recipient=RECIPIENT,
        cost=CHEAP,
    )


def reopened(path, passphrase=PASSPHRASE):
    again = Vault.open(path)
    again.unlock(passphrase)
    return again


def test_an_item_comes_back_after_reopening(vault, path):
    vault.put("api/token", Secret(b"token"))
    again = Vault.open(path)
    assert again.is_locked
    assert again.facts == {"account": "aa"}
    assert again.item_names() == ("api/token", "words")
    with pytest.raises(VaultLockedError):
        again.get("words")
    again.unlock(PASSPHRASE)
    assert again.get("api/token").reveal() == b"token"
    assert again.get("words").reveal() == b"w" * 32


def test_a_wrong_passphrase_opens_nothing(vault, path):
    again = Vault.open(path)
    with pytest.raises(WrongPassphraseError):
        again.unlock(OTHER)
    assert again.is_locked


def test_a_wrong_passphrase_does_not_lock_what_is_open(vault):
    with pytest.raises(WrongPassphraseError):
        vault.unlock(OTHER)
    assert vault.get("words").reveal() == b"w" * 32


def test_locking_overwrites_the_keys(vault):
    master, kek = vault._master, vault._kek
    vault.lock()
    assert bytes(master) == bytes(32)
    assert bytes(kek) == bytes(32)
    for refused in (
        vault.master_key,
        vault.rotate_master,
        vault.previous_master_key,
        lambda: vault.put("a", Secret(b"")),
        lambda: vault.remove("words"),
    ):
        with pytest.raises(VaultLockedError):
            refused()


def test_one_spelling_of_an_accent_is_as_good_as_the_other(path):
    Vault.create(path, Secret("caf\u00e9 au lait"), facts={}, items={}, recipient=RECIPIENT, cost=CHEAP)
    reopened(path, Secret("cafe\u0301 au lait"))


def test_a_new_passphrase_replaces_the_old(vault, path):
    before = vault.master_key()
    vault.change_passphrase(PASSPHRASE, OTHER)
    assert vault.get("words").reveal() == b"w" * 32
    assert reopened(path, OTHER).master_key() == before
    with pytest.raises(WrongPassphraseError):
        reopened(path)
    vault.rotate_master()  # the open vault must have taken over the new KEK
    reopened(path, OTHER)


def test_the_passphrase_is_changed_only_by_who_knows_it(vault, path):
    with pytest.raises(WrongPassphraseError):
        vault.change_passphrase(OTHER, OTHER)
    with pytest.raises(WeakPassphraseError):
        vault.change_passphrase(PASSPHRASE, Secret("short"))
    reopened(path)


def test_the_words_reset_a_forgotten_passphrase_also_after_a_rotation(vault, path):
    vault.rotate_master()
    vault.finish_rotation()
    forgotten = Vault.open(path)
    forgotten.reset_passphrase(WORDS_KEY, OTHER)
    assert forgotten.is_locked
    assert reopened(path, OTHER).get("words").reveal() == b"w" * 32
    with pytest.raises(WrongPassphraseError):
        reopened(path)


def test_other_words_reset_nothing(vault, path):
    before = path.read_bytes()
    with pytest.raises(NotPermittedError, match="another identity"):
        vault.reset_passphrase(X25519PrivateKey.generate(), OTHER)
    with pytest.raises(WeakPassphraseError):
        vault.reset_passphrase(WORDS_KEY, Secret("short"))
    assert path.read_bytes() == before


def test_a_recovery_part_from_before_a_rotation_is_damaged(vault, path):
    old = parse(path.read_bytes(), name="vault.json")
    vault.rotate_master()
    new = parse(path.read_bytes(), name="vault.json")
    with pytest.raises(DamagedError, match="recovery part"):
        Vault(path, replace(new, recovery=old.recovery)).reset_passphrase(WORDS_KEY, OTHER)


def test_a_forged_recovery_part_does_not_replace_the_master_key(vault, path):
    forger = Vault.create(
        path.with_name("other.json"), OTHER, facts={}, items={}, recipient=RECIPIENT, cost=CHEAP
    )
    file = parse(path.read_bytes(), name="vault.json")
    before = path.read_bytes()
    with pytest.raises(DamagedError):
        Vault(path, replace(file, recovery=forger._file.recovery)).reset_passphrase(WORDS_KEY, OTHER)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "1234567", "x" * 1025])
def test_a_weak_passphrase_makes_no_vault(path, text):
    with pytest.raises(WeakPassphraseError, match=r"at least 8|at most 1024"):
        Vault.create(path, Secret(text), facts={}, items={}, recipient=RECIPIENT, cost=CHEAP)
    assert not path.exists()


def test_a_vault_is_never_overwritten(vault, path):
    before = path.read_bytes()
    with pytest.raises(StorageError, match="never overwritten"):
        Vault.create(path, OTHER, facts={}, items={}, recipient=RECIPIENT, cost=CHEAP)
    assert path.read_bytes() == before


def test_a_rotated_master_key_keeps_items_and_ends_the_old_key(vault, path):
    old = vault.master_key()
    old_file = path.read_bytes()
    new = vault.rotate_master()
    assert new != old
    assert vault.get("words").reveal() == b"w" * 32
    assert vault.previous_master_key() == old
    again = reopened(path)
    assert (again.master_key(), again.previous_master_key()) == (new, old)
    with pytest.raises(StorageError, match="unfinished"):
        again.rotate_master()
    again.finish_rotation()
    assert reopened(path).previous_master_key() is None
    assert json.loads(old_file)["master"] != json.loads(path.read_bytes())["master"]
    assert old.reveal() not in path.read_bytes()


def test_items_cannot_change_places(vault, path):
    vault.put("b", Secret(b"second"))
    file = parse(path.read_bytes(), name="vault.json")
    swapped = dict(file.items)
    swapped["b"], swapped["words"] = swapped["words"], swapped["b"]
    forged = Vault(path, replace(file, items=swapped))
    forged.unlock(PASSPHRASE)
    with pytest.raises(DamagedError, match="words in the vault is damaged"):
        forged.get("words")


def test_an_older_version_of_an_item_under_a_new_number_is_damaged(vault, path):
    file = parse(path.read_bytes(), name="vault.json")
    forged = Vault(path, replace(file, items={"words": replace(file.items["words"], version=2)}))
    forged.unlock(PASSPHRASE)
    with pytest.raises(DamagedError):
        forged.get("words")


def test_changed_facts_do_not_open(vault, path):
    file = parse(path.read_bytes(), name="vault.json")
    with pytest.raises(WrongPassphraseError):
        Vault(path, replace(file, facts={"account": "bb"})).unlock(PASSPHRASE)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_byte_is_damage_and_never_a_wrong_passphrase(vault, data):
    good = vault._path.read_bytes()
    position = data.draw(st.integers(0, len(good) - 1))
    flip = data.draw(st.integers(1, 255))
    broken = bytearray(good)
    broken[position] ^= flip
    with pytest.raises((DamagedError, NewerDataError)):
        parse(bytes(broken), name="vault.json")


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda inner: st.dictionaries(
            st.sampled_from(["format", "kdf", "items", "master", "facts", "salt"]), inner, max_size=4
        ),
        max_leaves=8,
    ).map(lambda tree: json.dumps(tree).encode())
)
def test_any_other_bytes_are_damaged(data):
    with pytest.raises(DamagedError):
        parse(data, name="vault.json")


def test_a_cut_file_is_damaged(vault, path):
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DamagedError, match="24 words"):
        Vault.open(path)


def test_a_newer_file_is_left_alone(vault, path):
    path.write_bytes(path.read_bytes().replace(b"marina/vault/1", b"marina/vault/2"))
    with pytest.raises(NewerDataError, match="newer Marina"):
        Vault.open(path)


def test_a_hostile_cost_is_refused_before_memory_is_taken(vault, path):
    path.write_bytes(path.read_bytes().replace(b'"memory_kib": 32', b'"memory_kib": 4294967295'))
    started_s = time.monotonic()
    with pytest.raises(DamagedError):
        Vault.open(path)
    assert time.monotonic() - started_s < 1


def test_a_missing_file_is_not_found(path):
    with pytest.raises(NotFoundError):
        Vault.open(path)


def test_the_file_is_for_its_owner_alone(vault, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    vault.put("more", Secret(b"x"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["vault.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o610])
def test_a_file_that_others_may_open_is_refused(vault, path, mode):
    path.chmod(mode)
    with pytest.raises(NotPermittedError, match="chmod 600"):
        Vault.open(path)


def test_a_symbolic_link_and_a_fifo_are_refused(vault, path, tmp_path):
    link, fifo = tmp_path / "link", tmp_path / "fifo"
    link.symlink_to(path)
    os.mkfifo(fifo, 0o600)
    with pytest.raises(StorageError):
        Vault.open(link)
    with pytest.raises(NotPermittedError, match="plain file"):
        Vault.open(fifo)


def test_a_write_that_fails_leaves_the_old_item(vault, path):
    path.with_name("vault.json.new").mkdir()
    for refused in (lambda: vault.put("words", Secret(b"new")), vault.rotate_master):
        with pytest.raises(StorageError, match="could not write"):
            refused()
    assert vault.get("words").reveal() == b"w" * 32
    assert reopened(path).get("words").reveal() == b"w" * 32


def test_a_draft_that_others_may_read_is_not_written_into(vault, path):
    draft = path.with_name("vault.json.new")
    draft.write_bytes(b"left by a crash")
    draft.chmod(0o666)
    vault.put("more", Secret(b"x"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", "Words", "a b", "../x", "ä", "x" * 65])
def test_a_strange_item_name_is_refused(vault, name):
    with pytest.raises(ValueError, match="no name"):
        vault.put(name, Secret(b""))


def test_items_are_bounded_in_size_and_number(vault):
    with pytest.raises(ValueError, match="at most 16384"):
        vault.put("big", Secret(bytes(16385)))
    file = vault._file
    vault._file = replace(file, items={f"i{n}": file.items["words"] for n in range(256)})
    with pytest.raises(ValueError, match="at most 256 items"):
        vault.put("one-more", Secret(b""))


def test_the_default_cost_is_that_of_the_design_and_takes_real_time(path):
    started_s = time.monotonic()
    Vault.create(path, PASSPHRASE, facts={}, items={}, recipient=RECIPIENT)
    assert time.monotonic() - started_s > 0.02
    kdf = json.loads(path.read_bytes())["kdf"]
    assert (kdf["memory_kib"], kdf["iterations"], kdf["lanes"]) == (65536, 3, 4)
    reopened(path)


def test_facts_and_items_change_together(vault, path):
    vault.update(facts={"second": "bb"}, items={"key": Secret(b"k"), "words": Secret(b"v" * 32)})
    again = reopened(path)
    assert again.facts == {"account": "aa", "second": "bb"}
    assert (again.get("key").reveal(), again.get("words").reveal()) == (b"k", b"v" * 32)
    again.update(facts={"second": None}, items={"key": None, "unknown": None})
    last = reopened(path)
    assert (dict(last.facts), last.item_names()) == ({"account": "aa"}, ("words",))


def test_changed_facts_need_an_open_vault_and_good_names(vault, path):
    with pytest.raises(ValueError, match="no name"):
        vault.update(facts={"Not A Name": "x"}, items={})
    with pytest.raises(ValueError, match="no name"):
        vault.update(facts={}, items={"Not A Name": Secret(b"x")})
    vault.lock()
    with pytest.raises(VaultLockedError):
        vault.update(facts={"second": "bb"}, items={})
    assert reopened(path).facts == {"account": "aa"}
