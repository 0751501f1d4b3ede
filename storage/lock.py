"""One daemon a home: an advisory lock that the kernel drops with the process that holds it."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.errors import HomeInUseError, StorageError
from storage.file_ops import FILE_MODE

_PID_BYTES_MAX = 20


class HomeLock:
    """Holds ``daemon.lock`` between ``acquire`` and ``release``; also a context manager.

    The file stays behind on purpose: removing it would let two daemons lock two different files of
    one name. A file left by a dead process is no lock, so the next daemon simply takes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock and write this process's id into the file.

        Raises:
            HomeInUseError: another live process holds it; the message names that process.
            StorageError: the lock file cannot be opened.
        """
        if self._fd is not None:
            return
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError as err:
            raise StorageError(f"cannot open {self._path}: {err.strerror}") from err
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as err:
            pid = holder_pid(self._path)
            os.close(fd)
            if err.errno not in (errno.EAGAIN, errno.EACCES):
                raise StorageError(f"cannot lock {self._path}: {err.strerror}") from err
            raise HomeInUseError(
                f"a daemon already runs on {self._path.parent} (process {pid or 'unknown'}): "
                "use it, or end it with 'marina stop'"
            ) from err
        self._fd = fd

    def release(self) -> None:
        """Give the lock up; idempotent."""
        if self._fd is None:
            return
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
        self._fd = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def holder_pid(path: Path) -> int | None:
    """Return the process id written in a lock file, None if there is none to read."""
    try:
        with path.open("rb") as file:
            text = file.read(_PID_BYTES_MAX).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
