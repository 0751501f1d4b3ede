"""What an index of a chain keeps on disk: rows, and how to take the last blocks back.

One ``Table`` holds, in one key space, the rows that ``chain.tables`` gives meaning to, the cursor (number
and hash of the last indexed block) and, for each of the last blocks, its hash and the former value of
every row that it changed. A block is applied, and a re-organisation undone, in one atomic batch: after a
crash the rows are those of the cursor, never of something between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from marina.errors import MalformedError
from marina.schema import U32, U64, Bytes32, Size, decode_record, encode_record, record
from storage.errors import StorageError
from storage.kv import SCAN_LIMIT, KeyValueStore, Table

Update = Callable[[bytes | None, Sequence[bytes | None]], bytes | None]
"""Gives the new value of a row from the old one and those of the rows it reads; None is no row."""

FORMAT = 1
"""Meaning of the rows; an index of another format is made anew from the chain."""
ROW_KEY_BYTES_MAX = 256
ROW_BYTES_MAX = 256 * 1024
ROW_ITEMS_MAX = 4096

_UNDO_BYTES_MAX = 256 << 20
_UNDO_ITEMS_MAX = 1 << 22
_ROWS = b"r"
_HASHES = b"h"
_UNDO = b"u"
_CURSOR = b"c"


class Change(NamedTuple):
    """What becomes of one row. All rows that it looks at are named, so that they are read at once.

    Attributes:
        key: of the row.
        update: makes its new value.
        reads: keys of other rows that ``update`` looks at, as they are at that moment.
    """

    key: bytes
    update: Update
    reads: tuple[bytes, ...] = ()


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
        rows = await self._values(changes)
        former = _apply(rows, changes)
        batch = [(self._key(_ROWS, key), rows[key]) for key in former]
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
        rows = await self._values([change for each in blocks for change in each.changes])
        batch: list[tuple[bytes, bytes | None]] = await self._forget_below(kept_from)
        changed: dict[bytes, None] = {}
        for each in blocks:
            former = _apply(rows, each.changes)
            changed.update(dict.fromkeys(former))
            number = _number(each.block.number)
            batch.append((self._key(_HASHES, number), each.block.hash))
            if former:
                undo = _Undo(tuple(_Former(key, value) for key, value in former.items()))
                batch.append((self._key(_UNDO, number), encode_record(undo)))
        batch += [(self._key(_ROWS, key), rows[key]) for key in changed]
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

    async def _values(self, changes: Iterable[Change]) -> dict[bytes, bytes | None]:
        keys = list(dict.fromkeys(key for each in changes for key in (each.key, *each.reads)))
        return dict(zip(keys, await self.get_many(keys), strict=True))

    async def _forget_below(self, number: int) -> list[tuple[bytes, bytes | None]]:
        """Return the deletion of every hash and undo record of blocks below a number."""
        rows = [
            *await self._table.scan(_HASHES, limit=SCAN_LIMIT),
            *await self._table.scan(_UNDO, limit=SCAN_LIMIT),
        ]
        return [(self._table.key(key), None) for key, _ in rows if int.from_bytes(key[1:]) < number]


def _apply(rows: dict[bytes, bytes | None], changes: Sequence[Change]) -> dict[bytes, bytes | None]:
    """Change rows in place and return the former value of each changed one."""
    former: dict[bytes, bytes | None] = {}
    for key, update, reads in changes:
        before = rows[key]
        former.setdefault(key, before)
        rows[key] = update(before, [rows[each] for each in reads])
    return former


def _number(number: int) -> bytes:
    return number.to_bytes(8)


def _undo_of(data: bytes) -> _Undo:
    try:
        return decode_record(_Undo, data, limit_bytes=_UNDO_BYTES_MAX, limit_items=_UNDO_ITEMS_MAX)
    except MalformedError as err:
        raise StorageError(
            "the index of the chain is damaged: run 'marina chain reindex', which reads it anew"
        ) from err
