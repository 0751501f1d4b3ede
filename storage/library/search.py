"""Search over the catalogue: a query index that follows it, and answers out of worker threads.

The index holds nothing that LevelDB does not. The catalogue's outbox names what changed; the service
applies that, commits, and only then clears it, so a crash at any point costs at most doing it again.
An index that is missing, damaged, of an older format or ahead of the catalogue is built anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio

from marina.errors import DamagedError, UsageError
from storage.errors import StorageError
from storage.library.catalog import Catalog
from storage.library.models import TrackEntry
from storage.library.query import Query, parse

if TYPE_CHECKING:
    from trio_typing import TaskStatus

    from storage.library.query_index import Matches, QueryIndex

T = TypeVar("T")
LIMIT_MAX = 100
OFFSET_MAX = 10_000
STEP_TRACKS = 500
WRITER_IDLE_S = 20.0
GATHER_S = 0.02
"""Changes that come together are committed together."""
RETRY_S = (1.0, 5.0, 30.0)
READY_TIMEOUT_S = 10.0
_SEARCH_THREADS = 2

log = logging.getLogger("marina.storage.library")


@dataclass(frozen=True, slots=True)
class Hit:
    """A found track; scores compare within one answer only."""

    track: TrackEntry
    score: float


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Part of an answer.

    Attributes:
        hits: best first, or latest first for a query without words.
        total: how many tracks fit.
        is_loose: nothing fitted as typed, so less similar ones are given.
        is_complete: False while the index is being built, when tracks are not found yet.
        took_ms: from the call to the answer.
    """

    hits: tuple[Hit, ...]
    total: int
    is_loose: bool
    is_complete: bool
    took_ms: float


class SearchIndex:
    """Finds tracks of a catalogue; ``run`` keeps the index in step with it."""

    def __init__(self, directory: Path, catalog: Catalog) -> None:
        self._directory = directory
        self._catalog = catalog
        self._index: QueryIndex | None = None
        self._search_threads = trio.CapacityLimiter(_SEARCH_THREADS)
        self._write_thread = trio.CapacityLimiter(1)
        self._wake = trio.Event()
        self._progress = trio.Event()
        self._sequence = -1
        self._must_rebuild = False
        self._is_complete = False

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the index and follow the catalogue until cancelled.

        Started once searches are answered; a rebuild goes on behind that. Failures of the disk are
        logged and tried again; until one succeeds, searches say that the index is not ready.
        """
        index = await self._writing(_new_index, self._directory)
        try:
            await self._open(index)
            self._index = index
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                task_status.started()
                await self._follow_forever(index)
        finally:
            self._index = None
            with trio.CancelScope(shield=True):
                await self._writing(index.close)

    async def search(self, query: Query | str, *, limit: int = 20, offset: int = 0) -> SearchPage:
        """Return tracks that fit a query, as parsed or as typed.

        Raises:
            UsageError: the query cannot be read, or limit or offset is out of bounds.
            DamagedError: the index is damaged and could not be built anew within 10 s.
            StorageError: the service does not run.
        """
        if not 1 <= limit <= LIMIT_MAX or not 0 <= offset <= OFFSET_MAX:
            raise UsageError(f"ask for 1 to {LIMIT_MAX} results from 0 to {OFFSET_MAX}")
        started_s = time.perf_counter()
        wanted = parse(query) if isinstance(query, str) else query
        matches = await self._answer(wanted, limit, offset)
        entries = await self._catalog.tracks([match.track_id for match in matches.items])
        hits = tuple(
            Hit(entry, match.score)
            for entry, match in zip(entries, matches.items, strict=True)
            if entry is not None
        )
        took_ms = (time.perf_counter() - started_s) * 1000
        return SearchPage(hits, matches.total, matches.is_loose, self._is_complete, took_ms)

    async def wait_current(self) -> None:
        """Return once every change of the catalogue up to now is found by searches."""
        target = await self._catalog.sequence()
        while self._sequence < target or not self._is_complete:
            await self._progress.wait()

    async def _answer(self, query: Query, limit: int, offset: int) -> Matches:
        try:
            return await self._search_once(query, limit, offset)
        except DamagedError as err:
            log.warning("%s", err)
        self._must_rebuild, self._is_complete = True, False
        self._wake.set()
        with trio.move_on_after(READY_TIMEOUT_S):
            while self._must_rebuild:
                await self._progress.wait()
        return await self._search_once(query, limit, offset)

    async def _search_once(self, query: Query, limit: int, offset: int) -> Matches:
        index = self._index
        if index is None:
            raise StorageError("the search service does not run: start the daemon")
        return await trio.to_thread.run_sync(
            lambda: index.search(query, limit=limit, offset=offset), limiter=self._search_threads
        )

    async def _open(self, index: QueryIndex) -> None:
        followed = None
        try:
            followed = await self._writing(index.open)
        except StorageError as err:
            log.warning("the search index cannot be opened and is built anew: %s", err)
        self._must_rebuild = followed is None or followed > await self._catalog.sequence()
        self._is_complete = not self._must_rebuild

    async def _watch(self) -> None:
        """Wake the service when the catalogue changes."""
        seen = -1
        while True:
            try:
                await self._catalog.wait_changed(seen)
                seen = await self._catalog.sequence()
            except StorageError as err:
                log.warning("the catalogue cannot be read: %s", err)
                await trio.sleep(RETRY_S[-1])
            self._wake.set()

    async def _follow_forever(self, index: QueryIndex) -> None:
        failures = 0
        while True:
            self._wake = trio.Event()
            try:
                if self._must_rebuild:
                    await self._rebuild(index)
                await self._follow(index)
                failures = 0
            except (StorageError, DamagedError) as err:
                # As text: a log record that kept the error would keep the writer and its lock alive.
                log.warning("the search index fell behind and is tried again: %s", str(err))
                # A full disk is no reason to throw a good index away; a writer that fails twice is.
                is_broken = isinstance(err, DamagedError) or (failures > 0 and type(err) is StorageError)
                self._must_rebuild = self._must_rebuild or is_broken
                await trio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
                continue
            with trio.move_on_after(WRITER_IDLE_S):
                await self._wake.wait()
            if not self._wake.is_set():
                await self._writing(index.close_writer)
                await self._wake.wait()
            await trio.sleep(GATHER_S)

    async def _follow(self, index: QueryIndex) -> None:
        """Apply the outbox until it is empty."""
        while True:
            sequence = await self._catalog.sequence()
            changes = await self._catalog.pending(limit=STEP_TRACKS)
            if not changes:
                break
            ids: dict[bytes, None] = {}
            keys: list[bytes] = []
            last = 0
            for change in changes:
                ids.update(dict.fromkeys(change.track_ids))
                keys.append(change.key)
                last = change.sequence
                if len(ids) >= STEP_TRACKS:
                    break
            rows = await self._catalog.raw_tracks(list(ids))
            await self._writing(index.apply, list(zip(ids, rows, strict=True)))
            await self._writing(index.commit)
            await self._writing(index.mark, last)
            await self._catalog.settle(keys)
        self._advance(sequence)

    async def _rebuild(self, index: QueryIndex) -> None:
        """Build the index from the catalogue; what changes meanwhile is in the outbox."""
        started_s = time.perf_counter()
        self._is_complete = False
        await self._writing(index.reset)
        sequence = await self._catalog.sequence()
        after, done = b"", 0
        while rows := await self._catalog.track_rows(after=after, limit=STEP_TRACKS):
            await self._writing(partial(index.apply, rows, is_build=True))
            after = rows[-1][0]
            done += len(rows)
        # One commit: it makes one segment, and each segment costs every search.
        await self._writing(index.commit)
        await self._writing(index.close_writer)
        await self._writing(index.mark, sequence)
        await self._catalog.settle_all(until=sequence)
        self._must_rebuild, self._is_complete = False, True
        took_s = round(time.perf_counter() - started_s, 1)
        log.info("search index built", extra={"context": {"tracks": done, "seconds": took_s}})

    def _advance(self, sequence: int) -> None:
        self._sequence = sequence
        progress, self._progress = self._progress, trio.Event()
        progress.set()

    async def _writing(self, call: Callable[..., T], *args: object) -> T:
        return await trio.to_thread.run_sync(call, *args, limiter=self._write_thread)


def _new_index(directory: Path) -> QueryIndex:
    """Import tantivy and return an index that is not open yet, in a worker thread."""
    from storage.library.query_index import QueryIndex

    return QueryIndex(directory)
