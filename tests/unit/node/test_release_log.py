"""The log of released keys: devices are counted, rows are durable first, old ones go."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from marina.errors import NetworkError
from node.guardian.release_log import WINDOW_S, Release, ReleaseLog
from node.guardian.watch import WATCHED_BLOCKS, WATCHED_S, ReorgWatch
from storage.errors import DiskFullError, StorageError
from storage.kv import LevelKv, MemoryKv
from tests.support.key_chain import NOW_S, MemoryKeyChain

LICENCE, OTHER = b"\x4c" * 32, b"\x4d" * 32


def release(device: int, *, licence: bytes = LICENCE, time_s: int = NOW_S, block: int = 90) -> Release:
    return Release(licence, device.to_bytes(32), time_s, block, MemoryKeyChain(1, b"").at(block).hash)


class Slow(MemoryKv):
    """A store that lets others go first before it reads or writes."""

    async def write(self, batch):
        await trio.sleep(0.001)
        await super().write(batch)

    async def scan(self, prefix, *, after=b"", limit=1000):
        await trio.sleep(0.001)
        return await super().scan(prefix, after=after, limit=limit)


async def test_of_twenty_devices_that_ask_at_the_same_time_six_are_served(autojump_clock):
    log, served = ReleaseLog(Slow()), []

    async def ask(device):
        served.append(await log.admit(release(device), devices_max=6))

    async with trio.open_nursery() as nursery:
        for device in range(20):
            nursery.start_soon(ask, device)
    assert (served.count(True), await log.totals()) == (6, (6, 6))
    assert await log.admit(release(99, licence=OTHER), devices_max=6), "another licence has its own six"


async def test_a_device_counts_for_thirty_days():
    log = ReleaseLog(MemoryKv())
    for device in range(6):
        assert await log.admit(release(device), devices_max=6)
    assert not await log.admit(release(6, time_s=NOW_S + WINDOW_S - 1), devices_max=6)
    assert await log.admit(release(0, time_s=NOW_S + WINDOW_S - 1), devices_max=6), "it is one of the six"
    assert await log.admit(release(6, time_s=NOW_S + WINDOW_S), devices_max=6)


async def test_what_was_admitted_is_there_after_the_database_was_opened_again(tmp_path):
    store = LevelKv(tmp_path / "db")
    assert await ReleaseLog(store).admit(release(1), devices_max=1)
    await store.close()
    store = LevelKv(tmp_path / "db")
    log = ReleaseLog(store)
    assert await log.totals() == (1, 1)
    assert [each.peer for each in await log.since(0)] == [release(1).peer]
    assert not await log.admit(release(2), devices_max=1)
    await store.close()


async def test_on_a_full_disk_nothing_is_admitted_and_nothing_counts():
    class Full(MemoryKv):
        is_full = True

        async def write(self, batch):
            if self.is_full:
                raise DiskFullError("the disk is full")
            await super().write(batch)

    store = Full()
    log = ReleaseLog(store)
    with pytest.raises(DiskFullError):
        await log.admit(release(1), devices_max=1)
    store.is_full = False
    assert await log.admit(release(2), devices_max=1)


async def test_a_damaged_row_stops_releases_of_its_licence():
    store = MemoryKv()
    log = ReleaseLog(store)
    await log.admit(release(1), devices_max=6)
    ((key, _),) = await store.scan(b"")
    await store.write([(key, b"\x90")])
    with pytest.raises(StorageError):
        await log.admit(release(2), devices_max=6)


async def test_rows_are_forgotten_after_two_windows():
    log = ReleaseLog(MemoryKv())
    for device in range(1200):
        await log.admit(
            release(device, licence=device.to_bytes(32), time_s=NOW_S + device % 2 * WINDOW_S), devices_max=6
        )
    assert await log.prune(NOW_S + 2 * WINDOW_S + 1) == 600
    assert await log.totals() == (600, 600)


class Watched:
    """A watch over a chain in memory, and what it counted."""

    def __init__(self) -> None:
        self.chain = MemoryKeyChain(1, b"")
        self.store = MemoryKv()
        self.log = ReleaseLog(self.store)
        self.known = {LICENCE}
        self.lost = 0
        self.watch = ReorgWatch(releases=self.log, is_licence=self.is_licence, lost=self.count)

    async def look(self, now_s: int = NOW_S) -> None:
        await self.watch.look(lambda: self.chain, now_s)

    async def is_licence(self, licence: bytes) -> bool:
        return licence in self.known

    def count(self) -> None:
        self.lost += 1


@pytest.mark.parametrize("shorter", [0, 20])
async def test_a_licence_that_is_gone_is_counted_once_for_each_release(shorter):
    watched = Watched()
    for device in range(3):
        await watched.log.admit(release(device), devices_max=6)
    await watched.look()
    watched.chain.fork, watched.chain.head = 1, watched.chain.head - shorter
    watched.known.clear()
    for _ in range(2):
        await watched.look()
    assert watched.lost == 3
    assert await watched.log.totals() == (3, 3), "it was released all the same"


async def test_a_licence_that_was_mined_again_is_followed_in_its_new_place():
    watched = Watched()
    await watched.log.admit(release(1), devices_max=6)
    watched.chain.fork = 1
    await watched.look()
    (found,) = await watched.log.since(0)
    assert (watched.lost, found.block, found.block_hash) == (0, 100, watched.chain.at(100).hash)
    watched.chain.fork = 2
    watched.known.clear()
    await watched.look()
    assert watched.lost == 1


async def test_a_watch_goes_on_after_a_restart_and_looks_only_so_far_back():
    watched = Watched()
    await watched.log.admit(release(1, block=100 - WATCHED_BLOCKS), devices_max=6)
    await watched.log.admit(release(2, block=99 - WATCHED_BLOCKS), devices_max=6)
    watched.chain.fork = 1
    watched.known.clear()
    lost = []
    again = ReorgWatch(
        releases=ReleaseLog(watched.store), is_licence=watched.is_licence, lost=lambda: lost.append(1)
    )
    await again.look(lambda: watched.chain, NOW_S)
    assert lost == [1]


async def test_while_nothing_was_released_lately_the_chain_is_not_asked():
    watched = Watched()
    watched.chain.fault = "down"
    await watched.look()
    await watched.log.admit(release(1), devices_max=6)
    with pytest.raises(NetworkError):
        await watched.look()
    await watched.look(NOW_S + WATCHED_S + 1)


async def test_a_newer_release_is_not_overwritten_by_what_became_of_an_older_one():
    log = ReleaseLog(MemoryKv())
    await log.admit(release(1), devices_max=6)
    (older,) = await log.since(0)
    await log.admit(release(1, time_s=NOW_S + 5, block=95), devices_max=6)
    await log.note(replace(older, is_lost=True))
    assert [each.block for each in await log.since(0)] == [95]
