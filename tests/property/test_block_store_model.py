"""Any sequence of calls, restarts and damage leaves the disk store equal to a plain model of it."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from contextlib import aclosing
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from marina.cid import DAG_CBOR, cid_of, digest_of
from storage.blocks.embedded import EmbeddedBlockStore
from storage.content.layout import SegmentPlan
from storage.content.unixfs import rendition_file
from storage.errors import BlockDamagedError, BlockNotFoundError
from storage.kv import MemoryKv
from storage.quota import Quota
from storage.retention import Retention

SIZES = (1, 65_520, 65_521, 200_000, 420_000)


def make_rendition(number):
    rng = random.Random(number)
    size = SIZES[number]
    plan = SegmentPlan(size)
    segments = [rng.randbytes(plan.ciphertext(i).length) for i in range(plan.count)]
    layout, tree = rendition_file(size, b"".join(digest_of(cid_of(each)) for each in segments))
    return layout, segments, tree


RENDITIONS = [make_rendition(number) for number in range(len(SIZES))]
BLOCKS = [random.Random(size).randbytes(size) for size in (0, 100, 16_384, 16_385, 70_000)]
rendition_numbers = st.integers(0, len(RENDITIONS) - 1)
block_numbers = st.integers(0, len(BLOCKS) - 1)


class StoreMachine(RuleBasedStateMachine):
    """Drives the store; ``have`` and ``blocks`` are the model."""

    @initialize()
    def start(self):
        self.directory = Path(tempfile.mkdtemp(prefix="marina-model-"))
        self.kv = MemoryKv()
        self.have = {}
        self.blocks = set()
        self.open_store()

    def open_store(self):
        self.store = EmbeddedBlockStore(
            kv=self.kv, directory=self.directory / "blobs", quota=Quota(10**9, disk_reserve_bytes=0)
        )
        self.run(self.store.open)

    def run(self, call, *arguments):
        return trio.run(call, *arguments)

    def teardown(self):
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)

    @rule(number=rendition_numbers)
    def declare(self, number):
        self.run(self.store.declare, RENDITIONS[number][0])
        self.have.setdefault(number, set())

    @precondition(lambda self: self.have)
    @rule(data=st.data())
    def put_segments(self, data):
        number = data.draw(st.sampled_from(sorted(self.have)))
        layout, segments, _ = RENDITIONS[number]
        indices = data.draw(st.lists(st.integers(0, layout.plan.count - 1), max_size=4))
        self.run(self.store.put_segments, layout.root, [(i, segments[i]) for i in indices])
        self.have[number] |= set(indices)

    @precondition(lambda self: self.have)
    @rule(data=st.data())
    def flush(self, data):
        self.run(self.store.flush, RENDITIONS[data.draw(st.sampled_from(sorted(self.have)))][0].root)

    @rule(number=rendition_numbers)
    def delete(self, number):
        assert self.run(self.store.delete, RENDITIONS[number][0].root) == (number in self.have)
        self.have.pop(number, None)

    @rule(number=rendition_numbers)
    def publish(self, number):
        layout, segments, _ = RENDITIONS[number]

        async def publish():
            writer = await self.store.stage(layout.plan.ciphertext_bytes)
            with writer:
                for segment in segments:
                    writer.append(segment)
            await self.store.adopt(writer, layout)

        self.run(publish)
        self.have[number] = set(range(layout.plan.count))

    @rule(number=block_numbers)
    def put_block(self, number):
        self.run(self.store.put, cid_of(BLOCKS[number], DAG_CBOR), BLOCKS[number])
        self.blocks.add(number)

    @rule(number=block_numbers)
    def delete_block(self, number):
        cid = cid_of(BLOCKS[number], DAG_CBOR)
        assert self.run(self.store.delete, cid) == (number in self.blocks)
        self.blocks.discard(number)

    @rule(number=rendition_numbers, retention=st.sampled_from(Retention))
    def pin_and_collect(self, number, retention):
        root = RENDITIONS[number][0].root
        self.run(self.store.pins.pin, [root], retention)
        assert self.run(self.store.pins.retention, root) >= retention
        self.run(self.store.pins.unpin, root, retention)

    @precondition(lambda self: any(self.have.values()))
    @rule(data=st.data())
    def rot(self, data):
        number = data.draw(st.sampled_from([n for n, indices in sorted(self.have.items()) if indices]))
        index = data.draw(st.sampled_from(sorted(self.have[number])))
        layout, _, _ = RENDITIONS[number]
        path = self.store._engine._files.path(layout.root)
        with path.open("r+b") as file:
            file.seek(layout.plan.ciphertext(index).start)
            first = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes((first ^ 0x10,)))
        with pytest.raises(BlockDamagedError):
            self.run(self.store.get, layout.cid(index))
        self.have[number].discard(index)

    @rule()
    def restart(self):
        self.run(self.store.close)
        self.open_store()

    @invariant()
    def holds_what_the_model_holds(self):
        if hasattr(self, "store"):
            self.run(self.compare)

    async def compare(self):
        expected, size = set(), 0
        for number, (layout, segments, tree) in enumerate(RENDITIONS):
            here = self.have.get(number)
            assert await self.store.have(layout.root) == frozenset(here or ())
            assert (await self.store.layout(layout.root) is not None) == (here is not None)
            got = await self.store.get_segments(layout.root, range(len(segments)))
            assert got == [s if i in (here or ()) else None for i, s in enumerate(segments)]
            if here is not None:
                expected |= {layout.cid(i) for i in here} | {cid for cid, _ in tree.nodes}
                size += sum(len(segments[i]) for i in here) + sum(len(data) for _, data in tree.nodes)
        for number, data in enumerate(BLOCKS):
            cid = cid_of(data, DAG_CBOR)
            if number in self.blocks:
                expected.add(cid)
                size += len(data)
                assert await self.store.get(cid) == data
            else:
                with pytest.raises(BlockNotFoundError):
                    await self.store.get(cid)
        async with aclosing(self.store.cids()) as cids:
            assert {cid async for cid in cids} == expected
        stat = await self.store.stat()
        assert (stat.blocks, stat.renditions, stat.bytes_used) == (len(expected), len(self.have), size)
        assert stat.bytes_charged >= size
        assert (stat.bytes_charged == 0) == (not self.have and not self.blocks)


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
class TestStoreLong(StoreMachine.TestCase):
    """The same for longer."""

    settings = settings(
        max_examples=200, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
    )
