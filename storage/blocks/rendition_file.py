"""One sparse ciphertext file per rendition: descriptors, verified reads and writes, durability.

Segment *i* lies at ``layout.plan.ciphertext(i)``; holes are segments that are not here yet. Everything
in this file blocks and runs in worker threads. What is in a file counts only once the index says so,
so a file may hold anything behind a crash: reads are checked against the digests.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from marina.cid import Cid, cid_text, parse_cid
from marina.errors import MalformedError
from storage.content.layout import RenditionLayout
from storage.file_ops import Buffer, FileOps, read_whole, translated, write_all

SUFFIX = ".enc"
STAGING = "staging"
DESCRIPTORS_MAX = 128
_SHARD = slice(-3, -1)
"""The two characters before the last vary most; the first ones are the same in every CID."""


@dataclass(slots=True, eq=False)
class _Open:
    fd: int
    uses: int = 0
    is_dirty: bool = False
    is_doomed: bool = False


class SparseFiles:
    """The ciphertext files below one directory, with a bounded number of open descriptors.

    A descriptor with unsynced bytes stays open until they are synced, so that a write error of the
    kernel reaches the ``sync`` that vouches for the bytes.

    Attributes:
        suffix: how the names of the files end.
    """

    def __init__(
        self, directory: Path, ops: FileOps, *, suffix: str = SUFFIX, descriptors_max: int = DESCRIPTORS_MAX
    ) -> None:
        self._directory = directory
        self._ops = ops
        self.suffix = suffix
        self._descriptors_max = descriptors_max
        self._open: OrderedDict[Cid, _Open] = OrderedDict()
        self._lock = threading.Lock()
        self._synced_names: set[Cid] = set()
        self._synced_shards: set[str] = set()

    def path(self, cid: Cid) -> Path:
        """Return where the file of a CID lies."""
        text = cid_text(cid)
        return self._directory / text[_SHARD] / (text + self.suffix)

    @contextmanager
    def opened(self, cid: Cid, *, for_writing: bool = False) -> Iterator[int]:
        """Hold a descriptor of a file, which is made for writing and must be there for reading.

        Raises:
            OSError: it cannot be opened.
        """
        entry = self._take(cid, for_writing=for_writing)
        try:
            yield entry.fd
        finally:
            with self._lock:
                entry.uses -= 1
                # Again, for a sync may have run between the opening and the last write.
                entry.is_dirty = entry.is_dirty or for_writing
                stale = self._stale()
                if entry.is_doomed and not entry.uses:
                    stale.append(entry)
            self._close(stale)

    def sync(self, cid: Cid) -> None:
        """Make the bytes and the name of a file durable; OSError when the disk refuses."""
        with self.opened(cid) as fd:
            with self._lock:
                entry = self._open.get(cid)
                if entry is not None:
                    entry.is_dirty = False  # what is written from now on marks it again
            try:
                self._ops.fdatasync(fd)
            except OSError:
                self.forget(cid)
                raise
        self._sync_name(cid)

    def install(self, staged: Path, cid: Cid) -> None:
        """Give a synced staging file its place, durably; whatever was there is replaced."""
        path = self.path(cid)
        self._ops.make_directory(path.parent)
        self._ops.rename(staged, path)
        self.forget(cid)
        self._sync_name(cid)

    def forget(self, cid: Cid) -> None:
        """Close a file's descriptor as soon as nobody uses it; the next use opens the file again."""
        with self._lock:
            self._synced_names.discard(cid)
            entry = self._open.pop(cid, None)
            if entry is None:
                return
            entry.is_doomed = True
            stale = [] if entry.uses else [entry]
        self._close(stale)

    def remove(self, cid: Cid) -> None:
        """Remove a file; its bytes are free when the last reader is done."""
        self.forget(cid)
        self._ops.unlink(self.path(cid))

    def close(self) -> None:
        """Close every descriptor."""
        with self._lock:
            entries = list(self._open)
        for cid in entries:
            self.forget(cid)

    def names(self) -> Iterator[tuple[Path, Cid | None]]:
        """Yield every file in the shards with its CID, None for a name that is not ours."""
        for shard in sorted(self._ops.list_directory(self._directory)):
            if len(shard) != 2:
                continue
            for name in self._ops.list_directory(self._directory / shard):
                if name.endswith(self.suffix):
                    yield self._directory / shard / name, _cid_of_name(name, self.suffix)

    def _take(self, cid: Cid, *, for_writing: bool) -> _Open:
        with self._lock:
            entry = self._open.get(cid)
            if entry is None:
                path = self.path(cid)
                flags = os.O_RDWR
                if for_writing:
                    self._ops.make_directory(path.parent)
                    flags |= os.O_CREAT
                entry = _Open(self._ops.open(path, flags))
                self._open[cid] = entry
            self._open.move_to_end(cid)
            entry.uses += 1
            entry.is_dirty = entry.is_dirty or for_writing
            return entry

    def _stale(self) -> list[_Open]:
        """Take the longest unused descriptors above the limit out of the table."""
        excess = len(self._open) - self._descriptors_max
        stale: list[_Open] = []
        for cid in list(self._open) if excess > 0 else ():
            entry = self._open[cid]
            if len(stale) >= excess:
                break
            if not entry.uses and not entry.is_dirty:
                stale.append(self._open.pop(cid))
        return stale

    def _close(self, entries: Iterable[_Open]) -> None:
        for entry in entries:
            self._ops.close(entry.fd)

    def _sync_name(self, cid: Cid) -> None:
        shard = self.path(cid).parent
        with self._lock:
            is_shard_known, is_name_known = shard.name in self._synced_shards, cid in self._synced_names
        if not is_name_known:
            self._ops.fsync_directory(shard)
        if not is_shard_known:
            self._ops.fsync_directory(self._directory)
        with self._lock:
            self._synced_shards.add(shard.name)
            self._synced_names.add(cid)


def _cid_of_name(name: str, suffix: str) -> Cid | None:
    try:
        return parse_cid(name.removesuffix(suffix))
    except MalformedError:
        return None


def check_segments(layout: RenditionLayout, segments: Sequence[tuple[int, Buffer]]) -> None:
    """Return if each segment is what its layout says; MalformedError at the first that is not."""
    plan = layout.plan
    for index, data in segments:
        if not 0 <= index < plan.count:
            raise MalformedError(f"the rendition has {plan.count} segments and none of index {index}")
        if len(data) != plan.ciphertext(index).length or (
            hashlib.sha256(data).digest() != layout.digest(index)
        ):
            raise MalformedError(f"segment {index} does not hash to its CID")


def store_segments(
    files: SparseFiles, ops: FileOps, layout: RenditionLayout, segments: Sequence[tuple[int, Buffer]]
) -> None:
    """Verify all segments, then write them to their places.

    Raises:
        MalformedError: an index, a length or a digest is wrong; nothing was written.
        DiskFullError: the disk took only part; none of them counts as stored.
        StorageError: the disk refused them.
    """
    check_segments(layout, segments)
    with translated("store segments"), files.opened(layout.root, for_writing=True) as fd:
        for index, data in segments:
            write_all(ops, fd, data, layout.plan.ciphertext(index).start)


def load_segments(
    files: SparseFiles, ops: FileOps, layout: RenditionLayout, indices: Sequence[int]
) -> list[bytes | None]:
    """Return the verified bytes of each segment, None for one that is damaged or cut off.

    Raises:
        StorageError: the file is there but cannot be opened (not for a bad sector in it).
    """
    try:
        with files.opened(layout.root) as fd:
            return [_load_segment(ops, fd, layout, index) for index in indices]
    except FileNotFoundError:
        return [None] * len(indices)
    except OSError as err:
        with translated("open a ciphertext file"):
            raise err


def _load_segment(ops: FileOps, fd: int, layout: RenditionLayout, index: int) -> bytes | None:
    span = layout.plan.ciphertext(index)
    try:
        data = read_whole(ops, fd, span.length, span.start)
    except OSError as err:
        if err.errno == errno.EIO:  # a bad sector is a damaged segment: fetched again elsewhere
            return None
        raise
    return data if hashlib.sha256(data).digest() == layout.digest(index) else None
