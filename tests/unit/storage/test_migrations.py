"""Data moves forward step by step behind a snapshot, and newer data is left alone."""

from __future__ import annotations

import pytest

from marina.clock import ManualClock
from marina.schema import encode_record
from storage.errors import NewerDataError, StorageError
from storage.kv import LevelKv, Table
from storage.migrations import Migration, SchemaVersion, open_database, read_version
from storage.repair import repair_database


async def rename_key(store):
    table = Table(store, "songs")
    old = await table.get(b"old")
    if old is not None:
        await table.write({b"new": old, b"old": None})


async def upper_case(store):
    table = Table(store, "songs")
    await table.put(b"new", (await table.get(b"new")).upper())


async def explode(store):
    await Table(store, "songs").put(b"half", b"done")
    raise RuntimeError("power cut")


TO_2 = Migration(2, "rename", rename_key)
TO_3 = Migration(3, "upper case", upper_case)


@pytest.fixture
def places(tmp_path):
    return tmp_path / "meta", tmp_path / "backups"


async def write_version_1(meta, backups):
    store = await open_database(meta, backups, clock=ManualClock())
    await Table(store, "songs").put(b"old", b"tide")
    await store.close()


async def test_a_new_database_starts_at_the_newest_version(places):
    store = await open_database(*places, clock=ManualClock(), migrations=[TO_2, TO_3])
    assert await read_version(store) == 3
    await store.close()
    assert not places[1].exists()


async def test_old_data_is_copied_then_moved_through_each_step(places):
    meta, backups = places
    await write_version_1(meta, backups)
    store = await open_database(meta, backups, clock=ManualClock(), migrations=[TO_2, TO_3])
    assert await Table(store, "songs").scan() == [(b"new", b"TIDE")]
    assert await read_version(store) == 3
    await store.close()
    (snapshot,) = backups.iterdir()
    kept = LevelKv(snapshot)
    assert await Table(kept, "songs").scan() == [(b"old", b"tide")]
    assert await read_version(kept) == 1
    await kept.close()


async def test_an_interrupted_migration_runs_on_at_the_next_start(places):
    meta, backups = places
    await write_version_1(meta, backups)
    with pytest.raises(RuntimeError):
        await open_database(
            meta, backups, clock=ManualClock(), migrations=[TO_2, Migration(3, "boom", explode)]
        )
    store = await open_database(meta, backups, clock=ManualClock(), migrations=[TO_2, TO_3])
    assert await Table(store, "songs").get(b"new") == b"TIDE"
    await store.close()


async def test_newer_data_is_refused_and_left_as_it_is(places):
    meta, backups = places
    await write_version_1(meta, backups)
    store = LevelKv(meta)
    await Table(store, "schema").put(b"version", encode_record(SchemaVersion(9)))
    await store.close()
    with pytest.raises(NewerDataError, match="install the newer Marina"):
        await open_database(meta, backups, clock=ManualClock(), migrations=[TO_2])
    store = LevelKv(meta)
    assert await Table(store, "songs").scan() == [(b"old", b"tide")]
    assert await read_version(store) == 9
    await store.close()


async def test_a_version_row_of_another_format_counts_as_newer(places):
    store = LevelKv(places[0])
    await Table(store, "schema").put(b"version", b"\x91\x01")
    await store.close()
    with pytest.raises(NewerDataError):
        await open_database(*places, clock=ManualClock())


async def test_data_without_a_version_is_not_taken_for_a_new_database(places):
    store = LevelKv(places[0])
    await Table(store, "songs").put(b"k", b"v")
    await store.close()
    with pytest.raises(StorageError, match="no version"):
        await open_database(*places, clock=ManualClock())


async def test_only_the_last_snapshots_are_kept(places):
    meta, backups = places
    clock = ManualClock()
    for number in range(1, 7):
        steps = [Migration(n, "nothing", rename_key) for n in range(2, number + 1)]
        clock.advance(10)
        store = await open_database(meta, backups, clock=clock, migrations=steps)
        await store.close()
    assert sorted(path.name.split("-")[1] for path in backups.iterdir()) == ["v3", "v4", "v5"]


async def test_steps_with_a_gap_are_a_programming_error(places):
    with pytest.raises(ValueError, match="stands where 2 belongs"):
        await open_database(*places, clock=ManualClock(), migrations=[TO_3])


async def test_a_damaged_database_says_so_and_repair_salvages_the_rest(places):
    meta, backups = places
    store = LevelKv(meta)
    await Table(store, "songs").write({b"%04d" % i: bytes(1000) for i in range(500)})
    await store.compact(b"")
    await store.close()
    store = LevelKv(meta)
    await Table(store, "songs").put(b"late", b"in the log")
    await store.close()
    for manifest in meta.glob("MANIFEST-*"):
        manifest.write_bytes(b"rubbish" * 100)
    with pytest.raises(StorageError, match=r"damaged .*marina repo repair"):
        LevelKv(meta)
    copy = await repair_database(meta, backups, clock=ManualClock())
    assert b"rubbish" in next(copy.glob("MANIFEST-*")).read_bytes()
    store = LevelKv(meta)
    rows = await Table(store, "songs").scan(limit=1000)
    assert len(rows) == 501
    await store.close()


async def test_a_flipped_byte_in_a_table_is_an_error_and_not_a_wrong_value(places):
    meta, _ = places
    store = LevelKv(meta)
    await Table(store, "songs").write({b"%04d" % i: b"%04d" % i * 250 for i in range(500)})
    await store.compact(b"")
    await store.close()
    (table,) = list(meta.glob("*.ldb")) or list(meta.glob("*.sst"))
    damaged = bytearray(table.read_bytes())
    damaged[100] ^= 1
    table.write_bytes(damaged)
    store = LevelKv(meta)
    with pytest.raises(StorageError, match="cannot be read"):
        await Table(store, "songs").scan(limit=1000)
    await store.close()


async def test_what_cannot_be_copied_is_not_repaired(places, tmp_path):
    (tmp_path / "backups").write_text("a file in the way")
    with pytest.raises(StorageError, match="cannot copy"):
        await repair_database(*places, clock=ManualClock())
