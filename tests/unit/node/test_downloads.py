"""Whole renditions are fetched once, however many want them."""

from contextlib import nullcontext

import pytest
import trio

from node.downloads import Downloads
from storage.blocks.memory import MemoryBlockStore
from streaming.errors import NobodyHasItError
from tests.support.listening import Sealed, Source, Twin, unwatched


def downloads_of(source, blocks):
    return Downloads(blocks=blocks, source=source, lease=lambda _: nullcontext(), watching=unwatched)


async def test_two_that_want_the_same_rendition_fetch_it_once(autojump_clock):
    sealed = Sealed(b"sound" * 200_000)
    twin, blocks = Twin("a", sealed, delay_s=0.05), MemoryBlockStore(1 << 30)
    downloads = downloads_of(Source(twin), blocks)
    fetched = []

    async def want():
        async with downloads.fetching(sealed.layout) as fetcher:
            await fetcher.fetch_all()
            fetched.append(fetcher.stats.bytes_fetched)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(want)
    assert twin.sent == sealed.layout.plan.count
    assert sorted(map(bool, fetched)) == [False, False, True]
    assert not downloads._turns


async def test_who_waits_goes_on_when_the_first_one_is_cancelled(autojump_clock):
    sealed = Sealed(b"sound" * 200_000)
    source, blocks = Source(), MemoryBlockStore(1 << 30)
    downloads = downloads_of(source, blocks)
    had = []

    async def want(name):
        async with downloads.fetching(sealed.layout) as fetcher:
            await fetcher.fetch_all()
            had.append(name)

    async with trio.open_nursery() as nursery, trio.open_nursery() as first:
        first.start_soon(want, "first")
        await trio.sleep(1)
        nursery.start_soon(want, "second")
        await trio.sleep(1)
        with trio.move_on_after(1):
            await want("third")
        source.twins.append(Twin("a", sealed))
        first.cancel_scope.cancel()
    assert had == ["second"]
    assert not downloads._turns


async def test_an_error_leaves_as_itself(autojump_clock):
    sealed = Sealed(b"sound" * 1000)
    downloads = downloads_of(Source(), MemoryBlockStore(1 << 20))
    with pytest.raises(NobodyHasItError):
        async with downloads.fetching(sealed.layout) as fetcher:
            await fetcher.fetch_all()
