"""Node state: an ordered map of bytes to bytes with atomic, durable batches.

LevelDB (plyvel) on disk, a sorted dict in memory; both run the same contract suite. Keys are
``table ‖ 0x00 ‖ key``: each user of the store opens its own ``Table``. Values are canonical msgpack.
All LevelDB calls run in worker threads; one process only may open a path.
"""

from __future__ import annotations

import shutil
import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import plyvel
import trio

from storage.errors import DiskFullError, HomeInUseError, StorageError

T = TypeVar("T")
Batch = Sequence[tuple[bytes, bytes | None]]
"""(key, value) pairs; None deletes."""
SCAN_LIMIT = 1000
_READ_CACHE_BYTES = 8 << 20
_THREADS = 4
_REOPEN_FREE_BYTES = 16 << 20
_FULL_MARKS = ("No space left", "Disk quota exceeded", "File too large")


class KeyValueStore(Protocol):
    """An ordered map with durable atomic batches."""

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        ...

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, in order."""
        ...

    async def write(self, batch: Batch) -> None:
        """Apply all of a batch or none of it; durable when this returns.

        Raises:
            DiskFullError: the disk has no room; nothing was applied and a later write may succeed.
            StorageError: the database refused the batch.
        """
        ...

    async def scan(
        self, prefix: bytes, *, after: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return (key, value) pairs with a prefix, in key order, from behind the key ``after``."""
        ...

    async def scan_back(
        self, prefix: bytes, *, before: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return (key, value) pairs with a prefix, last key first, from ahead of the key ``before``."""
        ...

    async def compact(self, prefix: bytes) -> None:
        """Rewrite what lies under a prefix without its deleted values (hygiene, not erasure)."""
        ...

    async def close(self) -> None:
        """Release the store; later calls fail."""
        ...


def _behind(prefix: bytes) -> bytes:
    """Return the first key that is behind every key with the prefix; empty when there is none."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes((head[-1] + 1,)) if head else b""


class MemoryKv:
    """The in-memory twin; state ends with the object."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        await trio.lowlevel.checkpoint()
        return self._values.get(key)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, in order."""
        await trio.lowlevel.checkpoint()
        return [self._values.get(key) for key in keys]

    async def write(self, batch: Batch) -> None:
        """Apply a batch."""
        await trio.lowlevel.checkpoint()
        for key, value in batch:
            is_known = key in self._values
            if value is not None:
                self._values[key] = value
                if not is_known:
                    insort(self._keys, key)
            elif is_known:
                del self._values[key]
                del self._keys[bisect_left(self._keys, key)]

    async def scan(
        self, prefix: bytes, *, after: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return pairs with a prefix, in key order, from behind ``after``."""
        await trio.lowlevel.checkpoint()
        found: list[tuple[bytes, bytes]] = []
        start = bisect_left(self._keys, max(prefix, after + b"\x00" if after else prefix))
        for key in self._keys[start : start + limit]:
            if not key.startswith(prefix):
                break
            found.append((key, self._values[key]))
        return found

    async def scan_back(
        self, prefix: bytes, *, before: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return pairs with a prefix, last key first, from ahead of ``before``."""
        await trio.lowlevel.checkpoint()
        behind = _behind(prefix)
        stop = bisect_left(self._keys, behind) if behind else len(self._keys)
        if before:
            stop = min(stop, bisect_left(self._keys, before))
        found: list[tuple[bytes, bytes]] = []
        for key in reversed(self._keys[max(0, stop - limit) : stop]):
            if not key.startswith(prefix):
                break
            found.append((key, self._values[key]))
        return found

    async def compact(self, prefix: bytes) -> None:  # noqa: ARG002 - the protocol's parameter
        """Nothing to rewrite: a deleted value is gone."""
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """Nothing to release."""
        await trio.lowlevel.checkpoint()


class _SharedLock:
    """Many readers or one writer, among worker threads."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._sharing = 0
        self._is_exclusive = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock together with other sharers."""
        with self._condition:
            self._condition.wait_for(lambda: not self._is_exclusive)
            self._sharing += 1
        try:
            yield
        finally:
            with self._condition:
                self._sharing -= 1
                self._condition.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone."""
        with self._condition:
            self._condition.wait_for(lambda: not self._is_exclusive and not self._sharing)
            self._is_exclusive = True
        try:
            yield
        finally:
            with self._condition:
                self._is_exclusive = False
                self._condition.notify_all()


class LevelKv:
    """LevelDB in one directory.

    LevelDB refuses every write after one that failed, since the end of its log is then unknown. So
    the write behind a failed one closes and opens the database first: that reads the log up to its
    last whole batch, and a disk that has room again is used again without a restart.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the store.

        Raises:
            HomeInUseError: another process holds it.
            DiskFullError: the disk has no room to open it.
            StorageError: it is damaged (``storage.repair`` salvages what is readable).
        """
        self._path = path
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._lock = _SharedLock()
        self._must_reopen = False
        self._is_closed = False
        self._db = self._open()

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        (value,) = await self.get_many([key])
        return value

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, in order."""
        return await self._reading(lambda: [self._db.get(key, verify_checksums=True) for key in keys])

    async def write(self, batch: Batch) -> None:
        """Apply a batch with one synced write; errors as the protocol says."""

        def apply() -> None:
            if self._must_reopen:
                self._reopen()
            with self._lock.shared():
                self._apply(batch)

        await trio.to_thread.run_sync(apply, limiter=self._limiter)

    async def scan(
        self, prefix: bytes, *, after: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return pairs with a prefix, in key order, from behind ``after``."""
        start = max(prefix, after + b"\x00" if after else prefix)
        return await self._reading(lambda: self._collect(prefix, limit, start=start))

    async def scan_back(
        self, prefix: bytes, *, before: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return pairs with a prefix, last key first, from ahead of ``before``."""
        stop = _behind(prefix)
        if before and (not stop or before < stop):
            stop = before
        # No start: plyvel 1.5.1 overlooks a key that equals it and is alone. The prefix ends the scan.
        return await self._reading(
            lambda: self._collect(prefix, limit, start=b"", stop=stop or None, reverse=True)
        )

    async def compact(self, prefix: bytes) -> None:
        """Rewrite the tables under a prefix; without bounds LevelDB would rewrite nothing."""
        stop = _behind(prefix) or b"\xff" * 64
        await self._reading(lambda: self._db.compact_range(start=prefix or b"\x00", stop=stop))

    async def close(self) -> None:
        """Close the database; idempotent."""

        def close() -> None:
            with self._lock.exclusive():
                self._is_closed = True
                self._db.close()

        await trio.to_thread.run_sync(close, limiter=self._limiter)

    def _open(self) -> plyvel.DB:
        try:
            return plyvel.DB(
                str(self._path),
                create_if_missing=True,
                paranoid_checks=True,
                lru_cache_size=_READ_CACHE_BYTES,
            )
        except plyvel.IOError as err:
            if "lock" in str(err).lower():
                raise HomeInUseError(
                    f"{self._path} is open in another process: stop that daemon first"
                ) from err
            raise _translate(err, f"the node's database in {self._path} cannot be opened") from err
        except plyvel.Error as err:
            raise StorageError(
                f"the node's database in {self._path} is damaged ({err}): "
                "run 'marina repo repair', or restore a backup"
            ) from err

    def _reopen(self) -> None:
        with self._lock.exclusive():
            if self._is_closed or not self._must_reopen:
                return
            if shutil.disk_usage(self._path).free < _REOPEN_FREE_BYTES:
                # Opening writes too; as long as it may fail, the old handle keeps serving reads.
                raise DiskFullError("the disk is full: free some space; what is stored stays readable")
            self._db.close()
            self._db = self._open()
            self._must_reopen = False

    def _apply(self, batch: Batch) -> None:
        try:
            with self._db.write_batch(transaction=True, sync=True) as writer:
                for key, value in batch:
                    if value is None:
                        writer.delete(key)
                    else:
                        writer.put(key, value)
        except plyvel.Error as err:
            self._must_reopen = True
            raise _translate(err, "the node's database refused a write") from err
        except RuntimeError as err:
            raise self._closed_error(err) from err

    def _collect(
        self, prefix: bytes, limit: int, *, start: bytes, stop: bytes | None = None, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        if limit <= 0:
            return found
        with self._db.iterator(
            start=start or None, stop=stop, reverse=reverse, verify_checksums=True
        ) as iterator:
            for key, value in iterator:
                if not key.startswith(prefix):
                    break
                found.append((key, value))
                if len(found) >= limit:
                    break
        return found

    async def _reading(self, read: Callable[[], T]) -> T:
        def guarded() -> T:
            with self._lock.shared():
                try:
                    return read()
                except plyvel.Error as err:
                    raise StorageError(
                        f"the node's database in {self._path} cannot be read ({err}): "
                        "run 'marina repo repair', or restore a backup"
                    ) from err
                except RuntimeError as err:
                    raise self._closed_error(err) from err

        return await trio.to_thread.run_sync(guarded, limiter=self._limiter)

    def _closed_error(self, err: RuntimeError) -> StorageError:
        return StorageError(f"the node's database in {self._path} is closed ({err})")


def _translate(err: Exception, what: str) -> StorageError:
    """Return the error of a failed LevelDB call; plyvel has one class for every errno."""
    if any(mark in str(err) for mark in _FULL_MARKS):
        return DiskFullError(f"{what}: the disk is full ({err}); free some space, then try again")
    return StorageError(f"{what}: {err}")


class Table:
    """One named part of a store; keys inside it are free of the name."""

    def __init__(self, store: KeyValueStore, name: str) -> None:
        self._store = store
        self._prefix = name.encode() + b"\x00"

    def key(self, key: bytes) -> bytes:
        """Return the store's key of a table key, to build a batch over several tables."""
        return self._prefix + key

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        return await self._store.get(self.key(key))

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, in order."""
        return await self._store.get_many([self.key(key) for key in keys])

    async def put(self, key: bytes, value: bytes) -> None:
        """Store one value durably."""
        await self._store.write([(self.key(key), value)])

    async def delete(self, key: bytes) -> None:
        """Remove one key durably."""
        await self._store.write([(self.key(key), None)])

    async def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Apply several changes atomically and durably."""
        await self._store.write([(self.key(key), value) for key, value in changes.items()])

    async def scan(
        self, prefix: bytes = b"", *, after: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return pairs with a prefix, in key order, from behind ``after``."""
        cut = len(self._prefix)
        rows = await self._store.scan(self.key(prefix), after=self.key(after) if after else b"", limit=limit)
        return [(key[cut:], value) for key, value in rows]

    async def scan_back(
        self, prefix: bytes = b"", *, before: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return pairs with a prefix, last key first, from ahead of ``before``."""
        cut = len(self._prefix)
        rows = await self._store.scan_back(
            self.key(prefix), before=self.key(before) if before else b"", limit=limit
        )
        return [(key[cut:], value) for key, value in rows]
