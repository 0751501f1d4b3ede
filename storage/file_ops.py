"""The few file calls that durability rests on, behind one seam.

Everything that stores blocks goes through ``FileOps``: tests replace it to fail calls (full disk, bad
disk) and to record them (what a lost page cache would leave). All calls block; worker threads only.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

from storage.errors import DiskFullError, StorageError

Buffer: TypeAlias = "bytes | bytearray | memoryview"
FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
if _fallocate is not None:
    _fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class FileOps(Protocol):
    """Calls of the operating system; every failure is an OSError."""

    def open(self, path: Path, flags: int) -> int:
        """Return a descriptor; a new file belongs to the owner alone."""
        ...

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        ...

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``."""
        ...

    def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
        """Write at ``offset``; return how many bytes were taken."""
        ...

    def allocate(self, fd: int, length: int) -> None:
        """Take the room for a file's first bytes now, where the file system can; otherwise do nothing."""
        ...

    def fdatasync(self, fd: int) -> None:
        """Return when the file's bytes and length are on the disk."""
        ...

    def fsync_directory(self, path: Path) -> None:
        """Return when the names in a directory are on the disk."""
        ...

    def make_directory(self, path: Path) -> None:
        """Make a directory and its parents for the owner alone; nothing happens if it is there."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name in one step; a file of that name is replaced."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a name; nothing happens if it is not there."""
        ...

    def list_directory(self, path: Path) -> list[str]:
        """Return the names in a directory; none if it is not there."""
        ...

    def free_bytes(self, path: Path) -> int:
        """Return the room that the file system of a directory has left for us."""
        ...


class PosixFileOps:
    """The machine's own file calls."""

    def open(self, path: Path, flags: int) -> int:
        """Return a descriptor that child processes do not inherit."""
        return os.open(path, flags | os.O_CLOEXEC, FILE_MODE)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``."""
        return os.pread(fd, length, offset)

    def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
        """Write at ``offset``; return how many bytes were taken."""
        return os.pwrite(fd, data, offset)

    def allocate(self, fd: int, length: int) -> None:
        """Call fallocate(2); ``os.posix_fallocate`` would write to every block where that is missing."""
        if _fallocate is None or _fallocate(fd, 0, 0, length) == 0:
            return
        error = ctypes.get_errno()
        if error in _FULL:
            raise OSError(error, os.strerror(error))

    def fdatasync(self, fd: int) -> None:
        """Sync a file's bytes and length."""
        os.fdatasync(fd)

    def fsync_directory(self, path: Path) -> None:
        """Sync a directory."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def make_directory(self, path: Path) -> None:
        """Make a directory and its parents."""
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        """Rename over whatever is there."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a name if it is there."""
        path.unlink(missing_ok=True)

    def list_directory(self, path: Path) -> list[str]:
        """Return the names in a directory, none if it is not there."""
        try:
            return os.listdir(path)  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return []

    def free_bytes(self, path: Path) -> int:
        """Return the free bytes for unprivileged users."""
        stat = os.statvfs(path)
        return stat.f_bavail * stat.f_frsize


def write_all(ops: FileOps, fd: int, data: Buffer, offset: int) -> None:
    """Write every byte at ``offset``; OSError when the disk takes no more."""
    view = memoryview(data)
    while view:
        taken = ops.pwrite(fd, view, offset)
        if taken <= 0:
            raise OSError(errno.ENOSPC, "the disk took no more bytes")
        view = view[taken:]
        offset += taken


def read_whole(ops: FileOps, fd: int, length: int, offset: int) -> bytes:
    """Return ``length`` bytes from ``offset``, fewer only at the file's end."""
    data = ops.pread(fd, length, offset)
    while 0 < len(data) < length:
        more = ops.pread(fd, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def replace_file(ops: FileOps, path: Path, data: bytes) -> None:
    """Write a small file in one step: after a crash it holds its old or its new bytes, never a mix.

    Raises:
        DiskFullError: the disk has no room; the old file is untouched.
        StorageError: the disk refused; the old file is untouched.
    """
    draft = path.with_name(path.name + ".new")
    with translated(f"write {path}"):
        fd = ops.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(ops, fd, data, 0)
            ops.fdatasync(fd)
        finally:
            ops.close(fd)
        ops.rename(draft, path)
        ops.fsync_directory(path.parent)


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn an OSError of the body into DiskFullError or StorageError."""
    try:
        yield
    except OSError as err:
        raise storage_error(err, action) from err


def storage_error(err: OSError, action: str) -> StorageError:
    """Return the declared error for a failed file call; ``action`` completes "could not …"."""
    reason = os.strerror(err.errno) if err.errno else str(err)
    if err.errno in _FULL:
        return DiskFullError(
            f"could not {action}: the disk is full. Free some space; what is stored keeps playing"
        )
    return StorageError(f"could not {action}: {reason}. Check the disk; what is readable keeps playing")
