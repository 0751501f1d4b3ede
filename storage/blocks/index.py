"""The store's index in LevelDB: its tables, its totals, and one change at a time.

A change is gathered in a ``Change`` and written as one batch together with the totals, under one
lock, so that rows and totals never disagree, not even after a crash.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import trio

from marina.cid import Cid
from marina.schema import encode_record
from storage.blocks.rows import BlockRow, HaveRow, HoldingRow, RenditionRow, TotalsRow, decode_row
from storage.errors import StorageError
from storage.kv import KeyValueStore, Table
from storage.quota import Quota
from storage.retention import Retention

_TOTALS_KEY = b"all"
_ENGINE_KEY = b"name"
DEFAULT_ENGINE = "embedded"
_PAGE = 256


@dataclass(slots=True)
class Totals:
    """Sums over everything in the store; ``charged_bytes`` by retention."""

    blocks: int = 0
    renditions: int = 0
    payload_bytes: int = 0
    charged_bytes: list[int] = field(default_factory=lambda: [0] * len(Retention))

    @property
    def charged_bytes_all(self) -> int:
        """What counts against the quota."""
        return sum(self.charged_bytes)

    def copy(self) -> Totals:
        """Return a copy to change."""
        return Totals(self.blocks, self.renditions, self.payload_bytes, list(self.charged_bytes))


class Change:
    """Rows and totals that will be written together; later writes to a key win."""

    def __init__(self, totals: Totals) -> None:
        self.totals = totals
        self._batch: list[tuple[bytes, bytes | None]] = []

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Store a row."""
        self._batch.append((table.key(key), value))

    def delete(self, table: Table, key: bytes) -> None:
        """Remove a row."""
        self._batch.append((table.key(key), None))

    @property
    def batch(self) -> list[tuple[bytes, bytes | None]]:
        """All writes so far, in order."""
        return self._batch


class StoreIndex:
    """Tables of the store over one key-value store (keys and values: storage/blocks/rows.py)."""

    def __init__(self, store: KeyValueStore, quota: Quota) -> None:
        self.rendition = Table(store, "rendition")
        self.have = Table(store, "have")
        self.part = Table(store, "part")
        self.block = Table(store, "block")
        self.holding = Table(store, "holding")
        self.evict = Table(store, "evict")
        self.pin = Table(store, "pin")
        self.pin_end = Table(store, "pin-end")
        self._totals_table = Table(store, "totals")
        self.kubo_drop = Table(store, "kubo-drop")
        self._engine_table = Table(store, "engine")
        self.store = store
        self.totals = Totals()
        self._quota = quota
        self._lock = trio.Lock()

    async def load(self, engine: str) -> bool:
        """Read the totals; return False for an index without them, which is new or was repaired.

        Args:
            engine: where the bytes go that this index names.

        Raises:
            StorageError: they are damaged, or the bytes went to another engine until now.
        """
        await self._check_engine(engine)
        data = await self._totals_table.get(_TOTALS_KEY)
        if data is None:
            await self.recount()
            return False
        row = decode_row(TotalsRow, data)
        self._adopt(Totals(row.blocks, row.renditions, row.payload_bytes, list(row.charged_bytes)))
        return True

    async def _check_engine(self, engine: str) -> None:
        known = await self.engine()
        if known != engine and (await self.rendition.scan(limit=1) or await self.block.scan(limit=1)):
            raise StorageError(
                f"this home keeps its blocks in the {known} engine, and storage.backend says {engine}. Move "
                f"them while the daemon is stopped: marina repo move {engine}"
            )
        await self.note_engine(engine)

    async def engine(self) -> str:
        """Return where the bytes are that this index names."""
        noted = await self._engine_table.get(_ENGINE_KEY)
        return DEFAULT_ENGINE if noted is None else noted.decode()

    async def note_engine(self, engine: str) -> None:
        """Write down where the bytes are that this index names."""
        await self._engine_table.put(_ENGINE_KEY, engine.encode())

    async def recount(self) -> Totals:
        """Sum up all rows anew and return the totals; costs as much as is kept."""
        async with self._lock:
            totals = Totals()
            async with aclosing(pages(self.rendition)) as rows:
                async for root, data in rows:
                    row = decode_row(RenditionRow, data)
                    layout = row.layout(Cid(root))
                    have = await self.have.get(root)
                    bits = 0 if have is None else int.from_bytes(decode_row(HaveRow, have).bits, "little")
                    present = [i for i in range(layout.plan.count) if bits >> i & 1]
                    totals.renditions += 1
                    totals.blocks += row.nodes + len(present)
                    totals.payload_bytes += row.node_bytes
                    totals.payload_bytes += sum(layout.plan.ciphertext(i).length for i in present)
            async with aclosing(pages(self.block)) as rows:
                async for _, data in rows:
                    totals.blocks += 1
                    totals.payload_bytes += decode_row(BlockRow, data).size_bytes
            async with aclosing(pages(self.holding)) as rows:
                async for _, data in rows:
                    holding = decode_row(HoldingRow, data)
                    totals.charged_bytes[holding.retention] += holding.charge_bytes
            await self._totals_table.put(_TOTALS_KEY, _totals_row(totals))
            self._adopt(totals)
            return totals

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Change]:
        """Gather a change and write it durably at the end of a clean ``async with`` block.

        Changes exclude one another, so what the block reads stays true until it is written. When the
        block raises, or the write does, nothing has changed.
        """
        async with self._lock:
            change = Change(self.totals.copy())
            yield change
            if not change.batch:
                return
            change.put(self._totals_table, _TOTALS_KEY, _totals_row(change.totals))
            await self.store.write(change.batch)
            self._adopt(change.totals)

    def _adopt(self, totals: Totals) -> None:
        self.totals = totals
        self._quota.set_charged(totals.charged_bytes_all)


async def pages(table: Table) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """Yield every row of a table in key order, a bounded number at a time in memory."""
    after = b""
    while rows := await table.scan(after=after, limit=_PAGE):
        for row in rows:
            yield row
        after = rows[-1][0]


async def forget_totals(store: KeyValueStore) -> None:
    """Make the next ``load`` count anew, since rows may be missing."""
    await Table(store, "totals").delete(_TOTALS_KEY)


def _totals_row(totals: Totals) -> bytes:
    return encode_record(
        TotalsRow(totals.blocks, totals.renditions, totals.payload_bytes, tuple(totals.charged_bytes))
    )
