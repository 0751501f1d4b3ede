"""Private records stay private on the disk, cannot be swapped, and end with their key (T30)."""

from __future__ import annotations

import os
import shutil

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from marina.errors import DamagedError
from marina.secret import Secret
from storage.errors import StorageError, VaultLockedError
from storage.keyring import Scope
from storage.kv import LevelKv, MemoryKv, Table
from storage.private import PrivateStore

MARKER = b"Marker-8d1f-listened-to-Undertow"


class Vault:
    """Master keys as a vault keeps them: a previous one until the rotation is finished."""

    def __init__(self):
        self.current = Secret(os.urandom(32))
        self.previous = None
        self.fail_rotation = False

    def master_key(self):
        return self.current

    def previous_master_key(self):
        return self.previous

    def rotate_master(self):
        if self.fail_rotation or self.previous is not None:
            raise StorageError("the vault refused")
        self.previous, self.current = self.current, Secret(os.urandom(32))
        return self.current

    def finish_rotation(self):
        self.previous = None


def private_store(tmp_path, kv, vault):
    return PrivateStore(kv=kv, deks_path=tmp_path / "deks.bin", masters=vault)


@pytest.fixture
async def vault():
    return Vault()


@pytest.fixture
async def kv():
    return MemoryKv()


@pytest.fixture
async def private(tmp_path, kv, vault):
    store = private_store(tmp_path, kv, vault)
    await store.unlock()
    return store


def hits(directory, *needles):
    return [
        path
        for path in directory.rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


async def test_records_come_back_by_name_and_in_order(private):
    await private.put(Scope.PLAYLISTS, b"one", b"1")
    await private.put(Scope.PLAYLISTS, b"two", b"2")
    await private.put(Scope.SOCIAL, b"one", b"other")
    await private.put(Scope.PLAYLISTS, b"one", b"new")
    assert await private.get(Scope.PLAYLISTS, b"one") == b"new"
    assert dict(await private.items(Scope.PLAYLISTS)) == {b"one": b"new", b"two": b"2"}
    await private.delete(Scope.PLAYLISTS, b"one")
    assert await private.get(Scope.PLAYLISTS, b"one") is None
    numbers = [await private.append(Scope.HISTORY, b"%d" % i) for i in range(300)]
    assert numbers == list(range(1, 301))
    assert [value for _, value in await private.log(Scope.HISTORY, after=298)] == [b"298", b"299"]
    assert [n for n, _ in await private.log_back(Scope.HISTORY, limit=2)] == [300, 299]
    assert [n for n, _ in await private.log_back(Scope.HISTORY, before=3)] == [2, 1]


async def test_named_records_can_be_paged(private):
    for number in range(10):
        await private.put(Scope.SOCIAL, b"%d" % number, b"")
    first = await private.items(Scope.SOCIAL, limit=6)
    rest = await private.items(Scope.SOCIAL, after=first[-1][0])
    assert sorted(key for key, _ in first + rest) == [b"%d" % n for n in range(10)]


async def test_records_and_numbers_survive_a_restart(private, tmp_path, kv, vault):
    await private.put(Scope.SOCIAL, b"k", b"v")
    await private.append(Scope.HISTORY, b"first")
    again = private_store(tmp_path, kv, vault)
    await again.unlock()
    assert await again.get(Scope.SOCIAL, b"k") == b"v"
    assert await again.append(Scope.HISTORY, b"second") == 2


async def test_a_locked_store_refuses_everything(private):
    await private.put(Scope.SOCIAL, b"k", b"v")
    private.lock()
    assert not private.is_unlocked
    with pytest.raises(VaultLockedError):
        await private.get(Scope.SOCIAL, b"k")
    with pytest.raises(VaultLockedError):
        await private.put(Scope.SOCIAL, b"k", b"v")
    with pytest.raises(VaultLockedError):
        await private.append(Scope.HISTORY, b"v")
    with pytest.raises(VaultLockedError):
        await private.shred(Scope.SOCIAL)


async def test_a_record_in_the_place_of_another_does_not_open(private, kv):
    await private.put(Scope.SOCIAL, b"a", b"1")
    await private.put(Scope.SOCIAL, b"b", b"2")
    table = Table(kv, "private")
    (one, first), (two, second) = await table.scan()
    await table.write({one: second, two: first})
    with pytest.raises(DamagedError):
        await private.get(Scope.SOCIAL, b"a")


@pytest.mark.parametrize("where", [0, 1, 20, -1])
async def test_a_changed_record_does_not_open(private, kv, where):
    await private.append(Scope.HISTORY, b"played")
    table = Table(kv, "private-log")
    ((key, sealed),) = await table.scan()
    changed = bytearray(sealed)
    changed[where] ^= 0x80
    await table.put(key, bytes(changed))
    with pytest.raises((DamagedError, StorageError)):
        await private.log(Scope.HISTORY)


async def test_another_vault_does_not_open_the_keys(private, tmp_path, kv):
    await private.put(Scope.SOCIAL, b"k", b"v")
    with pytest.raises(DamagedError, match="same backup"):
        await private_store(tmp_path, kv, Vault()).unlock()


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: b"", lambda data: b"\xc1" * 99])
async def test_a_damaged_key_file_is_a_clear_error(private, tmp_path, kv, vault, spoil):
    await private.put(Scope.SOCIAL, b"k", b"v")
    path = tmp_path / "deks.bin"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DamagedError, match="restore a backup"):
        await private_store(tmp_path, kv, vault).unlock()


async def test_shredding_one_scope_leaves_the_others(private, tmp_path, kv, vault):
    await private.put(Scope.SOCIAL, b"k", b"v")
    await private.append(Scope.HISTORY, b"played")
    old_master = vault.current
    await private.shred(Scope.HISTORY)
    assert await private.log(Scope.HISTORY) == []
    assert await private.get(Scope.SOCIAL, b"k") == b"v"
    assert vault.current != old_master
    assert vault.previous is None
    assert await private.append(Scope.HISTORY, b"fresh") == 1
    again = private_store(tmp_path, kv, vault)
    await again.unlock()
    assert await again.log(Scope.HISTORY) == [(1, b"fresh")]


async def test_a_vault_that_refuses_leaves_everything_readable(private, tmp_path, kv, vault):
    await private.append(Scope.HISTORY, b"played")
    vault.fail_rotation = True
    with pytest.raises(StorageError):
        await private.shred(Scope.HISTORY)
    assert await private.log(Scope.HISTORY) == [(1, b"played")]
    vault.fail_rotation = False
    await private.shred(Scope.HISTORY)
    assert await private.log(Scope.HISTORY) == []


async def test_a_crash_between_vault_and_key_file_loses_nothing(private, tmp_path, kv, vault):
    await private.put(Scope.SOCIAL, b"k", b"v")
    vault.rotate_master()
    again = private_store(tmp_path, kv, vault)
    await again.unlock()
    assert vault.previous is None
    assert await again.get(Scope.SOCIAL, b"k") == b"v"


async def test_a_key_file_that_cannot_be_written_fails_the_shred_and_a_second_try_finishes(
    private, tmp_path, vault, kv
):
    await private.append(Scope.HISTORY, b"played")
    await private.put(Scope.SOCIAL, b"k", b"v")
    (tmp_path / "deks.bin.new").mkdir()
    with pytest.raises(StorageError):
        await private.shred(Scope.HISTORY)
    (tmp_path / "deks.bin.new").rmdir()
    await private.shred(Scope.HISTORY)
    again = private_store(tmp_path, kv, vault)
    await again.unlock()
    assert await again.log(Scope.HISTORY) == []
    assert await again.get(Scope.SOCIAL, b"k") == b"v"


async def test_no_plaintext_is_on_disk_at_any_time_and_old_copies_do_not_open_after_shredding(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    vault, kv = Vault(), LevelKv(home / "meta")
    private = private_store(home, kv, vault)
    await private.unlock()
    for number in range(200):
        await private.append(Scope.HISTORY, MARKER + b"%d" % number)
        await private.put(Scope.PLAYLISTS, MARKER + b"%d" % number, MARKER)
    assert hits(home, MARKER) == []
    await private.delete(Scope.PLAYLISTS, MARKER + b"0")
    assert hits(home, MARKER) == []
    old_copy, old_master = tmp_path / "old", vault.current
    await kv.close()
    shutil.copytree(home, old_copy)

    kv = LevelKv(home / "meta")
    private = private_store(home, kv, vault)
    await private.unlock()
    await private.shred(Scope.HISTORY)
    await private.shred(Scope.PLAYLISTS)
    assert hits(home, MARKER) == []
    assert old_master.reveal() not in (home / "deks.bin").read_bytes()
    await kv.close()

    # Today's vault with yesterday's files: neither the old key file nor any record opens.
    old_kv = LevelKv(old_copy / "meta")
    with pytest.raises(DamagedError):
        await private_store(old_copy, old_kv, vault).unlock()
    sealed = [value for name in ("private", "private-log") for _, value in await Table(old_kv, name).scan()]
    assert len(sealed) == 399
    for value in sealed[:5]:
        with pytest.raises(Exception):  # noqa: B017, PT011 - any refusal will do
            AESGCM(vault.current.reveal()).decrypt(value[1:13], value[13:], None)
    # The control: with the old master key it would all be there, so the copy was a real one.
    old_vault = Vault()
    old_vault.current = old_master
    control = private_store(old_copy, old_kv, old_vault)
    await control.unlock()
    assert (await control.log(Scope.HISTORY, limit=1))[0][1].startswith(MARKER)
    await old_kv.close()
