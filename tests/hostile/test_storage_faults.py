"""Full disks, bad disks and read-only disks (T21): no false promise, reads go on, room is used again."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import trio

from marina.cid import cid_of, digest_of
from storage.blocks.embedded import EmbeddedBlockStore
from storage.content.layout import SegmentPlan
from storage.content.unixfs import rendition_file
from storage.errors import BlockDamagedError, BlockNotFoundError, DiskFullError, StorageError
from storage.file_ops import PosixFileOps, replace_file
from storage.kv import MemoryKv
from storage.quota import Quota

MIB = 1024 * 1024


class BadDisk(PosixFileOps):
    """Fails the calls that ``failing`` names, with an errno; takes writes in odd pieces."""

    def __init__(self):
        self.failing = {}
        self.free = 10**12
        self.piece = None
        self.writes_left = None

    def _check(self, name):
        if name in self.failing:
            raise OSError(self.failing[name], os.strerror(self.failing[name]))

    def open(self, path, flags):
        if flags & os.O_CREAT:
            self._check("create")
        return super().open(path, flags)

    def pread(self, fd, length, offset):
        self._check("pread")
        return super().pread(fd, length, offset)

    def pwrite(self, fd, data, offset):
        self._check("pwrite")
        if self.writes_left is not None:
            if self.writes_left == 0:
                raise OSError(errno.ENOSPC, "no space")
            self.writes_left -= 1
        return super().pwrite(fd, memoryview(data)[: self.piece or len(data)], offset)

    def allocate(self, fd, length):
        self._check("allocate")
        super().allocate(fd, length)

    def fdatasync(self, fd):
        self._check("fdatasync")
        super().fdatasync(fd)

    def fsync_directory(self, path):
        self._check("fsync_directory")
        super().fsync_directory(path)

    def rename(self, source, target):
        self._check("rename")
        super().rename(source, target)

    def free_bytes(self, path):
        return self.free


class BadKv(MemoryKv):
    """A database that can refuse writes."""

    refuses = None

    async def write(self, batch):
        if self.refuses is not None:
            raise self.refuses
        await super().write(batch)


@pytest.fixture
def disk():
    return BadDisk()


@pytest.fixture
def kv():
    return BadKv()


@pytest.fixture
async def store(tmp_path, disk, kv):
    made = EmbeddedBlockStore(kv=kv, directory=tmp_path / "blobs", quota=Quota(100 * MIB), ops=disk)
    await made.open()
    return made


def make_rendition(size=MIB):
    plan = SegmentPlan(size)
    segments = [os.urandom(plan.ciphertext(i).length) for i in range(plan.count)]
    layout, _ = rendition_file(size, b"".join(digest_of(cid_of(each)) for each in segments))
    return layout, segments


def files_in(tmp_path):
    return [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_stores_nothing_serves_what_is_there_and_recovers(store, disk, code):
    layout, segments = make_rendition()
    await store.declare(layout)
    await store.put_segments(layout.root, [(0, segments[0])])
    await store.flush(layout.root)
    disk.failing["pwrite"] = code
    with pytest.raises(DiskFullError, match="keeps playing"):
        await store.put_segments(layout.root, [(1, segments[1]), (2, segments[2])])
    block = os.urandom(100_000)
    with pytest.raises(DiskFullError):
        await store.put(cid_of(block), block)
    assert not await store.has(cid_of(block))
    assert await store.have(layout.root) == {0}
    assert await store.get_segments(layout.root, [0, 1]) == [segments[0], None]
    disk.failing.clear()
    await store.put_segments(layout.root, [(1, segments[1])])
    await store.put(cid_of(block), block)
    await store.flush(layout.root)
    assert await store.have(layout.root) == {0, 1}


async def test_a_disk_that_fills_in_mid_batch_acknowledges_none_of_it(store, disk):
    layout, segments = make_rendition()
    await store.declare(layout)
    disk.writes_left = 2
    with pytest.raises(DiskFullError):
        await store.put_segments(layout.root, list(enumerate(segments)))
    assert await store.have(layout.root) == frozenset()


async def test_writes_in_small_pieces_are_put_together(store, disk):
    disk.piece = 1000
    layout, segments = make_rendition()
    await store.declare(layout)
    await store.put_segments(layout.root, list(enumerate(segments)))
    assert await store.get_segments(layout.root, range(len(segments))) == segments


async def test_the_disks_reserve_is_left_alone(store, disk):
    layout, segments = make_rendition()
    await store.declare(layout)
    disk.free = 256 * MIB + 1000
    with pytest.raises(DiskFullError, match="stay reserved"):
        await store.put_segments(layout.root, [(0, segments[0])])
    other, _ = make_rendition()
    with pytest.raises(DiskFullError):
        await store.declare(other)
    with pytest.raises(DiskFullError):
        await store.stage(MIB)
    assert (await store.stat()).renditions == 1
    disk.free = 300 * MIB
    await store.put_segments(layout.root, [(0, segments[0])])
    await store.declare(other)


@pytest.mark.parametrize("call", ["fdatasync", "fsync_directory"])
@pytest.mark.parametrize(("code", "error"), [(errno.EIO, StorageError), (errno.ENOSPC, DiskFullError)])
async def test_what_cannot_be_synced_is_missing_and_the_flush_says_so(store, disk, call, code, error):
    layout, segments = make_rendition()
    await store.declare(layout)
    await store.put_segments(layout.root, [(0, segments[0])])
    disk.failing[call] = code
    with pytest.raises(error):
        await store.flush(layout.root)
    assert await store.have(layout.root) == frozenset()
    disk.failing.clear()
    await store.put_segments(layout.root, [(0, segments[0])])
    with pytest.raises(StorageError):  # once more, for whoever did not see the first
        await store.flush(layout.root)
    await store.flush(layout.root)
    assert await store.have(layout.root) == {0}


async def test_a_failed_group_commit_is_told_to_the_next_flush(store, disk, autojump_clock, nursery):
    layout, segments = make_rendition()
    await store.declare(layout)
    await nursery.start(store.run)
    disk.failing["fdatasync"] = errno.EIO
    await store.put_segments(layout.root, [(0, segments[0])])
    for _ in range(2000):  # the virtual clock does not wait for threads
        await trio.to_thread.run_sync(time.sleep, 0.001)
        if not await store.have(layout.root):
            break
    disk.failing.clear()
    assert await store.have(layout.root) == frozenset()
    with pytest.raises(StorageError, match="fetched again"):
        await store.flush(layout.root)
    await store.put_segments(layout.root, [(0, segments[0])])
    await store.flush(layout.root)
    assert await store.have(layout.root) == {0}


async def test_the_group_commit_makes_segments_durable_without_a_flush(
    store, kv, tmp_path, autojump_clock, nursery
):
    layout, segments = make_rendition()
    await store.declare(layout)
    await nursery.start(store.run)
    await store.put_segments(layout.root, [(0, segments[0])])
    for _ in range(2000):  # the virtual clock does not wait for threads
        await trio.to_thread.run_sync(time.sleep, 0.001)
        again = EmbeddedBlockStore(kv=kv, directory=tmp_path / "blobs", quota=Quota(100 * MIB))
        if await again.have(layout.root):
            break
    assert await again.get_segments(layout.root, [0]) == [segments[0]]


@pytest.mark.parametrize("call", ["create", "allocate", "pwrite", "fdatasync", "rename", "fsync_directory"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
async def test_a_publication_that_fails_leaves_nothing_behind(store, disk, tmp_path, call, code):
    layout, segments = make_rendition()
    before = await store.stat()

    async def publish():
        writer = await store.stage(layout.plan.ciphertext_bytes)
        with writer:
            for segment in segments:
                writer.append(segment)
        await store.adopt(writer, layout)

    disk.failing[call] = code
    with pytest.raises(StorageError):
        await publish()
    assert await store.layout(layout.root) is None
    assert await store.stat() == before
    disk.failing.clear()
    await publish()
    assert await store.get_segments(layout.root, range(len(segments))) == segments
    assert len(files_in(tmp_path)) == 1


async def test_an_index_that_refuses_leaves_no_file_without_a_row(store, kv, tmp_path):
    layout, segments = make_rendition()
    writer = await store.stage(layout.plan.ciphertext_bytes)
    with writer:
        for segment in segments:
            writer.append(segment)
    before = await store.stat()
    kv.refuses = DiskFullError("the disk is full")
    with pytest.raises(DiskFullError):
        await store.adopt(writer, layout)
    with pytest.raises(DiskFullError):
        await store.declare(layout)
    with pytest.raises(DiskFullError):
        await store.put(cid_of(b"x"), b"x")
    kv.refuses = None
    assert files_in(tmp_path) == []
    after = await store.stat()
    assert after.bytes_charged < before.bytes_charged
    assert after.bytes_charged == 0


async def test_segments_wait_for_an_index_that_refuses_and_are_recorded_later(store, kv):
    layout, segments = make_rendition()
    await store.declare(layout)
    await store.put_segments(layout.root, [(0, segments[0])])
    kv.refuses = DiskFullError("the disk is full")
    with pytest.raises(DiskFullError):
        await store.flush(layout.root)
    assert await store.get_segments(layout.root, [0]) == [segments[0]]
    kv.refuses = None
    await store.flush(layout.root)
    assert (await store.stat()).blocks >= 1


async def test_a_bad_sector_is_a_damaged_segment(store, disk):
    layout, segments = make_rendition()
    await store.declare(layout)
    await store.put_segments(layout.root, [(0, segments[0])])
    disk.failing["pread"] = errno.EIO
    assert await store.get_segments(layout.root, [0]) == [None]
    disk.failing.clear()
    assert await store.have(layout.root) == frozenset()
    with pytest.raises(BlockNotFoundError):
        await store.get(layout.cid(0))
    await store.put_segments(layout.root, [(0, segments[0])])
    assert await store.get(layout.cid(0)) == segments[0]


async def test_a_block_whose_file_cannot_be_read_is_not_thrown_away(store, disk):
    block = os.urandom(100_000)
    await store.put(cid_of(block), block)
    disk.failing["pread"] = errno.EACCES
    with pytest.raises(StorageError):
        await store.get(cid_of(block))
    disk.failing.clear()
    assert await store.get(cid_of(block)) == block


async def test_a_replaced_file_keeps_its_old_bytes_when_the_disk_is_full(tmp_path, disk):
    path = tmp_path / "file"
    replace_file(disk, path, b"old")
    disk.failing["pwrite"] = errno.ENOSPC
    with pytest.raises(DiskFullError):
        replace_file(disk, path, b"new")
    assert path.read_bytes() == b"old"
    disk.failing.clear()
    replace_file(disk, path, b"new")
    assert path.read_bytes() == b"new"


async def test_stray_files_are_swept_and_foreign_ones_left(tmp_path, store, kv, disk):
    layout, segments = make_rendition()
    await store.declare(layout)
    await store.put_segments(layout.root, list(enumerate(segments)))
    await store.close()
    (kept,) = files_in(tmp_path)
    other, _ = make_rendition()
    stray = store._engine._files.path(other.root)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"left by a crash")
    block = store._engine._block_files.path(cid_of(b"gone"))
    block.parent.mkdir(exist_ok=True)
    block.write_bytes(b"gone")
    (tmp_path / "blobs" / "staging" / "half.part").write_bytes(b"half")
    foreign = kept.parent / "notes.txt"
    foreign.write_text("mine")
    misnamed = kept.parent / "not-a-cid.enc"
    misnamed.write_text("mine")
    again = EmbeddedBlockStore(kv=kv, directory=tmp_path / "blobs", quota=Quota(100 * MIB))
    await again.open()
    assert set(files_in(tmp_path)) == {kept, foreign, misnamed}
    assert await again.get_segments(layout.root, range(len(segments))) == segments


async def test_behind_a_lost_index_no_file_is_removed(tmp_path, store):
    layout, segments = make_rendition()
    await store.declare(layout)
    await store.put_segments(layout.root, list(enumerate(segments)))
    await store.close()
    again = EmbeddedBlockStore(kv=MemoryKv(), directory=tmp_path / "blobs", quota=Quota(100 * MIB))
    await again.open()
    assert len(files_in(tmp_path)) == 1


async def test_a_file_in_the_place_of_the_directory_is_a_clear_error(tmp_path):
    (tmp_path / "blobs").write_text("in the way")
    store = EmbeddedBlockStore(kv=MemoryKv(), directory=tmp_path / "blobs", quota=Quota(MIB))
    with pytest.raises(StorageError):
        await store.open()


async def test_a_truncated_file_serves_what_is_left(tmp_path, store):
    layout, segments = make_rendition()
    await store.declare(layout)
    await store.put_segments(layout.root, list(enumerate(segments)))
    await store.close()
    (path,) = files_in(tmp_path)
    os.truncate(path, layout.plan.ciphertext(3).start + 5)
    got = await store.get_segments(layout.root, range(len(segments)))
    assert got[:3] == segments[:3]
    assert set(got[3:]) == {None}
    with pytest.raises((BlockDamagedError, BlockNotFoundError)):
        await store.get(layout.cid(4))


FULL_DATABASE = textwrap.dedent("""
    import resource, sys, trio
    from pathlib import Path
    from storage.errors import DiskFullError
    from storage.kv import LevelKv

    async def main(path):
        kv = LevelKv(path)
        await kv.write([(b"kept", b"1")])
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        refused = 0
        for number in range(3):
            try:
                await kv.write([(b"big", bytes(100_000))])
            except DiskFullError:
                refused += 1
            assert await kv.get(b"kept") == b"1"
        assert refused == 3, refused
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await kv.write([(b"after", b"2")])
        assert await kv.get_many([b"kept", b"after", b"big"]) == [b"1", b"2", None]
        await kv.close()
        again = LevelKv(path)
        assert await again.get_many([b"kept", b"after", b"big"]) == [b"1", b"2", None]
        await again.close()
        print("held")

    trio.run(main, Path(sys.argv[1]))
""")


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs file size limits")
def test_a_database_on_a_full_disk_refuses_serves_and_accepts_again(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DATABASE, str(tmp_path / "meta")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stdout == "held\n", done.stderr
