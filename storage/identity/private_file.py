"""Files that only their owner may read: checked before every read, replaced in one step."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from marina.errors import DamagedError, NotFoundError, NotPermittedError
from storage.errors import StorageError
from storage.file_ops import FILE_MODE, PosixFileOps, replace_file, translated

GROUP_AND_WORLD = stat.S_IRWXG | stat.S_IRWXO


def read_private(path: Path, *, limit_bytes: int, forbidden_bits: int = GROUP_AND_WORLD) -> bytes:
    """Return the bytes of a regular file that belongs to this user and to nobody else.

    Args:
        path: the file; a symbolic link is refused.
        limit_bytes: a longer file is refused before it is read.
        forbidden_bits: permission bits that must not be set.

    Raises:
        NotFoundError: there is no such file.
        NotPermittedError: others may read or write it, or it is no plain file of this user.
        DamagedError: it is longer than the limit.
        StorageError: the disk refused.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as err:
        raise NotFoundError(f"there is no file {path}") from err
    except OSError as err:
        raise StorageError(f"cannot open {path}: {os.strerror(err.errno or 0)}") from err
    try:
        _check_private(path, os.fstat(fd), forbidden_bits)
        data = _read_up_to(fd, limit_bytes + 1)
    except OSError as err:
        raise StorageError(f"cannot read {path}: {os.strerror(err.errno or 0)}") from err
    finally:
        os.close(fd)
    if len(data) > limit_bytes:
        raise DamagedError(f"{path} is longer than {limit_bytes} bytes: restore it from a backup")
    return data


def write_private(path: Path, data: bytes) -> None:
    """Replace a file in one durable step; the new file has mode 0600.

    Raises:
        DiskFullError: the disk has no room; the old file is untouched.
        StorageError: the disk refused; the old file is untouched.
    """
    with translated(f"write {path}"):
        path.with_name(path.name + ".new").unlink(missing_ok=True)  # a leftover keeps its old permissions
    replace_file(PosixFileOps(), path, data)


def _check_private(path: Path, found: os.stat_result, forbidden_bits: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NotPermittedError(f"{path} is not a plain file")
    if found.st_uid not in (os.geteuid(), 0):
        raise NotPermittedError(f"{path} belongs to another user: make it your own file")
    if found.st_mode & forbidden_bits:
        mode = stat.S_IMODE(found.st_mode)
        raise NotPermittedError(
            f"others may open {path} (mode {mode:04o}): "
            f"run 'chmod {FILE_MODE:o} {shlex.quote(str(path))}', and change the secret if others had access"
        )


def _read_up_to(fd: int, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    left = limit_bytes
    while left > 0 and (part := os.read(fd, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
