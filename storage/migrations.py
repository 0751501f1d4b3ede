"""The version of what LevelDB holds, and the steps from one version to the next.

Steps go forward only. Before the first one the closed database is copied to ``backups/``; each step
is idempotent, and its version is written behind it, so an interrupted migration runs on at the next
start. Data of a newer Marina is refused and left as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from marina.clock import Clock
from marina.errors import MalformedError
from marina.schema import U32, decode_record, encode_record, record
from storage.errors import NewerDataError, StorageError
from storage.kv import KeyValueStore, LevelKv, Table
from storage.repair import snapshot_directory

SNAPSHOTS_KEPT = 3
_KEY = b"version"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step.

    Attributes:
        to_version: the version after it, one more than before.
        summary: what changes, for the log.
        apply: rewrites the data; running it twice has the effect of running it once.
    """

    to_version: int
    summary: str
    apply: Callable[[KeyValueStore], Awaitable[None]]


@record("marina/store/version/1")
@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """The version that the data in a store follows."""

    number: U32


FIRST_VERSION = 1
MIGRATIONS: tuple[Migration, ...] = ()
"""Steps known to this Marina, in order from version 2 up."""


async def open_database(
    path: Path, backups: Path, *, clock: Clock, migrations: Sequence[Migration] = MIGRATIONS
) -> LevelKv:
    """Return the open database in ``path``, new or brought to the newest version.

    Raises:
        NewerDataError: the data was written by a newer Marina; it is left as it is.
        HomeInUseError: another process has it open.
        StorageError: it is damaged, or the copy before a migration failed; nothing was changed.
    """
    newest = _check_steps(migrations)
    store = LevelKv(path)
    try:
        version = await read_version(store)
        if version is None:
            await _write_version(store, newest)
            return store
        if version == newest:
            return store
        if version > newest:
            raise NewerDataError(
                f"{path} holds data of version {version} and this Marina knows up to {newest}: "
                "install the newer Marina again; nothing was changed"
            )
    except BaseException:
        await store.close()
        raise
    await store.close()
    name = f"meta-v{version}-{clock.now_s()}"
    await trio.to_thread.run_sync(snapshot_directory, path, backups, name)
    store = LevelKv(path)
    try:
        for step in migrations[version - FIRST_VERSION :]:
            await step.apply(store)
            await _write_version(store, step.to_version)
    except BaseException:
        await store.close()
        raise
    await trio.to_thread.run_sync(_drop_old_snapshots, backups)
    return store


async def read_version(store: KeyValueStore) -> int | None:
    """Return the version of a store's data, None for an empty store.

    Raises:
        StorageError: there is data but no readable version.
    """
    data = await Table(store, "schema").get(_KEY)
    if data is None:
        if await store.scan(b"", limit=1):
            raise StorageError("the node's database has no version: restore a backup")
        return None
    try:
        return decode_record(SchemaVersion, data).number
    except MalformedError as err:
        # A tag that this Marina does not know is how a later format of this very row looks.
        raise NewerDataError(
            "the node's database was written by a newer Marina: install that one again"
        ) from err


async def _write_version(store: KeyValueStore, number: int) -> None:
    await Table(store, "schema").put(_KEY, encode_record(SchemaVersion(number)))


def _check_steps(migrations: Sequence[Migration]) -> int:
    """Return the newest version; ValueError for steps that leave a gap."""
    for number, step in enumerate(migrations, FIRST_VERSION + 1):
        if step.to_version != number:
            raise ValueError(f"migration to version {step.to_version} stands where {number} belongs")
    return FIRST_VERSION + len(migrations)


def _drop_old_snapshots(backups: Path) -> None:
    snapshots = sorted(backups.glob("meta-v*"), key=lambda each: each.stat().st_mtime)
    for old in snapshots[:-SNAPSHOTS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
