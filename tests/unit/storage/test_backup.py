"""A backup comes back whole with the words, is refused when a byte is wrong, and leaves out the audio."""

from __future__ import annotations

import io
import stat
import tracemalloc
from dataclasses import replace

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marina.clock import ManualClock
from marina.errors import DamagedError, NotFoundError, NotPermittedError, UsageError
from marina.secret import Secret
from storage.backup import BLOCK_TABLES, BackupKey, check_backup, create_backup, restore_backup
from storage.backup_frames import FrameReader, FrameWriter, PairEntry
from storage.backup_stream import CHUNK_BYTES, SealedReader, SealedWriter, read_header
from storage.blocks.index import StoreIndex
from storage.errors import StorageError
from storage.identity.derive import backup_private_key, derive_keys
from storage.identity.owner import Owner
from storage.identity.typed_data import account_of_key
from storage.identity.vault_file import KdfCost
from storage.identity.words import generate_words, parse_words, words_seed
from storage.kv import LevelKv, MemoryKv, Table

CHEAP = KdfCost(memory_kib=32, iterations=1, lanes=1)
PASSPHRASE = Secret("correct horse battery")
WORDS = parse_words(" ".join(["abandon"] * 23 + ["art"]))
CLOCK = ManualClock(1_800_000_000)


def key_of(words) -> BackupKey:
    keys = derive_keys(words_seed(words))
    return BackupKey(account_of_key(keys.account_key.reveal()), keys.backup_key)


KEY = key_of(WORDS)


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return home


@pytest.fixture
def owner(home):
    owner = Owner.create(home, PASSPHRASE, clock=CLOCK, words=WORDS, cost=CHEAP)
    for name, data in (("config.toml", b"quota = 1\n"), ("deks.bin", b"sealed keys"), ("api.token", b"tok")):
        (home / name).write_bytes(data)
        (home / name).chmod(0o600)
    return owner


async def filled(pairs) -> MemoryKv:
    store = MemoryKv()
    await store.write(pairs)
    return store


async def open_level(path) -> LevelKv:
    return await trio.to_thread.run_sync(LevelKv, path)


ROWS = [(b"lib/track\x00%05d" % n, b"value %d" % n * (n % 40)) for n in range(700)]


async def make(path, home, owner, pairs=ROWS, **options):
    return await create_backup(
        path, home=home, store=await filled(pairs), owner=owner, clock=CLOCK, **options
    )


async def test_a_restored_home_has_the_database_the_settings_and_the_identity(tmp_path, home, owner):
    path = tmp_path / "one.mbk"
    owner.lock()  # a locked node makes its daily backup all the same
    made = await make(path, home, owner)
    assert (made.files, made.pairs, made.account) == (3, len(ROWS), owner.account)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert check_backup(path, KEY) == made

    target = tmp_path / "new"
    assert await restore_backup(path, KEY, target, open_store=open_level) == made
    assert sorted(p.name for p in target.iterdir()) == ["config.toml", "deks.bin", "meta", "vault.json"]
    assert (target / "config.toml").read_bytes() == b"quota = 1\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    store = await open_level(target / "meta")
    assert await store.scan(b"", limit=10_000) == ROWS
    await store.close()

    again = Owner.open(target, clock=CLOCK)
    again.unlock(PASSPHRASE)
    assert again.account == owner.account
    assert again.device.public_key != owner.device.public_key
    assert again.binding.peer == again.device.public_key
    assert [p.name for p in tmp_path.iterdir() if "restoring" in p.name] == []


async def test_the_words_alone_open_a_backup_whose_passphrase_is_forgotten(tmp_path, home, owner):
    master = owner.master_key()
    await make(tmp_path / "b.mbk", home, owner)
    await restore_backup(tmp_path / "b.mbk", KEY, tmp_path / "new", open_store=open_level)
    again = Owner.open(tmp_path / "new", clock=CLOCK)
    again.reset_passphrase(WORDS, Secret("a new passphrase"))
    again.unlock(Secret("a new passphrase"))
    assert again.master_key() == master


async def test_block_tables_stay_out_and_their_neighbours_stay_in(tmp_path, home, owner):
    left_out = [(table.encode() + b"\x00" + b"%03d" % n, b"x") for table in BLOCK_TABLES for n in range(150)]
    kept = [
        (b"pinned\x00a", b"1"),
        (b"hav\x00a", b"2"),
        (b"zz\x00a", b"3"),
        (b"a\x00a", b"4"),
        (b"pins", b"5"),
    ]
    made = await make(tmp_path / "b.mbk", home, owner, left_out + kept)
    assert made.pairs == len(kept)


def test_every_table_of_the_block_store_is_left_out():
    store = MemoryKv()
    index = StoreIndex(store, quota=None)
    names = {
        table.key(b"").decode().rstrip("\x00") for table in vars(index).values() if isinstance(table, Table)
    }
    assert names == set(BLOCK_TABLES)


async def test_no_secret_and_no_plaintext_is_in_the_file(tmp_path, home, owner):
    await make(tmp_path / "b.mbk", home, owner, [(b"lib\x00private name", b"listened to this")])
    data = (tmp_path / "b.mbk").read_bytes()
    device = (home / "device.key").read_bytes()
    for hidden in (b"private name", b"listened", b"quota", b"argon2id", device, owner.device.seed.reveal()):
        assert hidden not in data


async def test_other_words_do_not_open_it_and_the_message_names_both_accounts(tmp_path, home, owner):
    await make(tmp_path / "b.mbk", home, owner)
    with pytest.raises(NotPermittedError, match=r"backup of 0xF278.*words are those of 0x"):
        check_backup(tmp_path / "b.mbk", key_of(generate_words()))


async def test_a_home_that_is_not_empty_is_left_alone(tmp_path, home, owner):
    await make(tmp_path / "b.mbk", home, owner)
    before = sorted(p.name for p in home.iterdir())
    with pytest.raises(UsageError, match="not empty"):
        await restore_backup(tmp_path / "b.mbk", KEY, home, open_store=open_level)
    assert sorted(p.name for p in home.iterdir()) == before
    (tmp_path / "empty").mkdir()
    await restore_backup(tmp_path / "b.mbk", KEY, tmp_path / "empty", open_store=open_level)
    assert (tmp_path / "empty" / "vault.json").exists()


async def test_a_damaged_backup_leaves_nothing_of_a_restore(tmp_path, home, owner):
    path = tmp_path / "b.mbk"
    await make(path, home, owner, [(b"k%05d" % n, bytes(900)) for n in range(400)])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError):
        await restore_backup(path, KEY, tmp_path / "new", open_store=open_level)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.mbk", "home"]


async def test_a_missing_backup_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        check_backup(tmp_path / "none.mbk", KEY)


async def test_a_directory_that_is_gone_gives_a_declared_error_and_nothing_else(tmp_path, home, owner):
    with pytest.raises(StorageError, match="could not write the backup"):
        await make(tmp_path / "gone" / "b.mbk", home, owner)


async def test_a_database_that_fails_leaves_no_draft(tmp_path, home, owner):
    class Failing(MemoryKv):
        async def scan(self, prefix, *, after=b"", limit=1000):
            if after:
                raise StorageError("cannot be read")
            return await super().scan(prefix, after=after, limit=limit)

    store = Failing()
    await store.write(ROWS)
    (tmp_path / "b.mbk").write_bytes(b"yesterday's")
    with pytest.raises(StorageError, match="cannot be read"):
        await create_backup(tmp_path / "b.mbk", home=home, store=store, owner=owner, clock=CLOCK)
    assert (tmp_path / "b.mbk").read_bytes() == b"yesterday's"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.mbk", "home"]


def sealed(owner, entries=((b"key", b"value" * 40_000),), mutate=lambda writer: None) -> bytes:
    file = io.BytesIO()
    writer = FrameWriter(file, owner=owner, binding=owner.binding, created_s=1)
    writer.add_file("config.toml", b"quota = 1")
    writer.add_pairs(entries)
    mutate(writer)
    writer.finish()
    return file.getvalue()


def opened(data: bytes):
    reader = FrameReader(SealedReader(io.BytesIO(data), account=KEY.account, key=backup_private_key(KEY.key)))
    return list(reader.entries()), reader.summary


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_flipped_byte_and_every_cut_is_damage(owner, data):
    good = _cached(owner)
    position = data.draw(st.one_of(st.integers(0, 400), st.integers(0, len(good) - 1)))
    broken = bytearray(good)
    broken[position] ^= data.draw(st.integers(1, 255))
    for wrong in (bytes(broken), good[:position]):
        with pytest.raises(DamagedError, match=r"damaged|no backup"):
            opened(wrong)


_CACHE: dict[bytes, bytes] = {}


def _cached(owner) -> bytes:
    return _CACHE.setdefault(owner.account, sealed(owner))


def test_cuts_at_chunk_borders_and_appended_bytes_are_damage(owner):
    good = sealed(owner)
    file = io.BytesIO(good)
    read_header(file)
    start, chunk = file.tell(), CHUNK_BYTES + 16
    assert len(good) > start + 3 * chunk
    for count in range(4):
        with pytest.raises(DamagedError):
            opened(good[: start + count * chunk])
    swapped = good[:start] + good[start + chunk : start + 2 * chunk] + good[start : start + chunk]
    with pytest.raises(DamagedError):
        opened(swapped + good[start + 2 * chunk :])
    for more in (b"\x00", bytes(chunk)):
        with pytest.raises(DamagedError):
            opened(good + more)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.binary(max_size=3000)), max_size=80))
def test_any_pairs_come_back_in_order(owner, entries):
    got, summary = opened(sealed(owner, entries))
    assert [(e.key, e.value) for e in got if isinstance(e, PairEntry)] == entries
    assert summary.pairs == len(entries)


@pytest.mark.parametrize("length", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
def test_a_stream_of_any_length_ends_where_it_ended(owner, length):
    file = io.BytesIO()
    writer = SealedWriter(file, created_s=1, account=KEY.account, recipient=owner.backup_recipient)
    writer.write(b"x" * length)
    writer.finish()
    file.seek(0)
    reader = SealedReader(file, account=KEY.account, key=backup_private_key(KEY.key))
    assert reader.read_exactly(length) == b"x" * length
    with pytest.raises(DamagedError, match="cut short"):
        reader.read_exactly(1)


def test_a_forged_backup_is_refused_although_it_is_sealed_to_the_right_key(owner, tmp_path):
    (tmp_path / "thief").mkdir()
    thief = Owner.create(tmp_path / "thief", PASSPHRASE, clock=CLOCK, cost=CHEAP)

    class Forger:
        account = owner.account
        backup_recipient = owner.backup_recipient
        device = thief.device
        binding = thief.binding

    with pytest.raises(NotPermittedError, match="another account"):
        opened(sealed(Forger()))
    Forger.binding = owner.binding  # the owner's binding is public, but its device's key is not
    with pytest.raises(NotPermittedError, match=r"not signed|another content"):
        opened(sealed(Forger()))
    Forger.binding = replace(owner.binding, peer=thief.device.public_key)
    with pytest.raises(NotPermittedError, match="may be forged"):
        opened(sealed(Forger()))


@pytest.mark.parametrize("name", ["../evil", "device.key", "api.token", "meta", "", "config.toml"])
def test_only_known_files_are_taken_and_each_once(owner, name):
    with pytest.raises(DamagedError, match="does not follow the format"):
        opened(sealed(owner, mutate=lambda writer: writer.add_file(name, b"x")))


def test_an_old_binding_still_proves_an_old_backup(owner):
    later_s = CLOCK.now_s() + 400 * 86_400
    assert owner.binding.not_after < later_s
    assert opened(sealed(owner))[1] is not None


def test_memory_does_not_grow_with_the_backup(owner, tmp_path):
    def write_and_check(pages: int) -> int:
        path = tmp_path / f"{pages}.mbk"
        tracemalloc.start()
        with path.open("wb") as file:
            writer = FrameWriter(file, owner=owner, binding=owner.binding, created_s=1)
            for page in range(pages):
                writer.add_pairs([(b"%d-%d" % (page, n), bytes(4096)) for n in range(64)])
            writer.finish()
        check_backup(path, KEY)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    small, large = write_and_check(8), write_and_check(80)
    assert large < small + 512 * 1024
