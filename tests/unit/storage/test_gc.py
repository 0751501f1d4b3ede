"""Room is made from the least protected and longest unread, never from what is protected."""

from __future__ import annotations

import os
from contextlib import aclosing

import pytest
import trio

from marina.cid import cid_of, digest_of
from marina.clock import ManualClock
from storage.blocks.embedded import EmbeddedBlockStore
from storage.content.layout import SegmentPlan
from storage.content.unixfs import rendition_file
from storage.errors import QuotaExceededError
from storage.kv import MemoryKv
from storage.quota import Quota
from storage.retention import Retention

KIB = 1024
SIZE = 200 * KIB


class CountingKv(MemoryKv):
    """Counts the rows that reads return."""

    def __init__(self):
        super().__init__()
        self.rows_read = 0

    async def get_many(self, keys):
        self.rows_read += len(keys)
        return await super().get_many(keys)

    async def get(self, key):
        self.rows_read += 1
        return await super().get(key)

    async def scan(self, prefix, *, after=b"", limit=1000):
        rows = await super().scan(prefix, after=after, limit=limit)
        self.rows_read += len(rows)
        return rows


class Shelf:
    """A store with a manual clock and short names for what is in it."""

    def __init__(self, tmp_path, quota_bytes=10 * 1024 * KIB, kv=None):
        self.clock = ManualClock()
        self.kv = kv or MemoryKv()
        self.store = EmbeddedBlockStore(
            kv=self.kv,
            directory=tmp_path / "blobs",
            quota=Quota(quota_bytes, disk_reserve_bytes=0),
            clock=self.clock,
        )
        self.roots = {}

    async def add(self, name, retention=None, size=SIZE, until_s=None):
        self.clock.advance(1)
        plan = SegmentPlan(size)
        segments = [os.urandom(plan.ciphertext(i).length) for i in range(plan.count)]
        layout, _ = rendition_file(size, b"".join(digest_of(cid_of(each)) for each in segments))
        self.roots[name] = layout.root
        if retention is not None:
            await self.store.pins.pin([layout.root], retention, until_s=until_s)
        await self.store.declare(layout)
        await self.store.put_segments(layout.root, list(enumerate(segments)))
        await self.store.flush(layout.root)
        return layout.root

    async def read(self, name):
        self.clock.advance(1)
        assert (await self.store.get_segments(self.roots[name], [0]))[0] is not None

    async def names(self):
        async with aclosing(self.store.roots()) as roots:
            here = {root async for root in roots}
        return {name for name, root in self.roots.items() if root in here}

    def name_of(self, cid):
        return next(name for name, root in self.roots.items() if root == cid)


@pytest.fixture
async def shelf(tmp_path):
    made = Shelf(tmp_path)
    await made.store.open()
    return made


async def test_cache_goes_first_and_the_longest_unread_of_it_before_the_rest(shelf):
    for name in ("first", "second", "third"):
        await shelf.add(name)
    await shelf.add("followed", Retention.FOLLOWED)
    await shelf.read("first")
    result = await shelf.store.collector.collect(1)
    assert [shelf.name_of(each.cid) for each in result.evicted] == ["second"]
    result = await shelf.store.collector.collect(10**9)
    assert [shelf.name_of(each.cid) for each in result.evicted] == ["third", "first", "followed"]
    assert not result.is_enough
    assert await shelf.names() == set()


async def test_own_and_pinned_content_never_goes(shelf):
    await shelf.add("own", Retention.OWN)
    await shelf.add("pinned", Retention.PINNED)
    await shelf.add("licensed", Retention.LICENSED)
    await shelf.add("pledged", Retention.PLEDGED)
    result = await shelf.store.collector.collect(10**12)
    assert [shelf.name_of(each.cid) for each in result.evicted] == ["pledged", "licensed"]
    assert await shelf.names() == {"own", "pinned"}


async def test_a_dry_run_names_what_would_go_and_removes_nothing(shelf):
    await shelf.add("a")
    await shelf.add("b")
    before = await shelf.store.stat()
    result = await shelf.store.collector.collect(SIZE + 8 * KIB, dry_run=True)
    assert [shelf.name_of(each.cid) for each in result.evicted] == ["a", "b"]
    assert result.freed_bytes > 2 * SIZE
    assert "2 swarm items" in result.lines()[0]
    assert await shelf.store.stat() == before


async def test_what_plays_right_now_is_skipped(shelf):
    await shelf.add("playing")
    await shelf.add("idle")
    with shelf.store.pins.lease(shelf.roots["playing"]):
        result = await shelf.store.collector.collect(10**9)
    assert [shelf.name_of(each.cid) for each in result.evicted] == ["idle"]
    await shelf.store.collector.collect(1)
    assert await shelf.names() == set()


async def test_a_pledge_that_has_ended_is_cache_again(shelf):
    await shelf.add("pledge", Retention.PLEDGED, until_s=shelf.clock.now_s() + 100)
    await shelf.add("followed", Retention.FOLLOWED)
    assert (await shelf.store.collector.collect(1, dry_run=True)).evicted[0].retention is Retention.FOLLOWED
    shelf.clock.advance(200)
    result = await shelf.store.collector.collect(1)
    assert [shelf.name_of(each.cid) for each in result.evicted] == ["pledge"]
    assert await shelf.store.pins.reasons(shelf.roots["pledge"]) == []


async def test_the_strongest_of_several_reasons_counts(shelf):
    root = await shelf.add("song", Retention.FOLLOWED)
    pins = shelf.store.pins
    await pins.pin([root], Retention.OWN)
    assert (await pins.holding(root)).retention is Retention.OWN
    assert [pin.retention for pin in await pins.reasons(root)] == [Retention.OWN, Retention.FOLLOWED]
    assert await pins.unpin(root, Retention.OWN)
    assert not await pins.unpin(root, Retention.OWN)
    assert (await pins.holding(root)).retention is Retention.FOLLOWED
    charged = shelf.store.charged_bytes()
    assert charged[Retention.FOLLOWED] > SIZE
    assert charged[Retention.OWN] == 0


async def test_a_renewed_pledge_replaces_its_earlier_end(shelf):
    now_s = shelf.clock.now_s()
    root = await shelf.add("pledge", Retention.PLEDGED, until_s=now_s + 100)
    await shelf.store.pins.pin([root], Retention.PLEDGED, until_s=now_s + 1000)
    shelf.clock.advance(200)
    assert await shelf.store.pins.end_pins() == 0
    shelf.clock.advance(1000)
    assert await shelf.store.pins.end_pins() == 1


async def test_room_is_made_by_itself_for_what_does_not_fit(tmp_path):
    shelf = Shelf(tmp_path, quota_bytes=3 * (SIZE + 4 * KIB))
    await shelf.store.open()
    for name in ("a", "b", "c", "d"):
        await shelf.add(name)
    assert await shelf.names() == {"b", "c", "d"}
    assert (await shelf.store.stat()).bytes_charged <= shelf.store.quota.limit_bytes
    block = os.urandom(100 * KIB)
    await shelf.store.put(cid_of(block), block)
    assert await shelf.names() == {"c", "d"}


async def test_cache_never_displaces_what_is_followed(tmp_path):
    shelf = Shelf(tmp_path, quota_bytes=2 * (SIZE + 4 * KIB))
    await shelf.store.open()
    await shelf.add("followed", Retention.FOLLOWED)
    await shelf.add("licensed", Retention.LICENSED)
    with pytest.raises(QuotaExceededError, match=r"quota cannot be met: .* protected of .*storage\.quota"):
        await shelf.add("cache")
    assert await shelf.names() == {"followed", "licensed"}
    await shelf.add("own", Retention.OWN)
    assert await shelf.names() == {"licensed", "own"}


async def test_nothing_is_evicted_for_what_would_not_fit_anyway(tmp_path):
    shelf = Shelf(tmp_path, quota_bytes=2 * (SIZE + 4 * KIB))
    await shelf.store.open()
    await shelf.add("cache")
    with pytest.raises(QuotaExceededError):
        await shelf.add("huge", size=10 * SIZE)
    assert await shelf.names() == {"cache"}


async def test_collecting_reads_no_more_rows_the_more_is_kept(tmp_path):
    async def rows_for(count):
        shelf = Shelf(tmp_path / str(count), kv=CountingKv())
        await shelf.store.open()
        for number in range(count):
            await shelf.add(f"kept {number}", Retention.FOLLOWED, size=1)
        await shelf.add("cache", size=1)
        shelf.kv.rows_read = 0
        await shelf.store.collector.collect(1)
        return shelf.kv.rows_read

    assert await rows_for(100) == await rows_for(10)


async def test_reads_count_for_eviction_after_a_restart(tmp_path):
    shelf = Shelf(tmp_path)
    await shelf.store.open()
    await shelf.add("a")
    await shelf.add("b")
    await shelf.read("a")
    await shelf.store.close()
    again = Shelf(tmp_path, kv=shelf.kv)
    again.roots = shelf.roots
    await again.store.open()
    result = await again.store.collector.collect(1)
    assert [again.name_of(each.cid) for each in result.evicted] == ["b"]


async def test_two_declarations_at_once_cannot_both_take_the_last_room(tmp_path):
    shelf = Shelf(tmp_path, quota_bytes=SIZE + 8 * KIB)
    await shelf.store.open()
    refused = []

    async def add(name):
        try:
            await shelf.add(name, Retention.OWN)
        except QuotaExceededError:
            refused.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(add, "one")
        nursery.start_soon(add, "two")
    assert len(refused) == 1
    assert (await shelf.store.stat()).bytes_charged <= shelf.store.quota.limit_bytes
