"""Salvage of a damaged LevelDB: copy first, then keep every value that still reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import plyvel
import trio

from marina.clock import Clock
from storage.blocks.index import forget_totals
from storage.errors import StorageError
from storage.kv import LevelKv


async def repair_database(path: Path, backups: Path, *, clock: Clock) -> Path:
    """Rebuild the database in ``path`` from its readable tables and logs.

    Values in damaged parts are lost; blocks are found again by ``repo verify``. The database must
    not be open. Totals are counted anew when the block store opens it next.

    Returns:
        The directory with the untouched copy of the damaged database.

    Raises:
        StorageError: it cannot be copied or nothing in it is readable; the copy, if any, stays.
    """

    def repair() -> Path:
        copy = snapshot_directory(path, backups, f"meta-damaged-{clock.now_s()}")
        try:
            plyvel.repair_db(str(path), paranoid_checks=False)
        except plyvel.Error as err:
            raise StorageError(
                f"{path} cannot be repaired ({err}): restore a backup; the damaged copy is in {copy}"
            ) from err
        return copy

    copy = await trio.to_thread.run_sync(repair)
    store = LevelKv(path)
    try:
        await forget_totals(store)
    finally:
        await store.close()
    return copy


def snapshot_directory(source: Path, backups: Path, name: str) -> Path:
    """Return a whole copy of a closed database directory under ``backups``, made in one step.

    Raises:
        StorageError: it cannot be copied; nothing of the name is left.
    """
    target, draft = backups / name, backups / f"{name}.part"
    try:
        backups.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(source, draft)
        draft.chmod(0o700)
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
    except OSError as err:
        shutil.rmtree(draft, ignore_errors=True)
        raise StorageError(f"cannot copy {source} to {target}: {err.strerror}") from err
    return target
