"""Power loss (T20): whatever was not synced may be gone, and nothing acknowledged is.

A workload runs on recorded file calls. Then the machine "loses power" at many points of the record:
synced bytes and names survive; of the others each is kept, dropped or torn by chance. A new store on
what is left must have everything that was acknowledged, must never return a wrong byte, and must go
on working. Two controls run the same check on stores whose syncs do nothing; it must fail them.
"""

from __future__ import annotations

import random
import threading
from contextlib import aclosing

import pytest
import trio

from marina.cid import cid_of, digest_of
from storage.blocks.embedded import EmbeddedBlockStore
from storage.content.layout import SegmentPlan
from storage.content.unixfs import rendition_file
from storage.errors import BlockDamagedError, BlockNotFoundError
from storage.file_ops import PosixFileOps
from storage.kv import MemoryKv
from storage.quota import Quota

PAGE = 4096
SIZES = (70_000, 300_000, 420_000, 900_000, 1)


class Recorder(PosixFileOps):
    """Does every call and writes it down, files by number since names change."""

    def __init__(self):
        self.log = []
        self._numbers = {}
        self._names = {}
        self._lock = threading.Lock()

    def open(self, path, flags):
        with self._lock:
            fd = super().open(path, flags)
            if path not in self._names:
                self._names[path] = len(self.log)
                self.log.append(("create", path, self._names[path]))
            self._numbers[fd] = self._names[path]
            return fd

    def pwrite(self, fd, data, offset):
        taken = super().pwrite(fd, data, offset)
        self.log.append(("write", self._numbers[fd], offset, bytes(data[:taken])))
        return taken

    def fdatasync(self, fd):
        began = len(self.log)  # what comes while it runs may miss it
        super().fdatasync(fd)
        self.log.append(("sync", self._numbers[fd], began))

    def fsync_directory(self, path):
        began = len(self.log)
        super().fsync_directory(path)
        self.log.append(("sync-names", path, began))

    def make_directory(self, path):
        with self._lock:
            if not path.exists():
                super().make_directory(path)
                self.log.append(("mkdir", path))

    def rename(self, source, target):
        with self._lock:
            super().rename(source, target)
            self._names[target] = self._names.pop(source)
            self.log.append(("rename", source, target, self._names[target]))

    def unlink(self, path):
        with self._lock:
            super().unlink(path)
            if self._names.pop(path, None) is not None:
                self.log.append(("unlink", path))


class NoSync(Recorder):
    """A store without fdatasync: control."""

    def fdatasync(self, fd):
        pass


class NoNameSync(Recorder):
    """A store without fsync of directories: control."""

    def fsync_directory(self, path):
        pass


class RecordedKv(MemoryKv):
    """Counts a batch as durable from its beginning, which is the harder case for its caller."""

    def __init__(self, log):
        super().__init__()
        self._log = log

    async def write(self, batch):
        self._log.append(("kv", list(batch)))
        await super().write(batch)


class Disk:
    """What a disk holds for sure, and what is on its way."""

    def __init__(self, root):
        self.root = root
        self.files = {}
        self.pending = {}
        self.names = {}
        self.directories = {root, root / "staging"}
        self.pending_names = []
        self.batches = []

    def apply(self, at, op):
        match op:
            case ("create", path, number):
                self.files.setdefault(number, bytearray())
                self.pending.setdefault(number, [])
                self.pending_names.append((at, path.parent, ("name", path, number)))
            case ("write", number, offset, data):
                self.pending[number].append((at, offset, data))
            case ("sync", number, began):
                for written_at, offset, data in self.pending[number]:
                    if written_at < began:
                        _overwrite(self.files[number], offset, data)
                self.pending[number] = [each for each in self.pending[number] if each[0] >= began]
            case ("rename", source, target, number):
                self.pending_names.append((at, target.parent, ("move", source, target, number)))
            case ("unlink", path):
                self.pending_names.append((at, path.parent, ("gone", path)))
            case ("mkdir", path):
                self.pending_names.append((at, path.parent, ("directory", path)))
            case ("sync-names", directory, began):
                waiting, self.pending_names = self.pending_names, []
                for each in waiting:
                    if each[0] < began and each[1] == directory:
                        _rename(self.names, self.directories, each[2])
                    else:
                        self.pending_names.append(each)
            case ("kv", batch):
                self.batches.append(batch)

    def lose_power(self, rng, target):
        """Write what is left into a directory; return the database that goes with it."""
        names, directories = dict(self.names), set(self.directories)
        for _, _, op in self.pending_names:
            if rng.random() < 0.5:
                _rename(names, directories, op)
        (target / "staging").mkdir(parents=True)
        for path, number in names.items():
            if path.parent not in directories:
                continue
            content = bytearray(self.files[number])
            for _, offset, data in self.pending[number]:
                fate = rng.random()
                if fate < 0.4:
                    _overwrite(content, offset, data)
                elif fate < 0.7:
                    _overwrite(content, offset, data[: rng.randrange(0, len(data) + 1, PAGE)])
            place = target / path.relative_to(self.root)
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content)
        return list(self.batches)


def _overwrite(content, offset, data):
    if data and len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _rename(names, directories, op):
    match op:
        case ("name", path, number):
            names[path] = number
        case ("move", source, target, number):
            names.pop(source, None)
            names[target] = number
        case ("gone", path):
            names.pop(path, None)
        case ("directory", path):
            directories.add(path)


def make_rendition(rng, size):
    plan = SegmentPlan(size)
    segments = [rng.randbytes(plan.ciphertext(i).length) for i in range(plan.count)]
    layout, _ = rendition_file(size, b"".join(digest_of(cid_of(each)) for each in segments))
    return layout, segments


class Workload:
    """Puts, flushes, publishes and deletes at once, and notes each acknowledgement in the record."""

    def __init__(self, directory, recorder, rng):
        self.rng = rng
        self.log = recorder.log
        self.renditions = {}
        self.blocks = {}
        self.store = EmbeddedBlockStore(
            kv=RecordedKv(self.log), directory=directory, quota=Quota(10**9), ops=recorder
        )

    async def run(self):
        await self.store.open()
        async with trio.open_nursery() as nursery:
            for size in SIZES:
                nursery.start_soon(self.fetch, *self.make(size))
            nursery.start_soon(self.publish, *self.make(500_000))
            nursery.start_soon(self.put_blocks)
            nursery.start_soon(self.fetch_delete_fetch, *self.make(200_000))
        await self.store.close()

    def make(self, size):
        layout, segments = make_rendition(self.rng, size)
        self.renditions[layout.root] = (layout, segments)
        return layout, segments

    async def fetch(self, layout, segments):
        await self.store.declare(layout)
        todo = list(range(layout.plan.count))
        self.rng.shuffle(todo)
        put = []
        while todo:
            batch = [todo.pop() for _ in range(min(len(todo), self.rng.randrange(1, 4)))]
            await self.store.put_segments(layout.root, [(i, segments[i]) for i in batch])
            put += batch
            if not todo or self.rng.random() < 0.5:
                promised = list(put)
                await self.store.flush(layout.root)
                self.log.append(("ack", layout.root, promised))

    async def fetch_delete_fetch(self, layout, segments):
        await self.fetch(layout, segments)
        self.log.append(("deleting", layout.root))
        await self.store.delete(layout.root)
        await self.fetch(layout, segments)

    async def publish(self, layout, segments):
        writer = await self.store.stage(layout.plan.ciphertext_bytes)
        with writer:
            for segment in segments:
                writer.append(segment)
        await self.store.adopt(writer, layout)
        self.log.append(("ack", layout.root, list(range(layout.plan.count))))

    async def put_blocks(self):
        for size in (10, 20_000, 1_000, 150_000):
            data = self.rng.randbytes(size)
            self.blocks[cid_of(data)] = data
            await self.store.put(cid_of(data), data)
            self.log.append(("ack-block", cid_of(data)))


async def losses(workload, log, cuts, rng, tmp_path):
    """Lose power at each cut; return a sentence for each promise that was broken."""
    disk, broken = Disk(tmp_path / "live"), []
    promised, promised_blocks = {}, set()
    for position in range(len(log) + 1):
        if position in cuts:
            target = tmp_path / f"after-{position}"
            batches = disk.lose_power(rng, target)
            found = await check(workload, target, batches, promised, promised_blocks)
            broken += [f"cut {position}: {sentence}" for sentence in found]
        if position == len(log):
            return broken
        match log[position]:
            case ("ack", root, indices):
                promised.setdefault(root, set()).update(indices)
            case ("ack-block", cid):
                promised_blocks.add(cid)
            case ("deleting", root):
                promised.pop(root, None)
            case op:
                disk.apply(position, op)
    raise AssertionError("the loop returns at the end of the record")


async def check(workload, directory, batches, promised, promised_blocks):
    kv = MemoryKv()
    for batch in batches:
        await kv.write(batch)
    store = EmbeddedBlockStore(kv=kv, directory=directory, quota=Quota(10**9))
    await store.open()
    broken = []
    for root, (layout, segments) in workload.renditions.items():
        got = await store.get_segments(root, range(layout.plan.count))
        for index, data in enumerate(got):
            assert data is None or data == segments[index], "a wrong byte was served"
            if data is None and index in promised.get(root, ()):
                broken.append(f"segment {index} of {layout.plan.count} was lost")
        await store.declare(layout)
        await store.put_segments(root, list(enumerate(segments)))
        await store.flush(root)
        assert await store.get_segments(root, range(layout.plan.count)) == segments
    for cid, data in workload.blocks.items():
        try:
            assert await store.get(cid) == data, "a wrong byte was served"
        except (BlockNotFoundError, BlockDamagedError):
            if cid in promised_blocks:
                broken.append(f"a block of {len(data)} bytes was lost")
        await store.put(cid, data)
        assert await store.get(cid) == data
    async with aclosing(store.roots()) as roots:
        known = {root async for root in roots}
    files = {path for path in directory.rglob("*") if path.is_file()}
    assert len([path for path in files if path.suffix == ".enc"]) == len(known)
    assert not list((directory / "staging").iterdir())
    await store.close()
    return broken


async def run_once(tmp_path, seed, recorder, cuts):
    rng = random.Random(seed)
    workload = Workload(tmp_path / "live", recorder, rng)
    await workload.run()
    log = list(recorder.log)
    points = set(rng.sample(range(len(log) + 1), min(cuts, len(log) + 1))) | {len(log)}
    return await losses(workload, log, points, rng, tmp_path)


async def test_nothing_acknowledged_is_lost_with_the_page_cache(tmp_path):
    assert await run_once(tmp_path, 0, Recorder(), cuts=40) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
async def test_nothing_acknowledged_is_lost_at_200_cuts(tmp_path, seed):
    assert await run_once(tmp_path, seed, Recorder(), cuts=200) == []


@pytest.mark.parametrize("ops", [NoSync, NoNameSync])
async def test_the_check_notices_a_store_that_does_not_sync(tmp_path, ops):
    assert await run_once(tmp_path, 1, ops(), cuts=20) != []
