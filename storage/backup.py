"""Encrypted backups of a home: database, settings and sealed identity in one file, without audio.

A locked node can write them; the 24 words open them (docs/protocol/identity.md has the format). The
device key and the API token stay out: a restored home is a new device of the same account. The
block store's own tables stay out too, since its files do: what is missing is fetched again.

The database is read page by page while the node works: a change meanwhile may or may not be in the
backup. What was shredded stays in the backups made before, until they are deleted.
Source: features I6 and security §3 of the design.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import trio

from marina.clock import Clock
from marina.errors import NotFoundError, UsageError
from marina.ids import Account
from marina.secret import Secret
from storage.backup_frames import (
    FILE_BYTES_MAX,
    FILES,
    BackupOwner,
    BackupSummary,
    FileEntry,
    FrameReader,
    FrameWriter,
    PairEntry,
)
from storage.backup_stream import SealedReader
from storage.errors import StorageError
from storage.file_ops import DIRECTORY_MODE, FILE_MODE, PosixFileOps, translated
from storage.identity.binding import DeviceBinding
from storage.identity.derive import backup_private_key
from storage.identity.private_file import read_private, write_private
from storage.kv import KeyValueStore

BLOCK_TABLES = (
    "rendition", "have", "part", "block", "holding", "evict", "pin", "pin-end", "totals", "engine",
    "kubo-drop",
)  # fmt: skip
"""Tables of the block store: they describe files that are not in a backup."""
DATABASE = "meta"
_PAGE_PAIRS = 64
_BATCH_BYTES = 1024 * 1024
_PAIR_OVERHEAD_BYTES = 200
_STEADY_TRIES = 5

OpenStore = Callable[[Path], Awaitable[KeyValueStore]]


@dataclass(frozen=True, slots=True)
class BackupKey:
    """What opens a backup, all of it from the recovery words.

    Attributes:
        account: whose backup it must be.
        key: the 32-byte backup key (``DerivedKeys.backup_key``).
    """

    account: Account
    key: Secret[bytes]


async def create_backup(
    path: Path,
    *,
    home: Path,
    store: KeyValueStore,
    owner: BackupOwner,
    clock: Clock,
    skip_tables: Collection[str] = BLOCK_TABLES,
) -> BackupSummary:
    """Write a backup of a home; the file appears whole, with mode 0600, or not at all.

    Args:
        path: where to, in an existing directory.
        home: the node's home.
        store: its open database.
        owner: signs and receives; may be locked.
        clock: for the time in the header.
        skip_tables: names of database tables that are left out.

    Raises:
        VaultLockedError: the device has no binding yet.
        DiskFullError: the disk has no room; nothing is left behind.
        StorageError: the disk refused or the database cannot be read.
    """
    limiter = trio.CapacityLimiter(1)
    binding, now_s = owner.binding, clock.now_s()
    files = await trio.to_thread.run_sync(_read_files, home, limiter=limiter)
    draft = _Draft(path)
    try:
        writer = await trio.to_thread.run_sync(draft.start, owner, binding, now_s, files, limiter=limiter)
        async for pairs in _pages(store, [table.encode() + b"\x00" for table in skip_tables]):
            await trio.to_thread.run_sync(draft.add_pairs, writer, pairs, limiter=limiter)
        return await trio.to_thread.run_sync(draft.finish, writer, limiter=limiter)
    finally:
        draft.discard()


def check_backup(path: Path, key: BackupKey) -> BackupSummary:
    """Read a whole backup, write nothing, and return what it holds. Blocks: use a worker thread.

    Raises:
        NotFoundError: there is no such file.
        DamagedError: any byte of it is damaged or missing.
        NotPermittedError: it belongs to another account, or no device of the account signed it.
    """
    with translated(f"read the backup {path}"), _open_backup(path, key) as reader:
        for _ in reader.entries():
            pass
        return _summary_of(reader)


async def restore_backup(path: Path, key: BackupKey, home: Path, *, open_store: OpenStore) -> BackupSummary:
    """Make a home from a backup; it appears whole or not at all.

    Everything is written beside the home first and takes its name after the last byte was verified.

    Args:
        path: the backup.
        key: from the recovery words.
        home: a directory that does not exist or is empty.
        open_store: opens or creates a database directory.

    Raises:
        UsageError: the home is not empty.
        DiskFullError, StorageError: the disk refused.
        NotFoundError, DamagedError, NotPermittedError: as for ``check_backup``.
    """
    limiter = trio.CapacityLimiter(1)
    staging = await trio.to_thread.run_sync(_make_staging, home, limiter=limiter)
    try:
        with await trio.to_thread.run_sync(_open_backup, path, key, limiter=limiter) as reader:
            (staging / DATABASE).mkdir(mode=DIRECTORY_MODE)  # the database would make it for everyone
            store = await open_store(staging / DATABASE)
            try:
                await _fill(reader.entries(), staging, store, limiter)
            finally:
                with trio.CancelScope(shield=True):
                    await store.close()
            summary = _summary_of(reader)
        await trio.to_thread.run_sync(_put_in_place, staging, home, limiter=limiter)
        return summary
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _Draft:
    """The backup file while it has another name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(path.name + ".new")
        self._file: BinaryIO | None = None

    def start(
        self, owner: BackupOwner, binding: DeviceBinding, now_s: int, files: Sequence[FileEntry]
    ) -> FrameWriter:
        with translated(f"write the backup {self._path}"):
            self._draft.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.fdopen(os.open(self._draft, flags, FILE_MODE), "wb")
            writer = FrameWriter(self._file, owner=owner, binding=binding, created_s=now_s)
            for file in files:
                writer.add_file(file.name, file.data)
        return writer

    def add_pairs(self, writer: FrameWriter, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        with translated(f"write the backup {self._path}"):
            writer.add_pairs(pairs)

    def finish(self, writer: FrameWriter) -> BackupSummary:
        assert self._file is not None
        with translated(f"write the backup {self._path}"):
            summary = writer.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._draft.replace(self._path)
            PosixFileOps().fsync_directory(self._path.parent)
        return summary

    def discard(self) -> None:
        """Remove what is unfinished; nothing happens behind ``finish``."""
        if self._file is not None:
            with contextlib.suppress(
                OSError
            ):  # closing flushes, and the disk may be full: the draft goes anyway
                self._file.close()
            self._draft.unlink(missing_ok=True)


def _read_files(home: Path) -> list[FileEntry]:
    """Return the home's files as they were at one moment: the vault's key seals the other file."""
    for _ in range(_STEADY_TRIES):
        first, second = _read_once(home), _read_once(home)
        if [(file.name, file.data) for file in first] == [(file.name, file.data) for file in second]:
            return first
    raise StorageError(f"the files of {home} change while they are read: try the backup again")


def _read_once(home: Path) -> list[FileEntry]:
    found: list[FileEntry] = []
    for name in FILES:
        try:
            found.append(FileEntry(name, read_private(home / name, limit_bytes=FILE_BYTES_MAX)))
        except NotFoundError:
            continue  # a node without settings or private data has no such file
    return found


async def _pages(store: KeyValueStore, skipped: Sequence[bytes]) -> AsyncIterator[list[tuple[bytes, bytes]]]:
    after = b""
    while rows := await store.scan(b"", after=after, limit=_PAGE_PAIRS):
        after = rows[-1][0]
        kept = [row for row in rows if not row[0].startswith(tuple(skipped))]
        if kept:
            yield kept
        for prefix in skipped:
            if after.startswith(prefix):
                after = max(after, prefix + b"\xff" * 255)  # the rest of a table that is left out


class _OpenBackup:
    """A backup file and its reader, closed together."""

    def __init__(self, file: BinaryIO, reader: FrameReader) -> None:
        self._file = file
        self._reader = reader

    def __enter__(self) -> FrameReader:
        return self._reader

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def _open_backup(path: Path, key: BackupKey) -> _OpenBackup:
    try:
        file = path.open("rb")
    except FileNotFoundError as err:
        raise NotFoundError(f"there is no backup {path}") from err
    except OSError as err:
        raise StorageError(f"cannot open the backup {path}: {err.strerror}") from err
    try:
        stream = SealedReader(file, account=key.account, key=backup_private_key(key.key))
    except BaseException:
        file.close()
        raise
    return _OpenBackup(file, FrameReader(stream))


def _summary_of(reader: FrameReader) -> BackupSummary:
    if reader.summary is None:
        raise StorageError("the backup was not read to its end")
    return reader.summary


def _make_staging(home: Path) -> Path:
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise UsageError(f"{home} is not empty: restore into a new home, chosen with --home")
    with translated(f"make a directory beside {home}"):
        home.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{home.name}.restoring-", dir=home.parent))


async def _fill(
    entries: Iterator[FileEntry | PairEntry],
    staging: Path,
    store: KeyValueStore,
    limiter: trio.CapacityLimiter,
) -> None:
    def next_batch() -> list[FileEntry | PairEntry]:
        batch: list[FileEntry | PairEntry] = []
        size_bytes = 0
        with translated("read the backup"):
            for entry in entries:
                batch.append(entry)
                size_bytes += _PAIR_OVERHEAD_BYTES + _size_bytes(entry)
                if size_bytes >= _BATCH_BYTES:
                    break
        return batch

    while batch := await trio.to_thread.run_sync(next_batch, limiter=limiter):
        pairs = [(entry.key, entry.value) for entry in batch if isinstance(entry, PairEntry)]
        for entry in batch:
            if isinstance(entry, FileEntry):
                await trio.to_thread.run_sync(
                    write_private, staging / entry.name, entry.data, limiter=limiter
                )
        if pairs:
            await store.write(pairs)


def _size_bytes(entry: FileEntry | PairEntry) -> int:
    return len(entry.data) if isinstance(entry, FileEntry) else len(entry.key) + len(entry.value)


def _put_in_place(staging: Path, home: Path) -> None:
    with translated(f"give the restored home its name {home}"):
        PosixFileOps().fsync_directory(staging)
        staging.replace(home)
        PosixFileOps().fsync_directory(home.parent)
