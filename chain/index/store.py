"""What an index of a chain keeps on disk: rows, and how to take the last blocks back.

One ``Table`` holds, in one key space, the rows that ``chain.tables`` gives meaning to, the cursor (number
and hash of the last indexed block) and, for each of the last blocks, its hash and the former value of
every row that it changed. A block is applied, and a re-organisation undone, in one atomic batch: after a
crash the rows are those of the cursor, never of something between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import trio

from marina.errors import MalformedError
from marina.schema import U32, U64, Bytes32, R, Size, decode_record, encode_record, record
from storage.errors import StorageError
from storage.kv import SCAN_LIMIT, KeyValueStore, Table

FORMAT = 3
"""Meaning of the rows; an index of another format is made anew from the chain."""
ROW_KEY_BYTES_MAX = 256
ROW_BYTES_MAX = 256 * 1024
ROW_ITEMS_MAX = 4096
_UNDO_BYTES_MAX = 256 << 20
_UNDO_ITEMS_MAX = 1 << 22
_INLINE_CHANGES = 100
_ROWS = b"r"
_HASHES = b"h"
_UNDO = b"u"
_CURSOR = b"c"

Row = Any
"""A row while changes are applied: its record, bytes for an entry of another key's index, or None."""
Update = Callable[[Row, Sequence[Row]], Row]
"""Gives the new value of a row from the old one and those of the rows it reads."""


class Change(NamedTuple):
    """What becomes of one row. All rows that it looks at are named, so that they are read at once.

    Attributes:
        key: of the row.
        cls: record that the row holds; None for plain bytes.
        update: makes its new value.
        reads: (key, record) of other rows that ``update`` looks at, as they are at that moment.
        is_blind: it does not look at the old value, which is then read only where it may come back.
    """

    key: bytes
    cls: type | None
    update: Update
    reads: tuple[tuple[bytes, type], ...] = ()
    is_blind: bool = False


@dataclass(frozen=True, slots=True)
class BlockRef:
    """One block: its number and its 32-byte hash."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class BlockChanges:
    """Everything that one block does to the rows, in the order of its logs."""

    block: BlockRef
    changes: Sequence[Change]


@record("marina/chain/cursor/1")
@dataclass(frozen=True, slots=True)
class _Cursor:
    format: U32
    genesis: Bytes32
    number: U64
    hash: Bytes32


@record(None)
@dataclass(frozen=True, slots=True)
class _Former:
    key: Annotated[bytes, Size(1, ROW_KEY_BYTES_MAX)]
    value: Annotated[bytes, Size(0, ROW_BYTES_MAX)] | None


@record("marina/chain/undo/1")
@dataclass(frozen=True, slots=True)
class _Undo:
    former: Annotated[tuple[_Former, ...], Size(0, _UNDO_ITEMS_MAX)]


class IndexStore:
    """The rows, cursor and undo records of one contract set on one chain."""

    def __init__(self, store: KeyValueStore, *, name: str) -> None:
        self._store = store
        self._table = Table(store, name)
        self._limiter = trio.CapacityLimiter(1)

    async def get(self, key: bytes) -> bytes | None:
        """Return a row."""
        return await self._table.get(_ROWS + key)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return several rows, in order."""
        return await self._table.get_many([_ROWS + key for key in keys])

    async def scan(
        self, prefix: bytes, *, after: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return (key, row) pairs with a prefix in key order, from behind the key ``after``."""
        rows = await self._table.scan(_ROWS + prefix, after=_ROWS + after if after else b"", limit=limit)
        return [(key[1:], value) for key, value in rows]

    async def scan_back(
        self, prefix: bytes, *, before: bytes = b"", limit: int = SCAN_LIMIT
    ) -> list[tuple[bytes, bytes]]:
        """Return (key, row) pairs with a prefix, last key first, from ahead of the key ``before``."""
        rows = await self._table.scan_back(
            _ROWS + prefix, before=_ROWS + before if before else b"", limit=limit
        )
        return [(key[1:], value) for key, value in rows]

    async def cursor(self, genesis: bytes) -> BlockRef | None:
        """Return the last indexed block, None if there is no index of this chain in this format.

        Args:
            genesis: hash of the chain's block 0; a development chain that was made anew has another.
        """
        data = await self._table.get(_CURSOR)
        if data is None:
            return None
        try:
            found = decode_record(_Cursor, data)
        except MalformedError:
            return None
        if found.format != FORMAT or found.genesis != genesis:
            return None
        return BlockRef(found.number, found.hash)

    async def kept(self) -> list[BlockRef]:
        """Return the blocks whose hashes are kept, the newest first: the index can go back to each."""
        rows = await self._table.scan_back(_HASHES, limit=SCAN_LIMIT)
        return [BlockRef(int.from_bytes(key[1:]), value) for key, value in rows]

    async def append_old(self, genesis: bytes, end: BlockRef, changes: Sequence[Change]) -> None:
        """Apply the changes of blocks so old that they are never taken back, and move the cursor.

        Args:
            genesis: hash of the chain's block 0.
            end: the last of the blocks; its hash is kept, so that newer blocks can be taken back to it.
            changes: of all the blocks, in order.
        """
        rows = await self._overlay(changes, is_undoable=False)

        def work() -> list[tuple[bytes, bytes | None]]:
            rows.apply(changes)
            return [(self._key(_ROWS, key), value) for key, value in rows.changed().items()]

        batch = await self._worked(work, len(changes))
        batch += await self._forget_below(end.number)
        batch.append((self._key(_HASHES, _number(end.number)), end.hash))
        batch.append(self._moved(genesis, end))
        await self._store.write(batch)

    async def append(self, genesis: bytes, blocks: Sequence[BlockChanges], *, kept_from: int) -> None:
        """Apply the changes of one or more consecutive blocks so that each can be taken back.

        Args:
            genesis: hash of the chain's block 0.
            blocks: in order, the first behind the cursor.
            kept_from: forget how to take back blocks before this number.
        """
        rows = await self._overlay([change for each in blocks for change in each.changes], is_undoable=True)

        def work() -> list[tuple[bytes, bytes | None]]:
            batch: list[tuple[bytes, bytes | None]] = []
            for each in blocks:
                former = rows.apply(each.changes)
                number = _number(each.block.number)
                batch.append((self._key(_HASHES, number), each.block.hash))
                if former:
                    undo = _Undo(tuple(_Former(key, row_bytes(row)) for key, row in former.items()))
                    batch.append((self._key(_UNDO, number), encode_record(undo)))
            return batch + [(self._key(_ROWS, key), value) for key, value in rows.changed().items()]

        batch = await self._forget_below(kept_from)
        batch += await self._worked(work, sum(len(each.changes) for each in blocks))
        batch.append(self._moved(genesis, blocks[-1].block))
        await self._store.write(batch)

    async def rewind(self, genesis: bytes, to: BlockRef) -> None:
        """Take back every block above one of the kept, in one batch.

        Raises:
            StorageError: an undo record is damaged, or the block is not kept.
        """
        dropped = [each for each in await self.kept() if each.number >= to.number]
        if not dropped or dropped[-1] != to:
            raise StorageError(f"block {to.number} is not one that the index can go back to")
        former: dict[bytes, bytes | None] = {}
        batch: list[tuple[bytes, bytes | None]] = []
        for each in dropped[:-1]:
            number = _number(each.number)
            undo = await self._table.get(_UNDO + number)
            if undo is not None:
                former.update({row.key: row.value for row in _undo_of(undo).former})
            batch += [(self._key(_HASHES, number), None), (self._key(_UNDO, number), None)]
        batch += [(self._key(_ROWS, key), value) for key, value in former.items()]
        batch.append(self._moved(genesis, to))
        await self._store.write(batch)

    async def wipe(self) -> None:
        """Delete everything, the cursor first: after a crash the rest is deleted before it is used."""
        await self._table.delete(_CURSOR)
        while rows := await self._table.scan(limit=SCAN_LIMIT):
            await self._table.write(dict.fromkeys((key for key, _ in rows), None))

    def _key(self, kind: bytes, key: bytes) -> bytes:
        return self._table.key(kind + key)

    def _moved(self, genesis: bytes, to: BlockRef) -> tuple[bytes, bytes]:
        return self._table.key(_CURSOR), encode_record(_Cursor(FORMAT, genesis, to.number, to.hash))

    async def _worked(
        self, work: Callable[[], list[tuple[bytes, bytes | None]]], changes: int
    ) -> list[tuple[bytes, bytes | None]]:
        """Return what pure work gives; much of it in a thread, so that it does not stop the music."""
        if changes <= _INLINE_CHANGES:
            return work()
        return await trio.to_thread.run_sync(work, limiter=self._limiter)

    async def _overlay(self, changes: Sequence[Change], *, is_undoable: bool) -> _Overlay:
        keys: dict[bytes, None] = {}
        for each in changes:
            if is_undoable or not each.is_blind:
                keys[each.key] = None
            keys.update(dict.fromkeys(at for at, _ in each.reads))
        wanted = list(keys)
        return _Overlay(dict(zip(wanted, await self.get_many(wanted), strict=True)))

    async def _forget_below(self, number: int) -> list[tuple[bytes, bytes | None]]:
        """Return the deletion of every hash and undo record of blocks below a number."""
        rows = [
            *await self._table.scan(_HASHES, limit=SCAN_LIMIT),
            *await self._table.scan(_UNDO, limit=SCAN_LIMIT),
        ]
        return [(self._table.key(key), None) for key, _ in rows if int.from_bytes(key[1:]) < number]


class _Overlay:
    """Rows while changes are applied: each is decoded once and encoded once, however often it changes."""

    def __init__(self, stored: dict[bytes, bytes | None]) -> None:
        self._stored = stored
        self._rows: dict[bytes, Row] = {}
        self._changed: dict[bytes, None] = {}

    def apply(self, changes: Sequence[Change]) -> dict[bytes, Row]:
        """Change rows and return the former value of each changed one."""
        former: dict[bytes, Row] = {}
        for key, cls, update, reads, is_blind in changes:
            is_unread = is_blind and key not in self._stored
            before = None if is_unread else self._get(key, cls)
            former.setdefault(key, before)
            self._rows[key] = update(before, [self._get(at, kind) for at, kind in reads])
        self._changed.update(dict.fromkeys(former))
        return former

    def changed(self) -> dict[bytes, bytes | None]:
        """Return the present bytes of every row that was changed."""
        return {key: row_bytes(self._rows[key]) for key in self._changed}

    def _get(self, key: bytes, cls: type | None) -> Row:
        if key not in self._rows:
            data = self._stored[key]
            self._rows[key] = data if data is None or cls is None else read_row(cls, data)
        return self._rows[key]


def read_row(cls: type[R], data: bytes) -> R:
    """Return the record of a row; MalformedError if it is none."""
    return decode_record(cls, data, limit_bytes=ROW_BYTES_MAX, limit_items=ROW_ITEMS_MAX)


def row_bytes(row: Row) -> bytes | None:
    """Return a row as it is stored."""
    return row if row is None or isinstance(row, bytes) else encode_record(row)


def _number(number: int) -> bytes:
    return number.to_bytes(8)


def _undo_of(data: bytes) -> _Undo:
    try:
        return decode_record(_Undo, data, limit_bytes=_UNDO_BYTES_MAX, limit_items=_UNDO_ITEMS_MAX)
    except MalformedError as err:
        raise StorageError(
            "the index of the chain is damaged: run 'marina chain reindex', which reads it anew"
        ) from err
