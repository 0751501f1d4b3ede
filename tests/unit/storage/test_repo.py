"""The repository tells why it keeps what it keeps, finds damage, and heals it from elsewhere."""

from __future__ import annotations

import os
import random
from contextlib import aclosing

import pytest

from marina.cid import cid_of, digest_of
from marina.errors import NetworkError
from storage.blocks.embedded import EmbeddedBlockStore
from storage.content.layout import SegmentPlan
from storage.content.unixfs import rendition_file
from storage.errors import BlockDamagedError
from storage.kv import LevelKv, MemoryKv
from storage.quota import Quota
from storage.repo import Repo
from storage.retention import Retention

MIB = 1024 * 1024


def make_rendition(size):
    plan = SegmentPlan(size)
    segments = [os.urandom(plan.ciphertext(i).length) for i in range(plan.count)]
    layout, _ = rendition_file(size, b"".join(digest_of(cid_of(each)) for each in segments))
    return layout, segments


async def open_store(tmp_path, kv):
    store = EmbeddedBlockStore(kv=kv, directory=tmp_path / "blobs", quota=Quota(100 * MIB))
    await store.open()
    return store


@pytest.fixture
async def store(tmp_path):
    made = await open_store(tmp_path, MemoryKv())
    yield made
    await made.close()


async def fill(store, size=3 * MIB):
    layout, segments = make_rendition(size)
    await store.declare(layout)
    await store.put_segments(layout.root, list(enumerate(segments)))
    await store.flush(layout.root)
    return layout, segments


async def result_of(verification):
    async with aclosing(verification) as steps:
        return [step async for step in steps][-1]


def flip_bit(path, bit):
    with path.open("r+b") as file:
        file.seek(bit // 8)
        old = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes((old ^ 1 << bit % 8,)))


async def test_a_whole_store_verifies_without_change(store):
    await fill(store)
    data = os.urandom(100_000)
    await store.put(cid_of(data), data)
    before = await store.stat()
    result = await result_of(Repo(store).verify())
    assert result.is_done
    assert result.damaged == ()
    assert result.checked == before.blocks - 1  # the tree's node follows from the layout
    assert await store.stat() == before


async def test_t22_every_flipped_bit_is_noticed_never_served_and_healed(store, tmp_path):
    layout, segments = await fill(store)
    (path,) = (tmp_path / "blobs").glob("*/*.enc")
    rng = random.Random(22)
    for _ in range(60):
        index = rng.randrange(layout.plan.count)
        span = layout.plan.ciphertext(index)
        flip_bit(path, (span.start * 8) + rng.randrange(span.length * 8))
        got = await store.get_segments(layout.root, range(layout.plan.count))
        assert [i for i, data in enumerate(got) if data is None] == [index]
        assert all(data == segments[i] for i, data in enumerate(got) if i != index)
        assert index not in await store.have(layout.root)
        await store.put_segments(layout.root, [(index, segments[index])])
        await store.flush(layout.root)
    assert await store.get_segments(layout.root, range(layout.plan.count)) == segments


@pytest.mark.slow
async def test_t22_a_thousand_flipped_bits_are_all_noticed(store, tmp_path):
    layout, segments = await fill(store, 600_000)
    (path,) = (tmp_path / "blobs").glob("*/*.enc")
    rng = random.Random(1)
    for _ in range(1000):
        bit = rng.randrange(layout.plan.ciphertext_bytes * 8)
        flip_bit(path, bit)
        got = await store.get_segments(layout.root, range(layout.plan.count))
        (bad,) = [i for i, data in enumerate(got) if data is None]
        assert layout.plan.ciphertext(bad).start <= bit // 8 < layout.plan.ciphertext(bad).end
        flip_bit(path, bit)
        await store.put_segments(layout.root, [(bad, segments[bad])])


async def test_verification_heals_from_a_peer_and_names_what_nobody_has(store, tmp_path):
    layout, segments = await fill(store)
    block = os.urandom(50_000)
    await store.put(cid_of(block), block)
    (path,) = (tmp_path / "blobs").glob("*/*.enc")
    (block_path,) = (tmp_path / "blobs").glob("*/*.blk")
    flip_bit(path, 8 * layout.plan.ciphertext(2).start)
    flip_bit(path, 8 * layout.plan.ciphertext(7).start)
    flip_bit(block_path, 5)

    async def fetch(cid):
        if cid == layout.cid(7):
            raise NetworkError("nobody has it")
        return block if cid == cid_of(block) else segments[2]

    result = await result_of(Repo(store).verify(fetch))
    assert {(each.cid, each.is_healed) for each in result.damaged} == {
        (layout.cid(2), True),
        (layout.cid(7), False),
        (cid_of(block), True),
    }
    assert result.unhealed == 1
    assert await store.get(cid_of(block)) == block
    assert await store.have(layout.root) == set(range(layout.plan.count)) - {7}


async def test_promised_blocks_that_an_earlier_check_removed_are_missed_and_healed(store):
    whole, pledged, cached, ended = (os.urandom(300) for _ in range(4))
    lost_root, _ = make_rendition(3 * MIB)
    await store.pins.pin([cid_of(whole), lost_root.root], Retention.PINNED)
    await store.pins.pin([cid_of(pledged)], Retention.PLEDGED, until_s=2**40)
    await store.pins.pin([cid_of(ended)], Retention.PLEDGED, until_s=1)
    for each in (whole, pledged, cached, ended):
        await store.put(cid_of(each), each)
    for each in (pledged, cached, ended):
        await store.delete(cid_of(each))
    found = await result_of(Repo(store).verify())
    assert {each.cid for each in found.damaged} == {cid_of(pledged), lost_root.root}

    async def fetch(cid):
        return pledged

    healed = await result_of(Repo(store).verify(fetch))
    assert {(each.cid, each.is_healed) for each in healed.damaged} == {
        (cid_of(pledged), True),
        (lost_root.root, False),  # its segments are fetched once its manifest gave it a place
    }
    assert await store.get(cid_of(pledged)) == pledged


async def test_a_damaged_block_that_nobody_has_is_counted_once(store, tmp_path):
    block = os.urandom(50_000)
    await store.pins.pin([cid_of(block)], Retention.PINNED)
    await store.put(cid_of(block), block)
    (path,) = (tmp_path / "blobs").glob("*/*.blk")
    flip_bit(path, 9)
    assert len((await result_of(Repo(store).verify())).damaged) == 1


async def test_a_healer_that_returns_other_bytes_heals_nothing(store, tmp_path):
    layout, segments = await fill(store)
    (path,) = (tmp_path / "blobs").glob("*/*.enc")
    flip_bit(path, 3)

    async def lie(cid):
        return segments[1]

    result = await result_of(Repo(store).verify(lie))
    assert [(each.cid, each.is_healed) for each in result.damaged] == [(layout.cid(0), False)]


async def test_found_damage_is_remembered_across_a_restart(tmp_path):
    kv = LevelKv(tmp_path / "meta")
    store = await open_store(tmp_path, kv)
    layout, _ = await fill(store)
    (path,) = (tmp_path / "blobs").glob("*/*.enc")
    flip_bit(path, 3)
    await result_of(Repo(store).verify())
    again = await open_store(tmp_path, kv)
    assert 0 not in await again.have(layout.root)
    assert (await again.stat()) == (await store.stat())
    await kv.close()


async def test_a_file_that_is_gone_means_missing_segments_and_no_crash(store, tmp_path):
    layout, segments = await fill(store)
    (path,) = (tmp_path / "blobs").glob("*/*.enc")
    await store.close()
    path.unlink()
    assert await store.get_segments(layout.root, [0, 1]) == [None, None]
    with pytest.raises(BlockDamagedError):
        await store.get(layout.cid(2))
    await store.put_segments(layout.root, [(0, segments[0])])
    await store.flush(layout.root)
    assert await store.get_segments(layout.root, [0]) == [segments[0]]


async def test_a_damaged_small_block_is_gone_until_it_is_put_again(store, tmp_path):
    block = os.urandom(50_000)
    cid = cid_of(block)
    await store.put(cid, block)
    (path,) = (tmp_path / "blobs").glob("*/*.blk")
    flip_bit(path, 9)
    with pytest.raises(BlockDamagedError):
        await store.get(cid)
    assert not await store.has(cid)
    await store.put(cid, block)
    assert await store.get(cid) == block


async def test_putting_a_block_again_repairs_damage_nobody_has_read_yet(store, tmp_path):
    block = os.urandom(50_000)
    await store.put(cid_of(block), block)
    (path,) = (tmp_path / "blobs").glob("*/*.blk")
    flip_bit(path, 9)
    await store.put(cid_of(block), block)
    assert await store.get(cid_of(block)) == block


async def test_stat_says_what_is_kept_and_why(store):
    own, _ = await fill(store, 2 * MIB)
    await store.pins.pin([own.root], Retention.OWN)
    cache, _ = await fill(store, 1 * MIB)
    with store.pins.lease(cache.root):
        stat = await Repo(store).stat(why=True)
    assert [each.cid for each in stat.largest] == [own.root, cache.root]
    assert stat.largest[0].retention is Retention.OWN
    assert stat.largest[0].pins[0].retention is Retention.OWN
    assert stat.largest[1].is_playing
    assert stat.charged_bytes[Retention.OWN] > 2 * MIB
    assert sum(stat.charged_bytes.values()) == stat.total.bytes_charged
    assert (await Repo(store).stat()).largest == ()


async def test_gc_without_a_number_clears_only_the_cache(store):
    cache, _ = await fill(store, MIB)
    followed, _ = await fill(store, MIB)
    await store.pins.pin([followed.root], Retention.FOLLOWED)
    assert len((await Repo(store).gc(dry_run=True)).evicted) == 1
    result = await Repo(store).gc()
    assert [each.cid for each in result.evicted] == [cache.root]
    assert await store.layout(followed.root) is not None


async def test_a_scrub_is_not_a_use(store):
    layout, _ = await fill(store)
    before = await store.pins.holding(layout.root)
    await result_of(Repo(store).verify())
    await store.pins.flush_touches()
    assert await store.pins.holding(layout.root) == before
