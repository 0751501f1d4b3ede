"""Node state: an ordered map of bytes to bytes with atomic, durable batches.

LevelDB (plyvel) on disk, a sorted dict in memory; both run the same contract suite. Keys are
``table ‖ 0x00 ‖ key``: each user of the store opens its own ``Table``. Values are canonical msgpack.
All LevelDB calls run in worker threads; one process only may open a path.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import plyvel
import trio

from storage.errors import HomeInUseError, StorageError

Batch = Sequence[tuple[bytes, bytes | None]]
"""(key, value) pairs; None deletes."""
SCAN_LIMIT = 1000


class KeyValueStore(Protocol):
    """An ordered map with durable atomic batches."""

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        ...

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, in order."""
        ...

    async def write(self, batch: Batch) -> None:
        """Apply all of a batch or none of it; durable when this returns."""
        ...

    async def scan(
        self, prefix: bytes, *, after: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return (key, value) pairs with a prefix, in key order, from behind the key ``after``."""
        ...

    async def close(self) -> None:
        """Release the store; later calls fail."""
        ...


class MemoryKv:
    """The in-memory twin; state ends with the object."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        return self._values.get(key)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, in order."""
        return [self._values.get(key) for key in keys]

    async def write(self, batch: Batch) -> None:
        """Apply a batch."""
        for key, value in batch:
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        self._keys = sorted(self._values)

    async def scan(
        self, prefix: bytes, *, after: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return pairs with a prefix, in key order, from behind ``after``."""
        found: list[tuple[bytes, bytes]] = []
        start = bisect_left(self._keys, max(prefix, after + b"\x00" if after else prefix))
        for key in self._keys[start:]:
            if not key.startswith(prefix) or len(found) >= limit:
                break
            found.append((key, self._values[key]))
        return found

    async def close(self) -> None:
        """Nothing to release."""


class LevelKv:
    """LevelDB in one directory."""

    def __init__(self, path: Path) -> None:
        """Open or create the store.

        Raises:
            HomeInUseError: another process holds it.
            StorageError: it is damaged (``marina doctor`` says what to do).
        """
        try:
            self._db = plyvel.DB(
                str(path), create_if_missing=True, paranoid_checks=True, lru_cache_size=8 << 20
            )
        except plyvel.IOError as err:
            if "lock" in str(err).lower():
                raise HomeInUseError(f"{path} is open in another process: stop that daemon first") from err
            raise StorageError(f"cannot open {path}: {err}") from err
        except plyvel.Error as err:
            raise StorageError(
                f"{path} is damaged ({err}): run 'marina repo verify --heal', or restore a backup"
            ) from err
        self._limiter = trio.CapacityLimiter(4)

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        (value,) = await self.get_many([key])
        return value

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, in order."""

        def read() -> list[bytes | None]:
            return [self._db.get(key) for key in keys]

        return await trio.to_thread.run_sync(read, limiter=self._limiter)

    async def write(self, batch: Batch) -> None:
        """Apply a batch with one synced write."""

        def apply() -> None:
            try:
                with self._db.write_batch(transaction=True, sync=True) as writer:
                    for key, value in batch:
                        if value is None:
                            writer.delete(key)
                        else:
                            writer.put(key, value)
            except plyvel.Error as err:
                raise StorageError(f"the node's database refused a write: {err}") from err

        await trio.to_thread.run_sync(apply, limiter=self._limiter)

    async def scan(
        self, prefix: bytes, *, after: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return pairs with a prefix, in key order, from behind ``after``."""

        def read() -> list[tuple[bytes, bytes]]:
            found: list[tuple[bytes, bytes]] = []
            start = max(prefix, after + b"\x00" if after else prefix)
            with self._db.iterator(start=start) as iterator:
                for key, value in iterator:
                    if not key.startswith(prefix) or len(found) >= limit:
                        break
                    found.append((key, value))
            return found

        return await trio.to_thread.run_sync(read, limiter=self._limiter)

    async def close(self) -> None:
        """Close the database; idempotent."""
        await trio.to_thread.run_sync(self._db.close, limiter=self._limiter)


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
