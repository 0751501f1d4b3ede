from __future__ import annotations

import sqlite3

import pytest

from chain.dev.store import SCHEMA_VERSION, WAL_BYTES_KEPT, EvmDatabase, Store
from marina.errors import DamagedError
from storage.errors import DiskFullError, NewerDataError, StorageError
from tests.support.chains import RpcError
from tests.support.dev_engine import STORES


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "c.sqlite")
    made.open()
    yield made
    made.close()


def test_what_a_transaction_wrote_is_there_after_reopening(tmp_path, store):
    with store.transaction():
        store.put(b"key", b"value")
        store.set_note("name", b"note")
    other = Store(tmp_path / "c.sqlite")
    other.open()
    assert (other.get(b"key"), other.note("name")) == (b"value", b"note")
    other.close()


def test_a_transaction_that_raises_changes_nothing(store):
    def fail():
        with store.transaction():
            store.put(b"key", b"value")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert store.get(b"key") is None


def test_nothing_is_changed_outside_a_transaction(store):
    with pytest.raises(RuntimeError):
        store.put(b"key", b"value")


def test_transactions_do_not_nest(store):
    with store.transaction(), pytest.raises(RuntimeError), store.transaction():
        pass


def test_commits_are_written_through_and_the_log_is_bounded(store):
    pragmas = {
        name: store._execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("synchronous", "journal_mode", "journal_size_limit")
    }
    assert pragmas == {"synchronous": 2, "journal_mode": "wal", "journal_size_limit": WAL_BYTES_KEPT}


def test_the_write_ahead_log_does_not_grow_with_the_data(tmp_path, store):
    for number in range(60):
        with store.transaction():
            for each in range(50):
                store.put(b"%d.%d" % (number, each), bytes(8192))
    assert (tmp_path / "c.sqlite").stat().st_size > 20 << 20
    assert (tmp_path / "c.sqlite-wal").stat().st_size <= WAL_BYTES_KEPT
    store.close()
    assert not (tmp_path / "c.sqlite-wal").exists()


def test_the_file_is_for_its_owner_only(tmp_path, store):
    assert (tmp_path / "c.sqlite").stat().st_mode & 0o077 == 0


def test_newer_data_is_refused_and_left_as_it_is(tmp_path, store):
    store.close()
    with sqlite3.connect(tmp_path / "c.sqlite") as raw:
        raw.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    raw.close()
    before = (tmp_path / "c.sqlite").read_bytes()
    with pytest.raises(NewerDataError, match="newer Marina"):
        store.open()
    assert (tmp_path / "c.sqlite").read_bytes() == before


def test_the_database_of_another_program_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "other.sqlite") as raw:
        raw.execute("CREATE TABLE songs (title)")
    raw.close()
    with pytest.raises(DamagedError, match="not the database of a development chain"):
        Store(tmp_path / "other.sqlite").open()


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "noise").write_bytes(b"no database at all " * 1000)
    with pytest.raises(DamagedError, match="damaged"):
        Store(tmp_path / "noise").open()


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(StorageError, match="cannot open"):
        Store(tmp_path / "none" / "c.sqlite").open()


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.get(b"key")


def test_a_full_disk_refuses_the_transaction_and_keeps_the_chain(funded):
    address = funded.deploy(STORES)
    before = funded.rpc("eth_getBlockByNumber", "latest", False)
    raw = funded.signed(to=address, data="0x" + "ff" * 60_000, gas=6_000_000)
    pages = funded.store._execute("PRAGMA page_count").fetchone()[0]
    funded.store._execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(RpcError) as caught:
        funded.rpc("eth_sendRawTransaction", raw)
    assert caught.value.code == -32603
    assert "full" in caught.value.message
    with pytest.raises(DiskFullError):
        funded.engine.send(bytes.fromhex(raw[2:]))
    assert funded.rpc("eth_getBlockByNumber", "latest", False) == before
    funded.store._execute("PRAGMA max_page_count = 1000000")
    assert (
        funded.rpc("eth_getTransactionReceipt", funded.rpc("eth_sendRawTransaction", raw))["status"] == "0x1"
    )


def test_the_evm_sees_a_mapping(store):
    database = EvmDatabase(store)
    with store.transaction():
        with database.atomic_batch() as batch:
            batch[b"a"] = b"1"
        database[b"b"] = b"2"
        del database[b"b"]
    assert database[b"a"] == b"1"
    assert b"b" not in database
    with pytest.raises(KeyError):
        database[b"b"]
    with pytest.raises(KeyError), store.transaction():
        del database[b"b"]


def test_an_evm_batch_that_raises_writes_nothing(store, caplog):
    database = EvmDatabase(store)

    def fail():
        with database.atomic_batch() as batch:
            batch[b"a"] = b"1"
            raise KeyError

    with store.transaction(), pytest.raises(KeyError):
        fail()
    assert b"a" not in database
