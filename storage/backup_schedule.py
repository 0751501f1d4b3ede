"""Daily backups, the last seven kept: names, what is due, what goes, and the service that does it."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from marina.clock import Clock
from marina.errors import MarinaError
from storage.file_ops import translated

if TYPE_CHECKING:
    from trio_typing import TaskStatus

KEEP = 7
INTERVAL_S = 86_400
CHECK_INTERVAL_S = 3600.0
"""How often the service looks at the clock, and how soon it tries again after a failure."""
SUFFIX = ".mbk"
_NAME = re.compile(r"marina-(\d{8}T\d{6})Z\.mbk")
_TIME = "%Y%m%dT%H%M%S"

log = logging.getLogger("marina.storage.backup")


def backup_path(directory: Path, now_s: int) -> Path:
    """Return the path of a backup made at a Unix time."""
    return directory / f"marina-{datetime.fromtimestamp(now_s, UTC).strftime(_TIME)}Z{SUFFIX}"


def list_backups(directory: Path) -> list[tuple[int, Path]]:
    """Return (Unix seconds of its name, path) of every backup in a directory, oldest first.

    Raises:
        StorageError: the directory cannot be read.
    """
    found: list[tuple[int, Path]] = []
    with translated(f"list the backups in {directory}"):
        for path in directory.iterdir():
            created_s = _created_s(path.name)
            if created_s is not None and path.is_file():
                found.append((created_s, path))
    return sorted(found)


def next_backup_s(directory: Path, *, now_s: int) -> int:
    """Return the Unix second from which a backup is due: a day behind the newest, else now.

    Backups that a wrong clock dated in the future do not count.
    """
    past = [created_s for created_s, _ in list_backups(directory) if created_s <= now_s]
    return max(past) + INTERVAL_S if past else now_s


def rotate_backups(directory: Path, *, now_s: int, keep: int = KEEP) -> list[Path]:
    """Remove all but the newest backups and return the paths that went; other files stay.

    Those dated in the future count as oldest, so that a clock that was wrong once cannot make each
    new backup the first to go.

    Raises:
        ValueError: nothing would be kept.
        StorageError: the disk refused.
    """
    if keep < 1:
        raise ValueError("at least one backup is kept")
    ordered = sorted(list_backups(directory), key=lambda item: (item[0] <= now_s, item[0]))
    gone = [path for _, path in ordered[:-keep]]
    with translated(f"remove old backups in {directory}"):
        for path in gone:
            path.unlink(missing_ok=True)
    return gone


class DailyBackup:
    """The service that makes a backup a day and keeps the newest seven."""

    def __init__(
        self, *, directory: Path, create: Callable[[Path], Awaitable[object]], clock: Clock, keep: int = KEEP
    ) -> None:
        """Wire the service; no I/O.

        Args:
            directory: where backups lie; exists.
            create: writes one to a path (``storage.backup.create_backup`` with its collaborators).
            clock: wall time.
            keep: how many stay.
        """
        self._directory = directory
        self._create = create
        self._clock = clock
        self._keep = keep
        self._limiter = trio.CapacityLimiter(1)
        self.failures = 0

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make backups until cancelled; a failure is logged and tried again in an hour."""
        task_status.started()
        while True:
            try:
                await self.run_if_due()
                self.failures = 0
            except MarinaError as err:
                self.failures += 1
                log.error("daily backup failed: %s", err, extra={"context": {"failures": self.failures}})
            await trio.sleep(CHECK_INTERVAL_S)

    async def run_if_due(self) -> Path | None:
        """Make a backup if one is due and return its path, else None; errors as of ``create``."""
        now_s = self._clock.now_s()
        due_s = await trio.to_thread.run_sync(
            lambda: next_backup_s(self._directory, now_s=now_s), limiter=self._limiter
        )
        if now_s < due_s:
            return None
        path = backup_path(self._directory, now_s)
        await self._create(path)
        gone = await trio.to_thread.run_sync(
            lambda: rotate_backups(self._directory, now_s=now_s, keep=self._keep), limiter=self._limiter
        )
        log.info("backup made", extra={"context": {"path": str(path), "removed": len(gone)}})
        return path


def _created_s(name: str) -> int | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return int(datetime.strptime(match[1], _TIME).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None
