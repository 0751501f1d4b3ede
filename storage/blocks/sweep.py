"""Start-up: remove what a crash left behind, in time that grows with the number of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from marina.cid import Cid
from storage.blocks.index import StoreIndex
from storage.blocks.rendition_file import STAGING, SUFFIX, SparseFiles
from storage.blocks.threads import DiskThreads
from storage.file_ops import FileOps, translated

_PAGE = 1000


async def clear_staging(directory: Path, ops: FileOps, threads: DiskThreads) -> int:
    """Make the staging directory, remove what is in it, and return how many files that were.

    Raises:
        StorageError: the directory cannot be used.
    """
    return await threads.write(partial(_clear_staging, directory / STAGING, ops))


async def sweep(
    index: StoreIndex, file_sets: Iterable[SparseFiles], ops: FileOps, threads: DiskThreads
) -> int:
    """Remove files that the index does not name; return how many.

    Files that are not named like ours are left alone.

    Raises:
        StorageError: the directory cannot be listed or a file not removed.
    """
    removed = 0
    for files in file_sets:
        table = index.have if files.suffix == SUFFIX else index.block
        names = await threads.write(partial(_listing, files))
        while page := list(islice(names, _PAGE)):
            rows = await table.get_many([cid for _, cid in page])
            orphans = [path for (path, _), row in zip(page, rows, strict=True) if row is None]
            if orphans:
                await threads.write(partial(_unlink, orphans, ops))
                removed += len(orphans)
    return removed


def _clear_staging(staging: Path, ops: FileOps) -> int:
    with translated("clear the staging directory"):
        ops.make_directory(staging)
        names = ops.list_directory(staging)
        for name in names:
            ops.unlink(staging / name)
    return len(names)


def _listing(files: SparseFiles) -> Iterator[tuple[Path, Cid]]:
    with translated("list the stored files"):
        return iter([(path, cid) for path, cid in files.names() if cid is not None])


def _unlink(paths: list[Path], ops: FileOps) -> None:
    with translated("remove unfinished files"):
        for path in paths:
            ops.unlink(path)
