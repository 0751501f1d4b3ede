"""What every block store must do, run over each implementation."""

from __future__ import annotations

import os
from contextlib import aclosing, asynccontextmanager

import pytest

from marina.cid import DAG_CBOR, RAW, cid_from_digest, cid_of, digest_of
from marina.errors import MalformedError
from storage.blocks.embedded import EmbeddedBlockStore
from storage.blocks.indexed import IndexedBlockStore
from storage.blocks.memory import MemoryBlockStore
from storage.content.layout import LARGE_BYTES, RenditionLayout
from storage.content.unixfs import rendition_file
from storage.errors import BlockNotFoundError, QuotaExceededError, StorageError
from storage.kubo.address import parse_address
from storage.kubo.rpc import KuboRpc
from storage.kubo.store import KuboBlockStore
from storage.kv import LevelKv
from storage.quota import Quota
from tests.support.kubo import running_kubo

MIB = 1024 * 1024
QUOTA = 64 * MIB


@asynccontextmanager
async def memory_store(tmp_path, quota_bytes):
    yield MemoryBlockStore(quota_bytes)


@asynccontextmanager
async def embedded_store(tmp_path, quota_bytes):
    kv = LevelKv(tmp_path / "meta")
    store = EmbeddedBlockStore(
        kv=kv, directory=tmp_path / "blobs", quota=Quota(quota_bytes, disk_reserve_bytes=0)
    )
    await store.open()
    yield store
    await store.close()
    await kv.close()


@asynccontextmanager
async def kubo_store(tmp_path, quota_bytes):
    with running_kubo(tmp_path) as kubo:
        kv = LevelKv(tmp_path / "meta")
        rpc = KuboRpc(parse_address(kubo.rpc_url))
        store = KuboBlockStore(kv=kv, directory=tmp_path / "blobs", rpc=rpc, quota=Quota(quota_bytes))
        await store.open()
        yield store
        await store.close()
        await kv.close()


@pytest.fixture(params=[memory_store, embedded_store, kubo_store], ids=["memory", "embedded", "kubo"])
async def make_store(request, tmp_path):
    return lambda quota_bytes=QUOTA: request.param(tmp_path, quota_bytes)


@pytest.fixture
async def store(make_store):
    async with make_store() as made:
        yield made


def make_rendition(plaintext_bytes):
    """Return (layout, segments): random bytes stand in for ciphertext, which looks the same."""
    empty = RenditionLayout(cid_of(b""), plaintext_bytes, bytes(32 * _count(plaintext_bytes)))
    segments = [os.urandom(empty.plan.ciphertext(i).length) for i in range(empty.plan.count)]
    layout, tree = rendition_file(plaintext_bytes, b"".join(digest_of(cid_of(each)) for each in segments))
    return layout, segments, tree


def _count(plaintext_bytes):
    from storage.content.layout import SegmentPlan

    return SegmentPlan(plaintext_bytes).count


async def all_cids(store):
    async with aclosing(store.cids()) as cids:
        return {cid async for cid in cids}


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 16 * 1024 + 1, 2 * MIB])
async def test_a_block_comes_back_as_it_was_put(store, size):
    data = os.urandom(size)
    cid = cid_of(data, DAG_CBOR)
    assert not await store.has(cid)
    await store.put(cid, data)
    await store.put(cid, data)
    assert await store.has(cid)
    assert await store.get(cid) == data
    stat = await store.stat()
    assert (stat.blocks, stat.bytes_used) == (1, size)


async def test_many_blocks_come_back_as_they_were_put_also_those_that_were_here(store):
    layout, segments, _ = make_rendition(300_000)
    await store.declare(layout)
    blocks = {
        cid_of(data): data for data in (os.urandom(size) for size in (1, 3000, 16_384, 16_385, 200_000))
    }
    known = next(iter(blocks))
    await store.put(known, blocks[known])
    blocks[layout.cid(1)] = segments[1]
    await store.put_many(blocks)
    await store.put_many(blocks)
    for cid, data in blocks.items():
        assert await store.get(cid) == data
    assert await store.have(layout.root) == {1}
    stat = await store.stat()
    small_bytes = sum(len(data) for cid, data in blocks.items() if cid != layout.cid(1))
    assert stat.bytes_used >= small_bytes
    await store.put_many({})


async def test_a_wrong_block_among_many_is_refused(store):
    with pytest.raises(MalformedError):
        await store.put_many({cid_of(b"a"): b"a", cid_of(b"b"): b"c"})


async def test_many_blocks_that_do_not_fit_are_refused(make_store):
    async with make_store(64 * 1024) as store:
        blocks = {cid_of(data): data for data in (os.urandom(16_000) for _ in range(8))}
        with pytest.raises(QuotaExceededError):
            await store.put_many(blocks)


async def test_a_missing_block_is_not_found(store):
    cid = cid_of(b"nowhere")
    with pytest.raises(BlockNotFoundError):
        await store.get(cid)
    assert not await store.has(cid)
    assert not await store.delete(cid)


async def test_bytes_that_do_not_hash_to_the_cid_are_refused(store):
    with pytest.raises(MalformedError):
        await store.put(cid_of(b"one"), b"two")
    assert await all_cids(store) == set()


async def test_a_block_above_the_largest_size_is_refused(store):
    data = bytes(2 * MIB + 1)
    with pytest.raises(MalformedError):
        await store.put(cid_of(data), data)


async def test_segments_are_here_as_soon_as_they_are_put(store):
    layout, segments, _ = make_rendition(3 * MIB)
    await store.declare(layout)
    assert await store.have(layout.root) == frozenset()
    await store.put_segments(layout.root, [(5, segments[5]), (0, segments[0])])
    assert await store.have(layout.root) == {0, 5}
    assert await store.get_segments(layout.root, [5, 1, 0]) == [segments[5], None, segments[0]]
    assert await store.get(layout.cid(5)) == segments[5]
    assert await store.has(layout.cid(0))
    assert not await store.has(layout.cid(1))
    with pytest.raises(BlockNotFoundError):
        await store.get(layout.cid(1))
    await store.flush(layout.root)
    assert await store.have(layout.root) == {0, 5}


async def test_the_tree_of_a_declared_rendition_can_be_asked_for(store):
    layout, segments, tree = make_rendition(3 * MIB)
    await store.declare(layout)
    for cid, data in tree.nodes:
        assert await store.get(cid) == data
    assert await store.has(layout.root)
    await store.put_segments(layout.root, list(enumerate(segments)))
    expected = {layout.cid(i) for i in range(layout.plan.count)} | {cid for cid, _ in tree.nodes}
    assert await all_cids(store) == expected


async def test_a_rendition_of_one_segment_has_that_segment_as_its_root(store):
    layout, (segment,), _ = make_rendition(100)
    await store.declare(layout)
    assert not await store.has(layout.root)
    await store.put(layout.root, segment)
    assert await store.have(layout.root) == {0}
    assert await store.get(layout.root) == segment
    assert await store.delete(layout.root)
    assert await store.layout(layout.root) is None
    assert not await store.has(layout.root)


async def test_a_segment_put_by_its_cid_lands_in_its_rendition(store):
    layout, segments, _ = make_rendition(1 * MIB)
    await store.declare(layout)
    await store.put(layout.cid(2), segments[2])
    assert await store.have(layout.root) == {2}


@pytest.mark.parametrize("spoil", ["index", "negative", "bytes", "length"])
async def test_one_wrong_segment_lets_none_of_a_call_in(store, spoil):
    layout, segments, _ = make_rendition(1 * MIB)
    await store.declare(layout)
    wrong = {
        "index": (99, segments[1]),
        "negative": (-1, segments[-1]),
        "bytes": (1, segments[2]),
        "length": (1, segments[1][:-1]),
    }[spoil]
    with pytest.raises(MalformedError):
        await store.put_segments(layout.root, [(0, segments[0]), wrong])
    assert await store.have(layout.root) == frozenset()


async def test_segments_of_an_undeclared_rendition_are_not_found(store):
    layout, segments, _ = make_rendition(1 * MIB)
    with pytest.raises(BlockNotFoundError):
        await store.put_segments(layout.root, [(0, segments[0])])
    with pytest.raises(BlockNotFoundError):
        await store.flush(layout.root)
    assert await store.get_segments(layout.root, [0, 1]) == [None, None]
    assert await store.have(layout.root) == frozenset()
    assert await store.layout(layout.root) is None


async def test_a_layout_with_a_foreign_root_is_refused(store):
    layout, _, _ = make_rendition(1 * MIB)
    forged = RenditionLayout(cid_from_digest(bytes(32)), layout.plaintext_bytes, layout.digests)
    with pytest.raises(MalformedError):
        await store.declare(forged)
    assert await store.layout(forged.root) is None


async def test_declaring_twice_counts_once(store):
    layout, _, _ = make_rendition(1 * MIB)
    await store.declare(layout)
    before = await store.stat()
    await store.declare(layout)
    assert await store.stat() == before
    assert await store.layout(layout.root) == layout
    assert before.renditions == 1
    assert before.bytes_charged > layout.plan.ciphertext_bytes > before.bytes_used


async def test_a_deleted_rendition_gives_everything_back(store):
    empty = await store.stat()
    layout, segments, _ = make_rendition(2 * MIB)
    await store.declare(layout)
    await store.put_segments(layout.root, list(enumerate(segments)))
    assert (await store.stat()).bytes_used > 2 * MIB
    assert await store.delete(layout.root)
    assert await store.stat() == empty
    assert await all_cids(store) == set()
    assert not await store.delete(layout.root)
    with pytest.raises(BlockNotFoundError):
        await store.put_segments(layout.root, [(0, segments[0])])


async def test_a_deleted_segment_can_be_put_again(store):
    layout, segments, _ = make_rendition(1 * MIB)
    await store.declare(layout)
    await store.put_segments(layout.root, list(enumerate(segments)))
    assert await store.delete(layout.cid(1))
    assert 1 not in await store.have(layout.root)
    await store.put_segments(layout.root, [(1, segments[1])])
    assert await store.get(layout.cid(1)) == segments[1]


async def test_a_rendition_that_does_not_fit_is_refused_before_its_first_byte(make_store):
    layout, _, _ = make_rendition(3 * MIB)
    async with make_store(3 * MIB) as store:
        before = await store.stat()
        with pytest.raises(QuotaExceededError):
            await store.declare(layout)
        assert await store.stat() == before
        assert await store.layout(layout.root) is None


async def test_what_a_partial_rendition_still_waits_for_is_taken(make_store):
    first, _, _ = make_rendition(2 * MIB)
    async with make_store(2 * MIB + 900 * 1024) as store:
        await store.declare(first)
        block = os.urandom(MIB)
        if isinstance(store, IndexedBlockStore):
            await store.pins.pin([first.root], 5)
        with pytest.raises(QuotaExceededError):
            await store.put(cid_of(block), block)
        await store.delete(first.root)
        await store.put(cid_of(block), block)


async def test_a_staged_rendition_is_whole_at_once(store):
    layout, segments, tree = make_rendition(3 * MIB)
    writer = await store.stage(layout.plan.ciphertext_bytes)
    with writer:
        for segment in segments:
            writer.append(memoryview(segment))
        writer.sync()
    assert writer.bytes_written == layout.plan.ciphertext_bytes
    await store.adopt(writer, layout)
    assert await store.have(layout.root) == frozenset(range(layout.plan.count))
    assert await store.get_segments(layout.root, range(layout.plan.count)) == segments
    stat = await store.stat()
    nodes = sum(len(data) for _, data in tree.nodes)
    assert stat.bytes_used == layout.plan.ciphertext_bytes + nodes
    with pytest.raises(StorageError):
        writer.append(b"more")


async def test_adopting_completes_a_partial_rendition_and_is_idempotent(store):
    layout, segments, _ = make_rendition(3 * MIB)
    await store.declare(layout)
    await store.put_segments(layout.root, [(3, segments[3])])
    for _ in range(2):
        writer = await store.stage(layout.plan.ciphertext_bytes)
        with writer:
            for segment in segments:
                writer.append(segment)
        await store.adopt(writer, layout)
        assert await store.get_segments(layout.root, range(layout.plan.count)) == segments
    charged = (await store.stat()).bytes_charged
    assert layout.plan.ciphertext_bytes < charged < layout.plan.ciphertext_bytes + LARGE_BYTES


async def test_a_discarded_writer_gives_its_reservation_back(make_store):
    async with make_store(4 * MIB) as store:
        before = await store.stat()
        writer = await store.stage(3 * MIB)
        with pytest.raises(ZeroDivisionError), writer:
            writer.append(bytes(1 // 0))
        assert await store.stat() == before
        writer = await store.stage(3 * MIB)
        with pytest.raises(QuotaExceededError):
            await store.stage(3 * MIB)
        writer.discard()
        writer.discard()
        assert await store.stat() == before


async def test_a_writer_takes_no_more_than_was_reserved(store):
    writer = await store.stage(1000)
    writer.append(bytes(1000))
    with pytest.raises(QuotaExceededError), writer:
        writer.append(b"x")
    with pytest.raises(StorageError):
        writer.append(b"")


async def test_a_writer_with_too_few_bytes_is_refused(store):
    layout, segments, _ = make_rendition(1 * MIB)
    writer = await store.stage(layout.plan.ciphertext_bytes)
    with writer:
        writer.append(segments[0])
    before = await all_cids(store)
    with pytest.raises(MalformedError):
        await store.adopt(writer, layout)
    assert await all_cids(store) == before
    assert await store.layout(layout.root) is None


async def test_raw_small_blocks_and_segments_do_not_mix(store):
    data = os.urandom(1000)
    cid = cid_of(data, RAW)
    await store.put(cid, data)
    layout, segments, _ = make_rendition(1 * MIB)
    await store.declare(layout)
    await store.put_segments(layout.root, list(enumerate(segments)))
    assert await store.delete(layout.root)
    assert await store.get(cid) == data
    assert await all_cids(store) == {cid}
