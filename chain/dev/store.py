"""The chain's file: one SQLite database for tries, blocks, logs and the chain's own notes.

Everything a request changes is one SQLite transaction, written through to the disk before the request is
answered (WAL, ``synchronous=FULL``): a process killed at any moment loses nothing that it acknowledged.
The write-ahead log is emptied into the database every thousand pages and cut back after a large
transaction, so that it does not grow with the chain.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eth.db.atomic import AtomicDBWriteBatch
from eth.db.backends.base import BaseAtomicDB

from marina.errors import DamagedError
from storage.errors import DiskFullError, NewerDataError, StorageError
from storage.file_ops import FILE_MODE

if TYPE_CHECKING:
    from eth.abc import AtomicWriteBatchAPI

SCHEMA_VERSION = 1
APPLICATION_ID = 0x4D4D4348
"""``MMCH`` in the file's header: tells the chain's database from any other."""
WAL_PAGES = 1000
WAL_BYTES_KEPT = 8 << 20
_SCHEMA = """
CREATE TABLE node (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE note (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE given (account BLOB, day INTEGER, wei TEXT NOT NULL, PRIMARY KEY (account, day)) WITHOUT ROWID;
CREATE TABLE log (
    number INTEGER, position INTEGER, address BLOB NOT NULL,
    topic0 BLOB, topic1 BLOB, topic2 BLOB, topic3 BLOB, data BLOB NOT NULL,
    transaction_hash BLOB NOT NULL, block_hash BLOB NOT NULL,
    PRIMARY KEY (number, position)
) WITHOUT ROWID;
CREATE INDEX log_address ON log (address, number);
"""


class Store:
    """One open database; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Take the file's place; nothing is opened yet."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._is_changing = False

    def open(self) -> None:
        """Open the file, or make it.

        Raises:
            NewerDataError: a newer Marina wrote it.
            DamagedError: it is no development chain's database, or it is damaged.
            StorageError: it cannot be opened.
        """
        try:
            self._path.touch(mode=FILE_MODE)
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.OperationalError) as err:
            raise StorageError(f"cannot open {self._path}: {err}") from err
        try:
            self._set_up(connection)
        except sqlite3.DatabaseError as err:
            connection.close()
            raise self._damaged(err) from err
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def close(self) -> None:
        """Empty the write-ahead log into the database and close it; idempotent."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything that the block changes durable at its end, or nothing if it raises.

        Raises:
            DiskFullError: the disk has no room; nothing was changed.
            StorageError: the disk failed; nothing was changed.
        """
        if self._is_changing:
            raise RuntimeError("a transaction is open already")
        self._execute("BEGIN IMMEDIATE")
        self._is_changing = True
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._is_changing = False

    def note(self, name: str) -> bytes | None:
        """Return one of the chain's own values, None if it was never set."""
        row = self._execute("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def set_note(self, name: str, value: bytes) -> None:
        """Set one of the chain's own values, inside a transaction."""
        self._change("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))

    def given_wei(self, account: bytes, day: int) -> int:
        """Return how much the faucet gave an account on a day."""
        row = self._execute("SELECT wei FROM given WHERE account = ? AND day = ?", (account, day)).fetchone()
        return 0 if row is None else int(row[0])

    def set_given_wei(self, account: bytes, day: int, wei: int) -> None:
        """Set how much the faucet gave, and forget earlier days, inside a transaction."""
        self._change("DELETE FROM given WHERE day < ?", (day,))
        self._change("INSERT OR REPLACE INTO given VALUES (?, ?, ?)", (account, day, str(wei)))

    def add_logs(self, rows: Sequence[Sequence[object]]) -> None:
        """Add rows of the table ``log``, inside a transaction."""
        self._changing()
        for row in rows:
            self._execute("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def select_logs(self, where: str, values: Sequence[object], limit: int) -> Iterator[tuple[Any, ...]]:
        """Yield at most ``limit`` rows of ``log`` in the chain's order.

        Args:
            where: SQL condition made of constants and ``?`` alone.
            values: of its question marks.
            limit: most rows.
        """
        # Nothing of a request gets into the text: logs.py writes the condition, values are bound.
        text = f"SELECT * FROM log WHERE {where} ORDER BY number, position LIMIT ?"  # noqa: S608
        yield from self._execute(text, (*values, limit))

    def get(self, key: bytes) -> bytes | None:
        """Return a value of the EVM's database, None if there is none."""
        row = self._execute("SELECT value FROM node WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def put(self, key: bytes, value: bytes) -> None:
        """Set a value of the EVM's database, inside a transaction."""
        self._change("INSERT OR REPLACE INTO node VALUES (?, ?)", (key, value))

    def delete(self, key: bytes) -> None:
        """Remove a value of the EVM's database, inside a transaction."""
        self._change("DELETE FROM node WHERE key = ?", (key,))

    def _changing(self) -> None:
        if not self._is_changing:
            raise RuntimeError("the chain's database is changed in transactions only")

    def _change(self, text: str, values: Sequence[object]) -> None:
        self._changing()
        self._execute(text, values)

    def _execute(self, text: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        if self._connection is None:
            raise StorageError("the development chain is closed")
        try:
            return self._connection.execute(text, values)
        except sqlite3.DatabaseError as err:
            raise self._failed(err) from err

    def _roll_back(self) -> None:
        # SQLite ends the transaction by itself when the disk fails.
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _set_up(self, connection: sqlite3.Connection) -> None:
        application = _pragma(connection, "application_id")
        version = _pragma(connection, "user_version")
        if application == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            # One transaction with the version, so that a kill leaves an empty file or a whole one.
            connection.executescript(
                f"BEGIN;{_SCHEMA}PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {SCHEMA_VERSION};COMMIT;"
            )
        elif application != APPLICATION_ID:
            raise DamagedError(
                f"{self._path} is not the database of a development chain: choose another folder with --dir"
            )
        elif version > SCHEMA_VERSION:
            raise NewerDataError(
                f"{self._path} was written by a newer Marina: use that one, "
                "or begin a new chain with 'marina chain dev --fresh'"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")

    def _failed(self, err: sqlite3.DatabaseError) -> StorageError | DamagedError:
        if getattr(err, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return DiskFullError(f"the disk of {self._path} is full: make room and try again")
        if isinstance(err, sqlite3.OperationalError):
            return StorageError(f"the development chain cannot use {self._path}: {err}")
        return self._damaged(err)

    def _damaged(self, err: sqlite3.DatabaseError) -> DamagedError:
        return DamagedError(
            f"{self._path} is damaged ({err}): begin a new chain with 'marina chain dev --fresh'"
        )


class EvmDatabase(BaseAtomicDB):  # type: ignore[misc]
    """py-evm's view of the store. Batches nest in the store's transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, key: bytes) -> bytes:
        value = self._store.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._store.put(key, value)

    def __delitem__(self, key: bytes) -> None:
        if self._store.get(key) is None:
            raise KeyError(key)
        self._store.delete(key)

    def _exists(self, key: bytes) -> bool:
        return self._store.get(key) is not None

    @contextmanager
    def atomic_batch(self) -> Iterator[AtomicWriteBatchAPI]:
        """Yield a batch that is written here at its end, or not at all if the block raises."""
        with AtomicDBWriteBatch._commit_unless_raises(self) as batch:  # noqa: SLF001 - py-evm's own use
            yield batch


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
