"""Stores and publishes without end, one line on stdout for each promise; the test kills it.

Started as ``python kill_child.py HOME SEED``. All bytes follow from the seed, so that the test knows
what to expect: see ``make_rendition`` and ``make_block``, which it imports from this file.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import trio

from marina.cid import cid_of, digest_of
from storage.blocks.embedded import EmbeddedBlockStore
from storage.content.layout import SegmentPlan
from storage.content.unixfs import rendition_file
from storage.kv import LevelKv
from storage.quota import Quota


def make_rendition(seed, number):
    """Return (layout, segments) of a rendition with a name."""
    rng = random.Random(f"{seed} rendition {number}")
    size = rng.choice([1, 60_000, 300_000, 700_000, 1_500_000])
    plan = SegmentPlan(size)
    segments = [rng.randbytes(plan.ciphertext(i).length) for i in range(plan.count)]
    layout, _ = rendition_file(size, b"".join(digest_of(cid_of(each)) for each in segments))
    return layout, segments


def make_block(seed, number):
    """Return the bytes of a small block with a name."""
    rng = random.Random(f"{seed} block {number}")
    return rng.randbytes(rng.choice([10, 5_000, 40_000]))


def acknowledge(*words):
    """Say that something is durable."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def fetch(store, seed, rng):
    """Put segments in any order, flushing now and then."""
    for number in range(0, 10**6, 2):
        layout, segments = make_rendition(seed, number)
        await store.declare(layout)
        todo = list(range(layout.plan.count))
        rng.shuffle(todo)
        while todo:
            batch = [todo.pop() for _ in range(min(len(todo), 3))]
            await store.put_segments(layout.root, [(i, segments[i]) for i in batch])
            await store.flush(layout.root)
            for index in batch:
                acknowledge("segment", number, index)


async def publish(store, seed):
    """Stage and adopt whole renditions."""
    for number in range(1, 10**6, 2):
        layout, segments = make_rendition(seed, number)
        writer = await store.stage(layout.plan.ciphertext_bytes)
        with writer:
            for segment in segments:
                writer.append(segment)
        await store.adopt(writer, layout)
        for index in range(layout.plan.count):
            acknowledge("segment", number, index)


async def put_blocks(store, seed):
    """Put small blocks, inside the database and as files."""
    for number in range(10**6):
        data = make_block(seed, number)
        await store.put(cid_of(data), data)
        acknowledge("block", number)


async def main(home, seed):
    """Run everything at once until killed."""
    kv = LevelKv(home / "meta")
    store = EmbeddedBlockStore(kv=kv, directory=home / "blobs", quota=Quota(10**11))
    await store.open()
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        nursery.start_soon(fetch, store, seed, random.Random(seed))
        nursery.start_soon(publish, store, seed)
        nursery.start_soon(put_blocks, store, seed)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2])
