"""The query index itself: tantivy in one directory, called from worker threads only.

Every method blocks. Reading and writing may go on at the same time in different threads; there is
one writer. tantivy reports through ValueError, and a damaged file may make it panic, which arrives
as a BaseException; both become errors of ours.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tantivy

from marina.errors import DamagedError
from storage.errors import DiskFullError, HomeInUseError, StorageError
from storage.library.index_files import Marker, drop_strays, is_whole, read_marker, wipe, write_marker
from storage.library.matching import FORMAT, QueryCompiler, build_schema, document_of, index_id, track_id_of
from storage.library.models import TrackEntry
from storage.library.query import Query
from storage.library.tables import read_row

WRITER_HEAP_BYTES = 16_000_000
"""Just above the least that tantivy takes; it is held only while a writer is open."""
BUILD_HEAP_BYTES = 96_000_000
"""For building the whole index: a full heap ends a segment, and every segment costs each search."""
FREE_BYTES_MIN = 32 << 20
_PANIC = "PanicException"
_FULL_MARKS = ("No space left", "Disk quota exceeded", "StorageFull", "File too large")

log = logging.getLogger("marina.storage.library")


class IndexDamagedError(DamagedError):
    """The query index cannot be read; it is thrown away and built from the catalogue again."""

    code = "index_damaged"


@dataclass(frozen=True, slots=True)
class Match:
    """A track that fits a query; a higher score is better, 0.0 where nothing ranks them."""

    track_id: bytes
    score: float


@dataclass(frozen=True, slots=True)
class Matches:
    """Part of a query's answer.

    Attributes:
        items: best first, or latest first for a query without words.
        total: how many tracks fit altogether.
        is_loose: nothing fitted as typed, so less similar ones are given.
    """

    items: tuple[Match, ...]
    total: int
    is_loose: bool


class QueryIndex:
    """An index over ``TrackEntry``; the constructor does no I/O."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._index: Any = None
        self._writer: Any = None

    def open(self) -> int | None:
        """Open the index as it is on disk.

        Returns:
            The sequence number that it has followed, or None: it is new and empty, since there was
            none, or an unfinished, damaged or older one.

        Raises:
            StorageError: the directory cannot be written.
        """
        marker = read_marker(self._directory)
        current = (FORMAT, tantivy.__version__)
        if marker is None or (marker.format, marker.engine) != current or not is_whole(self._directory):
            self.reset()
            return None
        try:
            with _guarded():
                self._use(tantivy.Index.open(str(self._directory)))
        except IndexDamagedError:
            self.reset()
            return None
        return marker.sequence

    def reset(self) -> None:
        """Throw the index away and start an empty one.

        Raises:
            StorageError: the directory cannot be written.
        """
        self._writer = None
        wipe(self._directory)  # a search that still reads the old files keeps them until it ends
        try:
            self._use(tantivy.Index(build_schema(), str(self._directory)))
        except (ValueError, OSError) as err:
            raise _write_error(err, self._directory) from err

    def apply(self, rows: Iterable[tuple[bytes, bytes | None]], *, is_build: bool = False) -> None:
        """Take the newest state of some tracks: (track id, encoded entry or None if it is gone).

        It is seen by searches after ``commit``. A row that cannot be read is left out.

        Args:
            rows: each track at most once.
            is_build: the index is being filled from empty, so no track is in it yet.

        Raises:
            DiskFullError: the disk has no room; nothing since the last commit was kept.
            StorageError: the writer failed; nothing since the last commit was kept.
        """
        with self._writing(BUILD_HEAP_BYTES if is_build else WRITER_HEAP_BYTES) as writer:
            for track_id, data in rows:
                if not is_build:
                    writer.delete_documents_by_term("id", index_id(track_id))
                if data is None:
                    continue
                try:
                    entry = read_row(TrackEntry, data)
                except StorageError as err:
                    log.warning("track left out of the search index: %s", err)
                    continue
                writer.add_document(document_of(entry))

    def commit(self) -> None:
        """Make what was applied durable and visible; errors as for ``apply``."""
        with self._writing() as writer:
            writer.commit()
            self._index.reload()

    def mark(self, sequence: int) -> None:
        """Note that the index is complete up to a change of the catalogue.

        Raises:
            StorageError: the disk refused.
        """
        write_marker(self._directory, Marker(FORMAT, tantivy.__version__, sequence))

    def close_writer(self) -> None:
        """Give the writer's memory and threads back; the next ``apply`` opens another."""
        self._writer = None

    def close(self) -> None:
        """Release everything; what was applied without a commit is lost."""
        self._writer = self._index = None

    def search(self, query: Query, *, limit: int, offset: int) -> Matches:
        """Return tracks that fit a query, from the best one on.

        Args:
            query: what to find.
            limit: at most this many.
            offset: leave out so many of the best.

        Raises:
            UsageError: a condition has nothing to look for.
            IndexDamagedError: the index cannot be read.
        """
        found = self._search(query, limit, offset, is_loose=False)
        if found.total == 0 and query.groups:
            return self._search(query, limit, offset, is_loose=True)
        return found

    def _search(self, query: Query, limit: int, offset: int, *, is_loose: bool) -> Matches:
        index = self._index
        if index is None:
            raise StorageError("the search index is not ready: the log says why; it is tried again")
        compiled, has_words = QueryCompiler(index.schema, is_loose=is_loose).compile(query)
        if is_loose and not has_words:
            return Matches((), 0, is_loose=False)
        order = {} if has_words else {"order_by_field": "added_s"}
        with _guarded():
            searcher = index.searcher()
            result = searcher.search(compiled, limit, offset=offset, **order)
            items = tuple(
                Match(track_id_of(searcher.doc(address)["id"][0]), float(score) if has_words else 0.0)
                for score, address in result.hits
            )
            return Matches(items, int(result.count), is_loose=is_loose and bool(items))

    def _use(self, index: Any) -> None:
        index.config_reader("manual")  # reloaded behind each commit; no thread has to watch the files
        self._index = index

    @contextmanager
    def _writing(self, heap_bytes: int = WRITER_HEAP_BYTES) -> Iterator[Any]:
        try:
            if self._writer is None:
                drop_strays(self._directory)
                self._writer = self._index.writer(heap_bytes, 1)
            yield self._writer
        except BaseException as err:
            self._writer = None  # dropping it rolls back to the last commit
            if isinstance(err, ValueError | OSError) or type(err).__name__ == _PANIC:
                raise _write_error(err, self._directory) from err
            raise


@contextmanager
def _guarded() -> Iterator[None]:
    """Turn tantivy's ways to report a bad file into IndexDamagedError."""
    try:
        yield
    except (ValueError, OSError) as err:
        raise IndexDamagedError(f"the search index cannot be read ({err}); it is built anew") from err
    except BaseException as err:
        if type(err).__name__ == _PANIC:
            raise IndexDamagedError("the search index cannot be read; it is built anew") from err
        raise


def _write_error(err: BaseException, directory: Path) -> StorageError:
    text = str(err)
    if "LockBusy" in text:
        return HomeInUseError("the search index is open in another process: stop that daemon first")
    # A writer thread that met a full disk is only reported as killed, hence the look at the disk.
    if any(mark in text for mark in _FULL_MARKS) or _free_bytes(directory) < FREE_BYTES_MIN:
        return DiskFullError("the search index cannot be written: the disk is full; free some space")
    return StorageError(f"the search index cannot be written: {text[:300]}")


def _free_bytes(directory: Path) -> int:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return FREE_BYTES_MIN
