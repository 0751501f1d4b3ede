"""News of a release is told as a whole, or waits as a whole with one sentence that says what to do."""

from __future__ import annotations

import pytest
import trio

from marina.cid import DAG_CBOR, cid_of
from marina.errors import NotPermittedError
from node.outbox import Outbox, ReleaseNews
from p2p.news import NotBoundError
from storage.kv import MemoryKv, Table

SAID = "this device cannot speak for its account (the binding has ended): run 'marina key unlock'"
ONE, TWO, GONE = (cid_of(name, DAG_CBOR) for name in (b"one", b"two", b"gone"))


class Swarm:
    """Is told while it believes this device."""

    def __init__(self) -> None:
        self.told: list[ReleaseNews] = []
        self.refusal: Exception | None = NotBoundError(SAID)

    async def tell(self, news: ReleaseNews) -> None:
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        self.told.append(news)


def news(cid=ONE, version=1, provide=(ONE,), forget=()) -> ReleaseNews:
    return ReleaseNews(b"r" * 32, cid, version, provide, forget)


async def test_news_waits_while_the_device_is_not_bound_and_is_told_after_a_restart():
    swarm, table = Swarm(), Table(MemoryKv(), "release-news")
    outbox = Outbox(table=table, tell=swarm.tell)
    await outbox.put(news())
    assert swarm.told == []
    assert outbox.problem == f"1 release is not announced yet: {SAID}"
    again = Outbox(table=table, tell=swarm.tell)
    await again.flush()
    assert again.problem == outbox.problem
    swarm.refusal = None
    await again.flush()
    await again.flush()
    assert swarm.told == [news()]
    assert again.problem is None


async def test_a_later_version_replaces_one_that_waits_and_forgets_for_it():
    swarm = Swarm()
    outbox = Outbox(table=Table(MemoryKv(), "release-news"), tell=swarm.tell)
    await outbox.put(news(forget=(GONE,)))
    await outbox.put(news(cid=TWO, version=2, provide=(TWO,), forget=(ONE,)))
    await outbox.put(news())  # the first once more: it must not undo the second
    swarm.refusal = None
    await outbox.flush()
    assert swarm.told == [news(cid=TWO, version=2, provide=(TWO,), forget=(ONE, GONE))]


async def test_what_can_never_be_told_does_not_wait():
    swarm, table = Swarm(), Table(MemoryKv(), "release-news")
    swarm.refusal = NotPermittedError("this node announces as many roots as it may")
    outbox = Outbox(table=table, tell=swarm.tell)
    with pytest.raises(NotPermittedError, match="as many roots"):
        await outbox.put(news())
    assert outbox.problem is None
    assert await table.scan(limit=1) == []


async def test_waiting_news_is_told_by_itself(autojump_clock):
    swarm = Swarm()
    outbox = Outbox(table=Table(MemoryKv(), "release-news"), tell=swarm.tell)
    await outbox.put(news())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        await trio.sleep(100)
        assert swarm.told == []
        swarm.refusal = None
        await trio.sleep(31)
        nursery.cancel_scope.cancel()
    assert swarm.told == [news()]
