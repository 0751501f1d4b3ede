"""The folder of one development chain: its lock, its database, and beginning afresh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import HomeInUseError, StorageError
from storage.file_ops import DIRECTORY_MODE
from storage.lock import HomeLock, holder_pid

_DATABASE = "chain.sqlite"
_LOCK = "chain.lock"


class ChainDir:
    """Names of everything in a chain's folder; making one touches no disk."""

    def __init__(self, root: Path) -> None:
        """Take the folder."""
        self.root = root

    @property
    def database(self) -> Path:
        """The SQLite file; SQLite keeps ``-wal`` and ``-shm`` files beside it."""
        return self.root / _DATABASE

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder if need be, and keep every other process from running its chain.

        Raises:
            HomeInUseError: another process runs it; the message names that process.
            StorageError: the folder cannot be made.
        """
        try:
            self.root.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        except OSError as err:
            raise StorageError(f"cannot make {self.root}: {err.strerror}. Choose another with --dir") from err
        lock = HomeLock(self.root / _LOCK)
        try:
            lock.acquire()
        except HomeInUseError as err:
            pid = holder_pid(self.root / _LOCK)
            raise HomeInUseError(
                f"a development chain already runs on {self.root} (process {pid or 'unknown'}): "
                "use it, or end that process"
            ) from err
        try:
            yield
        finally:
            lock.release()

    def erase(self) -> None:
        """Remove the chain for ever, while it is held; nothing else in the folder is touched."""
        # The log first: a database without its log is older, a log without its database is nothing.
        for suffix in ("-wal", "-shm", ""):
            self.database.with_name(_DATABASE + suffix).unlink(missing_ok=True)
