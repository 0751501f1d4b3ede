"""The event indexer: follows a chain and keeps rows of what its contracts said.

Old blocks come in ranges of ``eth_getLogs``. The last 128 come one by one, asked for by block hash, so
that an endpoint that does not have the block yet says so instead of answering with nothing; for each of
them the index remembers how to take it back. When the block at the cursor is no longer the chain's, the
index goes back to the last block that both know and reads on from there: afterwards its rows are those
of a fresh index. Source: design, contracts §2.2 "Events"; EIP-234.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import trio

from chain.errors import RpcError
from chain.events import Event, EventDecoder, Log
from chain.index.source import ChainSource, Header, InconsistentChainError, Rpc
from chain.index.store import BlockChanges, BlockRef, Change, IndexStore
from marina.errors import MalformedError, MarinaError, NetworkError
from marina.retry import Backoff

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.chain.indexer")

WINDOW_BLOCKS = 128
"""How many of the last blocks can be taken back; a deeper re-organisation is indexed from the start."""
CHUNK_BLOCKS = 1000
LOGS_MAX = 5000
"""More logs in one answer than this, and the next range is half as long."""
_PART_LOGS = 1000
_GROWTH = 8
"""A range grows by an eighth after each answer with room to spare: a limit is not run into at once again."""
_COMPARED_AT_ONCE = 50
_LOGS_AT_ONCE = 16
_TURN = 64
"""Logs that are decoded before other tasks get their turn."""
_FAST_POLL_S = 0.25
"""While somebody waits for a block."""
_RETRIES = Backoff(base_s=0.5, cap_s=30.0, tries_max=16)

ChangesOf = Callable[[Event, int], Sequence[Change]]
"""(event, Unix time of its block) → what it changes."""


@dataclass(frozen=True, slots=True)
class IndexerConfig:
    """How to follow a chain.

    Attributes:
        first_block: where to begin: the block of the contracts' deployment.
        poll_s: how often to look for new blocks; the chain's block time is good.
        chunk_blocks: most blocks of one ``eth_getLogs``.
    """

    first_block: int = 0
    poll_s: float = 2.0
    chunk_blocks: int = CHUNK_BLOCKS


@dataclass(frozen=True, slots=True)
class IndexState:
    """How far the index is.

    Attributes:
        block: last indexed block; -1 before the first.
        head: newest block that an endpoint showed; -1 before the first.
        error: why the last look at the chain failed; None if it did not.
    """

    block: int
    head: int
    error: str | None


class Indexer:
    """Keeps an index up to date for as long as ``run`` runs."""

    def __init__(
        self,
        *,
        rpc: Rpc,
        store: IndexStore,
        decoder: EventDecoder,
        changes_of: ChangesOf,
        wanted: frozenset[tuple[str, str]],
        rng: Random,
        config: IndexerConfig | None = None,
    ) -> None:
        """Make an indexer, which does nothing yet.

        Args:
            rpc: the chain's endpoints.
            store: where rows go; nobody else writes it.
            decoder: of the contracts that are followed.
            changes_of: what an event means for the rows.
            wanted: the (contract, event) pairs that ``changes_of`` knows; no others are asked for.
            rng: spreads retries.
            config: see there.
        """
        self._source = ChainSource(rpc, decoder, wanted)
        self._store = store
        self._decoder = decoder
        self._changes_of = changes_of
        self._config = config or IndexerConfig()
        self._rng = rng
        self._chunk = self._config.chunk_blocks
        self._state = IndexState(-1, -1, None)
        self._genesis: bytes | None = None
        self._lock = trio.Lock()
        self._poked = trio.Event()
        self._progress = trio.Event()
        self._waiting = 0

    @property
    def state(self) -> IndexState:
        """How far the index is."""
        return self._state

    def confirmations(self, block: int) -> int:
        """Return head − block + 1, how often a block that holds a row is confirmed; 0 if it is not there."""
        return max(0, self._state.head - block + 1)

    def poke(self) -> None:
        """Look for new blocks now, as after a transaction of our own."""
        self._poked.set()

    async def reached(self, block: int, *, timeout_s: float = 60.0) -> None:
        """Return once a block is indexed, so that what was written in it can be read.

        Raises:
            NetworkError: it was not within the time.
        """
        self._waiting += 1
        self.poke()
        try:
            with trio.move_on_after(timeout_s):
                while self._state.block < block:
                    await self._progress.wait()
                return
        finally:
            self._waiting -= 1
        raise NetworkError(
            f"block {block} was not indexed within {timeout_s:g} s: "
            f"{self._state.error or 'the chain has not come so far'}"
        )

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the chain until cancelled; failures are logged, shown in ``state`` and tried again."""
        task_status.started()
        delays = _RETRIES.delays(self._rng)
        while True:
            self._poked = trio.Event()
            try:
                await self.catch_up()
                delays = _RETRIES.delays(self._rng)
                delay_s = _FAST_POLL_S if self._waiting else self._config.poll_s
            except MarinaError as err:
                if self._state.error is None:
                    log.warning("the chain cannot be followed: %s", err)
                self._state = IndexState(self._state.block, self._state.head, str(err))
                delay_s = next(delays, _RETRIES.cap_s)
            with trio.move_on_after(delay_s):
                await self._poked.wait()

    async def start_over(self) -> None:
        """Forget the index; ``run`` reads it anew from the chain, which takes a while on an old one.

        Raises:
            StorageError: the disk refused.
        """
        async with self._lock:
            await self._store.wipe()
            self._genesis = None
            self._advanced(-1, self._state.head)
        self.poke()

    async def catch_up(self) -> None:
        """Index up to the newest block.

        Raises:
            NetworkError: nobody answered, or what was answered contradicts itself; what was indexed stays.
            RpcError: an endpoint refused.
            StorageError: the disk refused.
        """
        async with self._lock:
            head = await self._source.header("latest")
            genesis = await self._known_genesis()
            cursor = await self._store.cursor(genesis)
            if cursor is not None:
                cursor = await self._reorganised(genesis, cursor, head)
            if cursor is None:
                genesis = await self._start_over(head.ref.number)
            next_number = self._config.first_block if cursor is None else cursor.number + 1
            old_end = head.ref.number - WINDOW_BLOCKS
            while next_number <= old_end:
                cursor = await self._index_old(genesis, next_number, old_end)
                next_number = cursor.number + 1
                self._advanced(cursor.number, head.ref.number)
            while next_number <= head.ref.number:
                last = min(next_number + _LOGS_AT_ONCE - 1, head.ref.number)
                cursor = await self._index_new(genesis, cursor, next_number, last, head.ref.number)
                next_number = cursor.number + 1
                self._advanced(cursor.number, head.ref.number)
            self._advanced(-1 if cursor is None else cursor.number, head.ref.number)

    def _advanced(self, block: int, head: int) -> None:
        self._state = IndexState(block, head, None)
        self._progress.set()
        self._progress = trio.Event()

    async def _known_genesis(self) -> bytes:
        """Return the hash of block 0, asked once while the chain's head grows."""
        if self._genesis is None:
            self._genesis = (await self._source.header("0x0")).ref.hash
        return self._genesis

    async def _start_over(self, head: int) -> bytes:
        """Delete what there is of an index, and return the hash of the chain's block 0 as it is now."""
        await self._store.wipe()
        self._genesis = None
        self._advanced(-1, head)
        return await self._known_genesis()

    async def _reorganised(self, genesis: bytes, cursor: BlockRef, head: Header) -> BlockRef | None:
        """Return the cursor after taking back the blocks that the chain dropped; None to start over."""
        kept = [each for each in await self._store.kept() if each.number <= cursor.number]
        shared = [each for each in kept if each.number <= head.ref.number]
        if not shared:
            return await self._behind(genesis, cursor)
        if (await self._source.headers([shared[0].number]))[0].ref == shared[0]:
            return cursor  # unchanged, or an endpoint that is behind: what is indexed stays
        for start in range(1, len(shared), _COMPARED_AT_ONCE):
            part = shared[start : start + _COMPARED_AT_ONCE]
            headers = await self._source.headers([each.number for each in part])
            for mine, theirs in zip(part, headers, strict=True):
                if mine == theirs.ref:
                    log.info(
                        "the chain was re-organised",
                        extra={"context": {"back_to": mine.number, "from": cursor.number}},
                    )
                    await self._store.rewind(genesis, mine)
                    return mine
        log.warning("the chain was re-organised deeper than the index can go back: it is made anew")
        return None

    async def _behind(self, genesis: bytes, cursor: BlockRef) -> BlockRef | None:
        """Return the cursor although the head is far behind it; None if this is another chain by now."""
        self._genesis = None
        if await self._known_genesis() == genesis:
            return cursor
        log.warning("the chain begins with another block than the indexed one: the index is made anew")
        return None

    async def _index_old(self, genesis: bytes, first: int, last: int) -> BlockRef:
        """Index a range of blocks that nobody re-organises any more, and return its last."""
        while True:
            end = min(last, first + self._chunk - 1)
            try:
                logs = await self._source.range_logs(first, end)
            except RpcError:
                if not self._halve():
                    raise
            except NetworkError:
                self._halve()  # a smaller answer may pass next time
                raise
            else:
                break
        numbers = sorted({each.block for each in logs} | {end})
        headers = {each.ref.number: each for each in await self._source.headers(numbers)}
        for part in _parts(logs):
            changes = await self._changes(part, headers)
            last_block = end if part[-1:] == logs[-1:] else part[-1].block
            await self._store.append_old(genesis, headers[last_block].ref, changes)
        if len(logs) > LOGS_MAX:
            self._halve()
        elif len(logs) < LOGS_MAX // 2:
            self._chunk = min(self._config.chunk_blocks, self._chunk + self._chunk // _GROWTH + 1)
        return headers[end].ref

    async def _index_new(
        self, genesis: bytes, cursor: BlockRef | None, first: int, last: int, head: int
    ) -> BlockRef:
        """Index consecutive blocks that may still be taken back, and return the last."""
        headers = await self._source.headers(range(first, last + 1))
        parent = cursor
        for header in headers:
            if parent is not None and header.parent != parent.hash:
                raise InconsistentChainError(
                    f"block {header.ref.number} does not follow the one before it: the chain is changing"
                )
            parent = header.ref
        found = await self._source.block_logs(headers)
        blocks = []
        for header, logs in zip(headers, found, strict=True):
            changes = await self._changes(logs, {header.ref.number: header})
            blocks.append(BlockChanges(header.ref, changes))
        await self._store.append(genesis, blocks, kept_from=head - WINDOW_BLOCKS)
        return headers[-1].ref

    def _halve(self) -> bool:
        """Ask for half as many blocks from now on; return whether that is fewer."""
        before, self._chunk = self._chunk, max(1, self._chunk // 2)
        return self._chunk < before

    async def _changes(self, logs: Sequence[Log], headers: dict[int, Header]) -> list[Change]:
        """Return what logs change, after checking that each is of the block that the chain has there."""
        changes: list[Change] = []
        for place, each in enumerate(logs):
            if place % _TURN == _TURN - 1:
                await trio.lowlevel.checkpoint()
            header = headers[each.block]
            if each.block_hash != header.ref.hash or each.address not in self._decoder.addresses:
                raise InconsistentChainError(
                    f"an endpoint gave logs of block {each.block} that are not of the block it shows there: "
                    "they are not used; if this stays, set another endpoint"
                )
            try:
                event = self._decoder.decode(each)
            except MalformedError as err:
                raise InconsistentChainError(f"an endpoint gave a damaged log: {err}") from err
            if event is not None:
                changes += self._changes_of(event, header.time_s)
        return changes


def _parts(logs: Sequence[Log]) -> Iterator[Sequence[Log]]:
    """Yield logs in parts that end where a block ends; one empty part if there are none.

    A part is stored at once: many rows that are alive together cost more than each of them.
    """
    start = 0
    while start + _PART_LOGS < len(logs):
        stop = start + _PART_LOGS
        while stop < len(logs) and logs[stop].block == logs[stop - 1].block:
            stop += 1
        yield logs[start:stop]
        start = stop
    if start < len(logs) or not logs:
        yield logs[start:]
